"""How good a generative model's images are, without a pretrained network: likeness, realism, diversity, memory.

Every figure of samples stands beside the data's own, its floor: what training images score against test
images. Pixels are in [0, 1]; N images, M training images, C channels, H x W pixels.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from explorer.images import to_float
from explorer.metrics import BATCH, SSIM_WINDOW, embed, ssim_parts
from explorer.models import Autoencoder, device_of
from explorer.sampling import Prior, active

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of MS-SSIM, finest scale first (Wang et al. 2003)
COARSEST = 16  # pixels: the pyramid stops here (Karras et al. 2018)
PATCH = 7  # pixels
PATCHES_PER_IMAGE = 64  # the paper takes 128 of each of 16,384 images
N_DIRECTIONS, DIRECTIONS_AT_ONCE = 512, 64
N_PAIRS = 1000
TRAIN_AT_ONCE = 1000  # training images held as float
MAX_IMAGES = 2500  # of each set in `generative_figures`: a distance then takes some ten seconds on one core


def measurable(images: torch.Tensor) -> bool:
    """Whether images `(N, C, H, W)` are large enough to tell a blurred scale from a sharp one."""
    return min(images.shape[2:]) >= 2 * COARSEST


def n_scales(height: int, width: int) -> int:
    """Count the scales of MS-SSIM, each half the size of the one before, that hold a whole window; at most 5."""
    return min(len(SCALE_WEIGHTS), max(0, math.floor(math.log2(min(height, width) / SSIM_WINDOW)) + 1))


def ms_ssim_per_image(x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
    """Compute the multi-scale structural similarity of each image: `(N, C, H, W)` twice -> `(N,)` in [0, 1].

    Wang, Simoncelli & Bovik 2003: contrast-structure at each scale and luminance at the coarsest, each to the
    power of the scale's weight, multiplied; then averaged over channels. Scales that the 11x11 window does not
    fit are left out and the weights of the others made to sum to 1: 64x64 pixels have three scales, 28x28 two.
    Negative structure counts as 0, since its power is not real.

    Raises:
        ValueError: the images are smaller than the window.
    """
    count = n_scales(*x.shape[2:])
    if not count:
        raise ValueError(f"images of {x.shape[2]}x{x.shape[3]} pixels are smaller than the window of {SSIM_WINDOW}")
    weights = [weight / sum(SCALE_WEIGHTS[:count]) for weight in SCALE_WEIGHTS[:count]]
    result = torch.ones(x.shape[:2], device=x.device)  # (N, C)
    for weight in weights[:-1]:
        structure = ssim_parts(x, x_hat)[1]
        result = result * structure.clamp(min=0) ** weight
        x, x_hat = F.avg_pool2d(x, 2), F.avg_pool2d(x_hat, 2)
    return (result * ssim_parts(x, x_hat)[0].clamp(min=0) ** weights[-1]).mean(1)


def active_units(mu: torch.Tensor) -> int:
    """Count the latent numbers that the data move: variance over images of E[z|x], `(N, D)`, above 0.01.

    Burda et al. 2016, section 5.2.
    """
    return int(active(mu).sum())


def blur(x: torch.Tensor) -> torch.Tensor:
    """Smooth images `(N, C, H, W)` with the binomial filter 1 4 6 4 1 both ways, mirrored at the edges."""
    line = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=x.device) / 16.0
    window = torch.outer(line, line).expand(x.shape[1], 1, 5, 5)
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), window, groups=x.shape[1])


def laplacian_pyramid(x: torch.Tensor) -> list[torch.Tensor]:
    """Part images `(N, C, H, W)` into levels of detail, finest first (Burt & Adelson 1983).

    Each level is what is lost by halving the size; the last is the image at the smallest size of at least 16.
    Levels of 64x64 pixels are 64, 32 and 16 wide.
    """
    levels = []
    while measurable(x):
        halved = blur(x)[..., ::2, ::2]
        spread = torch.zeros_like(x)
        spread[..., ::2, ::2] = halved
        levels.append(x - 4.0 * blur(spread))
        x = halved
    return [*levels, x]


def patches(level: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Cut 7x7 patches at random places out of each image `(N, C, H, W)`: `(64 N, C, 7, 7)`."""
    windows = level.unfold(2, PATCH, 1).unfold(3, PATCH, 1).permute(0, 2, 3, 1, 4, 5)  # (N, H-6, W-6, C, 7, 7), a view
    n, rows, columns = windows.shape[:3]
    places = [torch.randint(side, (n, PATCHES_PER_IMAGE), generator=generator) for side in (rows, columns)]
    return windows[torch.arange(n)[:, None], *places].flatten(0, 1)


