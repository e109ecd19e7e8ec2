"""Measure how fast models are trained, beside the loop of every tutorial and beside what the machine can do.

    python -m benchmarks.training --data-dir data            a table
    python -m benchmarks.training --data-dir data --json     one JSON line per model
    python -m benchmarks.training --device cuda --whole      the same on a GPU, and the whole run of `train.py`
    python -m benchmarks.training --sizes --json             time and memory against the size, with a fitted line
    python -m benchmarks.training --settings --json          memory formats and numbers of threads, CPU

Loops take turns, and each figure is the best of its turns. Rates are images per second, training
only:

    images_per_second        our loop: augmentation, noise, update, schedule, reports and all, as `train.py` runs it
    plain_images_per_second  the same model in the loop of every tutorial: a DataLoader over torchvision's data set
                             with ToTensor, Adam, `.to(device)`, `loss.item()`; the best number of worker processes
    plain_by_workers         the same with each number of workers that was tried
    ratio                    of the two
    ceiling_images_per_second   forward and backward pass of the model on one resident batch of random pixels
    ceiling_fraction         the share of our step that is the model's own forward and backward pass
    with_update_fraction     the same with the update of the weights counted as the model's own
    seconds_to_reported      training time, validation included, until the report's own test figure is reached after an
                             epoch of a short run (`REACH`); the figure itself is measured outside that time
    whole_seconds            with --whole: fit, metrics and projections of all models of the data set, by `train.py`

Exit codes: 0 all were measured, 1 data are missing or a bundle is broken, 2 the command is wrong.
"""

import argparse
import dataclasses
import functools
import itertools
import json
import math
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms

from explorer import metrics, training
from explorer.arguments import at_least, one_of
from explorer.datasets import DATASETS, SPLITS, DataError, Dataset, ImageSet, data_folder
from explorer.models import AutoencoderConfig, Model, n_parameters
from explorer.roster import ROSTER, choose_dataset
from train import usable_device

TURNS = 3
SECONDS = 4.0  # of each turn, at least; whole batches
WORKERS = (1, 2, 4)  # beside none
REACH = {"fc-ae": 18, "conv-ae": 2, "ffnn": 20}  # epochs of a recipe that is as short as the report's figure allows
IMAGES = (1000, 2000, 3000, 4000)
SIDES = (32, 64, 96, 128)
CODES = (16, 128, 512, 1024)
CELEBA = 202_599
BATCH = 64  # of the curves over size
AXIS = 'fill="none" stroke="#888"'

