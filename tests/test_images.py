import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from explorer import images
from explorer.images import ImageError, read_upload

GREY, COLOUR = (1, 28, 28), (3, 28, 28)
ORANGE, BLUE = [1.0, 0.55, 0.1], [0.2, 0.6, 1.0]


def encoded(picture, kind="PNG", **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def halves(left, right, size=(28, 28), mode="L"):
    picture = Image.new(mode, size, right)
    picture.paste(left, (0, 0, size[0] // 2, size[1]))
    return picture


def png_header(width, height):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")


@pytest.fixture
def random_images():
    return np.random.default_rng(0).random((5, 3, 4, 6), dtype=np.float32)


def test_every_byte_survives_the_way_to_floats_and_back():
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    x = images.to_float(pixels)
    assert x.dtype == torch.float32
    assert (x.min(), x.max()) == (0.0, 1.0)
    assert np.array_equal(images.to_uint8(x.numpy()), pixels.numpy())


def test_bytes_are_rounded_to_the_nearest_and_clipped():
    x = np.array([-0.1, 0.0, 0.4 / 255, 0.6 / 255, 254.4 / 255, 1.0, 1.7])
    assert images.to_uint8(x).tolist() == [0, 0, 0, 1, 254, 255, 255]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [1, 3])
def test_a_png_decodes_to_the_same_crisp_pixels(random_images, channels, scale):
    x = random_images[0, :channels]
    pixels = np.asarray(Image.open(io.BytesIO(images.png(x, scale)))).reshape(4 * scale, 6 * scale, channels)
    expected = np.moveaxis(images.to_uint8(x), 0, -1).repeat(scale, axis=0).repeat(scale, axis=1)
    assert np.array_equal(pixels, expected)


@pytest.mark.parametrize(("n", "order"), [(1, [0]), (2, [0, 1]), (4, [0, 1, 2, 3, 2, 1])])
def test_a_gif_runs_forth_and_back_for_ever_with_exact_frames(random_images, n, order):
    frames = random_images[:n, :1]
    with Image.open(io.BytesIO(images.gif(frames, scale=2, milliseconds=50))) as picture:
        assert getattr(picture, "n_frames", 1) == len(order)
        assert n == 1 or (picture.info["loop"], picture.info["duration"]) == (0, 50)
        for position, i in enumerate(order):
            picture.seek(position)
            shown = np.asarray(picture.convert("L"))[::2, ::2]
            assert np.array_equal(shown, images.to_uint8(frames[i, 0]))


@pytest.mark.parametrize("gap", [0, 2])
def test_a_grid_puts_each_image_where_it_belongs(random_images, gap):
    sheet = images.grid(random_images, columns=2, gap=gap, background=0.25)
    assert sheet.shape == (3, 3 * 4 + 2 * gap, 2 * 6 + gap)
    expected = np.full_like(sheet, 0.25)
    for i, x in enumerate(random_images):
        top, left = i // 2 * (4 + gap), i % 2 * (6 + gap)
        expected[:, top : top + 4, left : left + 6] = x
    assert np.array_equal(sheet, expected)


@pytest.mark.parametrize(
    ("error", "colour"),
    [
        (0.0, [0.0, 0.0, 0.0]),
        (0.4, ORANGE),
        (-0.4, BLUE),
        (0.1, [c / 4 for c in ORANGE]),
        (-0.2, [c / 2 for c in BLUE]),
        (0.5, ORANGE),
        (-0.5, BLUE),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_error_map_is_orange_where_too_bright_and_blue_where_too_dark(error, colour, channels):
    x = np.full((2, channels, 3, 3), 0.5, dtype=np.float32)
    colours = images.error_map(x, x + np.float32(error), full_scale=0.4)
    assert colours.shape == (2, 3, 3, 3)
    assert colours.dtype == np.float32
    assert colours[1, :, 2, 0] == pytest.approx(colour, abs=1e-6)


def test_error_map_averages_over_colours():
    x = np.zeros((1, 3, 1, 1), dtype=np.float32)
    x_hat = np.array([0.3, 0.0, -0.3], dtype=np.float32).reshape(1, 3, 1, 1)
    assert not images.error_map(x, x_hat).any()


def test_as_rgb_repeats_grey_and_leaves_colour(random_images):
    assert images.as_rgb(random_images) is random_images
    repeated = images.as_rgb(random_images[:, :1])
    assert all(np.array_equal(repeated[:, c], random_images[:, 0]) for c in range(3))


@pytest.mark.parametrize(
    ("picture", "options"),
    [
        (halves(0, 255), {"kind": "PNG"}),
        (halves(0, 255).convert("1"), {"kind": "PNG"}),
        (halves(0, 255).convert("P"), {"kind": "GIF"}),
        (halves(0, 255).convert("RGB"), {"kind": "BMP"}),
        (halves(0, 255).convert("RGB"), {"kind": "WEBP", "lossless": True}),
        (halves(0, 255).convert("CMYK"), {"kind": "TIFF"}),
        (Image.fromarray(np.asarray(halves(0, 255)).astype(np.uint16) * 257), {"kind": "PNG"}),
        (halves((0, 0, 0, 255), (0, 0, 0, 0), mode="RGBA"), {"kind": "PNG"}),
        (halves((0, 255), (0, 0), mode="LA"), {"kind": "PNG"}),
    ],
    ids=["grey", "bilevel", "palette", "colour", "webp", "cmyk", "16-bit", "transparent", "transparent grey"],
)
@pytest.mark.parametrize("shape", [GREY, COLOUR])
def test_an_upload_of_any_mode_is_read_exactly(picture, options, shape):
    x = read_upload(encoded(picture, **options), shape)
    assert x.shape == shape
    assert x.dtype == np.float32
    assert (x[:, :, :14] == 0).all()
    assert (x[:, :, 14:] == 1).all()


def test_a_cmyk_jpeg_keeps_its_lightness():
    x = read_upload(encoded(halves(0, 255).convert("CMYK"), "JPEG", quality=95), GREY)
    assert x[0, :, :12] == pytest.approx(0.0, abs=0.05)
    assert x[0, :, 16:] == pytest.approx(1.0, abs=0.05)


def test_a_colour_upload_keeps_its_channels_in_order():
    x = read_upload(encoded(Image.new("RGB", (9, 9), (255, 51, 0))), COLOUR)
    assert x[:, 5, 5].tolist() == pytest.approx([1.0, 0.2, 0.0])


def test_16_bit_grey_is_scaled_by_its_own_range():
    picture = Image.fromarray(np.full((28, 28), 13107, dtype=np.uint16))
    assert read_upload(encoded(picture), GREY) == pytest.approx(0.2, abs=1e-6)


@pytest.mark.parametrize(("value", "expected"), [(np.float32(0.6), 0.6), (np.uint16(200), 0.0)])
def test_dark_pictures_of_more_than_8_bits_are_scaled_by_their_own_range_too(value, expected):
    picture = Image.fromarray(np.full((28, 28), value))
    assert read_upload(encoded(picture, "TIFF"), GREY) == pytest.approx(expected, abs=1 / 255)


def test_an_animation_gives_its_first_frame():
    data = encoded(Image.new("L", (28, 28), 51), "GIF", save_all=True, append_images=[Image.new("L", (28, 28), 255)])
    assert (read_upload(data, GREY) == np.float32(0.2)).all()


def test_exif_rotation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the stored picture is the right side of the shown one
    x = read_upload(encoded(halves(0, 255), exif=exif), GREY)
    assert (x[0, :14] == 0).all()
    assert (x[0, 14:] == 1).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (28, 28)])
def test_a_plain_picture_of_any_size_stays_plain(size):
    assert (read_upload(encoded(Image.new("L", size, 51)), GREY) == np.float32(0.2)).all()


def test_a_wide_picture_is_fitted_whole_and_its_background_goes_on():
    picture = Image.new("L", (56, 28), 51)
    picture.paste(255, (4, 4, 52, 24))
    x = read_upload(encoded(picture), GREY)[0]
    assert (x[:7] == np.float32(0.2)).all()
    assert (x[21:] == np.float32(0.2)).all()
    assert (x[12:16, 6:22] == 1).all()


def test_invert_turns_dark_and_light_around():
    data = encoded(halves(0, 204))
    assert np.array_equal(read_upload(data, GREY, invert=True), 1 - read_upload(data, GREY))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a picture"),
        (b"%PDF-1.7 no picture at all", "Use a PNG, JPEG"),
        (encoded(Image.effect_noise((64, 64), 90))[:900], "not a picture that can be read"),
        (encoded(Image.effect_noise((64, 64), 90), "JPEG")[:900], "not a picture that can be read"),
        (b"\x89PNG\r\n\x1a\n".ljust(images.MAX_UPLOAD_BYTES + 1, b"\0"), "10.0 MB; the limit is 10 MB"),
    ],
    ids=["empty", "foreign", "truncated png", "truncated jpeg", "too long"],
)
def test_an_unusable_upload_is_refused_in_words(data, message):
    with pytest.raises(ImageError, match=message):
        read_upload(data, GREY)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [5_001, 12_000, 60_000])
