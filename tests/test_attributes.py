import dataclasses

import numpy as np
import pytest

from explorer.attributes import (
    FEWEST_LABELS,
    METHODS,
    Directions,
    fit_directions,
    judge,
    orthogonalise,
    side_effects,
)

NAMES = ("planted", "goes with it", "noise", "nobody", "everybody", "unknown", "rare", "half known")
D = 12


def planted(n=1200, seed=0):
    """Codes of very different spread; attribute 0 follows latent number 0, attribute 1 follows 1 and mostly 0's."""
    random = np.random.default_rng(seed)
    codes = random.normal(size=(n, D))
    first = codes[:, 0] + 0.3 * random.normal(size=n) > 0.5
    codes[:, 1] += 1.5 * first
    labels = np.stack([
        first, codes[:, 1] + 0.3 * random.normal(size=n) > 1, random.random(n) < 0.3, np.zeros(n), np.ones(n),
        np.full(n, -1), np.arange(n) < FEWEST_LABELS - 1, np.where(random.random(n) < 0.5, first, -1),
    ], axis=1).astype(np.int8)  # fmt: skip
    scale = np.geomspace(0.01, 10, D)
    return (codes * scale + 3).astype(np.float32), labels


@pytest.fixture(scope="module")
def data():
    return planted()


@pytest.fixture(scope="module")
def fitted(data):
    return fit_directions(*data, NAMES)


@pytest.fixture(params=METHODS)
def directions(fitted, request):
    return fitted[request.param]


def test_a_planted_direction_is_found_whatever_the_spread_of_its_latent_number(directions, data):
    codes, labels = planted(seed=1)
    fresh = ((directions.scores(codes)[:, 0] > 0) == (labels[:, 0] == 1)).mean()
    assert directions.hidden[0] == ""
    assert directions.accuracy[0] > 0.85
    assert fresh > 0.85
    lengths = np.abs(directions.steps[0] / data[0].std(axis=0))
    assert lengths[:2].min() > 2 * lengths[2:].max()  # the number it follows, and the one that follows it


def test_one_step_is_one_standard_deviation_of_the_score(directions, data):
    codes, _ = data
    scores = directions.scores(codes)
    for k in directions.usable:
        moved = directions.scores(codes + directions.steps[k])[:, k] - scores[:, k]
        assert moved == pytest.approx(1, abs=1e-3)
        assert scores[:, k].std() == pytest.approx(1, abs=0.1)


def test_difference_of_means_goes_from_one_mean_to_the_other_and_cuts_halfway(data):
    codes, labels = data
    two = np.concatenate([codes, codes])  # so that every held-out code has, most likely, a twin that is not
    directions = fit_directions(two, np.concatenate([labels, labels]), NAMES)[METHODS[0]]
    apart = codes[labels[:, 0] == 1].mean(axis=0) - codes[labels[:, 0] == 0].mean(axis=0)
    along = directions.steps[0] / directions.scale
    expected = apart / directions.scale
    assert along @ expected / np.linalg.norm(along) / np.linalg.norm(expected) > 0.99
    means = [directions.scores(codes[labels[:, 0] == k].mean(axis=0, keepdims=True))[0, 0] for k in (0, 1)]
    assert means[0] == pytest.approx(-means[1], abs=0.1)
    assert means[1] > 0.5


def test_logistic_regression_weighs_both_classes_the_same():
    random = np.random.default_rng(0)
    labels = (np.arange(4000) % 20 == 0).astype(np.int8)[:, None]  # one in twenty
    codes = random.normal(size=(4000, 2)) + 2 * labels
    directions = fit_directions(codes, labels, ["rare"])[METHODS[1]]
    predicted = directions.scores(codes)[:, 0] > 0
    expected = 0.92  # of either class: the normal distribution up to half the distance, the square root of 2
    assert predicted[labels[:, 0] == 1].mean() == pytest.approx(expected, abs=0.05)
    assert directions.accuracy[0] == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("noise", "not better than chance"),
        ("nobody", "every label says no"),
        ("everybody", "every label says yes"),
        ("unknown", "no label is known"),
        ("rare", f"only {FEWEST_LABELS - 1} labels with it"),
    ],
)
def test_a_direction_that_knows_nothing_is_hidden_and_says_why(directions, name, reason):
    k = NAMES.index(name)
    assert reason in directions.hidden[k]
    assert k not in directions.usable
    assert np.isnan(directions.accuracy[k]) == (name != "noise")
    assert directions.steps[k].any() == (name == "noise")


