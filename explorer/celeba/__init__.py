"""CelebA faces (Liu et al. 2015) from the folder they were unpacked to: read, cropped and kept decoded.

    <data>/celeba/img_align_celeba/000001.jpg ...    (Kaggle: img_align_celeba/img_align_celeba/)
                  list_eval_partition.txt or .csv    0 training, 1 validation, 2 test
                  list_attr_celeba.txt or .csv       40 attributes, 1 or -1
                  identity_CelebA.txt or .csv        one number per person

or the folders Img, Eval and Anno of the official drive. Any subset of the images will do, of any kind that
`decoding.read_picture` reads, and every table may be missing or cover only some of them; one that is there is read,
or an error says what is wrong with it. The images are decoded once, in parallel, into one file of bytes in the cache
folder (EXPLORER_CACHE, else ~/.cache/latent-space-explorer), which is made anew when a file of the source was added,
removed or changed.
"""

import hashlib
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from explorer.celeba import tables
from explorer.celeba.cache import decoded, read_images, reasons, square
from explorer.celeba.folder import FOLDER, FacesError, Unclear, listed, look, match, stem
from explorer.celeba.tables import ATTRIBUTES, UNKNOWN, Table
from explorer.language import later

__all__ = [
    "ATTRIBUTES", "FOLDER", "SIDE", "UNKNOWN", "Faces", "FacesError", "Unclear", "find_images", "match", "pick",
    "read", "square",
]  # fmt: skip

SIDE = 64
BOUNDS = (0.8, 0.9)  # training below, then validation, test above, where no partition file says


@dataclass(frozen=True)
class Faces:
    """All images of a folder that could be read, in the order of their names.

    images: uint8 `(N, 3, S, S)`, mapped from the cache file. names: file names `(N,)`. partition: 0, 1 or 2
    `(N,)`. attributes: int8 `(N, 40)`, 1 has it, 0 has it not, `UNKNOWN` where no row says. identities: int64
    `(N,)`, `UNKNOWN` where no row says. notes: what was missing, skipped or made up, in sentences.
    """

    images: np.ndarray
    names: tuple[str, ...]
    partition: np.ndarray
    attributes: np.ndarray
    identities: np.ndarray
    notes: tuple[str, ...]


def read(data_dir: Path, side: int = SIDE, seed: int = 0) -> Faces:
    """Read every face below `data_dir`, decoding the folder first where the cache does not hold it.

    An image that the partition file does not name has its part from a hash of its decoded pixels and the seed: it
    stays there when images are added or renamed, and copies of one picture, saved anew without loss or not, share a
    part, which is that of a copy that the file names. Pixels, not bytes, because they are what a model is fitted on.

    Raises:
        FacesError: no images, a table that cannot be read, or a cache that cannot be written.
    """
    found = look(data_dir)
    parts, labels, people = (
        tables.read(found.tables, kind) for kind in (tables.PARTITION, tables.ATTRIBUTE, tables.IDENTITY)
    )  # before the images, which may take minutes
    faces = decoded(found.room, found.names, side)
    notes = list(found.notes)
    if faces.skipped:
        notes.append(f"{len(faces.skipped):,} images were skipped: {reasons(faces.skipped)}.")
    partition, part_notes = _partition(parts, faces.names, faces.digests, seed)
    attributes, attribute_notes = _attributes(labels, faces.names)
    identities = np.full(len(faces.names), UNKNOWN, dtype=np.int64)
    if people:
        rows = people.rows_of(faces.names)
        identities[rows >= 0] = people.values[rows[rows >= 0], 0]
    counts = [note for table in (parts, labels, people) if table for note in table.notes]
    return Faces(
        faces.images,
        faces.names,
        partition,
        attributes,
        identities,
        (*notes, *part_notes, *attribute_notes, *counts),
    )


