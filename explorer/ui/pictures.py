"""Images as HTML: strips with figures under them, a decoded plane with codes on it, a legend.

One PNG a strip, crisp at any size; text takes the theme's colour, so both themes work.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import streamlit as st

from explorer.figures import class_colour
from explorer.images import grid, png

CELL_PIXELS = 132  # one image of a strip is at most this wide on the page: legible from the back row


@dataclass(frozen=True)
class Strip:
    """One row of a comparison: images `(N, C, H, W)` in [0, 1], and a line of text under each."""

    label: str
    images: np.ndarray
    captions: Sequence[str] = ()
    note: str = ""


def data_uri(x: np.ndarray) -> str:
    """Encode one image `(C, H, W)` as the address of an inline PNG."""
    return "data:image/png;base64," + base64.b64encode(png(x)).decode()


def show_strips(strips: Sequence[Strip]) -> None:
    """Draw strips under each other, columns aligned."""
    st.html("".join(_strip_html(strip) for strip in strips))


def _strip_html(strip: Strip) -> str:
    n = len(strip.images)
    captions = "".join(f"<span>{escape(text)}</span>" for text in strip.captions)
    return (
        f'<div class="lx-strip"><div class="lx-label"><b>{escape(strip.label)}</b>'
        f"<span>{escape(strip.note)}</span></div>"
        f'<div style="max-width:{n * CELL_PIXELS}px"><img class="lx-crisp" '
        f'src="{data_uri(grid(strip.images, n, gap=2, background=0.5))}" alt="{escape(strip.label)}: {n} images">'
        f'<div class="lx-captions" style="grid-template-columns:repeat({n},1fr)">{captions}</div></div></div>'
    )


def show_legend(classes: Sequence[str]) -> None:
    """Draw the colour of each class."""
    items = (f'<span><i style="background:{class_colour(k)}"></i>{escape(c)}</span>' for k, c in enumerate(classes))
    st.html(f'<div class="lx-legend">{"".join(items)}</div>')


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
    parts = [
        '<svg class="lx-plane" viewBox="-7 -1 109 109" role="img" '
        f'aria-label="{columns} by {columns} decoded images">'
        f'<image href="{data_uri(grid(x, columns, gap=0))}" width="100" height="100" '
        'preserveAspectRatio="none" style="image-rendering:pixelated"/>'
    ]
    for place, text in ticks:
        parts.append(f'<text x="{100 * place:.2f}" y="104" text-anchor="middle">{escape(text)}</text>')
        parts.append(f'<text x="-1" y="{100 * (1 - place) + 1:.2f}" text-anchor="end">{escape(text)}</text>')
    parts.append(f'<text x="50" y="107.5" text-anchor="middle">{axis_names[0]}</text>')
    parts.append(f'<text x="-6.5" y="47" text-anchor="start">{axis_names[1]}</text>')
    if points is not None:
        inside = ((points >= 0) & (points <= 1)).all(axis=1)
        for (px, py), label in zip(points[inside], labels[inside], strict=True):
            parts.append(
                f'<circle cx="{100 * px:.2f}" cy="{100 * (1 - py):.2f}" r="0.7" '
                f'fill="{class_colour(label)}" stroke="#fff" stroke-width="0.15"/>'
            )
    st.html("".join(parts) + "</svg>")


def figures_of(mse: float, decibels: float, similarity: float) -> str:
    """Write the three figures of one reconstruction for the line under it."""
    return f"{mse:.4f}\n{decibels:.1f} dB\n{similarity:.2f}"
