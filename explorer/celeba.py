"""CelebA faces (Liu et al. 2015) from the folder they were unpacked to: read, cropped and kept decoded.

    <data>/celeba/img_align_celeba/000001.jpg ...    (Kaggle: img_align_celeba/img_align_celeba/)
                  list_eval_partition.txt or .csv    0 training, 1 validation, 2 test
                  list_attr_celeba.txt or .csv       40 attributes, 1 or -1
                  identity_CelebA.txt or .csv        one number per person

Any subset of the images will do, as JPEG or PNG, and every table may be missing or cover other images. The
images are decoded once, in parallel, into one file of bytes in the cache folder (EXPLORER_CACHE, else
~/.cache/latent-space-explorer), which is made anew when a file of the source was added, removed or changed.
"""

import csv
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

FOLDER = "celeba"
SUFFIXES = {".jpg", ".jpeg", ".png"}
SIDE = 64
CROP, ALIGNED = 148, (178, 218)  # the usual crop: the face without most of the background
SHARES = (0.8, 0.1, 0.1)  # training, validation, test, where no partition file says
UNKNOWN = -1
ATTRIBUTES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose",
    "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses",
    "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache",
    "Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks",
    "Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick",
    "Wearing_Necklace", "Wearing_Necktie", "Young",
)  # fmt: skip


