"""Describe a network of plain layers as bytes, for a runtime that is not torch.

    bytes = length of the header (uint32, little endian) | header (JSON, padded to 4) | weights

The header is {"model": name, "dtype": "float32" | "float16", "networks": {name: layers}, "rest": [[i, n], ...]}, a
network's layers in order:

    {"op": "dense", "in": n, "out": m, "weight": i, "bias": j, "relu": true}
    {"op": "conv", "in": [C, H, W], "out": [C, H, W], "kernel": [kh, kw], "stride": [sh, sw],
     "padding": [ph, pw], "transposed": false, "weight": i, "bias": j, "relu": false}
    {"op": "to_channels_last" | "to_channels_first", "shape": [C, H, W]}
    {"op": "residual", "layers": [...], "relu": true}: what comes in is kept and added to what its layers make of it
    {"op": "sigmoid" | "tanh" | "relu"}

Offsets count numbers from the first weight. Weights are stored `(kh * kw, in, out)`, a dense layer with one
tap, and `out` is padded with zeros to a multiple of four, so that a kernel can take four output channels at
once. Dropout is left out, and batch norm is folded into the layer before it. "rest" lists runs of n weights from i of
which float16 was not enough: what rounding took from them follows the last weight, in float16 too.
"""

import itertools
import json
import struct
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F

from explorer.blocks import Residual

LANES = 4


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
    stored = torch.cat(weights).to(dtype)
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
    layers, after = _stack(network, shape, weights)
    if len(shape) == 3:
        layers.insert(0, {"op": "to_channels_last", "shape": list(shape)})
    if len(after) == 3:
        layers.append({"op": "to_channels_first", "shape": list(after)})
    return layers


def _stack(
    network: nn.Sequential, shape: tuple[int, ...], weights: list[torch.Tensor]
) -> tuple[list[dict[str, Any]], tuple[int, ...]]:
    """Describe layers from an input of this shape, an image channels last, and give the shape that they end in."""
    layers: list[dict[str, Any]] = []
    x = torch.zeros(1, *shape)
    for module in _folded(network):
        before, x = tuple(x.shape[1:]), module(x)
        after = tuple(x.shape[1:])
        if isinstance(module, nn.Linear):
            taps = module.weight.T[None]  # (1, in, out)
            layers.append({"op": "dense", "in": before[0], "out": after[0], **_store(taps, module.bias, weights)})
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            layers.append(_convolution(module, before, after, weights))
        elif isinstance(module, Residual):
            layers.append(_residual(module, before, weights))
        elif isinstance(module, nn.Flatten) and len(before) == 3:
            layers.append({"op": "to_channels_first", "shape": list(before)})
        elif isinstance(module, nn.Unflatten) and len(after) == 3:
            layers.append({"op": "to_channels_last", "shape": list(after)})
        elif isinstance(module, nn.ReLU) and layers and "relu" in layers[-1]:
            layers[-1]["relu"] = True
        elif isinstance(module, nn.ReLU | nn.Sigmoid | nn.Tanh):
            layers.append({"op": type(module).__name__.lower()})
        elif not isinstance(module, nn.Flatten | nn.Unflatten | nn.Identity):
            raise Unsupported(f"a layer of type {type(module).__name__} cannot be described")
    return layers, tuple(x.shape[1:])


def _residual(module: Residual, shape: tuple[int, ...], weights: list[torch.Tensor]) -> dict[str, Any]:
    layers, after = _stack(module.body, shape, weights)
    if after != shape:
        raise Unsupported(f"a residual block adds {after} to {shape}")
    return {"op": "residual", "layers": layers, "relu": False}


def _folded(network: nn.Sequential) -> list[nn.Module]:
    """List the layers as they act in evaluation mode: without dropout, batch norm folded into its predecessor."""
    modules: list[nn.Module] = []
    for module in network:
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            modules[-1:] = [_with_norm(modules[-1] if modules else None, module.eval())]
        elif not isinstance(module, nn.Dropout):
            modules.append(module)
    return modules


def _with_norm(module: nn.Module | None, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.Module:
    if isinstance(module, nn.Linear):
        return nn.utils.fuse_linear_bn_eval(module.eval(), norm)
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        return nn.utils.fuse_conv_bn_eval(module.eval(), norm, transpose=isinstance(module, nn.ConvTranspose2d))
    raise Unsupported("a batch norm does not follow a dense layer or a convolution")


def _convolution(
    module: nn.Conv2d | nn.ConvTranspose2d, before: tuple[int, ...], after: tuple[int, ...], weights: list[torch.Tensor]
) -> dict[str, Any]:
    transposed = isinstance(module, nn.ConvTranspose2d)
    if module.groups != 1 or module.dilation != (1, 1) or module.padding_mode != "zeros" or module.padding == "same":
        raise Unsupported(f"a convolution with groups, dilation or other padding cannot be described: {module}")
    order = (2, 3, 0, 1) if transposed else (2, 3, 1, 0)  # to (kh, kw, in, out)
    return {
        "op": "conv", "in": list(before), "out": list(after), "kernel": list(module.kernel_size),
        "stride": list(module.stride), "padding": list(module.padding), "transposed": transposed,
        **_store(module.weight.permute(order).flatten(0, 1), module.bias, weights),
    }  # fmt: skip


def _store(taps: torch.Tensor, bias: torch.Tensor | None, weights: list[torch.Tensor]) -> dict[str, Any]:
    """Append weights `(taps, in, out)` and bias `(out,)`, padded to whole lanes; say where they are."""
    n_out = taps.shape[-1]
    bias = torch.zeros(n_out) if bias is None else bias
    places = []
    for values in (taps, bias):
        places.append(sum(w.numel() for w in weights))
        weights.append(F.pad(values.float(), (0, -n_out % LANES)).flatten())
    return {"weight": places[0], "bias": places[1], "relu": False}
