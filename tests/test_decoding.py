import io
import re
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from explorer import decoding
from explorer.decoding import ImageError, extensions, read_picture
from explorer.images import fit_picture, read_upload
from explorer.ui.text import as_text

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # what is wrong with EXIF, for developers
RNG = np.random.default_rng(0)
LEFT = np.zeros((32, 32, 3), dtype=np.uint8)
LEFT[:, :16] = 255  # white on the left
UP = np.rot90(LEFT, -1)  # turned as orientation 6 says


def encoded(picture, kind="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(values, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **options)
    return buffer.getvalue()


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_with(*chunks, png=None):
    png = png or encoded(Image.fromarray(LEFT))
    return png[:33] + b"".join(chunks) + png[33:]  # after IHDR


def png16(values, *chunks):
    """Encode uint16 `(H, W, S)`, which Pillow cannot write for more than one sample."""
    height, width, samples = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, (0, 4, 2, 6)[samples - 1], 0, 0, 0)
    parts = (chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def jpeg_with(marker, content):
    jpeg = encoded(Image.fromarray(LEFT), "JPEG", quality=95)
    return jpeg[:2] + struct.pack(">BBH", 255, marker, len(content) + 2) + content + jpeg[2:]


def exif(*entries, n=None):
    rows = b"".join(struct.pack(">HHI", *entry[:3]) + entry[3] for entry in entries)
    return b"MM\0*" + struct.pack(">IH", 8, len(entries) if n is None else n) + rows + bytes(4)


TURNED = (274, 3, 1, b"\0\6\0\0")
WRONG_TYPE = (37510, 11, 1, b"\xff\xff\xff\xff")  # a comment that is a number, and none
FAR_AWAY = (271, 2, 9_999, b"\x7f\xff\xff\xff")
ITSELF = (34665, 4, 1, b"\0\0\0\x08")  # the EXIF directory is the first one again
DAMAGED = {
    "no header": (b"\0\0\0\x08\0\2\1\x12\0\3rest", LEFT),
    "nothing": (b"", LEFT),
    "garbage": (bytes(range(7, 90)), LEFT),
    "cut short": (exif(FAR_AWAY, TURNED)[:20], LEFT),
    "more entries than there are": (exif(WRONG_TYPE, n=60_000), LEFT),
    "turned, field of the wrong type": (exif(TURNED, WRONG_TYPE), UP),
    "turned, offset far away": (exif(FAR_AWAY, TURNED), UP),
    "turned, recursion": (exif(TURNED, ITSELF), UP),
    "turned, as a byte": (exif((274, 1, 1, b"\6\0\0\0")), UP),
    "turned by 77": (exif((274, 3, 1, b"\0\x4d\0\0")), LEFT),
}


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_with_damaged_exif_is_whole_and_turned_where_that_can_be_read(kind, name):
    content, expected = DAMAGED[name]
    if kind == "PNG":
        data = png_with(chunk(b"eXIf", content))
    elif kind == "JPEG":
        data = jpeg_with(0xE1, b"Exif\0\0" + content)
    else:
        whole = encoded(Image.fromarray(LEFT), "WEBP", lossless=True, exif=b"MM\0*filler")
        start = whole.index(b"EXIF")
        padded = content + bytes(len(content) % 2)
        body = whole[12:start] + b"EXIF" + struct.pack("<I", len(content)) + padded
        data = whole[:4] + struct.pack("<I", len(body) + 4) + b"WEBP" + body
    assert np.abs(np.asarray(read_picture(data)).astype(int) - expected).mean() < 2


AROUND_PIXELS = {
    "wrong checksum": png_with(chunk(b"eXIf", exif(TURNED))[:-4] + b"abcd"),
    "text of 3 MB": png_with(chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(3_000_000)))),
    "100 texts of 1 MB": png_with(*[chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(1_000_000)))] * 100),
    "profile of 3 MB": png_with(chunk(b"iCCP", b"key\0\0" + zlib.compress(bytes(3_000_000)))),
    "profile is garbage": png_with(chunk(b"iCCP", b"key\0\0" + zlib.compress(b"no profile"))),
    "animation cut short": png_with(chunk(b"acTL", b"\0")),
    "size of a pixel cut short": png_with(chunk(b"pHYs", b"\0\0\1")),
    "raw profile": png_with(chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 8\nnot hexadecimal")),
    "jpeg's profile is garbage": jpeg_with(0xE2, b"ICC_PROFILE\0\1\1" + bytes(200)),
    "jpeg's list of pictures is garbage": jpeg_with(0xE2, b"MPF\0MM\0*" + bytes(range(60))),
    "photoshop's segment is cut short": jpeg_with(0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0"),
}


@pytest.mark.parametrize("name", AROUND_PIXELS)
def test_damage_beside_the_pixels_costs_no_picture(name):
    assert np.abs(np.asarray(read_picture(AROUND_PIXELS[name])).astype(int) - LEFT).mean() < 2


def test_damaged_exif_of_avif_costs_no_picture():
    if "AVIF" not in decoding.formats():
        pytest.skip("this Pillow does not read AVIF")
    options = Image.Exif()
    options[271] = "Maker"
    data = encoded(Image.fromarray(LEFT), "AVIF", exif=options)
    data = data.replace(b"MM\0*", b"XX\0*")
    assert np.abs(np.asarray(read_picture(data)).astype(int) - LEFT).mean() < 9


def numbers(depth, samples=1, size=(12, 16)):
    values = RNG.integers(0, 2**depth, (*size, samples)).astype(np.uint16)
    values[0, 0] = 2**depth - 1
    if samples in (2, 4):
        values[..., -1] = 2**depth - 1  # opaque
    return values


@pytest.mark.parametrize("depth", [1, 8, 10, 12, 14, 16])
@pytest.mark.parametrize("samples", [1, 2, 3, 4])
def test_a_16_bit_png_is_scaled_by_the_bits_that_are_used_and_says_so(depth, samples):
    values = numbers(depth, samples)
    picture = read_picture(png16(values))
    colours = values[..., : samples - 1 + samples % 2]
    shown = np.asarray(picture.convert("RGB" if samples > 2 else "L")).reshape(colours.shape)
    assert np.abs(shown - colours * 255.0 / (2**depth - 1)).max() <= 1
    notes = picture.info["notes"]
    assert [f"taken for {depth} bits" in note for note in notes] == ([True] if depth < 16 else [])


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"byteorder": ">"}])
@pytest.mark.parametrize("samples", [1, 3])
def test_a_16_bit_tiff_is_scaled_as_a_png_is(options, samples):
    values = numbers(12, samples)
    photometric = "rgb" if samples == 3 else "minisblack"
    picture = read_picture(tiff(values.squeeze(), photometric=photometric, **options))
    assert np.abs(np.asarray(picture).reshape(values.shape) - values * 255.0 / 4095).max() <= 1
    assert picture.info["notes"]


