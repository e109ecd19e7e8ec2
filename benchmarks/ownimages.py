"""How long one waits from a folder of photographs to the app: `python -m benchmarks.ownimages [--json] [--photos 500]`.

Makes photographs of 12 megapixels as phones take them (JPEG of 1 to 3 MB; coloured shapes on a sky of noise, in three
subfolders), runs `train.py --images` on them, starts the app on the bundles and loads the page Reconstruct. Prints the
seconds of each; making the photographs does not count.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.browser import ROOT, run_server
from benchmarks.sessions import Visitor
from explorer.arguments import at_least, speak_any_encoding

SIZE = (4032, 3024)
KINDS = ("circles", "squares", "lines")


def photograph(seed: int) -> Image.Image:
    """Draw one of the three kinds of shape, anywhere, in any colours, on soft noise."""
    rng = np.random.default_rng(seed)
    sky = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    picture = Image.fromarray(sky).resize(SIZE, Image.Resampling.BICUBIC)
    x, y, r = (rng.uniform(0.3, 0.7, 3) * (*SIZE, 0.4 * SIZE[1])).tolist()
    box, colour = (x - r, y - r, x + r, y + r), tuple(rng.integers(0, 256, 3).tolist())
    pen = ImageDraw.Draw(picture)
    draw = (pen.ellipse, pen.rectangle, lambda box, fill: pen.line(box, fill, 200))[seed % 3]
    draw(box, fill=colour)
    return picture


def measured(n: int, folder: Path) -> Iterator[dict[str, object]]:
    """Time each step on so many photographs."""
    size = 0
    for i in range(n):
        path = folder / "photos" / KINDS[i % 3] / f"IMG_{i:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph(i).save(path, quality=88)
        size += path.stat().st_size
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
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        try:
            for row in measured(args.photos, Path(folder)):
                row["seconds"] = round(row["seconds"], 1)
                print(json.dumps(row) if args.json else "{step}: {seconds} s".format(**row), flush=True)
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            print(f"benchmarks.ownimages: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