Loop = Callable[[], Iterator[int]]  # yields the number of images of each step


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was asked for."""
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def rate(loop: Loop, device: torch.device, seconds: float) -> float:
    """Measure images per second of a loop that never ends, after five steps of warm-up."""
    steps = loop()
    for _ in itertools.islice(steps, 5):
        pass
    synchronise(device)
    n_images, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        n_images += sum(itertools.islice(steps, 10))
        synchronise(device)
    steps.close()
    return n_images / elapsed


@dataclasses.dataclass(frozen=True)
class Job:
    """One turn of a loop: "ours", "ceiling", "ceiling and update", or "plain" with so many worker processes."""

    kind: str
    model: str
    dataset: str
    data_dir: str | None
    device: str
    seconds: float
    workers: int = 0

    def run(self) -> float:
        """Measure images per second."""
        device, dataset = torch.device(self.device), DATASETS[self.dataset]
        if self.kind == "plain":
            loop = plain_loop(self.model, pictures(dataset, data_folder(self.data_dir)), device, self.workers)
        else:
            data = resident(self.dataset, self.data_dir, self.device)
            if self.kind == "ours":
                loop = our_loop(self.model, data, device)
            else:
                loop = ceiling_loop(self.model, data, device, update=self.kind == "ceiling and update")
        return rate(loop, device, self.seconds)


@functools.lru_cache(maxsize=1)
def resident(dataset: str, data_dir: str | None, device: str) -> ImageSet:
    """Read the training images to the device, once in a process."""
    return training.place(DATASETS[dataset].load("train", data_dir), torch.device(device))


def settle(threads: int, flush: bool) -> None:
    """Set a process up as `train.py` does, or (`flush` false) as PyTorch is."""
    torch.set_flush_denormal(flush)
    torch.set_num_threads(threads)


def best_rates(jobs: Sequence[Job], turns: int) -> list[float]:
    """Let loops take turns, and keep the best turn of each.

    Ours and the ceiling run in one process and the plain ones in another, as a process treats the smallest numbers
    (see `train.main`) either in one way or in the other.
    """
    context, best = multiprocessing.get_context("spawn"), [0.0] * len(jobs)
    threads = torch.get_num_threads()
    with (
        ProcessPoolExecutor(1, context, settle, (threads, True)) as ours,
        ProcessPoolExecutor(1, context, settle, (threads, False)) as plain,
    ):
        for _ in range(turns):
            for k, job in enumerate(jobs):
                pool = plain if job.kind == "plain" else ours
                best[k] = max(best[k], pool.submit(job.run).result())
    return best


def fresh(name: str, device: torch.device, layout: torch.memory_format = torch.channels_last) -> Model:
    """Build a model of the roster, in the layout that `train.py` takes or another."""
    torch.manual_seed(0)
    return ROSTER[name].config.build().to(device, memory_format=layout).train()


def our_loop(
    name: str, data: ImageSet, device: torch.device, layout: torch.memory_format = torch.channels_last
) -> Loop:
    """Make the training part of `Fitting.epochs`, for ever."""
    recipe = dataclasses.replace(ROSTER[name].recipe, epochs=100_000)

    def steps() -> Iterator[int]:
        fitting = training.Fitting(fresh(name, device, layout), data, data[torch.arange(2)], recipe, 0)
        while True:
            for n_images, _ in fitting.steps():
                fitting.schedule.step()
                yield n_images

    return steps


def ceiling_loop(name: str, data: ImageSet, device: torch.device, update: bool) -> Loop:
    """Make a loop of nothing but forward and backward pass on one resident batch of random pixels, and the update.

    On a GPU the passes are one CUDA graph too: a ceiling does not wait for launches.
    """
    recipe = ROSTER[name].recipe

    def steps() -> Iterator[int]:
        model = fresh(name, device)
        generator = torch.Generator(device).manual_seed(0)
        x = torch.rand(recipe.batch_size, *data.images.shape[1:], generator=generator, device=device)
        labels = torch.randint(len(data.classes), (len(x),), generator=generator, device=device)
        loss = training.Loss(model, recipe, generator)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

        def passes() -> torch.Tensor:
            optimizer.zero_grad(set_to_none=True)
            value = loss(x, x, labels)["loss"]
            value.backward()
            return value.detach()

        run: Callable[[], Any] = passes
        if device.type == "cuda":
            for _ in range(training.WARM_UP):
                training.on_side_stream(passes)
            optimizer.zero_grad(set_to_none=True)
            run = training.record(passes, generator)[0]
        while True:
            run()
            if update:
                optimizer.step()
            yield len(x)

    return steps


def pictures(dataset: Dataset, data_dir: Path) -> torch.utils.data.Dataset:
    """Open the training images as tutorials do: torchvision's class, or a folder of JPEG files."""
    to_tensor = transforms.ToTensor()
    if dataset.fetch:
        return getattr(torchvision.datasets, dataset.folder)(data_dir, train=True, transform=to_tensor)
    if dataset.pick:
        small = transforms.Compose([transforms.CenterCrop(148), transforms.Resize(dataset.image_shape[1]), to_tensor])
        return torchvision.datasets.ImageFolder(data_dir / dataset.folder, small)
    return Pictures(dataset.load("train", data_dir), to_tensor)


class Pictures(torch.utils.data.Dataset):
    """Images as torchvision's MNIST gives them: one Pillow picture for each, then its transform."""

    def __init__(self, data: ImageSet, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.data, self.transform = data, transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.data.images[i, 0].numpy())), int(self.data.labels[i])


def plain_loop(name: str, images: torch.utils.data.Dataset, device: torch.device, workers: int) -> Loop:
    """Make the loop of every tutorial, for ever; no augmentation, no noise, float32, no schedule."""
    entry = ROSTER[name]

    def steps() -> Iterator[int]:
        torch.manual_seed(0)
        model = entry.config.build().to(device).train()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        loader = DataLoader(images, entry.recipe.batch_size, shuffle=True, num_workers=workers)
        generator = torch.Generator(device).manual_seed(0)
        running = 0.0
        while True:
            for x, labels in loader:
                x, labels = x.to(device), labels.to(device)
                optimizer.zero_grad()
                loss = training.batch_loss(model, (x, x, labels), entry.recipe, generator)["loss"]
                loss.backward()
                optimizer.step()
                running += loss.item() * len(x)
                yield len(x)

    return steps


