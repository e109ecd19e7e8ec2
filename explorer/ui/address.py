"""The address of a page, read by type: whole numbers, numbers, words. What makes no sense there is passed over.

Parameters that Streamlit binds to widgets are read by Streamlit; `understood` takes out what it cannot read.
"""

import math
import re
from collections.abc import Sequence

import streamlit as st

from explorer.language import restated

MOST = 100  # values of one parameter
LONGEST = 10_000  # characters of one value; the longest of ours lists half of 2,000 images by number
NOTHING_CHOSEN = {"models", "makers", "sources", "sets", "attributes", "against", "layers", "layers-any",
                  "layers-holes", "move"}  # fmt: skip
_WHOLE = re.compile(r"[0-9]{1,9}")  # int() refuses 4,301 digits, and takes those of every script
_NUMBER = re.compile(r"[+-]?[0-9]{1,9}(\.[0-9]{0,20})?(e[+-]?[0-9]{1,2})?")


def whole(text: str, below: int) -> int | None:
    """Read a whole number from 0 to below `below`, or None."""
    value = int(text) if _WHOLE.fullmatch(text) else below
    return value if value < below else None


def number(text: str, reach: float) -> float | None:
    """Read a number from `-reach` to `reach`, or None."""
    value = float(text) if _NUMBER.fullmatch(text) else math.inf
    return value if abs(value) <= reach else None


def texts(name: str) -> list[str]:
    """List the values of a parameter."""
    return st.query_params.get_all(name)[:MOST]


def wholes(name: str, below: int) -> list[int]:
    """List the values of a parameter that are whole numbers from 0 to below `below`."""
    return [value for text in texts(name) if (value := whole(text, below)) is not None]


def pairs(name: str, mark: str = ",") -> list[tuple[str, str]]:
    """List the values of a parameter that have two halves, parted at their last `mark`."""
    parts = (text.rpartition(mark) for text in texts(name))
    return [(left, right) for left, found, right in parts if found]


def keep(name: str, values: Sequence[str]) -> None:
    """Hold the address to these values of a parameter; of none it has no trace."""
    if not values:
        st.query_params.pop(name, None)
    elif list(values) != st.query_params.get_all(name):
        st.query_params[name] = list(values)


def arrived(name: str) -> list[str] | None:
    """List the values of a parameter that a visitor brought, or None where it is as `leave` left it."""
    found = texts(name)
    return None if st.session_state.get(f"left {name}") == found else found


def leave(name: str, values: Sequence[str]) -> None:
    """Hold the address to these values of a parameter, and remember that it was not a visitor who wrote them."""
    keep(name, values)
    st.session_state[f"left {name}"] = texts(name)


def understood() -> dict[str, list[str]] | None:
    """Give the address without what no widget can read and in the current language, or None where it is so already.

    Streamlit 1.67 shows a traceback for an infinite number, also one of so many digits; and takes an empty value for
    none of a choice of which one is required.
    """
    there = {name: st.query_params.get_all(name) for name in st.query_params}
    good = {name: [_said(name, value) for value in values if _readable(name, value)] for name, values in there.items()}
    return None if good == there else {name: values for name, values in good.items() if values}


def _said(name: str, value: str) -> str:
    """Give a value in the words of the current language, unless a control has it already, which restates it itself."""
    return value if name in st.session_state else restated(value)


def _readable(name: str, value: str) -> bool:
    if not value:
        return name in NOTHING_CHOSEN
    return all(len(text) <= LONGEST and text.isprintable() for text in (name, value)) and _finite(value)


def _finite(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:  # a word
        return True
