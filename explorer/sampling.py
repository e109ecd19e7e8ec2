"""Draw new codes, from the prior or from what was fitted to codes; and check the one against the other.

A variational model is trained so that decoded draws from its prior, the standard normal, look like data. A
plain autoencoder promises nothing of the kind: where its codes lie is found out afterwards, by fitting a density
to them (Ghosh et al. 2020, section 4). Doing the same to a variational model shows how far its codes, the
aggregated posterior, are from its prior (Hoffman & Johnson 2016).

Codes are float tensors: M of images, n drawn ones, D numbers each.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from explorer.language import choices

ACTIVE_VARIANCE = 0.01  # below, a latent number tells images apart no more (Burda et al. 2016)
SOURCES = choices("prior", "one Gaussian", "mixture")
PRINCIPAL = 64  # directions in which components have a full covariance; the others are independent normals
RIDGE = 0.1  # most that is added to covariances, in mean variances; without it 1,000 codes fit 10 components by heart
DRAWS_PER_IMAGE = 5
LEVELS = (np.arange(200) + 0.5) / 200  # of the quantiles that are compared


class Source(Protocol):
    """Something that codes are drawn from."""

    def sample(self, n: int, temperature: float = 1.0, truncation: float = math.inf, seed: int = 0) -> torch.Tensor:
        """Draw codes `(n, D)`. temperature: factor on all standard deviations. truncation: see `truncated_normal`."""


def truncated_normal(n: int, length: int, truncation: float, generator: torch.Generator) -> torch.Tensor:
    """Draw standard normal numbers `(n, length)`; each beyond `truncation` is drawn again until it is not.

    Marchesi 2017; Brock et al. 2019, section 3.1. Numbers within the threshold are those of the untruncated draw.

    Raises:
        ValueError: the threshold is not above zero, or so low that drawing would hardly end.
    """
    if not truncation >= 0.01:
        raise ValueError(f"the truncation {truncation} is below 0.01")
    values = torch.randn(n, length, generator=generator)
    while (beyond := values.abs() > truncation).any():
        values[beyond] = torch.randn(int(beyond.sum()), generator=generator)
    return values


@dataclass(frozen=True)
class Prior:
    """The standard normal of `length` numbers."""

    length: int

    def sample(self, n: int, temperature: float = 1.0, truncation: float = math.inf, seed: int = 0) -> torch.Tensor:
        """Draw codes `(n, length)`."""
        return temperature * truncated_normal(n, self.length, truncation, torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Mixture:
    """A mixture of C normals in K principal directions of codes, and one normal in the other R.

    mean `(D,)` and directions `(K + R, D)`: of PCA. weights `(C,)`, means `(C, K)` and factors `(C, K, K)`, the
    Cholesky factors of the covariances: of the components. rest `(R,)`: standard deviation along the other directions.
    noise `(D,)`: standard deviation of what the encoder adds to each number, zero for a plain autoencoder.
    """

    mean: torch.Tensor
    directions: torch.Tensor
    weights: torch.Tensor
    means: torch.Tensor
    factors: torch.Tensor
    rest: torch.Tensor
    noise: torch.Tensor

    def sample(self, n: int, temperature: float = 1.0, truncation: float = math.inf, seed: int = 0) -> torch.Tensor:
        """Draw codes `(n, D)`; temperature and truncation act on the distance from the mean of a component."""
        generator = torch.Generator().manual_seed(seed)
        choice = torch.multinomial(self.weights, n, True, generator=generator)
        sizes = [self.means.shape[1], len(self.rest), len(self.mean)]
        values = temperature * truncated_normal(n, sum(sizes), truncation, generator)
        inner, outer, added = values.split(sizes, dim=1)
        inner = self.means[choice] + torch.einsum("nij,nj->ni", self.factors[choice], inner)
        return self.mean + torch.cat([inner, outer * self.rest], dim=1) @ self.directions + added * self.noise


def fit(
    source: str, codes: torch.Tensor, log_var: torch.Tensor | None = None, n_components: int = 10, seed: int = 0
) -> Source:
    """Make one of `SOURCES` for codes `(M, D)`, with the log-variances `(M, D)` where the model is variational.

    "prior" takes nothing but the length of the codes; "one Gaussian" is a mixture of one.

    Raises:
        ValueError: the source is none of these.
    """
    if source not in SOURCES:
        raise ValueError(f"source {source!r} is none of {', '.join(SOURCES)}")
    if source == "prior":
        return Prior(codes.shape[1])
    return fit_mixture(codes, log_var, n_components if source == "mixture" else 1, seed)


def fit_mixture(codes: torch.Tensor, log_var: torch.Tensor | None, n_components: int, seed: int = 0) -> Mixture:
    """Fit a Gaussian mixture to codes `(M, D)`, M > 1: ex-post density estimation (Ghosh et al. 2020, section 4).

    The covariance of a long code cannot be estimated from a component's share of M codes, so the mixture lives in the
    first `PRINCIPAL` directions of PCA, and the fewer codes there are for its covariances, the larger a sphere is
    added to each, up to `RIDGE`. The mean of the posteriors' variances is kept beside it.
    """
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

    values = codes.double().numpy()
    pca = PCA(min(len(values) - 1, values.shape[1])).fit(values)
    points = pca.transform(values)  # (M, K + R)
    k, n_components = min(PRINCIPAL, points.shape[1]), min(n_components, len(values))
    unit = points[:, :k].std() or 1.0
    ridge = RIDGE * min(1.0, n_components * k / len(values))
    mixture = GaussianMixture(n_components, reg_covar=ridge, max_iter=200, random_state=seed).fit(points[:, :k] / unit)
    parts = (
        pca.mean_, pca.components_, mixture.weights_, unit * mixture.means_,
        unit * np.linalg.cholesky(mixture.covariances_), points[:, k:].std(axis=0),
    )  # fmt: skip
    noise = torch.zeros(codes.shape[1]) if log_var is None else log_var.float().exp().mean(dim=0).sqrt()
    return Mixture(*(torch.from_numpy(part).float() for part in parts), noise)


def nearest(point: torch.Tensor, others: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the `k` of `others` `(M, F)` nearest to a point `(F,)`: distances, ascending, and places, both `(k,)`."""
    found = (others - point).norm(dim=1).topk(min(k, len(others)), largest=False)
    return found.values, found.indices


