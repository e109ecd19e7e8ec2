"""Measure families on the test split, from the weights as they are stored: what the dials of their pages show.

Members are named as in `families`; `D` is the length of a code, `M` the number of gallery images. Figures of `measure`:

    members       for each autoencoder "mse", and of a variational one "reconstruction" and "kl" (nats per image, the
                  parts of the negative ELBO at beta 1), "kl_per_number" (nats), "active" (numbers of which the mean
                  varies by more than 0.01; Burda et al. 2016); for each classifier "accuracy" and "cross_entropy"
    apart         for each member, where the factors that images were drawn by are known, "mig", "sap", and the parts of
                  DCI by their names (see `disentanglement`), and "told", what share of each factor each number tells
                  `(D, F)` (dial "beta")
    pca           "mse" of PCA with 1, 2, 3 ... numbers, pixels clipped to [0, 1] (dial "length")
    quantised     mse of the gallery for each member and for PCA of each length, over bits a number (dial "length")
    codecs        mse and bits of JPEG and WebP on the gallery (dial "length"; see `codec_curve`)
    recognised    share of generated images that a classifier takes for the class asked for, and of test images
                  that it gets right (dial "class")
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, features

from explorer import disentanglement, losses, metrics
from explorer.datasets import ImageSet, gallery_indices
from explorer.families import PCA, Fit
from explorer.images import grid, to_float, to_uint8
from explorer.models import Autoencoder, Classifier, ConditionalAutoencoder, Given, Model
from explorer.projection import pca as principal_axes

BITS = (1, 2, 3, 4, 5, 6, 7, 8)
TAILS = 0.005  # of the validation codes lie below the lowest level of a quantised number, and as many above
ACTIVE = 0.01
QUALITIES = (2, 5, 10, 20, 35, 50, 70, 85, 95)
SHEET = 10  # images on a side of a sheet
DRAWS = 1000  # generated images of each class
CALIBRATION = 5000  # validation images


def measure(
    dial: str, fits: Sequence[Fit], tensors: Mapping[str, torch.Tensor], models: Mapping[str, Model],
    splits: Mapping[str, ImageSet], judge: Classifier | None = None,
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:  # fmt: skip
    """Measure a family on the test split; return its figures, and codes of the gallery, both as they are stored.

    tensors: what is stored beside the members' weights. judge: a classifier that says what generated images are.
    """
    test = splits["test"]
    gallery = test[gallery_indices(test.labels)]
    figures: dict[str, Any] = {"members": {name: member_figures(model, test) for name, model in models.items()}}
    codes: dict[str, torch.Tensor] = {}
    for name, model in models.items():
        codes |= {f"{name}/{kind}": values for kind, values in member_codes(model, gallery, dial == "beta").items()}
    if dial == "length":
        basis, mean = (tensors[f"{PCA}/{part}"].float() for part in ("basis", "mean"))
        codes[f"{PCA}/codes"] = ((to_float(gallery.images).flatten(1) - mean) @ basis.T).half()
        figures["pca"] = {"mse": pca_errors(basis, mean, test.images)}
        some = splits["validation"].images[:CALIBRATION]
        codes |= levels_of(models, basis, mean, some)
        figures["quantised"] = quantised_errors(fits, models, codes, basis, mean, to_float(gallery.images))
        figures["codecs"] = {kind: codec_curve(kind, to_float(gallery.images).numpy()) for kind in CODECS}
    if dial == "beta" and test.factors is not None:
        figures["apart"] = {name: apart(model, test) for name, model in models.items()}
    if dial == "epoch":
        codes |= maps(fits, codes)
    if dial == "class":
        figures["recognised"] = recognised(next(iter(models.values())), judge, test) if judge else {}
    return figures, codes


@torch.inference_mode()
def member_figures(model: Model, test: ImageSet, seed: int = 0) -> dict[str, Any]:
    """Measure one member on a whole split, on the CPU; see the module's docstring."""
    if isinstance(model, Classifier):
        figures = metrics.evaluate(model, test)
        return {name: figures[name] for name in ("accuracy", "cross_entropy")}
    generator = torch.Generator().manual_seed(seed)
    sums: dict[str, torch.Tensor] = {}
    means = []

    def add(name: str, values: torch.Tensor) -> None:
        sums[name] = sums.get(name, 0.0) + values.double().sum(0)

    for images, labels in zip(test.images.split(metrics.BATCH), test.labels.split(metrics.BATCH), strict=True):
        x, told = to_float(images), given(model, labels)
        add("mse", metrics.mse_per_image(x, told(x)))
        if model.config.variational:
            posterior = told.encode(x)
            means.append(posterior.mu)
            add("kl_per_number", losses.kl_to_standard_normal(posterior))
            for name, values in losses.negative_elbo(told, x, generator).items():
                add(name, values)
    result = {name: (total / len(test)).tolist() for name, total in sums.items()}
    if model.config.variational:
        result["active"] = int((torch.cat(means).var(0) > ACTIVE).sum())
    return result


