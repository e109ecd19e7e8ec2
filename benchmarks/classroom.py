"""A class opens the app: many sessions on one running server, by the browser's own protocol.

    python -m benchmarks.classroom [--json] [--sessions 1 10 30 50 100] [--seconds 60] [--replicas 2]
    python -m benchmarks.classroom --churn 1000       # memory while sessions come and go

Sessions arrive within 10 s, each opens a page of a lesson and moves its main control three times, with 4 s to think
before each step on average, then goes on to the next page. A move is what a browser sends: the states of the widgets,
the fragment that the control is in, and the hashes of what the browser has kept. A time ends with the script's run.

One row for each page and one, "all", for each number of sessions:

open_p50_s, open_p95_s    from arriving, or from a click in the navigation, to the whole page
move_p50_s, move_p95_s    from another value of the control to what it changes
errors                    exceptions shown, answers that took longer than a minute, connections lost
rss_mb                    highest resident memory of the servers in all, while the class was there
cpu_s_per_move            processor time of the servers for one move, one session after the other once the class is gone
stock_...                 the same for the untuned minimal app (`stock_app.py`), which as many sessions opened next
server_cores, load_cores  how many cores servers and load took, which share the machine; the load has its own process
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.browser import ROOT, run_server, run_stock_server
from benchmarks.replicas import replicas
from benchmarks.sessions import Failed, Visitor
from explorer.arguments import speak_any_encoding

ARRIVALS_S, THINK_S = 10, 4
MOVES = 3  # on each page
LESSON = {  # page -> its main control
    "reconstruct": ("slider", "Images"),
    "denoise": ("slider", "Level"),
    "latent_map": ("button_group", "Method"),
    "latent_plane": ("slider", "Range"),
    "interpolate": ("slider", "Steps"),
    "generate": ("slider", "Temperature"),
    "draw": ("slider", "Brush"),
    "classify": ("button_group", "Cells"),
}
STOCK = {"": ("slider", "z")}
LESSONS = {"ours": LESSON, "stock": STOCK}
ALONE = 12  # moves of each page by which processor time is measured
CHURN_AT_ONCE = 10

Times = dict[str, list[float]]  # page -> seconds


async def attend(
    address: str, lesson: dict[str, tuple[str, str]], number: int, until: float, seen: dict[str, Any]
) -> None:
    """Be one student: arrive, take the lesson from another page on than one's neighbours, until time is up."""
    dice = random.Random(number)
    await asyncio.sleep(dice.uniform(0, ARRIVALS_S))
    pages = list(lesson)
    try:
        visitor = await Visitor.arrive(address)
        while True:
            page = pages[number % len(pages)]
            number += 1
            answer = await visitor.open(page)
            seen["open"].setdefault(page, []).append(answer.seconds)
            await visitor.fetch(answer.files)
            for _ in range(MOVES):
                await asyncio.sleep(dice.uniform(THINK_S / 2, 1.5 * THINK_S))
                if time.monotonic() > until:
                    return await visitor.leave()
                answer = await visitor.move(*lesson[page], dice.random())
                seen["move"].setdefault(page, []).append(answer.seconds)
    except (Failed, OSError) as error:
        seen["errors"].append(str(error))


async def class_of(address: str, lesson: dict[str, tuple[str, str]], sessions: int, seconds: float) -> dict[str, Any]:
    """Let a class attend, and collect its seconds by page, its errors and what the load itself took."""
    seen: dict[str, Any] = {"open": {}, "move": {}, "errors": []}
    until = time.monotonic() + seconds
    await asyncio.gather(*(attend(address, lesson, number, until, seen) for number in range(sessions)))
    return seen | {"load_cpu_s": time.process_time()}


async def alone(address: str, lesson: dict[str, tuple[str, str]], clock: Callable[[], float]) -> dict[str, float]:
    """Move the control of each page with nobody else there; the servers' processor time by page."""
    taken = {}
    visitor = await Visitor.arrive(address)
    for page, control in lesson.items():
        await visitor.open(page)
        for part in (0.2, 0.6):  # what is made once is made
            await visitor.move(*control, part)
        before = clock()
        for i in range(ALONE):
            await visitor.move(*control, (0.618 * (i + 1)) % 1)
        taken[page] = (clock() - before) / ALONE
    await visitor.leave()
    return taken


class Watch:
    """Processor time and resident memory of processes, and of those that they start, as the kernel counts them."""

    def __init__(self, processes: Sequence[subprocess.Popen]) -> None:
        self.pids = [process.pid for process in processes]
        self.highest_mb = 0.0

    def cpu_s(self) -> float:
        """Give the processor time so far, in seconds."""
        ticks = 0
        for pid in self.pids:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float:
        """Give the resident memory now, in units of 1,000,000 bytes, and remember the highest."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]) for pid in self.pids)
        megabytes = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
        self.highest_mb = max(self.highest_mb, megabytes)
        return megabytes


def take_class(address: str, which: str, sessions: int, seconds: float, watch: Watch) -> dict[str, Any]:
    """Run the load in a process of its own, and look at the servers' memory meanwhile."""
    command = [sys.executable, "-m", "benchmarks.classroom", "--load", address, which, str(sessions), str(seconds)]
    start, before = time.monotonic(), watch.cpu_s()
    watch.highest_mb = 0.0
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8") as process:
        while process.poll() is None:
            watch.rss_mb()
            time.sleep(0.5)
        seen = json.loads(process.stdout.read())
    elapsed = time.monotonic() - start
    cores = {"server_cores": (watch.cpu_s() - before) / elapsed, "load_cores": seen.pop("load_cpu_s") / elapsed}
    return seen | {"rss_mb": watch.highest_mb} | cores


