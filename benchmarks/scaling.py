"""Measure time and memory of training against the size of the data and of the code, and fit a line through each.

    python -m benchmarks.scaling                                       one line per curve
    python -m benchmarks.scaling --json --plot docs/training_time.svg  JSON lines, and a drawing of time

A variational autoencoder of the faces' kind is trained on random images, every size in a process of its own, on the
CPU or on a GPU (`--device cuda`). Curves: "images", "pixels" of an image, numbers in the "code"; "celeba" is as many
images as CelebA has, 202,599, at 64x64 and 128x128, in a mapped file: where they do not fit the device they are
streamed. `seconds_per_epoch` is time in training, scaled up from 4,000 images where there are more; `peak_bytes` is
what training took at most beside the program itself, on CUDA on the GPU.
"""

import argparse
import contextlib
import dataclasses
import itertools
import math
import multiprocessing
import os
import re
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.training import device_name, note, show, synchronise
from explorer import processes, training
from explorer.arguments import path, speak_any_encoding, threads
from explorer.datasets import ImageSet
from explorer.devices import usable_device
from explorer.models import AutoencoderConfig, n_parameters

IMAGES = (1000, 2000, 3000, 4000)
SIDES = (32, 64, 96, 128)
CODES = (16, 128, 512, 1024)
CELEBA = 202_599
BATCH = 64
AXIS = 'fill="none" stroke="#888"'


@dataclasses.dataclass(frozen=True)
class Size:
    """A variational autoencoder of the faces' kind on random images, in memory or (`mapped`) in a file."""

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
    processes.settle(threads)
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


def high_water(process: int | str) -> int:
    """Read the most memory in bytes that a process has had; only Linux keeps account of it in `/proc`."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) * 1024


def peak_bytes(device: torch.device) -> int:
    """Read the most memory that was taken so far: on CUDA by tensors, on the CPU by the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError):  # Linux's getrusage begins at the parent's peak
        return high_water("self")
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure_sizes(device: torch.device, quick: bool) -> list[dict[str, Any]]:
    """Measure every curve, each size in a fresh process, and fit a line through each."""
    lines = []
    context = multiprocessing.get_context("spawn")
    for curve, sizes in size_jobs(quick).items():
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
    names = {
        "images": "images of 64×64 pixels",
        "pixels": "pixels of each of 2,000 images",
        "code": "numbers in the code, 2,000 images",
    }
    width, height, margin = 250, 190, 60
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
            parts.append(f'<text x="{float(cx) + 8:.1f}" y="{float(cy) + 12:.1f}">{b:.1f} s</text>')
        parts.append(f'<text x="{left + 6}" y="24">seconds an epoch</text>')
        parts.append(
            f'<text x="{left + width / 2}" y="{bottom + 32}" text-anchor="middle">{names[line["curve"]]}</text>'
        )
    size = f'width="{margin + len(panels) * (width + margin)}" height="{height + 60}"'
    style = 'font-family="sans-serif" font-size="11" fill="#555"'
    background = '<rect width="100%" height="100%" fill="white"/>'
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>{background}{"".join(parts)}</svg>\n', encoding="utf-8"
    )


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line; a mistake ends the program with exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description="Measure time and memory of training against the size."
    )
    parser.add_argument("--device", type=usable_device, default="auto", help="auto (default), cuda, mps or cpu")
    parser.add_argument("--threads", type=threads, help="CPU threads (default: all cores)")
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    parser.add_argument("--plot", type=path, metavar="SVG", help="draw time against size")
    parser.add_argument("--quick", action="store_true", help="a smoke test: small sizes; not figures to quote")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    speak_any_encoding()
    args = parse_arguments(argv)
    torch.set_num_threads(args.threads or os.cpu_count() or 1)
    lines = measure_sizes(args.device, args.quick)
    for line in lines:
        show(line, args.json)
    if args.plot:
        draw(lines, args.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
