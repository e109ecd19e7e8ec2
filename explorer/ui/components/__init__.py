"""Browser components without iframe: choosing by picture, images under the pointer, what decodes live in the page.

Their JavaScript is readable source beside this file, and needs no build step and no network. `layer.wasm` is
assembled from `layer.wat`, by `wat2wasm` of wabt.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image
from streamlit.components.v2.types import ComponentRenderer

from explorer import language
from explorer.images import grid, whole_size
from explorer.ui.pictures import data_uri, jpeg_uri
from explorer.ui.serving import code_address

_HERE = Path(__file__).parent


# What travels with each mounted component; Streamlit waits for what the function promises.
_LOADER = """\
const code = import(new URL("{address}", document.baseURI));
export default async (component) => {{
  (await code).speak(component.data.language);
  return (await code).default(component);
}};
"""


def _component(name: str, *libraries: str) -> ComponentRenderer:
    """Register `name`.js with the libraries it calls before it, and the style sheets of all of them.

    Returns what mounts it; the language of the moment goes with its data.
    """
    source = said("".join(script(part) for part in ("say", *libraries, name)))
    loader = _LOADER.format(address=code_address(name, source))
    mount = st.components.v2.component(f"lx_{name}", js=loader, css=styles(*libraries, name) or None)

    def mounted(*, data: Mapping[str, Any], **options: Any) -> Any:
        return mount(data={**data, "language": language.current()}, **options)

    return mounted


def said(source: str, languages: Sequence[str] = ()) -> str:
    """Put the translations of all that a script says before it, by language: of these, or of all."""
    words = language.translations((message for message, _ in language.in_script(source)), languages)
    return f"const WORDS = {json.dumps(words, ensure_ascii=False, separators=(',', ':'))};\n{source}"


def script(name: str) -> str:
    """Give the JavaScript of `name`.js; that of networks (see `explorer.layers`) with its kernel inside."""
    text = (_HERE / f"{name}.js").read_text(encoding="utf-8")
    if name != "network":
        return text
    kernel = base64.b64encode((_HERE / "layer.wasm").read_bytes()).decode()
    return f'const LAYER_WASM = "{kernel}";\n{text}'


def styles(*names: str) -> str:
    """Give the style sheets of these components and libraries, of those that have one."""
    sheets = [_HERE / f"{name}.css" for name in names]
    return "".join(sheet.read_text(encoding="utf-8") for sheet in sheets if sheet.is_file())


_picker = _component("picker")
_hover = _component("hover")
_samples = _component("samples")
_plane = _component("plane", "network", "drawing", "regions")
_draw = _component("draw", "network", "drawing")
_edit = _component("edit", "network", "drawing")
_crop = _component("crop", "drawing")
DIALS = ("length", "beta", "time", "style")
DIAL_PARTS = ("network", "drawing", "row", "dial", "chart")
_dials = {page: _component(page, *DIAL_PARTS) for page in DIALS}
_ledger = _component("ledger", "network", "drawing")
_threshold = _component("threshold", "drawing", "row")
_sketch = _component("sketch", "drawing")
_stage = _component("stage", "drawing")


def stage(data: Mapping[str, Any]) -> None:
    """Watch over the first screen of a page; `data` as stage.js says."""
    _stage(data=dict(data), key="stage")


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


def sample_rows(data: Mapping[str, Any], key: str) -> None:
    """Show rows of images to choose one from; `data` as samples.js says. Its session state `key` has "chosen"."""
    _samples(data=dict(data), key=key, on_chosen_change=lambda: None)


def hover_images(
    sheet: str, columns: int, titles: Sequence[str], chart_key: str, key: str, on_clear: Callable[[], None]
) -> None:
    """Show the image of the point under the pointer of the Plotly chart with key `chart_key`.

    sheet: address of the images, row by row in this many columns without gaps. The chart's `customdata` is the
    place of a point among them. on_clear: called when the visitor clears the chart's selection.
    """
    _hover(
        data={
            "sheet": sheet,
            "columns": columns,
            "rows": -(-len(titles) // columns),
            "titles": list(titles),
            "chart": chart_key,
        },
        key=key,
        on_cleared_change=on_clear,
    )


def plane(data: Mapping[str, Any], key: str) -> list[list[float]] | None:
    """Show a plane that decodes under the pointer; `data` as plane.js says. Returns its pins, None before any move."""
    return _plane(data=dict(data), key=key, on_pins_change=lambda: None).pins


def drawing_pad(data: Mapping[str, Any], key: str) -> None:
    """Show a pad whose image runs through a model while it is drawn; `data` as draw.js says."""
    _draw(data=dict(data), key=key)


def face_editor(data: Mapping[str, Any], key: str) -> None:
    """Show a face under sliders with a meter; `data` as edit.js says. Its session state `key` has "moves"."""
    _edit(data=dict(data), key=key, on_moves_change=lambda: None)


def dial(page: str, data: Mapping[str, Any], key: str) -> None:
    """Show the dial of a page, named as its JavaScript, and what it changes; `data` as that says.

    Its session state `key` has "turned": where it rests.
    """
    _dials[page](data=dict(data), key=key, on_turned_change=lambda: None)


def ledger(data: Mapping[str, Any], key: str) -> float | None:
    """Show the sum behind an ELBO; `data` as ledger.js says. Returns the sigma of its dial, None before any move."""
    return _ledger(data=dict(data), key=key, on_sigma_change=lambda: None).sigma


def threshold(data: Mapping[str, Any], key: str) -> float | None:
    """Show two sets of scores around a threshold; `data` as threshold.js says. Returns it, None before any move."""
    return _threshold(data=dict(data), key=key, on_at_change=lambda: None).at


def sketch(data: Mapping[str, Any], key: str) -> list[float] | None:
    """Show a field to point at or to sketch on; `data` as sketch.js says. Returns the value, None before any move."""
    return _sketch(data=dict(data), key=key, on_value_change=lambda: None).value


def crop_square(
    photo: Image.Image,
    start: tuple[int, int, int],
    image: tuple[int, int, int],
    eyes: Sequence[tuple[float, float]],
    key: str,
) -> tuple[int, int, int]:
    """Show a photo with a square to move and size, and return its left, top and side in pixels of the whole photo.

    start: the square at first. image: shape `(C, H, W)` of what is cut out. eyes: guides in the square, in shares
    of its side.
    """
    width, height = whole_size(photo)
    shown = photo.copy()
    shown.thumbnail((800, 800))
    data = {
        "photo": jpeg_uri(shown), "width": width, "height": height, "crop": start, "image": image,
        "eyes": eyes,
    }  # fmt: skip
    chosen = _crop(data=data, key=key, on_crop_change=lambda: None).crop or start
    left, top, side = (int(value) for value in chosen)
    side = min(max(side, 1), width, height)
    return min(max(left, 0), width - side), min(max(top, 0), height - side), side