def apart(model: Autoencoder, test: ImageSet) -> dict[str, Any]:
    """Measure how well a code parts the factors of images; see the module's docstring."""
    codes, factors = metrics.embed(model, test.images).numpy(), test.factors.numpy()
    told = disentanglement.told(codes, factors)
    return {**disentanglement.scores(codes, factors), "told": np.round(told, 4).tolist()}


def given(model: Autoencoder, labels: torch.Tensor) -> Autoencoder | Given:
    """Tell a conditional model the classes, int64 `(B,)`; any other is as it is."""
    return model.given(labels) if isinstance(model, ConditionalAutoencoder) else model


@torch.inference_mode()
def member_codes(model: Model, gallery: ImageSet, spread: bool) -> dict[str, torch.Tensor]:
    """Compute the "codes" `(M, D)` of the gallery in half precision; with `spread`, "log_var" of their posteriors."""
    x = to_float(gallery.images)
    if isinstance(model, Classifier):
        return {"codes": model.embed(x).half()}
    posterior = given(model, gallery.labels).encode(x)
    made = {"codes": posterior.mu, **({"log_var": posterior.log_var} if spread else {})}
    return {name: values.half() for name, values in made.items()}


@torch.inference_mode()
def pca_errors(basis: torch.Tensor, mean: torch.Tensor, images: torch.Tensor) -> list[float]:
    """Measure the mean squared error of PCA with 1 to D numbers, its pixels clipped to [0, 1]."""
    x = to_float(images).flatten(1)
    x_hat = mean.repeat(len(x), 1)
    errors = []
    for direction, coordinate in zip(basis, ((x - mean) @ basis.T).T, strict=True):
        x_hat.addr_(coordinate, direction)
        errors.append((x_hat.clamp(0, 1) - x).square().mean(dtype=torch.float64).item())
    return errors


def equal_length(errors: Sequence[float], error: float) -> float | None:
    """Say how many numbers PCA needs for an error, `errors` being those of 1, 2, 3 ... numbers.

    Between two lengths the logarithm of the error is taken to fall evenly. None: more than there are; 0: less than one.
    """
    if error < errors[-1]:
        return None
    if error > errors[0]:
        return 0.0
    lengths = np.arange(1, len(errors) + 1)
    return float(np.interp(-np.log(error), -np.log(errors), lengths))


@torch.inference_mode()
def levels_of(
    models: Mapping[str, Model], basis: torch.Tensor, mean: torch.Tensor, images: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Find the ends of each number's quantised range from validation images: "<member>/range" `(2, D)`."""
    x = to_float(images)
    all_codes = {name: model.embed(x) for name, model in models.items()}
    all_codes[PCA] = (x.flatten(1) - mean) @ basis.T
    ends = torch.tensor([TAILS, 1 - TAILS])
    return {f"{name}/range": codes.quantile(ends, dim=0).half() for name, codes in all_codes.items()}


def quantise(codes: torch.Tensor, ends: torch.Tensor, bits: int) -> torch.Tensor:
    """Round codes `(M, D)` to the middles of 2^bits equal cells between `ends` `(2, D)` of each number."""
    low, high = ends.float()
    n = 2**bits
    cell = ((high - low) / n).clamp(min=1e-12)
    return low + (((codes.float() - low) / cell).floor().clamp(0, n - 1) + 0.5) * cell


@torch.inference_mode()
def quantised_errors(
    fits: Sequence[Fit], models: Mapping[str, Model], codes: Mapping[str, torch.Tensor], basis: torch.Tensor,
    mean: torch.Tensor, x: torch.Tensor,
) -> dict[str, list[float]]:  # fmt: skip
    """Measure the gallery's error `(M, C, H, W)` at each of `BITS`, for each member and "pca-<length>"."""

    def errors(decode: Any, z: torch.Tensor, ends: torch.Tensor) -> list[float]:
        rebuilt = (decode(quantise(z, ends, bits)) for bits in BITS)
        return [(x_hat - x).square().mean(dtype=torch.float64).item() for x_hat in rebuilt]

    made = {
        name: errors(model.decode, codes[f"{name}/codes"], codes[f"{name}/range"]) for name, model in models.items()
    }
    for length in sorted({fit.values["length"] for fit in fits}):
        z, ends = codes[f"{PCA}/codes"][:, :length], codes[f"{PCA}/range"][:, :length]
        made[f"{PCA}-{length}"] = errors(lambda z, n=length: (z @ basis[:n] + mean).clamp(0, 1).view(x.shape), z, ends)
    return made


CODECS = {"jpeg": "JPEG", **({"webp": "WEBP"} if features.check("webp") else {})}


def codec_curve(kind: str, x: np.ndarray) -> dict[str, list[list[float]]]:
    """Encode images `(M, C, H, W)` at `QUALITIES`: points [bits per image, mse], in two ways.

    "alone": a file for each image, with the headers and tables that make most of it. "sheet": 100 images to a file,
    each with its border repeated to whole blocks of 16 pixels, so that what every file repeats is shared out.
    """
    pads = [(0, 0), (0, 0), *((0, -n % 16) for n in x.shape[2:])]
    padded = np.pad(x, pads, mode="edge")
    sheets = [grid(padded[i : i + SHEET**2], SHEET, gap=0) for i in range(0, len(x), SHEET**2)]
    alone, together = [], []
    for quality in QUALITIES:
        pairs = [_through(kind, image, quality) for image in x]
        error = np.mean([np.square(back - image).mean() for (back, _), image in zip(pairs, x, strict=True)])
        alone.append([8 * float(np.mean([size for _, size in pairs])), float(error)])
        backs = [_through(kind, sheet, quality) for sheet in sheets]
        rebuilt = np.concatenate([_cut(back, padded.shape) for back, _ in backs])[
            : len(x), :, : x.shape[2], : x.shape[3]
        ]
        together.append([8 * sum(size for _, size in backs) / len(x), float(np.square(rebuilt - x).mean())])
    return {"alone": alone, "sheet": together}


def _through(kind: str, image: np.ndarray, quality: int) -> tuple[np.ndarray, int]:
    """Encode an image `(C, H, W)` and decode it again, with the number of bytes between."""
    pixels = to_uint8(image)
    picture = Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1))
    buffer = io.BytesIO()
    options = {"optimize": True} if kind == "jpeg" else {"method": 4}
    picture.save(buffer, CODECS[kind], quality=quality, **options)
    with Image.open(io.BytesIO(buffer.getvalue())) as back:
        values = np.asarray(back.convert(picture.mode), np.float32).reshape(*image.shape[1:], len(image)) / 255.0
    return np.moveaxis(values, -1, 0), len(buffer.getvalue())


