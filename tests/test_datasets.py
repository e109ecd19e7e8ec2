import dataclasses
import hashlib
import struct
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision

from explorer.datasets import DATASETS, DataError, data_folder, gallery_indices

IDX_NAMES = [name for name, dataset in DATASETS.items() if dataset.fetch]
SPLITS = ("train", "validation", "test")
CHECKSUMS = {  # SHA-256 of the labels as bytes, in the order of the split
    "train": "c1eff4e4230ce89b3f8a997098cc3b7e955c656c9302303db82d2e3993f2c27f",
    "validation": "7589c0ffb5d60a567d4d651ef4ec3cfc7c51a0f592e6410108939e9d00af2390",
    "test": "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
}
GALLERY_CHECKSUM = "f86b17d522042314e686570efb035d01b7ec9c417dfab9ddf6a468a269ec25c2"  # of the indices as int64


def checksum(array):
    return hashlib.sha256(array.tobytes()).hexdigest()


def write_idx(path, array):
    path.write_bytes(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes())


@pytest.fixture(params=IDX_NAMES)
def dataset(request):
    return DATASETS[request.param]


@pytest.fixture
def raw(dataset, tmp_path):
    folder = tmp_path / dataset.folder / "raw"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for prefix, n in (("train", 5012), ("t10k", 30)):
        write_idx(folder / f"{prefix}-images-idx3-ubyte", random.integers(0, 256, (n, 28, 28), dtype=np.uint8))
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", random.integers(0, 10, n, dtype=np.uint8))
    return folder


def test_digits_splits_are_disjoint_and_complete(digits):
    assert [len(digits[split]) for split in SPLITS] == [1300, 137, 360]
    images = torch.cat([digits[split].images for split in SPLITS])
    assert len(images.flatten(1).unique(dim=0)) == 1797


def test_digits_are_the_same_twice_and_need_no_folder(digits, tmp_path):
    for split in SPLITS:
        again = DATASETS["digits"].load(split, tmp_path / "nowhere")
        assert torch.equal(again.images, digits[split].images)
        assert torch.equal(again.labels, digits[split].labels)


def test_digits_test_split_has_each_class_equally_often(digits):
    assert (digits["test"].labels.bincount(minlength=10) - 36).abs().max() <= 1


def test_images_are_bytes_of_the_shape_the_table_says(digits):
    for data in digits.values():
        assert data.images.dtype == torch.uint8
        assert data.images.shape[1:] == DATASETS["digits"].image_shape
        assert data.labels.dtype == torch.int64
        assert data.classes == DATASETS["digits"].classes


@pytest.mark.parametrize(("split", "size"), [("train", 55_000), ("validation", 5_000), ("test", 10_000)])
def test_fashion_mnist_is_always_split_the_same_way(data_dir, split, size):
    data = DATASETS["fashion-mnist"].load(split, data_dir)
    assert data.images.shape == (size, 1, 28, 28)
    assert checksum(data.labels.to(torch.uint8).numpy()) == CHECKSUMS[split]


def test_fashion_mnist_gallery_is_always_the_same_hundred_of_each_class(data_dir):
    labels = DATASETS["fashion-mnist"].load("test", data_dir).labels
    picked = gallery_indices(labels)
    assert checksum(picked.numpy()) == GALLERY_CHECKSUM
    assert labels[picked].bincount().tolist() == [100] * 10


def test_a_gallery_has_each_class_equally_often_and_each_image_once(generator):
    labels = torch.randint(10, (3000,), generator=generator)
    picked = gallery_indices(labels, size=200)
    assert labels[picked].bincount().tolist() == [20] * 10
    assert (picked.diff() > 0).all()
    assert torch.equal(gallery_indices(labels, size=200), picked)


def test_a_gallery_takes_a_small_test_set_whole(digits):
    assert gallery_indices(digits["test"].labels).tolist() == list(range(360))


def test_images_and_labels_stay_together(digits):
    data = digits["test"]
    index = torch.tensor([7, 3])
    picked = data[index].to("cpu")
    assert torch.equal(picked.images, data.images[index])
    assert torch.equal(picked.labels, data.labels[index])
    named = dataclasses.replace(data, names=tuple(map(str, range(len(data)))), attributes=data.images[:, 0, 0].char())
    assert named[index].names == ("7", "3")
    assert torch.equal(named[index].attributes, named.attributes[index])
    assert named.places(["5", "2"]).tolist() == [5, 2]
    with pytest.raises(DataError, match="1 of 2 images are not there, nobody among them"):
        named.places(["5", "nobody"])


