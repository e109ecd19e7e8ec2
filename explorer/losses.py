"""Losses and their parts, per image, averaged over the batch, in stated units.

Variational models minimise the negative ELBO (Kingma & Welling 2014, equation 3), in nats per image:

    -ELBO = E_q(z|x)[-log p(x|z)] + KL(q(z|x) || N(0, I))

summed over pixels and over latent numbers, so that beta means the same for every image size.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

from explorer.models import Autoencoder, Given, Posterior

Parts = dict[str, torch.Tensor]


def bernoulli_nll(logits: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Compute -log p(x|z) in nats per image `(B,)` for grey x in [0, 1] read as Bernoulli means."""
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)


def gaussian_nll(x_hat: torch.Tensor, x: torch.Tensor, sigma: float) -> torch.Tensor:
    """Compute -log N(x; x_hat, sigma^2 I) in nats per image `(B,)`, the constant included."""
    squared = ((x - x_hat) / sigma).square().flatten(1)  # (B, P)
    return 0.5 * squared.sum(1) + squared.shape[1] * (math.log(sigma) + 0.5 * math.log(2 * math.pi))


def kl_to_standard_normal(posterior: Posterior) -> torch.Tensor:
    """Compute KL(q(z|x) || N(0, I)) in nats for each latent number `(B, D)` (Kingma & Welling, app. B)."""
    mu, log_var = posterior.mu.flatten(1), posterior.log_var.flatten(1)
    return 0.5 * (mu.square() + log_var.exp() - 1.0 - log_var)


def gaussian_log_density(z: torch.Tensor, posterior: Posterior) -> torch.Tensor:
    """Compute log q(z_d|x) in nats for each latent number `(..., D)`; `z` and the posterior may be broadcast."""
    squared = (z - posterior.mu).square() / posterior.log_var.exp()
    return -0.5 * (squared + posterior.log_var + math.log(2 * math.pi))


def total_correlation(z: torch.Tensor, posterior: Posterior) -> torch.Tensor:
    """Estimate KL(q(z) || prod_d q(z_d)) in nats from draws `(B, D)` of their posteriors, each `(B, D)`.

    By minibatch-weighted sampling (Chen et al. 2018, appendix C.1), with the batch in place of the data set: q is taken
    for the mean of the batch's posteriors. Against the estimate with N images that moves it by the constant
    (D - 1) log N, which has no gradient; from a small batch it is biased, and more so the longer the code.
    """
    others = Posterior(posterior.mu.unsqueeze(0), posterior.log_var.unsqueeze(0))
    log_q = gaussian_log_density(z.unsqueeze(1), others)  # (B, B, D): of draw i under the posterior of image j
    joint, each = log_q.sum(2).logsumexp(1), log_q.logsumexp(1).sum(1)
    return (joint - each).mean() + (z.shape[1] - 1) * math.log(len(z))


def _elbo_terms(
    model: Autoencoder | Given, x: torch.Tensor, generator: torch.Generator | None, x_in: torch.Tensor | None
) -> tuple[Parts, torch.Tensor, Posterior]:
    posterior = model.encode(x if x_in is None else x_in)
    z = posterior.sample(generator)
    logits = model.decode_logits(z)
    if model.config.likelihood == "bernoulli":
        reconstruction = bernoulli_nll(logits, x)
    else:
        reconstruction = gaussian_nll(torch.sigmoid(logits), x, model.config.sigma)
    return {"reconstruction": reconstruction, "kl": kl_to_standard_normal(posterior).sum(1)}, z, posterior


def negative_elbo(
    model: Autoencoder | Given,
    x: torch.Tensor,
    generator: torch.Generator | None = None,
    x_in: torch.Tensor | None = None,
) -> Parts:
    """Estimate the parts of the negative ELBO with one draw of z, in nats per image, each `(B,)`.

    `x_in` is what the encoder sees in place of `x`: with a corrupted copy this is the denoising criterion
    (Im et al. 2017), which keeps the encoder from learning the training images by heart (Shu et al. 2018).
    Returns "reconstruction" (-log p(x|z)) and "kl"; the ELBO has no beta.
    """
    return _elbo_terms(model, x, generator, x_in)[0]


def autoencoder_loss(
    model: Autoencoder | Given, x_in: torch.Tensor, x: torch.Tensor, generator: torch.Generator,
    kl_weight: torch.Tensor | None = None,
) -> Parts:  # fmt: skip
    """Average the training loss of an autoencoder over a batch `(B, C, H, W)`.

    Plain and denoising: "loss" is the mean squared error per pixel of `x` rebuilt from `x_in`.
    Variational: "loss" is reconstruction + beta * KL in nats per image, with both parts beside it. Where beta weighs
    the total correlation alone, it is reconstruction + KL + (beta - 1) * "total_correlation" (Chen et al. 2018,
    equation 4). kl_weight: `()`, in place of the weight that the KL has in either, beta or 1.
    """
    if not model.config.variational:
        return {"loss": F.mse_loss(model(x_in), x)}
    terms, z, posterior = _elbo_terms(model, x, generator, x_in)
    parts = {name: value.mean() for name, value in terms.items()}
    loss = parts["reconstruction"] + (own_kl_weight(model) if kl_weight is None else kl_weight) * parts["kl"]
    if model.config.weighs == "total correlation":
        parts["total_correlation"] = total_correlation(z, posterior)
        loss = loss + (model.config.beta - 1) * parts["total_correlation"]
    return {"loss": loss, **parts}


def own_kl_weight(model: Autoencoder | Given) -> float:
    """Give the weight that the whole KL has in a variational model's loss."""
    return model.config.beta if model.config.weighs == "kl" else 1.0


def classifier_loss(model: nn.Module, x: torch.Tensor, labels: torch.Tensor, label_smoothing: float) -> Parts:
    """Average the cross-entropy (nats per image) and the accuracy in [0, 1] over a batch."""
    logits = model(x)
    return {
        "loss": F.cross_entropy(logits, labels, label_smoothing=label_smoothing),
        "accuracy": (logits.argmax(1) == labels).float().mean(),
    }
