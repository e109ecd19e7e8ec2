"""Simulate a run on all of CelebA: 202,599 names for the pictures that are there, and what `train.py` makes of them.

    python -m benchmarks.allfaces --data-dir data --json

A folder is made of links to the pictures at hand under all the names of CelebA, with tables of its size: the official
parts (162,770 for training, 19,867 and 19,962), 40 attributes and 10,177 people. The cache is left as by a run that was
killed when all but `--left` pictures were decoded. `train.py --dataset celeba --resume` then checks what is there, goes
on, and says how long fitting will take; there it is stopped. One line:

    decoded_per_second, minutes_to_decode   pictures, measured on a thousand of them, and what all would take
    seconds_to_hours                        from the start of train.py until it has said how long all models will take
    hours                                   what it said
    peak_bytes                              memory of train.py until then, pages of the mapped file included

Exit codes: 0 it was measured, 1 data are missing or train.py failed, 2 the command is wrong.
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.scaling import high_water
from explorer import arguments, celeba
from explorer.arguments import at_least, speak_any_encoding
from explorer.celeba import cache
from explorer.datasets import data_folder

ALL, LAST_OF_TRAINING, LAST_OF_VALIDATION, PEOPLE = 202_599, 162_770, 182_637, 10_177
ROOT = Path(__file__).parents[1]


def make_folder(folder: Path, source: Path, there: celeba.Faces, n: int) -> Path:
    """Link `n` names to the pictures that are there, and write tables of as many rows; give the folder of images."""
    room = folder / celeba.FOLDER / "img_align_celeba"
    room.mkdir(parents=True)
    names = [f"{i:06}.jpg" for i in range(1, n + 1)]
    for i, name in enumerate(names):
        os.symlink(source / there.names[i % len(there.names)], room / name)
    ends = [round(end * n / ALL) for end in (LAST_OF_TRAINING, LAST_OF_VALIDATION)]
    labels = (np.random.default_rng(0).integers(0, 2, (n, len(celeba.ATTRIBUTES))) * 2 - 1).tolist()
    tables = {
        "list_eval_partition.txt": [f"{name} {(i >= ends[0]) + (i >= ends[1])}" for i, name in enumerate(names)],
        "identity_CelebA.txt": [f"{name} {i % PEOPLE}" for i, name in enumerate(names)],
        "list_attr_celeba.txt": [
            str(n), " ".join(celeba.ATTRIBUTES),
            *(f"{name} {' '.join(map(str, row))}" for name, row in zip(names, labels, strict=True)),
        ],
    }  # fmt: skip
    for name, lines in tables.items():
        (room.parent / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return room


def half_decode(room: Path, names: list[str], there: celeba.Faces, left: int) -> None:
    """Leave the cache as a run does that was killed with so many pictures `left`; the variable names its folder."""
    part, lines = cache._parts(cache.place_of(room, names, celeba.SIDE))
    contents = [image.tobytes() for image in there.images]
    digests = [hashlib.sha256(content).hexdigest()[:16] for content in contents]
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("wb") as file, lines.open("w", encoding="utf-8") as journal:
        for i, name in enumerate(names[:-left]):
            file.write(contents[i % len(contents)])
            journal.write(json.dumps((name, digests[i % len(digests)], "")) + "\n")


def start(data_dir: Path, folder: Path, models: list[str]) -> dict[str, Any]:
    """Run train.py until it has said how long all will take.

    Raises:
        RuntimeError: it ended before.
    """
    begin, peak, said = time.perf_counter(), 0, None
    command = [sys.executable, "train.py", *models, "--dataset", "celeba", "--resume", "--only", "fit"]
    places = ["--data-dir", str(data_dir), "--checkpoints", str(folder / "checkpoints")]
    with subprocess.Popen([*command, *places], cwd=ROOT, stdout=subprocess.PIPE, text=True, encoding="utf-8") as run:
        for line in run.stdout:
            print(line, end="", file=sys.stderr)
            if said := re.search("about (.+) in all|epochs, about (.+)", line):
                with contextlib.suppress(OSError):  # on Linux alone
                    peak = high_water(run.pid)
                run.terminate()
                break
    if not said:
        raise RuntimeError("train.py ended before it said how long fitting takes; see above")
    return {"seconds_to_hours": time.perf_counter() - begin, "hours": said[1] or said[2], "peak_bytes": peak}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Make the folder, leave the cache half read, and start train.py on it."""
    there = celeba.read(data_folder(args.data_dir))
    source = celeba.find_images(data_folder(args.data_dir) / celeba.FOLDER)[0].parent
    some = [source / name for name in there.names[:1000]]
    begin = time.perf_counter()
    list(cache.read_images(some, celeba.SIDE))
    rate = len(some) / (time.perf_counter() - begin)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.environ["EXPLORER_CACHE"] = str(folder / "cache")
        room = make_folder(folder, source.resolve(), there, args.images)
        half_decode(room, [f"{i:06}.jpg" for i in range(1, args.images + 1)], there, args.left)
        found = start(folder, folder, args.models)
    return {
        "images": args.images, "pictures": len(there.names), "decoded_per_second": rate,
        "minutes_to_decode": args.images / rate / 60, **found,
    }  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    speak_any_encoding()
    parser = argparse.ArgumentParser(description="Simulate a run on all of CelebA.")
    parser.add_argument("models", nargs="*", help="default: all of the faces'")
    parser.add_argument("--data-dir", type=arguments.path)
    parser.add_argument("--images", type=at_least(20), default=ALL)
    parser.add_argument("--left", type=at_least(1), default=4000, help="pictures that are yet to be decoded")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(argv)
    try:
        found = measure(args)
    except (celeba.FacesError, RuntimeError, OSError) as error:
        print(f"benchmarks.allfaces: {error}", file=sys.stderr)
        return 1
    text = ", ".join(
        f"{name} {value:,.1f}" if isinstance(value, float) else f"{name} {value}" for name, value in found.items()
    )
    print(json.dumps(found) if args.json else text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
