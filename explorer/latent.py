"""Walks and planes in latent space: tensors in, tensors out.

Codes are flat float tensors `(D,)` or `(..., D)`; fractions t run from 0 to 1.
"""

import math
from dataclasses import dataclass

import torch

from explorer.language import later


def lerp(a: torch.Tensor, b: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Go from `a` to `b` `(D,)` on the straight line, at fractions `t` `(S,)` -> `(S, D)`; ends are exact."""
    t = t[:, None]
    return (1 - t) * a + t * b


def slerp(a: torch.Tensor, b: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Go from `a` to `b` `(D,)` on the arc between their directions -> `(S, D)` (Shoemake 1985; White 2016).

    The norm goes evenly from one to the other, so a walk between two codes of a high-dimensional
    normal keeps their length, which the straight line does not. Where the arc is undefined (a zero code,
    the same or opposite directions) the straight line is taken.
    """
    norm_a, norm_b = a.norm(), b.norm()
    if norm_a * norm_b == 0:
        return lerp(a, b, t)
    omega = torch.arccos((a @ b / (norm_a * norm_b)).clamp(-1, 1))
    if torch.sin(omega) < 1e-3:  # float32 knows the angle to 4e-4
        return lerp(a, b, t)
    t = t[:, None]
    direction = (torch.sin((1 - t) * omega) * a / norm_a + torch.sin(t * omega) * b / norm_b) / torch.sin(omega)
    return ((1 - t) * norm_a + t * norm_b) * direction


def bilinear(corners: torch.Tensor, n: int) -> torch.Tensor:
    """Fill an `n` x `n` sheet between four codes -> `(n, n, D)`, row by row from the top.

    `corners` `(4, D)` are top left, top right, bottom left, bottom right.
    """
    t = torch.linspace(0, 1, n)
    left, right = lerp(corners[0], corners[2], t), lerp(corners[1], corners[3], t)  # (n, D)
    s = t[None, :, None]
    return (1 - s) * left[:, None] + s * right[:, None]


def axis(n: int, reach: float, spacing: str) -> torch.Tensor:
    """Place `n` coordinates from `-reach` to `reach` along one latent number, ascending.

    "linear" spaces them evenly; "quantiles" so that equal shares of the standard normal prior lie
    between neighbours (Kingma & Welling 2014, figure 4), cut off at `-reach` and `reach`.
    """
    if spacing == "linear":
        return torch.linspace(-reach, reach, n)
    if spacing != "quantiles":
        raise ValueError(f"spacing {spacing!r} is neither 'linear' nor 'quantiles'")
    normal = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), 1.0)
    edge = normal.cdf(torch.tensor(reach, dtype=torch.float64))
    return normal.icdf(
        torch.linspace(1, 0, n, dtype=torch.float64) * (1 - edge) + torch.linspace(0, 1, n, dtype=torch.float64) * edge
    ).float()


def plane(axis_x: torch.Tensor, axis_y: torch.Tensor) -> torch.Tensor:
    """List the points of a 2-D grid `(len(y) * len(x), 2)` in reading order: the top row has the largest y."""
    y, x = torch.meshgrid(axis_y.flip(0), axis_x, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1)


@dataclass(frozen=True)
class Plane:
    """A plane in latent space: the code at coordinates (u, v) is `origin + u basis[0] + v basis[1]`.

    origin: `(D,)`. basis: `(2, D)`; where the second direction is zero, the plane is a line.
    """

    origin: torch.Tensor
    basis: torch.Tensor

    @classmethod
    def native(cls) -> "Plane":
        """Take a code of two numbers as the plane it is."""
        return cls(torch.zeros(2), torch.eye(2))

    @classmethod
    def through(cls, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> "Plane":
        """Lay the plane through three codes `(D,)`, which get the coordinates (0, 0), (1, 0) and (0, 1).

        Raises:
            ValueError: the codes lie on one line, so they span no plane.
        """
        basis = torch.stack([b - a, c - a])
        if torch.linalg.matrix_rank(basis, rtol=1e-5) < 2:
            raise ValueError(later("the three codes lie on one line; choose three different images"))
        return cls(a, basis)

    @classmethod
    def principal(cls, codes: torch.Tensor) -> "Plane":
        """Lay the plane through the mean of codes `(M, D)` along the two directions in which they vary most."""
        return cls(codes.mean(dim=0), principal_directions(codes, 2))

    @classmethod
    def line(cls, origin: torch.Tensor, direction: torch.Tensor) -> "Plane":
        """Take the line through a code `(D,)` along a direction `(D,)`."""
        return cls(origin, torch.stack([direction, torch.zeros_like(direction)]))

    def codes(self, points: torch.Tensor) -> torch.Tensor:
        """Map plane coordinates `(P, 2)` to codes `(P, D)`."""
        return self.origin + points @ self.basis

    def coordinates(self, codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Drop codes `(M, D)` on the plane: coordinates `(M, 2)` and distances from it `(M,)`."""
        offset = codes - self.origin
        points = torch.linalg.lstsq(self.basis.T, offset.T).solution.T  # (M, 2)
        return points, (offset - points @ self.basis).norm(dim=1)


def principal_directions(codes: torch.Tensor, n: int) -> torch.Tensor:
    """Find the `n` directions `(n, D)` in which codes `(M, D)` vary most, each one standard deviation long."""
    _, singular, directions = torch.linalg.svd(codes - codes.mean(dim=0), full_matrices=False)
    return directions[:n] * (singular[:n, None] / math.sqrt(len(codes) - 1))


def usual_distance(codes: torch.Tensor) -> float:
    """Compute the median distance of a code `(M, D)` to the nearest other one."""
    distances = torch.cdist(codes, codes)
    distances.fill_diagonal_(math.inf)
    return distances.min(dim=1).values.median().item()
