import numpy as np
import pytest

from explorer import figures

CLASSES = ("cat", "dog", "emu")


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_map_has_every_point_once_in_the_colour_of_its_class(dimensions):
    labels = np.array([0, 1, 2, 1, 0])
    points = np.arange(5 * dimensions, dtype=float).reshape(5, dimensions)
    figure = figures.latent_map(points, labels, CLASSES, "PCA")
    assert [trace.name for trace in figure.data] == list(CLASSES)
    for k, trace in enumerate(figure.data):
        index = np.array(trace.customdata)
        assert (labels[index] == k).all()
        assert np.array_equal(trace.x, points[index, 0])
        assert trace.marker.color == figures.class_colour(k)
    assert sum(len(trace.x) for trace in figure.data) == 5


def test_colours_of_ten_classes_differ():
    assert len({figures.class_colour(k) for k in range(10)}) == 10


@pytest.mark.parametrize("percent", [False, True])
def test_a_confusion_matrix_can_be_clicked_in_every_cell(percent):
    matrix = np.array([[8, 2, 0], [0, 5, 5], [0, 0, 4]])
    figure = figures.confusion(matrix, CLASSES, percent)
    cells = figure.data[1]
    assert len(cells.x) == 9
    assert len(set(zip(cells.x, cells.y, strict=True))) == 9
    for predicted, true, text in zip(cells.x, cells.y, cells.text, strict=True):
        expected = f"{100 * matrix[true, predicted] / matrix[true].sum():.1f}" if percent else matrix[true, predicted]
        assert text == str(expected)
    assert np.allclose(np.array(figure.data[0].z) ** 2, matrix / matrix.sum(axis=1, keepdims=True))


def test_an_empty_row_of_a_confusion_matrix_is_no_division_by_zero():
    assert np.isfinite(figures.confusion(np.zeros((3, 3), dtype=int), CLASSES, True).data[0].z).all()


def test_noise_curves_shade_the_trained_range_and_only_that():
    curves = {"input": [100.0, 20.0], "model": [30.0, 25.0]}
    shaded = figures.psnr_curves([0.0, 0.5], curves, "σ", (0.0, 0.3), "trained")
    assert (shaded.layout.shapes[0].x0, shaded.layout.shapes[0].x1) == (0.0, 0.3)
    assert [trace.name for trace in shaded.data] == ["input", "model"]
    assert not figures.psnr_curves([0.0, 0.5], curves, "σ", None, "").layout.shapes


def test_empty_bins_of_a_calibration_curve_are_left_out():
    bins = np.array([np.nan, 0.6, 0.9])
    figure = figures.calibration(bins, bins, np.array([0, 3, 7]))
    assert list(figure.data[1].x) == [0.6, 0.9]
    assert list(figure.data[1].customdata) == [3, 7]


def test_training_and_validation_of_a_model_share_a_colour_and_differ_in_dash():
    line = ([1, 2], [0.5, 0.4])
    figure = figures.curves({"a · train": line, "a · validation": line, "b · train": line}, "loss", log=True)
    first, second, third = figure.data
    assert first.line.color == second.line.color != third.line.color
    assert (first.line.dash, second.line.dash) == ("solid", "dash")
    assert figure.layout.yaxis.type == "log"
