"""What edits change besides what was asked for: masks, pixels outside of them, and who it is."""

import dataclasses

import numpy as np
import pytest
import torch

from explorer import edits
from explorer.attributes import METHODS
from explorer.cards import DataCard
from explorer.datasets import DATASETS, ImageSet
from explorer.models import AutoencoderConfig
from explorer.ui import checking

NAMES = ("mouth", "goes with it", "noise")


def faces(n, seed=0):
    """Grey noise with a bright mouth, or a bright brow that goes with it; four pictures of each person."""
    random = np.random.default_rng(seed)
    labels = np.stack([random.random(n) < 0.5, random.random(n) < 0.5, random.random(n) < 0.5], 1)
    labels[:, 1] = np.where(random.random(n) < 0.8, labels[:, 0], labels[:, 1])
    images = random.integers(0, 100, (n, 3, 16, 16))
    images[:, :, 10:14, 5:11] += 100 * labels[:, 0, None, None, None]
    images[:, :, 2:5, 4:12] += 100 * labels[:, 1, None, None, None]
    people = torch.arange(n) // 4 + 10_000 * seed
    x, y = torch.from_numpy(images).to(torch.uint8), torch.from_numpy(labels).to(torch.int8)
    return ImageSet(x, torch.zeros(n).long(), ("Face",), y, people=people)


def test_a_mask_is_where_the_attribute_is_and_not_where_another_is_that_goes_with_it():
    data = faces(600)
    inside = edits.masks(data.images, data.attributes)
    assert inside.flatten(1).sum(1).tolist() == [64] * 3
    assert inside[0, 10:14, 5:11].all() and not inside[0, 2:5, 5:11].any()
    assert inside[1, 2:5, 4:12].all() and not inside[1, 11:13, 6:10].any()
    some = torch.where(torch.rand(600, 3, generator=torch.Generator().manual_seed(0)) < 0.3, -1, data.attributes)
    assert (edits.masks(data.images, some)[:2] & inside[:2]).sum() > 0.9 * 128
    assert torch.equal(inside, edits.masks(data.images.flip(-1), data.attributes))
    packed = {"masks": np.packbits(inside.flatten(1).numpy(), axis=1)}
    assert np.array_equal(edits.unpacked(packed, (3, 16, 16)), inside.numpy())


def test_what_lies_outside_of_a_mask_is_a_share_of_the_squared_change():
    mask = np.zeros((4, 4), dtype=bool)
    mask[:2, :2] = True
    before = np.zeros((3, 3, 4, 4))
    after = before.copy()
    after[0, :, :2, :2], after[1] = 0.5, 0.1
    assert edits.outside(before, after, mask).tolist() == pytest.approx([0, 0.75, 0])


def people_and_codes(n, seed):
    random = np.random.default_rng(seed)
    people = np.arange(n) // 4
    codes = 3 * random.normal(size=(n, 12))  # most of it says nothing of who it is
    codes[:, :3] = random.normal(size=(n // 4, 3))[people] + 0.2 * random.normal(size=(n, 3))
    return codes, people + 10_000 * seed


def test_identity_is_judged_on_people_whom_it_was_not_fitted_to():
    train, test = people_and_codes(800, 0), people_and_codes(200, 1)
    found = {name: tensor.double().numpy() for name, tensor in edits.identity(train, test).items()}
    auc, first, chance = found["judged"]
    assert auc > 0.95 and first > 0.6 > 0.02 > chance
    moved = np.zeros((1, 12))
    moved[0, 5] = 3  # as far as pictures of one person vary: nobody else
    share = [edits.further(edits.distances(np.zeros((1, 12)), x, found), found["pairs"][0]) for x in (moved, 0 * moved)]
    assert share[0] > 0.5 and share[1] == 1
    mixed = np.concatenate([test[0], train[0][:40]]), np.concatenate([test[1], train[1][:40]])
    assert torch.equal(edits.identity(train, mixed)["judged"], edits.identity(train, test)["judged"])


@pytest.mark.parametrize("known", [-1, 0])
def test_without_two_pictures_of_somebody_there_is_no_identity(known):
    codes, people = people_and_codes(80, 0)
    alone = np.full(80, -1) if known else np.arange(80) + 500
    assert edits.identity((codes, people), (codes, alone)) == edits.identity((codes, alone), (codes, people)) == {}


def test_edits_are_measured_whole_and_checked():
    splits = {"train": faces(160), "validation": faces(20, 2), "test": faces(60, 1)}
    torch.manual_seed(0)
    model = AutoencoderConfig((3, 16, 16), hidden=(32,), code=8, variational=True, likelihood="gaussian").build().eval()
    assert edits.makes_sense(model, splits)
    found = edits.measure(model, splits, NAMES)
    card = dataclasses.replace(DataCard.of(DATASETS["celeba"]), attributes=NAMES, image_shape=(3, 16, 16))
    assert checking.wrong_edits(found, model, card) == ""
    assert set(found) == {"masks", "axes", "pairs", "judged", *(f"effects/{method}" for method in METHODS)}
    strangers = {name: dataclasses.replace(data, people=None) for name, data in splits.items()}
    without = edits.measure(model, strangers, NAMES)
    assert set(found) - set(without) == {"axes", "pairs", "judged"} and checking.wrong_edits(without, model, card) == ""
    for name in found:
        assert checking.wrong_edits({k: v for k, v in found.items() if k != name}, model, card)
    assert "masks" in checking.wrong_edits(found | {"masks": found["masks"][:, :-1]}, model, card)
    unlabelled = {name: dataclasses.replace(data, attributes=None) for name, data in splits.items()}
    assert not edits.makes_sense(model, unlabelled)
