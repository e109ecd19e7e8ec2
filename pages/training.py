"""Training: how did it learn?"""

import streamlit as st

from explorer import figures
from explorer.ui import curves, widgets
from explorer.ui.frame import BOUND, Page, View, begin, finish

PAGE = Page(
    "Training", ":material/show_chart:", "Scores and curves", place=100,
    question="How did it learn?",
    look_for=(
        "The gap between training and validation, and the last drop as the learning rate falls. For the "
        "variational model, watch reconstruction and KL pull against each other."
    ),
)  # fmt: skip

NEXT_LINE = "\n    "


def sharpness(view: View, models: list[str]) -> str:
    """Draw the test PSNR over steps and over time for the models that it was measured for, and say who leads.

    Returns the lines of Python that draw the same.
    """
    measured = {name: curve for name in models if (curve := view.bundle(name).test_curve())}
    if not measured:
        return ""
    st.subheader("Sharpness on the test images, over steps and over time")
    for column, over in zip(st.columns(2), ("steps", "minutes"), strict=True):
        lines = {name: (curve[over], curve["psnr"]) for name, curve in measured.items()}
        column.plotly_chart(figures.curves(lines, "test PSNR (dB)", False, over), key=f"sharpness-{over}")
    st.markdown(curves.verdicts(measured))
    return f"""
measured = {{name: Bundle("{view.dataset.name}", name, root_folder()).test_curve() for name in {list(measured)}}}
for over in ("steps", "minutes"):
    lines = {{name: (curve[over], curve["psnr"]) for name, curve in measured.items()}}
    figures.curves(lines, "test PSNR (dB)", False, over).write_html(f"sharpness-{{over}}.html")
"""


view = begin(PAGE)
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
shown = curves.panels(view, models, sets, scale == "log")
for heading in curves.HEADINGS:
    here = [panel for panel in shown if panel.heading == heading]
    if here:
        st.subheader(heading)
    if here and heading == curves.DENSITY:
        st.markdown(curves.BELOW_ZERO)
    for column, panel in zip(st.columns(len(here)) if here else (), here, strict=True):
        figure = figures.curves(panel.lines, curves.UNITS[panel.part], panel.log)
        column.plotly_chart(figure, key=f"{heading}-{panel.part}")
if elsewhere := [name for name in models if view.card(name).imported]:
    st.info(f"{', '.join(elsewhere)}: fitted elsewhere and imported, so there are no curves of how.")
python = sharpness(view, models)
n_validation = view.bundle(models[0]).config()["data"]["splits"]["validation"]
finish(
    f"Solid: training images, averaged while the weights still changed; dashed: the {n_validation:,} validation images "
    f"after each epoch. Models are kept as they were in their best validation epoch.{curves.noisy(view, models)}",
    f"""
from explorer import figures
from explorer.checkpoints import Bundle, root_folder

panels = [
    {NEXT_LINE.join(panel.python for panel in shown)}
]
for number, panel in enumerate(panels, start=1):
    lines, part = {{}}, panel["part"]
    for name in panel["models"]:
        history = Bundle("{view.dataset.name}", name, root_folder()).history()
        for which in {sets}:
            if f"{{which}}_{{part}}" in history:
                lines[f"{{name}} · {{which}}"] = (history["epoch"], history[f"{{which}}_{{part}}"])
    figures.curves(lines, panel["unit"], panel["log"]).write_html(f"training-{{number}}.html")
{python}""",
)