def active(mu: torch.Tensor) -> torch.Tensor:
    """Tell which latent numbers the data move: variance over images of E[z|x], `(N, D)`, above 0.01; bool `(D,)`."""
    return mu.var(0, correction=0) > ACTIVE_VARIANCE


@dataclass(frozen=True)
class PriorCheck:
    """How codes that a variational model gives to images lie, beside its prior; arrays of float.

    means `(M, D)`: of the posteriors q(z|x). draws `(N, D)`: from them, so from the aggregated posterior.
    Quantiles, at `LEVELS`, Q of them: normal `(Q,)` of N(0, 1), with those of draws and of means `(Q, D)`; and
    chi_square `(Q,)` with D degrees of freedom, with those of the squared norms of draws and of means `(Q,)`.
    """

    means: np.ndarray
    draws: np.ndarray
    normal: np.ndarray
    draw_quantiles: np.ndarray
    mean_quantiles: np.ndarray
    chi_square: np.ndarray
    draw_norms: np.ndarray
    mean_norms: np.ndarray

    @property
    def gaps(self) -> np.ndarray:
        """Mean distance of the draws' quantiles from those of N(0, 1), for each number `(D,)`."""
        return np.abs(self.draw_quantiles - self.normal[:, None]).mean(axis=0)

    @property
    def active(self) -> np.ndarray:
        """Which latent numbers the images move, bool `(D,)`: variance of the means above 0.01 (Burda et al. 2016)."""
        return active(torch.from_numpy(self.means)).numpy()


def check_prior(mu: torch.Tensor, log_var: torch.Tensor, seed: int = 0) -> PriorCheck:
    """Compare the posteriors of M images, means and log-variances `(M, D)`, with N(0, I).

    If the aggregated posterior is the prior, each number is standard normal and the squared norm chi-square
    distributed with D degrees of freedom. The means alone spread less: by the posteriors' own variance.
    """
    from scipy import stats

    generator = torch.Generator().manual_seed(seed)
    eps = torch.randn(DRAWS_PER_IMAGE, *mu.shape, generator=generator)
    draws = (mu.float() + (0.5 * log_var.float()).exp() * eps).flatten(0, 1).double().numpy()
    means = mu.double().numpy()

    def quantiles(values: np.ndarray) -> np.ndarray:
        return np.quantile(values, LEVELS, axis=0)

    return PriorCheck(
        means, draws,
        stats.norm.ppf(LEVELS), quantiles(draws), quantiles(means),
        stats.chi2.ppf(LEVELS, mu.shape[1]), quantiles((draws**2).sum(axis=1)), quantiles((means**2).sum(axis=1)),
    )  # fmt: skip
