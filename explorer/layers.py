"""Describe a network of layers as bytes, for a runtime that is not torch.

    bytes = length of the header (uint32, little endian) | header (JSON, padded to 4) | weights

The header is {"model": name, "dtype": "float32" | "float16", "networks": {name: layers}, "rest": [[i, n], ...]}, a
network's layers in order. What goes from one to the next is flat, its numbers in torch's order, as are a network's
input and output; or an image channels last, pixel by pixel, where channels are padded to a multiple of four with
numbers that mean nothing. From flat to flat:

    {"op": "dense", "in": n, "out": m, "weight": i, "bias": j, "relu": true}
    {"op": "permute", "shape": [...], "order": [...]}: axis k of the result is axis order[k] of what has this shape
    {"op": "normalise", "size": n, "eps": e}: each n numbers in a row to mean 0 and (almost) variance 1
    {"op": "concat", "branches": [layers, ...]}: what branches make of the same input, one after the other

From channels last to channels last:

    {"op": "conv", "in": [C, H, W], "out": [C, H, W], "kernel": [kh, kw], "stride": [sh, sw], "padding": [ph, pw],
     "dilation": [dh, dw], "groups": g, "transposed": false, "weight": i, "bias": j, "relu": false}
    {"op": "resample", "in": [C, H, W], "rows": taps, "columns": taps, "max": false}: each pixel becomes the weighted
     sum (or the maximum) of those where the taps of its row and of its column cross; taps are, for each row or column
     of the result, [[row or column of the input, weight], ...], and the two weights are multiplied

From one to the other, and from either to the same:

    {"op": "to_channels_last" | "to_channels_first", "shape": [C, H, W]}
    {"op": "sum", "branches": [layers, ...], "relu": true}: an empty branch gives the input itself
    {"op": "scale", "size": n, "repeat": r, "weight": i, "bias": j}: times a weight, plus a bias, each of the n for r
     numbers in a row, over and over
    {"op": "relu" | "sigmoid" | "tanh" | "silu" | "gelu" | "gelu_tanh" | "log"}, log of what is not below 1e-12
    {"op": "leaky_relu", "slope": a}, {"op": "elu", "alpha": a}, {"op": "softplus", "beta": b, "threshold": t}

Offsets count numbers from the first weight. Weights of matrices are stored `(groups, kh * kw, in, out)`, in and out
those of one group, a dense layer with one tap of one group, and `out` is padded with zeros to a multiple of four, so
that a kernel can take four output channels at once; biases `(groups, out)` likewise. Dropout is left out, and what
scales channels, such as batch norm, is folded into a dense layer or convolution right before it. "rest" lists runs of n
weights from i of which float16 was not enough: what rounding took from them follows the last weight, in float16 too.
"""

import functools
import itertools
import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F

from explorer.blocks import Dropout, Residual
from explorer.graph import Concat, Foreign, Log, Permute, Scale, Sum
from explorer.language import later

LANES = 4
LONGEST_SIDE = 4096  # of an image, in pixels: what resizes it is a matrix on the way to its description


class Unsupported(ValueError):
    """A network holds a layer that has no description; the message names it."""


def pack(
    model: str, networks: Mapping[str, tuple[nn.Sequential, tuple[int, ...]]], half: bool = False, exact_below: int = 0
) -> bytes:
    """Describe the networks of one model, each with the shape of its input: `(D,)` or `(C, H, W)`.

    half: store weights as float16, which halves what travels and keeps three digits of each weight. exact_below:
    layers of fewer weights than this keep six digits all the same.

    Raises:
        Unsupported: a layer is none of those above, or a weight is too large for float16.
    """
    weights: list[torch.Tensor] = []
    layers = {name: _layers(network, shape, weights) for name, (network, shape) in networks.items()}
    dtype = torch.float16 if half else torch.float32
    stored = torch.cat([torch.zeros(0), *weights]).to(dtype)
    if not stored.isfinite().all():
        raise Unsupported(f"a weight is no finite number of type {dtype}")
    header = {"model": model, "dtype": str(dtype).removeprefix("torch."), "networks": layers}
    if half and exact_below:
        starts = [0, *itertools.accumulate(w.numel() for w in weights)]
        small = [(i, w) for i, w in zip(starts, weights, strict=False) if w.numel() < exact_below]
        header["rest"] = [[i, w.numel()] for i, w in small]
        stored = torch.cat([stored, *((w - w.half().float()).half() for _, w in small)])
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    return struct.pack("<I", len(text)) + text + stored.numpy().astype("<f2" if half else "<f4").tobytes()


