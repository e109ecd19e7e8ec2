"""A folder, or zip, of anybody's pictures as a data set: subfolders are classes, parts come from a hash of each one.

Every kind of picture that `decoding` reads; what cannot be read is named and passed over. Decoded once, see
`celeba.cache`.
"""

import functools
import hashlib
import os
import re
import shutil
import tempfile
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from explorer.celeba import UNKNOWN, FacesError, part_of, tables
from explorer.celeba.cache import Watcher, cache_folder, decoded, read_images, rearranged, reasons
from explorer.celeba.folder import listed
from explorer.celeba.tables import Table
from explorer.datasets import SPLIT_SEED, SPLITS, DataError, Dataset, ImageSet, Split
from explorer.decoding import extensions

FEWEST = 30  # images of which a tenth can be kept for tests
MOST_CLASSES = 100  # a matrix of more cannot be read
FEWEST_OF_A_CLASS = 10  # on average; of fewer nothing could be said about a class
LOOKED_AT = 200  # pictures, to see whether they are in colour
GREY = 3.0  # levels by which the colours of a grey picture may differ: JPEG tints a little
SIDES = {1: 28, 3: 64}  # by the number of colours
LARGEST = 128
MOST_UNPACKED = 200e9  # bytes of a zip's pictures
TABLE = "attributes.csv"
GALLERY = 1000
LICENCE = "your own images"
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's


@dataclass(frozen=True)
class Found:
    """The pictures below a folder.

    names: their paths in it, with `/`, sorted. labels: the class of each `(N,)`. notes: what was passed over. table: of
    attributes, from `attributes.csv` in the folder.
    """

    folder: Path
    names: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    table: Table | None = None