def pick(data_dir: Path, names: Sequence[str], side: int = SIDE) -> np.ndarray:
    """Read a few images by file name, whatever their endings, without the cache: uint8 `(len(names), 3, S, S)`.

    Raises:
        FacesError: one is missing or damaged.
    """
    found = look(data_dir)
    try:
        places = match(names, found.names)
    except Unclear as error:
        raise FacesError(later("Which image of {room} is meant? {error}.", room=found.room, error=error)) from error
    wrong = {name: "missing" for name, place in zip(names, places, strict=True) if place < 0}
    there = [found.names[place] for place in places if place >= 0]
    images = list(read_images([found.room / name for name in there], side))
    wrong |= {name: reason for name, (image, reason) in zip(there, images, strict=True) if image is None}
    if wrong:
        raise FacesError(
            later(
                "{n:,} images in {room} are missing or damaged: {reasons}.",
                n=len(wrong),
                room=found.room,
                reasons=reasons(wrong),
            )
        )
    return np.stack([image for image, _ in images])


def find_images(folder: Path) -> list[Path]:
    """List the images of the faces' folder, sorted by name; see `folder.look`."""
    found = look(folder.parent)
    return [found.room / name for name in found.names]


def part_of(digest: str, seed: int = 0) -> int:
    """Draw the part of an image from a hash of its pixels: 0, 1 or 2, for eight, one and one in ten."""
    drawn = hashlib.sha256(f"{seed} {digest}".encode()).digest()[:8]
    return bisect(BOUNDS, int.from_bytes(drawn) / 2**64)


def _partition(
    table: Table | None, names: Sequence[str], digests: Sequence[str], seed: int
) -> tuple[np.ndarray, list[str]]:
    """Give each image its official part, and one by a hash where the table does not speak of it."""
    partition = np.full(len(names), UNKNOWN, dtype=np.int64)
    if table:
        rows = table.rows_of(names)
        partition[rows >= 0] = table.values[rows[rows >= 0], 0]
    left = np.flatnonzero(partition == UNKNOWN)
    if not len(left):
        return partition, []
    official = {digest: part for digest, part in zip(digests, partition, strict=True) if part != UNKNOWN}
    for i in left:
        partition[i] = official.get(digests[i], part_of(digests[i], seed))
    reason = _why(table, names, left) if table else "there is no list_eval_partition file"
    return partition, [
        f"{len(left):,} images were parted 80/10/10 by a hash of their pixels: {reason}. "
        "Figures on such a split do not compare with published ones."
    ]


def _why(table: Table, names: Sequence[str], left: np.ndarray) -> str:
    """Name the images without a row, and those of them that may be meant by one after all."""
    missing = [names[i] for i in left]
    named = {stem(name) for name in set(names).difference(missing)}
    reason = f"{table.path.name} has no row for {listed(missing)}"
    if twins := [name for name in missing if stem(name) in named]:
        reason += f"; {listed(twins)} differs only in its ending from an image that has one"
    return reason


def _attributes(table: Table | None, names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Bring attributes to the order of `ATTRIBUTES`; `UNKNOWN` for images and columns without rows."""
    values = np.full((len(names), len(ATTRIBUTES)), UNKNOWN, dtype=np.int8)
    if table is None:
        return values, ["No image has attributes: there is no list_attr_celeba file."]
    rows = table.rows_of(names)
    labelled = np.flatnonzero(rows >= 0)
    places = [ATTRIBUTES.index(column) for column in table.columns]
    values[np.ix_(labelled, places)] = table.values[rows[labelled]]
    notes = []
    if len(labelled) < len(names):
        notes.append(f"{len(labelled):,} of {len(names):,} images have a row of attributes.")
    if extra := len(table.names) - len(labelled):
        notes.append(f"{extra:,} rows of attributes belong to images that are not there.")
    if lacking := [name for name in ATTRIBUTES if name not in table.columns]:
        notes.append(f"{table.path.name} lacks {listed(lacking)}.")
    return values, notes
