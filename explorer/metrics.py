"""Figures of merit on whole sets: MSE, PSNR, SSIM, ELBO, PSNR over noise, accuracy, calibration.

Pixels are in [0, 1]. Averages over a set are sums over images divided once.
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from explorer import losses
from explorer.datasets import ImageSet
from explorer.images import to_float
from explorer.models import Autoencoder, Classifier, Model, device_of
from explorer.noise import NOISES, add_noise

BATCH = 500
ELBO_DRAWS = 8  # draws of z per test image: the estimate's spread over 10,000 images is then < 0.02 nats
SSIM_WINDOW = 11  # pixels, odd
NOISE_STEPS = 9  # levels of the PSNR-over-noise curve, from 0 to the highest of each kind


def mse_per_image(x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
    """Compute the mean squared error over pixels of each image: `(N, C, H, W)` twice -> `(N,)`."""
    return (x_hat - x).square().flatten(1).mean(1)


def psnr(mse: torch.Tensor) -> torch.Tensor:
    """Turn mean squared errors of pixels in [0, 1] into decibels; 0 becomes 100 dB, not infinity."""
    return -10.0 * torch.log10(mse.clamp(min=1e-10))


def ssim_parts(x: torch.Tensor, x_hat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compare structure in a window around every pixel: `(N, C, H, W)` twice -> two means `(N, C)`.

    Returns the structural similarity, luminance times contrast-structure, and contrast-structure alone.
    Wang et al. 2004: Gaussian window of 11x11 with sigma 1.5, K = (0.01, 0.03), averaged over the
    positions where the window lies inside the image.
    """
    channels, reach = x.shape[1], SSIM_WINDOW // 2
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1.0, device=x.device) / 1.5).square())
    line = line / line.sum()
    window = torch.outer(line, line).expand(channels, 1, SSIM_WINDOW, SSIM_WINDOW)

    def local_mean(values: torch.Tensor) -> torch.Tensor:
        return F.conv2d(values, window, groups=channels)  # (N, C, H-10, W-10)

    mean, mean_hat = local_mean(x), local_mean(x_hat)
    variance = local_mean(x * x) - mean.square()
    variance_hat = local_mean(x_hat * x_hat) - mean_hat.square()
    covariance = local_mean(x * x_hat) - mean * mean_hat
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean * mean_hat + c1) / (mean.square() + mean_hat.square() + c1)
    structure = (2 * covariance + c2) / (variance + variance_hat + c2)
    return (luminance * structure).mean((2, 3)), structure.mean((2, 3))