SAYS = {
    "sBIT": (png16(np.full((4, 4, 1), 512), chunk(b"sBIT", b"\x0a")), 512 / 1023),
    "sBIT of all 16": (png16(numbers(12), chunk(b"sBIT", b"\x10")), None),
    "sBIT, already widened": (png16(np.full((4, 4, 1), 32768), chunk(b"sBIT", b"\x0a")), 0.5),
    "MaxSampleValue": (tiff(np.full((4, 4), 500, np.uint16), extratags=[(281, 3, 1, 1000, True)]), 0.5),
    "SMaxSampleValue": (tiff(np.full((4, 4), 1.0, np.float32), extratags=[(341, 11, 1, 2.0, True)]), 0.5),
    "SMinSampleValue": (
        tiff(np.zeros((4, 4), np.float32), extratags=[(340, 11, 1, -1.0, True), (341, 11, 1, 3.0, True)]),
        0.25,
    ),
    "PGM of 12 bits": (b"P5 2 1 4095\n" + struct.pack(">HH", 2048, 2048), 2048 / 4095),
    "a dark PGM of 16 bits": (b"P5 2 1 65535\n" + struct.pack(">HH", 2048, 2048), 2048 / 65535),
}


@pytest.mark.parametrize("name", SAYS)
def test_what_the_header_says_is_white_is_white(name):
    data, expected = SAYS[name]
    picture = read_picture(data)
    assert picture.info["notes"] == ()
    shown = np.asarray(picture) / 255
    assert (shown.max() < 0.07) if expected is None else shown == pytest.approx(expected, abs=1 / 255)


