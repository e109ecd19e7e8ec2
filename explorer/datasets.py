"""Image data sets as uint8 tensors, and the table `DATASETS` that drives everything.

Splits: "train" and "validation" part the official training images by a fixed seed (55,000/5,000
for the 60,000-image sets); "test" is the official test set and is touched by metrics only.
"""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

Split = Literal["train", "validation", "test"]
SPLIT_SEED = 0
GALLERY_SIZE = 1000


class DataError(RuntimeError):
    """The data are missing or damaged; the message says which file and the command that mends it."""


@dataclass(frozen=True)
class ImageSet:
    """Images with labels, all on one device.

    images: uint8 `(N, C, H, W)`. labels: int64 `(N,)`, or None. classes: the label names.
    """

    images: torch.Tensor
    labels: torch.Tensor | None
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: torch.Tensor) -> "ImageSet":
        labels = None if self.labels is None else self.labels[index]
        return ImageSet(self.images[index], labels, self.classes)

    def to(self, device: torch.device | str) -> "ImageSet":
        """Move images and labels to a device."""
        labels = None if self.labels is None else self.labels.to(device)
        return ImageSet(self.images.to(device), labels, self.classes)


@dataclass(frozen=True)
class Dataset:
    """One row of `DATASETS`: what a data set is and how to get it.

    read(data_dir, train): images uint8 `(N, C, H, W)` and labels of the official halves.
    fetch(data_dir): download what is missing, or None where nothing is ever downloaded.
    megabytes: size of the download.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    n_validation: int
    licence: str
    read: Callable[[Path, bool], tuple[torch.Tensor, torch.Tensor]]
    fetch: Callable[[Path], None] | None = None
    folder: str = ""
    megabytes: int = 0

    def load(self, split: Split, data_dir: Path | str | None = None) -> ImageSet:
        """Read one split; never downloads.

        Raises:
            DataError: files are missing, truncated or damaged.
        """
        images, labels = self.read(data_folder(data_dir), split != "test")
        data = ImageSet(images, labels, self.classes)
        if split == "test":
            return data
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(SPLIT_SEED))
        n_train = len(data) - self.n_validation
        return data[order[:n_train] if split == "train" else order[n_train:]]


def data_folder(data_dir: Path | str | None = None) -> Path:
    """Name the data folder: `data_dir`, else the variable EXPLORER_DATA, else `data/`."""
    return Path(data_dir or os.environ.get("EXPLORER_DATA") or "data")


def gallery_indices(labels: torch.Tensor, size: int = GALLERY_SIZE) -> torch.Tensor:
    """Pick the same `size` test images every time, equally many of each class, sorted; int64 `(M,)`.

    A test set of fewer images is taken whole.
    """
    if len(labels) <= size:
        return torch.arange(len(labels))
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    order = torch.randperm(len(labels), generator=generator)
    classes = labels.unique()
    picked = [order[labels[order] == c][: size // len(classes)] for c in classes]
    return torch.cat(picked).sort().values


def check_idx_file(path: Path, n_dimensions: int, mend: str) -> None:
    """Check that an IDX file (LeCun's format, unsigned bytes) is as long as its header says.

    Raises:
        DataError: the file is missing, truncated or not in the format, or has another number of
            dimensions; `mend` ends the message.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing. {mend}")
    with path.open("rb") as file:
        header = file.read(4)
        if header != bytes((0, 0, 8, n_dimensions)):
            raise DataError(f"{path} is not an IDX file of bytes in {n_dimensions} dimensions. {mend}")
        sizes = file.read(4 * n_dimensions)
    expected = 4 + 4 * n_dimensions
    if len(sizes) == 4 * n_dimensions:
        expected += int(np.prod(struct.unpack(f">{n_dimensions}I", sizes), dtype=np.int64))
    if path.stat().st_size != expected:
        raise DataError(
            f"{path} is truncated or damaged: {path.stat().st_size:,} bytes instead of {expected:,}. {mend}"
        )


def _mnist_like(
    name: str, class_name: str, title: str, classes: tuple[str, ...], licence: str, megabytes: int
) -> Dataset:
    """Describe one of torchvision's MNIST-format data sets."""
    mend = f"Mend it with: python train.py --download --dataset {name}"

    def files(data_dir: Path, prefix: str) -> dict[Path, int]:
        raw = data_dir / class_name / "raw"
        return {raw / f"{prefix}-images-idx3-ubyte": 3, raw / f"{prefix}-labels-idx1-ubyte": 1}

    def read(data_dir: Path, train: bool) -> tuple[torch.Tensor, torch.Tensor]:
        from torchvision.datasets import mnist

        expected = files(data_dir, "train" if train else "t10k")
        for path, n_dimensions in expected.items():
            check_idx_file(path, n_dimensions, mend)
        images_path, labels_path = map(str, expected)
        images, labels = mnist.read_image_file(images_path), mnist.read_label_file(labels_path)
        if len(images) != len(labels):
            raise DataError(
                f"{images_path} holds {len(images):,} images, but {labels_path} {len(labels):,} labels. "
                f"Delete both. {mend}"
            )
        return images.unsqueeze(1), labels  # (N, 1, H, W), (N,)

    def fetch(data_dir: Path) -> None:
        import torchvision

        try:
            for path, n_dimensions in (files(data_dir, "train") | files(data_dir, "t10k")).items():
                try:
                    check_idx_file(path, n_dimensions, mend)
                except DataError:  # torchvision downloads only what is missing
                    path.unlink(missing_ok=True)
            getattr(torchvision.datasets, class_name)(data_dir, download=True)
        except (RuntimeError, OSError) as error:
            raise DataError(
                f"{title} could not be downloaded to {data_dir}: {error}. Check the network and that "
                f"the folder can be written, or copy the four files of {class_name}/raw there by hand."
            ) from error

    return Dataset(name, title, classes, (1, 28, 28), 5000, licence, read, fetch, class_name, megabytes)


def _read_digits(data_dir: Path, train: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Take scikit-learn's 8x8 digits, pixels 0..16, enlarge them to 28x28, and part them 1,437/360."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    small = torch.from_numpy(digits.images).float().unsqueeze(1) / 16.0  # (1797, 1, 8, 8)
    large = torch.nn.functional.interpolate(small, size=(28, 28), mode="bicubic", antialias=True)
    images = (large.clamp(0, 1) * 255).round().to(torch.uint8)  # (1797, 1, 28, 28)
    labels = torch.from_numpy(digits.target).long()
    halves = train_test_split(np.arange(len(labels)), test_size=360, random_state=SPLIT_SEED, stratify=digits.target)
    index = torch.from_numpy(np.sort(halves[0 if train else 1]))
    return images[index], labels[index]


_CLOTHES = (
    "T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_DIGITS = tuple("0123456789")
_KANA = ("お o", "き ki", "す su", "つ tsu", "な na", "は ha", "ま ma", "や ya", "れ re", "を wo")

DATASETS: dict[str, Dataset] = {
    d.name: d
    for d in (
        _mnist_like("fashion-mnist", "FashionMNIST", "Fashion-MNIST", _CLOTHES, "MIT (Zalando Research)", 31),
        Dataset(
            "digits", "Digits (scikit-learn)", _DIGITS, (1, 28, 28), 137,
            "CC BY 4.0 (UCI, Alpaydin & Kaynak)", _read_digits,
        ),
        _mnist_like("mnist", "MNIST", "MNIST", _DIGITS, "CC BY-SA 3.0 (LeCun & Cortes)", 12),
        _mnist_like("kmnist", "KMNIST", "Kuzushiji-MNIST", _KANA, "CC BY-SA 4.0 (CODH)", 21),
    )
}  # fmt: skip
