"""Measure every model and family afresh from its stored weights, beside what it has to beat.

    python -m benchmarks.quality --data-dir data                  a table: figure, floor, report, target, met
    python -m benchmarks.quality --data-dir data --json           one JSON line per model
    python -m benchmarks.quality --dataset celeba --json          the face models, with figures of their samples
    python -m benchmarks.quality conv-dae --quick                 a smoke test on 50 images

Nothing is read from a stored `metrics.json`. Figures are on the test split, pixels in [0, 1]:

    mse, psnr (dB), ssim   averages over images, see `metrics.evaluate`
    best_code_gain         autoencoders: dB that the code which suits an image best adds to the encoder's own, mean over
                           the first n_bounds images; see the function
    psnr_train, ssim_train, best_code_gain_train
                           the same on as many images of the training split, its first: how much of the difference is
                           that the model was fitted to them
    negative_elbo          nats per image, variational models, and its parts reconstruction and kl
    bits_per_dim           the same in bits per 8-bit channel of a pixel, where p(x|z) is a density
    ms_ssim, active_units, swd, blurred_at, diversity, nearest_train_distance, ..._floor
                           variational models of images of 32 pixels and more, see `realism.generative_figures`
    sigma_calibrated, negative_elbo_calibrated, bits_per_dim_calibrated
                           Gaussian decoders: the sigma at which the test images cost least, and what each then costs
                           with the same weights; see `elbo.calibrated`
    swd_noisy, swd_reconstructions_noisy
                           of the same with the pixel noise of p(x|z), for the sigma fitted with and the calibrated one
    ladder                 where a bundle has one: samples of each rung by the flow that is stored, see `ladder`
    edits                  where images have attributes: accuracy of directions on other people, and what two steps
                           along each change, see `edits`; `judged`: how good the stand-in for identity is. Neither
                           this nor the ladder with --quick
    bound_1 ... bound_1000 variational models: -L_K in nats, means over n_bounds images; see `elbo`
    linear, knn            accuracy of probes on the code, by the number of labels, and beside them ..._pixels and
                           ..._pca; see `uses`
    auc                    area under the ROC curve of each score for each set of strangers, see `anomalies`; for a
                           class left out the architecture is fitted again. Neither this nor the probes with --quick
    accuracy               in [0, 1], classifiers
    psnr_by_sigma          denoisers: mean over images of the PSNR of the image rebuilt from itself with
                           Gaussian noise of standard deviation sigma, clipped to [0, 1]
    best_classical_...     the same, on the same noisy images, of the best of scikit-image's median, total
                           variation, wavelet and non-local means filters, tuned on training images; a
                           parameter that the grid gives in units of sigma is printed in these units
    best_corrected_...     the same again with the mean shift of clipped noise undone after the filter (see
                           `undo_clipping`), which no filter of scikit-image does: a stronger opponent
                           than the target asks for
    members, pca, quantised, codecs, recognised, apart
                           of a family, see `dials`; in the table the figures of each member, what PCA does with as
                           many numbers, how many classes a classifier recognises in generated images, and how
                           well codes part known factors
    n_test, n_classical, n_generative
                           how many images the model's, the filters' and the samples' figures are averages over

Exit codes: 0 all were measured, 1 data are missing or a bundle is broken, 2 the command is wrong.
"""

import argparse
import contextlib
import functools
import itertools
import json
import math
import multiprocessing
import operator
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import norm

from explorer import cards, dials, edits, elbo, families, ladder, metrics, probes, realism, uses
from explorer.arguments import at_least, one_of, speak_any_encoding
from explorer.attributes import METHODS
from explorer.checkpoints import Bundle, BundleError, root_folder
from explorer.datasets import DATASETS, DataError, ImageSet
from explorer.disentanglement import SCORES
from explorer.families import FAMILIES, FamilyBundle
from explorer.images import to_float
from explorer.models import Autoencoder, Classifier, Model
from explorer.noise import add_noise
from explorer.roster import ROSTER