def descriptors(x: torch.Tensor, seed: int) -> dict[str, torch.Tensor]:
    """Describe images `(N, C, H, W)` by patches of each level of their pyramid, `{"64": (64 N, 49 C), ...}`.

    Each colour channel has mean 0 and variance 1 over the set's own patches. Equal seeds cut equal places.
    """
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, list[torch.Tensor]] = {}
    for batch in x.split(BATCH):
        for level in laplacian_pyramid(batch):
            found.setdefault(str(level.shape[-1]), []).append(patches(level, generator))
    result = {}
    for size in list(found):
        whole = torch.cat(found.pop(size))  # (64 N, C, 7, 7)
        std, mean = torch.std_mean(whole, (0, 2, 3), keepdim=True, correction=0)
        result[size] = whole.sub_(mean).div_(std.clamp(min=1e-12)).flatten(1)
    return result


def sliced_wasserstein(a: torch.Tensor, b: torch.Tensor, seed: int) -> float:
    """Average the Wasserstein-1 distance of two sets of points `(K, D)` over their projections on random lines.

    Rabin et al. 2011; in the units of the points.
    """
    directions = torch.randn(N_DIRECTIONS, a.shape[1], generator=torch.Generator().manual_seed(seed)).to(a.device)
    directions /= directions.norm(dim=1, keepdim=True)
    distances = []
    for some in directions.split(DIRECTIONS_AT_ONCE):
        # numpy sorts eight times faster than torch on a CPU
        projected = [np.sort((some @ points.T).cpu().numpy(), axis=1) for points in (a, b)]  # (64, K) each
        distances.append(np.abs(projected[0] - projected[1]).mean(axis=1, dtype=np.float64))
    return float(np.concatenate(distances).mean())


def swd(x: torch.Tensor, y: torch.Tensor, seed: int = 0) -> dict[str, float]:
    """Measure the sliced Wasserstein distance of two sets of images `(N, C, H, W)`, level by level, times 1,000.

    Karras et al. 2018, section 5: 7x7 patches of a Laplacian pyramid, 512 directions. Returns one distance per
    level, by its width in pixels ("64", "32", "16"), and "mean". A far "64" with a near "16" is a blurred picture.
    Both sets are cut at the same places, so that a set has no distance to itself.

    Raises:
        ValueError: the sets differ in shape or number.
    """
    if x.shape != y.shape:
        raise ValueError(f"sets of the shapes {tuple(x.shape)} and {tuple(y.shape)} cannot be compared")
    of_x, of_y = descriptors(x, seed), descriptors(y, seed)
    result = {size: 1e3 * sliced_wasserstein(of_x.pop(size), of_y.pop(size), seed) for size in list(of_x)}
    return {**result, "mean": sum(result.values()) / len(result)}


def diversity(x: torch.Tensor, seed: int = 0) -> float:
    """Average the MS-SSIM of random pairs of different images of a set `(N, C, H, W)`, N > 1.

    Odena et al. 2017, section 4.2: 1 is one image again and again; samples should not lie above the data.
    """
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(len(x), (N_PAIRS,), generator=generator)
    second = (first + torch.randint(1, len(x), (N_PAIRS,), generator=generator)) % len(x)
    pairs = zip(first.split(BATCH), second.split(BATCH), strict=True)
    return torch.cat([ms_ssim_per_image(x[i], x[j]) for i, j in pairs]).double().mean().item()


