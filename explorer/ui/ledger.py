"""What the page ELBO is made of: one image's posterior, the plane it moves on, and the sum behind its ELBO."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st
import torch

from explorer import elbo, latent, losses
from explorer.checkpoints import BundleError
from explorer.elbo import BOUNDS, Draws
from explorer.language import choices, listed, number, passing, say
from explorer.latent import Plane
from explorer.models import Posterior
from explorer.ui import address, live, loading, planes
from explorer.ui.frame import View
from explorer.ui.loading import BY_CONTENT
from explorer.ui.opening import Opened
from explorer.ui.planes import Laid

GROUP = "ledger"
EPS = {
    False: 8,
    True: 4,
}  # draws that the browser's sum is a mean over; few of photographs, which take longer to decode
SIGMAS = (0.02, 0.5)  # of the dial
EQUATIONS = {
    "reconstruction": "E_q[−log p(x|z)]   (3)",
    "kl": "KL(q(z|x) ‖ p(z))   (3)",
    "total": "−L(x)   (3)",
    "bound": "−L₁₀₀₀(x)   Burda (8)",
    "gap": "KL(q(z|x) ‖ p(z|x))   (1)",
}


@dataclass(frozen=True)
class Priced:
    """One image `(C, H, W)` of a model, its q(z|x), and the draws of it; sigma: of the decoder, None for Bernoulli."""

    x: np.ndarray
    posterior: Posterior
    draws: Draws
    sigma: float | None

    @property
    def bounds(self) -> list[tuple[float, float]]:
        """-L_K and its standard error in nats, for each K of `BOUNDS`."""
        weights = self.draws.log_weights(self.sigma)
        return [(-value, error) for value, error in (elbo.bound(weights, k) for k in BOUNDS)]

    @property
    def parts(self) -> tuple[float, float]:
        """E_q[-log p(x|z)] as a mean over the draws, and KL, in nats."""
        kl = losses.kl_to_standard_normal(self.posterior).sum().item()
        nats = self.draws.error
        if self.sigma is not None:
            nats = elbo.gaussian_nats(nats, self.draws.values, self.sigma)
        return nats.mean().item(), kl


@st.cache_resource(max_entries=32, show_spinner=passing("Sampling the likelihood"), hash_funcs=BY_CONTENT)
def drawn(bundle: Opened, x: np.ndarray) -> tuple[Posterior, Draws]:
    """Encode one image `(C, H, W)`, and draw as many codes as the last bound has."""
    model, image = loading.model(bundle), torch.from_numpy(x)
    with torch.inference_mode():
        posterior = model.encode(image[None])
    flat = Posterior(posterior.mu.flatten(1), posterior.log_var.flatten(1))
    return flat, elbo.draw(model, image, BOUNDS[-1])


def price(bundle: Opened, x: np.ndarray, sigma: float | None) -> Priced:
    """Price an image, with another sigma of the decoder where one is named."""
    posterior, draws = drawn(bundle, x)
    return Priced(x, posterior, draws, sigma)


def laid(view: View, model: str, posterior: Posterior) -> tuple[Laid, list[float]]:
    """Lay a plane for z, a code of two numbers as it is, else along the principal directions; and q's ellipse on it."""
    deviation = torch.exp(0.5 * posterior.log_var[0])
    if view.card(model).is_native:
        plane = planes.native(12, 3.5)
        return plane, [*posterior.mu[0].tolist(), *(2 * deviation).tolist()]
    codes = torch.from_numpy(loading.codes(view.bundle(model))["codes"])
    basis = latent.principal_directions(codes, 2)
    n = planes.cells(view, 12) | 1
    plane = Laid(Plane(posterior.mu[0], basis), torch.linspace(-2.5, 2.5, n), choices("direction 1", "direction 2"))
    across = ((basis / basis.square().sum(1, keepdim=True)).square() @ deviation.square()).sqrt()
    return plane, [0.0, 0.0, *(2 * across).tolist()]


def read_sigma(key: str, default: float | None) -> float | None:
    """Read sigma from the dial with a key, else from the address; keep it there where it is not the model's own."""
    if default is None:
        return None
    moved = (st.session_state.get(key) or {}).get("sigma")
    texts = address.texts("sigma") if moved is None else [f"{moved:g}"]
    values = [value for text in texts if (value := address.number(text, SIGMAS[1])) is not None and value >= SIGMAS[0]]
    sigma = values[0] if values else default
    address.keep("sigma", [] if sigma == default else [f"{sigma:g}"])
    return sigma