SIGMAS = (0.2, 0.4, 0.6)
TEST_SEED, TUNING_SEED = 0, 1
CHUNK = 100  # test images per job of a worker process: about a second of work
FIGURES = ("mse", "psnr", "ssim", "negative_elbo", "bits_per_dim", "reconstruction", "kl", "accuracy")
GENERATIVE_FIGURES = ("ms_ssim", "active_units")  # without a floor
FLOORS = {
    "diversity": "diversity_floor",
    "nearest_train_distance": "nearest_train_distance_floor",
    "nearest_train_distance_reconstructions": "nearest_train_distance_floor",
}
RECONSTRUCTED = ("best_code_gain", "psnr_train", "ssim_train", "best_code_gain_train")
VARIANTS = ("classical", "corrected")
CALIBRATED = ("sigma_calibrated", "negative_elbo_calibrated", "bits_per_dim_calibrated")

TARGETS: dict[tuple[str, str], tuple[str, float]] = {
    ("fc-ae", "mse"): ("≤", 0.0056),
    ("conv-ae", "mse"): ("≤", 0.0011),
    ("conv-ae-128", "mse"): ("≤", 0.0050),
    ("conv-vae", "negative_elbo"): ("≤", 261.0),
    ("face-best", "psnr"): ("≥", 25.2),
    ("face-best", "ssim"): ("≥", 0.785),
    ("ffnn", "accuracy"): ("≥", 0.910),
    **{("conv-dae", f"gain over classical, σ={sigma}"): ("≥", 1.5) for sigma in SIGMAS},
}
CODE_STEPS, CODE_RATE = 50, 0.02
COMPARE = {"≤": operator.le, "≥": operator.ge}

Row = tuple[str, float, float | None]  # name, value, the data's own value
Run = Callable[[Callable[..., Any], Iterable[Any]], Iterable[Any]]  # `map`, or that of a pool


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    n_test: the first so many test images, None for all of them.
    n_screen, n_kept: every setting is tried on so many training images, and so many settings of each
    filter go on to the final, on n_tune images.
    thin: every so-manieth setting of the grid is tried.
    n_bounds: test images whose likelihood is bounded. uses: whether it is measured what a model is good for.
    """

    n_test: int | None = None
    n_screen: int = 20
    n_kept: int = 4
    n_tune: int = 100
    thin: int = 1
    n_bounds: int = uses.BOUND_IMAGES
    uses: bool = True


QUICK = Effort(n_test=50, n_screen=4, n_kept=1, n_tune=8, thin=13, n_bounds=1, uses=False)


# Classical filters: grey images (H, W) and the true sigma in, (H, W) out


def filter_median(x: np.ndarray, sigma: float, footprint: str, mode: str) -> np.ndarray:
    """Take the median in a footprint; outside the image is black ("constant") or repeats its edge."""
    from skimage.filters import median

    return median(x, FOOTPRINTS[footprint], mode=mode)


def filter_total_variation(x: np.ndarray, sigma: float, weight: float, eps: float) -> np.ndarray:
    """Minimise total variation (Chambolle 2004); `weight` in units of sigma."""
    from skimage.restoration import denoise_tv_chambolle

    return denoise_tv_chambolle(x, weight=weight * sigma, eps=eps, max_num_iter=500)


def filter_wavelet(
    x: np.ndarray, sigma: float, method: str, wavelet: str, mode: str, scale: float, shifts: int
) -> np.ndarray:
    """Threshold wavelet coefficients for noise of `scale` * sigma.

    Averaged over moves of 0 to `shifts` pixels each way (Coifman & Donoho 1995).
    """
    from skimage.restoration import cycle_spin, denoise_wavelet

    options = {"sigma": scale * sigma, "method": method, "wavelet": wavelet, "mode": mode}
    with warnings.catch_warnings():  # cycle_spin warns that it runs on one core, which is what is wanted
        warnings.simplefilter("ignore")
        return cycle_spin(x, denoise_wavelet, shifts, func_kw={**options, "rescale_sigma": True})


def filter_nl_means(
    x: np.ndarray, sigma: float, h: float, patch_size: int, patch_distance: int, scale: float
) -> np.ndarray:
    """Average similar patches (Buades et al. 2005); `h` in units of sigma, noise taken as `scale` * sigma.

    `fast_mode=False` with the whole image searched gains 0.1 to 0.2 dB at sigma 0.2, and loses to other
    filters above, at 25 times the time (50 training images of Fashion-MNIST), so it is left out.
    """
    from skimage.restoration import denoise_nl_means

    return denoise_nl_means(x, patch_size, patch_distance, h * sigma, sigma=scale * sigma)


FILTERS: dict[str, Callable[..., np.ndarray]] = {
    "median": filter_median,
    "total-variation": filter_total_variation,
    "wavelet": filter_wavelet,
    "nl-means": filter_nl_means,
}
FOOTPRINTS = {
    **{
        f"disk-{radius}": np.hypot(*np.mgrid[-radius : radius + 1, -radius : radius + 1]) <= radius
        for radius in (1, 2, 3, 4)
    },
    **{f"{h}x{w}": np.ones((h, w)) for h in (1, 3, 5, 7) for w in (1, 3, 5, 7) if h * w > 1},
}


@dataclass(frozen=True)
class Setting:
    """One filter of `FILTERS` with all its parameters."""

    filter: str
    parameters: dict[str, Any]


def settings_of(name: str, **values: Iterable[Any]) -> list[Setting]:
    """List a filter's settings with every combination of the given values."""
    return [
        Setting(name, dict(zip(values, combination, strict=True)))
        for combination in itertools.product(*values.values())
    ]


