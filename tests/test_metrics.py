import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from explorer import losses, metrics
from explorer.datasets import ImageSet
from explorer.images import to_float
from explorer.noise import NOISES
from explorer.roster import ROSTER


@pytest.fixture
def x_hat(x, generator):
    return (x + 0.2 * torch.randn(x.shape, generator=generator)).clamp(0, 1)


@pytest.fixture
def few(digits, x, generator):
    if x.shape[1:] == (1, 28, 28):
        return digits["test"][torch.arange(23)]
    images = torch.randint(256, (23, *x.shape[1:]), generator=generator, dtype=torch.uint8)
    return ImageSet(images, torch.zeros(23, dtype=torch.long), ("Face",))


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(metrics, "BATCH", 7)


def test_mse_is_the_mean_over_the_pixels_of_each_image(x, x_hat):
    expected = [F.mse_loss(a, b).item() for a, b in zip(x, x_hat, strict=True)]
    assert metrics.mse_per_image(x, x_hat).tolist() == pytest.approx(expected)


def test_psnr_is_that_of_scikit_image(x, x_hat):
    expected = [peak_signal_noise_ratio(a.numpy(), b.numpy(), data_range=1) for a, b in zip(x, x_hat, strict=True)]
    assert metrics.psnr(metrics.mse_per_image(x, x_hat)).tolist() == pytest.approx(expected)


def test_psnr_of_no_error_is_100_decibels(x):
    assert metrics.psnr(metrics.mse_per_image(x, x)).tolist() == [100.0] * len(x)


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_is_that_of_scikit_image(generator, channels):
    x = torch.rand(3, channels, 30, 21, generator=generator)
    x_hat = (0.7 * x + 0.3 * torch.rand(x.shape, generator=generator)).square()
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    expected = [
        structural_similarity(a.double().numpy(), b.double().numpy(), channel_axis=0, **options)
        for a, b in zip(x, x_hat, strict=True)
    ]
    assert metrics.ssim_per_image(x, x_hat).tolist() == pytest.approx(expected, abs=1e-4)


def test_ssim_of_an_image_with_itself_is_1(x):
    assert metrics.ssim_per_image(x, x).tolist() == pytest.approx([1.0] * len(x))


@pytest.mark.parametrize("size", [3, 5])
def test_median_filter_takes_the_median_of_each_window_with_edges_reflected(x, size):
    pixels, r = x[:2].numpy(), size // 2
    padded = np.pad(pixels, ((0, 0), (0, 0), (r, r), (r, r)), mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(2, 3))
    assert np.array_equal(metrics.median_filter(pixels, size), np.median(windows, axis=(-2, -1)))


def test_an_autoencoder_is_measured_as_in_one_big_batch(autoencoder, few, small_batches):
    figures = metrics.evaluate(autoencoder, few)
    x = to_float(few.images)
    x_hat = autoencoder(x)
    mse = metrics.mse_per_image(x, x_hat)
    assert figures["mse"] == pytest.approx(F.mse_loss(x_hat, x).item(), rel=1e-5)
    assert figures["psnr"] == pytest.approx(metrics.psnr(mse).mean().item(), rel=1e-5)
    assert figures["ssim"] == pytest.approx(metrics.ssim_per_image(x, x_hat).mean().item(), rel=1e-4)
    if autoencoder.config.variational:
        kl = losses.kl_to_standard_normal(autoencoder.encode(x)).mean(0)
        assert figures["kl_per_dimension"] == pytest.approx(kl.tolist(), rel=1e-4, abs=1e-7)
        assert figures["kl"] == pytest.approx(kl.sum().item(), rel=1e-4)
    else:
        assert set(figures) == {"mse", "psnr", "ssim"}


def test_the_negative_elbo_is_the_mean_over_draws_of_its_parts(few):
    torch.manual_seed(0)
    model = ROSTER["conv-vae"].config.build().eval()
    figures = metrics.evaluate(model, few, seed=4)
    generator = torch.Generator().manual_seed(4)
    draws = [losses.negative_elbo(model, to_float(few.images), generator) for _ in range(metrics.ELBO_DRAWS)]
    expected = torch.stack([draw["reconstruction"] + draw["kl"] for draw in draws]).mean()
    assert figures["negative_elbo"] == pytest.approx(expected.item(), rel=1e-5)
    assert metrics.evaluate(model, few, seed=4) == figures
    assert metrics.evaluate(model, few, seed=5) != figures


def test_a_classifier_is_measured_as_in_one_big_batch(few, small_batches):
    model = ROSTER["ffnn"].config.build().eval()
    logits = model(to_float(few.images))
    torch.testing.assert_close(metrics.logits(model, few), logits)
    assert metrics.evaluate(model, few) == {
        "accuracy": pytest.approx((logits.argmax(1) == few.labels).double().mean().item()),
        "cross_entropy": pytest.approx(F.cross_entropy(logits, few.labels).item(), rel=1e-5),
        "calibration_error": pytest.approx(metrics.calibration(logits.softmax(1), few.labels)["error"], rel=1e-4),
    }


