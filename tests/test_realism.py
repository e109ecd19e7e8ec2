"""Figures of samples: each has a value that is known by hand, and moves the way it should."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d

from explorer import realism, stages
from explorer.datasets import ImageSet
from explorer.images import to_float
from explorer.models import AutoencoderConfig


def smooth(x, times=1):
    for _ in range(times):
        x = realism.blur(x)
    return x


@pytest.fixture
def images(generator):
    # blobs under fine grain: something to lose at every scale
    coarse = torch.rand(40, 3, 8, 8, generator=generator)
    blobs = torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bilinear")
    return (0.7 * blobs + 0.3 * torch.rand(40, 3, 64, 64, generator=generator)).clamp(0, 1)


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = AutoencoderConfig((3, 32, 32), (8, 8), (2, 2), code=6, variational=True, likelihood="gaussian")
    return config.build().eval()


def slow_ms_ssim(a, b, weights):
    """MS-SSIM of two channels `(H, W)` in float64, with scipy's filters (Wang, Simoncelli & Bovik 2003)."""
    line = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    line /= line.sum()

    def mean(values):
        for axis in (0, 1):
            values = correlate1d(values, line, axis)
        return values[5:-5, 5:-5]

    result = 1.0
    for i, weight in enumerate(weights):
        covariance = mean(a * b) - mean(a) * mean(b)
        variances = mean(a * a) - mean(a) ** 2 + mean(b * b) - mean(b) ** 2
        similar = (2 * covariance + 0.0009) / (variances + 0.0009)
        if i == len(weights) - 1:
            similar = similar * (2 * mean(a) * mean(b) + 0.0001) / (mean(a) ** 2 + mean(b) ** 2 + 0.0001)
        result *= similar.mean() ** weight
        a, b = (v.reshape(v.shape[0] // 2, 2, v.shape[1] // 2, 2).mean((1, 3)) for v in (a, b))
    return result


def test_ms_ssim_is_that_of_a_slow_reference_at_three_scales(images, generator):
    x = images[:2]
    x_hat = (0.8 * x + 0.2 * torch.rand(x.shape, generator=generator)).square()
    weights = np.array([0.0448, 0.2856, 0.3001]) / (0.0448 + 0.2856 + 0.3001)
    expected = [
        np.mean([slow_ms_ssim(*channels, weights) for channels in zip(a, b, strict=True)])
        for a, b in zip(x.double().numpy(), x_hat.double().numpy(), strict=True)
    ]
    assert realism.ms_ssim_per_image(x, x_hat).tolist() == pytest.approx(expected, abs=1e-5)


def test_ms_ssim_is_1_for_equal_images_and_falls_with_blur(images):
    steps = [realism.ms_ssim_per_image(images, smooth(images, times)) for times in range(4)]
    assert steps[0].tolist() == pytest.approx([1.0] * len(images))
    for sharper, softer in itertools.pairwise(steps):
        assert (softer < sharper).all()


def test_ms_ssim_of_a_negative_is_a_number_from_0_to_1(images):
    likeness = realism.ms_ssim_per_image(images, 1 - images)
    assert ((likeness >= 0) & (likeness < 0.1)).all()


@pytest.mark.parametrize(("side", "count"), [(10, 0), (11, 1), (21, 1), (28, 2), (43, 2), (64, 3), (512, 5)])
def test_ms_ssim_has_as_many_scales_as_hold_the_window(side, count):
    assert realism.n_scales(side, 2 * side) == count


def test_ms_ssim_of_images_smaller_than_the_window_is_refused():
    with pytest.raises(ValueError, match="10x30 pixels"):
        realism.ms_ssim_per_image(torch.zeros(1, 1, 10, 30), torch.zeros(1, 1, 10, 30))


def test_active_units_are_those_whose_mean_moves_with_the_image(generator):
    codes = torch.randn(5000, 4, generator=generator) * torch.tensor([1.0, 0.2, 0.05, 0.0])  # standard deviations
    assert realism.active_units(codes + 3.0) == 2


def test_the_levels_of_a_pyramid_add_up_to_the_image(images):
    levels = realism.laplacian_pyramid(images)
    assert [level.shape[-1] for level in levels] == [64, 32, 16]
    whole = levels.pop()
    while levels:
        spread = torch.zeros_like(levels[-1])
        spread[..., ::2, ::2] = whole
        whole = levels.pop() + 4 * realism.blur(spread)
    torch.testing.assert_close(whole, images)


def test_details_of_a_flat_image_are_nothing():
    *details, rest = realism.laplacian_pyramid(torch.full((1, 3, 64, 64), 0.3))
    assert max(level.abs().max() for level in details) < 1e-6
    torch.testing.assert_close(rest, torch.full((1, 3, 16, 16), 0.3))


def test_the_sliced_distance_of_two_normal_clouds_is_that_of_their_spread(generator):
    # W1 of N(0, 1) and N(0, 9) is 2 E|N(0, 1)|, along every line
    a, b = torch.randn(2, 20_000, 5, generator=generator)
    expected = 2 * math.sqrt(2 / math.pi)
    assert realism.sliced_wasserstein(a, 3 * b, seed=0) == pytest.approx(expected, rel=0.02)


def test_a_set_has_no_distance_to_itself(images):
    assert realism.swd(images, images) == {"64": 0.0, "32": 0.0, "16": 0.0, "mean": 0.0}


def test_distances_forget_brightness_and_contrast_but_not_blur(images):
    again = realism.swd(images, 0.5 * images + 0.2)
    assert max(again.values()) < 0.1
    blurred = realism.swd(images, smooth(images))
    assert blurred["64"] > 2 * blurred["32"] > 4 * blurred["16"] > 0
    assert blurred["mean"] == pytest.approx((blurred["64"] + blurred["32"] + blurred["16"]) / 3)


def test_distances_are_repeated_by_the_seed_and_do_not_hang_on_the_batches(images, monkeypatch):
    x, y = images[:20], images[20:]
    found = realism.swd(x, y, seed=3)
    assert realism.swd(x, y, seed=3) == found != realism.swd(x, y, seed=4)
    monkeypatch.setattr(realism, "DIRECTIONS_AT_ONCE", 100)
    assert realism.swd(x, y, seed=3) == pytest.approx(found, rel=1e-5)


def test_patches_come_from_everywhere_in_each_image(generator):
    rows = torch.arange(16.0).expand(2, 1, 16, 16)
    level = torch.stack([rows[0], 100 + rows[1]])  # a pixel names its image and column
    found = realism.patches(level, generator)
    assert found.shape == (2 * realism.PATCHES_PER_IMAGE, 1, 7, 7)
    first, second = found.split(realism.PATCHES_PER_IMAGE)
    assert first.unique().tolist() == list(range(16))
    assert second.unique().tolist() == list(range(100, 116))
    assert (found.diff(dim=-1) == 1).all()


def test_sets_of_different_size_are_not_compared(images):
    with pytest.raises(ValueError, match="cannot be compared"):
        realism.swd(images, images[1:])


def test_diversity_is_1_for_one_image_again_and_again_and_pairs_no_image_with_itself(images):
    assert realism.diversity(images[:1].expand(7, -1, -1, -1)) == pytest.approx(1.0)
    [expected] = realism.ms_ssim_per_image(images[:1], images[1:2]).tolist()
    assert realism.diversity(images[:2]) == pytest.approx(expected, rel=1e-4)
    assert realism.diversity(images, seed=1) == realism.diversity(images, seed=1) != realism.diversity(images, seed=2)


def test_the_nearest_training_image_is_found_in_any_chunk(generator, monkeypatch):
    monkeypatch.setattr(realism, "TRAIN_AT_ONCE", 7)
    train = torch.randint(256, (40, 3, 8, 8), dtype=torch.uint8, generator=generator)
    x = torch.rand(9, 3, 8, 8, generator=generator)
    x[4] = to_float(train[33])
    distance, index = realism.nearest_distances(x, train)
    expected = (x[:, None] - to_float(train)[None]).square().flatten(2).mean(2).sqrt().min(1)
    assert index.tolist() == expected.indices.tolist()
    torch.testing.assert_close(distance, expected.values)
    assert (index[4], distance[4]) == (33, 0.0)


def test_samples_are_drawn_from_the_prior_and_repeated_by_the_seed(model):
    samples = realism.sample_prior(model, 600, seed=5)
    z = torch.randn(600, 6, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(samples, model.decode(z))
    assert torch.equal(realism.sample_prior(model, 600, seed=5), samples)


@pytest.fixture
def real(generator):
    return [torch.randint(256, (n, 3, 32, 32), dtype=torch.uint8, generator=generator) for n in (30, 50)]


@torch.inference_mode()
def test_every_figure_of_a_model_is_that_of_its_own_samples_and_reconstructions(model, real):
    test, train = real
    found = realism.generative_figures(model, test, train, seed=2)
    x, samples = to_float(test), realism.sample_prior(model, 30, seed=2)
    assert found["n_generative"] == 30
    assert found["ms_ssim"] == pytest.approx(realism.ms_ssim_per_image(x, model(x)).mean().item(), rel=1e-5)
    assert found["active_units"] == realism.active_units(model.embed(x))
    assert found["swd"] == realism.swd(samples, x, 2)
    assert found["swd_reconstructions"] == realism.swd(model(x), x, 2)
    assert found["swd_floor"] == realism.swd(to_float(train[:30]), x, 2)
    assert (found["diversity"], found["diversity_floor"]) == (realism.diversity(samples, 2), realism.diversity(x, 2))
    for name, some in (("", samples), ("_reconstructions", model(x)), ("_floor", x)):
        expected = realism.nearest_distances(some, train)[0].median().item()
        assert found[f"nearest_train_distance{name}"] == expected
    ratios = {level: found["swd"][level] / found["swd_floor"][level] for level in ("32", "16")}
    assert found["blurred_at"] == max(ratios, key=ratios.get)


def test_a_given_floor_is_taken_as_it_is(model, real):
    floor = realism.floor_figures(*real, seed=0)
    given = realism.generative_figures(model, *real, floor={**floor, "diversity_floor": 0.25})
    assert given == {**realism.generative_figures(model, *real), "diversity_floor": 0.25}


def test_sets_are_cut_to_what_a_core_can_do(model, real, monkeypatch):
    monkeypatch.setattr(realism, "MAX_IMAGES", 12)
    found = realism.generative_figures(model, *real)
    assert found["n_generative"] == 12
    assert found == realism.generative_figures(model, real[0][:12], real[1])


@pytest.mark.parametrize(("n_train", "n_test"), [(8, 1), (1, 2)])
def test_samples_are_not_compared_where_there_is_one_image_alone(model, n_train, n_test):
    def random_set(n):
        return ImageSet(torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8), torch.zeros(n).long(), ("face",))

    written = []
    bundle = SimpleNamespace(model="face-vae", write_metrics=written.append)
    figures = stages.measure(bundle, model, {"train": random_set(n_train), "test": random_set(n_test)})
    assert written == [figures]
    assert "negative_elbo" in figures
    assert "diversity" not in figures
