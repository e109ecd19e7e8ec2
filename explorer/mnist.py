"""Data sets in the format of MNIST (LeCun et al. 1998): four IDX files, packed or not, read and downloaded.

    <data>/FashionMNIST/raw/train-images-idx3-ubyte      or train-images-idx3-ubyte.gz, as they are published
                            train-labels-idx1-ubyte
                            t10k-images-idx3-ubyte
                            t10k-labels-idx1-ubyte

An IDX file is a header (two zeros, the type of its numbers, how many dimensions, the size of each) and the numbers.
"""

import errno
import gzip
import hashlib
import http.client
import math
import struct
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from explorer import storage
from explorer.language import later

SHAPE = (28, 28)
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
UNSIGNED_BYTES = 8  # of the types that IDX knows
PACKED = b"\x1f\x8b"  # how gzip's files begin; some browsers unpack what they save and keep the name
TIMEOUT = 30  # seconds without a byte, after which the next mirror is tried
SLOWEST = 2_000  # bytes per second, on average after the first `TIMEOUT` seconds
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # on our disk: no fault of a mirror
LARGEST = 50_000_000  # bytes; no packed file of these has more than 27 million


class FileError(RuntimeError):
    """A file is missing, damaged or cannot be downloaded; the message says which and why."""


@dataclass(frozen=True)
class Source:
    """Where a data set is published: addresses that end in "/", and the MD5 sums of `FILES`, packed."""

    mirrors: tuple[str, ...]
    sums: tuple[str, ...]


