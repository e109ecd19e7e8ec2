"""What a classifier says of each test image: the cells of its confusion matrix, its mistakes, its figures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st
import torch

from explorer import figures, metrics
from explorer.language import listed, number, say, say_many
from explorer.ui import address, following, screen
from explorer.ui.frame import View
from explorer.ui.pictures import Strip, show_strips

SHOWN = 10
CELL = ("cell_true", "cell_predicted")


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
