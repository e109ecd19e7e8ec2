import numpy as np
import pytest

from explorer import figures, palette

CLASSES = ("cat", "dog", "emu")


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_map_has_every_point_once_in_the_look_of_its_class(dimensions):
    labels = np.array([0, 1, 2, 1, 0])
    points = np.arange(5 * dimensions, dtype=float).reshape(5, dimensions)
    figure = figures.latent_map(points, labels, CLASSES, "PCA")
    assert [trace.name for trace in figure.data] == list(CLASSES)
    for k, trace in enumerate(figure.data):
        index = np.array(trace.customdata)
        assert (labels[index] == k).all()
        assert np.array_equal(trace.x, points[index, 0])
        assert (trace.marker.color, trace.marker.symbol) == (palette.class_colour(k), palette.class_shape(k))
    assert sum(len(trace.x) for trace in figure.data) == 5


@pytest.mark.parametrize("dimensions", [2, 3])
def test_any_two_of_twenty_classes_on_a_map_differ_in_colour_or_shape(dimensions):
    classes = [str(k) for k in range(20)]
    traces = figures.latent_map(np.zeros((20, dimensions)), np.arange(20), classes, "PCA").data
    assert len({(trace.marker.color, trace.marker.symbol) for trace in traces}) == 20
    assert dimensions == 2 or not any(trace.marker.symbol == "x" for trace in traces)


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


def test_a_psnr_that_is_drawn_lower_is_named_as_it_is():
    curves = {"input": [100.0, 47.25, 20.0]}
    [line] = figures.psnr_curves([0.0, 0.1, 0.5], curves, "σ", None, "").data
    assert list(line.y) == [45, 45, 20]
    assert list(line.customdata) == ["exact", "47.2 dB", "20.0 dB"]
    assert "customdata" in line.hovertemplate
    assert "cut off at 45" in figures.psnr_curves([0.0], {"a": [46.0]}, "σ", None, "").layout.yaxis.title.text
    assert "cut off" not in figures.psnr_curves([0.0], {"a": [44.0]}, "σ", None, "").layout.yaxis.title.text


@pytest.mark.parametrize("chosen", [(), (1, 3)])
def test_chosen_points_stand_out_among_those_of_every_class(chosen):
    labels, points = np.array([0, 1, 2, 1, 0]), np.arange(15.0).reshape(5, 3)
    flat = figures.latent_map(points[:, :2], labels, CLASSES, "PCA", chosen=chosen)
    marked = [i for trace in flat.data for i in np.array(trace.customdata)[list(trace.selectedpoints or ())]]
    assert marked == list(chosen)
    assert all((trace.selectedpoints is None) == (not chosen) for trace in flat.data)
    deep = figures.latent_map(points, labels, CLASSES, "PCA", chosen=chosen)
    sizes = np.zeros(5)
    for trace in deep.data:
        sizes[list(trace.customdata)] = trace.marker.size
    assert [i for i in range(5) if sizes[i] == sizes.max()] == (list(chosen) or list(range(5)))


def test_empty_bins_of_a_calibration_curve_are_left_out():
    bins = np.array([np.nan, 0.6, 0.9])
    figure = figures.calibration(bins, bins, np.array([0, 3, 7]))
    assert list(figure.data[1].x) == [0.6, 0.9]
    assert list(figure.data[1].customdata) == [3, 7]


def test_training_and_validation_of_a_model_share_colour_and_shape_and_differ_in_dash():
    line = ([1, 2], [0.5, 0.4])
    figure = figures.curves({"a · train": line, "a · validation": line, "b · train": line}, "loss", log=True)
    first, second, third = figure.data
    assert first.line.color == second.line.color != third.line.color
    assert first.marker.symbol == second.marker.symbol != third.marker.symbol
    assert (first.line.dash, second.line.dash) == ("solid", "dash")
    assert figure.layout.yaxis.type == "log"


