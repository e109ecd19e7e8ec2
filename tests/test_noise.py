import pytest
import torch

from explorer.noise import NOISES, add_noise, masking_block

N = 40


@pytest.fixture(params=NOISES)
def kind(request):
    return request.param


@pytest.fixture
def grey():
    return torch.full((N, 1, 28, 28), 0.5)


def test_level_0_changes_nothing(kind, x):
    assert torch.equal(add_noise(x, kind, 0.0, seed=1), x)


def test_the_highest_level_changes_the_images_but_not_the_tensor_given(kind, x):
    before = x.clone()
    noisy = add_noise(x, kind, NOISES[kind].maximum, seed=1)
    assert not torch.equal(noisy, x)
    assert torch.equal(x, before)


def test_pixels_stay_between_0_and_1(kind, x):
    noisy = add_noise(x, kind, NOISES[kind].maximum, seed=1)
    assert noisy.shape == x.shape
    assert noisy.dtype == x.dtype
    assert 0 <= noisy.min() <= noisy.max() <= 1


def test_the_same_seed_gives_the_same_noise_and_another_does_not(kind, x):
    first, second, third = (add_noise(x, kind, 0.4, seed) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_each_image_may_have_its_own_level(kind, x):
    levels = torch.tensor([0.0, 0.5, 0.0, 0.5, 0.0])
    noisy = add_noise(x, kind, levels, seed=1)
    changed = (noisy != x).flatten(1).any(1)
    assert torch.equal(changed, levels > 0)


# mid-grey at a small level is never clipped, so the spread can be measured: 31,360 pixels know it to 0.4 %
@pytest.mark.parametrize(("kind", "factor"), [("gaussian", 1.0), ("speckle", 0.5)])
def test_normal_noise_has_the_spread_it_says(grey, kind, factor):
    noise = add_noise(grey, kind, 0.06, seed=3) - grey
    assert noise.std().item() == pytest.approx(0.06 * factor, rel=0.02)
    assert noise.mean().item() == pytest.approx(0.0, abs=0.002)


@pytest.mark.parametrize("level", [0.1, 0.6])
def test_salt_and_pepper_sets_the_fraction_it_says_half_each(grey, level):
    noisy = add_noise(grey, "salt-and-pepper", level, seed=3)
    for value in (0.0, 1.0):
        assert (noisy == value).float().mean().item() == pytest.approx(level / 2, abs=0.01)
    assert (noisy == 0.5).float().mean().item() == pytest.approx(1 - level, abs=0.01)


@pytest.mark.parametrize("kind", ["salt-and-pepper", "masking-block"])
def test_a_pixel_is_lost_in_all_colours_together(kind):
    noisy = add_noise(torch.full((N, 3, 8, 8), 0.5), kind, 0.5, seed=3)
    assert torch.equal(noisy[:, :1].expand_as(noisy), noisy)


@pytest.mark.parametrize(("level", "side"), [(0.1, 9), (0.25, 14), (0.6, 22), (1.0, 28)])
def test_masking_block_is_one_square_of_the_area_it_says(grey, generator, level, side):
    hidden = masking_block(grey, torch.full((N,), level), generator) == 0
    assert side == round((level * 784) ** 0.5)
    assert (hidden.sum((1, 2, 3)) == side**2).all()
    assert (hidden.any(2).sum((1, 2)) == side).all()
    assert (hidden.any(3).sum((1, 2)) == side).all()


def test_masking_block_reaches_every_corner(generator):
    hidden = masking_block(torch.ones(2000, 1, 4, 4), torch.full((2000,), 0.25), generator) == 0
    assert hidden.any(0).all()


def test_an_unknown_kind_is_an_error(x):
    with pytest.raises(KeyError, match="rain"):
        add_noise(x, "rain", 0.5, seed=0)
