"""Colours and shapes by which classes, models and lines of a chart are told apart, for every eye.

The colours were searched for, one in each of ten families of hue, so that each has a contrast of at least 3 : 1 (WCAG
2.2, 1.4.11) against the app's white and its near-black, which only a relative luminance from 0.12 to 0.30 has, and that
the two most alike are as unlike as can be: a CIEDE2000 of 10.9 for an eye without red, green or blue cones (Machado et
al. 2009, severity 1), of 16 for one with all. Shapes go with them, since ten is as many as such eyes tell apart.
"""

import math

COLOURS = (
    "#005af0", "#d27800", "#e1004b", "#4b96a5", "#00784b",
    "#696900", "#8787f0", "#a53c96", "#b48778", "#787878",
)  # fmt: skip
BLUE, ORANGE, RED, _, GREEN, *_, GREY = COLOURS

Outline = tuple[tuple[float, float], ...]


def _turned(outline: Outline, degrees: float) -> Outline:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return tuple((round(x * cosine - y * sine, 3), round(x * sine + y * cosine, 3)) for x, y in outline)


_SQUARE = ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9))
_CROSS = (
    (-0.45, -1.2), (0.45, -1.2), (0.45, -0.45), (1.2, -0.45), (1.2, 0.45), (0.45, 0.45),
    (0.45, 1.2), (-0.45, 1.2), (-0.45, 0.45), (-1.2, 0.45), (-1.2, -0.45), (-0.45, -0.45),
)  # fmt: skip
SHAPES: dict[str, Outline] = {  # by the names that Plotly has for them
    "circle": tuple(_turned(((1.0, 0.0),), 15 * i)[0] for i in range(24)),
    "square": _SQUARE,
    "diamond": _turned(_SQUARE, 45),
    "cross": _CROSS,
    "x": _turned(_CROSS, 45),
}
DASHES = ("solid", "dot", "dashdot", "longdash")  # "dash" is for what others are held to


def class_colour(k: int) -> str:
    """Give the colour `#rrggbb` of class `k`, of model `k` of the roster, or of line `k` of a chart."""
    return COLOURS[int(k) % len(COLOURS)]


def class_shape(k: int) -> str:
    """Name the shape, one of `SHAPES`, of class or line `k`; with its colour it is that of no other of the first 50."""
    k = int(k)
    return tuple(SHAPES)[(k + k // len(COLOURS)) % len(SHAPES)]


def class_outline(k: int) -> Outline:
    """Give the corners (x, y) of the shape of class `k` about its middle, about 1 away from it."""
    return SHAPES[class_shape(k)]


def luminance(colour: str) -> float:
    """Give the relative luminance of a colour `#rrggbb`, 0 for black to 1 for white (WCAG 2.2)."""
    levels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in levels]
    return sum(weight * v for weight, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    """Give the contrast of two colours `#rrggbb`, 1 for the same to 21 for black on white (WCAG 2.2)."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def readable_on(colour: str) -> str:
    """Choose black or white for text on a colour `#rrggbb`; the better of them has at least 4.5 : 1 (1.4.3)."""
    return max("#000000", "#ffffff", key=lambda text: contrast(text, colour))
