"""Denoise: can it tell signal from noise?"""

import numpy as np
import streamlit as st
import torch

from explorer import figures
from explorer.language import choices, listed, say
from explorer.metrics import median_filter, mse_per_image, psnr
from explorer.noise import NOISES, add_noise
from explorer.ui import loading, screen, widgets
from explorer.ui.frame import BOUND, Page, View, begin, finish, fragment, usable
from explorer.ui.naming import named
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

NOISY, MEDIAN = choices("Noisy input", "Median filter 3×3")


def compared(view: View) -> list[str]:
    """Choose whom to compare: denoisers, the same network trained on clean images, variational and imported models."""
    cards = [view.card(name) for name in view.autoencoders]
    built = [card.config for card in cards if card.denoises]
    return [card.name for card in cards if card.variational or card.imported or card.config in built]


def denoised(view: View, models: list[str], x: np.ndarray, kind: str, level: float, seed: int) -> list[Strip]:
    """Corrupt images and clean them with every method, with the PSNR of each under it."""
    clean = torch.from_numpy(x)
    noisy = add_noise(clean, kind, level, seed).numpy()
    rows = {say(NOISY): noisy, say(MEDIAN): median_filter(noisy)}
    rows |= {view.shown.title(name): loading.reconstruct(view.bundle(name), noisy) for name in models}
    strips = [Strip(view.gallery.title, x)]
    for name, x_hat in rows.items():
        values = psnr(mse_per_image(clean, torch.from_numpy(x_hat)))
        captions = [say("exact") if v >= 99 else say("{v:.1f} dB", v=v) for v in values.tolist()]
        note = "" if values.min() >= 99 else say("mean {psnr:.1f} dB", psnr=values.mean())
        strips.append(Strip(name, x_hat, captions, note))
    return strips


@fragment
def bench(view: View, models: list[str], kind: str, index: np.ndarray, seed: int) -> None:
    """Draw the level control and what it moves; only this part runs again when it moves."""
    noise = NOISES[kind]
    with screen.control():
        label = say("Level: {unit}", unit=noise.unit)
        level = st.slider(label, 0.0, noise.maximum, noise.maximum * 0.4, 0.05, key=f"level-{kind}", **BOUND)
    with screen.picture():
        show_strips(denoised(view, models, view.gallery.images[index], kind, level, seed))
    finish(
        say(
            "Under each image its PSNR: +3 dB halves the squared error. The median filter is the classical answer; it "
            "knows nothing of what is in the picture."
        ),
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
    curves = {say(NOISY): classical["input"], say(MEDIAN): classical["median"]}
    curves |= {view.shown.title(name): stored[name]["psnr_by_noise"][kind]["model"] for name in models}
    recipes = {name: recipe for name in models if (recipe := view.bundle(name).config()["recipe"])}
    trained_on_it = [name for name, recipe in recipes.items() if recipe.noise == kind]
    trained = recipes[trained_on_it[0]].noise_levels if trained_on_it else None
    titles = {name: view.shown.title(name) for name in recipes}
    noise, label = NOISES[kind], say("{names} was trained here", names=listed(map(titles.get, trained_on_it)))
    called = say(noise.title).lower()
    figure = figures.psnr_curves(classical["level"], curves, say(noise.unit), trained, label)
    screen.chart(figure, "curve", say("Mean PSNR of each method over the level of the noise: {noise}", noise=called))
    if not trained and recipes:
        st.markdown(
            say(
                "None of {names} was trained on this noise, {noise}: there it is generalisation.",
                names=listed(titles.values()),
                noise=called,
            )
        )


view = begin(PAGE)
with screen.settings():
    title = lambda kind: say(NOISES[kind].title)  # noqa: E731
    kind = named(say("Noise"), list(NOISES), title, "noise", "gaussian", st.segmented_control, required=True)
    with screen.more():
        name = st.selectbox(say("Class"), [widgets.ALL, *view.gallery.classes], format_func=say, key="class", **BOUND)
        n = st.slider(say("Images"), 2, 12, 8, key="n", **BOUND)
        seed = st.number_input(say("Image seed"), 0, 9999, 0, key="seed", **BOUND)
        noise_seed = st.number_input(say("Noise seed"), 0, 999, 0, key="noise_seed", **BOUND)
models = usable(view, compared(view))
pool = np.arange(len(view.gallery))
if name != widgets.ALL:
    pool = np.flatnonzero(view.gallery.labels == view.gallery.classes.index(name))
index = np.random.default_rng(seed).permutation(pool)[:n]
bench(view, models, kind, index, noise_seed)
st.subheader(say("Where does it stop generalising?"))
if models:
    chart(view, models, kind)
st.caption(
    say(
        "Mean PSNR over the {n:,} gallery images, the originals, made once when the models were measured. Where a "
        "curve falls below the noisy input, the model does more harm than good.",
        n=len(view.gallery),
    )
)
