"""The faces' folder: which images and tables lie in it, in any of the layouts it is handed out in."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from explorer.language import later

FOLDER = "celeba"
IMAGES = "img_align_celeba"
ROOMS = {FOLDER, "archive", "img", "anno", "eval", IMAGES, f"{IMAGES}_png"}  # where images and tables lie
LONGEST = 400  # characters shown of a name: that of a file has 255, a damaged table's may have a megabyte
TABLES = ("list_eval_partition", "list_attr_celeba", "identity_celeba")  # how their names begin, in lower case
ENDINGS = (  # of pictures, whether or not they can be read here
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm",
    ".pgm", ".pbm", ".pnm", ".pfm", ".avif", ".avifs", ".heic", ".heics", ".heif", ".heifs", ".hif", ".jp2", ".jxl",
)  # fmt: skip


class FacesError(RuntimeError):
    """The faces are missing or cannot be used; the message says which file and what mends it."""


@dataclass(frozen=True)
class Found:
    """What lies in the faces' folder.

    room: the folder of the images. names: their file names, sorted. tables: whatever is called like a table.
    notes: which images are passed over, in sentences.
    """

    room: Path
    names: tuple[str, ...]
    tables: tuple[Path, ...]
    notes: tuple[str, ...]


def look(data_dir: Path) -> Found:
    """Find images and tables below `data_dir`/celeba and its folders in `ROOMS`, whatever the case of their names.

    Of several folders that hold images the fullest is taken. Hidden files, macOS's `._` ones among them, are none.

    Raises:
        FacesError: no images, or a folder that cannot be read.
    """
    folder = _home(data_dir)
    images, tables, others = _walk(folder)
    if not images:
        raise FacesError(_missing(folder, others))
    room = max(images, key=lambda room: len(images[room]))  # of equals the outermost
    notes = [
        f"{len(names):,} images in {other} are passed over: {room} holds {len(images[room]):,}."
        for other, names in images.items()
        if other != room
    ]
    return Found(room, tuple(images[room]), tuple(tables), tuple(notes))


def _home(data_dir: Path) -> Path:
    """Name the faces' folder, called `CelebA` where it comes from its home."""
    folder = data_dir / FOLDER
    if os.path.lexists(folder) or not data_dir.is_dir():
        return folder
    return next((Path(entry.path) for entry in _entries(data_dir) if entry.name.casefold() == FOLDER), folder)


def _walk(folder: Path) -> tuple[dict[Path, list[str]], list[Path], list[Path]]:
    """List the images of each room, the tables, and what is called like the images but is no folder."""
    images: dict[Path, list[str]] = {}
    tables, others, seen, waiting = [], [], set(), [folder]
    while waiting:
        room = waiting.pop(0)
        if (real := os.path.realpath(room)) in seen:  # links may run in a circle
            continue
        seen.add(real)
        for entry in _entries(room):
            name = entry.name.casefold()
            if name.startswith("."):
                continue
            if name.endswith(ENDINGS):
                images.setdefault(room, []).append(entry.name)
            elif name.startswith(TABLES):
                tables.append(Path(entry.path))
            elif name.startswith(IMAGES) and not os.path.isdir(entry.path):
                others.append(Path(entry.path))
            elif name in ROOMS:
                waiting.append(Path(entry.path))
    return images, tables, others


def _entries(room: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(room) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not room.is_symlink():
            return []
        raise FacesError(
            later("{room} cannot be read ({reason}). Mend or remove it.", room=room, reason=error.strerror)
        ) from error


def _missing(folder: Path, others: Sequence[Path]) -> str:
    images = folder / IMAGES
    there = (
        later(" {name} is there, but is no folder: an archive has to be unpacked.", name=others[0]) if others else ""
    )
    return later(
        "{images} holds no face images.{there} Get img_align_celeba.zip and the list_*.txt files from "
        "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, or the archive "
        "jessicali9530/celeba-dataset from Kaggle, and unpack them so that {example} and {table} "
        "exist (list_attr_celeba.txt adds the attributes). Any subset of the images will do. CelebA "
        "is for non-commercial research only.",
        images=images,
        there=there,
        example=images / "000001.jpg",
        table=folder / "list_eval_partition.txt",
    )


class Unclear(ValueError):
    """Names that differ in their ending only, so that it is open which belongs to which; `mine` and `theirs`."""

    def __init__(self, mine: list[str], theirs: list[str]):
        super().__init__(
            later("{mine} and {theirs} differ in their ending only", mine=listed(mine), theirs=listed(theirs))
        )
        self.mine, self.theirs = mine, theirs


def match(names: Sequence[str], others: Sequence[str]) -> np.ndarray:
    """Find each name among others: its place int64 `(len(names),)`, or -1.

    The same name counts first (composed and decomposed Unicode are the same), then, among names that are left on both
    sides, the same without its ending, whatever the case.

    Raises:
        Unclear: several of those that are left have the same name without its ending.
    """
    places: dict[str, int] = {}
    for place, other in enumerate(others):
        places.setdefault(_composed(other), place)
    found = np.array([places.get(_composed(name), -1) for name in names], dtype=np.int64)
    taken = set(found.tolist())
    if -1 not in taken or not (spare := [place for place in places.values() if place not in taken]):
        return found
    theirs = _by_stem((others[place], place) for place in spare)
    for stem, mine in _by_stem((names[i], int(i)) for i in np.flatnonzero(found < 0)).items():
        if stem in theirs:
            if len(mine) > 1 or len(theirs[stem]) > 1:
                raise Unclear(list(mine), list(theirs[stem]))
            [indices], [[place]] = mine.values(), theirs[stem].values()
            found[indices] = place
    return found


def _by_stem(names: Iterable[tuple[str, int]]) -> dict[str, dict[str, list[int]]]:
    groups: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for name, place in names:
        groups[stem(name)][_composed(name)].append(place)
    return groups


def stem(name: str) -> str:
    """Take the ending of a picture off a file name, and the case."""
    name = _composed(name).casefold()
    return next((name.removesuffix(ending) for ending in ENDINGS if name.endswith(ending)), name)


def _composed(name: str) -> str:
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def listed(names: Sequence[str], most: int = 5) -> str:
    """Name the first few, and how many more there are; bytes of file names that are no Unicode are escaped."""
    few = [name if len(name) <= LONGEST else f"{name[:LONGEST]}…" for name in names[:most]]
    text = ", ".join(few) + (f" and {len(names) - most:,} more" if len(names) > most else "")
    return text.encode("utf-8", "backslashreplace").decode()
