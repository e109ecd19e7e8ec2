import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.datasets import make_blobs

from explorer import sampling
from explorer.sampling import Prior, check_prior, fit, fit_mixture, nearest, truncated_normal


@pytest.fixture
def blobs():
    values, _ = make_blobs(
        [60, 60, 60], 5, centers=[[8, 0, 0, 0, 0], [-8, 0, 0, 0, 0], [0, 8, 0, 0, 0]], random_state=0
    )
    return torch.from_numpy(values).float()


@pytest.fixture
def long_codes(generator):
    return 3 + torch.randn(120, 300, generator=generator) @ torch.randn(300, 300, generator=generator) / 10


@pytest.fixture(params=sampling.SOURCES)
def source(request, blobs):
    return fit(request.param, blobs, torch.full_like(blobs, -2.0), 3)


def test_the_same_seed_draws_the_same_codes_and_another_seed_others(source):
    assert torch.equal(source.sample(7, seed=3), source.sample(7, seed=3))
    assert not torch.equal(source.sample(7, seed=3), source.sample(7, seed=4))
    assert source.sample(7).shape == (7, 5)


def test_the_global_random_state_is_neither_read_nor_moved(source):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = source.sample(4, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(6)
    assert torch.equal(first, source.sample(4, seed=1))


@pytest.mark.parametrize("truncation", [0.3, 1.0, 2.0])
def test_truncated_numbers_stay_within_the_threshold_and_are_spread_as_they_should(truncation):
    values = truncated_normal(400, 50, truncation, torch.Generator().manual_seed(0)).flatten()
    assert values.abs().max() <= truncation
    expected = stats.truncnorm(-truncation, truncation)
    assert stats.kstest(values.numpy(), expected.cdf).pvalue > 0.01


def test_truncation_draws_again_only_what_lies_beyond():
    free, cut = (truncated_normal(20, 8, most, torch.Generator().manual_seed(2)) for most in (math.inf, 1.0))
    inside = free.abs() <= 1
    assert torch.equal(free[inside], cut[inside])
    assert (~inside).any()


@pytest.mark.parametrize("truncation", [0.0, -1.0, math.nan])
def test_a_truncation_that_would_never_end_is_an_error(truncation):
    with pytest.raises(ValueError, match="is below"):
        truncated_normal(2, 2, truncation, torch.Generator())


def test_temperature_scales_the_distance_from_the_middle_of_the_prior():
    torch.testing.assert_close(Prior(6).sample(9, 0.5, seed=1), 0.5 * Prior(6).sample(9, seed=1))
    assert not Prior(6).sample(9, 0.0).any()


def test_temperature_scales_the_distance_from_the_mean_of_a_component(blobs):
    mixture = fit_mixture(blobs, None, 3)
    cold, warm, hot = (mixture.sample(50, t, seed=1) for t in (0.0, 1.0, 2.0))
    assert len(cold.round(decimals=3).unique(dim=0)) == 3
    torch.testing.assert_close(hot - cold, 2 * (warm - cold), rtol=1e-3, atol=1e-3)


def test_a_mixture_finds_the_blobs_and_one_gaussian_blurs_them(blobs):
    middles = torch.stack(
        [
            blobs[(blobs - c).norm(dim=1) < 5].mean(0)
            for c in torch.eye(5)[[0, 0, 1]] * torch.tensor([[8.0], [-8.0], [8.0]])
        ]
    )
    away = {
        name: torch.cdist(fit(name, blobs, None, 3).sample(500), middles).min(dim=1).values.quantile(0.9)
        for name in ("mixture", "one Gaussian")
    }
    assert away["mixture"] < 4 < away["one Gaussian"]


def test_one_gaussian_has_the_mean_and_covariance_of_the_codes(generator):
    codes = torch.randn(2000, 4, generator=generator) @ torch.tensor(
        [[2.0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0.5, 0], [0, 0, 0, 3]]
    )
    drawn = fit("one Gaussian", codes + 1).sample(20_000)
    torch.testing.assert_close(drawn.mean(0), codes.mean(0) + 1, rtol=0, atol=0.1)
    torch.testing.assert_close(drawn.T.cov(), codes.T.cov(), rtol=0.05, atol=0.15)


def test_the_variance_of_the_posteriors_is_added_to_that_of_the_means(generator):
    codes = torch.randn(1000, 3, generator=generator) * torch.tensor([1.0, 0.5, 0.0])
    log_var = torch.tensor([0.01, 0.75, 1.0]).log().expand(1000, 3)
    spread = fit("one Gaussian", codes, log_var).sample(20_000).std(0)
    torch.testing.assert_close(spread, torch.ones(3), rtol=0.06, atol=0)


def test_a_code_longer_than_there_are_codes_keeps_its_spread_in_every_direction(long_codes):
    mixture = fit_mixture(long_codes, None, 4)
    assert mixture.means.shape == (4, sampling.PRINCIPAL)
    assert mixture.rest.shape == (119 - sampling.PRINCIPAL,)
    drawn = mixture.sample(3000)
    torch.testing.assert_close(drawn.var(0).sum(), long_codes.var(0).sum(), rtol=sampling.RIDGE, atol=0)


def test_shrunk_components_describe_codes_that_were_held_out_better_than_free_ones(generator):
    codes = torch.randn(1200, 40, generator=generator)
    held_out = codes[1000:].double().numpy()

    def mean_log_density():
        found = fit_mixture(codes[:1000], None, 10)
        points = (held_out - found.mean.double().numpy()) @ found.directions.double().numpy().T
        each = [
            math.log(w) + stats.multivariate_normal(m, f @ f.T).logpdf(points)
            for w, m, f in zip(
                found.weights.tolist(), found.means.double().numpy(), found.factors.double().numpy(), strict=True
            )
        ]
        return np.logaddexp.reduce(each).mean()

    shrunk = mean_log_density()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "RIDGE", 1e-6)
        assert shrunk > mean_log_density() + 1


