"""Training: how did it learn?"""

import itertools

import streamlit as st

from explorer import figures
from explorer.roster import ROSTER, Entry
from explorer.ui import widgets
from explorer.ui.frame import BOUND, View, begin, finish

UNITS = {
    "loss": "loss", "accuracy": "share that is right", "reconstruction": "reconstruction (nats per image)",
    "kl": "KL divergence (nats per image)",
}  # fmt: skip
SQUARED, ELBO, DENSITY, CLASSIFIER = (
    "Squared error per pixel",
    "Negative ELBO and its parts, nats per image",
    "Negative ELBO of a Gaussian likelihood and its parts, nats per image",
    "Classifier: cross-entropy (nats) and accuracy",
)
BELOW_ZERO = (
    "This likelihood is a density of pixels, and a density may exceed one: the better the model, the further its "
    "nats fall below zero. There a logarithm has no place, so those scales are linear."
)


def family(entry: Entry) -> str:
    """Say whose losses compare with those of a model."""
    if not entry.is_autoencoder:
        return CLASSIFIER
    if not entry.config.variational:
        return SQUARED
    return DENSITY if entry.config.likelihood == "gaussian" else ELBO


def sharpness(view: View, models: list[str]) -> None:
    """Draw the test PSNR over steps and over time for the models that it was measured for, and say who leads."""
    measured = {name: curve for name in models if (curve := view.bundle(name).test_curve())}
    if not measured:
        return
    st.subheader("Sharpness on the test images, over steps and over time")
    for column, over in zip(st.columns(2), ("steps", "minutes"), strict=True):
        lines = {name: (curve[over], curve["psnr"]) for name, curve in measured.items()}
        column.plotly_chart(figures.curves(lines, "test PSNR (dB)", False, over), key=f"sharpness-{over}")
    if len(measured) > 1:
        st.markdown(" ".join(verdict(*pair) for pair in itertools.pairwise(measured.items())))


def verdict(first: tuple[str, dict[str, list[float]]], second: tuple[str, dict[str, list[float]]]) -> str:
    """Say after how many steps and minutes one model is as sharp as the other at its end."""
    (slow, goal), (fast, curve) = sorted((first, second), key=lambda model: model[1]["psnr"][-1])
    i = next(i for i, psnr in enumerate(curve["psnr"]) if psnr >= goal["psnr"][-1])
    return (
        f"**{fast}** ends at {curve['psnr'][-1]:.2f} dB, **{slow}** at {goal['psnr'][-1]:.2f} dB. What {slow} reaches "
        f"after {goal['steps'][-1]:,.0f} steps and {goal['minutes'][-1]:.0f} minutes, {fast} reaches after "
        f"{curve['steps'][i]:,.0f} steps and {curve['minutes'][i]:.0f} minutes."
    )


view = begin("training")
models = widgets.pick_models(view, view.models)
left, right = st.columns(2)
scale = left.segmented_control("Scale", ["linear", "log"], default="log", required=True, key="scale", **BOUND)
sets = right.segmented_control(
    "Images",
    ["train", "validation"],
    selection_mode="multi",
    default=["train", "validation"],
    key="sets",
    **BOUND,
)
for heading in (SQUARED, ELBO, DENSITY, CLASSIFIER):
    histories = {name: view.bundle(name).history() for name in models if family(ROSTER[name]) == heading}
    parts = [p for p in UNITS if any(f"train_{p}" in h for h in histories.values())]
    if parts:
        st.subheader(heading)
    if parts and heading == DENSITY:
        st.markdown(BELOW_ZERO)
    for column, part in zip(st.columns(len(parts)) if parts else (), parts, strict=True):
        lines = {
            f"{name} · {which}": (history["epoch"], history[f"{which}_{part}"])
            for name, history in histories.items()
            for which in sets
            if f"{which}_{part}" in history
        }
        positive = all(value > 0 for _, values in lines.values() for value in values)
        figure = figures.curves(lines, UNITS[part], scale == "log" and part != "accuracy" and positive)
        column.plotly_chart(figure, key=f"{heading}-{part}")
sharpness(view, models)
n_validation = view.bundle(models[0]).config()["data"]["splits"]["validation"]
finish(
    f"Solid: training images, averaged while the weights still changed; dashed: the {n_validation:,} validation images "
    "after each epoch. Models are kept as they were in their best validation epoch.",
    f"""
from explorer import figures
from explorer.checkpoints import Bundle, root_folder

lines = {{}}
for name in {models}:
    history = Bundle("{view.dataset.name}", name, root_folder()).history()
    for which in {sets}:
        lines[f"{{name}} · {{which}}"] = (history["epoch"], history[f"{{which}}_loss"])
low = min(min(values) for _, values in lines.values())
figures.curves(lines, "loss", log={scale == "log"} and low > 0).write_html("training.html")
""",
)
