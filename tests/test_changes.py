"""What pages show while files change under a running server: caches are shared by all that a test opens."""

import dataclasses
import itertools
import json
import os
import shutil
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from explorer import projection
from explorer.checkpoints import STAGES, Bundle, BundleError, read_gallery, to_json, to_safetensors
from explorer.datasets import DATASETS, DataError
from explorer.ui import catalog, downloading, kept, loading
from explorer.ui.frame import View
from explorer.ui.opening import opened
from tests.test_app import open_page, words

FILES = [name for names in STAGES.values() for name in names]
COMMITTED = Path(__file__).parent.parent / "checkpoints"


def gallery_of(dataset, root):
    return loading.gallery(catalog.collection(root, dataset), root)


@pytest.fixture
def root(digits_root, tmp_path, monkeypatch):
    """Bundles of digits of one's own."""
    copy = tmp_path / "checkpoints"
    shutil.copytree(digits_root, copy)
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(copy))
    return copy


def read(root: Path, model: str = "fc-ae"):
    return opened(
        Bundle("digits", model, root), catalog.dataset(root, "digits"), len(read_gallery(root, "digits").labels)
    )


def change_figure(bundle: Bundle, **figures):
    bundle.write_metrics({k: v for k, v in bundle.metrics().items() if k != "weights"} | figures)


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_goes_is_missed_and_one_that_is_put_back_is_as_it_was(root, file):
    path, away = root / "digits" / "fc-ae" / file, root / "away"
    before = read(root)
    assert before.problem == ""
    path.rename(away)
    gone = read(root)
    assert file in gone.problem and "python train.py fc-ae --dataset digits" in gone.problem
    away.rename(path)
    assert read(root).problem == ""


def test_a_model_that_is_fitted_anew_is_shown_at_once_and_so_are_its_figures_and_codes(root):
    bundle, other = Bundle("digits", "fc-ae", root), Bundle("digits", "conv-ae", root)

    def shown(key):
        app = open_page(key, models="fc-ae", model="fc-ae")
        assert not app.exception
        return words(app)

    def figure():
        [table] = open_page("overview").dataframe
        return table.value.set_index("Model").loc["Dense AE", "Test MSE"]

    assert figure() == pytest.approx(bundle.metrics()["mse"])
    before, codes = shown("reconstruct"), bundle.codes()
    weights = {name: value * 0.5 for name, value in bundle.load().state_dict().items()}
    content = to_safetensors(weights)
    config = json.loads((bundle.folder / "config.json").read_text(encoding="utf-8"))
    (bundle.folder / "model.safetensors").write_bytes(content)
    (bundle.folder / "config.json").write_bytes(to_json(config | {"weights": bundle.weights_digest()}))
    assert "metrics.json belongs to other weights" in shown("reconstruct")
    bundle.write_metrics(other.metrics() | {"mse": 0.125})
    assert "codes.safetensors belongs to other weights" in shown("reconstruct")
    bundle.write_codes({name: value + 1 if name == "codes" else value for name, value in codes.items()})
    assert figure() == 0.125
    after = shown("reconstruct")
    assert "cannot be shown" not in after and after != before
    assert "cannot be shown" not in shown("latent_map")
    change_figure(bundle, mse=0.25)
    assert figure() == 0.25


def test_a_gallery_that_is_replaced_or_put_back_is_noticed(root):
    path = root / "digits" / "gallery.json"
    older = path.with_name("older.json")
    shutil.copy2(path, older)
    values = json.loads(path.read_text(encoding="utf-8"))
    n = len(values["labels"])
    assert "cannot be shown" not in words(open_page("interpolate"))
    path.write_text(json.dumps({name: entries[:50] for name, entries in values.items()}), encoding="utf-8")
    app = open_page("interpolate")
    assert not app.exception
    assert "holds codes of another gallery" in words(app)
    path.write_text(json.dumps({name: entries[::-1] for name, entries in values.items()}), encoding="utf-8")
    assert gallery_of("digits", root).indices.tolist() == values["indices"][::-1]
    path.write_text("{", encoding="utf-8")
    assert "gallery.json" in open_page("interpolate").error[0].value
    older.replace(path)
    assert len(gallery_of("digits", root)) == n
    assert "cannot be shown" not in words(open_page("interpolate"))