@pytest.mark.parametrize("factor", [256, 257])
def test_a_dark_picture_of_bytes_widened_to_16_bits_stays_dark(factor):
    values = np.arange(50, dtype=np.uint16).reshape(5, 10) * factor
    picture = read_picture(encoded(Image.fromarray(values)))
    assert np.abs(np.asarray(picture) - values / 257).max() <= 1
    assert picture.info["notes"] == ()


def test_the_number_that_is_transparent_is_white_in_16_bits_too():
    values = np.array([[0, 40_000, 60_000, 40_000]], dtype=np.uint16)[..., None]
    shown = np.asarray(read_picture(png16(values, chunk(b"tRNS", struct.pack(">H", 40_000)))))
    assert shown.tolist() == [[0, 255, 233, 255]]


SIGNED = np.linspace(-3, 5, 80).reshape(8, 10)
RANGES = {
    "float32": tiff(SIGNED.astype(np.float32)),
    "float32, other end first": tiff(SIGNED.astype(np.float32), byteorder=">"),
    "float32, compressed": tiff(SIGNED.astype(np.float32), compression="zlib"),
    "float64": tiff(SIGNED),
    "float16": tiff(SIGNED.astype(np.float16)),
    "huge": tiff((SIGNED * 6e37).astype(np.float32)),
    "huge float64": tiff(SIGNED * 3e307),
    "tiny": tiff((SIGNED * 1e-40).astype(np.float32)),
    "int8": tiff((SIGNED * 20).astype(np.int8)),
    "int16": tiff((SIGNED * 5000).astype(np.int16)),
    "int32": tiff((SIGNED * 4e8).astype(np.int32)),
    "uint32": tiff(((SIGNED + 3) * 5e8).astype(np.uint32)),
    "int64": tiff((SIGNED * 4e8).astype(np.int64)),
    "the smallest is white": tiff((-SIGNED + 2).astype(np.float32), photometric="miniswhite"),
    "colours": tiff(SIGNED.astype(np.float32)[..., None].repeat(3, 2), photometric="rgb"),
    "colours in planes": tiff(SIGNED[None].repeat(3, 0), photometric="rgb", planarconfig="separate"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", RANGES)
def test_numbers_of_any_range_are_scaled_by_it_and_it_is_said(name):
    picture = read_picture(RANGES[name])
    expected = (SIGNED - SIGNED.min()) / np.ptp(SIGNED) * 255
    assert np.abs(np.asarray(picture.convert("L")) - expected).max() <= 2
    assert "lowest is shown black" in picture.info["notes"][0]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers_are_counted_and_black(wrong):
    values = SIGNED.astype(np.float32)
    values[2:4, 1:4] = wrong
    picture = read_picture(tiff(values))
    assert "6 pixels are no finite numbers and are shown black." in picture.info["notes"]
    assert (np.asarray(picture)[2:4, 1:4] == 0).all()
    assert np.asarray(picture).max() == 255


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("values", "shown", "n_notes"),
    [((0.0, 0.2, 1.0), (0, 51, 255), 0), ((0.0, 51.0, 255.0), (0, 51, 255), 0), ((7.0, 7.0, 7.0), (0, 0, 0), 1)],
    ids=["shares", "bytes", "all equal"],
)
def test_floats_of_a_usual_range_are_taken_as_they_are(values, shown, n_notes):
    picture = read_picture(tiff(np.array([values], dtype=np.float32)))
    assert np.asarray(picture).tolist() == [list(shown)]
    assert len(picture.info["notes"]) == n_notes


def test_a_picture_without_any_number_is_refused():
    with pytest.raises(ImageError, match="No pixel of this picture is a finite number"):
        read_picture(tiff(np.full((4, 4), np.nan, dtype=np.float32)))


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "PA", "La", "RGBa", "RGBA", "CMYK", "YCbCr", "LAB", "I;16B"])
def test_every_mode_becomes_8_bits_of_grey_or_colour(mode):
    picture = Image.fromarray(LEFT)
    if mode in ("La", "RGBa"):
        picture = picture.convert(mode.upper()).convert(mode)
    elif mode == "PA":
        picture = picture.convert("P").convert("PA")
    elif mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        picture = ImageCms.profileToProfile(picture, *profiles, outputMode="LAB")
    elif mode == "I;16B":
        picture = Image.fromarray(LEFT[..., 0].astype(">u2") * 257)
    else:
        picture = picture.convert(mode)
    flat = decoding._srgb(decoding._opaque(picture), None) if mode in ("La", "RGBa") else None
    flat = flat or read_picture(encoded(picture, "TIFF", compression="tiff_deflate"))
    assert flat.mode in ("L", "RGB")
    assert np.abs(np.asarray(flat.convert("RGB")).astype(int) - LEFT).max() <= 2


