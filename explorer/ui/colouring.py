"""What colours the points of a map: the classes, or the score of an attribute where there is but one class."""

from dataclasses import dataclass

import numpy as np
import streamlit as st

from explorer.attributes import METHODS
from explorer.language import say
from explorer.ui import editing, loading
from explorer.ui.frame import BOUND, View

FIRST = "Smiling"


@dataclass(frozen=True)
class Colour:
    """Scores `(M,)` of the gallery's codes for one attribute, with the boundary at 0; None colours by class.

    caption: what the colour means. python: the lines that make `scores` from `bundle` and `codes`.
    """

    caption: str
    python: str = "scores = None"
    title: str = ""
    scores: np.ndarray | None = None


def pick_colour(view: View, model: str) -> Colour:
    """Choose the attribute that colours the map; where there are classes or no labelled codes, there is no choice."""
    if view.gallery.has_classes:
        return Colour(say("coloured by its class; the model never saw the classes unless it is the classifier"))
    try:
        found = editing.fitted(view.bundle(model), view.dataset.attributes)
    except ValueError:
        found = {}
    names = editing.offered(found) if found else []
    if not names:
        return Colour(say("in one colour, since no attribute is labelled"))
    first = names.index(FIRST) if FIRST in names else 0
    name = st.selectbox(say("Colour by"), names, first, format_func=editing.label, key="colour", **BOUND)
    k = view.dataset.attributes.index(name)
    scores = found[METHODS[0]].scores(loading.codes(view.bundle(model))["codes"])[:, k]
    return Colour(
        say(
            "coloured by how far its whole code lies along the attribute *{name}*, from the mean of labelled codes "
            "without it to the mean of those with it (Larsen et al. 2016), 0 is halfway",
            name=editing.label(name),
        ),
        f"""\
from explorer.attributes import fit_stored
from explorer.cards import read_dataset

labelled = {{name: tensor.float().numpy() for name, tensor in bundle.codes().items() if name.startswith("labelled")}}
found = fit_stored(labelled, read_dataset(bundle.root, bundle.dataset).attributes, ["{name}"])
scores = found["{METHODS[0]}"].scores(codes)[:, 0]""",
        editing.label(name),
        scores,
    )
