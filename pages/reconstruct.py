"""Reconstruct: what survives the bottleneck?"""

import numpy as np
import streamlit as st
import torch

from explorer.images import error_map
from explorer.language import choices, number, say
from explorer.metrics import mse_per_image, psnr, ssim_per_image
from explorer.ui import loading, screen, widgets
from explorer.ui.frame import BOUND, Page, View, begin, finish, usable
from explorer.ui.pictures import Strip, all_figures_of, decibels_of, show_strips

PAGE = Page(
    "Reconstruct", ":material/compare:", "Autoencoders", place=10,
    question="What survives the bottleneck?",
    look_for=(
        "Go down a column: print and seams are lost first, the outline last. Then choose *worst*: the images that no "
        "model has room for."
    ),
)  # fmt: skip

FEW = 2  # models: their figures have room under the images
WAYS = BY_CLASS, AT_RANDOM, BEST, _, OWN = choices("by class", "at random", "best", "worst", "your own")
FROM_GALLERY = """from explorer.datasets import DATASETS
from explorer.images import as_rgb, error_map, grid, to_float, to_pil

{}"""
UPLOADED = """from pathlib import Path
from explorer.images import as_rgb, error_map, grid, read_upload, to_pil

x = {}"""

ERRORS = """\
    rows.append(error_map(x.numpy(), x_hat.numpy()))
"""


def choose(view: View, way: str, n: int) -> np.ndarray | None:
    """Choose `n` gallery images by number, or None for a picture of one's own."""
    if way == OWN:
        return None
    gallery = view.gallery
    if way == BY_CLASS:
        name = st.selectbox(say("Class"), gallery.classes, format_func=say, key="class", **BOUND)
        return np.flatnonzero(gallery.labels == gallery.classes.index(name))[:n]
    if way == AT_RANDOM:
        seed = st.number_input(say("Seed"), 0, 9999, 0, key="seed", width=160, **BOUND)
        return np.random.default_rng(seed).choice(len(gallery), min(n, len(gallery)), replace=False)
    judge = widgets.one_of(view, say("Judged by the error of"), view.autoencoders, "judge")
    if not usable(view, [judge]):
        st.stop()
    order = loading.gallery_errors(view.bundle(judge), gallery).argsort()
    return order[:n] if way == BEST else order[::-1][:n]


def comparison(
    view: View, models: list[str], x: np.ndarray, title: str, captions: list[str], errors: bool
) -> list[dict[str, str]]:
    """Draw the images, and under them each model's reconstruction with its figures; return the means of these."""
    strips, means = [Strip(title, x, captions)], []
    original, figures_of = torch.from_numpy(x), decibels_of if len(models) > FEW else all_figures_of
    for name in models:
        x_hat = loading.reconstruct(view.bundle(name), x)
        rebuilt = torch.from_numpy(x_hat)
        mse = mse_per_image(original, rebuilt)
        table = torch.stack([mse, psnr(mse), ssim_per_image(original, rebuilt)], dim=1)
        length = loading.model(view.bundle(name)).code_length
        note = say("{n:,} numbers · mean {psnr:.1f} dB", n=length, psnr=table[:, 1].mean().item())
        strips.append(Strip(view.shown.title(name), x_hat, [figures_of(*row) for row in table.tolist()], note))
        figures = zip(("MSE", "PSNR, dB", "SSIM"), table.mean(0).tolist(), (".5f", ".2f", ".3f"), strict=True)
        means.append({"": view.shown.title(name)} | {key: number(value, form) for key, value, form in figures})
        if errors:
            strips.append(Strip("", error_map(x, x_hat), note=say("Error: orange too bright, blue too dark")))
    show_strips(strips)
    return means


view = begin(PAGE)
with screen.control():
    ways = WAYS if view.gallery.has_classes else WAYS[1:]
    way = st.segmented_control(say("Images"), ways, format_func=say, default=ways[0], required=True, key="way", **BOUND)
    choice = st.container(width="stretch")
    models = widgets.pick_models(view)
    with screen.more():
        n = st.slider(say("Images"), 2, 12, 8, key="n", **BOUND)
        errors = st.toggle(say("Error maps"), key="errors", **BOUND)
with choice:
    index = choose(view, way, n)
if index is None:
    x, title, captions = widgets.own_picture(view), say("Original"), [say("as the models see it")]
    python = UPLOADED.format(widgets.own_python(view))
else:
    x, title, captions = view.gallery.images[index], view.gallery.title, [view.gallery.label(i) for i in index]
    python = FROM_GALLERY.format(view.gallery.python(index))
if x is not None:
    with screen.picture():
        means = comparison(view, models, x, title, captions, errors)
    if len(models) > FEW:
        st.dataframe(means, hide_index=True, width="content")
finish(
    say(
        "Each column is one image, each row one model; under each is its PSNR, beside few models MSE and SSIM, too, of "
        "which beside many a table has the means. PSNR counts pixels (higher is better, +3 dB halves the squared "
        "error); SSIM counts structure and is 1 for a perfect copy."
    ),
    f"""
import numpy as np
import torch
from explorer.checkpoints import Bundle, root_folder
{python}

rows = [as_rgb(x.numpy())]
for name in {models}:
    x_hat = Bundle("{view.dataset.name}", name, root_folder()).load()(x)
    rows.append(as_rgb(x_hat.numpy()))
{ERRORS if errors else ""}to_pil(grid(np.concatenate(rows), columns=len(x)), scale=4).save("reconstruct.png")
""",
)
