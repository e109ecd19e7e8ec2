"""What pages show, read from the disk once for each state of the files, and what is made of it.

A bundle is read whole (`Opened`), and so is a gallery, so that nothing of them can change or vanish while a page is
drawn. What is made of them is kept by them (`BY_READING`), never by a name.
"""

import gzip
import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any, Self

import numpy as np
import streamlit as st
import torch
import torch.nn as nn

from explorer import checkpoints, latent, layers, metrics, projection
from explorer.cards import STORED, DataCard
from explorer.checkpoints import Bundle, BundleError, GalleryIndex
from explorer.datasets import DataError, data_folder
from explorer.families import PCA
from explorer.images import grid, to_float
from explorer.language import later, passing, say
from explorer.models import Model
from explorer.ui import sources
from explorer.ui.catalog import Collection
from explorer.ui.kept import from_files, stamp
from explorer.ui.opening import Opened, OpenedFamily, opened, readings
from explorer.ui.pictures import SHEET_COLUMNS, data_uri
from explorer.ui.text import sendable

MOST_BYTES = 3_000_000  # of one model for the browser; a larger one sends its decoder alone, in half precision
GALLERIES = 8  # that are kept in memory
BATCH = 100  # images at a time, so that a gallery of faces does not fill the memory
_one_gallery_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Gallery:
    """The images of a data set that every page draws from.

    images: float32 `(M, C, H, W)` in [0, 1]. labels: int64 `(M,)`. indices: their places in the test
    split `(M,)`. names: their file names, where images are files. stand_in: empty for originals, else the model
    that decodes the stand-ins from its stored codes. notice: how far off these are. missing: why there are no
    originals. reading: counts what was read.
    """

    dataset: str
    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray
    classes: tuple[str, ...]
    names: tuple[str, ...] = ()
    notice: str = ""
    missing: str = ""
    stand_in: str = ""
    reader: str = ""
    reading: int = field(default_factory=readings.__next__)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def has_classes(self) -> bool:
        """Whether there is more than one class, so that it is worth a word."""
        return len(self.classes) > 1

    @property
    def class_names(self) -> list[str]:
        """The classes in the current language."""
        return [say(name) for name in self.classes]

    @property
    def title(self) -> str:
        """Say what one of its images is, in the current language."""
        return say("Stand-in") if self.stand_in else say("Original")

    @property
    def noun(self) -> str:
        """Say what its images are, within a sentence in the current language."""
        return say("stand-ins") if self.stand_in else say("real images")

    @cached_property
    def sheet(self) -> str:
        """All images in one inline picture, in `SHEET_COLUMNS` columns without gaps."""
        return data_uri(grid(self.images, SHEET_COLUMNS, gap=0))

    def label(self, i: int) -> str:
        """Name one gallery image: its class in the current language, or its file where there is but one class."""
        return say(self.classes[self.labels[i]]) if self.has_classes or not self.names else Path(self.names[i]).stem

    def python(self, picks: Sequence[int] | np.ndarray) -> str:
        """Write the Python that makes these images `x`; it needs `Bundle`, `root_folder`, `DATASETS` and `to_float`."""
        if self.reader == STORED:
            stored = f'read_gallery_images(root_folder(), "{self.dataset}")'
            places = list(map(int, picks))
            return f"from explorer.checkpoints import read_gallery_images\n\nx = to_float({stored}[{places}])"
        if self.stand_in:
            bundle = f'Bundle("{self.dataset}", "{self.stand_in}", root_folder())'
            return (
                f'bundle = {bundle}\nx = bundle.load().decode(bundle.codes()["codes"][{list(map(int, picks))}].float())'
            )
        if not self.names:
            return f'x = to_float(DATASETS["{self.dataset}"].load("test").images[{self.indices[list(picks)].tolist()}])'
        names = [self.names[i] for i in picks]
        return f'test = DATASETS["{self.dataset}"].load("test")\nx = to_float(test.images[test.places({names})])'


BY_READING = {"hash_funcs": {kind: attrgetter("reading") for kind in (Opened, OpenedFamily, Gallery)}}
BY_CONTENT = BY_READING["hash_funcs"] | {  # of large arrays Streamlit would only look at a part
    np.ndarray: lambda x: (x.shape, hashlib.sha256(np.ascontiguousarray(x)).digest()),
    torch.Tensor: lambda z: (tuple(z.shape), hashlib.sha256(z.contiguous().numpy()).digest()),
}


def model(bundle: Opened) -> Model:
    """Give the model of a bundle; raises `BundleError`."""
    return bundle.load()


def codes(bundle: Opened) -> dict[str, np.ndarray]:
    """Give the gallery's codes and projections as arrays of float32 or int64; raises `BundleError`."""
    return bundle.arrays


