"""Which files the original images of a data set are read from, found anew only where a folder has changed."""

import functools
import os
from collections.abc import Hashable, Iterator
from pathlib import Path

from explorer.cards import DataCard
from explorer.celeba import folder as faces
from explorer.checkpoints import GalleryIndex
from explorer.ui.kept import from_files, stamp

BY_CONTENT = {GalleryIndex: lambda i: (i.indices.numpy().tobytes(), i.labels.numpy().tobytes(), "/".join(i.names))}


def of_split(images: DataCard, data_dir: Path) -> Hashable:
    """Sum up the state of the files that a split is read from; nothing for what comes with a package."""
    row = images.source
    if row is None:
        return ()
    if row.pick:
        return stamp(_rooms(data_dir))
    return stamp(map(str, sorted((data_dir / row.folder).glob("raw/*")))) if row.folder else ()


def of_gallery(images: DataCard, data_dir: Path, index: GalleryIndex) -> Hashable:
    """Sum up the state of the files that the images of a gallery are read from."""
    named = _faces(data_dir, index) if images.source and images.source.pick else ()
    return of_split(images, data_dir), stamp(named)


def _rooms(data_dir: Path) -> Iterator[str]:
    """List the folders in which faces may appear; one that is only renamed, or linked elsewhere, is another."""
    seen, waiting = set(), [str(data_dir)]
    while waiting:
        room = waiting.pop()
        if (real := os.path.realpath(room)) not in seen:  # links may run in a circle
            seen.add(real)
            yield room
            waiting += _inner(room, stamp([room]))


@functools.lru_cache(maxsize=64)
def _inner(room: str, state: Hashable) -> tuple[str, ...]:
    try:
        with os.scandir(room) as entries:
            return tuple(e.path for e in entries if e.name.casefold() in faces.ROOMS and e.is_dir())
    except OSError:
        return ()


@from_files(lambda data_dir, index: stamp(_rooms(data_dir)), max_entries=4, hash_funcs=BY_CONTENT)
def _faces(data_dir: Path, index: GalleryIndex) -> tuple[str, ...]:
    """Name the files of the gallery's faces that are there."""
    try:
        found = faces.look(data_dir)
        places = faces.match(index.names, found.names)
    except (faces.FacesError, faces.Unclear):
        return ()
    return tuple(os.path.join(found.room, found.names[place]) for place in places if place >= 0)
