"""What a file is by its first bytes, and what to do with one that cannot be read as a picture."""

from collections.abc import Collection

READABLE = {"PNG": "PNG", "JPEG": "JPEG", "WEBP": "WebP", "GIF": "GIF", "TIFF": "TIFF", "BMP": "BMP", "PPM": "PPM",
            "AVIF": "AVIF", "HEIF": "HEIC"}  # fmt: skip
MISSING = {
    "HEIF": "This is a HEIC photo, as phones take them: save it as JPEG and use that, or `pip install pillow-heif` "
    "where this program runs.",
    "AVIF": "This is an AVIF picture: save it as JPEG or PNG and use that, or `pip install -U pillow` where this "
    "program runs.",
}
SIGNATURES = (  # where it stands, what stands there, what that is
    (0, b"\x89PNG", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"GIF8", "GIF"),
    (8, b"WEBP", "WEBP"),
    (8, b"CR\x02\0", "a camera's raw file (CR2)"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (0, b"BM", "BMP"),
    (4, b"ftypavi", "AVIF"),
    *((4, b"ftyp" + brand, "HEIF") for brand in (b"hei", b"hev", b"mif1", b"msf1")),
    (4, b"ftypcrx", "a camera's raw file (CR3)"),
    (0, b"FUJIFILMCCD-RAW", "a camera's raw file (RAF)"),
    (0, b"IIU\0", "a camera's raw file (RW2)"),
    (0, b"IIR", "a camera's raw file (ORF)"),
    (4, b"ftyp", "a video or sound (MP4, MOV)"),
    (4, b"moov", "a video (MOV)"),
    (0, b"\x1aE\xdf\xa3", "a video (MKV, WebM)"),
    (8, b"AVI ", "a video (AVI)"),
    (0, b"\0\0\x01\xba", "a video (MPEG)"),
    (0, b"\0\0\x01\xb3", "a video (MPEG)"),
    (8, b"WAVE", "a sound (WAV)"),
    (0, b"ID3", "a sound (MP3)"),
    (0, b"OggS", "a sound or video (Ogg)"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (4, b"JXL ", "a JPEG XL picture"),
    (4, b"jP  ", "a JPEG 2000 picture"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (0, b"8BPS", "a Photoshop document (PSD)"),
    (0, b"gimp xcf", "a GIMP document (XCF)"),
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"\xc5\xd0\xd3\xc6", "a PostScript document"),
    (0, b"v/1\x01", "an OpenEXR picture"),
    (0, b"#?RADIANCE", "a Radiance picture (HDR)"),
    (0, b"\0\0\x01\0", "an icon (ICO)"),
    (0, b"icns", "an icon (ICNS)"),
    (0, b"DDS ", "a texture (DDS)"),
    (0, b"qoif", "a QOI picture"),
    (0, b"SIMPLE  =", "a FITS file"),
    (128, b"DICM", "a DICOM file"),
    (0, b"\x89HDF", "an HDF5 file"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"PK", "a ZIP archive, or a document that is one inside"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"7z\xbc\xaf", "a 7z archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"\xd0\xcf\x11\xe0", "an Office document"),
    (0, b"MZ", "a program"),
    (0, b"\x7fELF", "a program"),
)
MARKUP = ((b"<svg", "an SVG drawing"), (b"<!doctype html", "a web page (HTML)"), (b"<html", "a web page (HTML)"))


def refusal(head: bytes, readable: Collection[str]) -> str:
    """Say why a file that begins with `head` cannot be read, where Pillow reads the formats `readable`."""
    kind = _kind(head)
    if kind in READABLE:
        if kind not in readable:
            return MISSING.get(kind, f"{READABLE[kind]} pictures cannot be read here. Save it as PNG and use that.")
        return (
            f"This is not a picture that can be read: the {READABLE[kind]} file is damaged, or only a part of it. "
            "Save or send it anew and use that."
        )
    if kind:
        return (
            f"This is not a picture that can be read but {kind}. "
            "Use a picture, or one exported from it, as PNG or JPEG."
        )
    return f"This is not a picture that can be read. Use one of {', '.join(READABLE[name] for name in readable)}."


def _kind(head: bytes) -> str:
    """Name what the first 512 bytes of a file belong to: a format of `READABLE`, or a thing in words; "" unknown."""
    if not head:
        return "an empty file"
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
    return "a text" if _is_text(head) else ""


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # or a letter was cut in two
            return False
        text = head[: error.start].decode("utf-8")
    return all(letter.isprintable() or letter.isspace() for letter in text)
