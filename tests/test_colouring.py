from types import SimpleNamespace

import numpy as np
import pytest
import torch

from explorer.attributes import METHODS, fit_directions
from explorer.cards import DataCard
from explorer.checkpoints import root_folder
from explorer.datasets import DATASETS
from explorer.ui import editing, loading
from explorer.ui.catalog import Collection
from explorer.ui.colouring import pick_colour
from explorer.ui.frame import View
from explorer.ui.loading import Gallery

CELEBA = DataCard.of(DATASETS["celeba"])
SMILING = CELEBA.attributes.index("Smiling")


@pytest.fixture
def labelled():
    labels = np.full((400, len(CELEBA.attributes)), -1)
    labels[:, SMILING] = np.arange(400) % 2
    codes = np.random.default_rng(0).normal(size=(400, 6)).astype(np.float32)
    codes[:, 4] += 3 * labels[:, SMILING]
    return codes, labels


@pytest.fixture
def view(monkeypatch, labelled, tmp_path):
    codes, labels = labelled
    found = fit_directions(codes, labels, CELEBA.attributes)
    monkeypatch.setattr(editing, "fitted", lambda bundle, names: found)
    monkeypatch.setattr(loading, "codes", lambda bundle: {"codes": codes[:50]})
    zeros = np.zeros(50, dtype=int)
    return View(
        Collection(CELEBA, {}), tmp_path, Gallery("celeba", np.zeros((50, 3, 64, 64)), zeros, zeros, CELEBA.classes)
    )


def test_faces_are_coloured_by_how_far_their_codes_lie_along_a_labelled_attribute(view, labelled):
    colour = pick_colour(view, "face-vae")
    assert colour.title == "Smiling"
    smiling = labelled[1][:50, SMILING] == 1
    assert colour.scores[smiling].mean() > 0.5 > -0.5 > colour.scores[~smiling].mean()


def test_the_python_beside_a_coloured_map_makes_the_same_scores(view, labelled):
    codes, labels = (torch.from_numpy(array) for array in labelled)
    stored = {"labelled_codes": codes, "labelled_attributes": labels}
    bundle = SimpleNamespace(root=root_folder(), dataset="celeba", codes=lambda: stored)
    colour = pick_colour(view, "face-vae")
    names = {"bundle": bundle, "codes": codes[:50].numpy()}
    exec(colour.python, names)
    assert names["scores"] == pytest.approx(colour.scores, abs=1e-5)
    assert METHODS[0] in colour.python


@pytest.mark.parametrize("found", [{}, ValueError("labels of other codes")])
def test_without_usable_labels_there_is_one_colour_and_no_choice(view, monkeypatch, found):
    def fitted(bundle, names):
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(editing, "fitted", fitted)
    colour = pick_colour(view, "face-vae")
    assert colour.scores is None
    assert "one colour" in colour.caption
