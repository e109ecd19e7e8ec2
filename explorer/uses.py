"""What a model is good for, measured once for a bundle: what its codes know of classes, whom it takes for a stranger.

The file `uses.safetensors` holds float32 tensors by name:

    labels             how many labels a probe was fitted to `(S,)`
    PROBE/code         accuracy in [0, 1] on test images over these, mean and standard deviation `(S, 2)`; also of the
    PROBE/pixels, PROBE/pca     pixels themselves and of their principal components
    SCORE/SET          the score of each image of a set `(N,)`, see `anomalies`; the usual ones are those of the gallery
                       at `usual_places`
    SCORE/left out: CLASS, SCORE/the others   the same of the images of a class and of the others, by the same
                       architecture fitted without that class for `LEFT_OUT_EPOCHS` epochs
    bounds             L_K in nats of the first test images for the K of `elbo.BOUNDS` `(N, 4)`, of variational models
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from explorer import anomalies, elbo, metrics, probes, training
from explorer.checkpoints import Bundle
from explorer.datasets import Dataset, ImageSet, gallery_indices
from explorer.language import later
from explorer.models import Autoencoder, Model

PROBE_TEST = 2000  # test images that a probe is judged on: of accuracies of 0.9 the standard error is 0.007
COMPONENTS = 64  # of the principal components that probes are compared with
LEFT_OUT_EPOCHS = 3
BOUND_IMAGES = 100
OTHERS = later("the others")
BASELINES = {"pixels": later("raw pixels"), "pca": later("PCA, {n} numbers", n=COMPONENTS)}

_pixel_curves: dict[str, dict[str, torch.Tensor]] = {}  # of one data set, by the digest of its training images


def usual_places(n_gallery: int) -> np.ndarray:
    """List the places in the gallery of the images that stand for usual ones, evenly spread."""
    return np.arange(0, n_gallery, max(1, n_gallery // anomalies.NUMBER))[: anomalies.NUMBER]


def sets_of(found: Mapping[str, np.ndarray]) -> list[str]:
    """List the sets of strangers that were scored."""
    parts = (name.partition("/") for name in found)
    return sorted({whose for what, _, whose in parts if what in anomalies.SCORES} - {anomalies.USUAL, OTHERS})


def scores_of(found: Mapping[str, np.ndarray]) -> list[str]:
    """List the scores that a model gives."""
    return [score for score in anomalies.SCORES if f"{score}/{anomalies.USUAL}" in found]


def usual_for(strangers: str) -> str:
    """Name what a set of strangers is compared with."""
    return OTHERS if strangers.startswith(anomalies.LEFT_OUT) else anomalies.USUAL


def separated(found: Mapping[str, np.ndarray], score: str, strangers: str) -> probes.Separation:
    """Compare a score of strangers with that of the usual images."""
    return probes.separation(found[f"{score}/{usual_for(strangers)}"], found[f"{score}/{strangers}"])


def areas(found: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Compute the area under the ROC curve of each score for each set of strangers, by set and score."""
    return {name: {score: separated(found, score, name).area for score in scores_of(found)} for name in sets_of(found)}


def measure(
    bundle: Bundle, model: Model, splits: Mapping[str, ImageSet], dataset: Dataset, data_dir: Path | str | None = None
) -> dict[str, torch.Tensor]:
    """Measure all of the above, on the model's device; the last class is the one left out."""
    tensors = class_curves(model, splits) if len(dataset.classes) > 1 else {}
    test = splits["test"]
    gallery = test[gallery_indices(test.labels, dataset.gallery_size)]
    usual = gallery[torch.from_numpy(usual_places(len(gallery)))]
    tensors |= stranger_scores(model, splits["train"].images, usual.images, dataset, data_dir)
    if isinstance(model, Autoencoder):
        if len(dataset.classes) > 2:
            tensors |= left_out_scores(bundle, splits, usual, len(dataset.classes) - 1, dataset)
        if model.config.variational:
            tensors["bounds"] = elbo.mean_bounds(model, test.images[:BOUND_IMAGES])
    return tensors


def class_curves(model: Model, splits: Mapping[str, ImageSet]) -> dict[str, torch.Tensor]:
    """Measure the probes on a model's codes, beside those on pixels and their principal components."""
    known = [splits[name] for name in ("train", "validation")]
    labels = torch.cat([data.labels for data in known]).cpu().numpy()
    truth = splits["test"].labels[:PROBE_TEST].cpu().numpy()

    def measured(name: str, codes: np.ndarray, others: np.ndarray) -> dict[str, torch.Tensor]:
        curves = {probe: probes.curve(read, codes, labels, others, truth) for probe, read in probes.PROBES.items()}
        return {f"{probe}/{name}": torch.from_numpy(curve) for probe, curve in curves.items()}

    digest = splits["train"].digest
    if digest not in _pixel_curves:
        _pixel_curves.clear()
        x = np.concatenate([pixels(data.images) for data in known])
        others = pixels(splits["test"].images[:PROBE_TEST])
        _pixel_curves[digest] = measured("pixels", x, others) | measured(
            "pca", *probes.components(x, others, COMPONENTS)
        )
    codes = np.concatenate([metrics.embed(model, data.images).numpy() for data in known])
    others = metrics.embed(model, splits["test"].images[:PROBE_TEST]).numpy()
    tensors = {"labels": torch.tensor(probes.sizes(len(labels)), dtype=torch.float32)}
    return tensors | measured("code", codes, others) | _pixel_curves[digest]


def pixels(images: torch.Tensor) -> np.ndarray:
    """Flatten uint8 images to float32 `(N, P)` in [0, 1]."""
    return (images.flatten(1).float() / 255).cpu().numpy()


def stranger_scores(
    model: Model, train: torch.Tensor, usual: torch.Tensor, dataset: Dataset, data_dir: Path | str | None
) -> dict[str, torch.Tensor]:
    """Score the usual images and every set of strangers."""
    known = anomalies.reference(model, train)
    sets = {anomalies.USUAL: usual} | anomalies.made(usual.cpu())
    sets |= anomalies.found(dataset.name, dataset.image_shape, data_dir)
    return _named({name: anomalies.scores(model, images, known) for name, images in sets.items()})


def left_out_scores(
    bundle: Bundle, splits: Mapping[str, ImageSet], usual: ImageSet, k: int, dataset: Dataset
) -> dict[str, torch.Tensor]:
    """Fit the same architecture without class `k`, and score the usual images of that class and of the others."""
    config, device = bundle.config(), usual.images.device
    recipe = replace(config["recipe"], epochs=min(config["recipe"].epochs, LEFT_OUT_EPOCHS))
    train, validation = (splits[name][splits[name].labels != k] for name in ("train", "validation"))
    torch.manual_seed(0)
    model = config["architecture"].build().to(device, memory_format=torch.channels_last)
    for _ in training.fit(model, train, validation, recipe, seed=0):
        pass
    known = anomalies.reference(model.eval(), train.images)
    parts = {anomalies.LEFT_OUT + dataset.classes[k]: usual.labels == k, OTHERS: usual.labels != k}
    return _named({name: anomalies.scores(model, usual.images[which], known) for name, which in parts.items()})


def _named(scored: Mapping[str, Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {f"{score}/{name}": values for name, scores in scored.items() for score, values in scores.items()}
