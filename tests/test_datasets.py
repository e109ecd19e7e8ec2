import contextlib
import dataclasses
import errno
import gzip
import hashlib
import http.server
import socket
import struct
import threading
import time

import numpy as np
import pytest
import torch
import torchvision

from explorer import mnist
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


def packed(path):
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def dotted(path):
    path.rename(path.with_name(path.name.replace("-idx", ".idx")))


def unpacked_by_the_browser(path):
    path.rename(path.with_name(f"{path.name}.gz"))


def half_unpacked(path):
    content = path.read_bytes()
    packed(path)
    path.write_bytes(content[:100])


@pytest.mark.parametrize("change", [packed, dotted, unpacked_by_the_browser, half_unpacked])
def test_files_are_read_as_they_are_published_and_as_programs_unpack_them(dataset, raw, tmp_path, change):
    before = [dataset.load(split, tmp_path) for split in SPLITS]
    for path in list(raw.iterdir()):
        change(path)
    for split, data in zip(SPLITS, before, strict=True):
        after = dataset.load(split, tmp_path)
        assert torch.equal(after.images, data.images)
        assert torch.equal(after.labels, data.labels)


@pytest.mark.parametrize(
    ("name", "array", "reason"),
    [
        ("t10k-images-idx3-ubyte", np.zeros((30, 32, 32), np.uint8), "holds images of 32×32 pixels, not 28×28"),
        ("t10k-images-idx3-ubyte", np.zeros((29, 28, 28), np.uint8), "holds 29 images, but"),
        ("t10k-labels-idx1-ubyte", np.full(30, 10, np.uint8), "holds the label 10, but there are 10 classes"),
        ("t10k-labels-idx1-ubyte", np.zeros(0, np.uint8), "is truncated or damaged"),
    ],
)
def test_whole_files_that_hold_something_else_are_named(dataset, raw, tmp_path, name, array, reason):
    write_idx(raw / name, array)
    with pytest.raises(DataError, match=f"{name} {reason}.*python train.py --download"):
        dataset.load("test", tmp_path)


@pytest.mark.parametrize("spoil", [lambda c: c[:-20], lambda c: c[:40] + b"spoilt" + c[46:], lambda c: c[:2]])
def test_a_damaged_packed_file_is_named(dataset, raw, tmp_path, spoil):
    path = raw / "t10k-images-idx3-ubyte"
    packed(path)
    path = path.with_name(f"{path.name}.gz")
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte\.gz is truncated or damaged"):
        dataset.load("test", tmp_path)


class Mirror(http.server.ThreadingHTTPServer):
    """Serves `files`, those in `faults` as these functions do; keeps the names that were asked for."""

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.faults, self.asked, self.closing = files, {}, [], threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.removeprefix("/")
        self.server.asked.append(name)
        with contextlib.suppress(ConnectionError):
            self.server.faults.get(name, whole)(self, self.server.files[name])

    def begin(self, size):
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()

    def log_message(self, *args):
        pass


def whole(reply, content):
    reply.begin(len(content))
    reply.wfile.write(content)


def not_there(reply, content):
    reply.send_error(404)


def other_content(reply, content):
    whole(reply, b"<html>Please accept our terms of use</html>")


def cut_short(reply, content):
    reply.begin(len(content))
    reply.wfile.write(content[:-1])


def silent(reply, content):
    reply.server.closing.wait(20)


def hanging(reply, content):
    reply.begin(len(content))
    reply.wfile.write(content[:100])
    silent(reply, content)


def dripping(reply, content):
    reply.begin(len(content))
    for byte in content:
        reply.wfile.write(bytes([byte]))
        if reply.server.closing.wait(0.02):
            return


def endless(reply, content):
    reply.begin(10**12)
    while not reply.server.closing.is_set():
        reply.wfile.write(bytes(1 << 16))


FAULTS = {
    not_there: "404", other_content: "43 bytes came whose MD5 sum is", cut_short: "bytes came whose MD5 sum is",
    silent: "timed out", hanging: "timed out", dripping: "bytes came in", endless: "more than 5,000,000 bytes came",
}  # fmt: skip


