import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Bernoulli, Normal, kl_divergence

from explorer import losses
from explorer.models import Posterior
from explorer.roster import ROSTER

SHAPE = (4, 1, 6, 5)


def variational(**changes):
    torch.manual_seed(0)
    return dataclasses.replace(ROSTER["conv-vae"].config, **changes).build()


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=[3, 11])
def draw(request):
    generator = seeded(request.param)
    return lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)


def test_bernoulli_nll_weighs_the_two_outcomes_by_the_grey_value(draw):
    logits, x = 3 * draw(*SHAPE), draw(*SHAPE).sigmoid()
    pixel = Bernoulli(logits=logits)
    one, zero = pixel.log_prob(torch.ones_like(x)), pixel.log_prob(torch.zeros_like(x))
    expected = -(x * one + (1 - x) * zero).flatten(1).sum(1)
    torch.testing.assert_close(losses.bernoulli_nll(logits, x), expected)


@pytest.mark.parametrize("sigma", [0.1, 1.7])
def test_gaussian_nll_is_that_of_the_normal_with_its_constant(draw, sigma):
    x_hat, x = draw(*SHAPE), draw(*SHAPE)
    expected = -Normal(x_hat, sigma).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(losses.gaussian_nll(x_hat, x, sigma), expected)


def test_kl_is_that_of_two_normals(draw):
    mu, log_var = 2 * draw(7, 3), 2 * draw(7, 3)
    expected = kl_divergence(Normal(mu, (log_var / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(losses.kl_to_standard_normal(Posterior(mu, log_var)), expected)


def test_kl_flattens_codes_that_are_maps(draw):
    posterior = Posterior(draw(2, 3, 4, 4), draw(2, 3, 4, 4))
    assert losses.kl_to_standard_normal(posterior).shape == (2, 48)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("noisy", [False, True])
def test_negative_elbo_parts_are_those_of_one_draw(x, likelihood, noisy):
    model = variational(likelihood=likelihood, sigma=0.3)
    x_in = 1 - x if noisy else None
    parts = losses.negative_elbo(model, x, seeded(5), x_in)
    posterior = model.encode(x_in if noisy else x)
    z = posterior.sample(seeded(5))
    reconstruction = {
        "bernoulli": losses.bernoulli_nll(model.decode_logits(z), x),
        "gaussian": losses.gaussian_nll(model.decode(z), x, 0.3),
    }[likelihood]
    kl = losses.kl_to_standard_normal(posterior).sum(1)
    torch.testing.assert_close(parts, {"reconstruction": reconstruction, "kl": kl})


def test_autoencoder_loss_weighs_kl_by_beta_and_the_elbo_does_not(x):
    one, four = (variational(beta=beta) for beta in (1.0, 4.0))
    parts = losses.autoencoder_loss(four, 1 - x, x, seeded(5))
    elbo = {name: value.mean() for name, value in losses.negative_elbo(one, x, seeded(5), 1 - x).items()}
    torch.testing.assert_close({k: parts[k] for k in elbo}, elbo)
    torch.testing.assert_close(parts["loss"], elbo["reconstruction"] + 4 * elbo["kl"])


def test_total_correlation_is_that_of_the_mixture_of_the_batch(draw):
    posterior = Posterior(2 * draw(6, 3), draw(6, 3) - 1)
    z = posterior.mu + (posterior.log_var / 2).exp() * draw(6, 3)
    each = Normal(posterior.mu, (posterior.log_var / 2).exp()).log_prob(z[:, None]).exp()  # (draw, image, number)
    expected = (each.prod(2).mean(1).log() - each.mean(1).log().sum(1)).mean()
    torch.testing.assert_close(losses.total_correlation(z, posterior), expected)


def test_numbers_that_do_not_depend_on_one_another_have_no_total_correlation_and_twins_do(generator):
    z = torch.randn(1000, 2, generator=generator)
    narrow = torch.full((1000, 2), -4.0)
    alone, twins = (losses.total_correlation(mu, Posterior(mu, narrow)) for mu in (z, z[:, [0, 0]]))
    assert alone < 0.3  # the estimate is biased
    assert twins > 1


def test_beta_may_weigh_the_total_correlation_alone(x):
    one, four = (variational(beta=beta, weighs="total correlation") for beta in (1.0, 4.0))
    elbo = losses.autoencoder_loss(one, x, x, seeded(5))
    parts = losses.autoencoder_loss(four, x, x, seeded(5))
    torch.testing.assert_close(elbo["loss"], elbo["reconstruction"] + elbo["kl"])
    torch.testing.assert_close(parts["loss"], elbo["loss"] + 3 * parts["total_correlation"])
    assert "total_correlation" not in losses.negative_elbo(four, x, seeded(5))
    heavier = losses.autoencoder_loss(four, x, x, seeded(5), torch.tensor(9.0))
    torch.testing.assert_close(heavier["loss"], parts["loss"] + 8 * parts["kl"])


def test_plain_loss_is_the_mean_squared_error_against_the_clean_image(x, generator):
    model = ROSTER["fc-ae"].config.build()
    x_in = torch.rand(x.shape, generator=generator)
    parts = losses.autoencoder_loss(model, x_in, x, generator)
    torch.testing.assert_close(parts, {"loss": (model(x_in) - x).square().mean()})


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_classifier_loss_spreads_the_label_and_counts_hits(x, smoothing):
    model = ROSTER["ffnn"].config.build().eval()
    labels = model(x).argmax(1)
    labels[0] = (labels[0] + 1) % 10
    parts = losses.classifier_loss(model, x, labels, smoothing)
    target = (1 - smoothing) * F.one_hot(labels, 10) + smoothing / 10
    torch.testing.assert_close(parts["loss"], -(target * model(x).log_softmax(1)).sum(1).mean())
    torch.testing.assert_close(parts["accuracy"], torch.tensor(0.8))
