"""What the command lines share: types for argparse, whose errors say what is allowed, and output that never fails."""

import argparse
import io
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path


def speak_any_encoding() -> None:
    """Let standard output and errors take every character: those that their encoding lacks are written as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def one_of(table: Mapping[str, object], what: str) -> Callable[[str], str]:
    """Make a type that accepts the names in `table`; `what` says what they name."""

    def check(text: str) -> str:
        if text not in table:
            raise argparse.ArgumentTypeError(f"unknown {what} {text!r}; known: {', '.join(table)}")
        return text

    return check


def at_least(lowest: int, highest: int = 2**31 - 1) -> Callable[[str], int]:
    """Make a type that accepts whole numbers from `lowest` to `highest`, by default the most that 32 bits hold."""

    def check(text: str) -> int:
        # the length first, as Python reads no number of more than 4,300 digits
        if not text.isdecimal() or len(text) > 40 or not lowest <= int(text) <= highest:
            shown = text if len(text) <= 40 else text[:37] + "..."
            raise argparse.ArgumentTypeError(f"{shown!r} is no whole number of at least {lowest} and at most {highest}")
        return int(text)

    return check


threads = at_least(1, 1024)  # more than any machine has cores, and no more than start


def path(text: str) -> Path:
    """Accept a path, `~` standing for the home folder; bash leaves it to the program in `--option=~/path`."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # there is no home
        raise argparse.ArgumentTypeError(f"{text!r} cannot be found: {error}") from error


def positive(text: str) -> float:
    """Accept a finite number above 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value
