"""Reconstruct: what survives the bottleneck?"""

import numpy as np
import streamlit as st
import torch

from explorer.images import error_map
from explorer.metrics import mse_per_image, psnr, ssim_per_image
from explorer.ui import loading, widgets
from explorer.ui.frame import BOUND, Page, View, begin, finish, usable
from explorer.ui.pictures import Strip, figures_of, show_strips

PAGE = Page(
    "Reconstruct", ":material/compare:", "Autoencoders", place=10,
    question="What survives the bottleneck?",
    look_for=(
        "What is lost first: fine detail goes before the outline does. Then compare models on the same image: "
        "what does a longer code keep, or a better network?"
    ),
)  # fmt: skip

WAYS = ("by class", "at random", "best", "worst", "your own")
FROM_GALLERY = """from explorer.datasets import DATASETS
from explorer.images import as_rgb, error_map, grid, to_float, to_pil

{}"""
UPLOADED = """from pathlib import Path
from explorer.images import as_rgb, error_map, grid, read_upload, to_pil

x = {}"""

ERRORS = """\
    rows.append(error_map(x.numpy(), x_hat.numpy()))
"""


def choose(view: View, way: str) -> np.ndarray | None:
    """Choose gallery images by number, or None for a picture of one's own."""
    if way == "your own":
        return None
    gallery = view.gallery
    columns = st.columns(2)
    n = columns[0].slider("Images", 2, 12, 6, key="n", **BOUND)
    if way == "by class":
        name = columns[1].selectbox("Class", gallery.classes, key="class", **BOUND)
        return np.flatnonzero(gallery.labels == gallery.classes.index(name))[:n]
    if way == "at random":
        seed = columns[1].number_input("Seed", 0, 9999, 0, key="seed", **BOUND)
        return np.random.default_rng(seed).choice(len(gallery), min(n, len(gallery)), replace=False)
    with columns[1]:
        judge = st.selectbox("Judged by the error of", view.autoencoders, key="judge", **BOUND)
    if not usable(view, [judge]):
        st.stop()
    order = loading.gallery_errors(view.bundle(judge), gallery).argsort()
    return order[:n] if way == "best" else order[::-1][:n]


def comparison(view: View, models: list[str], x: np.ndarray, title: str, captions: list[str], errors: bool) -> None:
    """Draw the images, and under them each model's reconstruction with its figures."""
    strips = [Strip(title, x, captions)]
    original = torch.from_numpy(x)
    for name in models:
        x_hat = loading.reconstruct(view.bundle(name), x)
        rebuilt = torch.from_numpy(x_hat)
        mse = mse_per_image(original, rebuilt)
        table = torch.stack([mse, psnr(mse), ssim_per_image(original, rebuilt)], dim=1)
        length = loading.model(view.bundle(name)).code_length
        note = f"{length:,} numbers · mean {table[:, 1].mean():.1f} dB"
        strips.append(Strip(view.card(name).title, x_hat, [figures_of(*row) for row in table.tolist()], note))
        if errors:
            strips.append(Strip("", error_map(x, x_hat), note="Error: orange too bright, blue too dark"))
    show_strips(strips)


view = begin(PAGE)
models = widgets.pick_models(view)
left, right = st.columns([3, 1], vertical_alignment="bottom")
ways = WAYS if view.gallery.has_classes else WAYS[1:]
way = left.segmented_control("Images", ways, default=ways[0], required=True, key="way", **BOUND)
errors = right.toggle("Error maps", key="errors", **BOUND)
index = choose(view, way)
if index is None:
    x, title, captions = widgets.own_picture(view), "Original", ["as the models see it"]
    python = UPLOADED.format(widgets.own_python(view))
else:
    x, title, captions = view.gallery.images[index], view.gallery.title, [view.gallery.label(i) for i in index]
    python = FROM_GALLERY.format(view.gallery.python(index))
if x is not None:
    comparison(view, models, x, title, captions, errors)
finish(
    "Each column is one image, each row one model; under each are MSE, PSNR and SSIM. PSNR counts pixels (higher "
    "is better, +3 dB halves the squared error); SSIM counts structure and is 1 for a perfect copy.",
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
