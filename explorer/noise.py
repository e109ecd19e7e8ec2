"""Corruptions: Gaussian, salt-and-pepper, speckle, and a masking block.

Each takes images `(N, C, H, W)` with pixels in [0, 1], one level per image `(N,)`, and a
`torch.Generator` on the images' device, and returns images clipped to [0, 1].
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from explorer.language import later


def gaussian(x: torch.Tensor, level: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Add independent normal noise; `level` is its standard deviation in pixel units."""
    noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    return (x + noise * _per_image(level)).clamp_(0.0, 1.0)


def salt_and_pepper(x: torch.Tensor, level: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Set a fraction `level` of the pixels (all channels together) to 0 or 1, half each."""
    draw = torch.rand((x.shape[0], 1, *x.shape[2:]), generator=generator, device=x.device)  # (N, 1, H, W)
    half = _per_image(level) / 2
    return torch.where(draw < half, 0.0, torch.where(draw > 1 - half, 1.0, x))


def speckle(x: torch.Tensor, level: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Multiply each pixel by 1 + normal noise of standard deviation `level`."""
    noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    return (x * (1 + noise * _per_image(level))).clamp_(0.0, 1.0)


def masking_block(x: torch.Tensor, level: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Black out one square that covers a fraction `level` of the image, at a random place."""
    height, width = x.shape[2:]
    side = (level.clamp(0, 1) * height * width).sqrt().round()  # (N,) pixels
    corner = torch.rand((x.shape[0], 2), generator=generator, device=x.device)
    top = (corner[:, 0] * (height - side).clamp(min=0)).round()
    left = (corner[:, 1] * (width - side).clamp(min=0)).round()
    rows = torch.arange(height, device=x.device)
    columns = torch.arange(width, device=x.device)
    in_rows = (rows >= top[:, None]) & (rows < (top + side)[:, None])  # (N, H)
    in_columns = (columns >= left[:, None]) & (columns < (left + side)[:, None])  # (N, W)
    hidden = in_rows[:, None, :, None] & in_columns[:, None, None, :]  # (N, 1, H, W)
    return x.masked_fill(hidden, 0.0)


def _per_image(level: torch.Tensor) -> torch.Tensor:
    return level[:, None, None, None]


@dataclass(frozen=True)
class Noise:
    """One kind of corruption: its function, what its level means, and the highest level offered."""

    title: str
    corrupt: Callable[[torch.Tensor, torch.Tensor, torch.Generator], torch.Tensor]
    unit: str
    maximum: float


NOISES: dict[str, Noise] = {
    "gaussian": Noise(later("Gaussian"), gaussian, later("standard deviation σ"), 1.0),
    "salt-and-pepper": Noise(later("Salt and pepper"), salt_and_pepper, later("fraction of pixels"), 0.8),
    "speckle": Noise(later("Speckle"), speckle, later("relative standard deviation"), 1.5),
    "masking-block": Noise(later("Masking block"), masking_block, later("fraction of the area"), 0.6),
}


def add_noise(x: torch.Tensor, kind: str, level: float | torch.Tensor, seed: int) -> torch.Tensor:
    """Corrupt images `(N, C, H, W)` in [0, 1] with `kind` from `NOISES`, reproducibly.

    `level` is one number for all images or a tensor `(N,)`; level 0 returns the images unchanged.
    """
    generator = torch.Generator(x.device).manual_seed(seed)
    levels = torch.as_tensor(level, dtype=x.dtype, device=x.device).expand(x.shape[0])
    return NOISES[kind].corrupt(x, levels, generator)
