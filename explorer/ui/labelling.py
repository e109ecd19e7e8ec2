"""What the directions of attributes rest on: the labelled images, and the table of all directions."""

import numpy as np
import streamlit as st

from explorer.attributes import FEWEST_LABELS, LEVEL, Directions
from explorer.language import listed, say
from explorer.ui import besides, editing, loading
from explorer.ui.frame import View
from explorer.ui.opening import Opened


def how_to_label(view: View, model: str) -> str:
    """Say what makes labelled codes."""
    command = view.bundle(model).command("projections")
    if view.dataset.has_faces:
        return say("Put `list_attr_celeba.txt` beside the folder of images, then run `{command}`.", command=command)
    return say("Put `attributes.csv` among them, then run `{command}`.", command=command)


def show_table(view: View, model: str, found: dict[str, Directions], method: str) -> None:
    """List every direction with its labels and accuracy, and why some are hidden."""
    rows = besides.with_effects(editing.table(found), view.bundle(model), method)
    with st.expander(say("The {n} directions, and which are hidden", n=len(rows)), icon=":material/table:"):
        columns = {
            name: st.column_config.NumberColumn(format="%.1f" if name.endswith("(%)") else "%.2f")
            for row in rows[:1] for name, value in row.items() if isinstance(value, float | None)
        }  # fmt: skip
        st.dataframe(rows, hide_index=True, height=420, column_config=columns)
        st.caption(
            say(
                "Right answers in %, {judged}; both classes weigh the same, so that 50 is chance. Hidden is what has "
                "fewer than {fewest} labels of a class, or is not better than chance by each method (Fisher's exact "
                "test, one-sided, level {level} over all directions together).",
                judged=where_judged(next(iter(found.values()))),
                fewest=FEWEST_LABELS,
                level=LEVEL,
            )
        )
        st.caption(whose_part(view.bundle(model)))
        st.caption(besides.how_measured(view.bundle(model), rows))


def whose_part(bundle: Opened) -> str:
    """Say of which part of the data set the labelled images are."""
    split = loading.codes(bundle).get("labelled_split")
    if split is None:
        return say("It is not known of which part of the data set the labelled images are.")
    n = np.bincount(split, minlength=3)
    if not n[1:].any():
        return say(
            "All {n:,} labelled images are of the part that the model was fitted to: no encoder here is judged on "
            "labelled images that are new to it, since there are none.", n=n[0],
        )  # fmt: skip
    return say(
        "Of the labelled images {train:,} are of the part that the model was fitted to, {validation:,} of the one that "
        "its epoch was chosen by, and {test:,} are new to it.", train=n[0], validation=n[1], test=n[2],
    )  # fmt: skip


def where_judged(directions: Directions) -> str:
    """Say which faces right answers were counted on, first those that are new to the encoder."""
    counted = {editing.judged_on(directions, k) for k in np.flatnonzero(np.isfinite(directions.accuracy))}
    parts = sorted(counted, key=editing.NEW.__ne__)
    if len(parts) < 2:
        return say("on {faces}", faces=parts[0]) if parts else say("on none")
    return say(
        "on {faces} or, where too few of these are labelled, on {others}", faces=parts[0], others=listed(parts[1:])
    )
