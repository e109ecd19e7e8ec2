"""Length: how long must the code be?"""

import numpy as np
import streamlit as st
import torch

from explorer.dials import quantise
from explorer.families import PCA
from explorer.images import grid, png
from explorer.language import later, say
from explorer.ui import components, dialling, screen
from explorer.ui.dialling import CHARTS, IN_USE, OVER_BITS, OVER_NUMBERS, Turned
from explorer.ui.frame import BOUND, Page, View, begin, finish, fragment
from explorer.ui.opening import OpenedFamily

PAGE = Page(
    "Length", ":material/straighten:", "Dials", place=82,
    question="How long must the code be?",
    look_for=(
        "Turn the dial up until a shirt can be told from a coat: with few numbers a plain autoencoder is ahead of PCA. "
        "Go on: beyond some length nothing gets better."
    ),
    control=".dial",
    fits=lambda there: there.family("length") is not None,
    needs="a family of models with codes of many lengths",
)  # fmt: skip

KEY = "length-dial"
CAPTION = later(
    "All models have the same encoder and decoder but for the layer of the code, and were fitted for {epochs} epochs; "
    "more would take all of them further. Errors are mean squared errors of pixels in [0, 1] on the {n:,} test images; "
    "PCA was fitted to all training images, and its pixels are clipped to [0, 1]. The variational model was fitted to "
    "another loss, the negative ELBO."
)
OF_BITS = later(
    "Over bits: each number is rounded to 2ᵇ cells between its 0.5 % and 99.5 % quantiles, without entropy coding, on "
    "the gallery images. JPEG and WebP pay for headers and tables in each file, which 100 images to a file share; the "
    "models pay nothing here for a decoder, of which who receives an image needs a copy, and have learned this kind of "
    "image alone. So the curves say what is possible for it, not which format to use."
)
OF_USE = later(
    "A number carries what its KL to the prior says. By the usual measure (Burda et al. 2016) it is active where its "
    "mean varies by more than 0.01 over the test images; after a short fitting the means of long codes still tremble "
    "that much, and carry nothing."
)


def controls() -> str:
    """Choose the chart and other images."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chart = st.segmented_control(
            say("Chart"), list(CHARTS), format_func=say, default=OVER_NUMBERS, required=True, key="chart", **BOUND
        )
        st.number_input(say("Other images"), 0, 999, 0, key="shuffle", width=160, **BOUND)
    return chart


@fragment
def bench(view: View) -> None:
    """Show the dials and what they change; only this runs again when one rests."""
    family, top = view.family("length"), screen.picture()
    chart, picks = controls(), dialling.pick(view)
    lengths = dialling.lengths(family)
    usual = min(lengths, key=lambda length: abs(length - 16))
    at = Turned(dialling.kept(KEY, "length", lengths, usual), dialling.kept(KEY, "bits", range(9), 0))
    with top:
        before = Turned(dialling.first(KEY, "length", at.length), dialling.first(KEY, "bits", at.bits))
        components.dial("length", dialling.length_data(view, family, picks, chart, before), key=KEY)
    st.download_button(
        say("PNG of the images"), lambda: picture(view, family, picks, at), f"length-{at.length}.png", "image/png",
        on_click="ignore",
    )  # fmt: skip
    config = family.config()
    n, epochs = config["data"]["splits"]["test"], config["fits"][0].recipe.epochs
    more = {OVER_BITS: OF_BITS, IN_USE: OF_USE}.get(chart, "")
    finish(f"{say(CAPTION, n=n, epochs=epochs)} {say(more)}", python_for(view, family, picks, at))


@torch.inference_mode()
def picture(view: View, family: OpenedFamily, picks: list[int], at: Turned) -> bytes:
    """Make a PNG of the rows: originals, then one row for each method."""
    i, rows = dialling.lengths(family).index(at.length), [view.gallery.images[picks]]
    for member in [names[i] for names in dialling.names_of(family).values()] + [PCA]:
        codes = torch.from_numpy(family.arrays[f"{member}/codes"][picks, : at.length])
        if at.bits:
            codes = quantise(codes, torch.from_numpy(family.arrays[f"{member}/range"][:, : at.length]), at.bits)
        if member == PCA:
            basis, mean = (family.tensors()[f"{PCA}/{part}"].float() for part in ("basis", "mean"))
            x = (codes @ basis[: at.length] + mean).clamp(0, 1).view(len(picks), *view.dataset.image_shape)
        else:
            x = family.load()[member].decode(codes)
        rows.append(x.numpy())
    return png(grid(np.concatenate(rows), len(picks), gap=1), scale=4)


def python_for(view: View, family: OpenedFamily, picks: list[int], at: Turned) -> str:
    """Write the lines of Python that make the rows of the models."""
    i = dialling.lengths(family).index(at.length)
    members = [names[i] for names in dialling.names_of(family).values()]
    rounded = f"quantise(codes, stored[f'{{name}}/range'], {at.bits})" if at.bits else "codes"
    return f"""
import torch
from explorer.checkpoints import root_folder
from explorer.dials import quantise
from explorer.families import FamilyBundle
from explorer.images import grid, to_pil

family = FamilyBundle("{family.dataset}", "{family.model}", root_folder())
models, stored, rows = family.load(), family.codes(), []
for name in {members}:
    codes = stored[f"{{name}}/codes"][{picks}].float()
    rows.append(models[name].decode({rounded}))
    print(name, family.figures()["members"][name])
to_pil(grid(torch.cat(rows).numpy(), columns={len(picks)}), scale=4).save("length-{at.length}.png")
"""


bench(begin(PAGE))
