"""The one place for uint8 <-> [0, 1] <-> picture, and for laying images out in a grid.

Arrays are numpy float32 `(N, C, H, W)` with pixels in [0, 1] unless a docstring says otherwise.
"""

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from explorer.decoding import MAX_UPLOAD_BYTES as MAX_UPLOAD_BYTES
from explorer.decoding import MAX_UPLOAD_PIXELS as MAX_UPLOAD_PIXELS
from explorer.decoding import ImageError as ImageError
from explorer.decoding import read_picture as read_picture


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


def fit_picture(
    picture: Image.Image, image_shape: Sequence[int], invert: bool = False, crop: tuple[int, int, int] | None = None
) -> np.ndarray:
    """Bring a picture to one image `image_shape` = `(C, H, W)` in [0, 1].

    crop: left, top and side of the square to take, in pixels of the picture before `read_picture` shrank it; None
    fits the whole picture into a square.
    """
    channels, height, width = image_shape
    flat = picture.convert("L" if channels == 1 else "RGB")
    if crop:
        across, down = (now / before for now, before in zip(picture.size, whole_size(picture), strict=True))
        left, top, side = crop
        right, bottom = min((left + side) * across, picture.width), min((top + side) * down, picture.height)
        box = (left * across, top * down, right, bottom)
        square = flat.resize((width, height), Image.Resampling.BILINEAR, box)  # as `celeba.square` does
    else:
        square = _padded(flat, width, height)
    x = np.asarray(square, dtype=np.float32).reshape(height, width, channels) / 255.0
    x = np.moveaxis(x, -1, 0).copy()  # (C, H, W)
    return 1.0 - x if invert else x


def whole_size(picture: Image.Image) -> tuple[int, int]:
    """Give width and height of a picture before `read_picture` shrank it."""
    return picture.info.get("whole", picture.size)


def middle_square(picture: Image.Image) -> tuple[int, int, int]:
    """Place the largest square in the middle of a picture: left, top and side in pixels of the whole."""
    width, height = whole_size(picture)
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side


def _padded(flat: Image.Image, width: int, height: int) -> Image.Image:
    """Fit a picture whole into `width` x `height`; what is left free goes on in the colour of its border."""
    pixels = np.asarray(flat)
    pixels = pixels.reshape(flat.height, flat.width, -1)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    fill = tuple(int(v) for v in np.median(border, axis=0))
    scale = min(width / flat.width, height / flat.height)
    size = max(round(flat.width * scale), 1), max(round(flat.height * scale), 1)  # a thin line stays a line
    fitted = Image.new(flat.mode, (width, height), fill if len(fill) > 1 else fill[0])
    fitted.paste(
        flat.resize(size, Image.Resampling.LANCZOS), (round((width - size[0]) / 2), round((height - size[1]) / 2))
    )
    return fitted