def look(folder: Path) -> Found:
    """List the pictures of a folder and all below it, known by their endings; hidden files are none.

    Subfolders are classes where every picture lies in one, there are two or more, and enough pictures for each.

    Raises:
        DataError: the folder or its table cannot be read, or it holds too few pictures.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder. Name one that holds pictures with --images.")
    endings = {f".{ending}" for ending in extensions()}
    names, others, seen = [], Counter[str](), set()
    for room, rooms, files in os.walk(folder, onerror=_refuse, followlinks=True):
        rooms[:] = sorted(name for name in rooms if not name.startswith("."))
        if (real := os.path.realpath(room)) in seen:  # links may run in a circle
            rooms.clear()
            continue
        seen.add(real)
        for name in files:
            ending = os.path.splitext(name)[1].casefold()
            if name.startswith(".") or (name.casefold() == TABLE and room == str(folder)):
                continue
            if ending in endings:
                names.append(os.path.relpath(os.path.join(room, name), folder).replace(os.sep, "/"))
            else:
                others[ending or name] += 1
    if len(names) < FEWEST:
        also = f" Files of other kinds are there: {_counted(others)}." if others else ""
        raise DataError(f"{folder} holds {len(names)} pictures, and at least {FEWEST} are needed.{also}")
    names.sort()
    classes, labels, notes = _classes(names)
    if others:
        notes.append(f"{sum(others.values()):,} files are no pictures: {_counted(others)}.")
    return Found(folder, tuple(names), labels, classes, tuple(notes), _table(folder))


def unpacked(source: Path) -> Path:
    """Unpack the pictures of a zip to the cache folder, once; a folder is given back as it is.

    Raises:
        DataError: it cannot be read, is encrypted, or there is no room.
    """
    if source.is_dir() or source.suffix.casefold() != ".zip":
        return source
    try:
        with zipfile.ZipFile(source) as archive:
            members = _members(archive)
            content = "".join(f"{place} {info.CRC} {info.file_size}\n" for place, info in members.items())
            digest = hashlib.sha256(content.encode("utf-8", "backslashreplace")).hexdigest()[:16]
            folder = cache_folder() / "unpacked" / digest / (source.stem or "images")
            if not folder.is_dir():
                _unpack(archive, members, folder)
            return folder
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
        raise DataError(
            f"{source} is no whole zip ({error}). Make it anew, or unpack it and name the folder."
        ) from error
    except OSError as error:
        raise DataError(f"{source} cannot be unpacked: {error.filename or error}: {error.strerror}") from error
    except RuntimeError as error:
        raise DataError(f"{source}: {error}. Unpack it yourself and name the folder.") from error


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """List the pictures and the table in a zip by the place that they get, without the folder that holds them all."""
    endings = {f".{ending}" for ending in extensions()}
    found: dict[tuple[str, ...], zipfile.ZipInfo] = {}
    for info in archive.infolist():
        parts = tuple(part for part in _member_name(info).replace("\\", "/").split("/") if part not in ("", "."))
        hidden = any(part.startswith((".", "__MACOSX")) for part in parts)  # ".." among them
        if info.is_dir() or not parts or hidden or any(":" in part or "\0" in part for part in parts):
            continue
        if os.path.splitext(parts[-1])[1].casefold() in endings or parts[-1].casefold() == TABLE:
            found[parts] = info
    if sum(info.file_size for info in found.values()) > MOST_UNPACKED:
        raise RuntimeError(f"its pictures take more than {MOST_UNPACKED / 1e9:.0f} GB")
    while found and len({parts[0] for parts in found}) == 1 and min(map(len, found)) > 1:
        found = {parts[1:]: info for parts, info in found.items()}
    return {"/".join(parts): info for parts, info in found.items()}


def _member_name(info: zipfile.ZipInfo) -> str:
    """Read a name that a packer wrote in UTF-8 without saying so."""
    if not info.flag_bits & 0x800:
        with suppress(UnicodeError):
            return info.filename.encode("cp437").decode("utf-8")
    return info.filename


def _unpack(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    needed, free = sum(info.file_size for info in members.values()), shutil.disk_usage(folder.parent).free
    if needed > free:
        raise RuntimeError(f"its {needed / 1e6:,.0f} MB do not fit the {free / 1e6:,.0f} MB free in {folder.parent}")
    with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
        for place, info in members.items():
            target = Path(unfinished, "whole", place)
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(info) as packed, target.open("wb") as file:
                shutil.copyfileobj(packed, file)
        Path(unfinished, "whole").mkdir(exist_ok=True)
        Path(unfinished, "whole").rename(folder)


def _table(folder: Path) -> Table | None:
    path = next((path for path in folder.iterdir() if path.name.casefold() == TABLE), None)
    try:
        return path and tables.own(path)
    except FacesError as error:
        raise DataError(str(error)) from error


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename} cannot be read ({error.strerror}). Mend or remove it.") from error


def _counted(kinds: Counter[str]) -> str:
    return listed([f"{n:,} {kind}" for kind, n in kinds.most_common()], 5)


def _classes(names: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray, list[str]]:
    rooms = [name.partition("/")[0] if "/" in name else "" for name in names]
    kinds = sorted(set(rooms))
    one = ("Image",), np.zeros(len(names), dtype=np.int64)
    if len(kinds) < 2:
        return *one, []
    if "" in kinds:
        return *one, ["Some pictures lie in no subfolder, so subfolders are not taken for classes."]
    if len(kinds) > MOST_CLASSES or len(names) < FEWEST_OF_A_CLASS * len(kinds):
        reason = f"{len(kinds):,} subfolders are too many for {len(names):,} pictures to be taken for classes"
        return *one, [f"{reason}: {MOST_CLASSES} are the most, and each would need {FEWEST_OF_A_CLASS}."]
    places = {kind: place for place, kind in enumerate(kinds)}
    return tuple(map(_shown, kinds)), np.array([places[room] for room in rooms], dtype=np.int64), []


def _shown(name: str) -> str:
    """Write a folder's name so that it can be shown: composed letters, nothing unprintable, not too long."""
    text = unicodedata.normalize("NFC", name.encode("utf-8", "backslashreplace").decode())
    return "".join(letter for letter in text if letter.isprintable())[:100] or "?"


