"""Fixtures that every test file shares; only these point the program at a folder of bundles."""

import dataclasses
import functools
import gc
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from streamlit.components.v2 import manifest_scanner

import train
from benchmarks.browser import chromium, chromium_path, serve
from explorer import dials, disentanglement, projection, realism, shapes, stages, training
from explorer.datasets import DATASETS, data_folder
from explorer.families import FAMILIES
from explorer.roster import ROSTER, models_for
from explorer.training import Recipe

ALLOWED_SKIPS = ("no CUDA GPU",)
ALLOWED_WITHOUT_DATA = ("EXPLORER_DATA holds no ",)
NO_DATA = str(Path(__file__).parent / "no data")  # always the same, so that stand-ins are decoded once
SIZE = {"width": 1280, "height": 1000}  # of a page in the browser
AUTOENCODERS = [name for name, entry in ROSTER.items() if entry.is_autoencoder]


def pytest_addoption(parser):
    parser.addoption("--strict-skips", action="store_true", help="fail where a test was skipped for want of a tool")


def pytest_collection_modifyitems(items):
    """Tests that share servers first: whole in one process, while tests at the end may change sides."""
    items.sort(key=lambda item: {"browser", "address"}.isdisjoint(item.fixturenames))


def pytest_collection_finish():
    """What is imported by now stays: the collector, which pages call often, does not look through it each time."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session):
    """With --strict-skips, allow tests to be skipped for want of a GPU, or of a data folder, and for nothing else."""
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None or not session.config.option.strict_skips:  # a test process, which reports to another
        return
    allowed = ALLOWED_SKIPS if data_folder().is_dir() else ALLOWED_SKIPS + ALLOWED_WITHOUT_DATA
    terminal.ensure_newline()
    for reason in sorted({r.longrepr[2].removeprefix("Skipped: ") for r in terminal.stats.get("skipped", ())}):
        may = reason.startswith(allowed)
        terminal.write_line(f"{'allowed' if may else 'NOT allowed'} to be skipped: {reason}")
        session.exitstatus = session.exitstatus if may else pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True, scope="session")
def one_search():
    """AppTest looks for components in every installed package each time, which takes longer than most pages do."""
    with pytest.MonkeyPatch.context() as patch:
        search = functools.cache(manifest_scanner.scan_component_manifests)
        patch.setattr(manifest_scanner, "scan_component_manifests", search)
        yield


@pytest.fixture(autouse=True, scope="session")
def few_noisy_images():
    """Curves of PSNR over noise and diversity are half of what a model's bundle costs, and no test reads its values."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "NOISE_IMAGES", 3)
        patch.setattr(realism, "N_PAIRS", 60)
        yield


@pytest.fixture(autouse=True, scope="session")
def short_estimates():
    """The hours of a run are said of two steps in place of six, which take longer than most runs of tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "expected_seconds", functools.partial(training.expected_seconds, n_steps=1))
        yield


@pytest.fixture(autouse=True, scope="session")
def few_qualities():
    """JPEG and WebP of every image at nine qualities are half of what measuring a family of lengths costs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dials, "QUALITIES", (20, 90))
        yield


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory, worker_id):
    """A folder that all test processes of this run share."""
    own = tmp_path_factory.getbasetemp()
    return own if worker_id == "master" else own.parent


@pytest.fixture(autouse=True, scope="session")
def own_places(shared_folder):
    """No test writes into the cache, or a room into the folder of states, of whoever runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXPLORER_CACHE", str(shared_folder / "cache"))
        patch.setenv("EXPLORER_DATABASE", f"sqlite:///{shared_folder}/rooms.sqlite")
        yield


@pytest.fixture(autouse=True)
def as_torch_begins():
    """A fitting takes numbers below 1e-38 for zero from then on, in its whole process, and keeps its threads there."""
    torch.set_flush_denormal(False)
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_main():
    """Streamlit's AppTest leaves the app behind as `__main__`, which every spawned process would run again."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


class Patch(pytest.MonkeyPatch):
    """Replaces parts of the program, which must not meet what these have made and Streamlit keeps."""

    replaced = False

    def setattr(self, *args, **kwargs):
        self._replace()
        super().setattr(*args, **kwargs)

    def setitem(self, table, *args):
        if table is not os.environ:  # folders that it names are part of what is kept
            self._replace()
        super().setitem(table, *args)

    def _replace(self):
        if not self.replaced:
            forget()
        self.replaced = True


def forget():
    if streamlit := sys.modules.get("streamlit"):
        streamlit.cache_data.clear()
        streamlit.cache_resource.clear()