@dataclass(frozen=True)
class Compressed:
    """What a browser fetches: the bytes as gzip, and a digest of what they unpack to."""

    content: bytes
    digest: str

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Compress bytes."""
        return cls(gzip.compress(content, mtime=0), hashlib.sha256(content).hexdigest()[:16])


@st.cache_resource(max_entries=16, show_spinner=False, **BY_READING)
def packed(bundle: Opened) -> Compressed:
    """Describe a model's layers for the browser; raises `BundleError`, and `Unsupported` for other layers."""
    networks = bundle.load().networks()
    whole = layers.pack(bundle.identity, networks)
    if len(whole) > MOST_BYTES and "decode" in networks:
        whole = layers.pack(bundle.identity, {"decode": networks["decode"]}, half=True)
    return Compressed.of(whole)


@st.cache_resource(max_entries=8, show_spinner=False, hash_funcs=BY_READING["hash_funcs"])
def packed_family(family: OpenedFamily) -> Compressed:
    """Describe the decoders of all members for the browser, by their names, in half precision as they are stored.

    "pca" is the decoder of PCA, where there is one: as many numbers as it has directions in, pixels out.
    """
    networks = {n: m.networks()["decode"] for n, m in family.load().items() if "decode" in m.networks()}
    tensors = family.tensors()
    if f"{PCA}/basis" in tensors:
        basis, mean = (tensors[f"{PCA}/{part}"].float() for part in ("basis", "mean"))
        linear = nn.Linear(*basis.shape)
        linear.weight.data, linear.bias.data = basis.T, mean
        networks[PCA] = (nn.Sequential(linear), (len(basis),))
    return Compressed.of(layers.pack(family.identity, networks, half=True))


def gallery(there: Collection, root: Path) -> Gallery:
    """Read the gallery of a data set: originals where the data are on disk, else stand-ins decoded from stored codes.

    Raises:
        BundleError: `gallery.json` cannot be used, or there are neither originals nor a model that can stand in.
    """
    images = there.images
    index = gallery_index(images, root)
    stored = images.reader == STORED
    found = _stored(images, root, index) if stored else _originals(images, data_folder(), index)
    if isinstance(found, Gallery):
        return found
    bundles = [opened(Bundle(images.name, name, root), images, len(index.labels)) for name in there.autoencoders]
    whole = [bundle for bundle in bundles if not bundle.problem]
    if not whole:
        raise BundleError(bundles[0].problem if bundles else found)
    best = min(whole, key=lambda bundle: bundle.metrics()["mse"])
    return _stand_ins(best, there.models[best.model].title, images, index, found)


@from_files(lambda images, root: stamp([str(root / images.name / "gallery.json")]), max_entries=16)
def gallery_index(images: DataCard, root: Path) -> GalleryIndex:
    """Read which test images are the gallery, and check that they can be; raises `BundleError`."""
    try:
        index = checkpoints.read_gallery(root, images.name)
        good = bool(index.indices.min() >= 0 and 0 <= index.labels.min() <= index.labels.max() < len(images.classes))
        good = good and all(isinstance(name, str) and name == os.path.basename(name) for name in index.names)
    except BundleError:
        raise
    except Exception:  # as for the files of a bundle
        good = False
    if not good:
        raise BundleError(
            later(
                "{path} names images that there cannot be. Make it anew with: {command}",
                path=root / images.name / "gallery.json",
                command=checkpoints.anew(images.name),
            )
        )
    return index


@from_files(lambda images, root, index: stamp([str(root / images.name / checkpoints.GALLERY_IMAGES)]),
            max_entries=GALLERIES, hash_funcs=sources.BY_CONTENT)  # fmt: skip
def _stored(images: DataCard, root: Path, index: GalleryIndex) -> Gallery | str:
    """Read the gallery's images that lie beside the bundles, or say why they cannot be."""
    try:
        x = checkpoints.read_gallery_images(root, images.name)
    except BundleError as error:
        return sendable(str(error))
    if x.shape != (len(index.labels), *images.image_shape):
        return later(
            "{file} holds images of the shape {shape}, not those of gallery.json.",
            file=checkpoints.GALLERY_IMAGES, shape=tuple(x.shape),
        )  # fmt: skip
    return _gallery(images, to_float(x).numpy(), index, images.reader)


@from_files(sources.of_gallery, max_entries=GALLERIES, show_spinner=passing("Reading the gallery"),
            hash_funcs=sources.BY_CONTENT)  # fmt: skip
def _originals(images: DataCard, data_dir: Path, index: GalleryIndex) -> Gallery | str:
    """Read the gallery's original images, or say why they cannot be."""
    source = images.source
    if source is None:
        return later("Nothing says how the images of {title} are read.", title=images.title)
    try:
        if source.pick and index.names:
            x = source.pick(data_dir, index.names)
        else:
            test = source.load("test", data_dir).images
            if index.indices.max() >= len(test):
                return later(
                    "The gallery has image {i:,}, but the test split has {n:,} images.",
                    i=index.indices.max().item(), n=len(test),
                )  # fmt: skip
            x = test[index.indices]
    except DataError as error:
        return sendable(str(error))
    if x.shape[1:] != images.image_shape:
        return later(
            "The images have the shape {shape}, and dataset.json says {expected}.",
            shape=tuple(x.shape[1:]), expected=images.image_shape,
        )  # fmt: skip
    return _gallery(images, to_float(x).numpy(), index, images.reader)


