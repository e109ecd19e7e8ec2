"""Class and style: what is left when the class is known?"""

import streamlit as st
import torch

from explorer.images import grid, png
from explorer.language import later, say
from explorer.ui import components, dialling, screen
from explorer.ui.frame import BOUND, Page, View, begin, finish, fragment
from explorer.ui.opening import OpenedFamily

PAGE = Page(
    "Class and style", ":material/style:", "Dials", place=88,
    question="What is left when the class is known?",
    look_for=(
        "Drag on the pad and read across: all ten classes change alike. Each row below wears the style of one image: "
        "narrow or wide, light or dark, whatever the class."
    ),
    control=".front",
    fits=lambda there: there.family("class") is not None,
    needs="a model that is told the class",
)  # fmt: skip

KEY = "style-pad"
N_SOURCES = 4
CAPTION = later(
    "The encoder sees the image and its class, the decoder gets style and class (Sohn et al. 2015), so that the style "
    "need not say what the class says. First row: the style of the first image, with the two numbers that carry most "
    "moved by hand. Rows below: the styles of four images, each worn by every class. How much of it: a factor on all "
    "numbers of the style; at 0 every class is at the middle of the prior."
)
RECOGNISED = later(
    "Under each class: the share of 1,000 images with styles drawn from the prior that the classifier takes for that "
    "class, {generated:.1f} % over all; of the real test images it gets {test:.1f} % right, and of those that this "
    "model rebuilds, {rebuilt:.1f} %: told the class, it paints the class more plainly than the photograph."
)


def controls(view: View) -> None:
    """Choose which images lend their styles."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            say("Styles are taken from four {noun}; the pad begins with that of the first.", noun=view.gallery.noun)
        )
        st.number_input(say("Other images"), 0, 999, 0, key="shuffle", width=160, **BOUND)


@fragment
def bench(view: View) -> None:
    """Show the pad and what it changes; only this runs again when it rests."""
    family, top = view.family("class"), screen.picture()
    controls(view)
    picks = dialling.pick(view, N_SOURCES)
    style = dialling.kept_style(KEY)
    before = {name: dialling.first(KEY, name, value) for name, value in style.items()}
    with top:
        components.dial("style", dialling.style_data(view, family, picks, before), key=KEY)
    st.download_button(
        say("PNG of the rows"),
        lambda: picture(view, family, picks, style),
        "styles.png",
        "image/png",
        on_click="ignore",
    )
    shares = family.figures().get("recognised", {})
    percent = {name: 100 * shares[name] for name in ("generated", "test", "rebuilt")} if shares else {}
    recognised = f" {say(RECOGNISED, **percent)}" if shares else ""
    finish(say(CAPTION) + recognised, python_for(view, family, picks, style))


@torch.inference_mode()
def picture(view: View, family: OpenedFamily, picks: list[int], style: dict[str, float | None]) -> bytes:
    """Make a PNG of all rows: ten classes in each style."""
    [(member, model)] = family.load().items()
    codes = torch.from_numpy(family.arrays[f"{member}/codes"][[picks[0], *picks]])
    for number, value in zip(dialling.style_axes(family), (style["u"], style["v"]), strict=True):
        if value is not None:
            codes[0, number] = value
    n = len(view.gallery.classes)
    codes = (codes * style["strength"]).repeat_interleave(n, dim=0)
    return png(grid(model.given(torch.arange(n).repeat(N_SOURCES + 1)).decode(codes).numpy(), n, gap=1), scale=4)


def python_for(view: View, family: OpenedFamily, picks: list[int], style: dict[str, float | None]) -> str:
    """Write the lines of Python that dress every class in one style."""
    [member], n = family.members, len(view.gallery.classes)
    moved = [
        f"code[{number}] = {value:g}\n"
        for number, value in zip(dialling.style_axes(family), (style["u"], style["v"]), strict=True)
        if value is not None
    ]
    return f"""
import torch
from explorer.checkpoints import root_folder
from explorer.families import FamilyBundle
from explorer.images import grid, to_pil

family = FamilyBundle("{family.dataset}", "{family.model}", root_folder())
model, code = family.load()["{member}"], family.codes()["{member}/codes"][{picks[0]}].float()
{"".join(moved)}x = model.given(torch.arange({n})).decode({style["strength"]:g} * code.expand({n}, -1))
to_pil(grid(x.numpy(), columns={n}), scale=4).save("styles.png")
print(family.figures())
"""


bench(begin(PAGE))