@pytest.fixture
def monkeypatch():
    """As pytest's own; what is kept of files is kept by their state, as on a server, and forgotten for new code."""
    patch = Patch()
    yield patch
    patch.undo()
    if patch.replaced:
        forget()


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


def has_clothes(folder):
    return (folder / "FashionMNIST" / "raw").is_dir()


@pytest.fixture(scope="session")
def data_dir():
    folder = data_folder()
    if not has_clothes(folder):
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


def pca_for_umap(codes, n_components, n_neighbors=None, seed=0):
    return projection.pca(codes, n_components)[0]


def pca_for_tsne(codes, perplexity=None, seed=0):
    return projection.pca(codes, 2)[0]


@pytest.fixture(scope="session")
def build_once(shared_folder) -> Callable[[str, Callable[[Path], None]], Path]:
    """Fill a folder that all test processes of this run share; the first one that asks does, the others wait.

    PCA stands in for the UMAP and t-SNE of bundles: their maps take most of two minutes, and tests of projections make
    real ones.
    """

    def ask(name: str, build: Callable[[Path], None]) -> Path:
        folder = shared_folder / name
        with FileLock(shared_folder / f"{name}.lock"):
            if not folder.exists():
                unfinished = shared_folder / f"{name}.new"
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(projection, "umap", pca_for_umap)
                    patch.setattr(projection, "tsne", pca_for_tsne)
                    build(unfinished)
                unfinished.rename(folder)
        return folder

    return ask


@pytest.fixture(scope="session")
def digits_root(build_once):
    """Bundles of the whole roster, fitted on digits for two epochs, to be read and not written."""
    arguments = ["--dataset", "digits", "--epochs", "2", "--device", "cpu", "--threads", "1"]

    def build(root):
        assert train.main([*arguments, "--checkpoints", str(root)]) == 0

    return build_once("digits", build)


def tiny(family):
    """A family of the same kind with a few members of a few channels."""
    kept = {"length": (1, 4), "beta": (0.0, 4.0)}
    fits = [fit for fit in family.fits if fit.values.get(family.dial, None) in (None, *kept.get(family.dial, ()))]
    small = {True: {"channels": (4, 4), "strides": (2, 2)}, False: {"hidden": (8, 4)}}
    config = lambda fit: dataclasses.replace(fit.config, **small[hasattr(fit.config, "channels")])  # noqa: E731
    recipe = Recipe(epochs=2, batch_size=64, learning_rate=1e-2)
    keep = lambda fit: (0, 1, 2) if fit.keep else ()  # noqa: E731
    fits = [dataclasses.replace(fit, config=config(fit), recipe=recipe, keep=keep(fit)) for fit in fits]
    return dataclasses.replace(family, fits=tuple(fits))


def few_shapes(patch):
    """Draw few shapes, of which those for tests are the first of the real ones, and measure them in little time."""
    patch.setattr(shapes, "SIZES", {"test": 300, "validation": 100, "train": 400})
    patch.setattr(disentanglement, "TREES", 5)


@pytest.fixture
def tiny_families(monkeypatch):
    """The table of families as the tests fit them."""
    for name, family in FAMILIES.items():
        monkeypatch.setitem(FAMILIES, name, tiny(family))


@pytest.fixture(scope="session")
def families_root(build_once, digits_root):
    """All families in a small version beside the bundles of digits, to be read and not written; shapes on their own."""

    def build(root):
        shutil.copytree(digits_root, root)
        homes = {name: "shapes" if family.home == "shapes" else "digits" for name, family in FAMILIES.items()}
        with pytest.MonkeyPatch.context() as patch:
            few_shapes(patch)
            for name, family in list(FAMILIES.items()):
                patch.setitem(FAMILIES, name, tiny(family))
            for home in ("digits", "shapes"):
                names = [name for name in FAMILIES if homes[name] == home]
                common = ["--dataset", home, "--device", "cpu", "--threads", "1", "--checkpoints", str(root)]
                assert train.main([*names, *common]) == 0

    return build_once("families", build)


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


@pytest.fixture(scope="session")
def window(browser):
    """Tabs of one window share the scripts that they have compiled; an idle page draws nothing."""
    context = browser.new_context(viewport=SIZE, reduced_motion="reduce")
    yield context
    context.close()


@pytest.fixture(scope="session")
def tab(window):
    tab = window.new_page()
    # by itself it looks at each frame, and has the browser draw one frame after the other
    tab.wait_for_function = functools.partial(tab.wait_for_function, polling=50)
    return tab


@pytest.fixture
def page(tab):
    """The first tab, empty: what is opened in it is a new session for Streamlit, and quicker than in a new tab."""
    tab.goto("about:blank")
    tab.set_viewport_size(SIZE)
    tab.emulate_media(color_scheme="light", forced_colors="none")
    return tab
