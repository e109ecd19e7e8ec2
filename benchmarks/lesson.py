"""A class takes a step of a lesson: phones join a room, vote, and the votes arrive on the lecturer's screen.

    python -m benchmarks.lesson [--json] [--phones 100] [--seconds 10]
    python -m benchmarks.lesson --kill 20             # kill -9 of the server in the middle of a vote, so many times

Phones arrive within 10 s and vote within the next 10 s, each by the browser's own protocol, and look at the room every
two seconds meanwhile, as their browsers do; the lecturer's screen looks every half second.

join_p50_s, join_p95_s      from opening the address that the QR code has, connection included, to the question
screen_p50_s, screen_p95_s  from the tap on an option to the first look of the lecturer's screen that began after the
                            phone was told that its vote counts, until that screen had it: never less than what is seen
counted, twice              votes in the database; phones that have more than one there
server_cores, load_cores    how many cores the server and the phones took, which share the machine
"""

import argparse
import asyncio
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.browser import run_server
from benchmarks.classroom import Watch, share
from benchmarks.sessions import Failed, Visitor
from explorer.arguments import speak_any_encoding
from explorer.lessons.reading import read, shipped
from explorer.lessons.rooms import Rooms, number_of
from explorer.ui.rooming import COOKIE, browser_secret

KEY, STEP = "autoencoders.en", 1  # a lesson, and its step with words to choose from
OPTIONS = [option.text for option in read(shipped()[KEY]).steps[STEP].prediction.options]
COUNT = re.compile(r">(\d+) of \d+<")  # on the lecturer's screen
LATE_S = 30  # that everything may take after the last vote


class Hall:
    """A room of which this program is the lecturer, and what was seen in it."""

    def __init__(self, address: str, where: str, seconds: float) -> None:
        self.address, self.rooms, self.seconds = address, Rooms(where), seconds
        self.seen: dict[str, Any] = {"join": [], "voted": [], "screen": [], "errors": []}
        self.looks: list[tuple[float, float, int]] = []  # of the lecturer's screen: began, ended, votes on it
        self.over = asyncio.Event()

    async def begin(self) -> None:
        """Open a room at the step and lead it."""
        self.lecturer = await Visitor.arrive(self.address)
        self.number = number_of(f" {browser_secret(self.lecturer.http.cookies[COOKIE])}")
        self.code = self.rooms.open(KEY, self.number)[0].code
        self.rooms.move(self.code, self.number, STEP, "predict")
        await self.lecturer.open("lesson", f"lead={self.code}")

    async def watch(self) -> None:
        """Look at the votes as the lecturer's browser does, until all is over."""
        while not self.over.is_set():
            began = time.perf_counter()
            await self.lecturer.follow()
            counts = [int(count) for text in self.lecturer.shown for count in COUNT.findall(text)]
            self.looks.append((began, time.perf_counter(), counts[0] if counts else 0))
            await asyncio.sleep(max(0.0, min(self.lecturer.following.values()) - (time.perf_counter() - began)))

    async def take_part(self, number: int) -> None:
        """Be one phone: arrive, vote, see what is shown."""
        dice = random.Random(number)
        await asyncio.sleep(dice.uniform(0, self.seconds))
        arrived = time.perf_counter()
        try:
            phone = await Visitor.arrive(self.address)
            await phone.open("lesson", f"room={self.code}")
            self.seen["join"].append(time.perf_counter() - arrived)
            await self._look_until(phone, arrived + self.seconds + dice.uniform(0, self.seconds))
            tapped = time.perf_counter()
            await phone.press(dice.choice(OPTIONS))
            if not any("Your vote counts" in text for text in phone.shown):
                raise Failed("a phone was not told that its vote counts")
            self.seen["voted"].append((tapped, time.perf_counter(), self._number(phone)))
            while not self.over.is_set() and not any("What did you see" in text for text in phone.shown):
                await asyncio.sleep(2)
                await phone.follow()
            await phone.leave()
        except (Failed, OSError) as error:
            self.seen["errors"].append(f"{type(error).__name__}: {error}")

    async def _look_until(self, phone: Visitor, end: float) -> None:
        while time.perf_counter() < end:
            await asyncio.sleep(max(0.0, min(2.0, end - time.perf_counter())))
            if time.perf_counter() < end:
                await phone.follow()

    def _number(self, phone: Visitor) -> str:
        return number_of(f"{self.code} {browser_secret(phone.http.cookies[COOKIE])}")

    async def reveal(self, n: int) -> None:
        """Wait for all votes and show what there is to see."""
        end = time.perf_counter() + 2 * self.seconds + LATE_S
        while len(self.seen["voted"]) + len(self.seen["errors"]) < n and time.perf_counter() < end:
            await asyncio.sleep(0.1)
        await asyncio.sleep(2)
        self.rooms.move(self.code, self.number, STEP, "see")

    async def lesson(self, n: int) -> None:
        """Take the step with so many phones."""
        await self.begin()
        watching = asyncio.create_task(self.watch())
        await asyncio.gather(self.reveal(n), *(self.take_part(i) for i in range(n)))
        self.over.set()
        await watching
        for tapped, told, _ in self.seen["voted"]:
            shown = next((ended for began, ended, _ in self.looks if began >= told), None)
            self.seen["screen"].append((shown or time.perf_counter()) - tapped)


