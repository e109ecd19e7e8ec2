"""What a plain stack of layers needs beside those of `torch.nn` to say what a graph says: branches, axes, constants."""

from collections.abc import Sequence

import torch
import torch.nn as nn


class Permute(nn.Module):
    """Put the axes behind the batch in another order; `(2, 0, 1)` turns `(B, H, W, C)` into `(B, C, H, W)`."""

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        self.order = tuple(order)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map `(B, *shape)` to a tensor whose axis i behind the batch is the input's axis `order[i]`."""
        return x.permute(0, *(axis + 1 for axis in self.order))

    def extra_repr(self) -> str:
        """Say the order, as other layers say what they are made of."""
        return f"{self.order}"


class Scale(nn.Module):
    """Multiply every channel, or feature, by a number of its own and add another: x * scale + shift, both `(C,)`."""

    def __init__(self, scale: torch.Tensor, shift: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map `(B, C)` or `(B, C, H, W)` to the same shape."""
        shape = (1, -1, *(1,) * (x.ndim - 2))
        return x * self.scale.view(shape) + self.shift.view(shape)


class Sum(nn.Module):
    """Add what branches make of the same input; an empty one gives the input itself."""

    def __init__(self, branches: Sequence[nn.Sequential]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map `(B, *shape)` to the sum of what the branches give, all of one shape."""
        first, *others = (branch(x) for branch in self.branches)
        for other in others:
            first = first + other
        return first


class Concat(nn.Module):
    """Join what branches make of the same input along channels, or features; an empty one gives the input itself."""

    def __init__(self, branches: Sequence[nn.Sequential]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map `(B, *shape)` to `(B, C_1 + C_2 + …, …)`, branches that agree in all other axes."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)