def test_a_huge_picture_is_refused_before_it_is_decoded(monkeypatch, side):
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("the picture was decoded"))
    with pytest.raises(ImageError, match="megapixels"):
        read_upload(png_header(side, side), GREY)


def test_the_largest_picture_allowed_is_decoded():
    with pytest.raises(ImageError, match="not a picture that can be read"):  # its pixels are missing
        read_upload(png_header(5_000, 5_000), GREY)


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "RGBA", "I;16", "1"])
def test_a_photo_of_any_mode_is_cropped_to_a_colour_image(mode):
    grey = np.zeros((60, 40), dtype=np.uint8)
    grey[10:50] = 255
    picture = Image.fromarray(grey)
    picture = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else picture.convert(mode)
    x = read_upload(encoded(picture, "TIFF" if mode == "CMYK" else "PNG"), COLOUR, crop=(0, 10, 40))
    assert x.shape == COLOUR
    assert x[:, 1:-1] == pytest.approx(1.0, abs=0.01)  # the outermost rows see a little of what is beside the square
    assert read_upload(encoded(Image.fromarray(grey)), COLOUR, crop=(0, 20, 40))[:, -5:].max() == 0


def test_a_crop_takes_the_square_that_it_names():
    pixels = np.zeros((30, 50, 3), dtype=np.uint8)
    pixels[2:30, 11:39] = np.arange(28)[:, None, None] * 9
    x = read_upload(encoded(Image.fromarray(pixels)), COLOUR, crop=(11, 2, 28))
    assert np.array_equal(images.to_uint8(x), np.moveaxis(pixels[2:30, 11:39], -1, 0))


def test_a_crop_counts_from_the_corner_of_the_picture_as_it_is_shown():
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the stored picture is the right side of the shown one
    data = encoded(halves(0, 255, size=(60, 40)), exif=exif)  # shown 40 wide, 60 high, dark above
    assert (read_upload(data, COLOUR, crop=(0, 0, 28)) == 0).all()
    assert (read_upload(data, COLOUR, crop=(12, 32, 28)) == 1).all()


@pytest.mark.parametrize(("size", "square"), [((40, 60), (0, 10, 40)), ((61, 40), (10, 0, 40)), ((7, 7), (0, 0, 7))])
def test_the_middle_square_is_the_largest(size, square):
    assert images.middle_square(Image.new("L", size)) == square


def test_a_jpeg_shows_the_same_picture_in_fewer_bytes():
    coarse = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((256, 256), Image.Resampling.BICUBIC)
    data = images.jpeg_bytes(picture)
    assert len(data) < len(images.png_bytes(picture)) / 5
    shown = np.asarray(Image.open(io.BytesIO(data))).astype(int)
    assert np.abs(shown - np.asarray(picture)).mean() < 2