def seconds_to_reported(name: str, splits: dict[str, ImageSet], device: torch.device) -> float | None:
    """Train by a short recipe until the test figure is the report's; seconds of training and validation.

    None where the report has no figure, or the short recipe does not reach it.
    """
    entry = ROSTER[name]
    if not entry.reported or name not in REACH:
        return None
    [(figure, reported)] = entry.reported.items()
    recipe = dataclasses.replace(entry.recipe, epochs=REACH[name])
    fitting = training.Fitting(fresh(name, device), splits["train"], splits["validation"], recipe, 0)
    seconds = 0.0
    for epoch in fitting.epochs():
        seconds += epoch.seconds
        value = metrics.evaluate(fitting.model.eval(), splits["test"])[figure]
        if value <= reported if figure == "mse" else value >= reported:
            return seconds
    return None


def measure(
    name: str, dataset: Dataset, splits: dict[str, ImageSet], device: torch.device, args: argparse.Namespace
) -> dict[str, Any]:
    """Measure one model; see the module's docstring for the figures."""
    job = Job("ours", name, dataset.name, args.data_dir, str(device), args.seconds)
    kinds = ("ours", "ceiling", "ceiling and update")
    jobs = [dataclasses.replace(job, kind=kind) for kind in kinds]
    jobs += [dataclasses.replace(job, kind="plain", workers=n) for n in (0, *args.workers)]
    ours, ceiling, with_update, *rates = best_rates(jobs, args.turns)
    plain = dict(zip((0, *args.workers), rates, strict=True))
    at_home = dataset.name == ROSTER[name].home  # where the report's figure was measured
    reached = seconds_to_reported(name, splits, device) if args.reach and at_home else None
    return {
        "model": name,
        "dataset": dataset.name,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "images_per_second": round(ours),
        "plain_images_per_second": round(max(plain.values())),
        "plain_by_workers": {str(n): round(value) for n, value in plain.items()},
        "ratio": round(ours / max(plain.values()), 2),
        "ceiling_images_per_second": round(ceiling),
        "ceiling_fraction": round(ours / ceiling, 3),
        "with_update_fraction": round(ours / with_update, 3),
        "seconds_to_reported": None if reached is None else round(reached, 2),
    }


def device_name(device: torch.device) -> str:
    """Name the device for people: the GPU's product name, or the CPU's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.is_file() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{names[0]}, {os.cpu_count()} cores" if names else platform.processor() or device.type


def whole_run(dataset: Dataset, device: torch.device, args: argparse.Namespace) -> dict[str, Any]:
    """Time `train.py` with all models of a data set, metrics and projections, as a user waits for it."""
    program = Path(training.__file__).parent.parent / "train.py"
    data_dir = data_folder(args.data_dir).resolve()
    with tempfile.TemporaryDirectory() as folder:
        options = ["--dataset", dataset.name, "--device", str(device), "--data-dir", data_dir, "--checkpoints", folder]
        start = time.perf_counter()
        subprocess.run([sys.executable, program, *args.models, *options], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
    return {"models": args.models, "device": device_name(device), "whole_seconds": round(seconds, 1)}


def settings(name: str, data: ImageSet, args: argparse.Namespace) -> dict[str, Any]:
    """Measure our loop on the CPU with each memory format and number of threads; images per second."""
    cpu = torch.device("cpu")
    rates = {}
    threads = torch.get_num_threads()
    counts = sorted({1, *(2**k for k in range(1, 8) if 2**k < threads), threads})
    for count in counts:
        torch.set_num_threads(count)
        for layout in ("contiguous_format", "channels_last"):
            loop = our_loop(name, data, cpu, getattr(torch, layout))
            rates[f"{count} threads, {layout}"] = round(max(rate(loop, cpu, args.seconds) for _ in range(args.turns)))
    torch.set_num_threads(threads)
    return {"model": name, "device": device_name(cpu), "images_per_second": rates, "best": max(rates, key=rates.get)}


# Time and memory against the size


@dataclasses.dataclass(frozen=True)
class Size:
    """A variational autoencoder of the faces' kind on random images, and the file it maps or None."""

    n_images: int = 2000
    side: int = 64
    code: int = 128
    mapped: bool = False