def _cut(sheet: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Cut a sheet `(C, R h, K w)` of images `shape` = `(., C, h, w)` into them, row by row."""
    channels, height, width = shape[1:]
    rows = sheet.reshape(channels, -1, height, SHEET, width)
    return rows.transpose(1, 3, 0, 2, 4).reshape(-1, channels, height, width)


def maps(fits: Sequence[Fit], codes: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Lay the codes of every state of a fitting on a plane, "<member>/map" `(M, 2)`; last states first.

    Two numbers are a plane already. Longer codes are projected by PCA, each state's picture turned, mirrored and sized
    so that it is as near to the next state's as it can be (orthogonal Procrustes; Schönemann 1966): what then moves
    from state to state has moved in the code.
    """
    made: dict[str, torch.Tensor] = {}
    for fit in fits:
        after = None
        for member in reversed(fit.members):
            points = codes[f"{member}/codes"].float()
            if points.shape[1] > 2:
                points = torch.from_numpy(principal_axes(points.numpy(), 2)[0])
                points = _aligned(points, after) if after is not None else points / points.std()
            after = points
            made[f"{member}/map"] = points.half()
    return made


def _aligned(points: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Turn, mirror and size points `(M, 2)` so that they are as near to `target` as can be, at its spread."""
    u, _, v = torch.linalg.svd(points.T @ target)
    turned = points @ (u @ v)
    return turned * (target.std() / turned.std().clamp(min=1e-6))


@torch.inference_mode()
def recognised(model: ConditionalAutoencoder, judge: Classifier, test: ImageSet, seed: int = 0) -> dict[str, Any]:
    """Let a classifier say what images of the prior are: shares in [0, 1] of the class asked for, by class and in all.

    "test": the share of real test images that it gets right; "rebuilt": of those that the model has rebuilt.
    """
    generator = torch.Generator().manual_seed(seed)
    shares = []
    for k in range(model.config.n_classes):
        z = torch.randn(DRAWS, model.code_length, generator=generator)
        x = model.given(torch.full((DRAWS,), k)).decode(z)
        shares.append((judge(x).argmax(1) == k).double().mean().item())
    real, rebuilt = [], []
    for images, labels in zip(test.images.split(metrics.BATCH), test.labels.split(metrics.BATCH), strict=True):
        x = to_float(images)
        real.append(judge(x).argmax(1) == labels)
        rebuilt.append(judge(model.given(labels)(x)).argmax(1) == labels)
    right = {name: torch.cat(hits).double().mean().item() for name, hits in (("test", real), ("rebuilt", rebuilt))}
    return {"by_class": shares, "generated": float(np.mean(shares)), **right}