def measure(n: int, seconds: float) -> dict[str, Any]:
    """Take a class of `n` phones and give its row."""
    with tempfile.TemporaryDirectory() as folder:
        where = f"sqlite:///{folder}/rooms.sqlite"
        with run_server(environment={"EXPLORER_DATABASE": where}) as (address, process):
            asyncio.run(warm(address))
            watch, before, begin = Watch([process]), time.process_time(), time.monotonic()
            server_before = watch.cpu_s()
            hall = asyncio.run(taken(address, where, n, seconds))
            elapsed = time.monotonic() - begin
            cores = {"server_cores": (watch.cpu_s() - server_before) / elapsed,
                     "load_cores": (time.process_time() - before) / elapsed}  # fmt: skip
        numbers = [number for *_, number in hall.seen["voted"]]
        counted = sum(hall.rooms.own_vote(hall.code, STEP, "before", number) is not None for number in numbers)
        in_all = len(hall.rooms.votes(hall.code, STEP, "before"))
    row: dict[str, Any] = {"phones": n}
    for name in ("join", "screen"):
        row |= {f"{name}_p50_s": share(hall.seen[name], 0.5), f"{name}_p95_s": share(hall.seen[name], 0.95)}
    row |= {"counted": counted, "twice": in_all - counted, "on_screen": max(count for *_, count in hall.looks)}
    row |= {name: round(value, 2) for name, value in cores.items()}
    return row | {"errors": hall.seen["errors"][:5], "n_errors": len(hall.seen["errors"])}


async def warm(address: str) -> None:
    """Open the pages once, so that what is read once for all visitors is read."""
    visitor = await Visitor.arrive(address)
    await visitor.open("lesson")
    await visitor.open("lesson", f"lesson={KEY}&step={STEP + 1}")
    await visitor.leave()


async def taken(address: str, where: str, n: int, seconds: float) -> Hall:
    """Take the step in a hall of its own."""
    hall = Hall(address, where, seconds)
    await hall.lesson(n)
    return hall


def killed(number: int) -> dict[str, Any]:
    """Kill the server while 20 phones vote; count votes that a phone was told of and that are gone."""
    dice = random.Random(number)
    with tempfile.TemporaryDirectory() as folder:
        where = f"sqlite:///{folder}/rooms.sqlite"
        with run_server(environment={"EXPLORER_DATABASE": where}) as (address, process):
            hall = asyncio.run(until_killed(Hall(address, where, 1.0), process.pid, dice.uniform(0.1, 1.5)))
        told = [number for *_, number in hall.seen["voted"]]
        kept = [hall.rooms.own_vote(hall.code, STEP, "before", number) is not None for number in told]
    return {"kill": number, "told": len(told), "lost": kept.count(False), "of_phones": 20}


async def until_killed(hall: Hall, pid: int, after: float) -> Hall:
    """Let 20 phones join and vote, and kill the server this many seconds after the first vote."""
    await hall.begin()
    phones = [asyncio.create_task(hall.take_part(i)) for i in range(20)]
    while not hall.seen["voted"]:
        await asyncio.sleep(0.01)
    await asyncio.sleep(after)
    os.kill(pid, signal.SIGKILL)
    hall.over.set()
    await asyncio.gather(*phones)
    return hall


def rows(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Make the rows that the command line asks for."""
    if args.kill:
        yield from (killed(number) for number in range(args.kill))
    else:
        yield from (measure(n, args.seconds) for n in args.phones)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    speak_any_encoding()
    parser = argparse.ArgumentParser(description="Time a class that takes a step of a lesson.")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--phones", type=int, nargs="+", default=[100])
    parser.add_argument("--seconds", type=float, default=10, help="within which phones arrive, and vote (default 10)")
    parser.add_argument("--kill", type=int, metavar="N", help="kill the server in the middle of a vote, N times")
    args, failed = parser.parse_args(argv), False
    for row in rows(args):
        failed |= bool(row.get("n_errors") or row.get("lost") or row.get("twice"))
        print(json.dumps(row) if args.json else "  ".join(f"{k} {v}" for k, v in row.items()), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
