"""Files and folders that are replaced as a whole, under readers that never wait and never write.

A folder is switched by two renames, `model` -> `.model.old` and `.model.new` -> `model`, on every system that
renames folders. Between the two, and after a writer was killed there, readers find the old one aside. In these two
places a folder's files never change: it is renamed once more before it is deleted. So whoever finds in the end, in
the same place, the folder that it began with read what one writer left, else `read_whole` begins anew. Writers hold
`lock`, which dies with its process, and alone put right what a killed one left.
"""

import os
import shutil
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

PATIENCE = 30.0  # seconds for which a reader begins anew, and a rename waits for Windows' readers

Result = TypeVar("Result")


@contextmanager
def lock(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Keep other writers of a file or folder out, in this process and others; the same thread may enter again.

    `waiting` is called where another one is at work and has to be waited for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(_beside(path, "lock"), is_singleton=True)
    try:
        held.acquire(timeout=0)
    except Timeout:
        waiting()
        held.acquire()
    try:
        yield
    finally:
        held.release()


def replace_file(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all, also where the power fails. Of several writers each holds `lock`.

    Raises:
        OSError: it cannot be written, the error names the file; nothing is left over.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = _beside(path, "new")
    try:
        _write(new, content)
        _rename(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    _flush(path.parent)


def replace_folder(folder: Path, files: Mapping[str, bytes], own: Collection[str], kept: Collection[str]) -> None:
    """Write a folder of files as a whole or not at all.

    own: the names that belong to the folder; others in it are somebody's, and stay. kept: those of the own files
    that go on from the present folder, where they are there and not among `files`.

    Raises:
        OSError: it cannot be written, the error names the file; the present folder stays.
    """
    folder = folder.resolve()  # a link to a folder stays one
    with lock(folder):
        recover(folder, own)
        new, old = _beside(folder, "new"), _beside(folder, "old")
        try:
            new.mkdir(parents=True)
            for name in kept:
                if name not in files and (folder / name).is_file():
                    shutil.copy2(folder / name, new)
            for name, content in files.items():
                _write(new / name, content)
            _flush(new)
            if folder.exists():
                _rename(folder, old)
            _rename(new, folder)
        except BaseException:
            recover(folder, own)
            raise
        _flush(folder.parent)
        recover(folder, own)


def recover(folder: Path, own: Collection[str]) -> None:
    """Clear what a writer left beside a folder, and bring the folder back if it was killed between its renames."""
    new, old, gone = (_beside(folder, word) for word in ("new", "old", "gone"))
    if old.is_dir() and not folder.exists():
        _rename(old, folder)
    shutil.rmtree(gone, ignore_errors=True)
    if old.is_dir():
        for path in old.iterdir():
            if path.name not in own and not (folder / path.name).exists():
                _rename(path, folder / path.name)
        _rename(old, gone)
    for left_over in (new, gone):
        shutil.rmtree(left_over, ignore_errors=True)


def read_whole(folder: Path, read: Callable[[Path], Result]) -> Result:
    """Return what `read` makes of a folder's place, all of it from the same folder; it may be called again.

    An error stands where the folder was the same all the time, or is nowhere.
    """
    folder = folder.resolve()
    places = folder, _beside(folder, "old")
    give_up = time.monotonic() + PATIENCE
    while place := _find(places):
        with _identified(place) as before:
            try:
                result, error = read(place), None
            except Exception as caught:
                result, error = None, caught
            same = before is not None and before == _identity(place)
        if same or time.monotonic() > give_up:
            if error:
                raise error
            return result
    return read(folder)


def _find(places: tuple[Path, Path]) -> Path | None:
    """Look where a folder is; again where it seems to be nowhere, as writers that hurry may hide it from one look."""
    looks = 10 if _beside(places[0], "lock").exists() else 1
    for look in range(looks):
        time.sleep(0.001 * look)
        if found := next((place for place in places if place.is_dir()), None):
            return found
    return None


@contextmanager
def _identified(folder: Path) -> Iterator[tuple[int, int] | None]:
    """Name a folder among all on this machine, and let no other get its number as long as this lasts.

    None where there is no such folder.
    """
    flags = getattr(os, "O_DIRECTORY", None)  # Windows has none, and never gives a number twice
    try:
        held = None if flags is None else os.open(folder, os.O_RDONLY | flags)
    except OSError:
        held = None
    try:
        yield _identity(folder) if flags is None else held and _identity(held)
    finally:
        if held is not None:
            os.close(held)


def _identity(folder: Path | int) -> tuple[int, int] | None:
    try:
        found = os.stat(folder)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISDIR(found.st_mode) else None


def _beside(path: Path, word: str) -> Path:
    return path.with_name(f".{path.name.removeprefix('.')}.{word}")


def _write(path: Path, content: bytes) -> None:
    try:
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:  # a full disk is told without saying where
        raise OSError(error.errno, error.strerror, str(path)) from error


def _rename(source: Path, target: Path) -> None:
    """Rename; where a reader of the moment is in the way, as only on Windows, wait for it."""
    give_up = time.monotonic() + (PATIENCE if os.name == "nt" else 0)
    while True:
        try:
            source.replace(target)
            return
        except PermissionError:
            if time.monotonic() >= give_up:
                raise
            time.sleep(0.02)


def _flush(folder: Path) -> None:
    """See that names in a folder are on the disk; Windows does it by itself."""
    if os.name != "nt":
        held = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(held)
        finally:
            os.close(held)