def test_the_data_folder_is_the_argument_then_the_variable_then_data(monkeypatch):
    monkeypatch.setenv("EXPLORER_DATA", "from-variable")
    assert str(data_folder("from-argument")) == "from-argument"
    assert str(data_folder()) == "from-variable"
    monkeypatch.setenv("EXPLORER_DATA", "")
    assert str(data_folder()) == "data"


def test_idx_files_are_read_and_parted(dataset, raw, tmp_path):
    train, validation, test = (dataset.load(split, tmp_path) for split in SPLITS)
    assert [len(data) for data in (train, validation, test)] == [12, 5000, 30]
    stored = np.frombuffer((raw / "t10k-images-idx3-ubyte").read_bytes()[16:], dtype=np.uint8)
    assert np.array_equal(test.images.numpy().ravel(), stored)
    everything = torch.cat([train.images, validation.images]).flatten(1)
    assert len(everything.unique(dim=0)) == 5012


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


DAMAGES = {
    "missing": ("images-idx3", lambda path: path.unlink(), "is missing"),
    "labels missing": ("labels-idx1", lambda path: path.unlink(), "is missing"),
    "truncated images": ("images-idx3", cut, "is truncated or damaged"),
    "truncated labels": ("labels-idx1", cut, "is truncated or damaged"),
    "truncated header": ("images-idx3", lambda path: path.write_bytes(b"\0\0\x08\x03\0\0"), "is truncated or damaged"),
    "empty": ("images-idx3", lambda path: path.write_bytes(b""), "is not an IDX file"),
    "too long": ("labels-idx1", lambda path: path.write_bytes(path.read_bytes() + b"x"), "is truncated or damaged"),
    "foreign": ("images-idx3", lambda path: path.write_bytes(b"\x89PNG and so on"), "is not an IDX file"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(("split", "prefix"), [("train", "train"), ("validation", "train"), ("test", "t10k")])
def test_a_damaged_file_is_named_with_the_command_that_mends_it(dataset, raw, tmp_path, split, prefix, damage):
    kind, spoil, reason = DAMAGES[damage]
    path = raw / f"{prefix}-{kind}-ubyte"
    spoil(path)
    with pytest.raises(DataError) as error:
        dataset.load(split, tmp_path)
    assert f"{path} {reason}" in str(error.value)
    assert f"python train.py --download --dataset {dataset.name}" in str(error.value)


def test_a_missing_folder_is_an_error_that_names_the_command(dataset, tmp_path):
    with pytest.raises(DataError, match=f"is missing. .*python train.py --download --dataset {dataset.name}"):
        dataset.load("train", tmp_path / "nowhere")


@pytest.mark.parametrize(("split", "other", "size"), [("train", "t10k", 12), ("test", "train", 30)])
def test_one_half_is_read_without_the_files_of_the_other(dataset, raw, tmp_path, split, other, size):
    for path in raw.glob(f"{other}-*"):
        path.unlink()
    assert len(dataset.load(split, tmp_path)) == size


@pytest.mark.parametrize("source", ["t10k-labels-idx1-ubyte", "train-images-idx3-ubyte"])
def test_a_whole_file_in_the_place_of_another_is_named(dataset, raw, tmp_path, source):
    path = raw / "t10k-images-idx3-ubyte"
    path.write_bytes((raw / source).read_bytes())
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte"):
        dataset.load("test", tmp_path)


@pytest.mark.parametrize("reason", [URLError("no route to host"), RuntimeError("Error downloading"), OSError("full")])
def test_a_failed_download_says_why_and_what_to_do(dataset, tmp_path, monkeypatch, reason):
    def fail(*args, **kwargs):
        raise reason

    monkeypatch.setattr(torchvision.datasets, dataset.folder, fail)
    with pytest.raises(DataError) as error:
        dataset.fetch(tmp_path)
    for words in (dataset.title, str(tmp_path), str(reason), "Check the network", f"{dataset.folder}/raw"):
        assert words in str(error.value)


def test_fetching_clears_away_what_is_damaged_and_nothing_else(dataset, raw, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(torchvision.datasets, dataset.folder, lambda *args, **kwargs: calls.append((args, kwargs)))
    damaged = raw / "train-labels-idx1-ubyte"
    cut(damaged)
    before = {path.name for path in raw.iterdir()}
    dataset.fetch(tmp_path)
    assert calls == [((tmp_path,), {"download": True})]
    assert before - {path.name for path in raw.iterdir()} == {damaged.name}
