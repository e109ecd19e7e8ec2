"""The one reader of pictures from outside: uploads, and folders of images.

A file is named by its first bytes, never by its name; only the formats of `FORMATS` are handed to Pillow. What is
wider than 8 bits, or larger than `KEPT_PIXELS`, is scaled and shrunk in bands of rows, so that memory stays near what
Pillow needs to hold the picture as it is stored.
"""

import io
import logging
import math
import re
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageCms

from explorer.language import later
from explorer.signatures import READABLE, refusal

MAX_UPLOAD_BYTES = 10 * 1024 * 1024
MAX_UPLOAD_PIXELS = 25_000_000
MOST_SIDE = 65_535  # of JPEG; what is longer and within the pixels is but a few pixels high, and costly to shrink
KEPT_PIXELS = 4_000_000  # a quarter of a phone's photo: cut out, its eyes still fill what a model sees
BAND_PIXELS = 1_000_000  # are widened at a time
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "AVIF", "HEIF")
DEEP = later("16-bit colours")
COSTLY = {"WebP": 2, "AVIF": 2, DEEP: 2}  # of which a pixel takes twice the memory while it is decoded
MOST_PROFILE = 4 * 1024 * 1024  # of bytes; those of printers have 2
DEPTHS = (1, 2, 4, 8, 10, 12, 14, 16)  # bits that sensors and tools count in
ORIENTATION, PHOTOMETRIC, BITS, SAMPLE_FORMAT, PLANAR = 274, 262, 258, 339, 284  # tags of TIFF and EXIF
SAMPLE_RANGES = ((340, 341), (280, 281))  # SMinSampleValue and SMaxSampleValue; those of unsigned numbers
WIDEST = 65535.0
PNG, JPEG, START_OF_SCAN = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", 0xDA
PNG_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"sBIT", b"IDAT", b"IEND"}
PNG_HEADER = 1 << 20  # of bytes, in which a chunk before the pixels is looked for
JPEG_METADATA = {*range(0xE1, 0xEE), 0xFE}  # APP1 to APP13, comments; APP14 says how colours are stored
OTHER_END = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
LOW_BYTES = {
    f"{mode};16{end}": f"{mode};16{other}" for mode in ("RGB", "RGBX", "RGBA") for end, other in OTHER_END.items()
}
LOW_BYTES["LA;16B"] = "RGBA"  # both bytes of both: what decodes the low bytes of what Pillow reads the high ones of
TOO_LARGE = later(
    "The picture has more megapixels than any program should open at once. Save a smaller copy and use that."
)
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # what undoes each orientation
SIDEWAYS = (5, 6, 7, 8)


class ImageError(ValueError):
    """A file cannot be used as a picture; the message says what is wrong and what to do."""


def read_picture(
    source: bytes | Path, most_bytes: int | None = MAX_UPLOAD_BYTES, most_pixels: int | None = MAX_UPLOAD_PIXELS
) -> Image.Image:
    """Read a picture from outside, the content of a file or a path, as 8-bit "L" or "RGB".

    Sizes are checked before anything is decoded. The first frame of an animation or page of a document is taken,
    EXIF rotation is applied where it can be read, colours become sRGB, transparency is laid on white, and numbers
    wider than 8 bits are scaled by what the header says or else by what they are. A picture of more than
    `KEPT_PIXELS` is shrunk by a whole number; its `info` has "whole", the size before, and "notes", sentences on
    what was made up.

    Raises:
        ImageError: over `most_bytes` or `most_pixels` (None: no bound), not a picture, or damaged.
    """
    head = b""
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
            head = file.read(512)
            size = file.seek(0, io.SEEK_END)
            if most_bytes is not None and size > most_bytes:
                raise ImageError(
                    later(
                        "The file has {size:.1f} MB; the limit is {most:.0f} MB. Save a smaller copy and use that.",
                        size=size / 2**20,
                        most=most_bytes / 2**20,
                    )
                )
            try:
                return _decoded(file, most_pixels)
            except (ImageError, Image.DecompressionBombError):
                raise
            except Exception as error:  # unknown numbers, or only what is written beside the pixels is damaged
                unknown = isinstance(error, Image.UnidentifiedImageError)
                if unknown and (numbers := _uncompressed_tiff(file, most_pixels)):
                    return _described(*_scaled(numbers), numbers.size)
                file.seek(0)
                data = file.read()
                bare = _without_metadata(data)
                if bare == data:
                    raise
                return _decoded(io.BytesIO(bare), most_pixels)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(TOO_LARGE) from error
    except Exception as error:  # Pillow's decoders raise anything from SyntaxError to struct.error
        if isinstance(error, OSError) and error.errno:
            raise ImageError(later("The file cannot be opened: {reason}.", reason=error.strerror)) from error
        raise ImageError(refusal(head, formats())) from error