def ledger_data(view: View, model: str, priced: Priced, code: torch.Tensor, best: float | None) -> dict[str, Any]:
    """Describe the sum for ledger.js, with z at a code `(D,)`; best: the calibrated sigma of all test images."""
    bundle, posterior = view.bundle(model), priced.posterior
    nats, error = priced.bounds[-1]
    generator = torch.Generator().manual_seed(1)
    n = EPS[view.dataset.image_shape[0] == 3]
    half = torch.randn(n // 2, len(code), generator=generator)  # and their opposites: the mean stays where z is
    return {
        "model": bundle.identity,
        "weights": live.weights(bundle),
        "group": GROUP,
        "image": view.dataset.image_shape,
        "pixels": priced.x.ravel().round(5).tolist(),
        "code": code.tolist(),
        "deviation": torch.exp(0.5 * posterior.log_var[0]).tolist(),
        "draws": torch.cat([half, -half]).numpy().round(4).tolist(),
        "order": losses.kl_to_standard_normal(posterior)[0].argsort(descending=True).tolist(),
        "sigma": priced.sigma,
        "marks": [] if best is None else [{"name": say("of the test set"), "sigma": best}],
        "bound": {"nats": nats, "error": error if np.isfinite(error) else None, "sigma": priced.sigma},
        "equations": EQUATIONS,
    }


def over_test_images(bundle: Opened) -> str:
    """Say how far the bounds rise on average over test images, or how to find it out."""
    try:
        bounds = -bundle.uses()["bounds"]
    except (BundleError, KeyError) as error:
        told = say("Over test images it was not measured.")
        return f"{told} {say(str(error))}" if isinstance(error, BundleError) else ""
    gap = bounds[:, :1] - bounds
    means = zip(BOUNDS, bounds.mean(0).tolist(), strict=True)
    told = listed(say("{value:,.1f} by K = {k:,}", value=value, k=k) for k, value in means)
    error = gap[:, -1].std().item() / len(bounds) ** 0.5
    return say(
        "Over {n} test images: {told} nats. The ELBO is {gap:,.1f} ± {error:.1f} nats above the last, and at least "
        "that far from the likelihood.",
        n=len(bounds), told=told, gap=gap[:, -1].mean(), error=error,
    )  # fmt: skip


def equations(priced: Priced) -> str:
    """Write the numbered equations of the papers with the numbers of this image under their terms, in LaTeX."""
    reconstruction, kl = priced.parts
    total, (best, _) = reconstruction + kl, priced.bounds[-1]
    parts = {"best": best, "total": total, "gap": total - best, "kl": kl, "reconstruction": reconstruction}
    said = {name: number(nats, ",.1f").replace(",", "{,}") for name, nats in parts.items()}  # no blank after a comma
    appendix = say("app. B")
    return rf"""
\begin{{array}}{{ll}}
(1) & \underbrace{{-\log p(x)}}_{{\approx\,{said["best"]}}} = \underbrace{{-\mathcal L(x)}}_{{{said["total"]}}}
  - \underbrace{{D_{{KL}}(q(z|x)\,\|\,p(z|x))}}_{{\approx\,{said["gap"]}}} \\[2.4em]
(3) & \underbrace{{-\mathcal L(x)}}_{{{said["total"]}}} = \underbrace{{D_{{KL}}(q(z|x)\,\|\,p(z))}}_{{{said["kl"]}}}
  + \underbrace{{\mathbb E_q[-\log p(x|z)]}}_{{{said["reconstruction"]}}} \\[2.4em]
\text{{{appendix}}} & D_{{KL}} = \tfrac12\sum_j (\mu_j^2 + \sigma_j^2 - 1 - \log\sigma_j^2) = {said["kl"]} \\[1.4em]
\text{{Burda 8}} & -\mathcal L_K = -\mathbb E\Big[\log\tfrac1K\sum_k \tfrac{{p(x|z_k)\,p(z_k)}}{{q(z_k|x)}}\Big]
  \approx {said["best"]}
\end{{array}}"""
