"""The one place for uint8 <-> [0, 1] <-> picture, and for laying images out in a grid.

Arrays are numpy float32 `(N, C, H, W)` with pixels in [0, 1] unless a docstring says otherwise.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

MAX_UPLOAD_BYTES = 10 * 1024 * 1024
MAX_UPLOAD_PIXELS = 25_000_000


class ImageError(ValueError):
    """An uploaded file cannot be used as a picture; the message says why."""


def to_float(images: torch.Tensor) -> torch.Tensor:
    """Turn uint8 pixels into float32 in [0, 1], on the tensor's own device, any shape."""
    return images.float().div_(255.0)


def to_uint8(x: np.ndarray) -> np.ndarray:
    """Turn pixels in [0, 1] into uint8, clipping what lies outside; any shape."""
    return (np.clip(x, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def to_pil(x: np.ndarray, scale: int = 1) -> Image.Image:
    """Make a picture of one image `(C, H, W)`, each pixel enlarged to `scale` x `scale` crisp pixels."""
    pixels = to_uint8(x)
    picture = Image.fromarray(pixels[0] if pixels.shape[0] == 1 else np.moveaxis(pixels, 0, -1))
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def png(x: np.ndarray, scale: int = 1) -> bytes:
    """Encode one image `(C, H, W)` as PNG, enlarged by the whole number `scale`."""
    return png_bytes(to_pil(x, scale))


def png_bytes(picture: Image.Image) -> bytes:
    """Encode a picture as PNG, fast rather than small."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def jpeg_bytes(picture: Image.Image) -> bytes:
    """Encode a picture as JPEG: a tenth of the PNG where it shows photographs."""
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=88, subsampling=0)
    return buffer.getvalue()


def gif(frames: np.ndarray, scale: int = 8, milliseconds: int = 120) -> bytes:
    """Encode images `(N, C, H, W)` as an animated GIF that runs forth and back for ever."""
    pictures = [to_pil(x, scale) for x in (*frames, *frames[-2:0:-1])]
    buffer = io.BytesIO()
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0)
    return buffer.getvalue()


def grid(x: np.ndarray, columns: int, gap: int = 1, background: float = 1.0) -> np.ndarray:
    """Lay images `(N, C, H, W)` out row by row in one image `(C, H', W')`.

    Each of the `columns` columns is W pixels wide and `gap` pixels of `background` part neighbours;
    a last row that is not full is filled with `background`.
    """
    n, channels, height, width = x.shape
    rows = -(-n // columns)
    sheet = np.full((rows * columns, channels, height, width), background, dtype=np.float32)
    sheet[:n] = x
    sheet = np.pad(sheet, ((0, 0), (0, 0), (0, gap), (0, gap)), constant_values=background)  # (R*K, C, H+gap, W+gap)
    sheet = sheet.reshape(rows, columns, channels, height + gap, width + gap)
    sheet = sheet.transpose(2, 0, 3, 1, 4).reshape(
        channels, rows * (height + gap), columns * (width + gap)
    )  # (C, R*(H+gap), K*(W+gap))
    return sheet[:, : sheet.shape[1] - gap, : sheet.shape[2] - gap]


def error_map(x: np.ndarray, x_hat: np.ndarray, full_scale: float = 0.5) -> np.ndarray:
    """Colour the signed error `x_hat - x` of images `(N, C, H, W)` as `(N, 3, H, W)`.

    Black is no error, orange is too bright, blue is too dark; `full_scale` is the error in pixel
    units that reaches the full colour. Errors are averaged over colour channels.
    """
    error = np.clip((x_hat - x).mean(axis=1) / full_scale, -1.0, 1.0)  # (N, H, W)
    bright, dark = np.maximum(error, 0.0), np.maximum(-error, 0.0)
    orange, blue = np.array([1.0, 0.55, 0.1]), np.array([0.2, 0.6, 1.0])
    colours = bright[:, None] * orange[:, None, None] + dark[:, None] * blue[:, None, None]
    return colours.astype(np.float32)  # (N, 3, H, W)


def as_rgb(x: np.ndarray) -> np.ndarray:
    """Repeat a grey channel so that images `(N, 1 or 3, H, W)` become `(N, 3, H, W)`."""
    return np.repeat(x, 3, axis=1) if x.shape[1] == 1 else x


def read_upload(
    data: bytes, image_shape: Sequence[int], invert: bool = False, crop: tuple[int, int, int] | None = None
) -> np.ndarray:
    """Read a picture of the user's own as one image `image_shape` = `(C, H, W)` in [0, 1].

    See `read_picture` and `fit_picture`.

    Raises:
        ImageError: over 10 MB or 25 megapixels, not an image, or damaged.
    """
    return fit_picture(read_picture(data), image_shape, invert, crop)


def read_picture(
    source: bytes | Path, most_bytes: int | None = MAX_UPLOAD_BYTES, most_pixels: int | None = MAX_UPLOAD_PIXELS
) -> Image.Image:
    """Read a picture from outside, the content of a file or a path, as 8-bit "L" or "RGB".

    Size is checked before anything is decoded. The first frame of an animation is taken, EXIF rotation is applied
    where it can be read, transparency is laid on white, and what has more than 8 bits is scaled by its own range.

    Raises:
        ImageError: over `most_bytes` or `most_pixels` (None: no bound), not an image, or damaged.
    """
    try:
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        if most_bytes is not None and size > most_bytes:
            raise ImageError(
                f"The file has {size / 2**20:.1f} MB; the limit is {most_bytes // 2**20} MB. "
                "Save a smaller copy and use that."
            )
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
            if most_pixels is not None and picture.width * picture.height > most_pixels:
                raise ImageError(
                    f"The picture has {picture.width * picture.height / 1e6:.0f} megapixels; "
                    f"the limit is {most_pixels / 1e6:.0f}. Save a smaller copy and use that."
                )
            picture.seek(0)
            picture.load()
            return _flatten(_upright(picture))
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(
            "The picture has more megapixels than can be read. Save a smaller copy and use that."
        ) from error
    except Exception as error:  # Pillow's decoders raise anything from SyntaxError to struct.error
        raise ImageError(
            "This is not a picture that can be read, or it is damaged. Use a PNG, JPEG, GIF, BMP, TIFF or WebP file."
        ) from error


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # what undoes each value of EXIF's orientation


def _upright(picture: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF says, where that can be read."""
    try:
        turn = TURNS.get(picture.getexif().get(0x0112))
    except Exception:  # damaged EXIF: the pixels are whole
        return picture
    return picture if turn is None else picture.transpose(turn)


def fit_picture(
    picture: Image.Image, image_shape: Sequence[int], invert: bool = False, crop: tuple[int, int, int] | None = None
) -> np.ndarray:
    """Bring a picture to one image `image_shape` = `(C, H, W)` in [0, 1].

    crop: left, top and side of the square to take, in pixels; None fits the whole picture into a square.
    """
    channels, height, width = image_shape
    flat = picture.convert("L" if channels == 1 else "RGB")
    if crop:
        left, top, side = crop
        box = (left, top, left + side, top + side)
        square = flat.resize((width, height), Image.Resampling.BILINEAR, box)  # as `celeba.square` does
    else:
        square = _padded(flat, width, height)
    x = np.asarray(square, dtype=np.float32).reshape(height, width, channels) / 255.0
    x = np.moveaxis(x, -1, 0).copy()  # (C, H, W)
    return 1.0 - x if invert else x


def middle_square(picture: Image.Image) -> tuple[int, int, int]:
    """Place the largest square in the middle of a picture: left, top and side in pixels."""
    side = min(picture.size)
    return (picture.width - side) // 2, (picture.height - side) // 2, side


def _padded(flat: Image.Image, width: int, height: int) -> Image.Image:
    """Fit a picture whole into `width` x `height`; what is left free goes on in the colour of its border."""
    pixels = np.asarray(flat)
    pixels = pixels.reshape(flat.height, flat.width, -1)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    fill = tuple(int(v) for v in np.median(border, axis=0))
    return ImageOps.pad(flat, (width, height), Image.Resampling.LANCZOS, color=fill if len(fill) > 1 else fill[0])


def _flatten(picture: Image.Image) -> Image.Image:
    """Reduce any Pillow mode to 8-bit RGB or grey, transparency laid on white."""
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.asarray(picture, dtype=np.float64)
        if picture.mode == "F" and values.max() <= 1:
            top = 1.0
        else:
            top = 65535.0 if picture.mode.startswith("I;16") or values.max() > 255 else 255.0
        return Image.fromarray((np.clip(values / top, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8))
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return picture if picture.mode == "L" else picture.convert("RGB")
