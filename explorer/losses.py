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
    posterior = model.encode(x if x_in is None else x_in)
    logits = model.decode_logits(posterior.sample(generator))
    if model.config.likelihood == "bernoulli":
        reconstruction = bernoulli_nll(logits, x)
    else:
        reconstruction = gaussian_nll(torch.sigmoid(logits), x, model.config.sigma)
    return {"reconstruction": reconstruction, "kl": kl_to_standard_normal(posterior).sum(1)}


def autoencoder_loss(
    model: Autoencoder | Given, x_in: torch.Tensor, x: torch.Tensor, generator: torch.Generator
) -> Parts:
    """Average the training loss of an autoencoder over a batch `(B, C, H, W)`.

    Plain and denoising: "loss" is the mean squared error per pixel of `x` rebuilt from `x_in`.
    Variational: "loss" is reconstruction + beta * KL in nats per image, with both parts beside it.
    """
    if not model.config.variational:
        return {"loss": F.mse_loss(model(x_in), x)}
    parts = {name: value.mean() for name, value in negative_elbo(model, x, generator, x_in).items()}
    return {"loss": parts["reconstruction"] + model.config.beta * parts["kl"], **parts}


def classifier_loss(model: nn.Module, x: torch.Tensor, labels: torch.Tensor, label_smoothing: float) -> Parts:
    """Average the cross-entropy (nats per image) and the accuracy in [0, 1] over a batch."""
    logits = model(x)
    return {
        "loss": F.cross_entropy(logits, labels, label_smoothing=label_smoothing),
        "accuracy": (logits.argmax(1) == labels).float().mean(),
    }
