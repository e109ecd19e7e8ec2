"""Image data sets as uint8 tensors, and the table `DATASETS` that drives everything.

Splits: "train" and "validation" part the official training images by a fixed seed (55,000/5,000
for the 60,000-image sets), or are the official parts (CelebA); "test" is the official test set and is
touched by metrics only.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from explorer import celeba, mnist, shapes
from explorer.language import choices, later

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SPLIT_SEED = 0


class DataError(RuntimeError):
    """The data are missing or damaged; the message says which file and the command that mends it."""


@dataclass(frozen=True)
class ImageSet:
    """Images with what is known of them; images and labels on one device.

    images: uint8 `(N, C, H, W)`. labels: int64 `(N,)`. classes: the label names. attributes: int8 `(N, A)`,
    1 has it, 0 has it not, -1 unknown, or None. names: file names `(N,)`, where images are files.
    notes: what was missing or made up when they were read, in sentences. factors: int64 `(N, F)`, the values from 0 of
    what images were drawn by, where that is known. people: int64 `(N,)`, who is shown, -1 unknown, or None.
    """

    images: torch.Tensor
    labels: torch.Tensor
    classes: tuple[str, ...]
    attributes: torch.Tensor | None = None
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    factors: torch.Tensor | None = None
    people: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: torch.Tensor) -> "ImageSet":
        return replace(
            self,
            images=self.images[index],
            labels=self.labels[index],
            attributes=None if self.attributes is None else self.attributes[index.cpu()],
            names=tuple(self.names[i] for i in index.tolist()) if self.names else (),
            factors=None if self.factors is None else self.factors[index.cpu()],
            people=None if self.people is None else self.people[index.cpu()],
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all pixels and labels, in hexadecimal."""
        content = hashlib.sha256(str(tuple(self.images.shape)).encode())
        for part in (*self.images.cpu().split(1000), self.labels.cpu()):
            content.update(part.contiguous().numpy())
        return content.hexdigest()

    def to(self, device: torch.device | str) -> "ImageSet":
        """Move images and labels to a device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def places(self, names: Sequence[str]) -> torch.Tensor:
        """Find images by file name, whatever the endings: int64 `(len(names),)`.

        Raises:
            DataError: one is not there, or several are that differ in their endings.
        """
        try:
            places = celeba.match(names, self.names)
        except celeba.Unclear as error:
            raise DataError(later("Which image is meant? {error}.", error=error)) from error
        if missing := [name for name, place in zip(names, places, strict=True) if place < 0]:
            raise DataError(
                later(
                    "{n:,} of {all:,} images are not there, {name} among them.",
                    n=len(missing),
                    all=len(names),
                    name=missing[0],
                )
            )
        return torch.from_numpy(places)


@dataclass(frozen=True)
class Dataset:
    """One row of `DATASETS`: what a data set is and how to get it.

    read(data_dir, split): the images of one split.
    fetch(data_dir): download what is missing or damaged, or None where nothing is ever downloaded.
    pick(data_dir, names): uint8 images `(M, C, H, W)` by file name, without reading the others, where images are
    files. attributes: what may be known of each image. megabytes: size of the download. shareable: whether the licence
    lets images be passed on, with its name beside them. factors: what its images were drawn by, where that is known:
    the first is the class, the others have an order.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    licence: str
    read: Callable[[Path, Split], ImageSet]
    fetch: Callable[[Path], None] | None = None
    pick: Callable[[Path, Sequence[str]], torch.Tensor] | None = None
    attributes: tuple[str, ...] = ()
    gallery_size: int = 1000
    folder: str = ""
    megabytes: int = 0
    shareable: bool = False
    factors: tuple[str, ...] = ()

    def load(self, split: Split, data_dir: Path | str | None = None) -> ImageSet:
        """Read one split; never downloads.

        Raises:
            DataError: files are missing, truncated or damaged.
        """
        return self.read(data_folder(data_dir), split)


def hold_out(data: ImageSet, split: Split, n_validation: int) -> ImageSet:
    """Take the part of the official training images that is "train" or "validation", by a fixed seed."""
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(SPLIT_SEED))
    n_train = len(data) - n_validation
    return data[order[:n_train] if split == "train" else order[n_train:]]


def data_folder(data_dir: Path | str | None = None) -> Path:
    """Name the data folder: `data_dir`, else the variable EXPLORER_DATA, else `data/`."""
    return Path(data_dir or os.environ.get("EXPLORER_DATA") or "data").expanduser()


