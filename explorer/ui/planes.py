"""The planes that the page Latent plane lays through a model's codes, for the page and for what is taken home of it."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from explorer import latent
from explorer.language import choices, later
from explorer.latent import Plane
from explorer.ui import loading
from explorer.ui.frame import View

TABS = choices("The 2-D code", "Any model", "Along one direction", "The hole test", "Side by side")
AT_ONCE = 3  # planes that have room beside each other
THROUGH = choices("principal directions", "three images")
DIRECTIONS = choices("principal direction", "latent number")
OF_ANY_CODE = choices("sheet", "codes", "density")
OF_HOLES = torch.linspace(-3, 3, 12)


class Laid(NamedTuple):
    """A plane, where its cells stand along both directions `(n,)`, and what these directions are."""

    where: Plane
    axis: torch.Tensor
    names: tuple[str, str]


def native(n: int = 10, reach: float = 2.5, spacing: str = "linear") -> Laid:
    """Take a code of two numbers as it is."""
    return Laid(Plane.native(), latent.axis(n, reach, spacing), ("z₁", "z₂"))


def principal(view: View, model: str, axis: torch.Tensor | None = None) -> Laid:
    """Go along the two directions in which a model's codes vary most, by default 2.5 standard deviations far."""
    axis = torch.linspace(-2.5, 2.5, cells(view, 12)) if axis is None else axis
    return Laid(Plane.principal(_codes(view, model)), axis, choices("direction 1", "direction 2"))


def through(view: View, model: str, picks: Sequence[int]) -> Laid:
    """Go through the codes of three gallery images; raises `ValueError` where they lie on one line."""
    where = Plane.through(*_codes(view, model)[list(picks)])
    return Laid(where, torch.linspace(-0.25, 1.25, cells(view, 12)), ("A → B", "A → C"))


def line(view: View, model: str, kind: str, number: int, i: int) -> Laid:
    """Go through the code of gallery image `i` along one of `DIRECTIONS`; `number` counts them from 0."""
    codes = _codes(view, model)
    if kind == DIRECTIONS[0]:
        direction = latent.principal_directions(codes, number + 1)[number]
    else:
        direction = torch.eye(codes.shape[1])[number] * codes.std(dim=0)[number]
    n = cells(view, 13) | 1  # odd, so that the image itself stands in the middle
    names = (later("{kind} {number}, standard deviations from the image", kind=kind, number=number + 1), "")
    return Laid(Plane.line(codes[i], direction), torch.linspace(-3, 3, n), names)


def n_directions(view: View, model: str, kind: str) -> int:
    """Count the directions of a kind that a model's code offers."""
    length = _codes(view, model).shape[1]
    return min(length, 20) if kind == DIRECTIONS[0] else length


def layers_for(view: View, model: str, ellipse: Sequence[float] | None = None) -> list[str]:
    """List the layers that a model's plane offers; "posterior" where there is the ellipse of an image."""
    return [*OF_ANY_CODE, *choices("prior") * view.card(model).is_native, *choices("posterior") * (ellipse is not None)]


def cells(view: View, n: int) -> int:
    """Give the number of cells beside each other: `n` of 28 pixels, fewer of larger images."""
    return max(7, n * 28 // view.dataset.image_shape[-1])


def _codes(view: View, model: str) -> torch.Tensor:
    return torch.from_numpy(loading.codes(view.bundle(model))["codes"])
