"""Denoise: can it tell signal from noise?"""

import numpy as np
import streamlit as st
import torch

from explorer import figures
from explorer.metrics import median_filter, mse_per_image, psnr
from explorer.noise import NOISES, add_noise
from explorer.ui import loading, screen
from explorer.ui.frame import BOUND, Page, View, begin, finish, fragment, usable
from explorer.ui.pictures import Strip, show_strips

PAGE = Page(
    "Denoise", ":material/blur_on:", "Autoencoders", place=20,
    question="Can it tell signal from noise?",
    look_for=(
        "Raise the level until the denoiser starts to invent things. Then choose another noise, which it was never "
        "shown: now the simple filter does better."
    ),
    fits=lambda there: there.denoiser is not None,
    needs="a model that was trained to take noise away",
)  # fmt: skip


def compared(view: View) -> list[str]:
    """Choose whom to compare: denoisers, the same network trained on clean images, variational and imported models."""
    cards = [view.card(name) for name in view.autoencoders]
    built = [card.config for card in cards if card.denoises]
    return [card.name for card in cards if card.variational or card.imported or card.config in built]


def denoised(view: View, models: list[str], x: np.ndarray, kind: str, level: float, seed: int) -> list[Strip]:
    """Corrupt images and clean them with every method, with the PSNR of each under it."""
    clean = torch.from_numpy(x)
    noisy = add_noise(clean, kind, level, seed).numpy()
    rows = {"Noisy input": noisy, "Median filter 3×3": median_filter(noisy)}
    rows |= {view.card(name).title: loading.reconstruct(view.bundle(name), noisy) for name in models}
    strips = [Strip(view.gallery.title, x)]
    for name, x_hat in rows.items():
        values = psnr(mse_per_image(clean, torch.from_numpy(x_hat)))
        captions = ["exact" if v >= 99 else f"{v:.1f} dB" for v in values.tolist()]
        note = "" if values.min() >= 99 else f"mean {values.mean():.1f} dB"
        strips.append(Strip(name, x_hat, captions, note))
    return strips


@fragment
def bench(view: View, models: list[str], kind: str, index: np.ndarray, seed: int) -> None:
    """Draw the level control and what it moves; only this part runs again when it moves."""
    noise = NOISES[kind]
    with screen.control():
        level = st.slider(
            f"Level: {noise.unit}", 0.0, noise.maximum, noise.maximum * 0.4, 0.05, key=f"level-{kind}", **BOUND
        )
    with screen.picture():
        show_strips(denoised(view, models, view.gallery.images[index], kind, level, seed))
    finish(
        "Under each image its PSNR: +3 dB halves the squared error. The median filter is the classical answer; it "
        "knows nothing of what is in the picture.",
        f"""
import torch
from explorer.checkpoints import Bundle, root_folder
from explorer.datasets import DATASETS
from explorer.images import grid, to_float, to_pil
from explorer.metrics import median_filter
from explorer.noise import add_noise

{view.gallery.python(index)}
noisy = add_noise(x, "{kind}", level={level}, seed={seed})
rows = [x, noisy, torch.from_numpy(median_filter(noisy.numpy()))]
for name in {models}:
    rows.append(Bundle("{view.dataset.name}", name, root_folder()).load()(noisy))
to_pil(grid(torch.cat(rows).numpy(), columns=len(x)), scale=4).save("denoise.png")
""",
    )


def chart(view: View, models: list[str], kind: str) -> None:
    """Draw the stored curves of mean PSNR over the level, with the range the denoiser was trained on."""
    stored = {name: view.bundle(name).metrics() for name in models}
    classical = next(iter(stored.values()))["psnr_by_noise_classical"][kind]
    curves = {"Noisy input": classical["input"], "Median filter 3×3": classical["median"]}
    curves |= {view.card(name).title: stored[name]["psnr_by_noise"][kind]["model"] for name in models}
    recipes = {name: recipe for name in models if (recipe := view.bundle(name).config()["recipe"])}
    trained_on_it = [name for name, recipe in recipes.items() if recipe.noise == kind]
    trained = recipes[trained_on_it[0]].noise_levels if trained_on_it else None
    titles = {name: view.shown.title(name) for name in recipes}
    label, noise = f"{', '.join(map(titles.get, trained_on_it))} was trained here", NOISES[kind]
    figure = figures.psnr_curves(classical["level"], curves, noise.unit, trained, label)
    screen.chart(figure, "curve", f"Mean PSNR of each method over the level of {noise.title.lower()}")
    if not trained and recipes:
        names = ", ".join(titles.values())
        st.markdown(f"None of {names} was trained on {noise.title.lower()}: there it is generalisation.")


view = begin(PAGE)
with screen.settings():
    kind = st.segmented_control("Noise", list(NOISES), default="gaussian", required=True, key="noise", **BOUND)
    with screen.more():
        name = st.selectbox("Class", ["All", *view.gallery.classes], key="class", **BOUND)
        n = st.slider("Images", 2, 12, 8, key="n", **BOUND)
        seed = st.number_input("Image seed", 0, 9999, 0, key="seed", **BOUND)
        noise_seed = st.number_input("Noise seed", 0, 999, 0, key="noise_seed", **BOUND)
models = usable(view, compared(view))
pool = np.arange(len(view.gallery))
if name != "All":
    pool = np.flatnonzero(view.gallery.labels == view.gallery.classes.index(name))
index = np.random.default_rng(seed).permutation(pool)[:n]
bench(view, models, kind, index, noise_seed)
st.subheader("Where does it stop generalising?")
if models:
    chart(view, models, kind)
st.caption(
    f"Mean PSNR over the {len(view.gallery):,} gallery images, the originals, made once when the models were measured. "
    "Where a curve falls below the noisy input, the model does more harm than good."
)
