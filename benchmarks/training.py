"""Measure how fast models are trained, beside the loop of every tutorial and beside what the machine can do.

    python -m benchmarks.training --data-dir data            a table
    python -m benchmarks.training --data-dir data --json     one JSON line per model
    python -m benchmarks.training --device cuda --whole      the same on a GPU, and the whole run of `train.py`
    python -m benchmarks.training --settings --json          memory formats and numbers of threads, CPU

Loops take turns, as machines are faster at one time than at another: ours and the ceilings in slices of a quarter of
a second, the plain ones after them. Each rate is the best of its turns, in images per second, training only:

    images_per_second        our loop: augmentation, noise, update, schedule, reports and all, as `train.py` runs it
    plain_images_per_second  the same model in the loop of every tutorial: a DataLoader over torchvision's data set
                             with ToTensor, Adam, `.to(device)`, `loss.item()`; the best number of worker processes,
                             from none to one for each core; none of our settings of the process, nor our dropout
    plain_by_workers         the same with each number of workers that was tried
    ratio                    of the two
    ceiling_images_per_second   forward and backward pass of the model on one resident batch of random pixels
    ceiling_fraction         the share of our step that is the model's own forward and backward pass: our rate by the
                             ceiling's in the same turn, the median over turns
    with_update_fraction     the same with the update of the weights counted as the model's own
    seconds_to_reported      training time, validation included, until the report's own test figure is reached after an
                             epoch of a short run (`REACH`); the figure itself is measured outside that time
    whole_seconds            with --whole: fit, metrics and projections of all models of each data set, by `train.py`

Exit codes: 0 all were measured, 1 the data of some are missing, 2 the command is wrong, or torchvision is missing.
"""

import argparse
import collections
import dataclasses
import functools
import importlib.util
import itertools
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
from PIL import Image
from torch.utils.data import DataLoader

from explorer import blocks, cuda, metrics, processes, training
from explorer.arguments import one_of, speak_any_encoding, threads
from explorer.datasets import DATASETS, SPLITS, DataError, Dataset, ImageSet, data_folder
from explorer.devices import usable_device
from explorer.models import Model
from explorer.roster import ROSTER, choose_models

TURNS = 3
SECONDS = 4.0  # of each turn, at least; whole batches
SLICE = 0.25  # seconds
REACH = {"fc-ae": 20, "conv-ae": 2, "ffnn": 36}  # epochs of a recipe that is as short as the report's figure allows

