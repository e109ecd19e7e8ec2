"""What a file is by its first bytes, and what to do with one that cannot be read as a picture."""

from collections.abc import Collection

from explorer.language import later

READABLE = {"PNG": "PNG", "JPEG": "JPEG", "WEBP": "WebP", "GIF": "GIF", "TIFF": "TIFF", "BMP": "BMP", "PPM": "PPM",
            "AVIF": "AVIF", "HEIF": "HEIC"}  # fmt: skip
MISSING = {
    "HEIF": later(
        "This is a HEIC photo, as phones take them: save it as JPEG and use that, or `pip install pillow-heif` "
        "where this program runs."
    ),
    "AVIF": later(
        "This is an AVIF picture: save it as JPEG or PNG and use that, or `pip install -U pillow` where this "
        "program runs."
    ),
}
SIGNATURES = (  # where it stands, what stands there, what that is
    (0, b"\x89PNG", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"GIF8", "GIF"),
    (8, b"WEBP", "WEBP"),
    (8, b"CR\x02\0", later("a camera's raw file (CR2)")),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (0, b"BM", "BMP"),
    (4, b"ftypavi", "AVIF"),
    *((4, b"ftyp" + brand, "HEIF") for brand in (b"hei", b"hev", b"mif1", b"msf1")),
    (4, b"ftypcrx", later("a camera's raw file (CR3)")),
    (0, b"FUJIFILMCCD-RAW", later("a camera's raw file (RAF)")),
    (0, b"IIU\0", later("a camera's raw file (RW2)")),
    (0, b"IIR", later("a camera's raw file (ORF)")),
    (4, b"ftyp", later("a video or sound (MP4, MOV)")),
    (4, b"moov", later("a video (MOV)")),
    (0, b"\x1aE\xdf\xa3", later("a video (MKV, WebM)")),
    (8, b"AVI ", later("a video (AVI)")),
    (0, b"\0\0\x01\xba", later("a video (MPEG)")),
    (0, b"\0\0\x01\xb3", later("a video (MPEG)")),
    (8, b"WAVE", later("a sound (WAV)")),
    (0, b"ID3", later("a sound (MP3)")),
    (0, b"OggS", later("a sound or video (Ogg)")),
    (0, b"\xff\x0a", later("a JPEG XL picture")),
    (4, b"JXL ", later("a JPEG XL picture")),
    (4, b"jP  ", later("a JPEG 2000 picture")),
    (0, b"\xff\x4f\xff\x51", later("a JPEG 2000 picture")),
    (0, b"8BPS", later("a Photoshop document (PSD)")),
    (0, b"gimp xcf", later("a GIMP document (XCF)")),
    (0, b"%PDF", later("a PDF document")),
    (0, b"%!PS", later("a PostScript document")),
    (0, b"\xc5\xd0\xd3\xc6", later("a PostScript document")),
    (0, b"v/1\x01", later("an OpenEXR picture")),
    (0, b"#?RADIANCE", later("a Radiance picture (HDR)")),
    (0, b"\0\0\x01\0", later("an icon (ICO)")),
    (0, b"icns", later("an icon (ICNS)")),
    (0, b"DDS ", later("a texture (DDS)")),
    (0, b"qoif", later("a QOI picture")),
    (0, b"SIMPLE  =", later("a FITS file")),
    (128, b"DICM", later("a DICOM file")),
    (0, b"\x89HDF", later("an HDF5 file")),
    (0, b"\x93NUMPY", later("a NumPy array")),
    (0, b"PK", later("a ZIP archive, or a document that is one inside")),
    (0, b"Rar!", later("a RAR archive")),
    (0, b"7z\xbc\xaf", later("a 7z archive")),
    (0, b"\x1f\x8b", later("a gzip archive")),
    (0, b"\xd0\xcf\x11\xe0", later("an Office document")),
    (0, b"MZ", later("a program")),
    (0, b"\x7fELF", later("a program")),
)
MARKUP = (
    (b"<svg", later("an SVG drawing")),
    (b"<!doctype html", later("a web page (HTML)")),
    (b"<html", later("a web page (HTML)")),
)


def refusal(head: bytes, readable: Collection[str]) -> str:
    """Say why a file that begins with `head` cannot be read, where Pillow reads the formats `readable`."""
    kind = _kind(head)
    if kind in READABLE:
        if kind not in readable:
            other = later("{kind} pictures cannot be read here. Save it as PNG and use that.", kind=READABLE[kind])
            return MISSING.get(kind, other)
        return later(
            "This is not a picture that can be read: the {kind} file is damaged, or only a part of it. Save or send it "
            "anew and use that.",
            kind=READABLE[kind],
        )
    if kind:
        return later(
            "This is not a picture that can be read but {kind}. Use a picture, or one exported from it, as PNG or "
            "JPEG.",
            kind=kind,
        )
    kinds = ", ".join(READABLE[name] for name in readable)
    return later("This is not a picture that can be read. Use one of {kinds}.", kinds=kinds)


def _kind(head: bytes) -> str:
    """Name what the first 512 bytes of a file belong to: a format of `READABLE`, or a thing in words; "" unknown."""
    if not head:
        return later("an empty file")
    if head[4:12] in (b"ftypmif1", b"ftypmsf1") and b"avif" in head[:64]:
        return "AVIF"
    for at, signature, kind in SIGNATURES:
        if head.startswith(signature, at):
            return kind
    if head[:1] == b"P" and head[1:2] in b"123456fF" and head[2:3].isspace():
        return "PPM"
    for start, kind in MARKUP:
        if start in head.lower():
            return kind
    return later("a text") if _is_text(head) else ""


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # or a letter was cut in two
            return False
        text = head[: error.start].decode("utf-8")
    return all(letter.isprintable() or letter.isspace() for letter in text)
