"""Dense and convolutional stacks; every shape is computed from the image shape."""

import itertools
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn as nn

KERNEL, PADDING = 3, 1
GROUP = 8  # channels that group norm takes together

Norm = Literal["group", "batch"]
Upsampling = Literal["transposed", "nearest", "shuffle"]


class Residual(nn.Module):
    """Add to `x` what a stack of layers makes of it, x + body(x) (He et al. 2016, equation 1)."""

    def __init__(self, body: Sequence[nn.Module]) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map `(B, C, H, W)` to the same shape."""
        return x + self.body(x)


class Dropout(nn.Dropout):
    """`nn.Dropout` (Srivastava et al. 2014) with a mask that a CPU draws in a third of the time.

    Four elements share one random number of 64 bits, which makes `p` exact to 1/65,536.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """While training, set each element to 0 with probability `p` and divide the others by `1 - p`; any shape."""
        if not self.training or self.p == 1 or x.device.type != "cpu":
            return super().forward(x)
        words = torch.randint(-(2**63), 2**63 - 1, (-(-x.numel() // 4),))
        kept = words.view(torch.int16)[: x.numel()].view(x.shape) >= round(self.p * 2**16) - 2**15
        return x * kept.to(x.dtype).div_(1 - self.p)


def conv_sizes(size: int, strides: Sequence[int]) -> list[int]:
    """List the side length in pixels before and after each 3x3 convolution: 28 -> [28, 14, 7, 4]."""
    sizes = [size]
    for stride in strides:
        sizes.append((sizes[-1] + 2 * PADDING - KERNEL) // stride + 1)
    return sizes


def residual_blocks(channels: int, n: int) -> list[nn.Module]:
    """Stack `n` bottleneck blocks (He et al. 2016, figure 5), a ReLU after each sum.

    Each narrows to a quarter of the channels, looks around with 3x3, and widens again, with batch norm after every
    convolution; the last one's scale begins at zero, so that a block begins as the identity (Goyal et al. 2017).
    """
    inner = channels // 4
    layers: list[nn.Module] = []
    for _ in range(n):
        last = nn.BatchNorm2d(channels)
        nn.init.zeros_(last.weight)
        body = [
            nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU(),
            nn.Conv2d(inner, inner, KERNEL, 1, PADDING, bias=False), nn.BatchNorm2d(inner), nn.ReLU(),
            nn.Conv2d(inner, channels, 1, bias=False), last,
        ]  # fmt: skip
        layers += [Residual(body), nn.ReLU()]
    return layers


def conv_encoder(
    channels: Sequence[int], strides: Sequence[int], last_relu: bool, residual: Sequence[int] = ()
) -> list[nn.Module]:
    """Stack 3x3 convolutions `channels[i] -> channels[i + 1]` with ReLU between them.

    `last_relu` says whether the last one is followed by a ReLU too (not when its output is the code).
    With `residual`, each convolution has batch norm and is followed by so many residual blocks.
    """
    layers: list[nn.Module] = []
    for i, stride in enumerate(strides):
        layers += [nn.Conv2d(channels[i], channels[i + 1], KERNEL, stride, PADDING)]
        layers += [nn.BatchNorm2d(channels[i + 1])] if residual else []
        layers += [nn.ReLU(), *residual_blocks(channels[i + 1], residual[i] if residual else 0)]
    return layers if last_relu else layers[:-1]


def conv_decoder(
    channels: Sequence[int], strides: Sequence[int], image_size: tuple[int, int], residual: Sequence[int] = ()
) -> list[nn.Module]:
    """Mirror `conv_encoder` with transposed convolutions, ending in a linear layer of pixels (logits).

    The output padding of each layer is what makes it undo the rounding of its stride exactly.
    """
    heights, widths = (conv_sizes(size, strides) for size in image_size)
    layers: list[nn.Module] = []
    for i in reversed(range(len(strides))):
        stride = strides[i]
        extra = tuple(sizes[i] - ((sizes[i + 1] - 1) * stride - 2 * PADDING + KERNEL) for sizes in (heights, widths))
        layers += residual_blocks(channels[i + 1], residual[i] if residual else 0)
        layers += [nn.ConvTranspose2d(channels[i + 1], channels[i], KERNEL, stride, PADDING, output_padding=extra)]
        if i:
            layers += [nn.BatchNorm2d(channels[i])] if residual else []
            layers += [nn.ReLU()]
    return layers


def before_activation(channels: int, norm: Norm) -> list[nn.Module]:
    """Make a norm and a SiLU (Elfwing et al. 2018): group norm (Wu & He 2018), `GROUP` channels each, or batch norm."""
    return [nn.BatchNorm2d(channels) if norm == "batch" else nn.GroupNorm(channels // GROUP, channels), nn.SiLU()]


def smooth_blocks(channels: int, n: int, norm: Norm) -> list[nn.Module]:
    """Stack `n` residual blocks that normalise before they convolve (He et al. 2016b), nothing after the sum.

    Each has two 3x3 convolutions. The weights of the last begin at zero, so a block begins by adding its bias alone.
    """
    layers: list[nn.Module] = []
    for _ in range(n):
        last = nn.Conv2d(channels, channels, KERNEL, 1, PADDING)
        nn.init.zeros_(last.weight)
        first = nn.Conv2d(channels, channels, KERNEL, 1, PADDING)
        layers.append(Residual([*before_activation(channels, norm), first, *before_activation(channels, norm), last]))
    return layers


def deep_encoder(channels: Sequence[int], residual: Sequence[int], norm: Norm) -> list[nn.Module]:
    """Halve the image with 3x3 convolutions `channels[i] -> channels[i + 1]`, each before `residual[i]` blocks."""
    layers: list[nn.Module] = []
    for i, n in enumerate(residual):
        layers += before_activation(channels[i], norm) if i else []
        layers += [nn.Conv2d(channels[i], channels[i + 1], KERNEL, 2, PADDING)]
        layers += smooth_blocks(channels[i + 1], n, norm)
    return [*layers, *before_activation(channels[-1], norm)]


def deep_decoder(
    channels: Sequence[int], residual: Sequence[int], norm: Norm, upsampling: Upsampling
) -> list[nn.Module]:
    """Double the image from `channels[i]` to `channels[i + 1]`, each time behind `residual[i]` blocks; logits at last.

    upsampling: a transposed convolution of stride 2; a convolution of pixels that were each repeated four times, which
    leaves no checkerboard (Odena et al. 2016); or one to four times the channels, which then become pixels (Shi et al.
    2016).
    """
    layers: list[nn.Module] = []
    for i, n in enumerate(residual):
        layers += smooth_blocks(channels[i], n, norm) + before_activation(channels[i], norm)
        n_in, n_out = channels[i : i + 2]
        if upsampling == "transposed":
            layers += [nn.ConvTranspose2d(n_in, n_out, KERNEL, 2, PADDING, output_padding=1)]
        elif upsampling == "nearest":
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(n_in, n_out, KERNEL, 1, PADDING)]
        else:
            layers += [nn.Conv2d(n_in, 4 * n_out, KERNEL, 1, PADDING), nn.PixelShuffle(2)]
    return layers


def dense(widths: Sequence[int], last_relu: bool) -> list[nn.Module]:
    """Stack linear layers `widths[i] -> widths[i + 1]` with ReLU between them."""
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return layers if last_relu else layers[:-1]
