"""Types for argparse that the command lines share; each error says what is allowed."""

import argparse
import math
from collections.abc import Callable, Mapping


def one_of(table: Mapping[str, object], what: str) -> Callable[[str], str]:
    """Make a type that accepts the names in `table`; `what` says what they name."""

    def check(text: str) -> str:
        if text not in table:
            raise argparse.ArgumentTypeError(f"unknown {what} {text!r}; known: {', '.join(table)}")
        return text

    return check


def at_least(lowest: int) -> Callable[[str], int]:
    """Make a type that accepts whole numbers from `lowest`."""

    def check(text: str) -> int:
        if not text.isdecimal() or int(text) < lowest:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least {lowest}")
        return int(text)

    return check


def positive(text: str) -> float:
    """Accept a finite number above 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value