def test_codes_do_not_depend_on_the_batches(model, few, small_batches):
    codes = metrics.embed(model, few.images)
    assert codes.shape == (23, model.code_length)
    torch.testing.assert_close(codes, model.embed(to_float(few.images)))


def test_log_variances_are_those_of_the_encoder(few, small_batches):
    model = ROSTER["conv-vae"].config.build().eval()
    expected = model.encode(to_float(few.images)).log_var
    torch.testing.assert_close(metrics.log_variances(model, few.images), expected)


def test_psnr_by_noise_starts_with_the_clean_images(autoencoder, few):
    few = few[torch.arange(3)]
    curves = metrics.psnr_by_noise(autoencoder, few.images)
    clean = metrics.evaluate(autoencoder, few)["psnr"]
    assert list(curves) == list(NOISES)
    for kind, curve in curves.items():
        assert set(curve) == {"level", "model"}
        assert [curve["level"][0], curve["level"][-1]] == [0.0, NOISES[kind].maximum]
        assert len(curve["level"]) == len(curve["model"]) == metrics.NOISE_STEPS
        assert curve["model"][0] == pytest.approx(clean, rel=1e-5)


def test_psnr_by_noise_without_a_model_measures_the_noisy_and_the_filtered_images(few):
    curves = metrics.psnr_by_noise(None, few.images)
    assert list(curves) == list(NOISES)
    for curve in curves.values():
        assert set(curve) == {"level", "input", "median"}
        assert curve["input"][0] == 100.0
        assert curve["input"] == sorted(curve["input"], reverse=True)
    pepper = curves["salt-and-pepper"]
    assert pepper["median"][1] > pepper["input"][1] + 5


@pytest.fixture
def guesses(generator):
    # class 3 is never guessed and class 4 never true, so that 0/0 occurs
    return (
        torch.tensor([0, 1, 2, 4])[torch.randint(4, (200,), generator=generator)],
        torch.randint(4, (200,), generator=generator),
    )


def test_confusion_counts_true_classes_in_rows(guesses):
    predicted, labels = guesses
    expected = confusion_matrix(labels, predicted, labels=range(5))
    assert metrics.confusion(predicted, labels, 5).tolist() == expected.tolist()


def test_precision_recall_and_f1_are_those_of_scikit_learn(guesses):
    predicted, labels = guesses
    found = metrics.precision_recall_f1(metrics.confusion(predicted, labels, 5))
    expected = precision_recall_fscore_support(labels, predicted, labels=range(5), zero_division=0)[:3]
    assert found.numpy() == pytest.approx(np.stack(expected, axis=1))


def test_calibration_is_the_distance_of_confidence_and_accuracy_in_each_bin():
    confidence = torch.tensor([0.55, 0.57, 0.91, 0.95, 0.99, 1.0], dtype=torch.float64)
    correct = torch.tensor([True, False, True, True, False, True])
    probabilities = torch.stack([confidence, 1 - confidence], dim=1)
    result = metrics.calibration(probabilities, (~correct).long())
    assert result["count"].tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 0, 4]
    assert result["confidence"][[5, 9]].tolist() == pytest.approx([0.56, 0.9625])
    assert result["accuracy"][[5, 9]].tolist() == [0.5, 0.75]
    assert result["confidence"][:5].isnan().all()
    assert result["error"] == pytest.approx(2 / 6 * 0.06 + 4 / 6 * 0.2125)


def test_a_bin_holds_its_lower_edge():
    probabilities = torch.tensor([[0.5, 0.5], [0.25, 0.75]])
    count = metrics.calibration(probabilities, torch.tensor([0, 1]), n_bins=4)["count"]
    assert count.tolist() == [0, 0, 1, 1]


def test_figures_of_a_set_of_one_image_are_those_of_the_image(digits):
    one = digits["test"][torch.tensor([3])]
    torch.manual_seed(0)
    model = ROSTER["fc-ae"].config.build().eval()
    x = to_float(one.images)
    assert metrics.evaluate(model, one)["mse"] == pytest.approx(F.mse_loss(model(x), x).item())
    colour = dataclasses.replace(one, images=one.images.expand(1, 3, 28, 28))
    wide = dataclasses.replace(model.config, image_shape=(3, 28, 28)).build().eval()
    assert set(metrics.evaluate(wide, colour)) == {"mse", "psnr", "ssim"}


def test_a_uniform_density_needs_8_bits_and_one_on_a_single_step_none():
    assert metrics.bits_per_dim(0.0, 12) == 8.0
    assert metrics.bits_per_dim(-12 * math.log(256), 12) == pytest.approx(0.0)
    assert metrics.bits_per_dim(12 * math.log(2), 12) == pytest.approx(9.0)
