"""Time: when does the space organise itself?"""

import streamlit as st
import torch

from explorer.images import grid, png
from explorer.language import later, say
from explorer.latent import plane
from explorer.ui import components, dialling, screen
from explorer.ui.dialling import PRIOR_REACH, TIME_CELLS
from explorer.ui.frame import Page, View, begin, finish, fragment
from explorer.ui.opening import OpenedFamily
from explorer.ui.pictures import show_legend

PAGE = Page(
    "Time", ":material/timelapse:", "Dials", place=86,
    question="When does the space organise itself?",
    look_for=(
        "Press *Play*: from random weights on, kinds part one after the other, most of them within one epoch. The "
        "features of the classifier, which is told the classes, part further."
    ),
    control=".dial",
    fits=lambda there: there.family("epoch") is not None,
    needs="models that were kept while they were fitted",
)  # fmt: skip

KEY = "time-dial"
CAPTION = later(
    "Each position is the model as it was after that epoch, epoch 0 before the first step; while dots glide from one "
    "state to the next they are nowhere real. The first map and the plane show three standard deviations of the prior "
    "to each side. The classifier's {features} features are projected by PCA in each state, turned and sized to be as "
    "near to the next state's as can be, so that what still moves has moved in its features. Curves: the loss on "
    "validation images after each epoch, and on training images as averaged during it, with the dropout, noise and "
    "augmentation that only training has."
)


@fragment
def bench(view: View) -> None:
    """Show the dial and what it changes; only this runs again when it rests."""
    family = view.family("epoch")
    epochs = family.config()["fits"][0].keep
    epoch = dialling.kept(KEY, "epoch", epochs, epochs[-1])
    data = dialling.time_data(view, family, epochs.index(dialling.first(KEY, "epoch", epoch)))
    with screen.picture():
        components.dial("time", data, key=KEY)
    show_legend(view.gallery.classes)
    member = data["states"][epochs.index(epoch)]["network"]
    st.download_button(
        say("PNG of the plane"), lambda: picture(family, member), f"{member}.png", "image/png", on_click="ignore"
    )
    features = [model.code_length for model in family.load().values()]
    finish(say(CAPTION, features=max(features)), python_for(family, member))


@torch.inference_mode()
def picture(family: OpenedFamily, member: str) -> bytes:
    """Make a PNG of the plane as it was in one state."""
    axis = torch.tensor(dialling.cells(TIME_CELLS)) * PRIOR_REACH
    return png(grid(family.load()[member].decode(plane(axis, axis)).numpy(), TIME_CELLS, gap=0), scale=4)


def python_for(family: OpenedFamily, member: str) -> str:
    """Write the lines of Python that make the plane, and give the map, of one state."""
    return f"""
import torch
from explorer import latent
from explorer.checkpoints import root_folder
from explorer.families import FamilyBundle
from explorer.images import grid, to_pil

family = FamilyBundle("{family.dataset}", "{family.model}", root_folder())
axis = torch.linspace(-0.875, 0.875, {TIME_CELLS}) * {PRIOR_REACH}
x = family.load()["{member}"].decode(latent.plane(axis, axis))
to_pil(grid(x.numpy(), columns={TIME_CELLS}, gap=0), scale=4).save("{member}.png")
points = family.codes()["{member}/map"]  # of the gallery; the states of the classifier have a map each, too
print(family.figures()["members"]["{member}"], family.history()["{member.partition("@")[0]}"])
"""


bench(begin(PAGE))
