"""What a code is good for: probes and separations of known answers, the stage that measures them, and the page."""

import shutil

import numpy as np
import pytest
import torch

import train
from benchmarks.browser import visit, wait_until_finished
from explorer import anomalies, probes, uses
from explorer.cards import DataCard
from explorer.checkpoints import Bundle, BundleError
from explorer.datasets import DATASETS
from explorer.ui import checking, using
from explorer.ui.frame import PAGES
from tests.test_app import open_page, words
from tests.test_browser import barriers

RNG = np.random.default_rng(0)
N_GALLERY = 360  # of digits
IMAGES = DataCard.of(DATASETS["digits"])


def two_heaps(n, distance=6.0):
    labels = np.arange(n) % 2
    return RNG.normal(size=(n, 3)) + distance * labels[:, None], labels


@pytest.mark.parametrize("probe", probes.PROBES)
def test_a_probe_reads_classes_that_lie_apart_and_none_that_do_not(probe):
    read, (codes, labels), (others, truth) = probes.PROBES[probe], two_heaps(200), two_heaps(400)
    curve = probes.curve(read, codes, labels, others, truth)
    assert curve.shape == (len(probes.sizes(200)), 2)
    assert curve[:, 0].min() > 0.98
    lost = probes.curve(read, codes, labels, others, RNG.permutation(truth))
    assert abs(lost[-1, 0] - 0.5) < 0.1


def test_a_probe_of_one_label_names_it():
    assert probes.linear(np.zeros((3, 2)), np.array([4, 4, 4]), np.zeros((2, 2))).tolist() == [4, 4]


def test_few_labels_are_drawn_evenly_from_the_classes():
    labels = np.repeat([0, 1, 2], [1000, 50, 5])
    places = probes.balanced(labels, 9, seed=1)
    assert np.bincount(labels[places]).tolist() == [3, 3, 3]
    assert np.bincount(labels[probes.balanced(labels, 30, seed=1)]).tolist()[2] == 5
    assert len(set(probes.balanced(labels, 1055, seed=2))) == 1055
    assert probes.sizes(60_000) == [10, 100, 1000, 10_000, 60_000]
    assert probes.sizes(100) == [10, 100]


def test_separation_knows_apart_mixed_up_and_backwards():
    low, high = np.arange(50.0), np.arange(100.0, 150)
    assert probes.separation(low, high).area == 1.0
    assert probes.separation(high, low).area == 0.0
    mixed = probes.separation(RNG.normal(size=500), RNG.normal(size=500))
    assert abs(mixed.area - 0.5) < 4 * mixed.error
    assert mixed.error == pytest.approx(np.sqrt((0.25 + 2 * 499 * (1 / 3 - 0.25)) / 500**2), rel=0.05)
    by_hand = np.mean([a > b for a in (3.0, 7.0) for b in (1.0, 5.0)])
    assert probes.separation(np.array([1.0, 5.0]), np.array([3.0, 7.0])).area == by_hand


def test_sets_of_strangers_have_the_shape_of_ours():
    usual = torch.randint(0, 256, (7, 3, 12, 10), dtype=torch.uint8)
    made = anomalies.made(usual)
    assert tuple(made) == anomalies.MADE
    assert made["faint"].max() <= 51
    assert all(images.shape == usual.shape and images.dtype == torch.uint8 for images in made.values())
    assert torch.equal(made["upside down"].flip(2), usual)
    assert all(len(image.unique()) == 1 for image in made["plain"])
    found = anomalies.found("celeba", (3, 12, 10), "nowhere")
    assert set(found) == {"digits"} and found["digits"].shape[1:] == (3, 12, 10)
    assert "digits" not in anomalies.found("digits", (1, 28, 28), "nowhere")


def test_scores_are_high_for_what_a_model_cannot_rebuild_and_zero_away_from_its_own_codes(digits_root, digits):
    model = Bundle("digits", "conv-vae", digits_root).load()
    images = digits["train"].images[:200]
    known = anomalies.reference(model, images)
    scores = anomalies.scores(model, images[:20], known)
    assert set(scores) == set(anomalies.SCORES)
    assert scores["distance"].max() < 0.05  # torch takes the difference of squares
    strange = anomalies.scores(model, anomalies.made(images[:20])["noise"], known)
    assert strange["error"].min() > scores["error"].max()
    judge = Bundle("digits", "ffnn", digits_root).load()
    assert set(anomalies.scores(judge, images[:5], anomalies.reference(judge, images))) == {"distance"}


# The stage, and the page


@pytest.fixture(scope="module")
def used_root(digits_root, build_once):
    """Bundles of digits of which two were asked what they are good for."""

    def build(root):
        shutil.copytree(digits_root, root)
        arguments = ["conv-vae", "ffnn", "--dataset", "digits", "--only", "uses", "--device", "cpu", "--threads", "1"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(uses, "LEFT_OUT_EPOCHS", 1)
            patch.setattr(uses, "BOUND_IMAGES", 2)
            patch.setattr(uses, "PROBE_TEST", 200)
            patch.setattr(probes, "REPEATS", 2)
            patch.setattr(probes, "SIZES", (10, 100))
            patch.setattr(probes, "MOST_STEPS", 20)
            patch.setattr(anomalies, "DRAWS", 1)
            assert train.main([*arguments, "--checkpoints", str(root)]) == 0

    return build_once("used", build)


@pytest.fixture
def used(used_root, monkeypatch):
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(used_root))
    return used_root


