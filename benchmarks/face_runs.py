"""Fit `face-best` for a few minutes with one ingredient changed at a time: what does each buy in equal time?

    python -m benchmarks.face_runs --data-dir data                 a table
    python -m benchmarks.face_runs --data-dir data --json          one JSON line per run
    python -m benchmarks.face_runs "group norm" --seconds 60       one of them, shorter

Every run begins with the same seed and gets the same processor time, `--seconds` of all its threads together; its
one-cycle schedule is made for as many steps as fit in, by the time of its first ones. Figures are on the validation
images, pixels in [0, 1], through the mean code:

    n_seen, n_images_per_second   images trained on, and per second of processor time
    psnr (dB), ssim               averages over images
    psnr_average                  of the exponential moving average of the weights, of which each step replaces 1/500
    sigma                         of p(x|z) in the end
    kl                            in nats, average over the first 1,000 images
    parameters, multiply_adds     of one image through encoder and decoder

Exit codes: 0 all were run, 1 data are missing, 2 the command is wrong.
"""

import argparse
import copy
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from tqdm import tqdm

from explorer import metrics
from explorer.arguments import one_of, positive, speak_any_encoding, threads
from explorer.datasets import DATASETS, DataError, ImageSet
from explorer.devices import Precision
from explorer.elbo import calibrated_sigma
from explorer.images import to_float
from explorer.losses import kl_to_standard_normal
from explorer.models import Autoencoder, AutoencoderConfig, multiply_adds, n_parameters
from explorer.processes import settle
from explorer.roster import ROSTER
from explorer.training import Recipe, Step, schedule_for

BASE = ROSTER["face-best"]
SEED = 0
WARM_UP, TIMED = 2, 6  # steps before the time of a step is taken, and steps that it is taken over
AVERAGE = 1 / 500  # share of the moving average that a step replaces
LEARN_EVERY = 50  # steps between two computations of sigma


@dataclass(frozen=True)
class Run:
    """One run: an architecture, a recipe, the numbers it multiplies in, and whether sigma is learned on the way."""

    config: AutoencoderConfig = BASE.config
    recipe: Recipe = BASE.recipe
    precision: Precision = "float32"
    learned: bool = False


NONE = (0,) * len(BASE.config.strides)
RUNS: dict[str, Run] = {
    "face-best": Run(),
    "face-vae": Run(ROSTER["face-vae"].config, ROSTER["face-vae"].recipe),
    "sigma 0.1": Run(replace(BASE.config, sigma=0.1)),
    "sigma 0.03": Run(replace(BASE.config, sigma=0.03)),
    "sigma learned": Run(replace(BASE.config, sigma=0.1), learned=True),
    "code at 4 x 4": Run(
        replace(
            BASE.config,
            channels=(32, 64, 128, 256),
            strides=(2,) * 4,
            residual=(0, 0, 1, 0),
            decoder_channels=(256, 128, 96, 48),
            decoder_residual=(0, 1, 1, 0),
        )
    ),
    "no blocks": Run(replace(BASE.config, residual=NONE, decoder_residual=NONE)),
    "shallow encoder": Run(replace(BASE.config, residual=(0, 0, 1))),
    "group norm": Run(replace(BASE.config, norm="group")),
    "nearest": Run(replace(BASE.config, upsampling="nearest")),
    "pixel shuffle": Run(replace(BASE.config, upsampling="shuffle")),
    "constant rate": Run(recipe=replace(BASE.recipe, schedule="constant", learning_rate=BASE.recipe.learning_rate / 2)),
    "half the rate": Run(recipe=replace(BASE.recipe, learning_rate=BASE.recipe.learning_rate / 2)),
    "no weight decay": Run(recipe=replace(BASE.recipe, weight_decay=0.0)),
    "bfloat16": Run(precision="bfloat16"),
}


@torch.no_grad()
def take_in(average: Autoencoder, model: Autoencoder, number: int) -> None:
    """Move the average towards the weights after the step of this number; the first ones count alike."""
    share = max(AVERAGE, 1 / number)
    for mean, now in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        mean.lerp_(now, share) if mean.is_floating_point() else mean.copy_(now)


@torch.inference_mode()
def learn_sigma(model: Autoencoder, images: torch.Tensor) -> None:
    """Set sigma to the one of the highest likelihood for these images (Rybkin et al. 2021, section 3.2)."""
    x = to_float(images)
    squared_error = (model.decode(model.encode(x).sample()) - x).square()
    model.config = replace(model.config, sigma=calibrated_sigma(squared_error.sum().item(), squared_error.numel()))