def ssim_per_image(x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
    """Compute the structural similarity of each image, see `ssim_parts`: `(N, C, H, W)` twice -> `(N,)`."""
    return ssim_parts(x, x_hat)[0].mean(1)


def bits_per_dim(nats: float, n_dimensions: int) -> float:
    """Turn -log p(x) in nats per image, a density of pixels in [0, 1], into bits for each 8-bit channel of a pixel.

    A density over 256 steps of width 1/256 gives each step 1/256 of its value: 8 bits are added (Theis et al. 2016,
    section 3.1). A uniform density needs 8 bits. Of a negative ELBO it is an upper bound of the bits.
    """
    return nats / (n_dimensions * math.log(2)) + 8.0


def median_filter(x: np.ndarray, size: int = 3) -> np.ndarray:
    """Filter images `(N, C, H, W)` with the median of a `size` x `size` window, edges reflected."""
    from scipy.ndimage import median_filter as filter_nd

    return filter_nd(x, size=(1, 1, size, size), mode="reflect")


@torch.inference_mode()
def evaluate(model: Model, test: ImageSet, seed: int = 0) -> dict[str, Any]:
    """Measure a model on a whole split, on the model's device.

    Autoencoders: "mse", "psnr" (dB, mean over images), "ssim"; variational ones also "negative_elbo",
    "reconstruction", "kl" (nats per image) and "kl_per_dimension" (nats, `D` numbers), and "bits_per_dim" where
    p(x|z) is a density.
    Classifiers: "accuracy", "cross_entropy" (nats), "calibration_error" (see `calibration`).
    """
    device = device_of(model)
    test = test.to(device)
    if isinstance(model, Classifier):
        scores = logits(model, test)
        labels = test.labels.cpu()
        return {
            "accuracy": (scores.argmax(1) == labels).double().mean().item(),
            "cross_entropy": F.cross_entropy(scores.double(), labels).item(),
            "calibration_error": calibration(scores.softmax(1), labels)["error"],
        }
    generator = torch.Generator(device).manual_seed(seed)
    sums: dict[str, torch.Tensor] = {}

    def add(name: str, values: torch.Tensor) -> None:
        sums[name] = sums.get(name, 0.0) + values.cpu().double().sum(0)  # mps has no float64

    for images in test.images.split(BATCH):
        x = to_float(images)
        x_hat = model(x)
        mse = mse_per_image(x, x_hat)
        add("mse", mse)
        add("psnr", psnr(mse))
        add("ssim", ssim_per_image(x, x_hat))
        if model.config.variational:
            add("kl_per_dimension", losses.kl_to_standard_normal(model.encode(x)))
            for _ in range(ELBO_DRAWS):
                parts = losses.negative_elbo(model, x, generator)
                add("reconstruction", parts["reconstruction"] / ELBO_DRAWS)
                add("kl", parts["kl"] / ELBO_DRAWS)
    result = {name: (total / len(test)).tolist() for name, total in sums.items()}
    if model.config.variational:
        result["negative_elbo"] = result["reconstruction"] + result["kl"]
        if model.config.likelihood == "gaussian":
            result["bits_per_dim"] = bits_per_dim(result["negative_elbo"], math.prod(model.config.image_shape))
    return result


@torch.inference_mode()
def logits(model: Classifier, data: ImageSet) -> torch.Tensor:
    """Compute the logits `(N, n_classes)` of a whole set on the model's device; returned on the CPU."""
    device = device_of(model)
    return torch.cat([model(to_float(b.to(device))).cpu() for b in data.images.split(BATCH)])


@torch.inference_mode()
def embed(model: Model, images: torch.Tensor) -> torch.Tensor:
    """Compute the codes `(N, D)` of uint8 images on the model's device; returned on the CPU."""
    device = device_of(model)
    return torch.cat([model.embed(to_float(b.to(device))).cpu() for b in images.split(BATCH)])


@torch.inference_mode()
def mean_psnr(model: Autoencoder, images: torch.Tensor) -> float:
    """Average the PSNR in dB of uint8 images `(N, C, H, W)` rebuilt through their mean codes."""
    model.eval()
    device = device_of(model)
    pixels = (to_float(b.to(device)) for b in images.split(BATCH))
    return torch.cat([psnr(mse_per_image(x, model(x))).cpu() for x in pixels]).mean().item()


@torch.inference_mode()
def log_variances(model: Autoencoder, images: torch.Tensor) -> torch.Tensor:
    """Compute the log-variances `(N, D)` of q(z|x) for uint8 images; returned on the CPU."""
    device = device_of(model)
    batches = [model.encode(to_float(b.to(device))).log_var for b in images.split(BATCH)]
    return torch.cat(batches).flatten(1).cpu()


@torch.inference_mode()
def psnr_by_noise(model: Autoencoder | None, images: torch.Tensor, seed: int = 0) -> dict[str, Any]:
    """Trace the mean PSNR (dB) of `images` (uint8) rebuilt from corrupted ones, over the noise level.

    `None` in place of a model measures what it has to beat: the corrupted images themselves and the
    3x3 median filter. Noise is drawn on the CPU, so that both see the same whatever the model is on. Returns, for
    each kind of noise, "level" and one list per curve: "model", or "input" and "median".
    """
    x = to_float(images.cpu())
    curves: dict[str, dict[str, list[float]]] = {}
    for kind, noise in NOISES.items():
        levels = np.linspace(0.0, noise.maximum, NOISE_STEPS).round(4).tolist()
        curve: dict[str, list[float]] = {"level": levels}
        for level in levels:
            noisy = add_noise(x, kind, level, seed)
            if model:
                device = device_of(model)
                rebuilt = {"model": torch.cat([model(b.to(device)).cpu() for b in noisy.split(BATCH)])}
            else:
                rebuilt = {"input": noisy, "median": torch.from_numpy(median_filter(noisy.numpy()))}
            for name, x_hat in rebuilt.items():
                curve.setdefault(name, []).append(psnr(mse_per_image(x, x_hat)).mean().item())
        curves[kind] = curve
    return curves


def confusion(predicted: torch.Tensor, labels: torch.Tensor, n_classes: int) -> torch.Tensor:
    """Count images by true class (rows) and predicted class (columns): int64 `(K, K)`."""
    return torch.bincount(labels * n_classes + predicted, minlength=n_classes**2).view(n_classes, n_classes)


def precision_recall_f1(matrix: torch.Tensor) -> torch.Tensor:
    """Compute precision, recall and F1 in [0, 1] of each class from `confusion`: `(K, 3)`; 0/0 is 0."""
    hits = matrix.diagonal().double()
    precision = hits / matrix.sum(0).clamp(min=1)
    recall = hits / matrix.sum(1).clamp(min=1)
    f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
    return torch.stack([precision, recall, f1], dim=1)


def calibration(probabilities: torch.Tensor, labels: torch.Tensor, n_bins: int = 10) -> dict[str, Any]:
    """Compare confidence with accuracy in equal bins of confidence (Guo et al. 2017).

    Returns "confidence", "accuracy" (means per bin, NaN where it is empty), "count" `(n_bins,)`, and
    "error": the expected calibration error, the count-weighted mean of their distance.
    """
    confidence, predicted = probabilities.double().max(1)
    correct = (predicted == labels).double()
    bins = (confidence * n_bins).long().clamp(max=n_bins - 1)
    count = torch.bincount(bins, minlength=n_bins)
    mean_confidence = torch.bincount(bins, confidence, minlength=n_bins) / count
    mean_accuracy = torch.bincount(bins, correct, minlength=n_bins) / count
    gap = (mean_confidence - mean_accuracy).abs().nan_to_num() * count / count.sum()
    return {
        "confidence": mean_confidence,
        "accuracy": mean_accuracy,
        "count": count,
        "error": gap.sum().item(),
    }