@pytest.fixture
def mirrors(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    random = np.random.default_rng(0)
    files = {}
    for part, n in (("train", 5012), ("t10k", 30)):
        for name, pixels in ((f"{part}-images-idx3-ubyte", (28, 28)), (f"{part}-labels-idx1-ubyte", ())):
            array = random.integers(0, 10, (n, *pixels), dtype=np.uint8)
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            files[f"{name}.gz"] = gzip.compress(header + array.tobytes(), 1)
    sums = tuple(hashlib.md5(files[f"{name}.gz"]).hexdigest() for name in mnist.FILES)
    started = [Mirror(files), Mirror(files)]
    monkeypatch.setitem(mnist.SOURCES, "FashionMNIST", mnist.Source(tuple(m.url for m in started), sums))
    threads = [threading.Thread(target=mirror.serve_forever, args=(0.01,)) for mirror in started]
    for thread in threads:
        thread.start()
    yield started
    for mirror in started:
        mirror.closing.set()
        mirror.shutdown()
        mirror.server_close()


CLOTHES = DATASETS["fashion-mnist"]
IMAGES = "train-images-idx3-ubyte.gz"


def contents(folder):
    return {path.name: path.read_bytes() for path in (folder / "FashionMNIST" / "raw").glob("[!.]*")}


def test_a_download_brings_the_four_files_whole_and_a_second_one_asks_for_nothing(mirrors, tmp_path):
    CLOTHES.fetch(tmp_path)
    assert contents(tmp_path) == mirrors[0].files
    assert [len(CLOTHES.load(split, tmp_path)) for split in SPLITS] == [12, 5000, 30]
    CLOTHES.fetch(tmp_path)
    assert len(mirrors[0].asked) == 4
    assert mirrors[1].asked == []


@pytest.mark.parametrize("fault", [not_there, cut_short, hanging])
def test_what_one_mirror_fails_to_send_comes_from_the_next(mirrors, tmp_path, monkeypatch, fault):
    monkeypatch.setattr(mnist, "TIMEOUT", 0.5)
    mirrors[0].faults[IMAGES] = fault
    CLOTHES.fetch(tmp_path)
    assert contents(tmp_path) == mirrors[0].files
    assert IMAGES in mirrors[1].asked


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_failed_download_says_why_keeps_what_is_whole_and_goes_on_from_there(mirrors, tmp_path, monkeypatch, fault):
    monkeypatch.setattr(mnist, "TIMEOUT", 0.3)
    monkeypatch.setattr(mnist, "LARGEST", 5_000_000)
    broken = "t10k-images-idx3-ubyte.gz"
    for mirror in mirrors:
        mirror.faults[broken] = fault
    with pytest.raises(DataError) as error:
        CLOTHES.fetch(tmp_path)
    for words in (CLOTHES.title, str(tmp_path), broken, mirrors[0].url, mirrors[1].url, FAULTS[fault], "Check the net"):
        assert words in str(error.value)
    assert set(contents(tmp_path)) == {IMAGES, "train-labels-idx1-ubyte.gz"}
    for mirror in mirrors:
        mirror.faults.clear()
        mirror.asked.clear()
    CLOTHES.fetch(tmp_path)
    assert contents(tmp_path) == mirrors[0].files
    assert IMAGES not in mirrors[0].asked


def test_a_download_without_network_names_every_mirror(tmp_path, monkeypatch):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
        monkeypatch.setitem(mnist.SOURCES, "FashionMNIST", mnist.Source((url, f"{url}2/"), ("0",) * 4))
        with pytest.raises(DataError, match=rf"{url} \(\[Errno \d+\] Connection refused\), {url}2/ \("):
            CLOTHES.fetch(tmp_path)


def test_a_full_disk_is_no_fault_of_a_mirror(mirrors, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mnist, "_transfer", full)
    with pytest.raises(DataError, match=r"to .*: \[Errno 28\] No space left on device\. Check"):
        CLOTHES.fetch(tmp_path)


@pytest.mark.parametrize("name", [IMAGES, IMAGES.removesuffix(".gz"), "train-images.idx3-ubyte"])
def test_what_is_damaged_is_fetched_anew_and_nothing_else(mirrors, tmp_path, name):
    CLOTHES.fetch(tmp_path)
    raw = tmp_path / "FashionMNIST" / "raw"
    (raw / IMAGES).unlink()
    (raw / name).write_bytes(b"damaged")
    (raw / "train-images-idx3-ubyte.part.gz").write_bytes(b"of a download that was killed")
    mirrors[0].asked.clear()
    CLOTHES.fetch(tmp_path)
    assert contents(tmp_path) == mirrors[0].files
    assert mirrors[0].asked == [IMAGES]


def test_two_downloads_at_once_share_one_and_both_see_how_far_it_is(mirrors, tmp_path):
    raw, seen, second = tmp_path / "FashionMNIST" / "raw", [], threading.Thread(target=CLOTHES.fetch, args=[tmp_path])

    def slow(reply, content):
        reply.begin(len(content))
        reply.wfile.write(content[:-100])
        second.start()
        for _ in range(500):
            seen[:] = [path.stat().st_size for path in raw.glob("*.gz")]
            if seen and seen[0] > 1_000_000:
                break
            time.sleep(0.01)
        reply.wfile.write(content[-100:])

    mirrors[0].faults[IMAGES] = slow
    CLOTHES.fetch(tmp_path)
    second.join()
    assert len(seen) == 1
    assert 1_000_000 < seen[0] < len(mirrors[0].files[IMAGES])
    assert sorted(mirrors[0].asked) == sorted(mirrors[0].files)
    assert contents(tmp_path) == mirrors[0].files


@pytest.mark.parametrize("name", IDX_NAMES)
def test_every_source_is_what_torchvision_downloads(name):
    theirs, ours = getattr(torchvision.datasets, DATASETS[name].folder), mnist.SOURCES[DATASETS[name].folder]
    assert [(f"{file}.gz", md5) for file, md5 in zip(mnist.FILES, ours.sums, strict=True)] == theirs.resources
    assert set(theirs.mirrors) <= set(ours.mirrors)