def test_the_component_of_a_sample_says_nothing_of_where_in_it_the_sample_lies(blobs):
    mixture = fit_mixture(blobs, None, 3)
    middles, drawn = mixture.sample(6000, 0.0, seed=0), mixture.sample(6000, seed=0)
    for middle in middles.round(decimals=3).unique(dim=0):
        offsets = (drawn - middles)[(middles - middle).norm(dim=1) < 0.1]
        torch.testing.assert_close(offsets.mean(0), torch.zeros(5), rtol=0, atol=0.15)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_more_components_than_codes_and_constant_codes_are_no_error():
    assert fit_mixture(torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), None, 50).means.shape == (6, 3)
    assert torch.equal(fit_mixture(torch.full((9, 3), 2.0), None, 1).sample(2, 0.0), torch.full((2, 3), 2.0))


def test_codes_in_half_precision_will_do(blobs):
    assert fit("mixture", blobs.half(), blobs.half()).sample(3).dtype == torch.float32


def test_an_unknown_source_is_an_error(blobs):
    with pytest.raises(ValueError, match="'flow' is none of prior, one Gaussian, mixture"):
        fit("flow", blobs)


def test_the_nearest_come_first_and_a_copy_is_at_distance_zero(generator):
    others = torch.randn(30, 4, generator=generator)
    distances, places = nearest(others[17], others, 5)
    assert places[0] == 17
    assert distances[0] == 0
    assert (distances.diff() >= 0).all()
    torch.testing.assert_close(distances, (others[places] - others[17]).norm(dim=1))
    assert len(nearest(others[0], others, 99)[1]) == 30


@pytest.fixture
def good(generator):
    variance = torch.tensor([0.9, 0.5, 0.0])  # of the means; the posterior has the rest
    mu = torch.randn(4000, 3, generator=generator) * variance.sqrt()
    return mu, (1 - variance).log().expand(4000, 3)


def test_an_aggregated_posterior_that_is_the_prior_lies_on_the_diagonal(good):
    check = check_prior(*good, seed=1)
    assert check.gaps == pytest.approx(np.zeros(3), abs=0.04)
    assert check.draw_norms == pytest.approx(check.chi_square, rel=0.15, abs=0.05)
    assert check.draws.shape == (20_000, 3)


def test_means_alone_spread_less_than_the_prior(good):
    check = check_prior(*good, seed=1)
    assert (np.abs(check.mean_quantiles[0]) < np.abs(check.draw_quantiles[0])).all()
    assert check.mean_norms.mean() == pytest.approx(1.4, rel=0.1)


def test_the_number_furthest_from_the_prior_has_the_largest_gap(good):
    mu, log_var = good
    shifted = check_prior(mu + torch.tensor([0.0, 0.7, 0.0]), log_var)
    assert shifted.gaps.argmax() == 1
    assert shifted.gaps[1] == pytest.approx(0.7, abs=0.05)


def test_a_number_that_images_do_not_move_is_collapsed(good):
    assert check_prior(*good).active.tolist() == [True, True, False]
