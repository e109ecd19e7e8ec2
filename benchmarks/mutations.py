"""Ways in which files get damaged, for `benchmarks.fuzz`: each returns the damage in words and the damaged file.

All of them draw from a `random.Random`, so that the same state of it makes the same damage.
"""

import csv
import functools
import hashlib
import io
import json
import math
import random
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import safetensors.torch
import torch
from PIL import Image, PngImagePlugin

Damage = tuple[str, bytes]

INTEGERS = (0, 1, 255, 32767, 65535, 25_000_000, 2**31 - 1, 2**31, 2**32 - 1)  # for two or four bytes of a header
TEXTS = (
    "", " ", "nan", "-inf", "1e999", "-1e999", "1e-320", "-1", "0", "1", "2", "3", "0.5", "1.0", "1,5", "1_0", "0x10",
    "+1", "1e3", "²", "٣", "१", "true", "True", "None", "null", "[]", "[1, 2]", "{}", "a,b", "-", "-1e999;DROP", "\0",
    '"', "'", "\\", "\n", "\r\n", "\t", "\ufeff", "\u202e", "\ufffd", "🦊", "%00", "%ED%A0%80", "<b>bold</b>",
    "<script>alert(1)</script>", "**bold** `code` $x$ :red[x]", "../../etc/passwd", "/etc/passwd", "9" * 4400,
    "-" + "9" * 4400, "0." + "9" * 4400, "1e" + "9" * 20, "a" * 100_000, str(10**12), str(2**63), str(2**64),
)  # fmt: skip
JSONS = (
    *("null", "true", '""', '"x"', '"²"', '"<b>x</b>"', '"../../x"', '"\\ud800"', '"\\u0000"', "[]", "{}"),
    *("[[1], [2, 3]]", '{"a": 1}', "-1", "0", "0.5", "3", "-0.0", "NaN", "Infinity", "-Infinity", "1e308", "1e999"),
    *("1000000", str(10**12), str(2**63), "9" * 5000, '"' + "a" * 100_000 + '"', "[" + "0, " * 100_000 + "0]"),
    *("[" * 100_000 + "]" * 100_000, '{"a":' * 50_000 + "1" + "}" * 50_000),
)  # fmt: skip
MODES = ("1", "L", "P", "LA", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "I;16B", "F")
VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "JPEG": ({"progressive": True}, {"quality": 5}),
    "PNG": ({"save_all": True, "append_images": 2}, {"bits": 4}, {"transparency": 3}),
    "GIF": ({"save_all": True, "append_images": 2}, {"interlace": 0, "transparency": 0}),
    "TIFF": tuple({"compression": c} for c in ("tiff_lzw", "tiff_deflate", "packbits", "zstd")),
    "WEBP": ({"lossless": True}, {"save_all": True, "append_images": 2}),
    "AVIF": ({"save_all": True, "append_images": 2},),
}
FEW_MODES = {"AVIF": ("RGB", "RGBA"), "WEBP": ("RGB", "RGBA")}  # they turn all others into these
SIZES = ((8, 8), (64, 33), (13, 50))
LARGE: dict[str, tuple[str, tuple[int, int], str, dict[str, Any]]] = {
    f"{format} {mode} {size[0]}x{size[1]} {options}": (mode, size, format, options)
    for mode, size, format, options in (
        ("I;16", (5000, 5000), "PNG", {}), ("RGBA", (5000, 5000), "PNG", {}), ("RGB", (5001, 5000), "PNG", {}),
        ("L", (1, 25_000_000), "PNG", {}), ("1", (5000, 5000), "TIFF", {"compression": "group4"}),
        ("F", (5000, 5000), "TIFF", {"compression": "tiff_deflate"}), ("CMYK", (5000, 5000), "JPEG", {}),
        ("I", (5000, 5000), "TIFF", {"compression": "tiff_lzw"}), ("P", (5000, 5000), "GIF", {}),
        ("CMYK", (5000, 5000), "TIFF", {"compression": "tiff_deflate"}), ("L", (9, 9), "PNG", {"text": 80_000_000}),
    )
}  # fmt: skip