GRID: list[Setting] = [
    *settings_of("median", footprint=FOOTPRINTS, mode=("nearest", "constant")),
    *settings_of(
        "total-variation", weight=(0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.5, 2.0), eps=(2e-4, 1e-5)
    ),
    *settings_of(
        "wavelet", method=("BayesShrink", "VisuShrink"), wavelet=("db1", "db2", "sym4"),
        mode=("soft", "hard"), scale=(0.25, 0.5, 0.75, 1.0, 1.5), shifts=(0, 3),
    ),
    *settings_of(
        "nl-means", h=(0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.3), patch_size=(3, 5, 7),
        patch_distance=(3, 5, 9), scale=(0.0, 0.5, 1.0),
    ),
]  # fmt: skip


def undo_clipping(y: np.ndarray, sigma: float) -> np.ndarray:
    """Map local means of clipped noisy pixels back to the clean pixels in [0, 1]; any shape.

    A pixel t with noise, clipped to [0, 1], has the mean

        m(t) = t (Φ(b) - Φ(a)) + sigma (φ(a) - φ(b)) + 1 - Φ(b),  a = -t / sigma, b = (1 - t) / sigma,

    which is 0.4 sigma for a black pixel: averaging filters leave a grey veil on the background.
    m rises with t and is inverted by a table (after Foi, Signal Processing 89, 2009).
    """
    t = np.linspace(0.0, 1.0, 257)
    a, b = -t / sigma, (1.0 - t) / sigma
    inside = norm.cdf(b) - norm.cdf(a)
    return np.interp(y, t * inside + sigma * (norm.pdf(a) - norm.pdf(b)) + norm.sf(b), t)


