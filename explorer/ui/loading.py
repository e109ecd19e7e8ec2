"""Cached readers of bundles and galleries. Every key holds the files' fingerprints, so that nothing is stale."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
import torch

from explorer import checkpoints, latent, layers, metrics, projection
from explorer.checkpoints import Bundle, BundleError
from explorer.datasets import DATASETS, DataError, Dataset, data_folder
from explorer.images import to_float
from explorer.models import Model
from explorer.roster import ROSTER

STAND_IN_MODEL = "conv-ae"


@dataclass(frozen=True)
class Gallery:
    """The images that every page draws from.

    images: float32 `(M, C, H, W)` in [0, 1]. labels: int64 `(M,)`. indices: their places in the test
    split `(M,)`. notice: empty for originals, else why stand-ins are shown and how far off they are.
    """

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray
    classes: tuple[str, ...]
    notice: str = ""

    def __len__(self) -> int:
        return len(self.images)

    def label(self, i: int) -> str:
        """Name the class of one gallery image."""
        return self.classes[self.labels[i]]


def fitted(root: Path, dataset: str) -> bool:
    """Whether any bundle folder of a data set exists."""
    return any((root / dataset / name).is_dir() for name in ROSTER)


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
    return layers.pack(bundle.identity, model(bundle).networks())


def codes(bundle: Bundle) -> dict[str, np.ndarray]:
    """Read the gallery's codes and projections as float32 arrays; raises `BundleError`."""
    return _codes(bundle, bundle.fingerprint)


@st.cache_resource(max_entries=16, show_spinner=False)
def _codes(bundle: Bundle, fingerprint: object) -> dict[str, np.ndarray]:
    tensors = bundle.codes()
    whole = {"test_labels"}
    return {k: (v.long() if k in whole else v.float()).numpy() for k, v in tensors.items()}


def problem(bundle: Bundle) -> str:
    """Check a bundle by reading it all; return what is wrong with it, or an empty string."""
    return _problem(bundle, bundle.fingerprint)


@st.cache_data(max_entries=64, show_spinner=False)
def _problem(bundle: Bundle, fingerprint: object) -> str:
    try:
        loaded, stored = model(bundle), codes(bundle)
        bundle.history()
        bundle.metrics()
        indices = checkpoints.read_gallery(bundle.root, bundle.dataset).indices
    except BundleError as error:
        return str(error)
    if stored["codes"].shape != (len(indices), loaded.code_length):
        return (
            f"{bundle.folder / 'codes.safetensors'} holds codes of another gallery. "
            f"Make it anew with: {bundle.command('projections')}"
        )
    return ""


def gallery(dataset: str, root: Path) -> Gallery:
    """Read the gallery: originals where the data are on disk, else stand-ins decoded from stored codes."""
    test_file = data_folder() / DATASETS[dataset].folder
    changed = tuple(sorted((p.name, p.stat().st_mtime_ns) for p in test_file.glob("raw/*")))
    stand_in = Bundle(dataset, STAND_IN_MODEL, root)
    try:
        return _gallery(dataset, root, str(data_folder()), changed, stand_in.fingerprint)
    except BundleError as error:
        st.error(str(error))
        st.stop()


@st.cache_resource(max_entries=8, show_spinner="Reading the gallery")
def _gallery(dataset: str, root: Path, data_dir: str, changed: object, fingerprint: object) -> Gallery:
    stored = checkpoints.read_gallery(root, dataset)
    indices, labels = stored.indices, stored.labels
    classes = DATASETS[dataset].classes
    try:
        images = to_float(DATASETS[dataset].load("test", data_dir).images[indices])
        notice = ""
    except DataError as error:
        bundle = Bundle(dataset, STAND_IN_MODEL, root)
        with torch.inference_mode():
            images = bundle.load().decode(bundle.codes()["codes"].float())
        notice = (
            f"{error} Until then you see images decoded by {STAND_IN_MODEL} from its stored codes of the "
            f"test images, with a mean squared error of {bundle.metrics()['mse']:.4f} to the originals."
        )
    return Gallery(images.numpy(), labels.numpy(), indices.numpy(), classes, notice)


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
    return model(bundle)(torch.from_numpy(x)).numpy()


@torch.inference_mode()
def decode(bundle: Bundle, z: torch.Tensor) -> np.ndarray:
    """Decode codes `(N, D)` to images `(N, C, H, W)` in [0, 1] with one model."""
    return model(bundle).decode(z).numpy()


@torch.inference_mode()
def encode(bundle: Bundle, x: np.ndarray) -> torch.Tensor:
    """Encode images `(N, C, H, W)` in [0, 1] to codes `(N, D)` with one model."""
    return model(bundle).embed(torch.from_numpy(x))


def gallery_errors(bundle: Bundle, shown: Gallery) -> np.ndarray:
    """Compute the mean squared error of every gallery image under one model `(M,)`."""
    return _gallery_errors(bundle, bundle.fingerprint, shown.notice, shown)


@st.cache_data(max_entries=32, show_spinner=False)
def _gallery_errors(bundle: Bundle, fingerprint: object, notice: str, _shown: Gallery) -> np.ndarray:
    rebuilt = np.concatenate([reconstruct(bundle, x) for x in np.array_split(_shown.images, 10)])
    return metrics.mse_per_image(torch.from_numpy(_shown.images), torch.from_numpy(rebuilt)).numpy()


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
        st.error(str(error), icon=":material/cloud_off:")
        return
    st.rerun()
