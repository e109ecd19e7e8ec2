"""Cached readers of bundles and galleries. Every key holds the files' fingerprints, so that nothing is stale."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
import torch

from explorer import checkpoints, latent, layers, metrics, projection
from explorer.checkpoints import Bundle, BundleError
from explorer.datasets import DATASETS, DataError, Dataset, data_folder
from explorer.images import grid, to_float
from explorer.models import Model
from explorer.roster import autoencoders_for, models_for
from explorer.ui.pictures import SHEET_COLUMNS, data_uri
from explorer.ui.text import as_text

MOST_BYTES = 3_000_000  # of one model for the browser; a larger one sends its decoder alone, in half precision
BATCH = 100  # images at a time, so that a gallery of faces does not fill the memory


@dataclass(frozen=True)
class Gallery:
    """The images of a data set that every page draws from.

    images: float32 `(M, C, H, W)` in [0, 1]. labels: int64 `(M,)`. indices: their places in the test
    split `(M,)`. names: their file names, where images are files. notice: empty for originals, else how far
    off the stand-ins are, and in a second paragraph what is missing.
    """

    dataset: str
    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray
    classes: tuple[str, ...]
    names: tuple[str, ...] = ()
    notice: str = ""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def has_classes(self) -> bool:
        """Whether there is more than one class, so that it is worth a word."""
        return len(self.classes) > 1

    @cached_property
    def sheet(self) -> str:
        """All images in one inline picture, in `SHEET_COLUMNS` columns without gaps."""
        return data_uri(grid(self.images, SHEET_COLUMNS, gap=0))

    def label(self, i: int) -> str:
        """Name one gallery image: its class, or its file where there is but one class."""
        return self.classes[self.labels[i]] if self.has_classes or not self.names else Path(self.names[i]).stem

    def python(self, picks: Sequence[int] | np.ndarray) -> str:
        """Write the Python that makes these images `x`; it needs `DATASETS` and `to_float`."""
        if not self.names:
            return f'x = to_float(DATASETS["{self.dataset}"].load("test").images[{self.indices[list(picks)].tolist()}])'
        names = [self.names[i] for i in picks]
        return f'test = DATASETS["{self.dataset}"].load("test")\nx = to_float(test.images[test.places({names})])'


def fitted(root: Path, dataset: str) -> bool:
    """Whether any bundle folder of a data set exists."""
    return any((root / dataset / name).is_dir() for name in models_for(dataset))


def model(bundle: Bundle) -> Model:
    """Load a model once per version of its files; raises `BundleError`."""
    return _model(bundle, bundle.fingerprint)


@st.cache_resource(max_entries=16, show_spinner=False)
def _model(bundle: Bundle, fingerprint: object) -> Model:
    return bundle.load().to(memory_format=torch.channels_last)


def packed(bundle: Bundle) -> bytes:
    """Describe a model's layers for the browser; raises `BundleError`, and `Unsupported` for other layers."""
    return _packed(bundle, bundle.fingerprint)


@st.cache_resource(max_entries=16, show_spinner=False)
def _packed(bundle: Bundle, fingerprint: object) -> bytes:
    networks = model(bundle).networks()
    whole = layers.pack(bundle.identity, networks)
    if len(whole) <= MOST_BYTES or "decode" not in networks:
        return whole
    return layers.pack(bundle.identity, {"decode": networks["decode"]}, half=True)


def codes(bundle: Bundle) -> dict[str, np.ndarray]:
    """Read the gallery's codes and projections as arrays of float32 or int64; raises `BundleError`."""
    return _codes(bundle, bundle.fingerprint)


@st.cache_resource(max_entries=16, show_spinner=False)
def _codes(bundle: Bundle, fingerprint: object) -> dict[str, np.ndarray]:
    tensors = bundle.codes()
    return {k: (v.float() if v.is_floating_point() else v.long()).numpy() for k, v in tensors.items()}


def problem(bundle: Bundle) -> str:
    """Check a bundle by reading it all; return what is wrong with it, or an empty string."""
    return _problem(bundle, bundle.fingerprint)


@st.cache_data(max_entries=64, show_spinner=False)
def _problem(bundle: Bundle, fingerprint: object) -> str:
    try:
        loaded, stored = model(bundle), codes(bundle)
        bundle.history()
        bundle.metrics()
        index = checkpoints.read_gallery(bundle.root, bundle.dataset)
    except BundleError as error:
        return str(error)
    if stored["codes"].shape != (len(index.labels), loaded.code_length):
        return (
            f"{bundle.folder / 'codes.safetensors'} holds codes of another gallery. "
            f"Make it anew with: {bundle.command('projections')}"
        )
    return ""


def gallery(dataset: str, root: Path) -> Gallery:
    """Read the gallery: originals where the data are on disk, else stand-ins decoded from stored codes."""
    folder = data_folder() / DATASETS[dataset].folder
    faces = folder / "img_align_celeba"  # a folder changes when a file appears in it; to ask each file takes too long
    places = (*folder.glob("raw/*"), faces, faces / faces.name)
    changed = tuple(sorted((str(p), p.stat().st_mtime_ns) for p in places if p.exists()))
    models = tuple(Bundle(dataset, name, root).fingerprint for name in autoencoders_for(dataset))
    try:
        return _gallery(dataset, root, str(data_folder()), changed, models)
    except BundleError as error:
        st.error(as_text(str(error)))
        st.stop()