def psnr_per_image(x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
    """Compute the PSNR in dB of each image: `(N, C, H, W)` twice -> `(N,)`."""
    return metrics.psnr(metrics.mse_per_image(x, x_hat))


def filter_psnr(job: tuple[Setting, float, np.ndarray, np.ndarray]) -> np.ndarray:
    """Filter `(setting, sigma, clean, noisy)` images `(N, C, H, W)`; PSNR of each in dB, `(2, N)`.

    The rows are `VARIANTS`: as the filter leaves them, clipped to [0, 1], and with clipping undone.
    """
    setting, sigma, clean, noisy = job
    denoise = FILTERS[setting.filter]
    # channel by channel: scikit-image's non-local means drops a channel axis of length 1
    planes = noisy.reshape(-1, *noisy.shape[2:])  # (N C, H, W)
    filtered = np.stack([denoise(plane, sigma, **setting.parameters) for plane in planes])
    filtered = filtered.reshape(noisy.shape)
    variants = (filtered.clip(0.0, 1.0), undo_clipping(filtered, sigma))
    x = torch.from_numpy(clean)
    return np.stack([psnr_per_image(x, torch.from_numpy(v.astype(np.float32))).numpy() for v in variants])


@contextlib.contextmanager
def workers(n_processes: int) -> Iterator[Run]:
    """Give a `map` that runs in `n_processes` processes of one thread each; in this one for 1."""
    if n_processes == 1:
        yield map
        return
    # spawned, not forked: a fork copies torch's thread pool in whatever state it is
    context = multiprocessing.get_context("spawn")
    with context.Pool(n_processes, torch.set_num_threads, (1,)) as pool:
        yield pool.imap


def mean_scores(settings: list[Setting], sigma: float, images: Iterable[np.ndarray], run: Run) -> np.ndarray:
    """Average each setting's PSNR in dB over (clean, noisy) images `(N, C, H, W)`: `(len(settings), 2)`."""
    scores = run(filter_psnr, [(setting, sigma, *images) for setting in settings])
    return np.stack([score.mean(1) for score in scores])


def tune(x: torch.Tensor, sigma: float, effort: Effort, run: Run) -> list[Setting]:
    """Find the setting of the highest mean PSNR on training images `(N, C, H, W)`, for each variant.

    First all settings on a few images, then each filter's best on all of them (successive halving).
    """
    images = [x.numpy(), add_noise(x, "gaussian", sigma, TUNING_SEED).numpy()]  # clean, noisy
    settings = GRID[:: effort.thin]
    screen = mean_scores(settings, sigma, [part[: effort.n_screen] for part in images], run)
    kept: set[int] = set()
    for name, column in itertools.product(FILTERS, screen.T):
        own = [i for i, setting in enumerate(settings) if setting.filter == name]
        kept.update(sorted(own, key=lambda i: -column[i])[: effort.n_kept])
    settings = [settings[i] for i in sorted(kept)]
    final = mean_scores(settings, sigma, images, run)
    for variant, column in zip(VARIANTS, final.T, strict=True):
        best: dict[str, float] = {}
        for setting, score in zip(settings, column, strict=True):
            best[setting.filter] = max(score, best.get(setting.filter, -math.inf))
        listed = ", ".join(f"{name} {score:.2f}" for name, score in best.items())
        note(f"σ={sigma}, {variant}, best of each on {len(x)} training images (dB): {listed}")
    return [settings[i] for i in final.argmax(0)]


def classical(x: torch.Tensor, x_train: torch.Tensor, effort: Effort, n_processes: int) -> dict[str, Any]:
    """Tune the classical filters on `x_train` and measure each variant's best on `x`, `(N, C, H, W)`."""
    figures: dict[str, Any] = {"n_classical": len(x)}
    with workers(n_processes) as run:
        for sigma in SIGMAS:
            best = tune(x_train, sigma, effort, run)
            noisy = add_noise(x, "gaussian", sigma, TEST_SEED)
            chunks = [(c.numpy(), n.numpy()) for c, n in zip(x.split(CHUNK), noisy.split(CHUNK), strict=True)]
            for row, (variant, setting) in enumerate(zip(VARIANTS, best, strict=True)):
                scores = run(filter_psnr, [(setting, sigma, *chunk) for chunk in chunks])
                mean = np.concatenate([score[row] for score in scores]).mean(dtype=np.float64)
                chosen = {"filter": setting.filter, **setting.parameters}
                figures.setdefault(f"best_{variant}_psnr_by_sigma", {})[str(sigma)] = float(mean)
                figures.setdefault(f"best_{variant}_filter_by_sigma", {})[str(sigma)] = chosen
    return figures


@torch.inference_mode()
def denoised_psnr(model: Autoencoder, x: torch.Tensor, sigma: float) -> float:
    """Average the PSNR in dB of images `(N, C, H, W)` that the model rebuilds from noisy ones."""
    noisy = add_noise(x, "gaussian", sigma, TEST_SEED)
    pairs = zip(x.split(metrics.BATCH), noisy.split(metrics.BATCH), strict=True)
    return torch.cat([psnr_per_image(clean, model(batch)) for clean, batch in pairs]).double().mean().item()


@functools.lru_cache(maxsize=1)
def training_images(dataset: str, data_dir: str | None) -> ImageSet:
    """Read the training images, once for all models of a run.

    Raises:
        DataError: they are missing.
    """
    return DATASETS[dataset].load("train", data_dir)


@functools.lru_cache(maxsize=1)
def data_floor(test: torch.Tensor, dataset: str, data_dir: str | None) -> dict[str, Any]:
    """Measure what training images score against the test images, uint8 `(N, C, H, W)`.

    Kept, as it is the same for every model of a run.

    Raises:
        DataError: the training images are missing.
    """
    return realism.floor_figures(test, training_images(dataset, data_dir).images)


def generative(
    bundle: Bundle, model: Autoencoder, test: torch.Tensor, sigmas: Sequence[float], data_dir: str | None
) -> dict[str, Any]:
    """Measure samples of a variational model beside test images `(N, C, H, W)`, also with pixel noise of some sigmas.

    Empty where images are so small that no blurred scale can be told from a sharp one.
    """
    if not realism.measurable(test):
        return {}
    train, floor = training_images(bundle.dataset, data_dir).images, data_floor(test, bundle.dataset, data_dir)
    return realism.generative_figures(model, test, train, floor=floor, sigmas=sigmas)


def best_code_gain(model: Autoencoder, images: torch.Tensor) -> float:
    """Give what the code that suits each image `(N, C, H, W)` best adds to its PSNR by the encoder's code, in dB.

    What is left to the encoder is its amortization gap (Cremer et al. 2018), here of the mean code alone. The best code
    is what `CODE_STEPS` steps of Adam make of the encoder's, each of `CODE_RATE` standard deviations of codes at most.
    """
    x = to_float(images)
    start = model.encode(x).mu.detach()
    z = start.clone().requires_grad_()
    adam = torch.optim.Adam([z], lr=CODE_RATE * start.std().item())
    for _ in range(CODE_STEPS):
        adam.zero_grad()
        (model.decode(z) - x).square().sum().backward(inputs=[z])
        adam.step()
    own, best = (psnr_per_image(x, model.decode(code)).mean().item() for code in (start, z))
    return best - own


def reconstructed(model: Autoencoder, test: ImageSet, seen: ImageSet, n: int) -> dict[str, float]:
    """Measure what codes lose on test images and on ones that the model was fitted to; best codes of `n` of each."""
    of_seen = metrics.evaluate(model, seen)
    return {
        "best_code_gain": best_code_gain(model, test.images[:n]),
        "psnr_train": of_seen["psnr"],
        "ssim_train": of_seen["ssim"],
        "best_code_gain_train": best_code_gain(model, seen.images[:n]),
    }


def likelihood(model: Autoencoder, images: torch.Tensor) -> dict[str, Any]:
    """Bound the likelihood of images `(N, C, H, W)`."""
    bounds = -elbo.mean_bounds(model, images).mean(0)
    figures = {f"bound_{k}": value for k, value in zip(elbo.BOUNDS, bounds.tolist(), strict=True)}
    return figures | {"n_bounds": len(images)}


def sampled(bundle: Bundle, model: Autoencoder, test: torch.Tensor, data_dir: str | None) -> dict[str, Any]:
    """Measure the sampling ladder of a bundle that has one, by the flow that is stored."""
    if not bundle.has("ladder"):
        return {}
    train = training_images(bundle.dataset, data_dir).images
    test = test[: min(len(test), len(train), realism.MAX_IMAGES)]
    flow, codes = ladder.flow_of(bundle.ladder()), ladder.Codes.of(model, train, test)
    found = {name: tensor.tolist() for name, tensor in ladder.compare(model, codes, flow, train, test).items()}
    return {
        "ladder": {
            rung: {"swd": sum(found[f"swd/{rung}"]) / len(found[f"swd/{rung}"])}
            | dict(zip(ladder.FIGURES, found[f"figures/{rung}"], strict=True))
            for rung in ladder.RUNGS
        }
    }


def splits_of(bundle: Bundle, test: ImageSet, data_dir: str | None) -> dict[str, ImageSet]:
    """Read the other splits of a bundle's data set beside the test images."""
    validation = DATASETS[bundle.dataset].load("validation", data_dir)
    return {"train": training_images(bundle.dataset, data_dir), "validation": validation, "test": test}


def edited(bundle: Bundle, model: Autoencoder, test: ImageSet, data_dir: str | None) -> dict[str, Any]:
    """Measure edits of attributes, and the stand-in for identity, where images are labelled."""
    dataset, splits = DATASETS[bundle.dataset], splits_of(bundle, test, data_dir)
    if not edits.makes_sense(model, splits):
        return {}
    found = {name: tensor.tolist() for name, tensor in edits.measure(model, splits, dataset.attributes).items()}
    of_methods = {
        method: {
            name: dict(zip(edits.EFFECTS, row, strict=True))
            for name, row in zip(dataset.attributes, found[f"effects/{method}"], strict=True) if row[0]
        }
        for method in METHODS
    }  # fmt: skip
    judged = {"judged": dict(zip(edits.JUDGED, found["judged"], strict=True))} if "judged" in found else {}
    return {"edits": of_methods | judged}


def good_for(bundle: Bundle, model: Model, test: ImageSet, data_dir: str | None) -> dict[str, Any]:
    """Measure what the pages say a model is good for: probes, and areas under ROC curves.

    Raises:
        DataError: the training images are missing.
    """
    dataset, splits = DATASETS[bundle.dataset], splits_of(bundle, test, data_dir)
    found = uses.measure(bundle, model, splits, dataset, data_dir)
    figures: dict[str, Any] = {"auc": uses.areas({name: tensor.numpy() for name, tensor in found.items()})}
    for probe, whose in itertools.product(probes.PROBES, ("code", *uses.BASELINES)):
        if f"{probe}/{whose}" in found:
            curve = zip(found["labels"].int().tolist(), found[f"{probe}/{whose}"][:, 0].tolist(), strict=True)
            figures[probe if whose == "code" else f"{probe}_{whose}"] = {str(n): value for n, value in curve}
    return figures


def measure(bundle: Bundle, test: ImageSet, args: argparse.Namespace) -> dict[str, Any]:
    """Measure one bundle's model; see the module's docstring for the figures.

    Raises:
        BundleError: a file of the bundle cannot be used, or its weights give no finite figures.
        DataError: the training images are missing, on which autoencoders are measured beside, which tune a denoiser's
            baseline and give samples their floor.
    """
    recipe, model = bundle.config()["recipe"], bundle.load()
    measured = metrics.evaluate(model, test)
    figures = {name: measured[name] for name in FIGURES if name in measured}
    if broken := [name for name, value in figures.items() if not math.isfinite(value)]:
        raise BundleError(
            f"{bundle.folder / 'model.safetensors'} holds weights that give no finite {', '.join(broken)}. "
            f"Make it anew with: {bundle.command()}"
        )
    if isinstance(model, Autoencoder):
        train = training_images(bundle.dataset, args.data_dir)
        seen = train[torch.arange(min(len(test), len(train)))]
        figures |= reconstructed(model, test, seen, args.effort.n_bounds)
    if "negative_elbo" in figures:
        figures |= (best := elbo.calibrated(model.config, figures))
        sigmas = [model.config.sigma, best["sigma_calibrated"]] if best else []
        figures |= generative(bundle, model, test.images, sigmas, args.data_dir)
        figures |= likelihood(model, test.images[: args.effort.n_bounds])
    if args.effort.uses:
        figures |= good_for(bundle, model, test, args.data_dir)
    if args.effort.uses and isinstance(model, Autoencoder):
        figures |= sampled(bundle, model, test.images, args.data_dir) | edited(bundle, model, test, args.data_dir)
    if recipe.noise == "gaussian" and not model.config.variational:
        x = to_float(test.images)
        figures["psnr_by_sigma"] = {str(sigma): denoised_psnr(model, x, sigma) for sigma in SIGMAS}
        x_train = to_float(training_images(bundle.dataset, args.data_dir).images[: args.effort.n_tune])
        figures |= classical(x, x_train, args.effort, args.processes)
    return {"dataset": bundle.dataset, "model": bundle.model, "n_test": len(test), **figures}


def measure_family(bundle: FamilyBundle, test: ImageSet, args: argparse.Namespace) -> dict[str, Any]:
    """Measure all members of a family; see `dials.measure`.

    Raises:
        BundleError: a file of the family cannot be used.
        DataError: the validation images are missing, between whose codes codes are quantised.
    """
    config = bundle.config()
    dial, judge = config["family"]["dial"], None
    if dial == "class":
        found = (Bundle(bundle.dataset, name, bundle.root) for name in cards.models(bundle.root, bundle.dataset))
        judge = next((model for model in map(Bundle.load, found) if isinstance(model, Classifier)), None)
    splits = {"test": test, "validation": DATASETS[bundle.dataset].load("validation", args.data_dir)}
    figures, _ = dials.measure(dial, config["fits"], bundle.tensors(), bundle.load(), splits, judge)
    return {"dataset": bundle.dataset, "model": bundle.model, "n_test": len(test), **figures}


def family_rows(figures: dict[str, Any]) -> Iterator[Row]:
    """List the figures of a family that are single numbers, those of PCA at the lengths of its members."""
    for name, own in figures["members"].items():
        yield from ((f"{name}: {kind}", value, None) for kind, value in own.items() if not isinstance(value, list))
    errors = figures.get("pca", {}).get("mse", [])
    yield from ((f"pca-{n}: mse", errors[n - 1], None) for n in families.LENGTHS if n <= len(errors))
    for name, own in figures.get("apart", {}).items():
        yield from ((f"{name}: {kind}", own[kind], None) for kind in SCORES)
    shares = figures.get("recognised", {})
    yield from ((f"recognised: {kind}", value, None) for kind, value in shares.items() if kind != "by_class")


def table_rows(figures: dict[str, Any]) -> Iterator[Row]:
    """List the figures of one model, one row each."""
    if "members" in figures:
        yield from family_rows(figures)
        return
    yield from ((name, figures[name], None) for name in FIGURES + GENERATIVE_FIGURES if name in figures)
    yield from generative_rows(figures)
    for name in [f"bound_{k}" for k in elbo.BOUNDS] + [*RECONSTRUCTED, *CALIBRATED]:
        if name in figures:
            yield name, figures[name], None
    yield from face_rows(figures)
    for probe in probes.PROBES:
        for n, value in figures.get(probe, {}).items():
            yield f"{probe}, {n} labels", value, figures[f"{probe}_pixels"][n]
    for strangers, areas in figures.get("auc", {}).items():
        yield from ((f"auc of {score}, {strangers}", value, 0.5) for score, value in areas.items())
    for sigma, value in figures.get("psnr_by_sigma", {}).items():
        yield f"psnr, σ={sigma}", value, None
        for variant in VARIANTS:
            name = figures[f"best_{variant}_filter_by_sigma"][sigma]["filter"]
            yield f"{variant} psnr, σ={sigma} ({name})", figures[f"best_{variant}_psnr_by_sigma"][sigma], None
        yield f"gain over classical, σ={sigma}", value - figures["best_classical_psnr_by_sigma"][sigma], None


def face_rows(figures: dict[str, Any]) -> Iterator[Row]:
    """List the rungs of the ladder, and what edits do: means over attributes, and one after the other."""
    for rung, own in figures.get("ladder", {}).items():
        yield from ((f"{kind}, codes from {rung}", value, None) for kind, value in own.items())
    found = dict(figures.get("edits", {}))
    yield from ((f"identity: {kind}", value, None) for kind, value in found.pop("judged", {}).items())
    for method, own in found.items():
        for kind in edits.EFFECTS:
            values = [row[kind] for row in own.values()]
            yield f"{kind}, mean of {len(values)} attributes, {method}", float(np.mean(values)), None
    for method, own in found.items():
        yield from ((f"{kind}, {name}, {method}", row[kind], None) for name, row in own.items() for kind in row)


def generative_rows(figures: dict[str, Any]) -> Iterator[Row]:
    """List the figures that have a floor; none for a model that is not sampled."""
    for name in ("swd", "swd_reconstructions"):
        for level, value in figures.get(name, {}).items():
            blurred = " (blurred here)" if name == "swd" and level == figures["blurred_at"] else ""
            yield f"{name}, {level}{blurred}", value, figures["swd_floor"][level]
        for sigma, levels in figures.get(f"{name}_noisy", {}).items():
            yield f"{name}, mean, with noise of σ={sigma}", levels["mean"], figures["swd_floor"]["mean"]
    yield from ((name, figures[name], figures[floor]) for name, floor in FLOORS.items() if name in figures)


LINE = "{:<13} {:<58} {:>10} {:>10} {:>8} {:>9}  {}"


def number(value: float) -> str:
    """Write a figure with the digits that matter."""
    return f"{value:.5f}" if abs(value) < 1 else f"{value:.2f}"


def print_table(figures: dict[str, Any]) -> None:
    """Print one model's lines; reports and targets speak of its home data set only."""
    name = figures["model"]
    ours = name in ROSTER and figures["dataset"] == ROSTER[name].home
    for row, value, floor in table_rows(figures):
        reported = ROSTER[name].reported.get(row) if ours else None
        sign, bound = TARGETS.get((name, row), ("", None)) if ours else ("", None)
        print(
            LINE.format(
                name, row, number(value),
                "–" if floor is None else number(floor),
                "–" if reported is None else f"{reported:g}",
                "–" if bound is None else f"{sign} {bound:g}",
                "" if bound is None else "yes" if COMPARE[sign](value, bound) else "NO",
            ).rstrip(), flush=True,
        )  # fmt: skip


def note(text: str) -> None:
    """Say on the error stream how far things are; standard output holds the result only."""
    print(text, file=sys.stderr, flush=True)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line; a mistake ends the program with exit code 2 and says what is known."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality",
        description="Measure every model afresh from its bundle's weights on the test split.",
        epilog=f"models: {', '.join(ROSTER)}; families: {', '.join(FAMILIES)}",
    )
    parser.add_argument(
        "models",
        nargs="*",
        type=one_of([*ROSTER, *FAMILIES], "model"),
        metavar="MODEL",
        help="which models and families to measure (default: all of the data set)",
    )
    dataset = one_of(DATASETS, "data set")
    parser.add_argument(
        "--dataset", type=dataset, help=f"one of {', '.join(DATASETS)} (default: that of the first model's report)"
    )
    parser.add_argument("--data-dir", help="data folder (default: EXPLORER_DATA, else data/)")
    parser.add_argument("--checkpoints", help="bundles (default: EXPLORER_CHECKPOINTS, else checkpoints/)")
    parser.add_argument("--json", action="store_true", help="print one JSON line per model, not a table")
    parser.add_argument(
        "--quick", dest="effort", action="store_const", const=QUICK, default=Effort(),
        help="a smoke test: 50 test images, the filters hardly tuned; not figures to quote",
    )  # fmt: skip
    parser.add_argument(
        "--processes", type=at_least(1), default=os.cpu_count() or 1, help="for the filters (default: all cores)"
    )
    args = parser.parse_args(argv)
    first = args.models[0] if args.models else next(iter(ROSTER))
    args.dataset = args.dataset or {**ROSTER, **FAMILIES}[first].home
    try:
        named, args.models = args.models, families.choose(args.models, args.dataset)[args.dataset]
    except ValueError as error:
        parser.error(str(error))
    args.root = root_folder(args.checkpoints)
    there = [] if named else [name for name in FAMILIES if name in cards.families(args.root, args.dataset)]
    args.models = list(dict.fromkeys([*args.models, *there]))
    return args


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    speak_any_encoding()
    args = parse_arguments(argv)
    try:
        test = DATASETS[args.dataset].load("test", args.data_dir)
    except (DataError, OSError) as error:
        note(f"quality: {error}")
        return 1
    if args.effort.n_test:
        test = test[torch.arange(min(args.effort.n_test, len(test)))]
    if not args.json:
        print(LINE.format("model", "figure", "value", "floor", "report", "target", "met"))
    failed = []
    for name in args.models:
        note(f"{name}: measuring on {len(test):,} test images of {DATASETS[args.dataset].title}")
        try:
            if name in FAMILIES:
                figures = measure_family(FamilyBundle(args.dataset, name, args.root), test, args)
            else:
                figures = measure(Bundle(args.dataset, name, args.root), test, args)
        except (BundleError, DataError, OSError, ImportError) as error:  # without scikit-image: ImportError
            failed.append(name)
            note(f"{name}: failed: {error}")
            continue
        if args.json:
            print(json.dumps(figures, ensure_ascii=False), flush=True)
        else:
            print_table(figures)
    if failed:
        note(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
