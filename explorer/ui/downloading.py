"""The download of originals: one at a time for each data set, however many visitors ask for it."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import streamlit as st

from explorer.datasets import DATASETS, DataError, Dataset, data_folder
from explorer.language import say
from explorer.ui.text import as_text

_pool = ThreadPoolExecutor(len(DATASETS), "download")
_jobs: dict[tuple[str, Path], Future[None]] = {}
_starting = threading.Lock()


def job(dataset: Dataset) -> Future[None]:
    """Begin to fetch the originals, or join those who wait for them already."""
    key = dataset.name, data_folder().resolve()
    with _starting:
        if key not in _jobs or _jobs[key].done():
            _jobs[key] = _pool.submit(dataset.fetch, key[1])
        return _jobs[key]


def download(dataset: Dataset) -> None:
    """Fetch the originals with a progress bar, then run the page anew; say so where it fails."""
    folder = data_folder()
    bar = st.progress(0.0, say("Downloading {title} to {folder}", title=say(dataset.title), folder=folder.resolve()))
    fetching = job(dataset)
    while not fetching.done():
        done = sum(_size(path) for path in folder.glob(f"{dataset.folder}/raw/*.gz")) / 1e6
        told = say("Downloading: {done:.0f} of {all} MB", done=done, all=dataset.megabytes)
        bar.progress(min(done / dataset.megabytes, 1.0), told)
        time.sleep(0.2)
    bar.empty()
    try:
        fetching.result()
    except DataError as error:
        st.error(as_text(str(error)), icon=":material/cloud_off:")
        return
    st.rerun()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # it was given its own name since it was listed
        return 0
