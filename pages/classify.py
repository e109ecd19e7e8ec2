"""Classify: what gets confused with what?"""

import numpy as np
import pandas as pd
import streamlit as st
import torch

from explorer import figures, metrics
from explorer.images import to_float
from explorer.ui import address, loading
from explorer.ui.frame import BOUND, Page, View, begin, finish, fragment, usable
from explorer.ui.pictures import Strip, show_strips

PAGE = Page(
    "Classify", ":material/rule:", "Scores and curves", place=90,
    question="What gets confused with what?",
    look_for=(
        "Pairs of classes that are confused both ways: open a cell and see whether you would do better. Then ask "
        "whether the model knows when it is guessing."
    ),
    fits=lambda there: there.classifier is not None,
    needs="a classifier",
)  # fmt: skip

SHOWN = 10


def pictures_of(view: View, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Get images of test-split numbers `index` that can be shown: all with the data, else gallery stand-ins."""
    images = loading.test_images(view.dataset)
    if images is not None:
        return to_float(torch.from_numpy(images[index])).numpy(), index
    places = {int(t): i for i, t in enumerate(view.gallery.indices)}
    index = np.array([i for i in index if int(i) in places], dtype=int)
    return view.gallery.images[[places[int(i)] for i in index]], index


def show_images(view: View, index: np.ndarray, probabilities: torch.Tensor, labels: torch.Tensor, what: str) -> None:
    """Draw test images, surest first, with the two most probable classes under each."""
    total = len(index)
    x, index = pictures_of(view, index)
    missing = "" if len(index) == total else f", {total - len(index)} of them only in the original data"
    st.markdown(f"**{what}**: {total} images{missing}" + (f", the first {SHOWN} shown" if len(index) > SHOWN else ""))
    if not len(index):
        return
    x, index = x[:SHOWN], index[:SHOWN]
    classes = view.gallery.classes
    captions = []
    for i in index:
        top = probabilities[i].topk(2)
        guesses = "\n".join(f"{classes[k]} {100 * p:.0f} %" for p, k in zip(*(v.tolist() for v in top), strict=True))
        captions.append(f"true: {classes[labels[i]]}\n{guesses}")
    show_strips([Strip("", x, captions)])


@fragment
def matrix_and_cell(
    view: View, probabilities: torch.Tensor, labels: torch.Tensor, matrix: np.ndarray, percent: bool
) -> None:
    """Draw the confusion matrix, and under it the images of the cell that was clicked."""
    classes = view.gallery.classes
    event = st.plotly_chart(
        figures.confusion(matrix, classes, percent),
        key="confusion", on_select="rerun", selection_mode="points", config={"displayModeBar": False},
    )  # fmt: skip
    points = event["selection"]["points"]
    if points:
        st.query_params["cell"] = f"{points[0]['y']}-{points[0]['x']}"
    true, predicted = read_cell(len(classes), matrix)
    inside = (labels == true) & (probabilities.argmax(1) == predicted)
    index = inside.nonzero().flatten()
    index = index[probabilities[index, predicted].argsort(descending=True)].numpy()
    show_images(view, index, probabilities, labels, f"{classes[true]} taken for {classes[predicted]}")


def read_cell(n: int, matrix: np.ndarray) -> tuple[int, int]:
    """Read the chosen cell from the address, or take the most frequent mistake."""
    for pair in address.pairs("cell", "-"):
        true, predicted = (address.whole(half, n) for half in pair)
        if true is not None and predicted is not None:
            return true, predicted
    off_diagonal = matrix * (1 - np.eye(n, dtype=matrix.dtype))
    return tuple(int(k) for k in np.unravel_index(off_diagonal.argmax(), matrix.shape))


view = begin(PAGE)
model = view.shown.classifier
if len(view.shown.classifiers) > 1:
    model = st.selectbox("Classifier", view.shown.classifiers, key="classifier", **BOUND)
if not usable(view, [model]):
    st.stop()
stored = loading.codes(view.bundle(model))
probabilities = torch.from_numpy(stored["test_logits"]).softmax(1)
labels = torch.from_numpy(stored["test_labels"])
predicted = probabilities.argmax(1)
matrix = metrics.confusion(predicted, labels, len(view.gallery.classes))
accuracy = (predicted == labels).double().mean().item()
st.markdown(f"{len(labels):,} test images, **{100 * accuracy:.2f} %** right. Click a cell to open its images.")
cells = st.segmented_control("Cells", ["counts", "row percent"], default="counts", required=True, key="cells", **BOUND)
percent = cells == "row percent"
matrix_and_cell(view, probabilities, labels, matrix.numpy(), percent)
left, right = st.columns(2)
with left:
    st.subheader("Per class")
    table = pd.DataFrame(
        metrics.precision_recall_f1(matrix).numpy(), view.gallery.classes, ["precision", "recall", "F1"]
    )
    st.dataframe(table.style.format("{:.3f}"), height="content")
with right:
    st.subheader("Does it know when it guesses?")
    bins = metrics.calibration(probabilities, labels)
    chart = figures.calibration(*(bins[k].numpy() for k in ("confidence", "accuracy", "count")))
    st.plotly_chart(chart, key="calibration")
    st.markdown(f"Expected calibration error: {bins['error']:.3f}. Above the dashed line it is too modest.")
st.subheader("Most confident mistakes")
wrong = (predicted != labels).nonzero().flatten()
surest = wrong[probabilities[wrong].max(1).values.argsort(descending=True)].numpy()
show_images(view, surest, probabilities, labels, "Wrong and sure")
finish(
    "Rows are the true class, columns what the model says; the brighter, the larger the share of the row. "
    "Precision: how often a class it names is right. Recall: how much of a class it finds.",
    f"""
from explorer import figures, metrics
from explorer.cards import read_dataset
from explorer.checkpoints import Bundle, root_folder

classes = read_dataset(root_folder(), "{view.dataset.name}").classes
stored = Bundle("{view.dataset.name}", "{model}", root_folder()).codes()
labels, probabilities = stored["test_labels"].long(), stored["test_logits"].softmax(1)
matrix = metrics.confusion(probabilities.argmax(1), labels, len(classes))
figures.confusion(matrix.numpy(), classes, percent={percent}).write_html("confusion.html")
bins = metrics.calibration(probabilities, labels)
chart = figures.calibration(*(bins[name].numpy() for name in ("confidence", "accuracy", "count")))
chart.write_html("calibration.html")
""",
)