def test_colours_of_another_profile_become_srgb():
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes().replace(b"sRGB", b"mine"))
    places = {bytes(profile[at : at + 4]): at + 4 for at in range(132, 132 + 12 * profile[131], 12)}
    red, blue = (struct.unpack_from(">I", profile, places[name])[0] for name in (b"rXYZ", b"bXYZ"))
    struct.pack_into(">I", profile, places[b"rXYZ"], blue)
    struct.pack_into(">I", profile, places[b"bXYZ"], red)
    data = encoded(Image.new("RGB", (4, 4), (250, 0, 10)), icc_profile=bytes(profile))
    shown = np.asarray(read_picture(data))[0, 0].astype(int)
    assert np.abs(shown - (10, 0, 250)).max() <= 2


def test_a_photo_of_a_phone_is_read_where_pillow_heif_is_installed():
    pytest.importorskip("pillow_heif")
    assert "heic" in extensions()
    with_heif = Image.fromarray(LEFT).resize((64, 64))
    shown = np.asarray(read_picture(encoded(with_heif, "HEIF", quality=90))).astype(int)
    assert np.abs(shown - np.asarray(with_heif)).mean() < 3


def test_without_pillow_heif_the_format_and_what_to_do_are_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    decoding.formats.cache_clear()
    try:
        assert "heic" not in extensions()
        with pytest.raises(ImageError, match=r"HEIC photo.*save it as JPEG.*pip install pillow-heif"):
            read_picture(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    finally:
        decoding.formats.cache_clear()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "an empty file"),
        (b"just a few words\n", "a text"),
        (b"%PDF-1.7", "a PDF document"),
        (b"8BPS\0\1", "Photoshop"),
        (b'<?xml version="1.0"?>\n<svg>', "SVG"),
        (b"<!DOCTYPE html>", "HTML"),
        (b"PK\3\4", "ZIP"),
        (b"\0\0\0\x20ftypisom", "video"),
        (b"\0\0\0\x14ftypqt  ", "video"),
        (b"\xff\x0a\xfa", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n", "JPEG 2000"),
        (b"II*\0\x10\0\0\0CR\2\0", "raw file"),
        (b"%!PS-Adobe-3.0 EPSF", "PostScript"),  # Pillow would start ghostscript
        (bytes(range(200, 256)), "Use one of PNG, JPEG"),
        (encoded(Image.fromarray(LEFT), "JPEG")[:400], "the JPEG file is damaged"),
        (tiff(SIGNED, compression="zlib"), "compressed"),
        (encoded(Image.fromarray(LEFT), "TIFF", tiffinfo={50706: b"\1\4\0\0"}), "raw file"),  # DNG
    ],
)
def test_what_is_no_picture_is_named_by_its_first_bytes(data, words):
    with pytest.raises(ImageError, match=words) as caught:
        read_picture(data)
    assert re.search(r"[Uu]se (that|one|a)|Use", str(caught.value))