def damaged(data: bytes, rng: random.Random, other: bytes = b"") -> Damage:
    """Damage any bytes as disks, networks and people do; `other` is a whole file of another kind."""
    a = rng.randrange(len(data) + 1)
    b = rng.choice((min(len(data), a + rng.choice((1, 4, 16, 64))), rng.randrange(a, len(data) + 1)))
    head = rng.randrange(max(1, min(64, len(data))))
    n_bytes = rng.choice((2, 4))
    number = (rng.choice(INTEGERS) % 256**n_bytes).to_bytes(n_bytes, rng.choice(("little", "big")))
    junk = rng.randbytes(rng.choice((1, 4, 64, 1000)))
    flips = sorted(rng.randrange(8 * len(data)) for _ in range(rng.choice((1, 1, 2, 8, 64)))) if data else []
    flipped = bytearray(data)
    for bit in flips:
        flipped[bit // 8] ^= 1 << bit % 8
    return rng.choice(
        (
            (f"bits {flips} flipped", bytes(flipped)),
            (f"cut off at byte {a}", data[:a]),
            (f"bytes {a} to {b} cut out", data[:a] + data[b:]),
            (f"bytes {a} to {b} twice", data[:b] + data[a:]),
            (f"bytes {a} to {b} zero", data[:a] + bytes(b - a) + data[b:]),
            (f"{len(junk)} random bytes put in at {a}", data[:a] + junk + data[a:]),
            (f"random bytes from {a}", data[:a] + junk + data[a + len(junk) :]),
            (f"bytes from {head} set to {number.hex()}", data[:head] + number + data[head + len(number) :]),
            (f"from byte {a} on the end of another file", data[:a] + other[len(other) * a // max(1, len(data)) :]),
            ("another file after it", data + other),
            ("empty", b""),
        )
    )


@functools.cache
def whole_pictures() -> dict[str, bytes]:
    """Make small pictures in every format that Pillow writes and reads, every mode of it and the usual variants."""
    Image.init()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    found = {}
    for k, (format, mode) in enumerate((f, m) for f in sorted(Image.SAVE) for m in FEW_MODES.get(f, MODES)):
        width, height = SIZES[k % len(SIZES)]
        drawn = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        try:
            picture = drawn.convert("I").convert(mode) if mode.startswith("I;") else drawn.convert(mode)
        except ValueError:
            picture = Image.new(mode, (width, height), 100)
        for options in ({}, *VARIANTS.get(format, ())):
            words = ", ".join([f"{format} {mode} {width}x{height}", *(f"{k}={v}" for k, v in options.items())])
            if "append_images" in options:
                options = options | {"append_images": [picture.rotate(90)] * options["append_images"]}
            if data := _saved(picture, format, **options):
                found[words] = data
    return found


def _saved(picture: Image.Image, format: str, **options: Any) -> bytes:
    """Write a picture; nothing where the format cannot hold it, or Pillow cannot read what it wrote."""
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings(action="ignore"):  # of formats that are soon dropped
            picture.save(buffer, format, **options)
            with Image.open(io.BytesIO(buffer.getvalue())) as written:
                written.load()
    except Exception:  # whatever a format says to a mode that it does not know
        return b""
    return buffer.getvalue()


@functools.cache
def large_picture(name: str) -> bytes:
    """Make one of `LARGE`: a file of some kB that asks for much."""
    mode, size, format, options = LARGE[name]
    text, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    if "text" in options:
        text.add_text("a", "b" * options["text"], zip=True)
        options = {"pnginfo": text}
    Image.new(mode, size).save(buffer, format, **options)
    return buffer.getvalue()


def with_checksums(png: bytes) -> bytes:
    """Make the checksums of a PNG right again, so that readers get as far as the damage."""
    new, at = bytearray(png), 8
    while at + 12 <= len(new):
        end = at + 8 + int.from_bytes(new[at : at + 4], "big")
        if end + 4 > len(new):
            break
        new[end : end + 4] = zlib.crc32(new[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(new)


def with_exif(rng: random.Random, format: str) -> Damage:
    """Write a whole picture whose EXIF is damaged."""
    exif = Image.Exif()
    exif[0x0112] = rng.randrange(10)
    exif[0x010E] = "a picture"
    exif.get_ifd(0x8769)[0x9286] = b"a comment"
    how, content = damaged(exif.tobytes(), rng)
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((40, 30)).convert("RGB").save(buffer, format, exif=content[:60_000])
    return f"{format} with EXIF, its {how}", buffer.getvalue()


def reshaped_json(data: bytes, rng: random.Random) -> Damage:
    """Delete a field of a JSON file, or put something else in its place, however deep."""
    values = json.loads(data)
    place, path = {"": values}, [""]
    while isinstance(place[path[-1]], dict | list) and place[path[-1]] and rng.random() < (0.7 if path[1:] else 0.95):
        place = place[path[-1]]
        path.append(rng.choice(list(place) if isinstance(place, dict) else range(len(place))))
    where = ".".join(map(str, path[1:])) or "everything"
    if len(path) > 1 and rng.random() < 0.2:
        del place[path[-1]]
        return f"without {where}", json.dumps(values).encode()
    raw = rng.choice(JSONS)
    place[path[-1]] = "@@"
    text = json.dumps(values if len(path) > 1 else "@@").replace('"@@"', raw)
    return f"{where} set to {shortened(raw)}", text.encode()


def reshaped_tensors(data: bytes, rng: random.Random) -> Damage:
    """Rewrite the header of a safetensors file, or one of its tensors."""
    length = int.from_bytes(data[:8], "little")
    header, rest = data[8 : 8 + length], data[8 + length :]
    if rng.random() < 0.4:
        how, header = reshaped_json(header, rng)
        return f"header: {how}", len(header).to_bytes(8, "little") + header + rest
    if rng.random() < 0.1:
        length = rng.choice((0, 1, 10**8, 2**31, 2**63, 2**64 - 1))
        return f"length of the header set to {length}", length.to_bytes(8, "little") + data[8:]
    tensors = safetensors.torch.load(data)
    name = rng.choice(sorted(tensors))
    how, tensor = rng.choice(list(_tensors(tensors[name], rng)))
    tensors = {k: v for k, v in (tensors | {name: tensor}).items() if v is not None}
    return f"{name} {how}", safetensors.torch.save(tensors, json.loads(header).get("__metadata__"))


def _tensors(tensor: torch.Tensor, rng: random.Random) -> Iterator[tuple[str, torch.Tensor | None]]:
    yield "removed", None
    for dtype in (torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool):
        yield f"as {dtype}", tensor.to(dtype)
    yield "flat", tensor.flatten()
    yield "turned", tensor.T.contiguous() if tensor.ndim == 2 else tensor[None]
    yield "without rows", tensor[:0] if tensor.ndim else tensor.flatten()[:0]
    if tensor.ndim:
        yield "with half of its rows", tensor[: len(tensor) // 2].contiguous()
        yield "with its rows twice", torch.cat([tensor, tensor])
    yield "one number", torch.tensor(3.0)
    yield "one number everywhere", torch.full_like(tensor, 1)
    floats = (math.nan, math.inf, -math.inf, torch.finfo(tensor.dtype).max) if tensor.is_floating_point() else ()
    for value in floats or (-1, 127):
        yield f"{value} everywhere", torch.full_like(tensor, value)
        spotted = tensor.clone()
        spotted.view(-1)[rng.randrange(max(1, tensor.numel())) :][:1] = value
        yield f"{value} in one place", spotted


def reshaped_csv(data: bytes, rng: random.Random, delimiter: str = ",") -> Damage:
    """Change a cell, a row or a column of a table."""
    rows = list(csv.reader(io.StringIO(data.decode()), delimiter=delimiter))
    i = rng.choice((0, rng.randrange(len(rows))))
    j = rng.randrange(len(rows[i]) or 1)
    text = rng.choice(TEXTS)
    spoilt = [*rows[i][:j], text, *rows[i][j + 1 :]]
    how, changed = rng.choice(
        (
            (f"{shortened(text)} in row {i}, column {j}", [*rows[:i], spoilt, *rows[i + 1 :]]),
            (f"without row {i}", rows[:i] + rows[i + 1 :]),
            (f"row {i} twice", rows[: i + 1] + rows[i:]),
            (f"without column {j}", [row[:j] + row[j + 1 :] for row in rows]),
            (f"column {j} twice", [row[: j + 1] + row[j:] for row in rows]),
            (f"a column of {shortened(text)} at {j}", [[*row[:j], text, *row[j:]] for row in rows]),
            (f"row {i} cut after cell {j}", [*rows[:i], rows[i][:j], *rows[i + 1 :]]),
            ("rows in reverse", rows[::-1]),
        )
    )  # fmt: skip
    return how, "".join(delimiter.join(row) + "\n" for row in changed).encode()


def with_digest(files: dict[str, bytes]) -> dict[str, bytes]:
    """Make the files of a bundle name the weights that are among them, so that readers get as far as the damage."""
    digest, signed = hashlib.sha256(files["model.safetensors"]).hexdigest(), dict(files)
    for name in ("config.json", "metrics.json"):
        signed[name] = json.dumps(json.loads(files[name]) | {"weights": digest}).encode()
    codes = safetensors.torch.load(files["codes.safetensors"])
    return signed | {"codes.safetensors": safetensors.torch.save(codes, {"weights": digest})}


def shortened(text: str) -> str:
    """Write any text in a few visible characters."""
    return ascii(text) if len(text) < 40 else f"{text[:20]!a}... of {len(text):,} characters"
