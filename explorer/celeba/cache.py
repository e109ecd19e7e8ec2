"""Decoded faces, kept in the cache folder: read once, in parallel, and again when a file of the source changes.

The file of pixels bears the state of its source in its name, so that none is ever replaced while it may be mapped
(Windows refuses that), and its index is written last, so that there is one only of a whole file. A run that was ended
leaves what it had decoded, and the next one goes on from there.
"""

import errno
import hashlib
import json
import math
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from PIL import Image

from explorer.celeba.folder import FacesError, listed
from explorer.decoding import ImageError, read_picture
from explorer.language import later

CROP, ALIGNED = 148, (178, 218)  # the usual crop: the face without most of the background
MOST_PIXELS = Image.MAX_IMAGE_PIXELS  # 89 million, what Pillow takes for a picture rather than a bomb
VERSION = 3  # to be raised when the same file gives other pixels

BLOCK = 10_000  # images at a time

Converter = Callable[[np.ndarray], np.ndarray]  # uint8 (N, 3, S, S) to uint8 (N, C, S, S)
Watcher = Callable[[int, int, np.ndarray | None], None]  # how many of how many were read, and the last, uint8 (3, S, S)


@dataclass(frozen=True)
class Decoded:
    """The images that could be read.

    images: uint8 `(N, 3, S, S)`, mapped from the cache file. names: file names `(N,)`. digests: of the pixels of
    each, the same for copies of one picture `(N,)`. skipped: why others could not be read, by file name.
    """

    images: np.ndarray
    names: tuple[str, ...]
    digests: tuple[str, ...]
    skipped: dict[str, str]


def square(picture: Image.Image, side: int) -> np.ndarray:
    """Crop and shrink any picture to uint8 `(3, side, side)`.

    Aligned CelebA images of 178 x 218 lose all but their middle 148 x 148 (Larsen et al. 2016); of others the
    largest middle square is taken. The outermost pixels blend with what lies beside it. Grey and CMYK become RGB.
    """
    picture = picture.convert("RGB")
    crop = CROP if picture.size == ALIGNED else min(picture.size)
    left, top = (picture.width - crop) // 2, (picture.height - crop) // 2
    small = picture.resize((side, side), Image.Resampling.BILINEAR, (left, top, left + crop, top + crop))
    return np.moveaxis(np.asarray(small), -1, 0)


def read_images(paths: Sequence[Path], side: int) -> Iterator[tuple[np.ndarray | None, str]]:
    """Decode in threads (Pillow lets go of the interpreter) and in order: pixels, or None and why there are none."""

    def one(path: Path) -> tuple[np.ndarray | None, str]:
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
                return None, later("no file")
            return square(read_picture(path, most_bytes=None, most_pixels=MOST_PIXELS), side), ""
        except FileNotFoundError:
            return None, later("a link to nothing") if path.is_symlink() else later("missing")
        except OSError as error:
            return None, error.strerror
        except ImageError as error:
            return None, str(error).partition(". ")[0].rstrip(".")  # what is wrong; what to do is for uploads

    block = 1024  # so that results do not pile up behind a slow disk
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(paths), block):
            yield from pool.map(one, paths[start : start + block])


def cache_folder() -> Path:
    """Name the folder of decoded images: the variable EXPLORER_CACHE, else ~/.cache/latent-space-explorer.

    Raises:
        FacesError: there is no home folder.
    """
    try:
        return Path(os.environ.get("EXPLORER_CACHE") or "~/.cache/latent-space-explorer").expanduser()
    except RuntimeError as error:
        raise FacesError(f"{error} Name the folder that is to hold decoded faces in EXPLORER_CACHE.") from error