def test_labels_are_counted_and_unknown_ones_are_passed_over(directions, data):
    _, labels = data
    k = NAMES.index("half known")
    assert directions.n_positive[k] == (labels[:, k] == 1).sum() < (labels[:, 0] == 1).sum()
    assert directions.n_positive[k] + directions.n_negative[k] < len(labels)
    assert k in directions.usable
    assert directions.accuracy[k] > 0.85


def test_directions_of_chance_are_hidden_however_many_are_tried():
    random = np.random.default_rng(3)
    codes = random.normal(size=(400, 8)).astype(np.float32)
    labels = random.integers(0, 2, size=(400, 60)).astype(np.int8)
    for directions in fit_directions(codes, labels, [f"a{k}" for k in range(60)]).values():
        assert directions.usable == []


def test_the_split_and_so_the_directions_follow_the_seed(data):
    codes, labels = (table[:, :3] for table in data)
    same, again, other = (fit_directions(codes, labels, NAMES[:3], seed)[METHODS[1]] for seed in (0, 0, 1))
    assert np.array_equal(same.steps, again.steps)
    assert not np.array_equal(same.steps, other.steps)


def test_the_held_out_codes_are_not_fitted_on():
    random = np.random.default_rng(0)
    codes = random.normal(size=(200, 190))  # so many numbers that any labels can be learned by heart
    labels = random.integers(0, 2, size=(200, 1)).astype(np.int8)
    directions = fit_directions(codes, labels, ["noise"])[METHODS[1]]
    assert ((directions.scores(codes)[:, 0] > 0) == (labels[:, 0] == 1)).mean() > 0.8
    assert directions.accuracy[0] < 0.7


def test_a_latent_number_that_never_moves_does_no_harm(data):
    codes, labels = data
    codes = np.concatenate([codes, np.full((len(codes), 1), 7, np.float32)], axis=1)
    for directions in fit_directions(codes, labels[:, :2], NAMES[:2]).values():
        assert np.isfinite(directions.steps).all()
        assert not directions.steps[:, -1].any()
        assert directions.usable == [0, 1]


def test_codes_that_are_all_the_same_hide_every_direction():
    labels = (np.arange(200) % 2).astype(np.int8)[:, None]
    for directions in fit_directions(np.ones((200, 3)), labels, ["any"]).values():
        assert "same" in directions.hidden[0]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda codes, labels, names: (codes, labels[:-1], names), "1,200 labelled codes, but 1,199 rows"),
        (lambda codes, labels, names: (codes[:-5], labels, names), "1,195 labelled codes, but 1,200 rows"),
        (lambda codes, labels, names: (codes, labels, names[:-1]), "8 columns of attributes, but 7 names"),
        (lambda codes, labels, names: (codes, labels + 1, names), "neither 1"),
        (lambda codes, labels, names: (codes * np.nan, labels, names), "not finite"),
        (lambda codes, labels, names: (codes, labels[:, 0], names), "no tables"),
        (lambda codes, labels, names: (codes, labels[:, :0], ()), "no tables"),
    ],
)
def test_tables_that_do_not_fit_each_other_are_refused(data, spoil, message):
    with pytest.raises(ValueError, match=message):
        fit_directions(*spoil(*data, NAMES))


def test_the_judge_knows_chance_from_skill():
    actual = np.arange(40) < 20
    accuracy, p = judge(actual, actual)
    assert accuracy == 1
    assert p == pytest.approx(1 / 137846528820)  # one of all ways to pick 20 of 40
    assert judge(~actual, actual) == (0, pytest.approx(1))
    always = np.ones(40, dtype=bool)
    assert judge(always, actual) == (0.5, pytest.approx(1))


def test_side_effects_show_what_goes_with_an_attribute(directions):
    effects = side_effects(directions.steps[0], directions)
    assert effects[0] == pytest.approx(1)
    assert effects[1] > 0.1  # planted: whoever has the first has the second more often
    assert abs(effects[2]) < 0.5


def test_an_orthogonal_direction_leaves_the_chosen_scores_and_changes_least(directions, data):
    codes, _ = data
    others = [1, 2]
    step = orthogonalise(directions.steps[0], directions.normals[others], directions.scale)
    effects = side_effects(step, directions)
    assert effects[others] == pytest.approx(0, abs=1e-9)
    assert 0.1 < effects[0] < 1.0001
    moved = directions.scores(codes + step) - directions.scores(codes)
    assert np.abs(moved[:, others]).max() < 1e-9
    change = (step - directions.steps[0]) / directions.scale
    normals = directions.normals[others] * directions.scale
    assert np.linalg.matrix_rank(np.vstack([normals, change]), tol=1e-9) == 2  # nothing beyond their span


