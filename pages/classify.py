"""Classify: what gets confused with what?"""

import numpy as np
import streamlit as st
import torch

from explorer import figures, metrics
from explorer.language import choices, later, say
from explorer.ui import following, judging, loading, screen, widgets
from explorer.ui.frame import BOUND, Page, View, begin, finish, fragment, usable
from explorer.ui.judging import Judged

PAGE = Page(
    "Classify", ":material/rule:", "Scores and curves", place=90,
    question="What gets confused with what?",
    look_for=(
        "Click a cell off the diagonal, then an image of it: it lies near the border of two regions, and a short way "
        "on it is taken rightly."
    ),
    fits=lambda there: there.classifier is not None,
    needs="a classifier",
)  # fmt: skip

CELLS = choices("counts", "row percent")
MATRIX = later("Confusion matrix: true classes in rows, what they are taken for in columns, and in each cell how many")


def matrix_and_cell(view: View, judged: Judged, matrix: np.ndarray, percent: bool, model: str, classifier: str) -> str:
    """Draw the confusion matrix, and beside it the images of the cell that was clicked, and one of them followed.

    Returns the Python that follows it.
    """
    classes = view.gallery.classes
    controls = screen.control()
    with screen.picture():
        left, right = st.columns([8, 9])
    with left:
        event = screen.chart(
            figures.confusion(matrix, classes, percent), "confusion", MATRIX, is_picture=True, on_select="rerun",
            selection_mode="points", config={"displayModeBar": False},
        )  # fmt: skip
    points = event["selection"]["points"]
    if points and st.session_state.get("clicked") != points:
        judging.write_cell(points[0]["y"], points[0]["x"])
    st.session_state["clicked"] = points
    with controls:
        true, predicted = judging.pick_cell(classes, matrix)
    inside = ((judged.labels == true) & (judged.predicted == predicted)).nonzero().flatten()
    with right, screen.beside():
        x, index = judging.pictures_of(
            view,
            judged.surest(inside),
            say("{true} taken for {predicted}", true=say(classes[true]), predicted=say(classes[predicted])),
        )
        if not len(index):
            return ""
        chosen = following.pick(x, index, f"{true}-{predicted}")
        return (
            following.show(view, model, view.bundle(classifier), x[chosen], int(index[chosen]), true, predicted)
            if model
            else ""
        )


@fragment
def opened(view: View, classifier: str, judged: Judged, percent: bool, model: str) -> None:
    """Draw all that follows the controls."""
    classes = view.gallery.classes
    matrix = metrics.confusion(judged.predicted, judged.labels, len(classes))
    python = matrix_and_cell(view, judged, matrix.numpy(), percent, model, classifier)
    accuracy = (judged.predicted == judged.labels).double().mean().item()
    st.markdown(say("{n:,} test images, **{accuracy:.2f} %** right.", n=len(judged.labels), accuracy=100 * accuracy))
    judging.scores(judged, matrix, classes)
    st.subheader(say("Most confident mistakes"))
    judging.show_surest(view, judged)
    finish(
        say(
            "Rows are the true class, columns what the model says; the brighter, the larger the share of the row. "
            "Beside it an image of the cell on a model's plane, coloured by what the classifier takes each point for. "
            "Precision: how often a class it names is right. Recall: how much of a class it finds."
        ),
        f"""
import torch
from explorer import figures, latent, metrics
from explorer.cards import read_dataset
from explorer.checkpoints import Bundle, root_folder
from explorer.datasets import DATASETS
from explorer.images import grid, to_float, to_pil

classes = read_dataset(root_folder(), "{view.dataset.name}").classes
bundle = Bundle("{view.dataset.name}", "{classifier}", root_folder())
judge, stored = bundle.load(), bundle.codes()
labels, probabilities = stored["test_labels"].long(), stored["test_logits"].softmax(1)
matrix = metrics.confusion(probabilities.argmax(1), labels, len(classes))
figures.confusion(matrix.numpy(), classes, percent={percent}).write_html("confusion.html")
bins = metrics.calibration(probabilities, labels)
chart = figures.calibration(*(bins[name].numpy() for name in ("confidence", "accuracy", "count")))
chart.write_html("calibration.html")
{python}""",
    )


view = begin(PAGE)
with screen.settings():
    name = view.shown.classifier
    models = tuple(sorted(view.autoencoders, key=lambda model: not view.card(model).is_native))
    with screen.more():
        if len(view.shown.classifiers) > 1:
            name = widgets.one_of(view, say("Classifier"), view.shown.classifiers, "classifier")
        cells = st.segmented_control(
            say("Cells"), CELLS, format_func=say, default=CELLS[0], required=True, key="cells", **BOUND
        )  # fmt: skip
        model = widgets.pick_model(view, models, say("Followed on the plane of")) if models else ""
if not usable(view, [name]):
    st.stop()
stored = loading.codes(view.bundle(name))
judged = Judged(torch.from_numpy(stored["test_logits"]).softmax(1), torch.from_numpy(stored["test_labels"]))
opened(view, name, judged, cells == CELLS[1], model)
