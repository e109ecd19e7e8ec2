"""Describe a network of plain layers as bytes, for a runtime that is not torch.

    bytes = length of the header (uint32, little endian) | header (JSON, padded to 4) | float32 weights

The header is {"model": name, "networks": {name: layers}}, a network's layers in order:

    {"op": "dense", "in": n, "out": m, "weight": i, "bias": j, "relu": true}
    {"op": "conv", "in": [C, H, W], "out": [C, H, W], "kernel": [kh, kw], "stride": [sh, sw],
     "padding": [ph, pw], "transposed": false, "weight": i, "bias": j, "relu": false}
    {"op": "to_channels_last" | "to_channels_first", "shape": [C, H, W]}
    {"op": "sigmoid" | "tanh" | "relu"}

Offsets count float32 numbers from the first weight. Weights are stored `(kh * kw, in, out)`, a dense layer
with one tap, and `out` is padded with zeros to a multiple of four, so that a kernel can take four output
channels at once. Dropout is left out, and batch norm is folded into the layer before it.
"""

import json
import struct
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F

LANES = 4


class Unsupported(ValueError):
    """A network holds a layer that has no description; the message names it."""


def pack(model: str, networks: Mapping[str, tuple[nn.Sequential, tuple[int, ...]]]) -> bytes:
    """Describe the networks of one model, each with the shape of its input: `(D,)` or `(C, H, W)`.

    Raises:
        Unsupported: a layer is none of those above.
    """
    weights: list[torch.Tensor] = []
    layers = {name: _layers(network, shape, weights) for name, (network, shape) in networks.items()}
    text = json.dumps({"model": model, "networks": layers}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    return struct.pack("<I", len(text)) + text + torch.cat(weights).numpy().astype("<f4").tobytes()


@torch.inference_mode()
def _layers(network: nn.Sequential, shape: tuple[int, ...], weights: list[torch.Tensor]) -> list[dict[str, Any]]:
    layers: list[dict[str, Any]] = []
    x = torch.zeros(1, *shape)
    if len(shape) == 3:
        layers.append({"op": "to_channels_last", "shape": list(shape)})
    for module in _folded(network):
        before, x = tuple(x.shape[1:]), module(x)
        after = tuple(x.shape[1:])
        if isinstance(module, nn.Linear):
            taps = module.weight.T[None]  # (1, in, out)
            layers.append({"op": "dense", "in": before[0], "out": after[0], **_store(taps, module.bias, weights)})
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            layers.append(_convolution(module, before, after, weights))
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
    if x.ndim == 4:
        layers.append({"op": "to_channels_first", "shape": list(x.shape[1:])})
    return layers


def _folded(network: nn.Sequential) -> list[nn.Module]:
    """List the layers as they act in evaluation mode: without dropout, batch norm folded into its predecessor."""
    modules: list[nn.Module] = []
    for module in network:
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            if not modules or not isinstance(modules[-1], nn.Linear | nn.Conv2d):
                raise Unsupported("a batch norm does not follow a dense layer or a convolution")
            fuse = nn.utils.fuse_linear_bn_eval if isinstance(modules[-1], nn.Linear) else nn.utils.fuse_conv_bn_eval
            modules[-1] = fuse(modules[-1].eval(), module.eval())
        elif not isinstance(module, nn.Dropout):
            modules.append(module)
    return modules


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
