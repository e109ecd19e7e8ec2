"""What the tabs of the page Latent plane share: what lies on a plane, planes beside each other, words and Python."""

from collections.abc import Mapping, Sequence

import streamlit as st

from explorer.language import choices, later, say
from explorer.ui import live, screen
from explorer.ui.frame import BOUND, View
from explorer.ui.pictures import show_legend
from explorer.ui.planes import Laid
from explorer.ui.text import as_text

LAYERS = {
    "sheet": later("decoded images"),
    "codes": later("where gallery images lie, by class"),
    "density": later("how many of them"),
    "prior": later("one, two and three standard deviations"),
    "posterior": later("two standard deviations of one image"),
}
IMPORTS = """
import torch
from explorer import latent
from explorer.checkpoints import Bundle, root_folder
from explorer.images import grid, to_pil
"""
CAPTION, GUESSED = choices(
    "The picture beside the plane is what the decoder makes of the point under the pointer.",
    "The picture beside the plane is what the decoder makes of the point under the pointer, with what the classifier "
    "takes it for.",
)
PINS = later("Click to pin a point, drag it, nudge it with the arrow keys; Delete lets it go.")


def pick_layers(offered: tuple[str, ...], default: str, key: str) -> list[str]:
    """Choose what lies on the plane."""
    return st.pills(
        say("Layers"), offered, format_func=say, selection_mode="multi", default=[default], key=key, **BOUND,
        help=" ".join(f"{say(name)}: {say(LAYERS[name])}." for name in offered),
    )  # fmt: skip


def ends_of(laid: Laid) -> str:
    """Write the Python of where the cells of a plane stand."""
    return f"torch.linspace({laid.axis[0]:.2f}, {laid.axis[-1]:.2f}, {len(laid.axis)})"


def legend(view: View, layers: list[str]) -> None:
    """Say which mark is which class, where codes are drawn."""
    if "codes" in layers:
        show_legend(view.gallery.classes)


def abreast(view: View, laid: Mapping[str, Laid], layers: Sequence[str], group: str, small: bool = False) -> None:
    """Show the planes of several models beside each other, under one pointer."""
    with screen.picture():
        columns = st.columns(len(laid))
    for column, model in zip(columns, laid, strict=True):
        with column:
            st.markdown(f"**{as_text(view.shown.title(model))}**")
            live.live_plane(view, model, *laid[model], layers, f"{group}-{model}", group=group, small=small)
    legend(view, layers)


def caption(view: View) -> str:
    """Say how to read a plane."""
    return f"{say(GUESSED if view.classifier else CAPTION)} {say(PINS)}"


def python_for(view: View, model: str, axis: str, where: str) -> str:
    """Write the lines of Python that make the decoded sheet of a plane."""
    return IMPORTS + sheet_of(view, model, axis, where, "plane")


def sheet_of(view: View, model: str, axis: str, where: str, file: str) -> str:
    """Write the lines that decode one sheet; they need `IMPORTS`."""
    return f"""
bundle = Bundle("{view.dataset.name}", "{model}", root_folder())
codes = bundle.codes()["codes"].float()
axis = {axis}
x = bundle.load().decode({where}.codes(latent.plane(axis, axis)))
to_pil(grid(x.numpy(), columns=len(axis), gap=0), scale=3).save("{file}.png")
"""