def size_jobs(quick: bool) -> dict[str, list[Size]]:
    """List the sizes of each curve."""
    shrink = 8 if quick else 1
    base = Size(n_images=2000 // shrink)
    curves = {
        "images": [dataclasses.replace(base, n_images=n // shrink) for n in IMAGES],
        "pixels": [dataclasses.replace(base, side=side // (2 if quick else 1)) for side in SIDES],
        "code": [dataclasses.replace(base, code=code) for code in CODES],
    }
    return curves | ({} if quick else {"celeba": [Size(CELEBA, side, mapped=True) for side in (64, 128)]})


def measure_size(size: Size, device: str, threads: int, most: int = 4000) -> dict[str, float]:
    """Train on one size in a process of its own; seconds an epoch, and the bytes that training took at most.

    At most `most` images are trained on: of more, the epoch is scaled up.
    """
    settle(threads, flush=True)
    where = torch.device(device)
    shape = (3, size.side, size.side)
    config = AutoencoderConfig(shape, (32, 64, 128), (2, 2, 2), code=size.code, variational=True, likelihood="gaussian")
    with tempfile.TemporaryDirectory() as folder:
        before = peak_bytes(where)
        data = random_images(size, Path(folder))
        recipe = training.Recipe(epochs=1000, batch_size=BATCH)
        model = config.build().to(where, memory_format=torch.channels_last)
        fitting = training.Fitting(model, data, data[torch.arange(BATCH)], recipe, 0)
        for _ in itertools.islice(fitting.steps(), 3):
            pass
        synchronise(where)
        start, seen = time.perf_counter(), 0
        for n_images, _ in fitting.steps():
            seen += n_images
            if seen >= most:
                break
        synchronise(where)
        seconds = (time.perf_counter() - start) * size.n_images / seen
        parameters = n_parameters(model)
        streamed = not fitting.step.resident
        taken = peak_bytes(where) - before
    return {
        **dataclasses.asdict(size), "parameters": parameters, "streamed": streamed, "data_bytes": data.images.nbytes,
        "seconds_per_epoch": seconds, "images_per_second": size.n_images / seconds, "peak_bytes": taken,
    }  # fmt: skip


def random_images(size: Size, folder: Path) -> ImageSet:
    """Make random images, or map a file of black ones that takes no room on the disk."""
    shape = (size.n_images, 3, size.side, size.side)
    if size.mapped:
        path = folder / "images.uint8"
        path.touch()
        os.truncate(path, math.prod(shape))
        images = torch.from_numpy(np.memmap(path, np.uint8, "c", shape=shape))
    else:
        images = torch.randint(256, shape, dtype=torch.uint8)
    return ImageSet(images, torch.zeros(size.n_images, dtype=torch.long), ("Face",))


def peak_bytes(device: torch.device) -> int:
    """Read the most memory that was taken so far: on CUDA by tensors, on the CPU by the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure_sizes(device: torch.device, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every curve, each size in a fresh process, and fit a line through each."""
    lines = []
    context = multiprocessing.get_context("spawn")
    for curve, sizes in size_jobs(args.quick).items():
        rows = []
        for size in sizes:
            with ProcessPoolExecutor(1, context) as pool:
                rows.append(pool.submit(measure_size, size, str(device), torch.get_num_threads()).result())
            note(f"{curve}: {size} {rows[-1]['seconds_per_epoch']:.2f} s, {rows[-1]['peak_bytes'] / 1e6:.0f} MB")
        lines.append({"curve": curve, "device": device_name(device), "sizes": rows, **fits(curve, rows)})
    return lines


def fits(curve: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Fit time and memory as a + b x by least squares, x the number of images, of pixels, or of codes."""
    if curve == "celeba":
        return {}
    x = np.array([{"images": r["n_images"], "pixels": r["side"] ** 2, "code": r["code"]}[curve] for r in rows], float)
    found = {}
    for figure in ("seconds_per_epoch", "peak_bytes"):
        slope, start = np.polyfit(x, [r[figure] for r in rows], 1)
        found[figure] = {"at_0": float(start), "per_unit": float(slope)}
    return {"x": x.tolist(), "fit": found}


def draw(lines: list[dict[str, Any]], path: Path) -> None:
    """Draw seconds an epoch against each size with its fitted line, as SVG."""
    panels = [line for line in lines if "fit" in line]
    names = {"images": "images of 64×64", "pixels": "pixels a side, squared", "code": "numbers in the code"}
    width, height, margin = 260, 190, 44
    parts = []
    for k, line in enumerate(panels):
        x, y = line["x"], [row["seconds_per_epoch"] for row in line["sizes"]]
        fit = line["fit"]["seconds_per_epoch"]
        left, bottom = margin + k * (width + margin), height + 16

        def place(a: float, b: float, x: list = x, y: list = y, left: int = left, bottom: int = bottom) -> str:
            return f"{left + a / max(x) * width:.1f},{bottom - b / (1.1 * max(y)) * height:.1f}"

        ends = " ".join(place(a, fit["at_0"] + fit["per_unit"] * a) for a in (0, max(x)))
        parts.append(f'<polyline points="{ends}" fill="none" stroke="#4c78a8" stroke-width="2"/>')
        parts.append(f'<polyline points="{place(0, 1.1 * max(y))} {place(0, 0)} {place(max(x), 0)}" {AXIS}/>')
        for a, b in zip(x, y, strict=True):
            cx, cy = place(a, b).split(",")
            parts.append(f'<circle cx="{cx}" cy="{cy}" r="4" fill="#e45756"/>')
            parts.append(f'<text x="{cx}" y="{bottom + 14}" text-anchor="middle">{a:,.0f}</text>')
            parts.append(f'<text x="{cx}" y="{float(cy) - 8:.1f}" text-anchor="end">{b:.1f} s</text>')
        parts.append(
            f'<text x="{left + width / 2}" y="{bottom + 32}" text-anchor="middle">{names[line["curve"]]}</text>'
        )
    size = f'width="{margin + len(panels) * (width + margin)}" height="{height + 60}"'
    style = 'font-family="sans-serif" font-size="11" fill="#555"'
    background = '<rect width="100%" height="100%" fill="white"/>'
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>{background}{"".join(parts)}</svg>\n')


def note(text: str) -> None:
    """Say on the error stream how far things are; standard output holds the result only."""
    print(text, file=sys.stderr, flush=True)


COLUMNS = ("images_per_second", "plain_images_per_second", "ratio", "ceiling_fraction", "with_update_fraction")


def show(figures: dict[str, Any], as_json: bool) -> None:
    """Print one line: JSON, or the figures that the README has."""
    if as_json:
        print(json.dumps(figures), flush=True)
    elif "ratio" in figures:
        reached = figures["seconds_to_reported"]
        cells = [f"{figures[name]:>10,}" for name in COLUMNS] + ["-" if reached is None else f"{reached:.1f} s"]
        print(f"{figures['model']:<12} {' '.join(cells)}", flush=True)
    else:
        print(", ".join(f"{name}: {value}" for name, value in figures.items()), flush=True)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line; a mistake ends the program with exit code 2 and says what is known."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training",
        description="Measure how fast models are trained, beside the tutorial's loop and the ceiling.",
        epilog="models: " + ", ".join(ROSTER),
    )
    model = one_of(ROSTER, "model")
    parser.add_argument("models", nargs="*", type=model, metavar="MODEL", help="which (default: all of the data set)")
    parser.add_argument(
        "--dataset", type=one_of(DATASETS, "data set"), help="default: that of the first model's report"
    )
    parser.add_argument("--data-dir", help="data folder (default: EXPLORER_DATA, else data/)")
    parser.add_argument("--device", type=usable_device, default="auto", help="auto (default), cuda, mps or cpu")
    parser.add_argument("--threads", type=at_least(1), help="CPU threads (default: all cores)")
    parser.add_argument("--json", action="store_true", help="print JSON lines, not a table")
    parser.add_argument("--no-reach", dest="reach", action="store_false", help="leave seconds_to_reported out")
    parser.add_argument("--whole", action="store_true", help="also time train.py with all models; hours on a CPU")
    parser.add_argument("--sizes", action="store_true", help="time and memory against the size instead")
    parser.add_argument("--plot", type=Path, metavar="SVG", help="with --sizes: draw time against size")
    parser.add_argument("--settings", action="store_true", help="memory formats and numbers of threads instead (CPU)")
    parser.add_argument("--quick", action="store_true", help="a smoke test: short turns; not figures to quote")
    args = parser.parse_args(argv)
    args.turns, args.seconds, args.workers = (1, 0.1, (1,)) if args.quick else (TURNS, SECONDS, WORKERS)
    try:
        args.dataset, args.models = choose_dataset(args.models, args.dataset)
    except ValueError as error:
        parser.error(str(error))
    return args


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    args = parse_arguments(argv)
    settle(args.threads or os.cpu_count() or 1, flush=True)
    if args.sizes:
        lines = measure_sizes(args.device, args)
        for line in lines:
            show(line, args.json)
        if args.plot:
            draw(lines, args.plot)
        return 0
    dataset = DATASETS[args.dataset]
    try:
        splits = {split: dataset.load(split, args.data_dir) for split in SPLITS}
    except (DataError, OSError) as error:
        note(f"training: {error}")
        return 1
    if not args.json and not args.settings:
        print(f"{'model':<12} {'ours':>10} {'plain':>10} {'ratio':>10} {'ceiling':>10} {'+ update':>10} to the report")
    for name in args.models:
        note(f"{name}: measuring")
        made = settings(name, splits["train"], args) if args.settings else measure(
            name, dataset, splits, args.device, args
        )  # fmt: skip
        show(made, args.json)
    if args.whole:
        show(whole_run(dataset, args.device, args), args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