def is_grey(found: Found, watch: Watcher) -> bool:
    """Look at some of the pictures, evenly spread: whether all of them are without colour."""
    some = found.names[:: max(1, len(found.names) // LOOKED_AT)]
    for number, (image, _) in enumerate(read_images([found.folder / name for name in some], SIDES[1]), start=1):
        watch(number, len(some), image)
        if image is not None and np.ptp(image.astype(np.int16), axis=0).mean() > GREY:
            return False
    return True


def name_of(source: Path) -> str:
    """Name the data set that the pictures of a folder or zip make."""
    return slug(source.with_suffix("") if source.suffix.casefold() == ".zip" else source)


def slug(folder: Path) -> str:
    """Make the name of a data set from that of a folder: small letters, digits and hyphens."""
    plain = unicodedata.normalize("NFKD", folder.resolve().name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40] or "images"


def dataset(found: Found, name: str, image_shape: tuple[int, int, int], watch: Watcher | None = None) -> Dataset:
    """Describe a folder as a data set with images of a shape `(C, S, S)`, C 1 or 3; `watch` sees them being read."""
    splits = functools.cache(lambda: _read(found, image_shape, watch))

    def read(data_dir: Path, split: Split) -> ImageSet:
        return splits()[split]

    title = _shown(found.folder.resolve().name)
    attributes = found.table.columns if found.table else ()
    return Dataset(
        name, title, found.classes, image_shape, LICENCE, read, attributes=attributes, gallery_size=GALLERY
    )  # fmt: skip


def _read(found: Found, image_shape: tuple[int, int, int], watch: Watcher | None) -> dict[Split, ImageSet]:
    channels, side, _ = image_shape
    try:
        pictures = decoded(found.folder, found.names, side, watch)
        attributes = _attributes(found.table, pictures.names)
    except FacesError as error:
        raise DataError(str(error)) from error
    label_of = dict(zip(found.names, found.labels.tolist(), strict=True))
    labels = torch.tensor([label_of[name] for name in pictures.names])
    parts = np.array([part_of(digest, SPLIT_SEED) for digest in pictures.digests])
    notes = list(found.notes)
    if pictures.skipped:
        notes.append(f"{len(pictures.skipped):,} pictures were skipped: {reasons(pictures.skipped)}.")
    counts = np.bincount(parts, minlength=len(SPLITS))
    shares = ", ".join(f"{n:,} to {name}" for n, name in zip(counts, SPLITS, strict=True))
    notes.append(f"{len(parts):,} pictures were parted by a hash of their pixels: {shares}.")
    if not counts.all():
        raise DataError(
            f"{found.folder} has too few pictures that differ: of {len(parts):,} belong {shares}. Add some."
        )
    order = np.argsort(parts, kind="stable")
    name = f"{channels}-{hashlib.sha256(order.tobytes()).hexdigest()[:8]}"
    try:
        images = torch.from_numpy(rearranged(pictures, order, name, functools.partial(_coloured, channels=channels)))
    except FacesError as error:
        raise DataError(str(error)) from error
    made, bounds = {}, np.cumsum([0, *counts])
    for part, name in enumerate(SPLITS):
        index, place = order[bounds[part] : bounds[part + 1]], slice(*bounds[part : part + 2])
        known = None if attributes is None else torch.from_numpy(attributes[index])
        made[name] = ImageSet(images[place], labels[index], found.classes, known, notes=tuple(notes))
    return made


def _attributes(table: Table | None, names: Sequence[str]) -> np.ndarray | None:
    """Bring the rows of a table to the order of images, by file name: int8 `(N, A)`, 1, 0 or -1 where it is unknown."""
    if table is None:
        return None
    rows = table.rows_of([name.rpartition("/")[2] for name in names])
    values = table.values[rows].astype(np.int8)
    values[rows < 0] = UNKNOWN
    return values


def _coloured(images: np.ndarray, channels: int) -> np.ndarray:
    """Give uint8 `(N, 3, S, S)` the wanted number of colours."""
    if channels == 3:
        return images
    return np.rint(np.tensordot(images.astype(np.float32), np.float32(LUMINANCE), (1, 0)))[:, None].astype(np.uint8)
