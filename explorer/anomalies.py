"""Is this image one of ours? Sets of strangers, and scores of images that are high for them.

    error     mean squared error of the reconstruction
    elbo      negative ELBO in nats, a mean over `DRAWS` draws; of variational models
    distance  from the code to the nearest of training images, in standard deviations of each number

A likelihood may be higher for simpler images than for those that a model was fitted to, also where only their contrast
is lower (Nalisnick et al. 2019), so that the second fails where one would trust it most: the sets `faint` and `plain`
are there to show it.
"""

from pathlib import Path

import torch
import torch.nn.functional as F

from explorer import losses, metrics
from explorer.datasets import DATASETS, DataError
from explorer.images import to_float
from explorer.language import choices, later
from explorer.models import Autoencoder, Model

SCORES = {
    "error": later("squared error"),
    "elbo": later("−ELBO, nats"),
    "distance": later("distance to the nearest code"),
}
NUMBER = 300  # images of each set
DRAWS = 4
REFERENCE = 10_000  # training images that a code is compared with
ELSEWHERE = {"digits": later("digits"), "mnist": "MNIST", "kmnist": "Kuzushiji-MNIST", "fashion-mnist": "Fashion-MNIST"}
MADE = choices("faint", "noise", "plain", "upside down")
FAINT = 5  # times as dark
USUAL = later("test images")
LEFT_OUT = "left out: "


def fitted_to(images: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    """Bring uint8 images `(N, C, H, W)` to the shape `(C, H, W)` of others: resized, and without colours."""
    x = F.interpolate(images.float().mean(1, keepdim=True), shape[1:], mode="bilinear", antialias=True)
    return x.round().clamp(0, 255).to(torch.uint8).expand(-1, shape[0], -1, -1).contiguous()


def made(usual: torch.Tensor, seed: int = 0) -> dict[str, torch.Tensor]:
    """Make the sets `MADE`, each with the size of the usual images, uint8 `(N, C, H, W)`.

    The usual images as dark as `FAINT` says and upside down, each pixel by chance, and one grey all over.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 256, usual.shape, generator=generator, dtype=torch.uint8)
    greys = torch.linspace(0, 255, len(usual)).round().to(torch.uint8)[:, None, None, None]
    plain = greys.expand_as(usual).contiguous()
    return dict(zip(MADE, (usual // FAINT, noise, plain, usual.flip(2)), strict=True))


def found(name: str, shape: tuple[int, int, int], data_dir: Path | str | None = None) -> dict[str, torch.Tensor]:
    """Read the sets of `ELSEWHERE` that lie on this disk, but for the data set `name` itself, in the shape of ours."""
    sets = {}
    for other, title in ELSEWHERE.items():
        if other == name:
            continue
        try:
            images = DATASETS[other].load("test", data_dir).images
        except DataError:
            continue
        sets[title] = fitted_to(images[:NUMBER], shape)
    return sets


def reference(model: Model, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the codes of training images, standardised `(R, D)`, and by what they were divided `(D,)`."""
    step = max(1, len(images) // REFERENCE)
    codes = metrics.embed(model, images[::step][:REFERENCE])
    scale = codes.std(0).clamp(min=1e-6)
    return codes / scale, scale


@torch.inference_mode()
def scores(
    model: Model, images: torch.Tensor, known: tuple[torch.Tensor, torch.Tensor], seed: int = 0
) -> dict[str, torch.Tensor]:
    """Score uint8 images `(N, C, H, W)`; `known` comes from `reference`. Each score is float32 `(N,)`."""
    device = next(model.parameters()).device
    x = to_float(images.to(device))
    codes = metrics.embed(model, images)
    nearest = torch.cat([torch.cdist(part / known[1], known[0]).min(1).values for part in codes.split(100)])
    result = {"distance": nearest}
    if not isinstance(model, Autoencoder):
        return result
    result["error"] = torch.cat([metrics.mse_per_image(part, model(part)) for part in x.split(100)])
    if model.config.variational:
        generator = torch.Generator(device).manual_seed(seed)
        draws = [
            torch.cat([sum(losses.negative_elbo(model, part, generator).values()) for part in x.split(100)])
            for _ in range(DRAWS)
        ]
        result["elbo"] = torch.stack(draws).mean(0)
    return {name: values.cpu().float() for name, values in result.items()}
