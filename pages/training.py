"""Training: how did it learn?"""

import streamlit as st

from explorer import figures
from explorer.roster import ROSTER, models_for
from explorer.ui import widgets
from explorer.ui.frame import BOUND, begin, finish

UNITS = {
    "loss": "loss", "accuracy": "share that is right", "reconstruction": "reconstruction (nats per image)",
    "kl": "KL divergence (nats per image)",
}  # fmt: skip
FAMILIES = {
    "Squared error per pixel": lambda entry: entry.is_autoencoder and not entry.config.variational,
    "Negative ELBO and its parts, nats per image": lambda entry: entry.is_autoencoder and entry.config.variational,
    "Classifier: cross-entropy (nats) and accuracy": lambda entry: not entry.is_autoencoder,
}

view = begin("training")
models = widgets.pick_models(view, models_for(view.dataset.name))
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
for heading, belongs in FAMILIES.items():
    histories = {name: view.bundle(name).history() for name in models if belongs(ROSTER[name])}
    parts = [p for p in UNITS if any(f"train_{p}" in h for h in histories.values())]
    if parts:
        st.subheader(heading)
    for column, part in zip(st.columns(len(parts)) if parts else (), parts, strict=True):
        lines = {
            f"{name} · {which}": (history["epoch"], history[f"{which}_{part}"])
            for name, history in histories.items()
            for which in sets
        }
        figure = figures.curves(lines, UNITS[part], scale == "log" and part != "accuracy")
        column.plotly_chart(figure, key=f"{heading}-{part}")
finish(
    "Solid: training images, averaged while the weights still changed; dashed: the 5,000 validation images after "
    "each epoch. Models are kept as they were in their best validation epoch.",
    f"""
from explorer import figures
from explorer.checkpoints import Bundle, root_folder

lines = {{}}
for name in {models}:
    history = Bundle("{view.dataset.name}", name, root_folder()).history()
    for which in {sets}:
        lines[f"{{name}} · {{which}}"] = (history["epoch"], history[f"{{which}}_loss"])
figures.curves(lines, "loss", log={scale == "log"}).write_html("training.html")
""",
)
