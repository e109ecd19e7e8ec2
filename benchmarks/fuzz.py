"""Give the program what nobody means to: damaged files, hostile addresses, kills. Nothing may fail.

    python -m benchmarks.fuzz [--json] [--only KIND ...] [--n N] [--seed 0] [--keep DIR]

uploads    10,000 pictures of every format that Pillow writes, damaged or huge, through the reader of uploads
bundles    2,000 bundles of digits with damaged files, through all readers and two pages of the app, one of them
           of another model, which has to be shown
families   1,000 families and tables of uses as they are committed, with damaged files, through all readers and the page
           that shows them
tables     2,000 tables of a folder of made-up faces, damaged or as other programs write them; where the table is
           read, no image whose row is whole may have another part, other attributes or another identity
addresses  5,000 addresses with hostile parameters, over all pages
strangers  10,000 messages to the page by which phones join a room: codes, keys, votes for others, markup; the room of
           others must stay as it is, nothing may be shown that was not escaped, and guesses must be slowed down
kills      100 times SIGKILL at a random moment of training and of writing, while another process reads: the
           bundle opens whole each time, and no reader sees an error

Every input is opened, refused in words, or failed: an exception, words that are none, a wrong result, more time or
memory than is allowed, the end of the process. An input depends on the seed and its number alone. Needs a system
that forks. Exit code 1 where anything failed.
"""

import argparse
import contextlib
import json
import os
import random
import re
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.hostile import FORK, KINDS, Case, Fault, Ground, Kind, silence
from benchmarks.scaling import peak_bytes
from explorer.arguments import at_least

CPU = torch.device("cpu")
NO_WORDS = re.compile(r"object at 0x|Traceback|\b\w*[a-z](Error|Exception|Warning)\b|\b(zlib|struct|binascii)\.error\b")
MOST_WORDS = 3000
MOST_ADDRESSES = 8 * 2**30  # of memory, so that what asks for 10^12 is refused by the system


def try_all(kind: Kind, seed: int, numbers: range, pipe: Any) -> None:
    """Try inputs in this process: send each before it is tried, and what became of it after."""
    told = os.fdopen(os.dup(sys.stderr.fileno()), "w")
    silence()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESSES, MOST_ADDRESSES))
    try:
        kind.start()
        base = peak_bytes(CPU)
        for number in numbers:
            case = kind.make(random.Random(f"{seed} {type(kind).__name__} {number}"))
            pipe.send((case.how, case.files))
            outcome, fault = outcome_of(kind, case)
            taken = (peak_bytes(CPU) - base) / 1e6
            too_much = taken > kind.megabytes
            pipe.send(("failed", f"took {taken:,.0f} MB", taken) if too_much else (outcome, fault, taken))
            if too_much:
                return  # the most that a process has taken never gets less
    except Exception:  # in the making of an input
        traceback.print_exc(file=told)
        raise


def outcome_of(kind: Kind, case: Case) -> tuple[str, str]:
    """Try one input: "opened", "refused", or "failed" with the reason."""
    try:
        refusals = kind.attempt(case)
    except Exception as error:
        *_, last = traceback.extract_tb(error.__traceback__)
        where = "" if isinstance(error, Fault) else f", {Path(last.filename).name} line {last.lineno}"
        return "failed", f"{type(error).__name__}: {error}{where}"
    for words in refusals:
        if len(words) > MOST_WORDS or NO_WORDS.search(words):
            return "failed", f"refused, but not in words: {words}"
    return ("refused" if refusals else "opened"), ""


def results(kind: Kind, seed: int, count: int) -> Iterator[tuple[str, dict[str, bytes], str, str, float]]:
    """Try `count` inputs in a process that may die and is then begun anew.

    Yields how each was made, its files, the outcome, the fault, and the megabytes taken so far.
    """
    number = 0
    while number < count:
        ours, theirs = FORK.Pipe()
        worker = FORK.Process(target=try_all, args=(kind, seed, range(number, count), theirs), daemon=True)
        worker.start()
        theirs.close()
        how, files = "nothing yet", {}
        try:
            while number < count:
                how, files = ours.recv()
                if not ours.poll(kind.seconds):
                    yield how, files, "failed", f"took more than {kind.seconds} s", 0.0
                    number += 1
                    break
                outcome, fault, taken = ours.recv()
                yield how, files, outcome, fault, taken
                number += 1
        except EOFError:
            worker.join()
            if worker.exitcode:
                yield how, files, "failed", f"the process ended with code {worker.exitcode}", 0.0
                number += 1
        worker.kill()
        worker.join()


def measure(name: str, kind: Kind, args: argparse.Namespace) -> dict[str, Any]:
    """Try all inputs of one kind; counts, and each fault once with its first input."""
    count = min(args.n or kind.count, kind.count) if name == "kills" else args.n or kind.count
    outcomes, faults, most, begin = Counter(), {}, 0.0, time.perf_counter()
    tried = tqdm(results(kind, args.seed, count), name, count, unit="", dynamic_ncols=True)
    for number, (how, files, outcome, fault, taken) in enumerate(tried):
        outcomes[outcome] += 1
        most = max(most, taken)
        tried.set_postfix(outcomes, refresh=False)
        if outcome == "failed":
            kind_of_fault = re.sub(r"0x[0-9a-f]+|\d+|'[^']*'|\"[^\"]*\"", "#", fault)[:160]
            found = faults.setdefault(kind_of_fault, {"times": 0, "fault": fault[:500], "number": number, "input": how})
            found["times"] += 1
            if args.keep:
                keep(args.keep / f"{name}-{args.seed}-{number}", how, files, fault)
    counts = {outcome: outcomes[outcome] for outcome in ("opened", "refused", "failed")}
    figures = {"peak_mb": round(most), "seconds": round(time.perf_counter() - begin)} | kind.figures()
    return {"kind": name, "inputs": count, **counts, **figures, "seed": args.seed, "faults": list(faults.values())}


def keep(folder: Path, how: str, files: dict[str, bytes], fault: str) -> None:
    """Keep the files of an input that failed, and how it was made."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "how.txt").write_text(f"{how}\n\n{fault}\n", encoding="utf-8", errors="backslashreplace")
    for name, data in files.items():
        (folder / name).write_bytes(data)


@contextlib.contextmanager
def own_environment() -> Iterator[None]:
    """Put the environment back afterwards."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line; a mistake ends the program with exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description="Try what nobody means to do.")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--n", type=at_least(1), help="inputs of each kind (default: as many as each has)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep each input that failed, and how it was made")
    parser.add_argument("--checkpoints", type=Path, metavar="DIR", help="whole bundles (default: fitted for one epoch)")
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    args = parse_arguments(argv)
    failed = 0
    with tempfile.TemporaryDirectory() as folder, own_environment():
        ground = Ground(Path(folder), args.checkpoints)
        os.environ |= ground.environment
        torch.set_num_threads(1)
        for name in args.only:
            line = measure(name, KINDS[name](ground), args)
            failed += line["failed"]
            show(line, args.json)
    return 1 if failed else 0


def show(line: dict[str, Any], as_json: bool) -> None:
    """Print one kind's counts, and each fault with its first input."""
    if as_json:
        print(json.dumps(line), flush=True)
        return
    print(", ".join(f"{key}: {value}" for key, value in line.items() if key != "faults"), flush=True)
    for fault in line["faults"]:
        print(f"  {fault['times']} times, at first number {fault['number']}: {fault['fault']}\n    {fault['input']}")


if __name__ == "__main__":
    sys.exit(main())
