"""Images as HTML: strips with figures under them, a decoded plane with codes on it, a legend.

One PNG a strip, crisp at any size; text takes the theme's colour, so both themes work.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import streamlit as st
from PIL import Image, ImageDraw

from explorer.images import grid, jpeg_bytes, png_bytes, to_pil
from explorer.language import listed, number, say
from explorer.palette import class_colour, class_outline

SHEET_COLUMNS = 40  # of all images of the gallery in one picture
MANY_PIXELS = 250_000  # a sheet of more in colour travels as JPEG
FIGURE = re.compile(r"(?<=\d) (?=\S)")  # before its unit, in any language
UNIT = "\u00a0dB"  # for which a phone has no room
SMOOTH_FROM = 64  # pixels of a side: so many read as a photograph, and its squares would only distract


@dataclass(frozen=True)
class Strip:
    """One row of a comparison: images `(N, C, H, W)` in [0, 1], and a line of text under each."""

    label: str
    images: np.ndarray
    captions: Sequence[str] = ()
    note: str = ""


def data_uri(x: np.ndarray) -> str:
    """Encode one image `(C, H, W)` as the address of an inline PNG, or JPEG where it is large and in colour."""
    return jpeg_uri(to_pil(x)) if len(x) == 3 and x[0].size > MANY_PIXELS else png_uri(to_pil(x))


def jpeg_uri(picture: Image.Image) -> str:
    """Encode a picture as the address of an inline JPEG."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg_bytes(picture)).decode()


def png_uri(picture: Image.Image) -> str:
    """Encode a picture as the address of an inline PNG."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(picture)).decode()


def look_of(x: np.ndarray) -> str:
    """Give the style of enlarged images `(N, C, H, W)`: pixels stay pixels where they are few."""
    return "lx-crisp" if x.shape[-1] < SMOOTH_FROM else "lx-smooth"


def show_strips(strips: Sequence[Strip]) -> None:
    """Draw strips under each other, columns aligned."""
    lines = max((text.count("\n") + 1 for strip in strips for text in strip.captions), default=0)
    inside = "".join(_strip_html(strip) for strip in strips)
    st.html(f'<div class="lx-rows" style="--rows:{len(strips)};--lines:{lines}">{inside}</div>')


def _whole(text: str) -> str:
    """Keep figures and their units on one line."""
    return escape(FIGURE.sub("\u00a0", text))


def _strip_html(strip: Strip) -> str:
    n = len(strip.images)
    captions = "".join(f"<span>{_whole(text).replace(UNIT, f'<i>{UNIT}</i>')}</span>" for text in strip.captions)
    said = listed(filter(None, (strip.label, strip.note, say("{n} images in a row", n=n))))
    bare = "" if strip.label or strip.note else " lx-bare"
    return (
        f'<div class="lx-strip{bare}"><div class="lx-label"><b>{escape(strip.label)}</b>'
        f"<span>{_whole(strip.note)}</span></div>"
        f'<div class="lx-images" style="--n:{n}"><img class="{look_of(strip.images)}" '
        f'src="{data_uri(grid(strip.images, n, gap=2, background=0.5))}" alt="{escape(said)}">'
        f'<div class="lx-captions" style="grid-template-columns:repeat({n},1fr)">{captions}</div></div></div>'
    )


def show_legend(classes: Sequence[str]) -> None:
    """Draw colour and shape of each class by its name in the current language, where there is more than one."""
    if len(classes) < 2:
        return
    items = (f"<span>{_mark(k)}{escape(say(name))}</span>" for k, name in enumerate(classes))
    st.html(f'<div class="lx-legend">{"".join(items)}</div>')


def _mark(k: int) -> str:
    corners = ", ".join(f"{50 + 40 * x:.1f}% {50 - 40 * y:.1f}%" for x, y in class_outline(k))
    return f'<i style="background:{class_colour(k)};clip-path:polygon({corners})"></i>'


def show_plane(
    x: np.ndarray,
    columns: int,
    ticks: Sequence[tuple[float, str]],
    points: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    axis_names: tuple[str, str] = ("z₁", "z₂"),
) -> None:
    """Draw decoded images `(N, C, H, W)` as a square sheet with axes, and codes over it.

    ticks: places along an axis, 0 to 1, with their text; both axes have the same. points: `(M, 2)` in
    the same unit, y upwards; those outside are left out. labels: the class of each point `(M,)`.
    """
    dots = (
        ""
        if points is None
        else f'<img src="{_dots_uri(points, labels)}" alt="{escape(say("marks of the codes, by class"))}">'
    )
    said = say(
        "{n} by {n} decoded images: {right} to the right, {up} up", n=columns, right=axis_names[0], up=axis_names[1]
    )
    below = "".join(f'<span style="left:{100 * p:.2f}%">{escape(text)}</span>' for p, text in ticks)
    beside = "".join(f'<span style="bottom:{100 * p:.2f}%">{escape(text)}</span>' for p, text in ticks)
    st.html(
        f'<div class="lx-plane"><div class="lx-axis-y">{beside}<b>{escape(axis_names[1])}</b></div>'
        f'<div class="lx-sheet"><img class="{look_of(x)}" src="{data_uri(grid(x, columns, gap=0))}" '
        f'alt="{escape(said)}">{dots}</div>'
        f'<div></div><div class="lx-axis-x">{below}<b>{escape(axis_names[0])}</b></div></div>'
    )


def cell_places(axis: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Place coordinates on a sheet whose cells stand at `axis`: 0 is its left edge, 1 its right edge."""
    centres = (np.arange(len(axis)) + 0.5) / len(axis)
    places = np.interp(values, axis, centres)
    half = 0.5 / len(axis)
    step_low, step_high = float(axis[1] - axis[0]), float(axis[-1] - axis[-2])
    below = centres[0] - half * np.clip((float(axis[0]) - values) / (step_low / 2), 0, 9)
    above = centres[-1] + half * np.clip((values - float(axis[-1])) / (step_high / 2), 0, 9)
    return np.where(values < float(axis[0]), below, np.where(values > float(axis[-1]), above, places))


def _dots_uri(points: np.ndarray, labels: np.ndarray, side: int = 1400, radius: int = 8) -> str:
    """Paint points `(M, 2)` of a unit square on a transparent picture of `side` pixels."""
    sheet = Image.new("RGBA", (side, side))
    pen = ImageDraw.Draw(sheet)
    for (px, py), label in zip(points, labels, strict=True):
        if 0 <= px <= 1 and 0 <= py <= 1:
            corners = [(px * side + radius * x, (1 - py) * side - radius * y) for x, y in class_outline(label)]
            pen.polygon(corners, fill=class_colour(label), outline="white", width=2)
    return png_uri(sheet)


def all_figures_of(mse: float, decibels: float, similarity: float) -> str:
    """Write the three figures of one reconstruction for the lines under it."""
    return f"{number(mse, '.4f')}\n{decibels_of(mse, decibels, similarity)}\n{number(similarity, '.2f')}"


def decibels_of(mse: float, decibels: float, similarity: float) -> str:
    """Write only how many decibels a reconstruction has."""
    return f"{number(decibels, '.1f')} dB"