class FacesError(RuntimeError):
    """The faces are missing or cannot be used; the message says which file and what mends it."""


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

    Raises:
        FacesError: no images, a table that cannot be read, or no room for the cache.
    """
    folder = data_dir / FOLDER
    sources = find_images(folder)
    images, names, skipped = _decoded(sources, side)
    notes = []
    if skipped:
        notes.append(f"{len(skipped):,} damaged images were skipped: {_listed(skipped)}.")
    partition, note = _partition(folder, names, seed)
    attributes, attribute_notes = _attributes(folder, names)
    identities = np.full(len(names), UNKNOWN, dtype=np.int64)
    rows = read_table(folder, "identity_CelebA", has_header=False)[1]
    for i, name in enumerate(names):
        if name in rows:
            identities[i] = rows[name][0]
    return Faces(images, names, partition, attributes, identities, (*notes, *note, *attribute_notes))


def pick(data_dir: Path, names: Sequence[str], side: int = SIDE) -> np.ndarray:
    """Read a few images by file name, without the cache: uint8 `(len(names), 3, S, S)`.

    Raises:
        FacesError: one is missing or damaged.
    """
    folder = find_images(data_dir / FOLDER)[0].parent
    sources = [folder / name for name in names]
    images = [image for _, image in _images(sources, side)]
    if wrong := [path.name for path, image in zip(sources, images, strict=True) if image is None]:
        raise FacesError(f"{len(wrong):,} images in {folder} are missing or damaged: {_listed(wrong)}.")
    return np.stack(images)


def find_images(folder: Path) -> list[Path]:
    """List the images of either layout, sorted by name.

    Raises:
        FacesError: there are none; the message says what to put where.
    """
    images = folder / "img_align_celeba"
    inner = images / "img_align_celeba"
    images = inner if inner.is_dir() else images
    found = sorted(p for p in images.iterdir() if p.suffix.lower() in SUFFIXES) if images.is_dir() else []
    if not found:
        raise FacesError(
            f"{images} holds no face images. Get img_align_celeba.zip and the list_*.txt files from "
            "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, or the archive jessicali9530/celeba-dataset from "
            f"Kaggle, and unpack them so that {folder / 'img_align_celeba' / '000001.jpg'} and "
            f"{folder / 'list_eval_partition.txt'} exist (list_attr_celeba.txt adds the attributes). "
            "Any subset of the images will do. CelebA is for non-commercial research only."
        )
    return found


def square(picture: Image.Image, side: int) -> np.ndarray:
    """Crop and shrink any picture to uint8 `(3, side, side)`.

    Aligned CelebA images of 178 x 218 lose all but their middle 148 x 148 (Larsen et al. 2016); of others the
    largest middle square is taken. The outermost pixels blend with what lies beside it. Grey and CMYK become
    RGB, EXIF rotation is applied.
    """
    picture = ImageOps.exif_transpose(picture).convert("RGB")
    crop = CROP if picture.size == ALIGNED else min(picture.size)
    left, top = (picture.width - crop) // 2, (picture.height - crop) // 2
    small = picture.resize((side, side), Image.Resampling.BILINEAR, (left, top, left + crop, top + crop))
    return np.moveaxis(np.asarray(small), -1, 0)


def read_table(folder: Path, name: str, has_header: bool) -> tuple[list[str], dict[str, list[int]]]:
    """Read `name`.txt (official) or `name`.csv (Kaggle): column names, and the numbers of each image.

    A table that does not exist has no rows.

    Raises:
        FacesError: a row is not an image name and as many whole numbers as there are columns.
    """
    for suffix in (".txt", ".csv"):
        path = folder / f"{name}{suffix}"
        if path.is_file():
            break
    else:
        return [], {}
    columns: list[str] = []
    rows: dict[str, list[int]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        lines = csv.reader(file) if suffix == ".csv" else (line.split() for line in file)
        for number, line in enumerate(lines, start=1):
            if not line or (number == 1 and len(line) == 1 and line[0].isdecimal()):  # the official row count
                continue
            if not rows and not columns and (has_header or suffix == ".csv"):
                columns = line if suffix == ".txt" else line[1:]
                continue
            try:
                values = [int(v) for v in line[1:]]
                if not values or (columns and len(values) != len(columns)):
                    raise ValueError(f"{len(values)} numbers for {len(columns)} columns")
            except ValueError as error:
                raise FacesError(f"{path}, line {number}, cannot be read ({error}). Unpack the file anew.") from error
            rows[line[0]] = values
    return columns, rows


def _partition(folder: Path, names: tuple[str, ...], seed: int) -> tuple[np.ndarray, list[str]]:
    """Give each image its official part, and a seeded one where the file does not speak of it."""
    rows = read_table(folder, "list_eval_partition", has_header=False)[1]
    drawn = np.random.default_rng(seed).choice(3, len(names), p=SHARES)
    partition = np.array([rows[n][0] if n in rows else d for n, d in zip(names, drawn, strict=True)], dtype=np.int64)
    if len(partition) and not 0 <= partition.min() <= partition.max() <= 2:
        raise FacesError(f"{folder / 'list_eval_partition'} holds a part other than 0, 1 and 2. Unpack the file anew.")
    missing = [n for n in names if n not in rows]
    if not missing:
        return partition, []
    reason = "there is no list_eval_partition file" if not rows else f"it has no row for {_listed(missing)}"
    return partition, [
        f"{len(missing):,} images were parted 80/10/10 at random with seed {seed}: {reason}. "
        "Figures on such a split do not compare with published ones."
    ]


def _attributes(folder: Path, names: tuple[str, ...]) -> tuple[np.ndarray, list[str]]:
    """Read 1 and -1 as 1 and 0, in the order of `ATTRIBUTES`; `UNKNOWN` for images and columns without rows."""
    columns, rows = read_table(folder, "list_attr_celeba", has_header=True)
    values = np.full((len(names), len(ATTRIBUTES)), UNKNOWN, dtype=np.int8)
    places = [(ATTRIBUTES.index(c), k) for k, c in enumerate(columns) if c in ATTRIBUTES]
    labelled = [i for i, name in enumerate(names) if name in rows]
    for i in labelled:
        row = rows[names[i]]
        for to, k in places:
            values[i, to] = row[k] > 0
    notes = []
    if not rows:
        notes.append("No image has attributes: there is no list_attr_celeba file.")
    elif len(labelled) < len(names):
        notes.append(f"{len(labelled):,} of {len(names):,} images have a row of attributes.")
    if extra := len(rows) - len(labelled):
        notes.append(f"{extra:,} rows of attributes belong to images that are not there.")
    if rows and len(places) < len(ATTRIBUTES):
        lacking = [a for a in ATTRIBUTES if a not in columns]
        notes.append(f"The attribute file lacks {_listed(lacking)}.")
    return values, notes


def _listed(names: list[str] | tuple[str, ...], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def cache_folder() -> Path:
    """Name the folder of decoded images: the variable EXPLORER_CACHE, else ~/.cache/latent-space-explorer."""
    return Path(os.environ.get("EXPLORER_CACHE") or Path.home() / ".cache" / "latent-space-explorer")


def _decoded(sources: list[Path], side: int) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
    """Map the decoded images from the cache, made first where it is missing or of another source."""
    folder = sources[0].parent.resolve()
    base = cache_folder() / f"celeba-{side}-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    pixels, index = base.with_suffix(".uint8"), base.with_suffix(".json")
    state = _state(sources)
    try:
        values = json.loads(index.read_text())
        fresh = values["source"] == state and pixels.stat().st_size == len(values["names"]) * 3 * side * side
    except (OSError, ValueError, KeyError):
        fresh = False
    if not fresh:
        values = _decode_all(sources, side, pixels, state)
        _replace(index, json.dumps(values).encode())
    names = tuple(values["names"])
    if not names:
        raise FacesError(f"none of the {len(sources):,} images in {folder} can be read. Unpack the archive anew.")
    return np.memmap(pixels, np.uint8, "c", shape=(len(names), 3, side, side)), names, values["skipped"]


def _state(sources: list[Path]) -> str:
    """Hash name, size and modification time (ns) of every file."""
    digest = hashlib.sha256()
    for path in sources:
        stat = path.stat()
        digest.update(f"{path.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _decode_all(sources: list[Path], side: int, pixels: Path, state: str) -> dict[str, object]:
    """Decode every image in parallel, with a progress bar, into one file that appears when it is whole."""
    from tqdm import tqdm

    n_bytes = len(sources) * 3 * side * side
    full = FacesError(
        f"{pixels.parent} cannot take the {n_bytes / 1e6:,.0f} MB of decoded faces. Free some room there, or name "
        "another folder in EXPLORER_CACHE."
    )
    names, skipped = [], []
    temporary = None
    try:
        pixels.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(pixels.parent).free < n_bytes:
            raise full
        with tempfile.NamedTemporaryFile(dir=pixels.parent, delete=False) as file:
            temporary = Path(file.name)
            for path, image in tqdm(
                _images(sources, side), "decoding faces once", len(sources), unit=" images", dynamic_ncols=True
            ):
                if image is None:
                    skipped.append(path.name)
                else:
                    names.append(path.name)
                    file.write(image.tobytes())
        temporary.replace(pixels)
    except OSError as error:
        raise full from error
    finally:
        if temporary:
            temporary.unlink(missing_ok=True)
    return {"source": state, "names": names, "skipped": skipped}


def _images(sources: list[Path], side: int) -> Iterator[tuple[Path, np.ndarray | None]]:
    """Decode in threads (Pillow lets go of the interpreter) and in order; None for a damaged file."""

    def one(path: Path) -> np.ndarray | None:
        try:
            with Image.open(path) as picture:
                return square(picture, side)
        except Exception:  # Pillow's decoders raise anything from SyntaxError to struct.error
            return None

    block = 1024  # so that results do not pile up behind a slow disk
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(sources), block):
            part = sources[start : start + block]
            yield from zip(part, pool.map(one, part), strict=True)


def _replace(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)