def index_batches(n: int, size: int) -> Iterator[torch.Tensor]:
    """Yield batches of indices for ever, every image once before any comes again."""
    generator = torch.Generator().manual_seed(SEED)
    while True:
        yield from (part for part in torch.randperm(n, generator=generator).split(size) if len(part) == size)


def fit(run: Run, train: ImageSet, seconds: float) -> tuple[Autoencoder, Autoencoder, int]:
    """Fit one run; return the model, the average of its weights, and the number of images that were trained on."""
    torch.manual_seed(SEED)
    model = run.config.build().to(memory_format=torch.channels_last).train()
    average = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(SEED)
    size = min(run.recipe.batch_size, len(train))
    rehearsal = Step(copy.deepcopy(model), train, run.recipe, generator, precision=run.precision)
    batches = index_batches(len(train), size)
    for number in range(WARM_UP + TIMED):
        if number == WARM_UP:
            start = time.process_time()
        rehearsal(next(batches), None, size)
    n_steps = max(2, round(seconds / (time.process_time() - start) * TIMED))
    step = Step(model, train, run.recipe, generator, precision=run.precision)
    schedule = schedule_for(step.optimizer, run.recipe, n_steps)
    for number in tqdm(range(1, n_steps + 1), unit=" steps", dynamic_ncols=True):
        index = next(batches)
        step(index, None, size)
        schedule.step()
        take_in(average, model, number)
        if run.learned and number % LEARN_EVERY == 0:
            learn_sigma(model, train.images[index])
    return model.eval(), average.eval(), n_steps * size


@torch.inference_mode()
def measure(name: str, train: ImageSet, validation: ImageSet, seconds: float) -> dict[str, Any]:
    """Run one by its name; see the module's docstring."""
    run = RUNS[name]
    start = time.process_time()
    with torch.inference_mode(False):
        model, average, n_seen = fit(run, train, seconds)
    spent = time.process_time() - start
    figures = metrics.evaluate(model, validation)
    posterior = model.encode(to_float(validation.images[:1000]))
    return {
        "run": name,
        "parameters": n_parameters(model),
        "multiply_adds": multiply_adds(model),
        "n_seen": n_seen,
        "n_images_per_second": n_seen / spent,
        "psnr": figures["psnr"],
        "ssim": figures["ssim"],
        "psnr_average": metrics.mean_psnr(average, validation.images),
        "sigma": model.config.sigma,
        "kl": kl_to_standard_normal(posterior).sum(1).mean().item(),
    }


LINE = "{:<16} {:>10} {:>14} {:>9} {:>8} {:>8} {:>7} {:>13} {:>6} {:>5}"


def print_table(lines: Iterator[dict[str, Any]]) -> None:
    """Print one row per run, when it ends."""
    print(LINE.format("run", "parameters", "multiply-adds", "images", "images/s", "PSNR", "SSIM", "PSNR, average",
                      "sigma", "KL"))  # fmt: skip
    for line in lines:
        print(
            LINE.format(
                line["run"], f"{line['parameters']:,}", f"{line['multiply_adds']:,}", f"{line['n_seen']:,}",
                f"{line['n_images_per_second']:.0f}", f"{line['psnr']:.2f}", f"{line['ssim']:.3f}",
                f"{line['psnr_average']:.2f}", f"{line['sigma']:.3f}", f"{line['kl']:.0f}",
            ),
            flush=True,
        )  # fmt: skip


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line; a mistake ends the program with exit code 2."""
    parser = argparse.ArgumentParser(description="What does each ingredient of face-best buy in equal time?")
    parser.add_argument("runs", nargs="*", type=one_of(RUNS, "run"), help=f"of {', '.join(RUNS)} (default: all)")
    parser.add_argument("--data-dir", help="data folder (default: EXPLORER_DATA, else data/)")
    parser.add_argument("--seconds", type=positive, default=300.0, help="of processor time for each (default: 300)")
    parser.add_argument("--threads", type=threads, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    speak_any_encoding()
    args = parse_arguments(argv)
    settle(args.threads)
    try:
        train, validation = (DATASETS["celeba"].load(split, args.data_dir) for split in ("train", "validation"))
    except DataError as error:
        print(f"benchmarks.face_runs: {error}", file=sys.stderr)
        return 1
    lines = (measure(name, train, validation, args.seconds) for name in args.runs or RUNS)
    if args.json:
        for line in lines:
            print(json.dumps(line), flush=True)
    else:
        print_table(lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