@torch.inference_mode()
def _layers(network: nn.Sequential, shape: tuple[int, ...], weights: list[torch.Tensor]) -> list[dict[str, Any]]:
    stack = _Stack(weights, tuple(shape))
    stack.describe(network)
    stack.make_flat()
    return stack.layers


@dataclass
class _Stack:
    """Layers as far as they are described, and what they end in: its shape in torch, and whether channels are last."""

    weights: list[torch.Tensor]
    shape: tuple[int, ...]
    channels_last: bool = False
    layers: list[dict[str, Any]] = field(default_factory=list)

    def describe(self, modules: Iterable[nn.Module]) -> None:
        """Add modules as they act in evaluation mode."""
        for module in modules:
            known = next(kind for kind in type(module).__mro__ if kind in _describe.registry)
            if known is object or type(module).forward is not known.forward:
                raise Unsupported(later("a layer of type {kind} cannot be described", kind=type(module).__name__))
            _describe.dispatch(known)(module, self)

    def add(self, op: str, **values: Any) -> None:
        """Add one layer in the words of the header."""
        self.layers.append({"op": op, **values})

    def make_flat(self) -> None:
        """Go on with numbers in torch's order."""
        if self.channels_last:
            self.add("to_channels_first", shape=list(self.shape))
        self.channels_last = False

    def make_channels_last(self, module: nn.Module) -> None:
        """Go on with an image channels last, for this module."""
        self.require(module, rank=3)
        if max(self.shape[1:]) > LONGEST_SIDE:
            raise Unsupported(
                later(
                    "a layer of type {kind} is given an image of {shape}", kind=type(module).__name__, shape=self.shape
                )
            )
        if not self.channels_last:
            self.add("to_channels_last", shape=list(self.shape))
        self.channels_last = True

    def require(self, module: nn.Module, rank: int | None = None, channels: int | None = None) -> None:
        """Refuse a module for so many axes or channels where there are others: torch may take an image for a batch."""
        if rank not in (None, len(self.shape)) or channels not in (None, *self.shape[:1]):
            raise Unsupported(
                later(
                    "a layer of type {kind} cannot be described for the shape {shape}",
                    kind=type(module).__name__,
                    shape=self.shape,
                )
            )

    def shape_after(self, module: nn.Module) -> tuple[int, ...]:
        """Say which shape a module makes of this one."""
        y = module(torch.zeros(1, *self.shape))
        if not isinstance(y, torch.Tensor) or len(y) != 1:
            raise Unsupported(
                later("a layer of type {kind} gives more than one tensor for an image", kind=type(module).__name__)
            )
        return tuple(y.shape[1:])

    def store(self, weight: torch.Tensor, bias: torch.Tensor) -> dict[str, int]:
        """Keep two tensors, their last axes padded to whole lanes; say where they are."""
        places = []
        for values in (weight, bias):
            places.append(sum(w.numel() for w in self.weights))
            self.weights.append(F.pad(values.float(), (0, -values.shape[-1] % LANES)).flatten())
        return {"weight": places[0], "bias": places[1]}

    def scale(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Scale and shift each channel, or feature, by numbers `(C,)`: in the layer before, where that is a matrix."""
        last = self.layers[-1] if self.layers else {}
        matrix = "conv" if self.channels_last else "dense" if len(self.shape) == 1 else ""
        if last.get("op") == matrix and not last["relu"]:
            groups = last.get("groups", 1)
            weight, bias = (F.pad(v.reshape(groups, -1), (0, -(len(v) // groups) % LANES)) for v in (weight, bias))
            taps, shift = self.weights[-2:]
            self.weights[-2] = (taps.view(groups, -1, weight.shape[1]) * weight[:, None]).flatten()
            self.weights[-1] = shift * weight.flatten() + bias.flatten()
        else:
            size = -(-len(weight) // LANES) * LANES if self.channels_last else len(weight)
            repeat = 1 if self.channels_last else math.prod(self.shape[1:])
            self.add("scale", size=size, repeat=repeat, **self.store(weight, bias))

    def resample(self, rows: torch.Tensor, columns: torch.Tensor, largest: bool = False) -> None:
        """Take rows and columns together by matrices `(before, after)`, of an image channels last."""
        self.add("resample", **{"in": list(self.shape)}, rows=_taps(rows), columns=_taps(columns), max=largest)
        self.shape = (self.shape[0], rows.shape[1], columns.shape[1])

    def branch(self, modules: Iterable[nn.Module]) -> "_Stack":
        """Describe modules that begin here, in a stack of their own."""
        other = replace(self, layers=[])
        other.describe(modules)
        return other

    def sum(self, branches: Iterable[Iterable[nn.Module]], module: nn.Module) -> None:
        """Add up what the branches of this module make of what is here."""
        parts = [self.branch(modules) for modules in branches]
        for part in parts[1:]:
            if part.shape != parts[0].shape:
                raise Unsupported(
                    later(
                        "a layer of type {kind} adds {shape} to {other}",
                        kind=type(module).__name__,
                        shape=part.shape,
                        other=parts[0].shape,
                    )
                )
            part.make_channels_last(module) if parts[0].channels_last else part.make_flat()
        if len(parts) > 1:
            self.add("sum", branches=[part.layers for part in parts], relu=False)
        else:
            self.layers += parts[0].layers
        self.shape, self.channels_last = parts[0].shape, parts[0].channels_last


@functools.singledispatch
def _describe(module: object, stack: _Stack) -> None:
    """Add a module to a stack; one function for each kind of module that there is a description for."""


@_describe.register
def _(module: nn.Sequential, stack: _Stack) -> None:
    stack.describe(module)


@_describe.register
def _(module: nn.Identity | nn.Dropout | nn.Dropout2d | Dropout, stack: _Stack) -> None:
    pass


@_describe.register
def _(module: Foreign, stack: _Stack) -> None:
    raise Unsupported(later("it has operators that are not among our layers, and onnxruntime computes it"))


@_describe.register
def _(module: nn.Linear, stack: _Stack) -> None:
    stack.require(module, rank=1)
    before, stack.shape = stack.shape, stack.shape_after(module)
    bias = torch.zeros(stack.shape) if module.bias is None else module.bias
    stack.add("dense", **{"in": before[0]}, out=stack.shape[0], **stack.store(module.weight.T, bias), relu=False)


@_describe.register
def _(module: nn.Conv2d | nn.ConvTranspose2d, stack: _Stack) -> None:
    if module.padding_mode != "zeros":
        raise Unsupported(
            later("a convolution with padding other than zeros cannot be described: {module}", module=str(module))
        )
    stack.make_channels_last(module)
    before, stack.shape = stack.shape, stack.shape_after(module)
    kernel, dilation, padding = module.kernel_size, module.dilation, module.padding
    if isinstance(padding, str):
        padding = [d * (k - 1) // 2 if padding == "same" else 0 for k, d in zip(kernel, dilation, strict=True)]
    transposed = isinstance(module, nn.ConvTranspose2d)
    order = (0, 3, 4, 1, 2) if transposed else (0, 3, 4, 2, 1)  # to (groups, kh, kw, in, out)
    taps = module.weight.unflatten(0, (module.groups, -1)).permute(order)
    bias = torch.zeros(stack.shape[0]) if module.bias is None else module.bias
    stack.add(
        "conv", **{"in": list(before)}, out=list(stack.shape), kernel=list(kernel), stride=list(module.stride),
        padding=list(padding), dilation=list(dilation), groups=module.groups, transposed=transposed,
        **stack.store(taps, bias.view(module.groups, -1)), relu=False,
    )  # fmt: skip


@_describe.register
def _(module: nn.BatchNorm1d | nn.BatchNorm2d, stack: _Stack) -> None:
    _scale_by_statistics(module, stack)


@_describe.register
def _(module: Scale, stack: _Stack) -> None:
    stack.scale(*(numbers.expand(stack.shape[0]) for numbers in (module.scale, module.shift)))


def _scale_by_statistics(module: nn.Module, stack: _Stack) -> None:
    """Describe a batch norm, or an instance norm that tracks running statistics, in evaluation mode."""
    if module.running_mean is None:
        raise Unsupported(
            later("a layer of type {kind} without statistics depends on the batch", kind=type(module).__name__)
        )
    stack.require(module, channels=module.num_features)
    scale = (module.running_var + module.eps).rsqrt()
    shift = -module.running_mean * scale
    if module.weight is not None:
        scale, shift = scale * module.weight, shift * module.weight + module.bias
    stack.scale(scale, shift)


def _normalise(module: nn.Module, stack: _Stack, size: int) -> None:
    stack.make_flat()
    stack.add("normalise", size=size, eps=module.eps)


@_describe.register
def _(module: nn.InstanceNorm1d | nn.InstanceNorm2d, stack: _Stack) -> None:
    stack.require(module, rank=3 if isinstance(module, nn.InstanceNorm2d) else 2, channels=module.num_features)
    if module.running_mean is not None:
        _scale_by_statistics(module, stack)
        return
    _normalise(module, stack, math.prod(stack.shape[1:]))
    if module.weight is not None:
        stack.scale(module.weight, module.bias)


@_describe.register
def _(module: nn.GroupNorm, stack: _Stack) -> None:
    stack.require(module, channels=module.num_channels)
    _normalise(module, stack, math.prod(stack.shape) // module.num_groups)
    if module.weight is not None:
        stack.scale(module.weight, module.bias)


@_describe.register
def _(module: nn.LayerNorm, stack: _Stack) -> None:
    stack.shape_after(module)
    size = math.prod(module.normalized_shape)
    _normalise(module, stack, size)
    if module.weight is not None:
        bias = torch.zeros(size) if module.bias is None else module.bias.flatten()
        stack.add("scale", size=size, repeat=1, **stack.store(module.weight.flatten(), bias))


@_describe.register
def _(module: nn.ReLU, stack: _Stack) -> None:
    if stack.layers and "relu" in stack.layers[-1]:
        stack.layers[-1]["relu"] = True
    else:
        stack.add("relu")


@_describe.register
def _(module: nn.Sigmoid | nn.Tanh | nn.SiLU | Log, stack: _Stack) -> None:
    stack.add(type(module).__name__.lower())


@_describe.register
def _(module: nn.GELU, stack: _Stack) -> None:
    stack.add("gelu" if module.approximate == "none" else "gelu_tanh")


@_describe.register
def _(module: nn.LeakyReLU, stack: _Stack) -> None:
    stack.add("leaky_relu", slope=module.negative_slope)


@_describe.register
def _(module: nn.ELU, stack: _Stack) -> None:
    stack.add("elu", alpha=module.alpha)


@_describe.register
def _(module: nn.Softplus, stack: _Stack) -> None:
    stack.add("softplus", beta=module.beta, threshold=module.threshold)


@_describe.register
def _(module: nn.Flatten | nn.Unflatten, stack: _Stack) -> None:
    stack.make_flat()
    stack.shape = stack.shape_after(module)


@_describe.register
def _(module: Permute, stack: _Stack) -> None:
    stack.make_flat()
    stack.add("permute", shape=list(stack.shape), order=list(module.order))
    stack.shape = stack.shape_after(module)


@_describe.register
def _(module: nn.PixelShuffle, stack: _Stack) -> None:
    """Take the two factors out of the channels, and put each behind the axis that it enlarges."""
    after = stack.shape_after(module)
    factor = module.upscale_factor
    stack.make_flat()
    stack.add("permute", shape=[after[0], factor, factor, *stack.shape[1:]], order=[0, 3, 1, 4, 2])
    stack.shape = after


@_describe.register
def _(module: nn.ZeroPad2d, stack: _Stack) -> None:
    stack.make_channels_last(module)
    left, right, top, bottom = module.padding
    stack.resample(F.pad(_axis(stack, 0), (top, bottom)), F.pad(_axis(stack, 1), (left, right)))


@_describe.register
def _(module: nn.Upsample, stack: _Stack) -> None:
    if module.mode not in ("nearest", "nearest-exact", "bilinear"):
        raise Unsupported(later("a layer of type Upsample cannot be described in the mode {mode}", mode=module.mode))
    stack.make_channels_last(module)
    mode = "linear" if module.mode == "bilinear" else module.mode
    how = {"mode": mode, "align_corners": module.align_corners, "recompute_scale_factor": module.recompute_scale_factor}
    sides = zip(_pair(module.size), _pair(module.scale_factor), strict=True)
    stack.resample(*(F.interpolate(_axis(stack, i)[None], *side, **how)[0] for i, side in enumerate(sides)))


@_describe.register
def _(module: nn.AdaptiveAvgPool2d, stack: _Stack) -> None:
    stack.make_channels_last(module)
    sides = stack.shape_after(module)[1:]
    stack.resample(*(F.adaptive_avg_pool1d(_axis(stack, i), side) for i, side in enumerate(sides)))


@_describe.register
def _(module: nn.AvgPool2d, stack: _Stack) -> None:
    if module.divisor_override is not None:
        raise Unsupported(later("a layer of type AvgPool2d cannot be described with a divisor_override"))
    stack.make_channels_last(module)
    sides = zip(_pair(module.kernel_size), _pair(module.stride), _pair(module.padding), strict=True)
    how = (module.ceil_mode, module.count_include_pad)
    stack.resample(*(F.avg_pool1d(_axis(stack, i), *side, *how) for i, side in enumerate(sides)))


@_describe.register
def _(module: nn.MaxPool2d, stack: _Stack) -> None:
    stack.make_channels_last(module)
    after = stack.shape_after(module)[1:]
    kernel, stride, padding, dilation = map(_pair, (module.kernel_size, module.stride, module.padding, module.dilation))

    def windows(i: int) -> torch.Tensor:
        needed = (after[i] - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + 1
        wide = F.pad(_axis(stack, i), (padding[i], max(0, needed - padding[i] - stack.shape[i + 1])))
        return F.conv1d(wide[:, None], torch.ones(1, 1, kernel[i]), None, stride[i], 0, dilation[i])[:, 0, : after[i]]

    stack.resample(windows(0), windows(1), largest=True)


def _axis(stack: _Stack, i: int) -> torch.Tensor:
    """Give the rows (i = 0) or columns (i = 1) of an image as a unit matrix, of which to make others."""
    return torch.eye(stack.shape[i + 1])


def _taps(matrix: torch.Tensor) -> list[list[list[float]]]:
    """List, for each column of a matrix, what is not zero: [[row, value], ...]."""
    places = [column.nonzero()[:, 0] for column in matrix.T]
    return [
        [[i, w] for i, w in zip(at.tolist(), column[at].tolist(), strict=True)]
        for at, column in zip(places, matrix.T, strict=True)
    ]


def _pair(value: Any) -> tuple[Any, Any]:
    return value if isinstance(value, tuple | list) else (value, value)


@_describe.register
def _(module: Residual, stack: _Stack) -> None:
    stack.sum([[], module.body], module)


@_describe.register
def _(module: Sum, stack: _Stack) -> None:
    stack.sum(module.branches, module)


@_describe.register
def _(module: Concat, stack: _Stack) -> None:
    parts = [stack.branch(modules) for modules in module.branches]
    if len({part.shape[1:] for part in parts}) != 1:
        raise Unsupported(
            later("a layer of type Concat joins the shapes {shape}", shape=", ".join(str(part.shape) for part in parts))
        )
    for part in parts:
        part.make_flat()
    stack.add("concat", branches=[part.layers for part in parts])
    stack.shape, stack.channels_last = (sum(part.shape[0] for part in parts), *parts[0].shape[1:]), False