def gallery_indices(labels: torch.Tensor, size: int = 1000) -> torch.Tensor:
    """Pick the same `size` test images every time, equally many of each class, sorted; int64 `(M,)`.

    `labels` are those of the test set `(N,)`; one of fewer images is taken whole.
    """
    if len(labels) <= size:
        return torch.arange(len(labels))
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    order = torch.randperm(len(labels), generator=generator)
    classes = labels.unique()
    each = max(1, size // len(classes))
    picked = [order[labels[order] == c][:each] for c in classes]
    return torch.cat(picked)[:size].sort().values


def _mnist_like(name: str, folder: str, title: str, classes: tuple[str, ...], licence: str, megabytes: int) -> Dataset:
    """Describe one of the data sets of `mnist.SOURCES`."""

    def read(data_dir: Path, split: Split) -> ImageSet:
        part = "t10k" if split == "test" else "train"
        try:
            images, labels = mnist.read(data_dir / folder / "raw", part, len(classes))
        except mnist.FileError as error:
            raise DataError(
                later("{error} Mend it with: python train.py --download --dataset {name}", error=error, name=name)
            ) from error
        data = ImageSet(images.unsqueeze(1), labels.long(), classes)  # (N, 1, H, W)
        return data if split == "test" else hold_out(data, split, 5000)

    def fetch(data_dir: Path) -> None:
        try:
            mnist.fetch(mnist.SOURCES[folder], data_dir / folder / "raw")
        except (mnist.FileError, OSError) as error:
            raise DataError(
                later(
                    "{title} could not be downloaded to {data_dir}: {error}. Check the network and that the folder can "
                    "be written, or copy the four files of {folder}/raw there by hand, packed (.gz) or not.",
                    title=title,
                    data_dir=data_dir,
                    error=error,
                    folder=folder,
                )
            ) from error

    return Dataset(
        name, title, classes, (1, 28, 28), licence, read, fetch, folder=folder, megabytes=megabytes, shareable=True
    )  # fmt: skip


def _read_digits(data_dir: Path, split: Split) -> ImageSet:
    """Take scikit-learn's 8x8 digits, pixels 0..16, enlarge them to 28x28, and part them 1,437/360."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    small = torch.from_numpy(digits.images).float().unsqueeze(1) / 16.0  # (1797, 1, 8, 8)
    large = torch.nn.functional.interpolate(small, size=(28, 28), mode="bicubic", antialias=True)
    images = (large.clamp(0, 1) * 255).round().to(torch.uint8)  # (1797, 1, 28, 28)
    labels = torch.from_numpy(digits.target).long()
    halves = train_test_split(np.arange(len(labels)), test_size=360, random_state=SPLIT_SEED, stratify=digits.target)
    index = torch.from_numpy(np.sort(halves[1 if split == "test" else 0]))
    data = ImageSet(images[index], labels[index], _DIGITS)
    return data if split == "test" else hold_out(data, split, 137)


def _draw_shapes(data_dir: Path, split: Split) -> ImageSet:
    images, factors = shapes.draw(split)
    return ImageSet(images, factors[:, 0], shapes.SHAPES, factors=factors)


def _read_faces(data_dir: Path, split: Split) -> ImageSet:
    try:
        faces = celeba.read(data_dir, seed=SPLIT_SEED)
    except celeba.FacesError as error:
        raise DataError(str(error)) from error
    index = np.flatnonzero(faces.partition == SPLITS.index(split))
    if not len(index):
        counts = ", ".join(f"{(faces.partition == part).sum():,} to {name}" for part, name in enumerate(SPLITS))
        raise DataError(
            later(
                "no image in {folder} belongs to the {split} part; of {n:,} belong {counts}. Add images, or correct "
                "the table list_eval_partition, until each part has some: without a table about one image in ten is "
                "of the validation part, and one of the test part.",
                folder=data_dir / celeba.FOLDER,
                split=split,
                n=len(faces.names),
                counts=counts,
            )
        )
    return ImageSet(
        torch.from_numpy(faces.images[_rows(index)]),
        torch.zeros(len(index), dtype=torch.long),
        _FACES,
        torch.from_numpy(faces.attributes[index]),
        tuple(faces.names[i] for i in index),
        faces.notes,
        people=torch.from_numpy(faces.identities[index]) if (faces.identities >= 0).any() else None,
    )


def _rows(index: np.ndarray) -> np.ndarray | slice:
    """Name rows in increasing order `(N,)` as a slice where they are neighbours: of a mapped file nothing is copied."""
    together = index[-1] - index[0] + 1 == len(index)  # as in the official partition
    return slice(index[0], index[-1] + 1) if together else index


def _pick_faces(data_dir: Path, names: Sequence[str]) -> torch.Tensor:
    try:
        return torch.from_numpy(celeba.pick(data_dir, names))
    except celeba.FacesError as error:
        raise DataError(str(error)) from error


_CLOTHES = choices("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_DIGITS = tuple("0123456789")
_FACES = (later("Face"),)
_KANA = ("お o", "き ki", "す su", "つ tsu", "な na", "は ha", "ま ma", "や ya", "れ re", "を wo")

DATASETS: dict[str, Dataset] = {
    d.name: d
    for d in (
        _mnist_like("fashion-mnist", "FashionMNIST", "Fashion-MNIST", _CLOTHES, later("MIT (Zalando Research)"), 31),
        Dataset(
            "digits", later("Digits (scikit-learn)"), _DIGITS, (1, 28, 28),
            later("CC BY 4.0 (UCI, Alpaydin & Kaynak)"), _read_digits, shareable=True,
        ),
        _mnist_like("mnist", "MNIST", "MNIST", _DIGITS, later("CC BY-SA 3.0 (LeCun & Cortes)"), 12),
        _mnist_like("kmnist", "KMNIST", "Kuzushiji-MNIST", _KANA, later("CC BY-SA 4.0 (CODH)"), 21),
        Dataset(
            "shapes", later("Shapes (drawn here)"), shapes.SHAPES, (1, shapes.SIDE, shapes.SIDE),
            later("CC0 (drawn by this program)"), _draw_shapes, shareable=True, factors=tuple(shapes.FACTORS),
        ),
        Dataset(
            "celeba", later("CelebA faces"), _FACES, (3, celeba.SIDE, celeba.SIDE),
            later("non-commercial research only (MMLAB, The Chinese University of Hong Kong)"), _read_faces,
            pick=_pick_faces, attributes=celeba.ATTRIBUTES, gallery_size=2000, folder=celeba.FOLDER,
        ),
    )
}  # fmt: skip
