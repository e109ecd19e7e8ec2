"""Training: how did it learn?"""

import streamlit as st

from explorer import figures
from explorer.language import choices, listed, say
from explorer.ui import curves, screen, widgets
from explorer.ui.frame import BOUND, Page, View, begin, finish

PAGE = Page(
    "Training", ":material/show_chart:", "Scores and curves", place=100,
    question="How did it learn?",
    look_for=(
        "Follow a solid line and its dashed one: where they part, a model begins to learn its training images by "
        "heart. The last drop comes as the learning rate falls."
    ),
)  # fmt: skip

NEXT_LINE = "\n    "
SETS = choices("train", "validation")
SCALES = choices("linear", "log")
OVER = choices("steps", "minutes")


def sharpness(view: View, models: list[str]) -> str:
    """Draw the test PSNR over steps and over time for the models that it was measured for, and say who leads.

    Returns the lines of Python that draw the same.
    """
    measured = {name: curve for name in models if (curve := view.bundle(name).test_curve())}
    if not measured:
        return ""
    st.subheader(say("Sharpness on the test images, over steps and over time"))
    titled = {view.shown.title(name): curve for name, curve in measured.items()}
    for column, over in zip(st.columns(2), OVER, strict=True):
        lines = {name: (curve[over], curve["psnr"]) for name, curve in titled.items()}
        with column:
            figure = figures.curves(lines, say("test PSNR (dB)"), False, over)
            screen.chart(figure, f"sharpness-{over}", say("PSNR on the test images over {over}", over=over))
    st.markdown(curves.verdicts(titled))
    return f"""
titles = {dict(zip(measured, titled, strict=True))}
measured = {{title: Bundle("{view.dataset.name}", name, root_folder()).test_curve() for name, title in titles.items()}}
for over in ("steps", "minutes"):
    lines = {{name: (curve[over], curve["psnr"]) for name, curve in measured.items()}}
    figures.curves(lines, "test PSNR (dB)", False, over).write_html(f"sharpness-{{over}}.html")
"""


view = begin(PAGE)
with screen.control():
    said = {"format_func": say, **BOUND}
    scale = st.segmented_control(say("Scale"), SCALES, default=SCALES[1], required=True, key="scale", **said)
    sets = st.segmented_control(say("Images"), SETS, selection_mode="multi", default=SETS, key="sets", **said)
    models = widgets.pick_models(view, view.models)
shown = curves.panels(view, models, sets, scale == SCALES[1])
for heading in dict.fromkeys(panel.heading for panel in shown):
    is_first = heading == shown[0].heading
    with screen.picture() if is_first else st.container():
        curves.draw(heading, [panel for panel in shown if panel.heading == heading], is_first)
    if heading == curves.DENSITY:
        st.markdown(f"{say(curves.BELOW_ZERO)} {curves.spreads(view, models)}")
if elsewhere := [view.shown.title(name) for name in models if view.card(name).imported]:
    st.info(say("{names}: fitted elsewhere and imported, so there are no curves of how.", names=listed(elsewhere)))
python = sharpness(view, models)
n_validation = view.bundle(models[0]).config()["data"]["splits"]["validation"]
finish(
    say(
        "Solid: training images, averaged while the weights still changed; dashed: the {n:,} validation images after "
        "each epoch. Models are kept as they were in their best validation epoch.",
        n=n_validation,
    )
    + f" {curves.noisy(view, models)}",
    f"""
from explorer import figures
from explorer.checkpoints import Bundle, root_folder

panels = [
    {NEXT_LINE.join(panel.python for panel in shown)}
]
for number, panel in enumerate(panels, start=1):
    lines, part = {{}}, panel["part"]
    for name, title in panel["models"].items():
        history = Bundle("{view.dataset.name}", name, root_folder()).history()
        for which in {sets}:
            if f"{{which}}_{{part}}" in history:
                lines[f"{{title}} · {{which}}"] = (history["epoch"], history[f"{{which}}_{{part}}"])
    figures.curves(lines, panel["unit"], panel["log"]).write_html(f"training-{{number}}.html")
{python}""",
)
