"""Compare the face models with each other and with a plain reimplementation of the report, on CelebA.

    python -m benchmarks.faces --data-dir data            a table, and whose reconstructions are sharper when
    python -m benchmarks.faces --data-dir data --json     one JSON line per model

"report" is trained here, as the report did it: the architecture of `face-vae` with tanh and pixels in [-1, 1],
Adam at a constant 1e-3, batches of 64, squared error summed over pixels plus KL, for as many steps as the bundle
of `face-vae`. The others are the bundles. Figures are on the official test partition, pixels in [0, 1]:

    parameters, multiply_adds   of one image through encoder and decoder
    ms_per_step                 one training step of a batch of 64 on this machine; the models take turns
    ms_per_step_normed          the same of face-vae with batch norm after each convolution and no blocks
    steps, train_seconds        of training, seconds as they were on the machine that trained
    budget_ms                   steps times ms_per_step: what the training would take here
    mse, psnr (dB), ssim        of reconstructions through the mean code, averages over images
    loss                        of the report's units, first and last epoch (report only)
    curve                       [step, test PSNR in dB] after each epoch

Exit codes: 0 all were measured, 1 data are missing or a bundle is broken, 2 the command is wrong.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from tqdm import tqdm

from explorer import losses, metrics
from explorer.arguments import at_least, speak_any_encoding, threads
from explorer.checkpoints import Bundle, BundleError, root_folder
from explorer.datasets import DATASETS, DataError, ImageSet
from explorer.images import to_float
from explorer.models import Autoencoder, multiply_adds, n_parameters
from explorer.roster import ROSTER, autoencoders_for

MODELS = autoencoders_for("celeba")
NORMED = "face-vae with batch norm"  # timed only: where the time of the residual model goes
BATCH = 64
ROUNDS, STEPS = 7, 8  # of timing: so many turns of so many steps each
Step = Callable[[torch.Tensor], torch.Tensor]


class ReportVAE(nn.Module):
    """The report's variational autoencoder, written down once more: pixels `(B, 3, 64, 64)` in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(64, 128, 3, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(128 * 8 * 8, 2 * 128),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(128, 128 * 8 * 8), nn.ReLU(), nn.Unflatten(1, (128, 8, 8)),
            nn.ConvTranspose2d(128, 64, 3, 2, 1, 1), nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 3, 2, 1, 1), nn.ReLU(),
            nn.ConvTranspose2d(32, 3, 3, 2, 1, 1), nn.Tanh(),
        )  # fmt: skip

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        """Sum squared error and KL per image, averaged over the batch."""
        mu, log_var = self.encoder(x).chunk(2, dim=1)
        x_hat = self.decoder(mu + torch.exp(0.5 * log_var) * torch.randn_like(mu))
        kl = -0.5 * (1 + log_var - mu.square() - log_var.exp()).sum(1).mean()
        return F.mse_loss(x_hat, x, reduction="none").flatten(1).sum(1).mean() + kl

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Reconstruct pixels `(B, 3, 64, 64)` in [0, 1] through the mean code."""
        return (self.decoder(self.encoder(2 * x - 1).chunk(2, dim=1)[0]) + 1) / 2


def report_step(model: ReportVAE) -> Step:
    """Make a function that trains the report's model on one batch of pixels in [0, 1] and returns the loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step(x: torch.Tensor) -> torch.Tensor:
        loss = model.loss(2 * x - 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def our_step(model: Autoencoder) -> Step:
    """Make the same for a model of the roster, with its own loss."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    generator = torch.Generator().manual_seed(0)

    def step(x: torch.Tensor) -> torch.Tensor:
        loss = losses.autoencoder_loss(model, x, x, generator)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def times_per_step(train: ImageSet) -> dict[str, float]:
    """Measure the milliseconds of one training step of each model, in turns, median over turns."""
    torch.manual_seed(0)
    normed = replace(ROSTER["face-vae"].config, residual=(0, 0, 0))
    models = {"report": ReportVAE(), NORMED: normed.build(), **{name: ROSTER[name].config.build() for name in MODELS}}
    models = {name: model.to(memory_format=torch.channels_last) for name, model in models.items()}
    steps = {name: report_step(m) if name == "report" else our_step(m) for name, m in models.items()}
    x = to_float(train.images[:BATCH])
    turns: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(ROUNDS + 1):  # the first warms up
        for name, step in steps.items():
            start = time.perf_counter()
            for _ in range(STEPS):
                step(x)
            turns[name].append((time.perf_counter() - start) / STEPS * 1000)
    return {name: statistics.median(values[1:]) for name, values in turns.items()}


def train_report(train: ImageSet, test: ImageSet, n_steps: int) -> tuple[ReportVAE, dict[str, Any]]:
    """Train the report's model for `n_steps`; return it with its curve, losses and seconds."""
    torch.manual_seed(0)
    model = ReportVAE().to(memory_format=torch.channels_last)
    step = report_step(model)
    curve, epoch_losses, seconds, done = [], [], 0.0, 0
    with tqdm(total=n_steps, desc="report", unit=" steps", dynamic_ncols=True) as bar:
        while done < n_steps:
            start = time.perf_counter()
            total, batches = 0.0, torch.randperm(len(train)).split(BATCH)[: n_steps - done]
            for index in batches:
                total += step(to_float(train.images[index]))
                bar.update()
            seconds += time.perf_counter() - start
            done += len(batches)
            epoch_losses.append(float(total) / len(batches))
            curve.append([done, metrics.mean_psnr(model, test.images)])
    return model, {
        "steps": done,
        "train_seconds": seconds,
        "loss": [epoch_losses[0], epoch_losses[-1]],
        "curve": curve,
    }


def from_bundle(bundle: Bundle) -> dict[str, Any]:
    """Read how a bundle's model was trained.

    Raises:
        BundleError: a file of the bundle cannot be used, or `--test-curve` was not given.
    """
    curve = bundle.test_curve()
    if not curve:
        raise BundleError(f"{bundle.folder} holds no test curve. Make it with: {bundle.command()} --test-curve")
    return {
        "steps": int(curve["steps"][-1]),
        "train_seconds": 60 * curve["minutes"][-1],
        "curve": [[int(step), psnr] for step, psnr in zip(curve["steps"], curve["psnr"], strict=True)],
    }


@torch.inference_mode()
def reconstruction(model: nn.Module, test: ImageSet) -> dict[str, float]:
    """Average MSE, PSNR and SSIM of reconstructions through the mean code over a set."""
    model.eval()
    table = []
    for images in test.images.split(metrics.BATCH):
        x = to_float(images)
        x_hat = model(x)
        mse = metrics.mse_per_image(x, x_hat)
        table.append(torch.stack([mse, metrics.psnr(mse), metrics.ssim_per_image(x, x_hat)], dim=1))
    return dict(zip(("mse", "psnr", "ssim"), torch.cat(table).double().mean(0).tolist(), strict=True))


def measure(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the line of each model; see the module's docstring."""
    train, test = (DATASETS["celeba"].load(split, args.data_dir) for split in ("train", "test"))
    bundles = {name: Bundle("celeba", name, root_folder(args.checkpoints)) for name in MODELS}
    fitted = {name: (bundle.load(), from_bundle(bundle)) for name, bundle in bundles.items()}
    milliseconds = times_per_step(train)
    fitted["report"] = train_report(train, test, args.steps or fitted["face-vae"][1]["steps"])
    for name, (model, figures) in fitted.items():
        shape_of = fitted["face-vae"][0] if name == "report" else model  # the same layers but for the last tanh
        yield {
            "model": name,
            "parameters": n_parameters(model),
            "multiply_adds": multiply_adds(shape_of),
            "ms_per_step": milliseconds[name],
            "ms_per_step_normed": milliseconds[NORMED],
            "budget_ms": figures["steps"] * milliseconds[name],
            **reconstruction(model, test),
            **figures,
        }


LINE = "{:<12} {:>10} {:>13} {:>11} {:>7} {:>13} {:>9} {:>8} {:>7}"


def print_table(lines: list[dict[str, Any]]) -> None:
    """Print one row per model, and the first step at which each is as sharp as `face-vae` at its end."""
    print(
        LINE.format(
            "model", "parameters", "multiply-adds", "ms per step", "steps", "budget here", "MSE", "PSNR", "SSIM"
        )
    )
    for line in lines:
        print(
            LINE.format(
                line["model"], f"{line['parameters']:,}", f"{line['multiply_adds']:,}", f"{line['ms_per_step']:.1f}",
                line["steps"], f"{line['budget_ms'] / 60_000:.1f} min", f"{line['mse']:.5f}", f"{line['psnr']:.2f}",
                f"{line['ssim']:.3f}",
            )
        )  # fmt: skip
    print(f"a step of face-vae with batch norm and no blocks takes {lines[0]['ms_per_step_normed']:.1f} ms")
    goal = next(line["psnr"] for line in lines if line["model"] == "face-vae")
    for line in lines:
        reached = next((step for step, decibels in line["curve"] if decibels >= goal), None)
        after = f"after {reached:,} steps" if reached else "never"
        print(f"{line['model']}: as sharp as face-vae at its end ({goal:.2f} dB) {after}")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line; a mistake ends the program with exit code 2."""
    parser = argparse.ArgumentParser(description="Compare the face models with each other and with the report.")
    parser.add_argument("--data-dir", help="data folder (default: EXPLORER_DATA, else data/)")
    parser.add_argument("--checkpoints", help="where the bundles are")
    parser.add_argument("--steps", type=at_least(1), help="of the report's model (default: those of face-vae)")
    parser.add_argument("--threads", type=threads, help="CPU threads (default: all cores)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    speak_any_encoding()
    args = parse_arguments(argv)
    torch.set_num_threads(args.threads or os.cpu_count() or 1)
    try:
        lines = list(measure(args))
    except (BundleError, DataError) as error:
        print(f"benchmarks.faces: {error}", file=sys.stderr)
        return 1
    if args.json:
        for line in lines:
            print(json.dumps(line))
    else:
        print_table(lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
