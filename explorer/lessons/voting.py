"""What can be voted: which values answer a prediction, and what they are in the address and in words."""

import math
from collections.abc import Sequence
from typing import Any

from explorer import language
from explorer.lessons.reading import Choose, Draw, Point, Prediction

REACH = 4.5  # of the plane that is pointed at, in its numbers, to each side
NOTHING = "–"  # in words
MOST_PLACES = 30  # of a curve


def accepted(asked: Prediction, value: Any, places: int = 0) -> Any:
    """Give a vote as it is stored, or None for what is none.

    A number for one to choose, (x, y) for a point, as many numbers as the curve has `places` for a curve.
    """
    if isinstance(asked, Choose):
        return value if type(value) is int and 0 <= value < len(asked.options) else None
    if not isinstance(value, list | tuple) or not all(_is_number(v) for v in value):
        return None
    if isinstance(asked, Point):
        return [round(min(REACH, max(-REACH, v)), 2) for v in value] if len(value) == 2 else None
    if len(value) != places:
        return None
    step = (asked.high - asked.low) / 200
    return [round(step * round((min(asked.high, max(asked.low, v)) - asked.low) / step) + asked.low, 6) for v in value]


def to_text(value: Any) -> str:
    """Write a vote for the address."""
    return "_".join(f"{v:g}" for v in (value if isinstance(value, list) else [value]))


def from_text(asked: Prediction, text: str, places: int = 0) -> Any:
    """Read a vote from the address, or None."""
    try:
        values = [float(part) for part in text[:1000].split("_")]
    except ValueError:
        return None
    if isinstance(asked, Choose):
        return accepted(asked, int(values[0])) if len(values) == 1 and values[0].is_integer() else None
    return accepted(asked, values, places)


def in_words(asked: Prediction, value: Any) -> str:
    """Say a vote."""
    if value is None:
        return NOTHING
    if isinstance(asked, Choose):
        return asked.options[value].text
    if isinstance(asked, Point):
        return f"({language.number(value[0], '.2f')}; {language.number(value[1], '.2f')})"
    return f"{language.number(value[0], '.3g')} … {language.number(value[-1], '.3g')}"


def counts(asked: Choose, votes: Sequence[Any]) -> list[int]:
    """Count the votes of each option."""
    return [sum(vote == k for vote in votes) for k in range(len(asked.options))]


def distance(asked: Prediction, vote: Any, truth: Any) -> float:
    """Give how far a point or a curve is from the truth: distance, or mean of the distances."""
    pairs = list(zip(vote, truth, strict=True))
    if isinstance(asked, Point):
        return math.dist(vote, truth)
    return sum(abs(a - b) for a, b in pairs) / len(pairs)


def is_curve(asked: Prediction) -> bool:
    """Whether a prediction is a curve."""
    return isinstance(asked, Draw)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