def test_a_path_is_read_as_its_content_is_and_no_message_shows_it(tmp_path):
    path = tmp_path / "face.png"
    path.write_bytes(png16(numbers(12, 3)))
    assert np.array_equal(np.asarray(read_picture(path)), np.asarray(read_picture(path.read_bytes())))
    for wrong in (tmp_path, tmp_path / "missing.png"):
        with pytest.raises(ImageError, match="The file cannot be opened") as caught:
            read_picture(wrong)
        assert str(tmp_path) not in str(caught.value)


def test_whatever_the_reader_reads_is_offered_and_nothing_else():
    offered = set(extensions())
    assert {"png", "apng", "jpg", "jpeg", "jfif", "jpe", "gif", "bmp", "tif", "tiff", "webp", "ppm", "pgm"} <= offered
    assert ("avif" in offered) == ("AVIF" in Image.OPEN)
    assert not offered & {"eps", "ps", "pdf", "psd", "wmf", "h5", "mpg"}


def test_a_large_picture_is_shrunk_and_its_crop_counts_in_whole_pixels():
    whole = np.zeros((2400, 3000, 3), dtype=np.uint8)
    whole[600:1200, 1500:2100] = 255
    data = encoded(Image.fromarray(whole), compress_level=1)
    picture = read_picture(data)
    assert picture.info["whole"] == (3000, 2400)
    assert picture.width * picture.height <= decoding.KEPT_PIXELS
    assert (read_upload(data, (3, 8, 8), crop=(1500, 600, 600))[:, 1:-1, 1:-1] == 1).all()
    assert read_upload(data, (3, 8, 8), crop=(2400, 1800, 600)).max() == 0


def test_a_large_picture_lying_on_its_side_is_told_by_its_size_upright():
    options = Image.Exif()
    options[274] = 6
    data = encoded(Image.new("RGB", (3000, 1000), "red"), "JPEG", exif=options)
    picture = read_picture(data)
    assert picture.info["whole"] == (1000, 3000)
    assert picture.height > picture.width


@pytest.mark.parametrize("size", [(600, 10), (10, 600), (1, 1), (10_000, 1), (1, 10_000), (57, 2)])
def test_a_picture_of_any_ratio_is_fitted_whole(size):
    x = read_upload(encoded(Image.new("L", size, 102)), (1, 28, 28))
    assert x == pytest.approx(0.4)


