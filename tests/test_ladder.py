"""Second stages: a flow that learns where codes lie, and the figures of what is sampled from ever better guesses."""

import re

import pytest
import torch
from sklearn.datasets import make_moons

from benchmarks import fidelity
from explorer import flows, ladder, realism, sampling
from explorer.checkpoints import Bundle, root_folder
from explorer.datasets import DATASETS, ImageSet
from explorer.flows import Flow
from explorer.images import to_float
from explorer.models import AutoencoderConfig
from explorer.roster import autoencoders_for
from explorer.ui import checking, ladders


@pytest.fixture(scope="module")
def moons():
    return torch.from_numpy(make_moons(1500, noise=0.03, random_state=0)[0]).float()


@pytest.fixture(autouse=True, scope="module")
def narrow():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flows, "WIDTH", 256)
        yield


@pytest.fixture(scope="module")
def flow(moons, narrow):
    return flows.fit(moons, epochs=150)


def distance(a, b):
    return realism.sliced_wasserstein(a, b, 0)


def test_a_flow_draws_codes_where_they_lie_and_a_normal_does_not(moons, flow):
    draws, normal = flow.sample(1500), sampling.fit("one Gaussian", moons).sample(1500)
    assert distance(draws, moons) < 0.7 * distance(normal, moons)
    gap = torch.cdist(draws, moons).min(1).values.median()
    assert gap < 0.6 * torch.cdist(normal, moons).min(1).values.median()


def test_the_same_seed_draws_the_same_and_temperature_zero_always_one(flow):
    assert torch.equal(flow.sample(5, seed=3), flow.sample(5, seed=3))
    assert not torch.equal(flow.sample(5, seed=3), flow.sample(5, seed=4))
    assert flow.sample(5, temperature=0.0).unique(dim=0).shape == (1, 2)


def test_a_fit_neither_reads_nor_moves_the_global_random_state(moons):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = flows.fit(moons[:300], epochs=1)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(6)
    assert torch.equal(first.sample(3), flows.fit(moons[:300], epochs=1).sample(3))


def test_what_is_stored_draws_nearly_the_same(flow):
    again = Flow.of(flow.tensors())
    assert (again.sample(200) - flow.sample(200)).abs().median() < 0.01


def test_codes_on_a_line_and_fewer_codes_than_numbers_have_a_flow(generator):
    line = torch.rand(300, 1, generator=generator) @ torch.ones(1, 6)
    assert flows.fit(line, epochs=20).sample(100).std(1).max() < 0.1
    assert flows.fit(torch.randn(4, 6, generator=generator), epochs=1).sample(2).isfinite().all()
    with pytest.raises(ValueError, match="codes that differ"):
        flows.fit(torch.ones(10, 3))


def test_precision_and_recall_are_one_for_equal_sets_zero_for_sets_apart_and_part_for_a_part(generator):
    points = torch.randn(400, 3, generator=generator)
    assert realism.precision_recall(points, points) == (1.0, 1.0)
    assert realism.precision_recall(points, points + 100) == (0.0, 0.0)
    two = torch.cat([points, points + 100])
    precision, recall = realism.precision_recall(two, points + 0.01)
    assert precision > 0.95 and 0.45 < recall < 0.55
    with pytest.raises(ValueError, match="3 and 400 features have no 3 neighbours"):
        realism.precision_recall(points[:3], points)


@pytest.fixture(scope="module")
def laddered(tmp_path_factory):
    generator = torch.Generator().manual_seed(0)
    wide = torch.randint(1, 9, (120,), generator=generator)
    stripes = (torch.arange(32) // wide[:, None] % 2 * 255).to(torch.uint8)[:, None, :, None].expand(-1, 1, -1, 32)
    splits = {"train": ImageSet(stripes[:80], wide[:80], ()), "test": ImageSet(stripes[80:], wide[80:], ())}
    config = AutoencoderConfig((1, 32, 32), channels=(4, 4), strides=(4, 2), code=3, variational=True)
    torch.manual_seed(0)
    model = config.build().eval()
    return model, ladder.measure(model, splits, epochs=2)


def test_each_rung_is_measured_and_the_page_takes_what_was_measured(laddered):
    model, found = laddered
    assert checking.wrong_ladder(found, model) == ""
    for rung in ladder.RUNGS:
        assert (found[f"swd/{rung}"] > 0).all() and len(found[f"swd/{rung}"]) == 2
    assert found["figures/reconstructions"].isfinite().all()
    assert ladder.flow_of(found).sample(2).shape == (2, 3)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"swd/prior": torch.zeros(3)}, "instead of"),
        ({"figures/flow": torch.full((4,), torch.nan)}, "not finite"),
        ({"figures/flow": None}, "lacks or does not know figures/flow"),
        ({"more": torch.zeros(1)}, "lacks or does not know more"),
        ({"flow/mean": torch.zeros(3, dtype=torch.int64)}, "as int64"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(laddered, change, reason):
    model, found = laddered
    changed = {name: value for name, value in {**found, **change}.items() if value is not None}
    assert reason in checking.wrong_ladder(changed, model)


def test_a_flow_for_codes_of_another_length_is_refused(laddered):
    other = AutoencoderConfig((1, 32, 32), channels=(4, 4), strides=(4, 2), code=5).build()
    assert "another length" in checking.wrong_ladder(laddered[1], other)


def test_the_frechet_distance_of_normals_is_the_published_one_and_kid_of_one_source_is_about_zero(generator):
    a = torch.randn(20_000, 2, generator=generator) * torch.tensor([1.0, 3.0])
    b = torch.randn(20_000, 2, generator=generator) * torch.tensor([2.0, 1.0]) + torch.tensor([5.0, 0.0])
    assert fidelity.fid(a, b) == pytest.approx(5**2 + (2 - 1) ** 2 + (3 - 1) ** 2, rel=0.03)
    assert abs(fidelity.kid(a[:500], a[500:1000])) < 0.05 * fidelity.kid(a[:500], b[:500])


def test_in_features_of_a_classifier_noise_is_further_from_images_than_other_images(data_dir):
    classifier = Bundle("fashion-mnist", "ffnn", root_folder()).load()
    images = DATASETS["fashion-mnist"].load("test", data_dir).images[:600]
    with torch.inference_mode():
        sets = [classifier.features(to_float(x)) for x in (images[:300], images[300:], torch.randint_like(images, 256))]
    for distance in (fidelity.fid, fidelity.kid):
        assert distance(sets[0], sets[1]) < 0.2 * distance(sets[0], sets[2])


def test_without_the_weights_the_benchmark_says_whose_they_are(tmp_path, capsys):
    assert fidelity.main(["--weights", str(tmp_path / "none.pth")]) == 1
    assert re.search("torch-fidelity", capsys.readouterr().err)


@pytest.mark.parametrize("model", autoencoders_for("celeba"))
def test_the_committed_ladders_rise(model):
    bundle = Bundle("celeba", model, root_folder())
    found, figures = bundle.ladder(), bundle.metrics()
    row = ladders._rung("", figures, "prior", found)
    assert row["SWD 64 px"] == pytest.approx(figures["swd"]["64"], rel=1e-3)
    noisy, calibrated = row["SWD with noise"], row["… of calibrated σ"]
    assert row["SWD"] < min(noisy, calibrated)  # grain is no detail
    assert (calibrated < noisy) == (figures["sigma_calibrated"] < bundle.load().config.sigma)
    prior, gaussian, *better, rebuilt = (found[f"swd/{rung}"].mean() for rung in ladder.RUNGS)
    assert rebuilt < min(better) and max(better) < gaussian < prior and min(better) <= 45
