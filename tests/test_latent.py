import itertools
import math

import pytest
import torch

from explorer import latent
from explorer.latent import Plane, lerp, principal_directions, slerp, usual_distance
from explorer.projection import pca

T = torch.linspace(0, 1, 9)


@pytest.fixture(params=[2, 128])
def ends(request, generator):
    return torch.randn(2, request.param, generator=generator).unbind()


def angle(a, b):
    return torch.arccos((a @ b / (a.norm() * b.norm())).clamp(-1, 1))


def test_lerp_has_exact_ends_and_even_steps(ends):
    a, b = ends
    path = lerp(a, b, T)
    assert torch.equal(path[0], a)
    assert torch.equal(path[-1], b)
    torch.testing.assert_close(path.diff(dim=0), ((b - a) / 8).expand(8, -1))


def test_slerp_has_the_ends_it_is_given(ends):
    a, b = ends
    path = slerp(a, b, T)
    torch.testing.assert_close(path[0], a, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(path[-1], b, rtol=1e-6, atol=1e-6)


def test_slerp_turns_evenly_and_its_norm_goes_evenly(ends):
    a, b = (end.double() for end in ends)
    path = slerp(a, 3 * b, T.double())
    torch.testing.assert_close(path.norm(dim=1), torch.linspace(a.norm(), 3 * b.norm(), 9).double())
    turns = torch.stack([angle(p, q) for p, q in itertools.pairwise(path)])
    torch.testing.assert_close(turns, (angle(a, b) / 8).expand(8))


def test_slerp_keeps_the_length_that_lerp_loses():
    a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    half = torch.tensor([0.5])
    assert slerp(a, b, half).norm().item() == pytest.approx(2.0)
    assert lerp(a, b, half).norm().item() == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([0.0, 0.0, 0.0], [1.0, 2.0, 3.0]),
        ([1.0, 2.0, 3.0], [0.0, 0.0, 0.0]),
        ([1.0, 2.0, 3.0], [-2.0, -4.0, -6.0]),
        ([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]),
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]),
    ],
    ids=["zero first", "zero last", "opposite", "parallel", "equal"],
)
def test_slerp_is_the_straight_line_where_there_is_no_arc(a, b):
    a, b = torch.tensor(a), torch.tensor(b)
    torch.testing.assert_close(slerp(a, b, T), lerp(a, b, T))


def test_bilinear_has_exact_corners_and_straight_edges(generator):
    corners = torch.randn(4, 6, generator=generator)
    sheet = latent.bilinear(corners, 5)
    assert sheet.shape == (5, 5, 6)
    assert torch.equal(sheet[[0, 0, -1, -1], [0, -1, 0, -1]], corners)
    t = torch.linspace(0, 1, 5)
    torch.testing.assert_close(sheet[0], lerp(corners[0], corners[1], t))
    torch.testing.assert_close(sheet[:, -1], lerp(corners[1], corners[3], t))
    torch.testing.assert_close(sheet[2, 2], corners.mean(0))


@pytest.mark.parametrize("n", [2, 9, 20])
@pytest.mark.parametrize("spacing", ["linear", "quantiles"])
def test_an_axis_runs_from_end_to_end_and_is_symmetric(n, spacing):
    places = latent.axis(n, 2.5, spacing)
    assert places.dtype == torch.float32
    assert [places[0].item(), places[-1].item()] == pytest.approx([-2.5, 2.5])
    assert (places.diff() > 0).all()
    torch.testing.assert_close(places, -places.flip(0))


def test_a_linear_axis_has_equal_steps():
    assert latent.axis(5, 3.0, "linear").tolist() == [-3.0, -1.5, 0.0, 1.5, 3.0]


def test_quantiles_have_equal_probability_between_neighbours():
    places = latent.axis(12, 2.5, "quantiles").double()
    shares = torch.distributions.Normal(0.0, 1.0).cdf(places).diff()
    torch.testing.assert_close(shares, shares.mean().expand(11), rtol=1e-5, atol=0)


def test_an_unknown_spacing_is_an_error():
    with pytest.raises(ValueError, match="'log' is neither 'linear' nor 'quantiles'"):
        latent.axis(5, 3.0, "log")


def test_plane_reads_from_the_top_left_with_the_largest_y_on_top():
    points = latent.plane(torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([5.0, 6.0]))
    assert points.tolist() == [[-1, 6], [0, 6], [1, 6], [-1, 5], [0, 5], [1, 5]]


@pytest.fixture(params=[2, 3, 1024])
def three(request, generator):
    return torch.randn(3, request.param, generator=generator)


def test_the_three_codes_have_the_coordinates_of_a_unit_corner(three):
    plane = Plane.through(*three)
    corner = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    torch.testing.assert_close(plane.codes(corner), three, rtol=1e-5, atol=1e-6)
    points, distances = plane.coordinates(three)
    torch.testing.assert_close(points, corner, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(distances, torch.zeros(3), rtol=0, atol=1e-4)


def test_points_of_a_plane_survive_the_way_to_codes_and_back(three, generator):
    plane = Plane.through(*three)
    points = torch.randn(7, 2, generator=generator)
    found, distances = plane.coordinates(plane.codes(points))
    torch.testing.assert_close(found, points, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(distances, torch.zeros(7), rtol=0, atol=1e-3)


def test_a_code_beside_the_plane_is_dropped_at_a_right_angle():
    plane = Plane.through(torch.zeros(3), torch.tensor([2.0, 0.0, 0.0]), torch.tensor([1.0, 1.0, 0.0]))
    points, distances = plane.coordinates(torch.tensor([[3.0, 1.0, -4.0]]))
    torch.testing.assert_close(points, torch.tensor([[1.0, 1.0]]))
    torch.testing.assert_close(distances, torch.tensor([4.0]))


def test_rounding_does_not_bend_a_line_into_a_plane():
    for seed in range(200):
        a, b = torch.randn(2, 2, generator=torch.Generator().manual_seed(seed))
        with pytest.raises(ValueError, match="lie on one line"):
            Plane.through(a, b, lerp(a, b, torch.tensor([0.3]))[0])


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0, -2.0])
def test_three_codes_on_one_line_span_no_plane(t, three):
    a, b, _ = three
    with pytest.raises(ValueError, match="lie on one line"):
        Plane.through(a, b, lerp(a, b, torch.tensor([t]))[0])


def test_the_principal_plane_is_that_of_pca_in_standard_deviations(generator):
    codes = torch.randn(200, 6, generator=generator) * torch.tensor([5.0, 3.0, 1.0, 1.0, 0.5, 0.1])
    points, distances = Plane.principal(codes).coordinates(codes)
    expected, _ = pca(codes.numpy(), 2)
    torch.testing.assert_close(points.std(dim=0), torch.ones(2), rtol=1e-4, atol=1e-4)
    scaled = torch.from_numpy(expected) / torch.from_numpy(expected).std(dim=0)
    torch.testing.assert_close(points.abs(), scaled.abs(), rtol=1e-3, atol=1e-3)
    assert (distances > 0).all()


def test_a_line_has_one_coordinate(generator):
    codes = torch.randn(50, 4, generator=generator)
    line = Plane.line(codes[0], principal_directions(codes, 3)[2])
    points, _ = line.coordinates(line.codes(torch.tensor([[1.5, 0.0]])))
    torch.testing.assert_close(points, torch.tensor([[1.5, 0.0]]), rtol=1e-4, atol=1e-4)


def test_the_usual_distance_is_the_median_to_the_nearest_other_code():
    assert usual_distance(torch.tensor([[0.0], [1.0], [3.0], [7.0], [8.0]])) == 1.0
