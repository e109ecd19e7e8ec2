"""What follows the fitting of a model: its figures on the test split, and the codes and projections of the gallery."""

from collections.abc import Mapping
from pathlib import Path

import torch

from explorer import cards, celeba, checkpoints, metrics, projection, realism
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
        gallery = test.images[gallery_indices(test.labels, NOISE_IMAGES)]
        figures["psnr_by_noise"] = metrics.psnr_by_noise(model, gallery)
        figures["psnr_by_noise_classical"] = metrics.psnr_by_noise(None, gallery)
        train = splits["train"]
        if model.config.variational and realism.measurable(test.images) and min(len(test), len(train)) > 1:
            figures |= realism.generative_figures(model, test.images, train.images)
    bundle.write_metrics(figures)
    return figures


def embed_gallery(bundle: Bundle, model: Model, splits: Mapping[str, ImageSet], dataset: Dataset) -> list[str]:
    """Store the codes of the gallery and their projections; return what had to be left out, in words.

    Codes of more than two numbers are stored in half precision: a relative error below 0.001 at half
    the size.
    """
    test = splits["test"]
    indices = gallery_indices(test.labels, dataset.gallery_size)
    gallery = test[indices]
    codes = metrics.embed(model, gallery.images)
    made, left_out = projection.project(codes.numpy())
    tensors = {name: torch.from_numpy(value) for name, value in made.items()}
    tensors["codes"] = codes.half() if codes.shape[1] > 2 else codes
    if not isinstance(model, Autoencoder):
        tensors["test_logits"] = metrics.logits(model, test)
        tensors["test_labels"] = test.labels.to(torch.uint8)
    elif model.config.variational:
        tensors["log_var"] = metrics.log_variances(model, gallery.images)
    if gallery.attributes is not None:
        tensors["attributes"] = gallery.attributes
        tensors |= labelled_codes(model, splits)
    keep_gallery(bundle.root, dataset, indices, gallery)
    bundle.write_codes(tensors)
    return left_out


def keep_gallery(root: Path, dataset: Dataset, indices: torch.Tensor, gallery: ImageSet) -> None:
    """Keep what the images of a data set are, which of its test images `(M,)` are the gallery, and one's own images."""
    card = DataCard.of(dataset)
    cards.write_dataset(root, card)
    if card.reader == cards.STORED:
        checkpoints.write_gallery_images(root, dataset.name, gallery.images)
    checkpoints.write_gallery(root, dataset.name, indices, gallery)


def labelled_codes(model: Model, splits: Mapping[str, ImageSet]) -> dict[str, torch.Tensor]:
    """Make the codes `(L, D)` of images of all splits whose attributes are known, and these `(L, A)`.

    With the place in `SPLITS` of each `(L,)`, since an encoder may know its training images by heart. Of more than
    `LABELLED_IMAGES` a seeded part is taken.
    """
    parts = [splits[name] for name in SPLITS]
    known = [data[(data.attributes != celeba.UNKNOWN).any(1).nonzero().flatten()] for data in parts]
    images, attributes = (torch.cat([getattr(d, field) for d in known]) for field in ("images", "attributes"))
    split = torch.cat([torch.full((len(data),), i, dtype=torch.uint8) for i, data in enumerate(known)])
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:LABELLED_IMAGES].sort().values
    if not len(order):
        return {}
    codes = metrics.embed(model, images[order])
    return {
        "labelled_codes": codes.half(),
        "labelled_attributes": attributes[order],
        "labelled_split": split[order],
    }