@cache
def formats() -> tuple[str, ...]:
    """Name those of `FORMATS` that can be read here; HEIF needs pillow-heif."""
    with suppress(Exception):  # absent, or its library cannot be loaded
        import pillow_heif

        pillow_heif.register_heif_opener(thumbnails=False)
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def extensions() -> list[str]:
    """List the endings, without the dot, of the files that can be read here."""
    kinds = (*formats(), "MPO")  # several JPEGs in a file, as phones write them
    return sorted(ending.lstrip(".") for ending, name in Image.registered_extensions().items() if name in kinds)


def _decoded(file: BinaryIO, most_pixels: int | None) -> Image.Image:
    """Decode, shrink, flatten and turn; raises whatever Pillow raises."""
    with Image.open(file, formats=formats()) as picture:
        _check_size(picture.size, most_pixels, READABLE.get(picture.format, ""))
        if picture.format == "TIFF":
            _check_tiff(picture.tag_v2, most_pixels)
            if picture.tag_v2.get(PLANAR) == 2 and max(picture.tag_v2.get(BITS, (8,))) > 8:
                raise Image.UnidentifiedImageError  # Pillow takes the bytes for samples
        whole, tile = picture.size, picture.tile[:1]
        if picture.format in ("JPEG", "MPO") and _factor(whole) > 1:
            picture.draft(None, tuple(max(side // _factor(whole), 1) for side in whole))
        picture.load()
        numbers = _numbers(picture, file, tile, most_pixels)
        if numbers:
            flat, notes = _scaled(numbers)
        else:
            flat, notes = _in_bands(picture.size, lambda box: _opaque(picture.crop(box))), []
        flat = _srgb(flat, picture.info.get("icc_profile"))
        orientation = _orientation(picture.info)
        if picture.format == "TIFF":  # which Pillow turns by itself
            orientation, whole = 1, picture.size
    if orientation in TURNS:
        flat = flat.transpose(TURNS[orientation])
        whole = whole[::-1] if orientation in SIDEWAYS else whole
    return _described(flat, notes, whole)


def _described(flat: Image.Image, notes: list[str], whole: tuple[int, int]) -> Image.Image:
    flat.info = {"whole": whole, "notes": tuple(notes)}  # and nothing of what came with the file
    return flat


def _check_size(size: tuple[int, int], most_pixels: int | None, kind: str = "") -> None:
    pixels = size[0] * size[1]
    if max(size) > MOST_SIDE:
        raise ImageError(
            later(
                "The picture has {width:,} × {height:,} pixels; a side may have {most:,}. Save a smaller copy and use "
                "that.",
                width=size[0],
                height=size[1],
                most=MOST_SIDE,
            )
        )
    if most_pixels and pixels > most_pixels / COSTLY.get(kind, 1):
        raise ImageError(
            later(
                "The picture has {size:,.1f} megapixels; the limit is {most:g}{kind}. Save a smaller copy and use "
                "that.",
                size=pixels / 1e6,
                most=most_pixels / COSTLY.get(kind, 1) / 1e6,
                kind=later(" for {kind}", kind=kind) if kind in COSTLY else "",
            )
        )


def _check_tiff(tags: Mapping[int, Any], most_pixels: int | None) -> None:
    """Refuse a camera's raw file, whose first picture is but a thumbnail, and tiles that would fill the memory."""
    if 50706 in tags or (tags.get(254) == 1 and 330 in tags):  # DNGVersion; a thumbnail with SubIFDs
        raise ImageError(later("This is a camera's raw file. Develop it, save it as PNG or JPEG and use that."))
    tile = tags.get(322, 0), tags.get(323, 0)
    if most_pixels and tile[0] * tile[1] > most_pixels:
        raise ImageError(
            later("This TIFF file is damaged: its tiles are larger than any picture. Save it anew as PNG.")
        )


def _factor(size: tuple[int, int]) -> int:
    """Choose the whole number by which a picture is shrunk."""
    return math.ceil(math.sqrt(size[0] * size[1] / KEPT_PIXELS))


def _in_bands(size: tuple[int, int], piece: Callable[[tuple[int, int, int, int]], Image.Image]) -> Image.Image:
    """Put a picture together from bands of rows, `piece` of a box each, shrunk one by one."""
    (width, height), factor = size, _factor(size)
    if factor == 1:
        return piece((0, 0, width, height))
    rows = max(BAND_PIXELS // (width * factor), 1) * factor
    small = None
    for top in range(0, height, rows):
        band = piece((0, top, width, min(top + rows, height))).reduce(factor)
        small = small or Image.new(band.mode, (-(-width // factor), -(-height // factor)))
        small.paste(band, (0, top // factor))
    return small


def _opaque(picture: Image.Image) -> Image.Image:
    """Bring 8 bits of any mode to "L", "RGB", "CMYK" or "LAB", transparency laid on white."""
    if picture.mode in ("L", "RGB", "CMYK", "LAB") and "transparency" not in picture.info:
        return picture
    if picture.mode == "La":
        picture = picture.convert("LA")
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return picture.convert("L" if picture.mode == "1" else "RGB")


def _srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Bring a picture to "L" or "RGB" in sRGB; a profile that makes no sense is passed over."""
    mode = picture.mode
    if mode == "LAB" or (profile and len(profile) < MOST_PROFILE and b"sRGB" not in profile):
        with suppress(ImageCms.PyCMSError, OSError, ValueError):
            source = ImageCms.createProfile("LAB") if mode == "LAB" else ImageCms.getOpenProfile(io.BytesIO(profile))
            picture = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    if picture.mode == "LAB":  # the profile was refused
        raise ImageError(later("The colours of this picture cannot be read. Save it as PNG or JPEG and use that."))
    wanted = "L" if mode == "L" else "RGB"
    return picture if picture.mode == wanted else picture.convert(wanted)


def _orientation(info: Mapping[str, Any]) -> int:
    """Find how a picture is turned in its EXIF, else in its XMP: 1 to 8, and 1 where neither can be read.

    Nothing else of the EXIF is looked at, so that nothing else can be wrong with it.
    """
    exif = info.get("exif") or b""
    if raw := info.get("Raw profile type exif"):  # as ImageMagick writes it: a name, a length, digits
        with suppress(ValueError):
            exif = bytes.fromhex("".join(str(raw).split("\n")[3:]))
    if found := _orientation_of_exif(exif.removeprefix(b"Exif\0\0")):
        return found
    xmp = info.get("XML:com.adobe.xmp") or info.get("xmp") or b""
    found = re.search(rb'tiff:Orientation(?:="|>)([1-8])', xmp.encode() if isinstance(xmp, str) else xmp)
    return int(found[1]) if found else 1


def _orientation_of_exif(data: bytes) -> int | None:
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return None
    with suppress(struct.error):  # it ends too early
        start = struct.unpack_from(order + "I", data, 4)[0]
        for at in range(start + 2, start + 2 + 12 * struct.unpack_from(order + "H", data, start)[0], 12):
            tag, kind = struct.unpack_from(order + "HH", data, at)
            if tag == ORIENTATION:
                return struct.unpack_from(order + {1: "B", 4: "I"}.get(kind, "H"), data, at + 8)[0]
    return None


@dataclass(frozen=True)
class _Numbers:
    """A picture of numbers wider than a byte.

    size: width and height. box: gives the numbers `(h, w, S)` of a box; S samples: grey or three colours, and perhaps
    opacity. said: the numbers that the header says are black and white. is_negative: the smallest is white. clear:
    the number that is transparent.
    """

    size: tuple[int, int]
    box: Callable[[tuple[int, int, int, int]], np.ndarray]
    said: tuple[float, float] | None = None
    is_negative: bool = False
    clear: int | None = None


def _numbers(picture: Image.Image, file: BinaryIO, tile: list, most_pixels: int | None) -> _Numbers | None:
    """Give the numbers of a loaded picture where they are wider than a byte, or signed; None where they are not.

    tile: how the picture was to be decoded.
    """
    tags = getattr(picture, "tag_v2", {})
    sample = (tags.get(SAMPLE_FORMAT, (1,))[0], tags.get(BITS, (0,))[0])
    kind = {(2, 8): np.int8, (1, 32): np.uint32}.get(sample)  # Pillow takes the one for unsigned, the other for signed
    if picture.mode.startswith("I") or picture.mode == "F" or kind == np.int8:
        clear = picture.info.get("transparency")
        return _Numbers(
            picture.size,
            lambda box: _view(picture.crop(box), kind),
            _said(picture.format, picture.mode, tags, file),
            is_negative=tags.get(PHOTOMETRIC) == 0,
            clear=clear if isinstance(clear, int) else None,
        )
    args = tile[0].args if tile else None
    rawmode = args[0] if isinstance(args, tuple) and args else args
    if rawmode not in LOW_BYTES:
        return None
    if max(high for _, high in picture.getextrema()[:3]) >= 2 ** (DEPTHS[-2] - 8):
        return None  # the high bytes, which are what Pillow gives, are enough
    _check_size(picture.size, most_pixels, DEEP)
    with Image.open(file, formats=(picture.format,)) as low:
        low.tile = [step._replace(args=_with_rawmode(step.args, LOW_BYTES[rawmode])) for step in low.tile]
        low.load()

    def box(where: tuple[int, int, int, int]) -> np.ndarray:
        first, second = (np.asarray(part.crop(where), dtype=np.uint16) for part in (picture, low))
        return second[..., 0::2] * 256 + second[..., 1::2] if rawmode == "LA;16B" else first * 256 + second

    return _Numbers(picture.size, box, _said(picture.format, picture.mode, tags, file))


def _view(picture: Image.Image, kind: type | None) -> np.ndarray:
    values = np.asarray(picture)
    return (values if kind is None else values.view(kind))[..., None]


def _with_rawmode(args: str | tuple, rawmode: str) -> str | tuple:
    return rawmode if isinstance(args, str) else (rawmode, *args[1:])


def _said(kind: str, mode: str, tags: Mapping[int, Any], file: BinaryIO) -> tuple[float, float] | None:
    """Find which numbers the header says are black and white, where it says more than how wide the numbers are."""
    if kind == "PPM" and mode == "I":
        return 0.0, WIDEST  # Pillow scales by what the header says
    if kind == "PNG":
        bits = _significant_bits(file)
        return (0.0, 2.0**bits - 1) if bits else None
    for least, most in SAMPLE_RANGES:
        with suppress(KeyError, TypeError, ValueError):  # absent, or of a type that makes no sense
            black, white = float(np.min(tags.get(least, 0))), float(np.max(tags[most]))
            if black < white < np.inf and (black, white) != (0.0, WIDEST):  # which many write without a look
                return black, white
    bits = max(tags.get(BITS, (0,)))
    return (0.0, 2.0**bits - 1) if 8 < bits < 16 else None


def _significant_bits(file: BinaryIO) -> int:
    """Read from the sBIT chunk how many of a PNG's 16 bits say something, 0 where it does not say."""
    file.seek(0)
    data = file.read(PNG_HEADER)
    for name, start, end in _chunks(data):
        if name == b"sBIT" and start + 12 < end <= len(data):
            return data[start + 8] if data[start + 8] <= 16 else 0
        if name == b"IDAT":
            break
    return 0


def _scaled(numbers: _Numbers) -> tuple[Image.Image, list[str]]:
    """Bring numbers to 8-bit "L" or "RGB", and say what had to be made up for it."""
    extent = _Extent.of(numbers)
    black, white, notes = extent.ends(numbers.said)

    def piece(box: tuple[int, int, int, int]) -> Image.Image:
        values = numbers.box(box)
        n_colours = values.shape[-1] - 1 + values.shape[-1] % 2
        x = _share(values[..., :n_colours], black, white)
        x = 1.0 - x if numbers.is_negative else x
        x[~np.isfinite(values[..., :n_colours])] = 0.0
        if numbers.clear is not None:
            x[values == numbers.clear] = 1.0
        if n_colours < values.shape[-1]:
            opacity = _share(values[..., n_colours:], 0.0, extent.opaque)
            x = opacity * x + (1.0 - opacity)
        pixels = (x * 255.0 + 0.5).astype(np.uint8)
        return Image.fromarray(pixels[..., 0] if n_colours == 1 else pixels)

    return _in_bands(numbers.size, piece), notes


def _share(values: np.ndarray, black: float, white: float) -> np.ndarray:
    """Say where finite numbers lie between two, 0 to 1, clipped; without overflow at the ends of what floats hold."""
    if black == white:
        return np.zeros(values.shape)
    largest = max(abs(black), abs(white))
    x = np.where(np.isfinite(values), values, black).astype(np.float64) / largest
    return np.clip((x - black / largest) / (white / largest - black / largest), 0.0, 1.0)


@dataclass(frozen=True)
class _Extent:
    """What the numbers of a picture are: finite ones from `lowest` to `highest`, of colours and of opacity apart."""

    kind: np.dtype
    lowest: float
    highest: float
    opaque: float
    n_wrong: int
    is_widened: bool  # bytes, each written twice or before a zero, as tools make 16 bits of 8

    @classmethod
    def of(cls, numbers: _Numbers) -> "_Extent":
        """Look at all numbers, in bands."""
        width, height = numbers.size
        rows = max(BAND_PIXELS // width, 1)
        lowest, highest, opaque, n_wrong, is_widened = np.inf, -np.inf, 0.0, 0, True
        for top in range(0, height, rows):
            values = numbers.box((0, top, width, min(top + rows, height)))
            n_colours = values.shape[-1] - 1 + values.shape[-1] % 2
            if n_colours < values.shape[-1]:
                opaque = max(opaque, float(values[..., n_colours:].max()))
            values = values[..., :n_colours]
            finite = values if values.dtype.kind != "f" else values[np.isfinite(values)]
            n_wrong += (values.size - finite.size) // n_colours
            if finite.size:
                lowest, highest = min(lowest, float(finite.min())), max(highest, float(finite.max()))
            is_widened = is_widened and values.dtype == np.uint16 and bool(
                ((values & 255 == values >> 8).all()) or (values & 255 == 0).all()
            )  # fmt: skip
            kind = values.dtype
        if lowest > highest:
            raise ImageError(later("No pixel of this picture is a finite number. Save it anew and use that."))
        usual = 1.0 if kind.kind == "f" else 2.0 ** _depth(opaque) - 1
        return cls(kind, lowest, highest, max(usual, 1.0), n_wrong, is_widened)

    def ends(self, said: tuple[float, float] | None) -> tuple[float, float, list[str]]:
        """Choose which number is black and which is white, and say it where it is but a guess."""
        notes = []
        if self.n_wrong:
            notes.append(later("{n:,} pixels are no finite numbers and are shown black.", n=self.n_wrong))
        if said is not None and said[0] <= self.lowest <= self.highest <= said[1]:
            return *said, notes
        if self.kind.kind == "f" and self.lowest >= 0 and (self.highest <= 1 or 127 < self.highest <= 255):
            return 0.0, 1.0 if self.highest <= 1 else 255.0, notes
        if self.kind.kind != "f" and self.lowest >= 0 and self.highest <= WIDEST:
            if self.is_widened or self.lowest == self.highest:
                return 0.0, WIDEST, notes
            depth = _depth(self.highest)
            if depth < 16:
                notes.append(
                    later(
                        "The numbers in this file end at {highest:,.0f}, so they were taken for {depth} bits: "
                        "{white:,} is shown white.",
                        highest=self.highest,
                        depth=depth,
                        white=2**depth - 1,
                    )
                )
            return 0.0, 2.0**depth - 1, notes
        notes.append(
            later(
                "The numbers in this file go from {lowest:,.4g} to {highest:,.4g}: the lowest is shown black{end}.",
                lowest=self.lowest,
                highest=self.highest,
                end=later(" and the highest white") if self.lowest < self.highest else "",
            )
        )
        return self.lowest, self.highest, notes


def _depth(highest: float) -> int:
    """Name the fewest usual bits that hold a number, at most 16."""
    return next((depth for depth in DEPTHS if highest < 2**depth), DEPTHS[-1])


def _uncompressed_tiff(file: BinaryIO, most_pixels: int | None) -> _Numbers | None:
    """Give the numbers of a TIFF that Pillow does not know (float64, colours in floats); None where it is none.

    Only uncompressed ones, which need no more memory than the file is long.

    Raises:
        ImageError: it is a whole TIFF all the same, but compressed, or of colours that cannot be shown.
    """
    file.seek(0)
    if file.read(2) not in (b"II", b"MM"):
        return None
    import tifffile  # takes its time, and is seldom needed

    logging.getLogger("tifffile").disabled = True  # it writes down what is wrong with each tag
    file.seek(0)
    try:
        with tifffile.TiffFile(file) as document:
            page = document.pages.first
            size = page.imagewidth, page.imagelength
            _check_size(size, most_pixels)
            if page.compression != 1 or page.photometric not in (0, 1, 2) or page.dtype.kind not in "uif":
                raise ImageError(
                    later(
                        "This TIFF file is compressed in a way, or holds colours, that cannot be read here. Save it "
                        "uncompressed, or as PNG, and use that."
                    )
                )
            if page.nbytes > file.seek(0, io.SEEK_END) or page.imagedepth > 1:
                return None
            values = page.asarray(maxworkers=1)
            values = np.moveaxis(values, 0, -1) if page.planarconfig == 2 and values.ndim == 3 else values
            values = values.reshape(*size[::-1], -1)[..., :4]
            is_negative = page.photometric == 0
    except ImageError:
        raise
    except Exception:  # damaged, or no TIFF
        return None
    return _Numbers(size, lambda box: values[box[1] : box[3], box[0] : box[2]], is_negative=is_negative)


def _without_metadata(data: bytes) -> bytes:
    """Take everything out of a file that is not needed for its pixels: EXIF, profiles, texts."""
    if data.startswith(PNG):
        return PNG + b"".join(data[start:end] for name, start, end in _chunks(data) if name in PNG_PIXELS)
    if data.startswith(JPEG):
        return JPEG + b"".join(data[start:end] for mark, start, end in _segments(data) if mark not in JPEG_METADATA)
    if data[4:8] == b"ftyp":  # AVIF, HEIC: an item of an unknown type is passed over
        return re.sub(rb"(infe.{8})Exif", rb"\1none", data, flags=re.DOTALL)
    return data.replace(b"EXIF", b"NONE", 1)  # WebP: so is a chunk


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Walk over a PNG: name, start and end of each chunk."""
    at = len(PNG)
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        yield name, at, at + 12 + length
        at += 12 + length


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Walk over a JPEG: marker, start and end of each segment, the last with all that follows it."""
    at, mark = len(JPEG), 0
    while mark != START_OF_SCAN and at + 4 <= len(data):
        mark, length = struct.unpack_from(">xBH", data, at)
        end = len(data) if mark == START_OF_SCAN else at + 2 + length
        yield mark, at, end
        at = end
