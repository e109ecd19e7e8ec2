"""How long one waits from a folder of photographs to the app: `python -m benchmarks.ownimages [--json] [--photos 500]`.

Makes photographs of 12 megapixels as phones take them (JPEG of 1 to 3 MB; coloured shapes on a sky of noise, in three
subfolders), runs `train.py --images` on them, starts the app on the bundles and loads the page Reconstruct. Prints the
seconds of each; making the photographs does not count.

With `--read 1000 10000 50000` it makes so many pictures of 320 x 240 and prints how long they take to be looked at,
decoded and parted, how long a second time, and how much memory beyond that of the program, each in its own process.
"""

import argparse
import asyncio
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.browser import ROOT, run_server
from benchmarks.sessions import Visitor
from explorer import imagefolder
from explorer.arguments import at_least, speak_any_encoding
from explorer.datasets import SPLITS

SIZE, SMALL = (4032, 3024), (320, 240)
KINDS = ("circles", "squares", "lines")


def photograph(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """Draw one of the three kinds of shape, anywhere, in any colours, on soft noise."""
    rng = np.random.default_rng(seed)
    sky = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    picture = Image.fromarray(sky).resize(size, Image.Resampling.BICUBIC)
    x, y, r = (rng.uniform(0.3, 0.7, 3) * (*size, 0.4 * size[1])).tolist()
    box, colour = (x - r, y - r, x + r, y + r), tuple(rng.integers(0, 256, 3).tolist())
    pen = ImageDraw.Draw(picture)
    draw = (pen.ellipse, pen.rectangle, lambda box, fill: pen.line(box, fill, size[0] // 20))[seed % 3]
    draw(box, fill=colour)
    return picture


def made(n: int, folder: Path, size: tuple[int, int]) -> int:
    """Make so many photographs in three subfolders; give their bytes."""
    total = 0
    for i in range(n):
        path = folder / KINDS[i % 3] / f"IMG_{i:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph(i, size).save(path, quality=88)
        total += path.stat().st_size
    return total


def read(folder: Path) -> tuple[float, float]:
    """Look at a folder and read all its splits; give the seconds and the most memory that this process took, MB."""
    start, before = time.perf_counter(), peak()
    found = imagefolder.look(folder)
    channels = 1 if imagefolder.is_grey(found, lambda *told: None) else 3
    side = imagefolder.SIDES[channels]
    data = imagefolder.dataset(found, "photos", (channels, side, side))
    total = sum(len(data.load(split)) for split in SPLITS)
    if total != len(found.names):
        raise RuntimeError(f"{total} of {len(found.names)} pictures were read")
    return time.perf_counter() - start, peak() - before


def peak() -> float:
    """Give the most memory that this process has taken, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def readings(counts: Sequence[int], folder: Path) -> Iterator[dict[str, object]]:
    """Time the first and the second reading of so many pictures."""
    os.environ["EXPLORER_CACHE"] = str(folder / "cache")
    for n in counts:
        pictures = folder / f"{n}"
        size = made(n, pictures, SMALL)
        for step in ("read", "read again"):
            with ProcessPoolExecutor(1, get_context("spawn")) as own:
                seconds, megabytes = own.submit(read, pictures).result()
            yield {"step": step, "photos": n, "mb": round(size / 1e6), "seconds": seconds, "memory": round(megabytes)}
        shutil.rmtree(pictures)


def measured(n: int, folder: Path) -> Iterator[dict[str, object]]:
    """Time each step on so many photographs."""
    size = made(n, folder / "photos", SIZE)
    environment = {"EXPLORER_CACHE": str(folder / "cache"), "EXPLORER_CHECKPOINTS": str(folder / "checkpoints")}
    start = time.perf_counter()
    command = [sys.executable, "train.py", "--images", str(folder / "photos")]
    subprocess.run(command, cwd=ROOT, env=os.environ | environment, check=True, stdout=subprocess.DEVNULL)
    yield {"step": "train.py --images", "photos": n, "mb": round(size / 1e6), "seconds": time.perf_counter() - start}
    start = time.perf_counter()
    with run_server(environment=environment) as (address, _):

        async def open_page() -> None:
            visitor = await Visitor.arrive(address)
            await visitor.open("reconstruct", "dataset=photos")
            await visitor.leave()

        asyncio.run(open_page())
        yield {"step": "app and first page", "photos": n, "seconds": time.perf_counter() - start}


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    speak_any_encoding()
    parser = argparse.ArgumentParser(description="Time the way from a folder of photographs to the app.")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--photos", type=at_least(30), default=500, help="how many (default 500)")
    parser.add_argument("--read", type=at_least(30), nargs="+", metavar="N", help="only read so many small pictures")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        try:
            for row in readings(args.read, Path(folder)) if args.read else measured(args.photos, Path(folder)):
                row["seconds"] = round(row["seconds"], 1)
                print(
                    json.dumps(row) if args.json else "{step}, {photos:,} photos: {seconds} s".format(**row), flush=True
                )
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            print(f"benchmarks.ownimages: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
