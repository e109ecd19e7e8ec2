"""The evidence lower bound of one image opened up, the gap to its likelihood, and the best sigma of a decoder.

    log p(x) >= L_K = E[log 1/K sum_k w_k],  w_k = p(x|z_k) p(z_k) / q(z_k|x),  z_k ~ q(z|x)

L_1 is the ELBO; L_K rises with K towards log p(x) (Burda et al. 2016, equation 8 and theorem 1). All in nats per image.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from explorer import losses
from explorer.images import to_float
from explorer.metrics import bits_per_dim
from explorer.models import Autoencoder, ModelConfig

BOUNDS = (1, 10, 100, 1000)  # draws in one bound
BATCH = 100  # draws that are decoded at a time: a thousand faces would take 200 MB a layer


@dataclass(frozen=True)
class Draws:
    """Draws z of q(z|x) for one image, and what each is worth.

    error: of a Bernoulli decoder -log p(x|z) in nats, of a Gaussian one the squared error summed over pixels `(S,)`.
    log_ratio: log p(z) - log q(z|x) in nats `(S,)`. values: numbers in an image. sigma: that of a Gaussian decoder,
    else None.
    """

    error: torch.Tensor
    log_ratio: torch.Tensor
    values: int
    sigma: float | None = None

    def log_weights(self, sigma: float | None = None) -> torch.Tensor:
        """Compute log w in nats `(S,)`; for a Gaussian decoder of another `sigma` where one is named."""
        if self.sigma is None:
            return self.log_ratio - self.error
        return self.log_ratio - gaussian_nats(self.error, self.values, sigma or self.sigma)


def gaussian_nats(squared_error: torch.Tensor, values: int, sigma: float) -> torch.Tensor:
    """Turn squared errors, each summed over `values` numbers of an image, into -log N(x; x_hat, sigma^2 I), nats."""
    return squared_error / (2 * sigma**2) + values * (math.log(sigma) + 0.5 * math.log(2 * math.pi))


@torch.inference_mode()
def draw(model: Autoencoder, x: torch.Tensor, n: int, seed: int = 0) -> Draws:
    """Draw `n` codes of q(z|x) for one image `(C, H, W)` of a variational model, and weigh them."""
    posterior = model.encode(x[None])
    mu, log_var = posterior.mu.flatten(1), posterior.log_var.flatten(1)  # (1, D)
    eps = torch.randn(n, mu.shape[1], generator=torch.Generator().manual_seed(seed)).to(mu)
    z = mu + torch.exp(0.5 * log_var) * eps
    log_ratio = 0.5 * (eps.square() + log_var - z.square()).sum(1)  # the constants of both normals cancel
    gaussian = model.config.likelihood == "gaussian"
    error = []
    for part in z.split(BATCH):
        logits = model.decode_logits(part)
        target = x.expand_as(logits)
        difference = torch.sigmoid(logits) - target if gaussian else None
        error.append(losses.bernoulli_nll(logits, target) if difference is None else
                     difference.square().flatten(1).sum(1))  # fmt: skip
    whole = torch.cat(error).double().cpu()
    return Draws(whole, log_ratio.double().cpu(), x.numel(), model.config.sigma if gaussian else None)


def bound(log_weights: torch.Tensor, k: int) -> tuple[float, float]:
    """Estimate L_k in nats from log weights `(S,)`, S >= k, and its standard error.

    S draws make S // k independent bounds, whose mean and its error are given. Where that is one, the error is that of
    the logarithm of a mean (delta method): the weights' spread over their mean and the root of k. It is too small where
    few draws carry all the weight; see `effective`.
    """
    groups = log_weights[: len(log_weights) // k * k].view(-1, k)
    values = torch.logsumexp(groups, dim=1) - math.log(k)
    if len(values) > 1:
        return values.mean().item(), (values.std() / math.sqrt(len(values))).item()
    weights = torch.exp(groups[0] - groups[0].max())
    spread = weights.std() / weights.mean() if k > 1 else torch.tensor(math.inf)
    return values.item(), (spread / math.sqrt(k)).item()


def effective(log_weights: torch.Tensor) -> float:
    """Count the draws that carry the weight, 1 to S: (sum w)^2 / sum w^2 (Kong 1992)."""
    return math.exp(2 * torch.logsumexp(log_weights, 0) - torch.logsumexp(2 * log_weights, 0))


def calibrated_sigma(squared_error: float, values: int) -> float:
    """Compute the sigma of the highest likelihood, the root of the mean squared error of a pixel's number.

    squared_error: summed over `values` numbers (Rybkin et al. 2021, section 3.2).
    """
    return math.sqrt(squared_error / values)


def calibration(reconstruction: float, sigma: float, values: int) -> tuple[float, float]:
    """Find the best sigma from what another costs, and the nats an image that it gains; nothing else changes.

    reconstruction: mean of -log p(x|z) in nats under `sigma`. The gain is that of one sigma for all images.
    """
    squared_error = 2 * sigma**2 * (reconstruction - gaussian_nats(torch.tensor(0.0), values, sigma).item())
    best = calibrated_sigma(squared_error, values)
    return best, reconstruction - gaussian_nats(torch.tensor(squared_error), values, best).item()


def calibrated(config: ModelConfig, figures: Mapping[str, Any]) -> dict[str, float]:
    """Name what figures of a Gaussian decoder become with the best sigma and the same weights; empty for another one.

    "sigma_calibrated", and with it "negative_elbo_calibrated" in nats and "bits_per_dim_calibrated".
    """
    if "bits_per_dim" not in figures:
        return {}
    values = math.prod(config.image_shape)
    best, gain = calibration(figures["reconstruction"], config.sigma, values)
    cost = figures["negative_elbo"] - gain
    return {
        "sigma_calibrated": best,
        "negative_elbo_calibrated": cost,
        "bits_per_dim_calibrated": bits_per_dim(cost, values),
    }


def mean_bounds(model: Autoencoder, images: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Estimate L_K of uint8 images `(N, C, H, W)` for K in `BOUNDS`, from as many draws as the last has: `(N, 4)`."""
    device = next(model.parameters()).device
    rows = []
    for i, image in enumerate(images):
        weights = draw(model, to_float(image.to(device)), BOUNDS[-1], seed + i).log_weights()
        rows.append([bound(weights, k)[0] for k in BOUNDS])
    return torch.tensor(rows)