def decoded(room: Path, names: Sequence[str], side: int, watch: Watcher | None = None) -> Decoded:
    """Map the decoded images of a folder from the cache, made first where it is missing or of another source.

    watch: is told of each picture as it is read.

    Raises:
        FacesError: none can be read, or the cache cannot be written.
    """
    pixels = place_of(room, names, side)
    found = _known(pixels, side)
    if found and any(image is not None for image, _ in read_images([room / name for name in found.skipped], side)):
        with suppress(OSError):  # the file is the same, but there was no memory or no reader of its format
            pixels.with_suffix(".json").unlink()
        found = None
    found = found or _make(room, names, side, pixels, watch)
    if not found.names:
        raise FacesError(
            later(
                "none of the {n:,} images in {room} can be read: {reasons}.",
                n=len(names),
                room=room,
                reasons=reasons(found.skipped),
            )
        )
    return found


def place_of(room: Path, names: Sequence[str], side: int) -> Path:
    """Name the file of the cache for the images of a folder as they are now; see `decoded`."""
    source = hashlib.sha256(os.fsencode(os.path.realpath(room))).hexdigest()
    return cache_folder() / f"celeba-{side}-{source[:12]}-{_state(room, names)[:16]}.uint8"


def rearranged(pictures: Decoded, order: np.ndarray, name: str, convert: Converter) -> np.ndarray:
    """Map the images of the cache in another order, so that parts of them lie together and none has to be in memory.

    They lie in a file beside the cache's, which is written where there is none. order: places `(N,)`; name: tells it
    and `convert` from others.

    Raises:
        FacesError: the file cannot be written.
    """
    pixels = Path(pictures.images.filename)
    path = pixels.with_name(f"{pixels.stem}-{name}.uint8")
    shape = (len(order), *convert(pictures.images[:1]).shape[1:])
    with _writing(path.parent, math.prod(shape)), _alone(path.parent):
        if not path.is_file() or path.stat().st_size != math.prod(shape):
            with _whole(path) as file:
                for start in range(0, len(order), BLOCK):
                    file.write(convert(pictures.images[order[start : start + BLOCK]]).tobytes())
    return np.memmap(path, np.uint8, "c", shape=shape)


def reasons(skipped: dict[str, str]) -> str:
    """Name the first few files that were skipped, each with the reason."""
    return listed([f"{name} ({reason})" for name, reason in skipped.items()], 3)


def _state(room: Path, names: Sequence[str]) -> str:
    """Hash name, size and times (ns) of every file: one mended with its old date has another time of change."""
    lines = [f"{VERSION}"]
    for name in names:
        try:
            file = os.stat(f"{room}/{name}")
            lines.append(f"{name}/{file.st_size} {file.st_mtime_ns} {file.st_ctime_ns}")
        except OSError as error:
            lines.append(f"{name}/{error.errno}")
    return hashlib.sha256(os.fsencode("\n".join(lines))).hexdigest()