MEASURE = """
import resource, sys
from pathlib import Path
from explorer.decoding import formats, read_picture
formats()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
read_picture(Path(sys.argv[1]))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is counted in other units elsewhere")
@pytest.mark.parametrize(("mode", "kind"), [("I;16", "PNG"), ("F", "TIFF")])
def test_25_megapixels_of_any_width_stay_below_150_mb(tmp_path, mode, kind):
    path = tmp_path / "large"
    options = {"compression": "tiff_deflate"} if kind == "TIFF" else {}
    Image.new(mode, (5000, 5000)).save(path, kind, **options)
    run = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 150


def test_a_tile_larger_than_any_picture_is_refused():
    tags = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: 60_000, 323: 60_000, 324: 8, 325: 9}
    rows = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags.items())
    with pytest.raises(ImageError, match="tiles are larger"):
        read_picture(b"II*\0" + struct.pack("<IH", 8, len(tags)) + rows + bytes(4))


def seeds():
    colour = Image.fromarray(RNG.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    grey, deep = colour.convert("L"), Image.fromarray(RNG.integers(0, 4096, (9, 12)).astype(np.uint16))
    options = Image.Exif()
    options[274], options[271] = 6, "Maker"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes().replace(b"sRGB", b"mine")
    yield from (encoded(colour, kind, exif=options) for kind in ("PNG", "JPEG", "TIFF", "WEBP"))
    yield from (encoded(colour, kind) for kind in ("BMP", "PPM"))
    yield encoded(colour, icc_profile=profile)
    yield encoded(colour.convert("RGBA"))
    yield encoded(colour.convert("P"), transparency=3)
    yield encoded(deep)
    yield png16(numbers(12, 4))
    yield encoded(colour.convert("CMYK"), "JPEG", progressive=True, icc_profile=profile)
    yield encoded(colour.convert("P"), "GIF", save_all=True, append_images=[grey.convert("P")])
    yield encoded(colour, "WEBP", save_all=True, append_images=[grey.convert("RGB")], lossless=True)
    yield from (encoded(colour, "TIFF", compression=name) for name in ("tiff_lzw", "jpeg"))
    yield encoded(grey.convert("F"), "TIFF", compression="tiff_deflate")
    yield tiff(SIGNED)
    yield b"P5 3 2 4095\n" + bytes(range(12))
    yield b"P3 2 2 255\n" + b"1 2 3 " * 4
    yield b"Pf\n3 1\n-1.0\n" + bytes(12)
    yield from (encoded(colour.resize((64, 64)), kind) for kind in ("AVIF", "HEIF") if kind in decoding.formats())


def mutated(data, rng):
    data, way = bytearray(data), rng.integers(5)
    at = int(rng.integers(len(data)))
    if way == 0:
        del data[at:]
    elif way == 1:
        del data[at : at + int(rng.integers(1, 9))]
    elif way == 2:
        data[at:at] = rng.bytes(int(rng.integers(1, 9)))
    else:  # anywhere, or in the header
        for place in rng.integers(0, len(data) if way == 3 else min(80, len(data)), rng.integers(1, 5)):
            data[place] = rng.choice([0, 1, 127, 128, 255, rng.integers(256)])
    return bytes(data)


@pytest.mark.filterwarnings("ignore")
def test_every_mutated_picture_is_opened_or_refused_in_words():
    rng, opened, messages = np.random.default_rng(0), 0, set()
    for seed in seeds():
        for _ in range(20):
            try:
                picture = read_picture(mutated(seed, rng))
            except ImageError as error:
                messages.add(str(error))
            else:
                opened += picture.mode in ("L", "RGB")
    assert opened > 50
    assert not [words for words in messages if re.search(r"0x|object|Error|b'|<|/|\\", words)]


@pytest.mark.parametrize(
    ("words", "escaped"),
    [
        ("mine.png", "mine.png"),
        ("IMG_1234 (2).jpg", "IMG_1234 (2).jpg"),
        ("**x**.png", r"\*\*x\*\*.png"),
        ("[a](b).png", r"\[a\](b).png"),
        ("_x_ :red[y] $z$ `q`", r"\_x\_ \:red\[y\] \$z\$ \`q\`"),
        ("a\n\n# b", r"a \# b"),
        ("\ud800.png", r"\\ud800.png"),
        ("see https://example.org/x", "see https://example.org/x"),
    ],
)
def test_words_from_outside_are_shown_as_they_are(words, escaped):
    assert as_text(words) == escaped


@pytest.mark.parametrize("size", [(1, 65_536), (70_000, 2)])
def test_a_picture_with_a_side_beyond_all_cameras_is_refused_before_it_is_decoded(size):
    with pytest.raises(ImageError, match="a side may have 65,535"):
        read_picture(encoded(Image.new("L", size), "PNG"))


def test_the_longest_side_is_shrunk():
    assert fit_picture(read_picture(encoded(Image.new("L", (65_535, 1), 200), "PNG")), (1, 28, 28)).shape == (1, 28, 28)
