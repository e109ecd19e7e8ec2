"""The bound opened up, held to models whose likelihood is known."""

import itertools
import math

import pytest
import torch
import torch.nn as nn

from explorer import elbo, losses
from explorer.models import AutoencoderConfig, Posterior


class Linear(nn.Module):
    """One pixel, x = sigmoid(0) + noise whatever the code says; so q may be anything, and p(x) is known."""

    def __init__(self, mu, log_var, likelihood="gaussian"):
        super().__init__()
        self.config = AutoencoderConfig((1, 1, 2), (), (), (), (), 1, True, likelihood, 0.3)
        self.posterior = Posterior(torch.tensor([[mu]]), torch.tensor([[log_var]]))
        self.weight = nn.Parameter(torch.zeros(1))

    def encode(self, x):
        return self.posterior

    def decode_logits(self, z):
        return self.weight * z[:, :1, None, None].expand(-1, 1, 1, 2)


X = torch.tensor([[[0.2, 0.9]]])
EXACT = torch.distributions.Normal(0.5, 0.3).log_prob(X).sum().item()


def test_where_q_is_the_posterior_every_draw_gives_the_likelihood_itself():
    weights = elbo.draw(Linear(0.0, 0.0), X, 1000).log_weights()
    assert weights.std() < 1e-5
    for k in elbo.BOUNDS:
        assert elbo.bound(weights, k) == pytest.approx((EXACT, 0.0), abs=1e-5)
    assert elbo.effective(weights) == pytest.approx(1000)


def test_bounds_rise_with_their_draws_towards_the_likelihood_and_the_first_is_the_elbo():
    weights = elbo.draw(Linear(0.8, -0.5), X, 100_000).log_weights()
    found = [elbo.bound(weights, k) for k in elbo.BOUNDS]
    kl = losses.kl_to_standard_normal(Posterior(torch.tensor([[0.8]]), torch.tensor([[-0.5]]))).item()
    assert abs(found[0][0] - (EXACT - kl)) < 5 * found[0][1]
    assert all(a < b for (a, _), (b, _) in itertools.pairwise(found))
    assert abs(found[-1][0] - EXACT) < 0.01 + 5 * found[-1][1]
    assert elbo.effective(weights) < 100_000


def test_draws_of_a_bernoulli_decoder_cost_what_the_loss_says():
    x = torch.tensor([[[0.25, 1.0]]])
    weights = elbo.draw(Linear(0.0, 0.0, "bernoulli"), x, 10).log_weights()
    assert weights.tolist() == pytest.approx([2 * math.log(0.5)] * 10)


def test_another_sigma_needs_no_new_draws():
    draws = elbo.draw(Linear(0.3, -1.0), X, 50)
    other = Linear(0.3, -1.0)
    other.config = AutoencoderConfig((1, 1, 2), (), (), (), (), 1, True, "gaussian", 0.7)
    assert torch.allclose(draws.log_weights(0.7), elbo.draw(other, X, 50).log_weights(), atol=1e-5)


def test_one_bound_alone_has_the_error_of_a_logarithm_of_a_mean():
    weights = torch.randn(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    value, error = elbo.bound(weights, 1000)
    assert value == pytest.approx(0.5, abs=5 * error)  # the mean of a log-normal
    assert error == pytest.approx(math.sqrt((math.e - 1) / 1000), rel=0.2)


def test_the_best_sigma_is_found_from_what_another_costs():
    x, x_hat = torch.rand(2, 6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    cost = {sigma: losses.gaussian_nll(x_hat, x, sigma).mean().item() for sigma in (0.1, 0.3, 0.5)}
    best, gain = elbo.calibration(cost[0.1], 0.1, 192)
    assert best == pytest.approx((x - x_hat).square().mean().sqrt().item(), rel=1e-4)
    at_best = losses.gaussian_nll(x_hat, x, best).mean().item()
    assert gain == pytest.approx(cost[0.1] - at_best, rel=1e-4)
    assert all(at_best <= other for other in cost.values())
    assert elbo.calibration(at_best, best, 192)[1] == pytest.approx(0, abs=1e-2)


def test_mean_bounds_are_those_of_each_image():
    model = Linear(0.8, -0.5, "bernoulli")
    images = torch.tensor([[[[0, 255]]], [[[51, 102]]]], dtype=torch.uint8)
    rows = elbo.mean_bounds(model, images, seed=3)
    second = elbo.draw(model, images[1] / 255, 1000, seed=4).log_weights()
    assert rows[1].tolist() == pytest.approx([elbo.bound(second, k)[0] for k in elbo.BOUNDS])