# Mirrors and sums are those of torchvision.datasets.mnist; each second mirror is the one that Keras and others use.
SOURCES = {
    "FashionMNIST": Source(
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
        (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
    "MNIST": Source(
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "http://yann.lecun.com/exdb/mnist/",
        ),
        (
            "f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3", "ec29112dd5afa0611ce80d1b7f02629c",
        ),
    ),
    "KMNIST": Source(
        ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        (
            "bdb82020997e1d708af4cf47b453dcf7", "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7", "7320c461ea6c1c855c0b718fb2a4b134",
        ),
    ),
}  # fmt: skip


def read(folder: Path, part: str, n_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Read the images `(N, 28, 28)` and labels `(N,)` of "train" or "t10k", both uint8.

    Raises:
        FileError: a file is missing, truncated, damaged, or does not belong to the other.
    """
    images_name, labels_name = (name for name in FILES if name.startswith(part))
    images, labels = _array(folder, images_name), _array(folder, labels_name)
    if images.shape[1:] != SHAPE:
        height, width = images.shape[1:]
        raise FileError(
            later(
                "{path} holds images of {height}×{width} pixels, not 28×28. Delete it.",
                path=folder / images_name,
                height=height,
                width=width,
            )
        )
    if len(images) != len(labels):
        raise FileError(
            later(
                "{path} holds {n:,} images, but {file} {m:,} labels. Delete both.",
                path=folder / images_name,
                n=len(images),
                file=labels_name,
                m=len(labels),
            )
        )
    if labels.max() >= n_classes:
        raise FileError(
            later(
                "{path} holds the label {label}, but there are {n} classes. Delete it.",
                path=folder / labels_name,
                label=labels.max(),
                n=n_classes,
            )
        )
    return torch.from_numpy(images), torch.from_numpy(labels)


def fetch(source: Source, folder: Path) -> None:
    """Download what is missing or damaged of `FILES`, with progress bars; of two at once one waits for the other.

    What has come so far of a file lies beside its place as `*.part.gz`; in its place is a whole one or none.

    Raises:
        FileError: no mirror sends a whole file; the message says what each did.
        OSError: the folder cannot be written.
    """
    if not _lacking(folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with storage.lock(folder, lambda: tqdm.write(f"waiting for another download to {folder}", sys.stderr)):
        for name in _lacking(folder):
            _download(source, name, folder)


def _lacking(folder: Path) -> list[str]:
    def whole(name: str) -> bool:
        try:
            _array(folder, name)
        except FileError:
            return False
        return True

    return [name for name in FILES if not whole(name)]


def _places(folder: Path, name: str) -> Iterator[Path]:
    """List where a file may be; some programs unpack `-images-idx3-ubyte.gz` as `-images.idx3-ubyte`."""
    for ending in ("", ".gz"):
        yield folder / f"{name}{ending}"
        yield folder / f"{name.replace('-idx', '.idx')}{ending}"


def _array(folder: Path, name: str) -> np.ndarray:
    """Read an IDX file, uint8 in as many dimensions as its name says; of several copies the first whole one."""
    failures = []
    for path in _places(folder, name):
        try:
            return _parse(path, 3 if "idx3" in name else 1)
        except FileNotFoundError:
            continue
        except OSError as error:
            failures.append(FileError(later("{path} cannot be read ({reason}).", path=path, reason=error.strerror)))
        except FileError as error:
            failures.append(error)
    raise (
        failures[0]
        if failures
        else FileError(later("{path} is missing, and so is {file}.gz.", path=folder / name, file=name))
    )


def _parse(path: Path, n_dimensions: int) -> np.ndarray:
    content = path.read_bytes()
    try:
        if content.startswith(PACKED):
            content = gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FileError(later("{path} is truncated or damaged: {error}.", path=path, error=error)) from error
    if content[:4] != bytes((0, 0, UNSIGNED_BYTES, n_dimensions)):
        raise FileError(later("{path} is not an IDX file of bytes in {n} dimensions.", path=path, n=n_dimensions))
    start = 4 + 4 * n_dimensions
    sizes = struct.unpack(f">{n_dimensions}I", content[4:start]) if len(content) >= start else (0,)
    expected = start + math.prod(sizes)
    if len(content) != expected or expected == start:
        raise FileError(
            later(
                "{path} is truncated or damaged: {n:,} bytes instead of {expected:,}.",
                path=path,
                n=len(content),
                expected=expected,
            )
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(sizes).copy()


def _download(source: Source, name: str, folder: Path) -> None:
    whole, part = folder / f"{name}.gz", folder / f"{name}.part.gz"
    failures = []
    try:
        for mirror in source.mirrors:
            try:
                content = _transfer(f"{mirror}{whole.name}", part, source.sums[FILES.index(name)])
                break
            except (OSError, http.client.HTTPException) as error:
                if getattr(error, "errno", None) in NO_ROOM:
                    raise
                reason = error.reason if type(error) is urllib.error.URLError else error
                failures.append(f"{mirror} ({reason})")
        else:
            raise FileError(later("no mirror has {name}: {failures}", name=whole.name, failures=", ".join(failures)))
        storage.replace_file(whole, content)
    finally:
        part.unlink(missing_ok=True)
    for damaged in set(_places(folder, name)) - {whole}:
        damaged.unlink(missing_ok=True)


def _transfer(url: str, path: Path, md5: str) -> bytes:
    """Copy what is at an address to a file, check and return it; raises `OSError` or `HTTPException`."""
    request = urllib.request.Request(url, headers={"User-Agent": "latent-space-explorer"})  # some refuse urllib's own
    start = time.monotonic()
    with (
        urllib.request.urlopen(request, timeout=TIMEOUT) as reply,
        path.open("wb") as file,
        tqdm(total=reply.length, desc=url.rpartition("/")[2], unit="B", unit_scale=True) as bar,
    ):
        while chunk := reply.read1(1 << 16):
            bar.update(file.write(chunk))
            if file.tell() > LARGEST:
                raise OSError(later("more than {n:,} bytes came", n=LARGEST))
            if time.monotonic() - start > TIMEOUT + file.tell() / SLOWEST:
                raise TimeoutError(
                    later("only {n:,} bytes came in {seconds:.0f} s", n=file.tell(), seconds=time.monotonic() - start)
                )
    content = path.read_bytes()
    if (found := hashlib.md5(content, usedforsecurity=False).hexdigest()) != md5:
        raise OSError(
            later("{n:,} bytes came whose MD5 sum is {found}, not {md5}", n=len(content), found=found, md5=md5)
        )
    return content
