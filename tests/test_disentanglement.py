"""MIG, DCI and SAP of codes whose scores are known; and the images of known factors."""

import numpy as np
import pytest

from explorer import disentanglement, shapes
from explorer.datasets import DATASETS
from explorer.disentanglement import dci, mig, sap, scores, told

N = 2000


@pytest.fixture(scope="module")
def factors():
    """Independent factors of the numbers of values that shapes have."""
    rng = np.random.default_rng(0)
    return np.stack([rng.integers(0, n, N) for n in shapes.FACTORS.values()], axis=1)


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    monkeypatch.setattr(disentanglement, "TREES", 10)


def perfect(factors, seed=0):
    """Each factor in a number of its own, in another order and with its own sign and scale, and one number of noise."""
    rng = np.random.default_rng(seed)
    spread = factors / factors.std(0)
    return np.concatenate([spread[:, ::-1] * [1, -2, 0.1, 5, 1], 1e-3 * rng.standard_normal((N, 1))], axis=1)


def test_a_number_of_its_own_for_each_factor_has_the_highest_scores(factors):
    found = scores(perfect(factors), factors)
    assert found["mig"] == pytest.approx(np.mean([1, 1, *[np.log(20) / np.log(n) for n in (40, 32, 32)]]), abs=0.05)
    assert found["sap"] == pytest.approx(np.mean([1 - 1 / 3, 1, 1, 1, 1]), abs=0.03)  # chance is 1/3 of three kinds
    for part in ("disentanglement", "completeness"):
        assert found[part] > 0.98
    assert found["informativeness"] > 0.85  # of ten trees


def test_factors_that_are_turned_into_one_another_have_low_scores(factors):
    rng = np.random.default_rng(1)
    turned = (factors / factors.std(0)) @ np.linalg.qr(rng.standard_normal((5, 5)))[0]
    found, best = scores(turned, factors), scores(perfect(factors), factors)
    assert found["mig"] < 0.25 < best["mig"]
    assert found["sap"] < 0.4 < best["sap"]
    assert found["disentanglement"] < 0.6
    assert found["completeness"] < 0.6


def test_numbers_that_know_nothing_have_no_scores(factors):
    found = scores(np.random.default_rng(2).standard_normal((N, 6)), factors)
    assert found["mig"] < 0.01
    assert found["sap"] < 0.03
    assert found["informativeness"] < 0.1


def test_a_factor_in_two_numbers_is_less_complete_and_two_factors_in_a_number_less_disentangled(factors):
    rng = np.random.default_rng(3)
    x = factors / factors.std(0)
    twice = np.concatenate([x, x[:, [3]] + 1e-2 * rng.standard_normal((N, 1))], axis=1)
    mixed = np.stack([x[:, 0], x[:, 1], x[:, 2], x[:, 3] + x[:, 4]], axis=1)
    assert mig(twice, factors) == pytest.approx(mig(x, factors) - told(x, factors)[3, 3] / 5, abs=0.05)
    assert dci(mixed, factors)["disentanglement"] < dci(x, factors)["disentanglement"] - 0.1
    assert sap(twice, factors) == pytest.approx(sap(x, factors) - 1 / 5, abs=0.02)


def test_a_number_that_does_not_vary_tells_nothing(factors):
    constant = np.ones((N, 1))
    assert told(constant, factors) == pytest.approx(np.zeros((1, 5)))
    assert sap(np.concatenate([factors, constant], axis=1), factors) == pytest.approx(sap(factors, factors), abs=0.1)
    assert mig(constant, factors) == 0


def test_the_share_that_a_number_tells_is_the_mutual_information_by_its_definition(factors):
    z = factors[:, 1] // 2 + 0.0  # three values of six
    joint = np.histogram2d(z, factors[:, 1], bins=(3, 6))[0] / N
    outer = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    information = (joint[joint > 0] * np.log(joint[joint > 0] / outer[joint > 0])).sum()
    entropy = -(joint.sum(0) * np.log(joint.sum(0))).sum()
    assert told(z[:, None], factors)[0, 1] == pytest.approx(information / entropy)


def test_shapes_are_drawn_the_same_every_time_and_no_image_is_in_two_splits(monkeypatch):
    few = {"test": 300, "validation": 100, "train": 400}
    monkeypatch.setattr(shapes, "SIZES", few)
    splits = {name: DATASETS["shapes"].load(name) for name in few}
    assert {name: len(data) for name, data in splits.items()} == few
    drawn = np.concatenate([data.factors.numpy() for data in splits.values()])
    assert len(np.unique(drawn, axis=0)) == len(drawn)
    assert splits["test"].digest == DATASETS["shapes"].load("test").digest
    some = splits["test"][(splits["test"].labels == 2).nonzero().flatten()]
    assert some.images.shape[1:] == DATASETS["shapes"].image_shape
    assert (some.factors[:, 0] == 2).all()


@pytest.mark.parametrize(("factor", "place"), [(3, "x"), (4, "y")])
def test_a_step_of_a_place_moves_the_picture_by_a_pixel(factor, place):
    base = np.array([[2, 3, 7, 10, 20]])
    moved = base.copy()
    moved[0, factor] += 1
    before, after = shapes.render(base)[0, 0], shapes.render(moved)[0, 0]
    assert np.array_equal(np.roll(before, 1, axis=1 if place == "x" else 0), after)


def test_scale_and_rotation_do_what_they_say():
    areas = [shapes.render(np.array([[k, s, 0, 5, 5]])).sum() / 255 for k in range(3) for s in (0, 5)]
    assert areas[1::2] == pytest.approx(4 * np.array(areas[::2]), rel=0.02)
    assert areas[1] == pytest.approx(4 * 10.9**2, rel=0.02)
    assert areas[3] == pytest.approx(np.pi * 14 * 7, rel=0.01)
    upright, turned = shapes.render(np.array([[1, 5, 0, 5, 5], [1, 5, 10, 5, 5]]))[:, 0]
    assert np.array_equal(np.rot90(upright[5:38, 5:38]), turned[5:38, 5:38])


def test_every_shape_lies_within_its_patch():
    edges = shapes.patches()
    assert not edges[..., [0, -1], :].any()
    assert not edges[..., :, [0, -1]].any()