def test_orthogonalising_copes_with_the_same_attribute_twice_and_with_none(directions):
    step, normals = directions.steps[0], directions.normals
    twice = orthogonalise(step, normals[[1, 1]], directions.scale)
    assert twice == pytest.approx(orthogonalise(step, normals[[1]], directions.scale))
    assert orthogonalise(step, normals[:0], directions.scale) == pytest.approx(step)
    assert np.abs(orthogonalise(step, normals[[0]], directions.scale) / directions.scale).max() < 1e-9


def test_directions_are_frozen(directions):
    assert isinstance(directions, Directions)
    with pytest.raises(dataclasses.FrozenInstanceError):
        directions.names = ()


def known_by_heart(n=1600):
    """Codes of training images that hold their label, and of test images that hold nothing of it; the split."""
    random = np.random.default_rng(3)
    codes, labels = random.normal(size=(n, D)), random.integers(0, 2, (n, 1))
    split = np.where(np.arange(n) < n // 2, 0, 2)
    codes[:, 0] += 4 * labels[:, 0] * (split == 0)
    return codes.astype(np.float32), labels, split


@pytest.mark.parametrize("method", METHODS)
def test_what_an_encoder_knows_of_its_training_images_alone_is_judged_on_test_images(method):
    codes, labels, split = known_by_heart()
    of_all = fit_directions(codes, labels, ["it"])[method]
    of_test = fit_directions(codes, labels, ["it"], split=split)[method]
    assert of_all.accuracy[0] > 0.65 > 0.6 > of_test.accuracy[0]
    assert (of_all.on_new, of_all.hidden[0]) == (None, "")
    assert of_test.on_new.tolist() == [True]
    assert of_test.hidden[0].startswith("not better than chance")


@pytest.mark.parametrize(("n_test", "on_new"), [(0, False), (30, False), (100, True), (1200, True)])
def test_test_images_judge_where_enough_of_them_are_labelled(data, n_test, on_new):
    codes, labels = data
    split = np.where(np.arange(len(codes)) < n_test, 2, 0)
    found = fit_directions(codes, labels, NAMES, split=split)[METHODS[0]]
    assert found.on_new[0] == on_new
    assert found.hidden[0] == ""
    assert not found.on_new[NAMES.index("nobody")]


def test_without_test_images_the_split_changes_nothing(data, fitted):
    codes, labels = data
    for method, found in fit_directions(codes, labels, NAMES, split=np.ones(len(codes), int)).items():
        assert np.array_equal(found.normals, fitted[method].normals)
        assert np.array_equal(found.accuracy, fitted[method].accuracy, equal_nan=True)


def test_a_split_of_other_codes_is_refused(data):
    with pytest.raises(ValueError, match="parts of the shape"):
        fit_directions(*data, NAMES, split=np.zeros(3))


def test_nobody_is_both_fitted_on_and_judged_on():
    """Each person wears the label in all pictures, and codes know people by heart and nothing else."""
    random = np.random.default_rng(0)
    people = np.repeat(np.arange(300), 4)
    labels = random.integers(0, 2, 300)[people][:, None].astype(np.int8)
    codes = random.normal(size=(300, 200))[people] + 0.1 * random.normal(size=(1200, 200))
    mixed, apart = (fit_directions(codes, labels, ["it"], people=who)[METHODS[1]] for who in (None, people))
    assert mixed.accuracy[0] > 0.8 and not mixed.apart
    assert apart.accuracy[0] < 0.65 and apart.apart and apart.hidden[0].startswith("not better than chance")
    unknown = fit_directions(codes, labels, ["it"], people=np.full(1200, -1))[METHODS[1]]
    assert unknown.accuracy[0] == mixed.accuracy[0]


def test_of_one_person_alone_nothing_can_be_held_out():
    codes, labels = planted(400)
    found = fit_directions(codes, labels[:, :1], NAMES[:1], people=np.where(labels[:, 0] == 1, 0, np.arange(400)))
    assert "too few people" in found[METHODS[0]].hidden[0]


def test_people_of_other_codes_are_refused(data):
    with pytest.raises(ValueError, match="people of the shape"):
        fit_directions(*data, NAMES, people=np.zeros(3))