def share(values: Sequence[float], part: float) -> float | None:
    """Give the value below which `part` of the values lie, in seconds; None where there are none."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, round(part * (len(ordered) - 1)))], 3) if ordered else None


def rows(sessions: int, ours: dict[str, Any], stock: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Make the rows of one class: each page, and all of them."""
    together = {kind: [s for values in ours[kind].values() for s in values] for kind in ("open", "move")}
    cpu = statistics.mean(ours["cpu"].values())
    for page in ("all", *ours["open"]):
        opened, moved = (together[k] if page == "all" else ours[k].get(page, []) for k in ("open", "move"))
        row = {
            "sessions": sessions, "page": page,
            "open_p50_s": share(opened, 0.5), "open_p95_s": share(opened, 0.95),
            "move_p50_s": share(moved, 0.5), "move_p95_s": share(moved, 0.95),
            "cpu_s_per_move": round(cpu if page == "all" else ours["cpu"][page], 3), "moves": len(moved),
            "errors": sum(page == "all" or f"page {page!r}" in error for error in ours["errors"]),
            "rss_mb": round(ours["rss_mb"]), "stock_move_p95_s": share(stock["move"].get("", []), 0.95),
        }  # fmt: skip
        if page == "all":
            row |= {
                "server_cores": round(ours["server_cores"], 2), "load_cores": round(ours["load_cores"], 2),
                "stock_open_p95_s": share(stock["open"].get("", []), 0.95), "stock_errors": len(stock["errors"]),
                "stock_cpu_s_per_move": round(stock["cpu"][""], 3), "stock_rss_mb": round(stock["rss_mb"]),
            }  # fmt: skip
        yield row


@contextmanager
def our_servers(n_replicas: int) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """Run the app, behind nginx where there are several, and yield the address and the app's processes."""
    if n_replicas > 1:
        with replicas(n_replicas) as (address, processes):
            yield address, processes
    else:
        with run_server() as (address, process):
            yield address, [process]


def classes(sizes: Sequence[int], seconds: float, n_replicas: int) -> Iterator[dict[str, Any]]:
    """Take each class to ours and to the minimal app, in turn."""
    with ExitStack() as stack:
        address, processes = stack.enter_context(our_servers(n_replicas))
        stock_address, stock_process = stack.enter_context(run_stock_server())
        ours, stock = Watch(processes), Watch([stock_process])
        for sessions in sizes:
            taken = []
            for where, which, watch in ((address, "ours", ours), (stock_address, "stock", stock)):
                seen = take_class(where, which, sessions, seconds, watch)
                taken.append(seen | {"cpu": asyncio.run(alone(where, LESSONS[which], watch.cpu_s))})
            for error in sorted({*taken[0]["errors"]}):
                print(f"{sessions} sessions: {error}", file=sys.stderr)
            yield from rows(sessions, *taken)


def churn(n: int) -> Iterator[dict[str, Any]]:
    """Open and close so many sessions, each on another page of the lesson, and print the memory every hundred."""

    async def come_and_go(address: str, number: int) -> None:
        page = list(LESSON)[number % len(LESSON)]
        visitor = await Visitor.arrive(address)
        await visitor.open(page)
        await visitor.move(*LESSON[page], random.Random(number).random())
        await visitor.leave()

    async def all_of(address: str, first: int, last: int) -> None:
        for number in range(first, last, CHURN_AT_ONCE):
            group = range(number, min(number + CHURN_AT_ONCE, last))
            await asyncio.gather(*(come_and_go(address, i) for i in group))

    with run_server() as (address, process):
        watch = Watch([process])
        for first in range(0, n, 100):
            asyncio.run(all_of(address, first, min(first + 100, n)))
            yield {"sessions_so_far": min(first + 100, n), "rss_mb": round(watch.rss_mb())}


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    speak_any_encoding()
    parser = argparse.ArgumentParser(description="Time a class of sessions on one server.")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 10, 30, 50, 100], help="in a class")
    parser.add_argument("--seconds", type=float, default=60, help="that a class stays (default 60)")
    parser.add_argument("--replicas", type=int, default=1, help="processes of the app, behind nginx (default 1)")
    parser.add_argument("--churn", type=int, metavar="N", help="print the memory while N sessions come and go, no more")
    parser.add_argument("--load", nargs=4, metavar=("ADDRESS", "APP", "N", "SECONDS"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.load:
        address, which, sessions, seconds = args.load
        print(json.dumps(asyncio.run(class_of(address, LESSONS[which], int(sessions), float(seconds)))))
        return 0
    failed = False
    try:
        for row in churn(args.churn) if args.churn else classes(args.sessions, args.seconds, args.replicas):
            failed |= bool(row.get("errors"))
            print(json.dumps(row) if args.json else "  ".join(f"{k} {v}" for k, v in row.items()), flush=True)
    except (Failed, OSError, RuntimeError) as error:
        print(f"benchmarks.classroom: {error}", file=sys.stderr)
        return 1
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
