"""What the page Use it shows: accuracies over labels of many models, and scores of one around a threshold."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
import torch

from explorer import anomalies, uses
from explorer.anomalies import LEFT_OUT, SCORES
from explorer.checkpoints import BundleError
from explorer.datasets import data_folder
from explorer.images import grid, to_float, to_uint8
from explorer.language import listed, say
from explorer.palette import BLUE, ORANGE
from explorer.ui import loading
from explorer.ui.frame import View
from explorer.ui.loading import BY_READING
from explorer.ui.pictures import SHEET_COLUMNS, data_uri
from explorer.ui.text import as_text
from explorer.uses import BASELINES, usual_for, usual_places

CAUGHT = 0.95  # of the usual images lie below the threshold to begin with


def used(view: View, names: Sequence[str]) -> dict[str, dict[str, np.ndarray]]:
    """Give what models are good for, by name; say of the others how to find it out."""
    found, missing = {}, {}
    for name in names:
        try:
            found[name] = {key: value.numpy() for key, value in view.bundle(name).uses().items()}
        except BundleError as error:
            missing[name] = str(error)
    if missing:
        first, *others = missing
        title = view.shown.title(first)
        told = say("What {model} is good for was not measured. {reason}.", model=title, reason=missing[first])
        if others:
            told += " " + say("The same goes for {others}.", others=listed(map(view.shown.title, others)))
        st.info(as_text(told))
    return found


def accuracies(found: Mapping[str, Mapping[str, np.ndarray]], probe: str) -> dict[str, np.ndarray]:
    """Give the curves of a probe by what it was fitted to: labels, mean and standard deviation `(3, S)`."""
    measured = {name: of_one for name, of_one in found.items() if f"{probe}/code" in of_one}
    curves = {name: np.vstack([of_one["labels"], of_one[f"{probe}/code"].T]) for name, of_one in measured.items()}
    for of_one in [*measured.values()][:1]:  # the baselines are the same in all
        for key, title in BASELINES.items():
            curves[say(title)] = np.vstack([of_one["labels"], of_one[f"{probe}/{key}"].T])
    return curves


def areas(found: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Lay out the area under the ROC curve of each score (columns) for each set of strangers (rows)."""
    return pd.DataFrame(uses.areas(found)).T.rename(
        columns={name: say(title) for name, title in SCORES.items()}, index=called
    )


def called(strangers: str) -> str:
    """Name a set of strangers in the current language."""
    if strangers.startswith(LEFT_OUT):
        return say("left out: {name}", name=say(strangers.removeprefix(LEFT_OUT)))
    return say(strangers)


def failures(table: pd.DataFrame) -> str:
    """Say which scores find strangers more usual than the usual images, worst first."""
    failing = [(area, name, score) for name, row in table.iterrows() for score, area in row.items() if area < 0.5]
    if not failing:
        return ""
    told = "; ".join(
        say("{score} of *{name}*: {area:.2f}", score=score, name=name, area=area)
        for area, name, score in sorted(failing)
    )
    return say(
        "**Where it fails.** Below {chance:.1f} strangers look more usual than the images themselves. {told}.",
        chance=0.5, told=told,
    )  # fmt: skip


@st.cache_resource(max_entries=16, show_spinner=False, **BY_READING)
def _images(shown: loading.Gallery, strangers: str, dataset: str, data_dir: str) -> tuple[np.ndarray, bool]:
    """Lay the usual images and strangers out `(N, C, H, W)`; and whether the second are hidden, as not on this disk."""
    usual = shown.images[usual_places(len(shown))]
    labels = shown.labels[usual_places(len(shown))]
    if strangers.startswith(LEFT_OUT):
        which = labels == shown.classes.index(strangers.removeprefix(LEFT_OUT))
        return np.concatenate([usual[~which], usual[which]]), False
    made = anomalies.made(torch.from_numpy(to_uint8(usual)))
    if strangers not in made:
        made = anomalies.found(dataset, usual.shape[1:], data_dir)
    if strangers not in made:
        return usual, True
    return np.concatenate([usual, to_float(made[strangers]).numpy()]), False


def threshold_data(
    view: View, found: Mapping[str, np.ndarray], score: str, strangers: str, at: float
) -> dict[str, Any]:
    """Describe scores around a threshold for threshold.js."""
    usual, strange = found[f"{score}/{usual_for(strangers)}"], found[f"{score}/{strangers}"]
    apart = uses.separated(found, score, strangers)
    images, hidden = _images(view.gallery, strangers, view.dataset.name, str(data_folder()))
    low, high = ends(usual, strange)
    return {
        "scores": [usual.round(5).tolist(), strange.round(5).tolist()],
        "names": [say(usual_for(strangers)), say(strangers.removeprefix(LEFT_OUT))],
        "colours": [BLUE, ORANGE],
        "low": low,
        "high": high,
        "title": say("{score}; height: the root of how many", score=say(SCORES[score])),
        "at": at,
        "false_alarms": apart.false_alarms.round(4).tolist(),
        "hits": apart.hits.round(4).tolist(),
        "area": say("AUC {area:.3f} ± {error:.3f}", area=apart.area, error=apart.error),
        "image": view.dataset.image_shape,
        "sheet": data_uri(grid(images, SHEET_COLUMNS, gap=0)),
        "columns": SHEET_COLUMNS,
        "hidden": hidden,
    }


def ends(usual: np.ndarray, strange: np.ndarray) -> tuple[float, float]:
    """Choose an axis that shows the usual scores whole, and those of strangers as far as twice their width beyond."""
    low, high = float(usual.min()), float(usual.max())
    width = max(high - low, 1e-9)
    return max(low - 2 * width, min(low, float(strange.min()))), min(high + 2 * width, max(high, float(strange.max())))


def first_threshold(found: Mapping[str, np.ndarray], score: str, strangers: str) -> float:
    """Choose the threshold below which most of the usual images lie."""
    return float(np.quantile(found[f"{score}/{usual_for(strangers)}"], CAUGHT))
