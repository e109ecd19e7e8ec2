"""Fixtures that every test file shares; only these point the program at a folder of bundles."""

import sys

import pytest
import torch

import train
from benchmarks.browser import chromium, chromium_path, serve
from explorer.datasets import DATASETS, data_folder
from explorer.roster import ROSTER, models_for

AUTOENCODERS = [name for name, entry in ROSTER.items() if entry.is_autoencoder]


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Two test processes share what may be two cores; the programs they start inherit the variable."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        torch.set_num_threads(1)
        yield


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXPLORER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def own_main(monkeypatch):
    """Streamlit's AppTest leaves the app behind as `__main__`, which every spawned process would run again."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture(autouse=True)
def clear_streamlit_caches():
    if streamlit := sys.modules.get("streamlit"):
        streamlit.cache_data.clear()
        streamlit.cache_resource.clear()


@pytest.fixture(params=ROSTER.values(), ids=list(ROSTER))
def entry(request):
    return request.param


@pytest.fixture(params=[ROSTER[name] for name in AUTOENCODERS], ids=AUTOENCODERS)
def autoencoder_entry(request):
    return request.param


@pytest.fixture(params=models_for("digits"))
def digits_entry(request):
    return ROSTER[request.param]


@pytest.fixture
def model(entry):
    return build(entry)


@pytest.fixture
def autoencoder(autoencoder_entry):
    return build(autoencoder_entry)


def build(entry):
    torch.manual_seed(0)
    return entry.config.build().eval()


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def x(request, generator):
    entries = {"entry", "autoencoder_entry"} & set(request.fixturenames)
    shape = request.getfixturevalue(entries.pop()).config.image_shape if entries else (1, 28, 28)
    return torch.rand(5, *shape, generator=generator)


@pytest.fixture(scope="session")
def digits():
    return {split: DATASETS["digits"].load(split) for split in ("train", "validation", "test")}


@pytest.fixture(scope="session")
def data_dir():
    folder = data_folder()
    if not (folder / "FashionMNIST" / "raw").is_dir():
        pytest.skip("EXPLORER_DATA holds no Fashion-MNIST")
    return folder


@pytest.fixture(scope="session")
def faces_dir():
    folder = data_folder()
    if not (folder / "celeba" / "img_align_celeba").is_dir():
        pytest.skip("EXPLORER_DATA holds no CelebA")
    return folder


@pytest.fixture
def checkpoints_root(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(tmp_path / "checkpoints"))
    return tmp_path / "checkpoints"


@pytest.fixture(scope="session")
def digits_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("digits") / "checkpoints"
    arguments = ["--dataset", "digits", "--epochs", "2", "--device", "cpu", "--threads", "1"]
    assert train.main([*arguments, "--checkpoints", str(root)]) == 0
    return root


@pytest.fixture(scope="session")
def browser():
    if chromium_path() is None:
        pytest.skip("no Chromium is installed")
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def address():
    with serve() as started:
        yield started


@pytest.fixture
def page(browser):
    opened = browser.new_page(viewport={"width": 1280, "height": 1000})
    yield opened
    opened.close()