def test_losses_below_zero_have_the_scale_of_what_follows_the_first_two_epochs():
    epochs = [1, 2, 3, 4]
    lines = {"a": (epochs, [900.0, 90.0, -80.0, -100.0]), "b": (epochs, [500.0, 50.0, 0.0, -20.0])}
    assert figures.curves(lines, "loss", log=False).layout.yaxis.range == (-105, 5)
    begun = lines | {"c": (epochs[:2], [900.0, 90.0]), "d": ([], [])}
    assert figures.curves(begun, "loss", log=False).layout.yaxis.range == (-105, 5)
    assert figures.curves({"a": (epochs[:2], [900.0, -90.0])}, "loss", log=False).layout.yaxis.range is None
    assert figures.curves({"a": (epochs, [9.0, 4.0, 2.0, 1.0])}, "loss", log=False).layout.yaxis.range is None


def test_a_map_by_score_has_every_point_in_one_trace_with_a_scale_whose_middle_is_the_boundary():
    points, scores = np.arange(8.0).reshape(4, 2), np.array([-1.0, 0.5, 3.0, -2.0])
    [trace] = figures.latent_map(points, np.zeros(4, int), ("Face",), "PCA", scores, "Smiling").data
    assert list(trace.customdata) == [0, 1, 2, 3]
    assert np.array_equal(trace.marker.color, scores)
    assert trace.marker.cmin == -trace.marker.cmax
    assert trace.marker.colorbar.title.text == "Smiling"


def test_a_map_by_a_score_that_is_zero_everywhere_still_has_a_scale():
    [trace] = figures.latent_map(np.zeros((3, 2)), np.zeros(3, int), ("Face",), "PCA", np.zeros(3), "Bald").data
    assert trace.marker.cmin < trace.marker.cmax


@pytest.fixture
def normal():
    return np.random.default_rng(0).normal(size=20_000)


def test_a_histogram_of_the_prior_has_areas_of_one_and_the_normal_density(normal):
    drawn, means, density = figures.prior_histogram(normal, 0.5 * normal, "z").data
    width = np.diff(drawn.x)[0]
    assert np.sum(drawn.y) * width == pytest.approx(1)
    assert np.sum(means.y) * width == pytest.approx(1)
    assert np.max(density.y) == pytest.approx(1 / np.sqrt(2 * np.pi))
    assert np.array(drawn.y) == pytest.approx(np.interp(drawn.x, density.x, density.y), abs=0.03)


def test_the_spike_of_a_collapsed_number_does_not_flatten_the_rest(normal):
    figure = figures.prior_histogram(normal, np.zeros(100), "z")
    assert max(figure.data[1].y) > 4 > figure.layout.yaxis.range[1]


def test_no_drawn_code_falls_outside_the_histogram():
    for far in (np.array([-9.0, 0.0, 12.0]), np.array([-9e8, 0.0, 1.0])):
        drawn = figures.prior_histogram(far, far, "z").data[0]
        assert np.sum(drawn.y) * np.diff(drawn.x)[0] == pytest.approx(1)
        assert len(drawn.x) <= 500


def test_quantiles_are_drawn_with_the_diagonal_they_are_held_to():
    theory = np.array([-1.0, 0.0, 2.0])
    diagonal, line = figures.quantiles(theory, {"drawn": theory + 1}, "expected", "found").data
    assert list(diagonal.x) == list(diagonal.y) == [-1, 2]
    assert list(line.y) == [0, 1, 3]


def test_kl_bars_are_sorted_and_tell_active_from_collapsed_numbers():
    active, collapsed = figures.kl_bars(np.array([0.1, 3.0, 0.0, 2.0]), np.array([True, True, False, True])).data
    assert list(active.y) == [3.0, 2.0, 0.1]
    assert list(active.customdata) == [2, 4, 1]
    assert list(collapsed.customdata) == [3]
    assert active.marker.color != collapsed.marker.color
    assert active.marker.pattern.shape != collapsed.marker.pattern.shape
