"""Classify: what gets confused with what?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st
import torch

from explorer import figures, metrics
from explorer.language import choices, later, listed, number, say, say_many
from explorer.ui import address, following, loading, screen, widgets
from explorer.ui.frame import BOUND, Page, View, begin, finish, fragment, usable
from explorer.ui.pictures import Strip, show_strips

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

SHOWN = 10
CELLS = choices("counts", "row percent")
CELL = ("cell_true", "cell_predicted")
MATRIX = later("Confusion matrix: true classes in rows, what they are taken for in columns, and in each cell how many")


@dataclass(frozen=True)
class Judged:
    """What the classifier says of each test image: probabilities `(N, K)`, beside the true classes `(N,)`."""

    probabilities: torch.Tensor
    labels: torch.Tensor

    @property
    def predicted(self) -> torch.Tensor:
        """The most probable class of each `(N,)`."""
        return self.probabilities.argmax(1)

    def surest(self, index: torch.Tensor) -> np.ndarray:
        """Order test images `(M,)` by the probability of the class that they are taken for."""
        return index[self.probabilities[index].max(1).values.argsort(descending=True)].numpy()


def pictures_of(view: View, index: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Say how many images there are, and get the first of them that can be shown, with their numbers."""
    x, found = following.pictures_of(view, index)
    parts = [say_many("**{what}**: {n} image", "**{what}**: {n} images", len(index), what=what)]
    if missing := len(index) - len(found):
        parts.append(say("{n} of them only in the original data", n=missing))
    if len(found) > SHOWN:
        parts.append(say("{n} shown", n=SHOWN))
    st.markdown(listed(parts))
    return x[:SHOWN], found[:SHOWN]


def show_surest(view: View, judged: Judged) -> None:
    """Draw the mistakes that the classifier is surest of, with the two most probable classes under each."""
    wrong = (judged.predicted != judged.labels).nonzero().flatten()
    x, index = pictures_of(view, judged.surest(wrong), say("Wrong and sure"))
    classes, captions = view.gallery.class_names, []
    for i in index:
        top = zip(*(v.tolist() for v in judged.probabilities[i].topk(2)), strict=True)
        guesses = "\n".join(f"{classes[k]} {100 * p:.0f} %" for p, k in top)
        captions.append(say("true: {name}", name=classes[judged.labels[i]]) + f"\n{guesses}")
    if len(index):
        show_strips([Strip("", x, captions)])


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
        write_cell(points[0]["y"], points[0]["x"])
    st.session_state["clicked"] = points
    with controls:
        true, predicted = pick_cell(classes, matrix)
    inside = ((judged.labels == true) & (judged.predicted == predicted)).nonzero().flatten()
    with right, screen.beside():
        x, index = pictures_of(
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


def write_cell(true: int, predicted: int) -> None:
    """Choose a cell, and let go of what belongs to another."""
    st.query_params["cell"] = f"{true}-{predicted}"
    following.forget("image", "pin")


def pick_cell(classes: Sequence[str], matrix: np.ndarray) -> tuple[int, int]:
    """Choose a cell by its classes, without a pointer; the boxes follow a click on the matrix."""
    cell = read_cell(len(classes), matrix)
    for key, k in zip(CELL, cell, strict=True):
        st.session_state[key] = classes[k]
    moved = lambda: write_cell(*(classes.index(st.session_state[key]) for key in CELL))  # noqa: E731
    for key, label in zip(CELL, (say("True class"), say("Taken for")), strict=True):
        st.selectbox(label, classes, format_func=say, key=key, on_change=moved)
    return cell


def read_cell(n: int, matrix: np.ndarray) -> tuple[int, int]:
    """Read the chosen cell from the address, or take the most frequent mistake."""
    for pair in address.pairs("cell", "-"):
        true, predicted = (address.whole(half, n) for half in pair)
        if true is not None and predicted is not None:
            return true, predicted
    off_diagonal = matrix * (1 - np.eye(n, dtype=matrix.dtype))
    return tuple(int(k) for k in np.unravel_index(off_diagonal.argmax(), matrix.shape))


def scores(judged: Judged, matrix: torch.Tensor, classes: tuple[str, ...]) -> None:
    """Draw the figures of each class, and how right the classifier is where it is sure."""
    left, right = st.columns(2)
    with left:
        st.subheader(say("Per class"))
        names, columns = [say(name) for name in classes], [say("precision"), say("recall"), "F1"]
        table = pd.DataFrame(metrics.precision_recall_f1(matrix).numpy(), names, columns)
        st.dataframe(table.style.format(lambda value: number(value, ".3f")), height="content")
    with right:
        st.subheader(say("Does it know when it guesses?"))
        bins = metrics.calibration(judged.probabilities, judged.labels)
        chart = figures.calibration(*(bins[k].numpy() for k in ("confidence", "accuracy", "count")))
        screen.chart(chart, "calibration", say("How often it is right, over how sure it is"))
        st.markdown(
            say("Expected calibration error: {error:.3f}. Above the dashed line it is too modest.", error=bins["error"])
        )


@fragment
def opened(view: View, classifier: str, judged: Judged, percent: bool, model: str) -> None:
    """Draw all that follows the controls."""
    classes = view.gallery.classes
    matrix = metrics.confusion(judged.predicted, judged.labels, len(classes))
    python = matrix_and_cell(view, judged, matrix.numpy(), percent, model, classifier)
    accuracy = (judged.predicted == judged.labels).double().mean().item()
    st.markdown(say("{n:,} test images, **{accuracy:.2f} %** right.", n=len(judged.labels), accuracy=100 * accuracy))
    scores(judged, matrix, classes)
    st.subheader(say("Most confident mistakes"))
    show_surest(view, judged)
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