def nearest_distances(x: torch.Tensor, train: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the nearest training image, uint8 `(M, C, H, W)`, of each image `(N, C, H, W)`.

    Returns the root mean squared difference of pixels `(N,)` and the training image's index `(N,)`.
    """
    flat = x.flatten(1)
    closest = torch.full((len(x),), math.inf, device=x.device)
    index = torch.zeros(len(x), dtype=torch.long, device=x.device)
    for start, chunk in zip(range(0, len(train), TRAIN_AT_ONCE), train.split(TRAIN_AT_ONCE), strict=True):
        candidates = to_float(chunk.to(x.device)).flatten(1)
        # |t|^2 - 2 x.t ranks like |x - t|^2
        score, place = torch.addmm(candidates.square().sum(1), flat, candidates.T, alpha=-2.0).min(1)
        better = score < closest
        closest = torch.where(better, score, closest)
        index = torch.where(better, place + start, index)
    # the difference itself: |x|^2 + |t|^2 - 2 x.t would lose a copy's 0 to rounding
    batches = zip(x.split(BATCH), index.split(BATCH), strict=True)
    squared = [(b - to_float(train[i.to(train.device)].to(x.device))).square().flatten(1).mean(1) for b, i in batches]
    return torch.cat(squared).sqrt(), index


def precision_recall(real: torch.Tensor, made: torch.Tensor, k: int = 3) -> tuple[float, float]:
    """Measure how much of what was made is like real images, and how much of these is like what was made.

    Kynkäänniemi et al. 2019: the share of features `(N, F)` of one set that lie in a ball around one of the other,
    which reaches as far as that one's k-th nearest neighbour in its own set. Both shares are in [0, 1].

    Raises:
        ValueError: a set has not more than k features.
    """
    if min(len(real), len(made)) <= k:
        raise ValueError(f"sets of {len(real)} and {len(made)} features have no {k} neighbours each")

    def covered(points: torch.Tensor, centres: torch.Tensor) -> float:
        reach = torch.cdist(centres, centres).kthvalue(k + 1, dim=1).values  # the first is the point itself
        return (torch.cdist(points, centres) <= reach).any(1).double().mean().item()

    return covered(made, real), covered(real, made)


def floor_figures(test: torch.Tensor, train: torch.Tensor, seed: int = 0) -> dict[str, Any]:
    """Measure real images as `generative_figures` measures samples; both sets uint8 `(N or M, C, H, W)`.

    Returns "swd_floor" (training against test images), "diversity_floor" and "nearest_train_distance_floor"
    (of test images).
    """
    n = min(len(test), len(train), MAX_IMAGES)
    x = to_float(test[:n])
    return {
        "swd_floor": swd(to_float(train[:n]), x, seed),
        "diversity_floor": diversity(x, seed),
        "nearest_train_distance_floor": nearest_distances(x, train)[0].median().item(),
    }


def sample_prior(model: Autoencoder, n: int, seed: int = 0) -> torch.Tensor:
    """Decode `n` draws from the standard normal prior to pixels `(n, C, H, W)`, noise of p(x|z) left out."""
    z = Prior(model.code_length).sample(n, seed=seed)
    device = device_of(model)
    return torch.cat([model.decode(batch.to(device)) for batch in z.split(BATCH)])


def noisy(x: torch.Tensor, sigma: float, seed: int = 0) -> torch.Tensor:
    """Draw images `(N, C, H, W)` from a Gaussian p(x|z) with these means; what no pixel can be is clipped to [0, 1]."""
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    return (x + sigma * noise.to(x)).clamp(0, 1)


@torch.inference_mode()
def generative_figures(
    model: Autoencoder,
    test: torch.Tensor,
    train: torch.Tensor,
    seed: int = 0,
    floor: dict[str, Any] | None = None,
    sigmas: Sequence[float] = (),
) -> dict[str, Any]:
    """Measure a variational model against test and training images, uint8 `(N, C, H, W)` and `(M, C, H, W)`.

    n_generative                              how many images each set has: the first of the test images, and
                                              as many reconstructions of them, samples and training images
    ms_ssim                                   of reconstructions, mean over images
    active_units                              see `active_units`
    swd, swd_reconstructions, swd_floor       of samples, reconstructions and training images against test images
    swd_noisy, swd_reconstructions_noisy      of both with the pixel noise of p(x|z), by its sigma; see `noisy`
    blurred_at                                the level where swd is the largest multiple of its floor
    diversity, diversity_floor                of samples and of test images
    nearest_train_distance, ..._reconstructions, ..._floor
                                              median of samples, reconstructions of test images, and test images

    A smooth picture lies nearer to every other: samples that repeat training images lie nearer to them than
    reconstructions of test images do, not just nearer than test images. `swd_reconstructions` may lie below
    its floor, as reconstructions are of the very images they are compared with.
    `floor` is what `floor_figures` gave for the same images and seed; it is measured where it is None.
    """
    floor = floor or floor_figures(test, train, seed)
    device = device_of(model)
    n = min(len(test), len(train), MAX_IMAGES)
    x = to_float(test[:n].to(device))
    x_hat = torch.cat([model(batch) for batch in x.split(BATCH)])
    samples = sample_prior(model, n, seed)
    likeness = [ms_ssim_per_image(*pair) for pair in zip(x.split(BATCH), x_hat.split(BATCH), strict=True)]
    distances = swd(samples, x, seed)
    levels = [size for size in distances if size != "mean"]
    return {
        "n_generative": n,
        "ms_ssim": torch.cat(likeness).double().mean().item(),
        "active_units": active_units(embed(model, test[:n])),
        "swd": distances,
        "swd_reconstructions": swd(x_hat, x, seed),
        **{
            f"{name}_noisy": {f"{sigma:.4f}": swd(noisy(images, sigma, seed), x, seed) for sigma in sigmas}
            for name, images in (("swd", samples), ("swd_reconstructions", x_hat))
            if sigmas
        },
        "blurred_at": max(levels, key=lambda size: distances[size] / max(floor["swd_floor"][size], 1e-12)),
        "diversity": diversity(samples, seed),
        "nearest_train_distance": nearest_distances(samples, train)[0].median().item(),
        "nearest_train_distance_reconstructions": nearest_distances(x_hat, train)[0].median().item(),
        **floor,
    }
