"""A second stage: a small continuous normalising flow from the standard normal to the codes of a finished model.

What lies between images in the latent space is decoded to nonsense where no code of an image is near. A first model
puts codes somewhere; a second one, fitted to these codes alone, learns where (Dai & Wipf 2019). Here it is a continuous
normalising flow (Chen et al. 2018), fitted by flow matching (Lipman et al. 2023): a network v(x, t) is asked for the
velocity x1 - x0 at the place (1 - t) x0 + t x1 between a normal draw x0 and a code x1, and a draw then follows v from
t = 0 to t = 1. Codes are float tensors: M of images, n drawn ones, D numbers each.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn as nn
import torch.nn.functional as F

from explorer.sampling import truncated_normal

WIDTH = 512
FREQUENCIES = 16  # of the time, as sines and cosines
EPOCHS, BATCH, RATE = 100, 256, 2e-3
AVERAGED = 0.002  # least share of each step's weights in their moving average, which is larger at the beginning
STEPS = 20  # of Heun's method for a draw
LEAST = 1e-3  # of the largest standard deviation: directions with less are not stretched further


class Velocity(nn.Module):
    """Where a point `(B, D)` moves at times `(B, 1)` in [0, 1]: `(B, D)`."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(length + 2 * FREQUENCIES, width)
        self.second, self.third = nn.Linear(width, width), nn.Linear(width, width)
        self.last = nn.Linear(width, length)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Compute the velocity."""
        angles = t * math.pi / FREQUENCIES * 2.0 ** torch.arange(FREQUENCIES, device=x.device)
        h = F.silu(self.first(torch.cat([x, angles.sin(), angles.cos()], dim=1)))
        h = h + F.silu(self.second(h))
        return self.last(h + F.silu(self.third(h)))


@dataclass(frozen=True)
class Flow:
    """A fitted flow. A code is mean `(D,)` + x @ axes `(D, D)`, with x where the velocity carries a normal draw."""

    mean: torch.Tensor
    axes: torch.Tensor
    velocity: Velocity

    @torch.inference_mode()
    def sample(self, n: int, temperature: float = 1.0, truncation: float = math.inf, seed: int = 0) -> torch.Tensor:
        """Draw codes `(n, D)`; temperature and truncation act on the normal draw that is carried."""
        generator = torch.Generator().manual_seed(seed)
        x = temperature * truncated_normal(n, len(self.mean), truncation, generator)
        for i in range(STEPS):
            start, end = (torch.full((n, 1), (i + k) / STEPS) for k in (0, 1))
            before = self.velocity(x, start)
            after = self.velocity(x + before / STEPS, end)
            x = x + (before + after) / (2 * STEPS)
        return self.mean + x @ self.axes

    def tensors(self) -> dict[str, torch.Tensor]:
        """Give all of it as tensors in half precision, to be stored."""
        parts = {"mean": self.mean, "axes": self.axes} | self.velocity.state_dict()
        return {name: tensor.half() for name, tensor in parts.items()}

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor]) -> Self:
        """Make it again of its tensors.

        Raises:
            KeyError, RuntimeError: a tensor is missing or has another shape.
        """
        weights = {name: tensor.float() for name, tensor in tensors.items()}
        mean, axes = weights.pop("mean"), weights.pop("axes")
        velocity = Velocity(len(mean), len(weights["second.bias"]))
        velocity.load_state_dict(weights)
        return cls(mean, axes, velocity.eval())


def fit(codes: torch.Tensor, log_var: torch.Tensor | None = None, epochs: int = EPOCHS, seed: int = 0) -> Flow:
    """Fit a flow to codes `(M, D)`, M > 1, with the log-variances `(M, D)` of their posteriors where there are any.

    Of a posterior another draw is taken each time. It runs on the device of the codes and ends on the CPU, with the
    moving average of the weights.

    Raises:
        ValueError: there are not two different codes.
    """
    mean = codes.mean(0)
    # all D directions, without the M x M matrix that full ones of many codes bring along
    _, spread, directions = torch.linalg.svd((codes - mean).double(), full_matrices=len(codes) < codes.shape[1])
    spread = F.pad(spread, (0, codes.shape[1] - len(spread))) / math.sqrt(max(1, len(codes) - 1))
    if not spread.max() > 0:
        raise ValueError("a flow needs codes that differ")
    spread = spread.clamp(min=LEAST * spread.max())
    axes = (spread[:, None] * directions).float()
    inverse = (directions.T / spread).float()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        velocity = Velocity(codes.shape[1], WIDTH).to(codes.device)
    generator = torch.Generator(codes.device).manual_seed(seed)
    per_epoch = max(1, len(codes) // BATCH)
    optimizer = torch.optim.AdamW(velocity.parameters(), RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * per_epoch)
    average = torch.optim.swa_utils.AveragedModel(
        velocity, avg_fn=lambda mean, new, n: torch.lerp(mean, new, max(AVERAGED, 10 / (10 + int(n))))
    )

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, device=codes.device)

    for _ in range(epochs):
        order = torch.randperm(len(codes), generator=generator, device=codes.device)
        for index in order[: per_epoch * BATCH].split(BATCH):
            z = codes[index]
            if log_var is not None:
                z = z + (0.5 * log_var[index]).exp() * normal(*z.shape)
            end, start = (z - mean) @ inverse, normal(*z.shape)
            t = torch.rand(len(z), 1, generator=generator, device=codes.device)
            loss = F.mse_loss(velocity(torch.lerp(start, end, t), t), end - start)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            average.update_parameters(velocity)
    return Flow(mean.cpu(), axes.cpu(), average.module.cpu().eval())