Loop = Callable[[], Iterator[int]]  # yields the number of images of each step


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was asked for."""
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def rates(loops: Mapping[str, Loop], device: torch.device, seconds: float) -> dict[str, float]:
    """Measure images per second of loops that never end, in short slices in turn, after five steps of warm-up each."""
    steps = {name: loop() for name, loop in loops.items()}
    n_images, elapsed = dict.fromkeys(steps, 0), dict.fromkeys(steps, 0.0)
    for running in steps.values():
        collections.deque(itertools.islice(running, 5), maxlen=0)
    while min(elapsed.values()) < seconds:
        for name, running in steps.items():
            start = time.perf_counter()
            while (taken := time.perf_counter() - start) < min(SLICE, seconds):
                n_images[name] += sum(itertools.islice(running, training.REPORT_EVERY))
                synchronise(device)  # as a report of the loss does
            elapsed[name] += taken
    for running in steps.values():
        running.close()
    return {name: n_images[name] / elapsed[name] for name in steps}


@dataclasses.dataclass(frozen=True)
class Job:
    """One turn of a model: of our loop and the ceilings, or (`workers` given) of the plain loop."""

    model: str
    dataset: str
    data_dir: str | None
    device: str
    seconds: float
    workers: int | None = None

    def run(self) -> dict[str, float]:
        """Measure images per second: "ours", "ceiling" and "with update", or "plain"."""
        device = torch.device(self.device)
        if self.workers is not None:
            images = pictures(DATASETS[self.dataset], data_folder(self.data_dir))
            return rates({"plain": plain_loop(self.model, images, device, self.workers)}, device, self.seconds)
        data = resident(self.dataset, self.data_dir, self.device)
        loops = {
            "ours": our_loop(self.model, data, device),
            "ceiling": ceiling_loop(self.model, data, device, update=False),
            "with update": ceiling_loop(self.model, data, device, update=True),
        }
        return rates(loops, device, self.seconds)


@functools.lru_cache(maxsize=1)
def resident(dataset: str, data_dir: str | None, device: str) -> ImageSet:
    """Read the training images to the device, once in a process."""
    return training.place(DATASETS[dataset].load("train", data_dir), torch.device(device))


def take_turns(job: Job, workers: Sequence[int], turns: int) -> tuple[list[dict[str, float]], dict[int, list[float]]]:
    """Measure our loop and the plain one in turns; rates of each turn, and of each number of workers and turn.

    Each has a process of its own, as settings of the process count for all that runs in it.
    """
    context, threads = multiprocessing.get_context("spawn"), torch.get_num_threads()
    ours: list[dict[str, float]] = []
    plain: dict[int, list[float]] = {n: [] for n in workers}
    with (
        ProcessPoolExecutor(1, context, processes.settle, (threads,)) as settled,
        ProcessPoolExecutor(1, context, torch.set_num_threads, (threads,)) as untouched,
    ):
        for _ in range(turns):
            ours.append(settled.submit(job.run).result())
            for n, found in plain.items():
                found.append(untouched.submit(dataclasses.replace(job, workers=n).run).result()["plain"])
    return ours, plain


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
            for _ in range(cuda.WARM_UP):
                cuda.on_side_stream(passes)
            optimizer.zero_grad(set_to_none=True)
            run = cuda.record(passes, generator)[0]
        while True:
            run()
            if update:
                optimizer.step()
            yield len(x)

    return steps


def pictures(dataset: Dataset, data_dir: Path) -> torch.utils.data.Dataset:
    """Open the training images as tutorials do: torchvision's class, or a folder of JPEG files."""
    from torchvision import datasets, transforms

    to_tensor = transforms.ToTensor()
    if dataset.fetch:
        # "download" unpacks files that are there as .gz
        return getattr(datasets, dataset.folder)(data_dir, train=True, download=True, transform=to_tensor)
    if dataset.pick:
        small = transforms.Compose([transforms.CenterCrop(148), transforms.Resize(dataset.image_shape[1]), to_tensor])
        return datasets.ImageFolder(data_dir / dataset.folder, small)
    return Pictures(dataset.load("train", data_dir), to_tensor)


class Pictures(torch.utils.data.Dataset):
    """Images as torchvision's MNIST gives them: one Pillow picture for each, then its transform."""

    def __init__(self, data: ImageSet, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.data, self.transform = data, transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.data.images[i, 0].numpy())), int(self.data.labels[i])


def as_written(model: Model) -> Model:
    """Give a model the dropout of `torch.nn`."""
    for stack in [module for module in model.modules() if isinstance(module, nn.Sequential)]:
        for i, layer in enumerate(stack):
            if isinstance(layer, blocks.Dropout):
                stack[i] = nn.Dropout(layer.p)
    return model


def plain_loop(name: str, images: torch.utils.data.Dataset, device: torch.device, workers: int) -> Loop:
    """Make the loop of every tutorial, for ever; no augmentation, no noise, float32, no schedule."""
    entry = ROSTER[name]

    def steps() -> Iterator[int]:
        torch.manual_seed(0)
        model = as_written(entry.config.build()).to(device).train()
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
    job = Job(name, dataset.name, args.data_dir, str(device), args.seconds)
    ours, plain_turns = take_turns(job, args.workers, args.turns)
    best = {loop: max(turn[loop] for turn in ours) for loop in ours[0]}
    plain = {n: max(found) for n, found in plain_turns.items()}
    at_home = dataset.name == ROSTER[name].home  # where the report's figure was measured
    reached = seconds_to_reported(name, splits, device) if args.reach and at_home else None
    return {
        "model": name,
        "dataset": dataset.name,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "images_per_second": round(best["ours"]),
        "plain_images_per_second": round(max(plain.values())),
        "plain_by_workers": {str(n): round(value) for n, value in plain.items()},
        "ratio": round(best["ours"] / max(plain.values()), 2),
        "ceiling_images_per_second": round(best["ceiling"]),
        "ceiling_fraction": round(statistics.median(turn["ours"] / turn["ceiling"] for turn in ours), 3),
        "with_update_fraction": round(statistics.median(turn["ours"] / turn["with update"] for turn in ours), 3),
        "seconds_to_reported": None if reached is None else round(reached, 2),
    }