@st.cache_resource(max_entries=8, show_spinner="Reading the gallery")
def _gallery(dataset: str, root: Path, data_dir: str, changed: object, fingerprints: object) -> Gallery:
    index = checkpoints.read_gallery(root, dataset)
    try:
        images, notice = _originals(DATASETS[dataset], index, Path(data_dir)), ""
    except DataError as error:
        images, notice = _stand_ins(dataset, root, str(error))
    classes = DATASETS[dataset].classes
    return Gallery(dataset, images, index.labels.numpy(), index.indices.numpy(), classes, index.names, notice)


def _originals(dataset: Dataset, index: checkpoints.GalleryIndex, data_dir: Path) -> np.ndarray:
    if dataset.pick and index.names:
        return to_float(dataset.pick(data_dir, index.names)).numpy()
    return to_float(dataset.load("test", data_dir).images[index.indices]).numpy()


def _stand_ins(dataset: str, root: Path, reason: str) -> tuple[np.ndarray, str]:
    """Decode the gallery with the model of the smallest test error; raises `BundleError` where none can."""
    bundles = [Bundle(dataset, name, root) for name in autoencoders_for(dataset)]
    whole = [bundle for bundle in bundles if not problem(bundle)]
    if not whole:
        raise BundleError(problem(bundles[0]))
    best = min(whole, key=lambda bundle: bundle.metrics()["mse"])
    return decode(best, torch.from_numpy(codes(best)["codes"])), (
        f"The images you see are decoded by {best.model} from its stored codes of the test images, with a mean "
        f"squared error of {best.metrics()['mse']:.4f} to the originals, which are not on this disk.\n\n{reason}"
    )


def test_images(dataset: str) -> np.ndarray | None:
    """Read the whole test split as uint8 `(N, C, H, W)`, or None where the data are not on disk."""
    return _test_images(dataset, str(data_folder()))


@st.cache_resource(max_entries=2, show_spinner=False, ttl=600)
def _test_images(dataset: str, data_dir: str) -> np.ndarray | None:
    try:
        return DATASETS[dataset].load("test", data_dir).images.numpy()
    except DataError:
        return None


@torch.inference_mode()
def reconstruct(bundle: Bundle, x: np.ndarray) -> np.ndarray:
    """Reconstruct images `(N, C, H, W)` in [0, 1] with one model."""
    return torch.cat([model(bundle)(part) for part in torch.from_numpy(x).split(BATCH)]).numpy()


@torch.inference_mode()
def decode(bundle: Bundle, z: torch.Tensor) -> np.ndarray:
    """Decode codes `(N, D)` to images `(N, C, H, W)` in [0, 1] with one model."""
    return torch.cat([model(bundle).decode(part) for part in z.split(BATCH)]).numpy()


@torch.inference_mode()
def encode(bundle: Bundle, x: np.ndarray) -> torch.Tensor:
    """Encode images `(N, C, H, W)` in [0, 1] to codes `(N, D)` with one model."""
    return model(bundle).embed(torch.from_numpy(x))


def gallery_errors(bundle: Bundle, shown: Gallery) -> np.ndarray:
    """Compute the mean squared error of every gallery image under one model `(M,)`."""
    return _gallery_errors(bundle, bundle.fingerprint, shown.notice, shown)


@st.cache_data(max_entries=32, show_spinner="Reconstructing the gallery")
def _gallery_errors(bundle: Bundle, fingerprint: object, notice: str, _shown: Gallery) -> np.ndarray:
    x, x_hat = torch.from_numpy(_shown.images), torch.from_numpy(reconstruct(bundle, _shown.images))
    return metrics.mse_per_image(x, x_hat).numpy()


@st.cache_data(max_entries=32, show_spinner="Computing the projection")
def projected(bundle: Bundle, fingerprint: object, method: str, dimensions: int, setting: float) -> np.ndarray:
    """Recompute a projection of the gallery's codes with one's own perplexity or neighbour count."""
    values = codes(bundle)["codes"]
    if method == "t-SNE":
        return projection.tsne(values, setting)
    return projection.umap(values, dimensions, int(setting))


@st.cache_data(max_entries=32, show_spinner=False)
def usual_distance(bundle: Bundle, fingerprint: object) -> float:
    """Compute the median distance of a gallery code to the nearest other one."""
    return latent.usual_distance(torch.from_numpy(codes(bundle)["codes"]))


@st.cache_data(max_entries=64, show_spinner=False)
def structure(bundle: Bundle, fingerprint: object, labels: np.ndarray, points: np.ndarray) -> dict[str, Any]:
    """Measure class structure of codes or coordinates `(M, D)`; see `projection.class_structure`."""
    return dict(projection.class_structure(points, labels))


def download(dataset: Dataset) -> None:
    """Fetch the originals with a progress bar, then run the page anew; say so where it fails."""
    folder = data_folder()
    bar = st.progress(0.0, f"Downloading {dataset.title} to {folder.resolve()}")
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(dataset.fetch, folder)
        while not job.done():
            done = sum(p.stat().st_size for p in folder.glob(f"{dataset.folder}/raw/*.gz")) / 1e6
            bar.progress(min(done / dataset.megabytes, 1.0), f"Downloading: {done:.0f} of {dataset.megabytes} MB")
            time.sleep(0.2)
    bar.empty()
    try:
        job.result()
    except DataError as error:
        st.error(as_text(str(error)), icon=":material/cloud_off:")
        return
    st.rerun()
