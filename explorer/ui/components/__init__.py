"""Browser components without iframe: choosing images by picture, and images under the pointer of a map.

Their JavaScript is readable source beside this file, and needs no build step and no network.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

from explorer.images import grid
from explorer.ui.pictures import data_uri

_HERE = Path(__file__).parent


def _component(name: str, css: str | None = None) -> ComponentRenderer:
    return st.components.v2.component(f"lx_{name}", js=(_HERE / f"{name}.js").read_text(), css=css)


_picker = _component("picker", (_HERE / "picker.css").read_text())
_hover = _component("hover")


def picker(
    images: np.ndarray, titles: Sequence[str], slots: Sequence[str], chosen: Sequence[str], key: str
) -> tuple[int, int] | None:
    """Show images `(N, C, H, W)` to choose from, a click fills one of `slots`.

    `chosen` are the inline pictures now in the slots. Returns (slot, image) when one was just clicked.
    """
    result = _picker(
        data={
            "sheet": data_uri(grid(images, len(images), gap=0)),
            "n": len(images),
            "titles": list(titles),
            "slots": list(slots),
            "chosen": list(chosen),
        },
        key=key,
        on_picked_change=lambda: None,
    )
    if result.picked is None:
        return None
    slot, image = int(result.picked["slot"]), int(result.picked["image"])
    return (slot, image) if 0 <= slot < len(slots) and 0 <= image < len(images) else None


def hover_images(images: np.ndarray, titles: Sequence[str], chart_key: str, key: str) -> None:
    """Show the image `(C, H, W)` of the point under the pointer of the Plotly chart with key `chart_key`.

    The chart's `customdata` is the place of a point in `images` `(M, C, H, W)`.
    """
    columns = 40
    _hover(
        data={
            "sheet": data_uri(grid(images, columns, gap=0)),
            "columns": columns,
            "rows": -(-len(images) // columns),
            "titles": list(titles),
            "chart": chart_key,
        },
        key=key,
    )