@pytest.mark.parametrize(
    "values",
    [
        {"indices": [0, -1], "labels": [0, 1]},
        {"indices": [0, 1], "labels": [0, 10]},
        {"indices": [0, 1], "labels": [0, -1]},
        {"indices": [0, 1], "labels": [0, 1], "names": ["a.jpg", "../b.jpg"]},
        {"indices": [0, 1], "labels": [0, 1], "names": ["a.jpg", 7]},
        {"indices": [0, 10**30], "labels": [0, 1]},
    ],
)
def test_a_gallery_of_images_that_there_cannot_be_is_refused_with_the_command(root, values):
    (root / "digits" / "gallery.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(BundleError, match=r"gallery\.json .* --dataset digits --only projections"):
        gallery_of("digits", root)


def write_test_split(data: Path, value: int) -> Path:
    """Write a test split of Fashion-MNIST of one grey."""
    raw = data / "FashionMNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    images = raw / "t10k-images-idx3-ubyte"
    images.write_bytes(bytes((0, 0, 8, 3)) + struct.pack(">3I", 10_000, 28, 28) + bytes((value,)) * 7_840_000)
    labels = raw / "t10k-labels-idx1-ubyte"
    labels.write_bytes(bytes((0, 0, 8, 1)) + struct.pack(">I", 10_000) + bytes(10_000))
    return images


def test_originals_that_arrive_and_go_are_noticed_by_every_page(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPLORER_DATA", str(tmp_path))
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(tmp_path / "checkpoints"))
    few = tmp_path / "checkpoints" / "fashion-mnist"
    for model in ("fc-ae", "ffnn"):
        shutil.copytree(COMMITTED / "fashion-mnist" / model, few / model)
    shutil.copy(COMMITTED / "fashion-mnist" / "gallery.json", few)

    def shown():
        app = open_page("classify")
        assert not app.exception
        return words(app)

    assert "only in the original data" in shown()
    images = write_test_split(tmp_path, 51)
    assert "only in the original data" not in shown()
    assert "Stand-ins" not in shown()
    images.unlink()
    assert "only in the original data" in shown()


def test_originals_of_the_same_size_and_time_take_the_place_of_others(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPLORER_DATA", str(tmp_path))
    first = write_test_split(tmp_path, 51)
    stat = first.stat()
    assert gallery_of("fashion-mnist", COMMITTED).images.mean() == pytest.approx(0.2)
    os.utime(write_test_split(tmp_path, 102), ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert gallery_of("fashion-mnist", COMMITTED).images.mean() == pytest.approx(0.4)
    assert loading.test_images(catalog.dataset(COMMITTED, "fashion-mnist")).max() == 102


def test_a_face_of_the_gallery_that_is_written_anew_is_shown_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPLORER_DATA", str(tmp_path))
    names = [f"{i:06d}.png" for i in range(3)]
    folder, index = tmp_path / "celeba" / "img_align_celeba", tmp_path / "celeba" / "gallery.json"
    folder.mkdir(parents=True)
    index.write_text(json.dumps({"indices": [0, 1, 2], "labels": [0, 0, 0], "names": names}), encoding="utf-8")
    for name in names:
        Image.new("RGB", (64, 64), "black").save(folder / name)
    before = gallery_of("celeba", tmp_path)
    assert before is gallery_of("celeba", tmp_path)
    assert before.images.max() == 0
    Image.new("RGB", (64, 64), "white").save(folder / names[1])
    assert gallery_of("celeba", tmp_path).images[1].min() == 1
    bitmap = folder / "000002.bmp"  # of another ending, and in another of the folders in which faces are looked for
    (folder / names[2]).unlink()
    Image.new("RGB", (64, 64), "black").save(bitmap)
    assert gallery_of("celeba", tmp_path).images[2].max() == 0
    Image.new("RGB", (64, 64), "white").save(bitmap)  # of the same length
    assert gallery_of("celeba", tmp_path).images[2].min() == 1
    (tmp_path / "celeba" / "img").mkdir()
    folder.rename(tmp_path / "celeba" / "img" / folder.name)
    assert gallery_of("celeba", tmp_path).images[2].min() == 1


def test_what_is_read_while_files_change_is_never_kept_as_of_their_old_state(tmp_path):
    """The older file comes back untouched, by a rename: what was read in between must not be taken for its content."""
    path, away = tmp_path / "value", tmp_path / "away"
    path.write_text("old", encoding="utf-8")
    hindrances = iter([True])

    @kept.from_files(lambda name: kept.stamp([name]))
    def value(name):
        if next(hindrances, False):  # it is replaced after it was looked at, before it is read
            path.rename(away)
            path.write_text("new", encoding="utf-8")
        return path.read_text(encoding="utf-8")

    assert value(str(path)) == "new"
    away.replace(path)
    assert value(str(path)) == "old"


def test_an_error_of_a_read_between_two_files_is_no_answer(tmp_path):
    path = tmp_path / "value"
    path.write_text("old", encoding="utf-8")
    attempts = itertools.count()

    @kept.from_files(lambda name: kept.stamp([name]))
    def value(name):
        if next(attempts) == 0:
            path.write_text("new and longer", encoding="utf-8")
            raise BundleError("half of it is old")
        return path.read_text(encoding="utf-8")

    assert value(str(path)) == "new and longer"


def test_files_that_never_stand_still_give_words(tmp_path):
    path, numbers = tmp_path / "value", itertools.count()
    path.write_text("", encoding="utf-8")

    @kept.from_files(lambda name: kept.stamp([name]))
    def value(name):
        path.write_text("x" * next(numbers), encoding="utf-8")

    with pytest.raises(BundleError, match="being replaced"):
        value(str(path))


def test_a_part_of_a_page_that_runs_alone_notices_that_files_have_changed(root):
    view = View(catalog.collection(root, "digits"), root, gallery_of("digits", root))
    before = view.bundle("fc-ae")
    assert view.is_current()
    change_figure(before, mse=0.5)
    assert not view.is_current()
    assert view.bundle("fc-ae").metrics()["mse"] != 0.5  # one run of a page sees one state
    app = open_page("denoise")
    change_figure(Bundle("digits", "conv-ae", root), psnr=-7.0)
    shutil.rmtree(root / "digits" / "conv-dae")
    app = app.slider(key="level-gaussian").set_value(0.9).run()
    assert not app.exception
    assert "This needs a model that was trained to take noise away" in words(app)


def changed_tensors(bundle: Bundle, **tensors):
    bundle.write_codes({k: v for k, v in (bundle.codes() | tensors).items() if v is not None})


CODES = [
    ("conv-vae", {"log_var": None}),
    ("conv-vae", {"log_var": torch.zeros(360, 3)}),
    ("conv-vae", {"log_var": torch.full((360, 2), 200.0)}),
    ("fc-ae", {"codes": torch.full((360, 64), float("nan"))}),
    ("fc-ae", {"codes": torch.full((360, 64), float("inf"))}),
    ("fc-ae", {"codes": torch.zeros(360, 63)}),
    ("fc-ae", {"codes": torch.zeros(359, 64)}),
    ("fc-ae", {"codes": torch.zeros(360, 64, dtype=torch.int64)}),
    ("fc-ae", {"tsne_2d": torch.zeros(360, 3)}),
    ("fc-ae", {"umap_3d": torch.zeros(360)}),
    ("fc-ae", {"pca_2d": torch.full((360, 2), float("nan"))}),
    ("fc-ae", {"pca_explained": torch.tensor(0.5)}),
    ("ffnn", {"test_logits": torch.zeros(360, 9)}),
    ("ffnn", {"test_labels": torch.zeros(359, dtype=torch.uint8)}),
    ("ffnn", {"test_labels": torch.full((360,), 10, dtype=torch.uint8)}),
    ("ffnn", {"test_labels": torch.zeros(360)}),
    ("fc-ae", {"labelled_codes": torch.zeros(5, 64)}),
    ("fc-ae", {"labelled_codes": torch.zeros(5, 64), "labelled_attributes": torch.zeros(4, 0, dtype=torch.int8)}),
]  # fmt: skip
FIGURES = [
    ("fc-ae", {"mse": "0.1"}), ("fc-ae", {"psnr": None}), ("fc-ae", {"ssim": [1.0]}), ("fc-ae", {"mse": float("nan")}),
    ("fc-ae", {"mse": 10**400}), ("fc-ae", {"mse": True}), ("fc-ae", {"psnr_by_noise": 3}),
    ("fc-ae", {"psnr_by_noise_classical": {"gaussian": {"level": [0.0], "input": [1.0], "median": [1.0, 2.0]}}}),
    ("conv-vae", {"kl_per_dimension": [1.0]}), ("conv-vae", {"kl_per_dimension": [1.0, "2"]}),
    ("conv-vae", {"negative_elbo": {}}), ("fc-ae", {"swd": {"28": 1.0}}), ("ffnn", {"accuracy": "good"}),
]  # fmt: skip


@pytest.mark.parametrize(("file", "model", "change"), [("codes.safetensors", *c) for c in CODES] + [
    ("metrics.json", *c) for c in FIGURES])  # fmt: skip
def test_what_does_not_fit_together_in_a_bundle_is_named_with_its_command(root, file, model, change):
    bundle = Bundle("digits", model, root)
    (changed_tensors if file == "codes.safetensors" else change_figure)(bundle, **change)
    problem = read(root, model).problem
    assert f"{model}/{file}" in problem.replace(os.sep, "/")
    assert f"python train.py {model} --dataset digits --only" in problem
    assert "Error" not in problem


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("config.json", '"batch_size": 128', '"batch_size": "many"'),
        ("config.json", '"validation": 137', '"validation": null'),
        ("config.json", '"kind": "autoencoder"', '"kind": "classifier"'),
        ("history.csv", "validation_loss", "test_loss"),
        ("history.csv", "seconds", "minutes"),
    ],
)
def test_a_description_or_a_history_of_another_kind_is_named_with_its_command(root, file, old, new):
    path = root / "digits" / "fc-ae" / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    problem = read(root).problem
    assert file in problem and "python train.py fc-ae --dataset digits" in problem


@pytest.mark.parametrize("key", ["latent_map", "generate", "latent_plane"])
def test_a_variational_model_without_log_var_is_named_and_takes_no_page_down(root, key):
    changed_tensors(Bundle("digits", "conv-vae", root), log_var=None)
    app = open_page(key, model="conv-vae")
    assert not app.exception
    assert "python train.py conv-vae --dataset digits --only projections" in words(app)


def test_the_same_projection_asked_for_at_once_is_computed_once_and_holds_nobody_else_up(root, monkeypatch):
    started, go, calls = threading.Event(), threading.Event(), []

    def slow(codes, dimensions, neighbours):
        calls.append(neighbours)
        started.set()
        assert go.wait(30)
        return codes[:, :dimensions]

    monkeypatch.setattr(projection, "umap", slow)
    bundle = read(root)
    with ThreadPoolExecutor(3) as visitors:
        asked = [visitors.submit(loading.projected, bundle, "UMAP", 2, 7) for _ in range(3)]
        assert started.wait(30)
        assert "cannot be shown" not in words(open_page("latent_map", method="PCA"))
        assert not any(answer.done() for answer in asked)
        go.set()
        first, *others = [answer.result(30) for answer in asked]
    assert calls == [7]
    assert all(np.array_equal(first, other) for other in others)


def test_visitors_who_ask_for_the_same_originals_wait_for_one_download_and_hear_of_its_failure(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPLORER_DATA", str(tmp_path))
    go, calls = threading.Event(), []

    def fetch(folder):
        calls.append(folder)
        assert go.wait(30)
        raise DataError("there is no network")

    dataset = dataclasses.replace(DATASETS["mnist"], fetch=fetch)
    first, second = downloading.job(dataset), downloading.job(dataset)
    assert first is second and not first.done()
    go.set()
    for waiting in (first, second):
        with pytest.raises(DataError, match="no network"):
            waiting.result(30)
    assert calls == [tmp_path.resolve()]
    assert downloading.job(dataset) is not first
