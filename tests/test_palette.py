import itertools
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from explorer import figures, palette

THEMES = tomllib.loads((Path(__file__).parent.parent / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
BACKGROUNDS = [THEMES["theme"][theme]["backgroundColor"] for theme in ("light", "dark")]
# linear RGB as an eye sees it that lacks one kind of cones: Machado, Oliveira and Fernandes 2009, table 1, severity 1
SEEN = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
REACHED = {"all cones": 16.0, "protanopia": 10.9, "deuteranopia": 10.9, "tritanopia": 10.9}


def rgb(colour):
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def seen(colours, eye):
    """CIELAB `(N, 3)` of colours as this eye sees them."""
    x = np.array([rgb(colour) for colour in colours])
    linear = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4) @ np.transpose(SEEN[eye])
    linear = linear.clip(0, 1)
    return rgb2lab(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


def test_contrast_is_that_of_the_guidelines():
    assert palette.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert palette.contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)  # the lightest grey that passes AA


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_every_colour_stands_out_from_both_backgrounds(background):
    for colour in palette.COLOURS:
        assert palette.contrast(colour, background) >= 3, colour


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_the_ring_of_the_keyboard_stands_out_from_both_backgrounds(background):
    style = (Path(palette.__file__).parent / "ui" / "style.css").read_text(encoding="utf-8")
    (ring,) = set(re.findall(r"outline: \S+ solid (#[0-9a-f]{6})", style))
    assert palette.contrast(ring, background) >= 3


@pytest.mark.parametrize("eye", SEEN)
def test_any_two_of_ten_colours_differ_for_every_eye(eye):
    lab = seen(palette.COLOURS, eye)
    difference = {
        (palette.COLOURS[i], palette.COLOURS[j]): deltaE_ciede2000(lab[i], lab[j])
        for i, j in itertools.combinations(range(len(lab)), 2)
    }
    assert min(difference.values()) >= REACHED[eye] >= 8, min(difference, key=difference.get)


def test_any_two_of_many_classes_differ_in_colour_or_in_shape():
    looks = {(palette.class_colour(k), palette.class_shape(k)) for k in range(50)}
    assert len(looks) == 50
    assert all(palette.class_outline(k) == palette.SHAPES[palette.class_shape(k)] for k in range(50))


def test_shapes_are_about_as_large_as_each_other():
    for outline in palette.SHAPES.values():
        x, y = np.transpose(outline)
        area = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
        assert area == pytest.approx(3.2, rel=0.12)


def test_the_number_in_every_cell_of_a_confusion_matrix_can_be_read():
    matrix = np.random.default_rng(0).integers(0, 900, (20, 20)) ** 2
    cells, numbers = figures.confusion(matrix, [str(k) for k in range(20)], percent=True).data
    places, colours = zip(*cells.colorscale, strict=True)
    levels = np.array([rgb(colour) for colour in colours])
    for z, text in zip(np.ravel(cells.z), numbers.textfont.color, strict=True):
        cell = [round(255 * np.interp(z, places, levels[:, channel])) for channel in range(3)]
        assert palette.contrast(text, "#{:02x}{:02x}{:02x}".format(*cell)) >= 4.5


def test_a_scale_of_scores_stands_out_and_gets_lighter_from_end_to_end():
    points, labels, scores = np.zeros((3, 2)), np.zeros(3, int), np.array([-1.0, 0.5, 2.0])
    [trace] = figures.latent_map(points, labels, ("Face",), "PCA", scores, "Bald").data
    scale = [colour for _, colour in trace.marker.colorscale]
    lightness = [palette.luminance(colour) for colour in scale]
    assert lightness == sorted(lightness)
    assert all(palette.contrast(colour, background) >= 3 for colour in scale for background in BACKGROUNDS)
