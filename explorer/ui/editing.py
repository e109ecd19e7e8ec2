"""What the page of attributes is made of: directions, sliders and a meter, for the browser or on the server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

from explorer import attributes
from explorer.attributes import FEW_LABELS, METHODS, Directions
from explorer.language import later, passing, say
from explorer.ui import address, loading
from explorer.ui.frame import View
from explorer.ui.loading import BY_READING
from explorer.ui.opening import Opened
from explorer.ui.pictures import data_uri

METER = METHODS[1]  # reads every score, whichever method moves the code, so that methods compare
NEW = later("faces that neither direction nor encoder has seen")
APART = later("people new to the direction, not to the encoder")
APART_AND_NEW = later("people new to the direction, in images new to the encoder")
REACH = 3.0  # steps to either side
FIRST = ("Smiling", "Male")
TELLING = 2.0  # steps along the first attribute with which the page opens


@dataclass(frozen=True)
class Face:
    """What is edited: a code `(D,)`, the Python that makes it, and the picture `(C, H, W)` behind it, if any."""

    code: np.ndarray
    python: str
    picture: np.ndarray | None = None


@dataclass(frozen=True)
class Edit:
    """Which attributes are moved and how: by the directions of a method, kept from moving the scores `against`."""

    found: Mapping[str, Directions]
    method: str
    chosen: tuple[str, ...]
    against: tuple[str, ...]

    @property
    def directions(self) -> Directions:
        """What moves the code."""
        return self.found[self.method]

    @property
    def scorers(self) -> Directions:
        """What the meter reads."""
        return self.found[METER]

    def whole(self, name: str) -> np.ndarray:
        """Scale a direction so that one step `(D,)` moves its own score on the meter by one."""
        return attributes.own_step(self.directions, self.scorers, self.scorers.names.index(name))

    def others(self, name: str) -> list[int]:
        """List the rows of the scores that moving this attribute must leave alone; never its own."""
        return [self.scorers.names.index(other) for other in self.against if other != name]

    @property
    def steps(self) -> np.ndarray:
        """One step of each chosen attribute `(K, D)`."""
        return np.array([self._step(name) for name in self.chosen]).reshape(len(self.chosen), len(self.scorers.scale))

    def _step(self, name: str) -> np.ndarray:
        step = self.whole(name)
        return attributes.orthogonalise(step, self.scorers.normals[self.others(name)], self.scorers.scale)

    def change(self, moves: Mapping[str, float]) -> np.ndarray:
        """Add the steps up: how far the code moves `(D,)`."""
        return np.array([moves.get(name, 0.0) for name in self.chosen]) @ self.steps


@st.cache_resource(max_entries=8, show_spinner=passing("Finding a direction for each attribute"), **BY_READING)
def fitted(bundle: Opened, names: tuple[str, ...]) -> dict[str, Directions]:
    """Fit the directions of a bundle's labelled codes once per reading of it, by method; empty without labels.

    Raises:
        ValueError: codes, labels and names do not belong together.
    """
    stored = loading.codes(bundle)
    if not names or len(stored.get("labelled_codes", ())) == 0:
        return {}
    return attributes.fit_stored(stored, names)


def offered(found: Mapping[str, Directions]) -> list[str]:
    """List the attributes whose directions are better than chance by every method."""
    first = next(iter(found.values()))
    return [name for k, name in enumerate(first.names) if not any(d.hidden[k] for d in found.values())]


def first(usable: Sequence[str]) -> list[str]:
    """Choose the attributes to begin with."""
    return [name for name in FIRST if name in usable] or list(usable[:1])


def label(name: str) -> str:
    """Write an attribute's name for people."""
    return say(name.replace("_", " "))


def read_moves(texts: Sequence[str], chosen: Sequence[str]) -> dict[str, float]:
    """Read moves, `name,steps` each, of chosen attributes; what makes no sense is passed over."""
    moves = {}
    for text in texts:
        name, _, steps = text.rpartition(",")
        value = address.number(steps, 1e9)
        if name in chosen and value is not None:
            moves[name] = min(max(value, -REACH), REACH)
    return moves


def write_moves(moves: Mapping[str, float]) -> list[str]:
    """Write moves for the address; those of no steps are left out."""
    return [f"{name},{steps:g}" for name, steps in moves.items() if steps]


def kind_of(name: str, edit: Edit) -> str:
    """Say why an attribute is on the meter: it is "asked" for, "held" still, or at the "side"."""
    return "asked" if name in edit.chosen else "held" if name in edit.against else "side"


def effects(edit: Edit, steps: np.ndarray) -> np.ndarray:
    """Compute how far steps `(K, D)` move each score of the meter `(K, M)`."""
    moved = [attributes.side_effects(step, edit.scorers)[edit.scorers.usable] for step in steps]
    return np.array(moved).reshape(len(steps), len(edit.scorers.usable))