def _gallery(images: DataCard, x: np.ndarray, index: GalleryIndex, reader: str, **stand_in: str) -> Gallery:
    labels, indices = index.labels.numpy(), index.indices.numpy()
    return Gallery(images.name, x, labels, indices, images.classes, index.names, reader=reader, **stand_in)


@st.cache_resource(max_entries=GALLERIES, show_spinner=passing("Decoding the gallery"),
                   hash_funcs=BY_READING["hash_funcs"] | sources.BY_CONTENT)  # fmt: skip
def _stand_ins(best: Opened, title: str, images: DataCard, index: GalleryIndex, reason: str) -> Gallery:
    """Decode the gallery with a model from its stored codes, and say so."""
    x = _in_batches(best.load().decode, torch.from_numpy(best.arrays["codes"]))
    notice = later(
        "The images you see are decoded by {model} from its stored codes of the test images, with a mean squared error "
        "of {mse:.4f} to the originals, which are not on this disk.",
        model=later(title), mse=best.metrics()["mse"],
    )  # fmt: skip
    return _gallery(images, x, index, "", notice=notice, missing=reason, stand_in=best.model)


def test_images(images: DataCard) -> np.ndarray | None:
    """Read the whole test split as uint8 `(N, C, H, W)`, or None where the data are not on disk."""
    return _test_images(images, data_folder())


@from_files(sources.of_split, max_entries=GALLERIES)
def _test_images(images: DataCard, data_dir: Path) -> np.ndarray | None:
    try:
        return images.source.load("test", data_dir).images.numpy() if images.source else None
    except DataError:
        return None


@st.cache_resource(max_entries=32, show_spinner=False, hash_funcs=BY_CONTENT)
def reconstruct(bundle: Opened, x: np.ndarray) -> np.ndarray:
    """Reconstruct up to `BATCH` images `(N, C, H, W)` in [0, 1] with one model; once where many ask for the same."""
    return _in_batches(model(bundle), torch.from_numpy(x))


@st.cache_resource(max_entries=32, show_spinner=False, hash_funcs=BY_CONTENT)
def decode(bundle: Opened, z: torch.Tensor) -> np.ndarray:
    """Decode codes `(N, D)` to images `(N, C, H, W)` in [0, 1] with one model; once where many ask for the same."""
    return _in_batches(model(bundle).decode, z)


@torch.inference_mode()
def _in_batches(network: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> np.ndarray:
    """Run a network on many inputs: few at once as they come, a whole gallery by itself and on all cores."""
    if len(x) <= BATCH:
        return network(x).numpy()
    with _one_gallery_at_a_time:
        usual = torch.get_num_threads()
        torch.set_num_threads(max(usual, os.cpu_count() or 1))
        try:
            return torch.cat([network(part) for part in x.split(BATCH)]).numpy()
        finally:
            torch.set_num_threads(usual)


@torch.inference_mode()
def encode(bundle: Opened, x: np.ndarray) -> torch.Tensor:
    """Encode images `(N, C, H, W)` in [0, 1] to codes `(N, D)` with one model."""
    return model(bundle).embed(torch.from_numpy(x))


@st.cache_resource(max_entries=32, show_spinner=passing("Reconstructing the gallery"), **BY_READING)
def gallery_errors(bundle: Opened, shown: Gallery) -> np.ndarray:
    """Compute the mean squared error of every gallery image under one model `(M,)`."""
    x = torch.from_numpy(shown.images)
    return metrics.mse_per_image(x, torch.from_numpy(_in_batches(model(bundle), x))).numpy()


@st.cache_resource(max_entries=32, show_spinner=passing("Computing the projection"), **BY_READING)
def projected(bundle: Opened, method: str, dimensions: int, setting: float) -> np.ndarray:
    """Recompute a projection of the gallery's codes with one's own perplexity or neighbour count."""
    values = codes(bundle)["codes"]
    if method == "t-SNE":
        return projection.tsne(values, setting)
    return projection.umap(values, dimensions, int(setting))


@st.cache_resource(max_entries=32, show_spinner=False, **BY_READING)
def usual_distance(bundle: Opened) -> float:
    """Compute the median distance of a gallery code to the nearest other one."""
    return latent.usual_distance(torch.from_numpy(codes(bundle)["codes"]))


@st.cache_resource(max_entries=64, show_spinner=False, **BY_READING)
def structure(bundle: Opened, labels: np.ndarray, points: np.ndarray) -> dict[str, Any]:
    """Measure class structure of codes or coordinates `(M, D)`; see `projection.class_structure`."""
    return dict(projection.class_structure(points, labels))
