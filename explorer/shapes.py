"""White shapes on black, drawn here: images whose every factor is known.

After dSprites (Matthey et al. 2017), of which they are no copy: a shape, its scale, its rotation, and where it lies,
all independent and evenly spread; here edges are grey where they cross a pixel, and a full turn is not drawn twice. Of
all 737,280 combinations those of `SIZES` are drawn, the same every time.
"""

import functools

import numpy as np
import torch

from explorer.language import choices, later

FACTORS = {
    later("shape"): 3,
    later("scale"): 6,
    later("rotation"): 40,
    "x": 32,
    "y": 32,
}  # how many values each has; the shapes are kinds
SHAPES = choices("Square", "Ellipse", "Heart")
SIZES = {"test": 10_000, "validation": 2_000, "train": 30_000}
SIDE = 64
REACH = 16  # pixels from the middle of a shape that it may cover
RADII = (10.9, 14.0, 10.8)  # pixels at the largest scale: half a side of the square, half an axis, the heart's unit
FINE = 4  # points on a side of a pixel
SEED = 0


def draw(split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw one split: uint8 images `(N, 1, 64, 64)`, and the values of their factors, int64 `(N, 5)`, each from 0."""
    order = torch.randperm(int(np.prod(list(FACTORS.values()))), generator=torch.Generator().manual_seed(SEED)).numpy()
    ends = np.cumsum([0, *SIZES.values()])
    start = ends[list(SIZES).index(split)]
    factors = np.stack(np.unravel_index(order[start : start + SIZES[split]], tuple(FACTORS.values())), axis=1)
    return torch.from_numpy(render(factors)), torch.from_numpy(factors)


def render(factors: np.ndarray) -> np.ndarray:
    """Draw the images of factors `(N, 5)`: uint8 `(N, 1, 64, 64)`; x counts from the left, y from the top."""
    images = np.zeros((len(factors), 1, SIDE, SIDE), np.uint8)
    span = 2 * REACH + 1
    shapes = patches()
    for image, (shape, scale, rotation, x, y) in zip(images, factors, strict=True):
        image[0, y : y + span, x : x + span] = shapes[shape, scale, rotation]
    return images


@functools.lru_cache(maxsize=1)
def patches() -> np.ndarray:
    """Draw each shape of each scale and rotation once, in the middle of `2 REACH + 1` pixels: uint8 `(3, 6, 40, S, S)`.

    A pixel is as bright as the share of `FINE` x `FINE` points in it that lie in the shape.
    """
    n = (2 * REACH + 1) * FINE
    steps = (np.arange(n) + 0.5) / FINE - n / (2 * FINE)  # pixels from the middle; never on an axis of a shape
    down, right = np.meshgrid(steps, steps, indexing="ij")
    sizes = np.linspace(0.5, 1, FACTORS["scale"])
    made = np.empty((*list(FACTORS.values())[:3], n // FINE, n // FINE), np.uint8)
    for k in range(FACTORS["rotation"]):
        angle = 2 * np.pi * k / FACTORS["rotation"]
        u, v = right * np.cos(angle) + down * np.sin(angle), down * np.cos(angle) - right * np.sin(angle)
        for i, size in enumerate(sizes):
            for j, radius in enumerate(RADII):
                inside = _is_inside(j, u / (radius * size), v / (radius * size))
                share = inside.reshape(n // FINE, FINE, n // FINE, FINE).mean((1, 3))
                made[j, i, k] = np.round(255 * share)
    return made


def _is_inside(shape: int, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Say which points lie in a shape of unit size; `v` points down."""
    if shape == 0:
        return np.maximum(abs(u), abs(v)) <= 1
    if shape == 1:
        return u**2 + (2 * v) ** 2 <= 1
    return (u**2 + v**2 - 1) ** 3 + u**2 * v**3 <= 0  # a sextic, its tip below
