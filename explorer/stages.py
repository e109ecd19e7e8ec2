"""What follows the fitting of a model: its figures on the test split, and the codes and projections of the gallery."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from explorer import cards, celeba, checkpoints, elbo, metrics, projection, realism
from explorer.cards import DataCard
from explorer.checkpoints import Bundle
from explorer.datasets import SPLITS, Dataset, ImageSet, gallery_indices
from explorer.models import Autoencoder, Model

NOISE_IMAGES = 1000  # of the gallery, for the curves of PSNR over noise
LABELLED_IMAGES = 10_000  # whose codes are kept for the directions of attributes


def measure(bundle: Bundle, model: Model, splits: Mapping[str, ImageSet]) -> dict[str, object]:
    """Measure one fitted model on the whole test split and write the figures."""
    test = splits["test"]
    figures = metrics.evaluate(model, test)
    if isinstance(model, Autoencoder):
        figures |= (best := elbo.calibrated(model.config, figures))
        gallery = test.images[gallery_indices(test.labels, NOISE_IMAGES)]
        figures["psnr_by_noise"] = metrics.psnr_by_noise(model, gallery)
        figures["psnr_by_noise_classical"] = metrics.psnr_by_noise(None, gallery)
        train = splits["train"]
        if model.config.variational and realism.measurable(test.images) and min(len(test), len(train)) > 1:
            sigmas = [model.config.sigma, best["sigma_calibrated"]] if best else []
            figures |= realism.generative_figures(model, test.images, train.images, sigmas=sigmas)
    bundle.write_metrics(figures)
    return figures


def embed_gallery(bundle: Bundle, model: Model, splits: Mapping[str, ImageSet], dataset: Dataset) -> list[str]:
    """Store the codes of the gallery and their projections; return what had to be left out, in words.

    Codes of more than two numbers, and their spreads, are stored in half precision: a relative error below 0.001 at
    half the size.
    """
    test = splits["test"]
    indices = gallery_indices(test.labels, dataset.gallery_size)
    gallery = test[indices]
    codes = metrics.embed(model, gallery.images)
    made, left_out = projection.project(codes.numpy())
    tensors = {name: torch.from_numpy(value) for name, value in made.items()}
    tensors["codes"] = _shortened(codes)
    if not isinstance(model, Autoencoder):
        tensors["test_logits"] = metrics.logits(model, test)
        tensors["test_labels"] = test.labels.to(torch.uint8)
    elif model.config.variational:
        tensors["log_var"] = _shortened(metrics.log_variances(model, gallery.images))
    if gallery.attributes is not None:
        tensors["attributes"] = gallery.attributes
        tensors |= labelled_codes(model, splits)
    keep_gallery(bundle.root, dataset, indices, gallery)
    bundle.write_codes(tensors)
    return left_out


def _shortened(codes: torch.Tensor) -> torch.Tensor:
    """Halve the precision of codes or spreads `(M, D)` of more than two numbers."""
    return codes.half() if codes.shape[1] > 2 else codes


def keep_gallery(root: Path, dataset: Dataset, indices: torch.Tensor, gallery: ImageSet) -> None:
    """Keep what the images of a data set are, which of its test images `(M,)` are the gallery, and one's own images."""
    card = DataCard.of(dataset)
    cards.write_dataset(root, card)
    if card.reader == cards.STORED:
        checkpoints.write_gallery_images(root, dataset.name, gallery.images)
    checkpoints.write_gallery(root, dataset.name, indices, gallery)


def labelled(splits: Mapping[str, ImageSet]) -> tuple[ImageSet, torch.Tensor]:
    """Take the images of all splits whose attributes are known, and the place in `SPLITS` of each, uint8 `(L,)`.

    Of more than `LABELLED_IMAGES` a seeded part is taken.
    """
    parts = [splits[name] for name in SPLITS]
    rows = [
        torch.arange(0) if data.attributes is None
        else (data.attributes != celeba.UNKNOWN).any(1).nonzero().flatten()
        for data in parts
    ]  # fmt: skip
    split = torch.cat([torch.full((len(known),), i, dtype=torch.uint8) for i, known in enumerate(rows)])
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))[:LABELLED_IMAGES].sort().values
    split, rows = split[order], torch.cat(rows)[order]
    return joined([data[rows[split == i]] for i, data in enumerate(parts)]), split


def joined(parts: Sequence[ImageSet]) -> ImageSet:
    """Put sets of the same kind of images together, with their attributes and who is shown."""
    fields = {name: [getattr(data, name) for data in parts] for name in ("images", "labels", "attributes", "people")}
    there = {name: values for name, values in fields.items() if all(value is not None for value in values)}
    return ImageSet(classes=parts[0].classes, **{name: torch.cat(values) for name, values in there.items()})


def labelled_codes(model: Model, splits: Mapping[str, ImageSet]) -> dict[str, torch.Tensor]:
    """Make the codes `(L, D)` of images of all splits whose attributes are known, and these `(L, A)`.

    With the place in `SPLITS` of each `(L,)`, since an encoder may know its training images by heart, and with who is
    shown `(L,)` where that is known, numbered anew.
    """
    known, split = labelled(splits)
    if not len(known):
        return {}
    found = {
        "labelled_codes": metrics.embed(model, known.images).half(),
        "labelled_attributes": known.attributes,
        "labelled_split": split,
    }
    if known.people is not None:
        numbers = known.people.unique(return_inverse=True)[1]
        found["labelled_people"] = torch.where(known.people < 0, -1, numbers).short()
    return found