def device_name(device: torch.device) -> str:
    """Name the device for people: the GPU's product name, or the CPU's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text(encoding="utf-8").splitlines() if cpu.is_file() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{names[0]}, {os.cpu_count()} cores" if names else platform.processor() or device.type


def whole_run(dataset: Dataset, device: torch.device, args: argparse.Namespace) -> dict[str, Any]:
    """Time `train.py` with all models of a data set, metrics and projections, as a user waits for it."""
    names = args.work[dataset.name]
    program = Path(training.__file__).parent.parent / "train.py"
    data_dir = data_folder(args.data_dir).resolve()
    with tempfile.TemporaryDirectory() as folder:
        options = ["--dataset", dataset.name, "--device", str(device), "--data-dir", data_dir, "--checkpoints", folder]
        start = time.perf_counter()
        subprocess.run([sys.executable, program, *names, *options], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
    return {"models": names, "device": device_name(device), "whole_seconds": round(seconds, 1)}


def settings(name: str, data: ImageSet, args: argparse.Namespace) -> dict[str, Any]:
    """Measure our loop on the CPU with each memory format and number of threads; images per second."""
    cpu = torch.device("cpu")
    found = {}
    threads = torch.get_num_threads()
    for count in up_to(threads):
        torch.set_num_threads(count)
        loops = {
            f"{count} threads, {layout}": our_loop(name, data, cpu, getattr(torch, layout))
            for layout in ("contiguous_format", "channels_last")
        }
        turns = [rates(loops, cpu, args.seconds) for _ in range(args.turns)]
        found |= {loop: round(max(turn[loop] for turn in turns)) for loop in loops}
    torch.set_num_threads(threads)
    return {"model": name, "device": device_name(cpu), "images_per_second": found, "best": max(found, key=found.get)}


def up_to(cores: int) -> list[int]:
    """List the powers of two up to a number of cores, and the number itself."""
    return sorted({*(2**k for k in range(cores.bit_length())), cores})


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
    parser.add_argument("models", nargs="*", type=model, metavar="MODEL", help="which (default: all)")
    parser.add_argument("--dataset", type=one_of(DATASETS, "data set"), help="default: that of each model's report")
    parser.add_argument("--data-dir", help="data folder (default: EXPLORER_DATA, else data/)")
    parser.add_argument("--device", type=usable_device, default="auto", help="auto (default), cuda, mps or cpu")
    parser.add_argument("--threads", type=threads, help="CPU threads (default: all cores)")
    parser.add_argument("--json", action="store_true", help="print JSON lines, not a table")
    parser.add_argument("--no-reach", dest="reach", action="store_false", help="leave seconds_to_reported out")
    parser.add_argument("--whole", action="store_true", help="also time train.py with all models; hours on a CPU")
    parser.add_argument("--settings", action="store_true", help="memory formats and numbers of threads instead (CPU)")
    parser.add_argument("--quick", action="store_true", help="a smoke test: short turns; not figures to quote")
    args = parser.parse_args(argv)
    args.turns, args.seconds = (1, 0.1) if args.quick else (TURNS, SECONDS)
    args.workers = [0] if args.quick else [0, *up_to(os.cpu_count() or 1)]
    try:
        args.work = choose_models(args.models, args.dataset)
    except ValueError as error:
        parser.error(str(error))
    return args


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    speak_any_encoding()
    args = parse_arguments(argv)
    if not args.settings and importlib.util.find_spec("torchvision") is None:
        note("training: the plain loop is torchvision's, which is not installed: pip install -r tests/requirements.txt")
        return 2
    processes.settle(args.threads or os.cpu_count() or 1)
    if not args.json and not args.settings:
        print(f"{'model':<12} {'ours':>10} {'plain':>10} {'ratio':>10} {'ceiling':>10} {'+ update':>10} to the report")
    missing = False
    for dataset in map(DATASETS.get, args.work):
        try:
            splits = {split: dataset.load(split, args.data_dir) for split in SPLITS}
        except (DataError, OSError) as error:
            note(f"training: {error}")
            missing = True
            continue
        for name in args.work[dataset.name]:
            note(f"{name}: measuring")
            if args.settings:
                show(settings(name, splits["train"], args), args.json)
            else:
                show(measure(name, dataset, splits, args.device, args), args.json)
        if args.whole:
            show(whole_run(dataset, args.device, args), args.json)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
