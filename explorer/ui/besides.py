"""What an edit changes besides what was asked for, measured in the picture: beside the meter, and in every model."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import streamlit as st
import torch

from explorer import edits
from explorer.images import as_rgb, error_map
from explorer.language import say
from explorer.ui import editing, loading
from explorer.ui.editing import REACH, Edit, Face
from explorer.ui.frame import View
from explorer.ui.opening import Opened
from explorer.ui.pictures import Strip, show_strips


@dataclass(frozen=True)
class Change:
    """An edit of a face by one model, in pictures."""

    bundle: Opened
    edit: Edit
    moves: Mapping[str, float]
    code: np.ndarray

    @cached_property
    def pictures(self) -> np.ndarray:
        """The decoded face before the edit and after it `(2, C, H, W)`."""
        codes = np.stack([self.code, self.code + self.edit.change(self.moves)])
        return loading.decode(self.bundle, torch.from_numpy(codes).float())

    @cached_property
    def seen(self) -> np.ndarray:
        """Both pictures as the encoder reads them `(2, D)`."""
        return loading.encode(self.bundle, self.pictures).numpy()

    @cached_property
    def moved(self) -> np.ndarray:
        """How far each score of the meter moved in the picture `(M,)`."""
        before, after = self.edit.scorers.scores(self.seen)[:, self.edit.scorers.usable]
        return after - before

    @property
    def is_judged(self) -> bool:
        """Whether there is an edit, and what it is judged by."""
        return self.bundle.has("edits") and bool(self.edit.change(self.moves).any())

    @cached_property
    def mask(self) -> np.ndarray:
        """The pixels where anything that is moved is `(H, W)`."""
        names = self.edit.scorers.names
        masks = edits.unpacked({"masks": self.bundle.edits()["masks"].numpy()}, self.pictures.shape)
        return masks[[names.index(name) for name in self.edit.chosen if self.moves.get(name)]].any(0)

    @property
    def notes(self) -> list[str]:
        """What else changed, and who it is, in sentences; none where nothing is moved or was measured."""
        if not self.is_judged:
            return []
        found, (before, after) = self.bundle.edits(), self.pictures
        away, even = edits.outside(before[None], after[None], self.mask)[0], 1 - self.mask.mean()
        outside = say(
            "{away:.0f} % of the change in pixels lies outside the mask; evenly spread it would be {even:.0f} %.",
            away=100 * away, even=100 * even,
        )  # fmt: skip
        if "axes" not in found:
            return [outside]
        distance = edits.distances(self.seen[:1], self.seen[1:], {"axes": found["axes"].numpy()})
        same, others = (100 * edits.further(distance, pairs.numpy())[0] for pairs in found["pairs"])
        who = say(
            "Still the same face? {same:.0f} % of pairs of one person's photographs are further apart, {others:.0f} % "
            "of strangers'.", same=same, others=others,
        )  # fmt: skip
        return [outside, who]

    def described(self) -> dict[str, Any]:
        """Describe what was measured, for edit.js."""
        hint = say("Let go of a slider to see what else changed in the picture, and whether it is still the same face.")
        return {
            "moves": dict(self.moves), "moved": self.moved.round(3).tolist(), "notes": " ".join(self.notes),
            "hint": hint if self.bundle.has("edits") else "",
        }  # fmt: skip


def server_editor(view: View, model: str, face: Face, edit: Edit, moves: dict[str, float]) -> dict[str, float]:
    """Do what edit.js does with stock sliders: pictures and meter follow when one is let go."""
    for name in edit.chosen:
        start = moves.get(name, 0.0)
        moves[name] = st.slider(editing.label(name), -REACH, REACH, start, 0.05, key=f"move-{name}")
    editing.keep_moves(moves)
    change = Change(view.bundle(model), edit, moves, face.code)
    show_strips([Strip("", change.pictures, [say("reconstruction"), say("edited")])])
    st.caption(" ".join(change.notes))
    moved = editing.effects(edit, edit.change(moves)[None])[0]
    scores = [editing.label(edit.scorers.names[k]) for k in edit.scorers.usable]
    rows = sorted(zip(scores, moved.tolist(), strict=True), key=lambda row: -abs(row[1]))
    st.dataframe([{say("score"): score, say("moved by"): value} for score, value in rows], hide_index=True)
    return moves


def side_by_side(view: View, model: str, face: Face, edit: Edit, moves: Mapping[str, float]) -> None:
    """Make the same moves on the same face in every model, by its own directions."""
    x = face.picture
    if x is None:
        x = loading.decode(view.bundle(model), torch.from_numpy(face.code).float()[None])[0]
    strips = []
    for name in view.autoencoders:
        bundle = view.bundle(name)
        found = {} if bundle.problem else editing.fitted(bundle, view.dataset.attributes)
        if not found:
            continue
        chosen = tuple(label for label in edit.chosen if label in editing.offered(found))
        own = replace(edit, found=found, chosen=chosen)
        strips.append(
            _strip(view.shown.title(name), x, Change(bundle, own, moves, loading.encode(bundle, x[None])[0].numpy()))
        )
    show_strips(strips)


def _strip(title: str, x: np.ndarray, change: Change) -> Strip:
    before, after = change.pictures[:1], change.pictures[1:]
    images, captions = (
        [as_rgb(part) for part in (x[None], before, after)],
        [say("original"), say("reconstruction"), say("edited")],
    )
    if change.is_judged:
        differences = error_map(before, after)
        images += [differences, np.where(change.mask, 0.5, differences)]
        captions += [say("what changed"), say("… outside the mask")]
    return Strip(title, np.concatenate(images), captions, " ".join(change.notes))


def with_effects(rows: list[dict[str, Any]], bundle: Opened, method: str) -> list[dict[str, Any]]:
    """Add to a table of attributes what two steps in each change, by one method, where that was measured; in %."""
    measured = bundle.edits()[f"effects/{method}"].tolist() if bundle.has("edits") else []
    if len(measured) != len(rows):
        return rows
    shown = {"side": say("other scores moved (SD)"), "outside": say("outside the mask (%)"), "same": say("same (%)")}
    for row, effects in zip(rows, measured, strict=True):
        found = dict(zip(edits.EFFECTS, effects, strict=True))
        for kind, title in shown.items():
            row[title] = found[kind] * (1 if kind == "side" else 100) if found["accuracy"] else None
    return rows


def how_measured(bundle: Opened, rows: list[dict[str, Any]]) -> str:
    """Say what the columns of `with_effects` mean, and how good the stand-in for identity is."""
    if not any(say("same (%)") in row for row in rows):
        command = bundle.command("edits")
        return say("What edits change besides was not measured. Run: `{command}`.", command=command)
    found = bundle.edits()
    told = say(
        "Of two steps in each attribute, means over {n} test images. *Other scores moved*: as the encoder reads them "
        "in the edited picture, by their size. *Outside the mask*: the share of the squared change of pixels that lies "
        "outside the quarter where photographs with it and without it differ most, all other labels being equal; 75 if "
        "evenly spread.", n=edits.N_FACES,
    )  # fmt: skip
    if "judged" not in found:
        return told
    auc, first, chance = found["judged"].tolist()
    who = say(
        "*Same*: no network of faces is here. What stands in is the distance of codes along {axes} axes that tell "
        "people apart best (Fisher's discriminant, fitted to the training images): of pairs of photographs of one "
        "person, so many are further apart than before and after. It is weak: of a photograph of the same person and "
        "one of a stranger it takes the right one in {auc:.0f} of 100 cases, and the nearest of all test images shows "
        "the same person in {first:.0f} % ({chance:.1f} % by chance). It sees hair and light as well as who it is.",
        axes=found["axes"].shape[1], auc=100 * auc, first=100 * first, chance=100 * chance,
    )  # fmt: skip
    return f"{told} {who}"