def face_data(view: View, model: str, face: Face, edit: Edit, moves: Mapping[str, float]) -> dict[str, Any]:
    """Describe a face under sliders with a meter for edit.js, but for the addresses of weights; nothing is measured."""
    return {
        "model": view.bundle(model).identity,
        "image": view.dataset.image_shape,
        "code": face.code.round(5).tolist(),
        "original": "" if face.picture is None else data_uri(face.picture),
        "made": say("sample") if face.picture is None else say("reconstruction"),
        "measured": None,
        **editor_data(edit, moves),
    }


def editor_data(edit: Edit, moves: Mapping[str, float]) -> dict[str, Any]:
    """Describe sliders and meter for edit.js."""
    steps = edit.steps
    sliders = [
        {
            "name": name,
            "label": label(name),
            "note": describe(name, edit),
            "step": step.round(6).tolist(),
            "effects": moved.round(4).tolist(),
            "value": moves.get(name, 0.0),
        }
        for name, step, moved in zip(edit.chosen, steps, effects(edit, steps), strict=True)
    ]
    shown = [edit.scorers.names[k] for k in edit.scorers.usable]
    meter = [{"name": name, "label": label(name), "kind": kind_of(name, edit)} for name in shown]
    return {"sliders": sliders, "meter": meter, "reach": REACH}


def describe(name: str, edit: Edit) -> str:
    """Say what is behind a direction, and what was taken out of it."""
    k = edit.directions.names.index(name)
    n_with, n_without = int(edit.directions.n_positive[k]), int(edit.directions.n_negative[k])
    right, kept = 100 * edit.directions.accuracy[k], share_kept(name, edit)
    told = [
        say("{right:.0f} % right on {faces}", right=right, faces=judged_on(edit.directions, k)),
        say("few labels with it: {n:,}", n=n_with)
        if min(n_with, n_without) < FEW_LABELS
        else say("{n:,} labels with it", n=n_with),
    ]
    if kept <= 0.995:
        told.append(say("orthogonalised, {kept:.0f} % of its length is left", kept=100 * kept))
    return "; ".join(told)


def judged_on(directions: Directions, k: int) -> str:
    """Say which faces the accuracy of a direction was measured on; none of them is one that it was fitted to."""
    if directions.apart and directions.on_new is not None:
        return say(APART_AND_NEW) if directions.on_new[k] else say(APART)
    if directions.on_new is None:
        return say("faces held out from the direction, though perhaps not from the encoder")
    return say(NEW) if directions.on_new[k] else say("faces held out from the direction, though not from the encoder")


def share_kept(name: str, edit: Edit) -> float:
    """Compute how much of a direction's length is left after orthogonalising, 0 to 1."""
    whole = edit.whole(name) / edit.scorers.scale
    left = edit.steps[edit.chosen.index(name)] / edit.scorers.scale
    return float(np.linalg.norm(left) / np.linalg.norm(whole))


def table(found: Mapping[str, Directions]) -> list[dict[str, Any]]:
    """List every attribute with its labels, held-out accuracies in %, and whether it is used, or why not."""
    first = next(iter(found.values()))
    rows = []
    for k, name in enumerate(first.names):
        reasons = [f"{say(method)}: {say(d.hidden[k])}" for method, d in found.items() if d.hidden[k]]
        if len({d.hidden[k] for d in found.values()}) == 1 and reasons:
            reasons = [say(first.hidden[k])]  # the same by every method, as it is where labels lack
        few = min(first.n_positive[k], first.n_negative[k]) < FEW_LABELS
        used = say("used, but few labels") if few else say("used")
        rows.append({
            say("attribute"): label(name),
            say("with"): int(first.n_positive[k]),
            say("without"): int(first.n_negative[k]),
            **{f"{say(method)} (%)": 100 * float(d.accuracy[k]) for method, d in found.items()},
            "": say("hidden: {reasons}", reasons="; ".join(reasons)) if reasons else used,
        })  # fmt: skip
    return rows


def keep_moves(moves: dict[str, float]) -> None:
    """Hold the address to the moves; that there are none is an empty value."""
    address.keep("move", write_moves(moves) or [""])


def python_for(view: View, model: str, face: Face, edit: Edit, moves: dict[str, float]) -> str:
    """Write the lines of Python that make the edited face."""
    return f"""
from pathlib import Path
import torch
from explorer import sampling
from explorer.attributes import fit_stored, orthogonalise, own_step
from explorer.checkpoints import Bundle, root_folder
from explorer.images import read_upload, to_pil

bundle = Bundle("{view.dataset.name}", "{model}", root_folder())
model, stored = bundle.load(), {{name: tensor.float().numpy() for name, tensor in bundle.codes().items()}}
names = {view.dataset.attributes}
found = fit_stored(stored, names)
directions, meter = found["{edit.method}"], found["{METER}"]
z = {face.python}
for name, steps in {moves}.items():
    k, others = names.index(name), [names.index(other) for other in {list(edit.against)} if other != name]
    step = own_step(directions, meter, k)  # moves its own score by one
    z = z + steps * orthogonalise(step, meter.normals[others], meter.scale)
to_pil(model.decode(torch.from_numpy(z).float()[None])[0].numpy()).save("edited.png")
"""