def test_the_stage_measures_curves_scores_and_bounds(used_root):
    found = Bundle("digits", "conv-vae", used_root).uses()
    n = len(uses.usual_places(N_GALLERY))
    assert found["labels"].tolist()[:2] == [10, 100]
    assert {"linear/code", "knn/code", "linear/pixels", "knn/pca"} <= set(found)
    assert found["linear/pixels"][-1, 0] > 0.9
    assert len(found["error/test images"]) == len(found["elbo/noise"]) == n
    assert len(found["distance/left out: 9"]) + len(found["distance/the others"]) == n
    assert found["bounds"].shape == (2, 4) and (found["bounds"].diff() > -1).all()
    assert checking.wrong_uses(found, IMAGES, N_GALLERY) == ""
    assert not any(name.startswith(("error", "elbo")) for name in Bundle("digits", "ffnn", used_root).uses())


def test_the_stage_is_not_run_unless_it_is_asked_for(digits_root):
    bundle = Bundle("digits", "fc-ae", digits_root)
    assert not bundle.has("uses")
    with pytest.raises(BundleError, match=r"uses.safetensors is missing.*train.py fc-ae --dataset digits --only uses"):
        bundle.uses()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"error/noise": torch.tensor([torch.nan])}, "not finite"),
        ({"error/test images": torch.zeros(3)}, "instead of"),
        ({"linear/code": torch.zeros(2, 2)}, "instead of"),
        ({"magic/noise": torch.zeros(3)}, "unknown"),
        ({"distance/left out: 9": torch.zeros(3)}, "left out"),
        ({"elbo/strangers": torch.zeros(3)}, "each score"),
        ({"bounds": torch.zeros(5, 3)}, "instead of"),
    ],
)
def test_what_does_not_fit_together_is_told(used_root, change, reason):
    found = Bundle("digits", "conv-vae", used_root).uses()
    assert reason in checking.wrong_uses(found | change, IMAGES, N_GALLERY)


@pytest.mark.parametrize("lost", ["labels", "knn/pca", "distance/test images", "elbo/noise", "error/the others"])
def test_what_is_missing_is_told(used_root, lost):
    found = Bundle("digits", "conv-vae", used_root).uses()
    del found[lost]
    assert checking.wrong_uses(found, IMAGES, N_GALLERY)


def test_the_page_draws_what_was_measured_and_says_how_to_measure_the_rest(used):
    app = open_page("use_it")
    assert not app.exception
    assert "python train.py fc-ae --dataset digits --only uses" in words(app)
    assert "The same goes for Convolutional AE" in words(app)
    assert len(app.get("plotly_chart")) == 1


def test_a_damaged_file_spoils_this_page_and_no_other(used, tmp_path, monkeypatch):
    root = tmp_path / "checkpoints"
    shutil.copytree(used, root)
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(root))
    (root / "digits" / "conv-vae" / "uses.safetensors").write_bytes(b"nothing")
    text = words(open_page("use_it", use="Strangers", model="conv-vae"))
    assert "uses.safetensors is truncated" in text and "--only uses" in text
    assert "cannot be shown" not in words(open_page("latent_plane"))


def test_a_failing_score_is_named(used):
    app = open_page("use_it", use="Strangers", model="conv-vae", score="−ELBO", who="plain")
    assert not app.exception
    table = using.areas({key: value.numpy() for key, value in Bundle("digits", "conv-vae", used).uses().items()})
    assert ("Where it fails" in words(app)) == bool((table < 0.5).any(axis=None))
    assert {"left out: 9", *anomalies.MADE} <= set(table.index)
    table.loc["plain", "−ELBO, nats"] = 0.03
    assert "−ELBO, nats of *plain*: 0.03" in using.failures(table)
    assert using.failures(table.clip(lower=0.5)) == ""


def test_the_axis_shows_the_usual_whole_and_cuts_strangers_far_beyond():
    usual = np.array([1.0, 2.0])
    assert using.ends(usual, np.array([1.5, 2.5])) == (1.0, 2.5)
    assert using.ends(usual, np.array([-50.0, 99.0])) == (-1.0, 4.0)


def test_the_threshold_is_dragged_and_kept(page, address):
    visit(page, address, "use_it", "?use=Strangers&model=fc-ae")
    assert barriers(page) == []
    said = page.locator(".threshold .words")
    before = said.inner_text()
    pictures = page.locator(".threshold .beside canvas").first.evaluate("canvas => canvas.toDataURL()")
    box = page.locator("canvas.histogram").bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.05 * box["width"], box["y"] + 20, steps=3)
    assert said.inner_text() != before
    assert page.locator(".threshold .beside canvas").first.evaluate("canvas => canvas.toDataURL()") != pictures
    page.mouse.up()
    page.wait_for_function("() => location.search.includes('at=')", timeout=15_000)
    wait_until_finished(page, PAGES["use_it"].title)
    moved, query = said.inner_text(), page.evaluate("location.search")
    visit(page, address, "use_it", query)
    assert said.inner_text() == moved


@pytest.mark.parametrize(
    "params", [{"model": "ffnn", "who": "left out: 9", "score": "error"}, {"who": "x", "at": "a,nan"}]
)
def test_choices_that_a_model_does_not_offer_are_passed_over(used, params):
    app = open_page("use_it", use="Strangers", **{"model": "conv-vae"} | params)
    assert not app.exception
    assert "AUC" in app.code[0].value