def _known(pixels: Path, side: int) -> Decoded | None:
    try:
        values = json.loads(pixels.with_suffix(".json").read_text(encoding="utf-8"))
        names, digests = tuple(values["names"]), tuple(values["digests"])
        shape = (len(names), 3, side, side)
        if pixels.stat().st_size != np.prod(shape) or len(digests) != len(names):
            return None
        images = np.memmap(pixels, np.uint8, "c", shape=shape) if names else np.empty(shape, np.uint8)
        return Decoded(images, names, digests, dict(values["skipped"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _make(room: Path, names: Sequence[str], side: int, pixels: Path, watch: Watcher | None) -> Decoded:
    """Decode every image, unless another process does so at this moment: then wait for it."""
    folder, n_bytes = pixels.parent, len(names) * 3 * side * side
    with _writing(folder, n_bytes):
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            if found := _known(pixels, side):
                return found
            source = pixels.name.rpartition("-")[0]
            for old in {*folder.glob("celeba-*.part"), *folder.glob(f"{source}[-.]*")} - set(_parts(pixels)):
                with suppress(OSError):  # Windows keeps what another process has mapped until a later run
                    old.unlink()
            if shutil.disk_usage(folder).free < n_bytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            _write(room, names, side, pixels, watch)
    if found := _known(pixels, side):
        return found
    raise FacesError(later("{pixels} was changed or removed while it was read. Run the command again.", pixels=pixels))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of the cache, which ends with its process: whatever is half written is then of one that is dead."""
    lock = FileLock(folder / "celeba.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"another process is decoding pictures to {folder}; waiting for it", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _writing(folder: Path, n_bytes: int) -> Iterator[None]:
    """Say in words why the cache cannot be written."""
    try:
        yield
    except (OSError, NotImplementedError) as error:  # filelock raises the latter where a disk knows no locks
        reason = getattr(error, "strerror", None) or str(error)
        if getattr(error, "errno", None) in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
            problem, remedy = (
                later("cannot take the {size:,.0f} MB of decoded faces", size=n_bytes / 1e6),
                later("Free some room there"),
            )
        else:
            problem, remedy = later("cannot be written, and decoded faces are kept there"), later("Mend that")
        raise FacesError(
            later(
                "{reason}: {folder} {problem}. {remedy}, or name another folder in EXPLORER_CACHE.",
                reason=reason,
                folder=folder,
                problem=problem,
                remedy=remedy,
            )
        ) from error


def _write(room: Path, names: Sequence[str], side: int, pixels: Path, watch: Watcher | None) -> None:
    """Decode every image with a progress bar, after those that a run which was ended had decoded."""
    from tqdm import tqdm

    part, lines = _parts(pixels)
    done = _half_read(part, lines, names, 3 * side * side)
    rest = names[len(done) :]
    bar = tqdm(total=len(names), initial=len(done), desc="decoding pictures once", unit=" images", dynamic_ncols=True)
    try:
        with bar, part.open("ab") as file, lines.open("ab") as journal:
            for name, (image, reason) in zip(rest, read_images([room / name for name in rest], side), strict=True):
                content = b"" if image is None else image.tobytes()
                digest = hashlib.sha256(content).hexdigest()[:16] if content else ""
                done.append((name, digest, reason))
                file.write(content)
                journal.write(json.dumps(done[-1]).encode() + b"\n")
                bar.update()
                if watch:
                    watch(len(done), len(names), image)
            file.flush()
            os.fsync(file.fileno())
        part.replace(pixels)
    except (OSError, NotImplementedError):  # a full disk: make room again
        for path in (part, lines):
            path.unlink(missing_ok=True)
        raise
    kept = [(name, digest) for name, digest, _ in done if digest]
    skipped = {name: reason for name, digest, reason in done if not digest}
    index = {"names": [name for name, _ in kept], "digests": [digest for _, digest in kept], "skipped": skipped}
    with _whole(pixels.with_suffix(".json")) as file:
        file.write(json.dumps(index).encode())
    lines.unlink()


def _parts(pixels: Path) -> tuple[Path, Path]:
    """Name the file of pixels that is being written, and that of what was read: name, digest, why it was skipped."""
    return pixels.with_suffix(".uint8.part"), pixels.with_suffix(".lines.part")


def _half_read(part: Path, lines: Path, names: Sequence[str], size: int) -> list[tuple[str, str, str]]:
    """Read how far a run came that was ended, as far as its pixels are whole, and cut off what is not."""
    done, n_lines, n_pixels = [], 0, 0
    with part.open("a+b") as file, lines.open("a+b") as journal:
        file.seek(0)
        journal.seek(0)
        for line, name in zip(journal, names, strict=False):
            try:
                there, digest, reason = json.loads(line)
            except (ValueError, TypeError):
                break
            if there != name or (digest and hashlib.sha256(file.read(size)).hexdigest()[:16] != digest):
                break
            done.append((name, digest, reason))
            n_lines, n_pixels = n_lines + len(line), n_pixels + (size if digest else 0)
        file.truncate(n_pixels)
        journal.truncate(n_lines)
    return done


@contextmanager
def _whole(path: Path) -> Iterator[object]:
    """Open a file that takes its name when it is whole and on the disk."""
    part = path.with_suffix(f"{path.suffix}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
