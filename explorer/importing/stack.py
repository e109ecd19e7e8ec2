"""What a graph computes at one place, as the stack of layers that leads there from its input.

A graph's nodes are taken in order, and each becomes a `Value`: the value before it and one layer. Where branches meet,
the value before is the last one that all of them come from, and the layer a sum or join of the ways since.
Layers that undo each other go as they are appended: Keras' transposes around every convolution, above all.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn as nn

from explorer import graph
from explorer.blocks import Residual
from explorer.graph import Concat, Permute, Scale, Sum

POINTWISE = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Softplus)


class Uncovered(ValueError):
    """An operator is used in a way that our layers do not have; the message says which way."""


@dataclass(frozen=True)
class Part:
    """A step of a formula that is a layer only as a whole, such as the error function in GELU."""

    name: str
    number: float = 0.0
    axes: tuple[int, ...] = ()

    @property
    def pointwise(self) -> bool:
        """Whether it takes each number by itself."""
        return not self.axes and "Softmax" not in self.name


@dataclass(frozen=True, eq=False)
class Value:
    """What a graph computes at one place, of shape `(B, *shape)`.

    before, layer: where it comes from; None for the input. node: the operator that made it, for messages. part: of
    which value it holds which channels or features, where it is such a part.
    """

    shape: tuple[int, ...]
    before: "Value | None" = None
    layer: "nn.Module | Part | None" = None
    node: str = ""
    part: "tuple[Value, int, int] | None" = None

    @property
    def size(self) -> int:
        """Number of values for each input."""
        return math.prod(self.shape)

    def path(self) -> list["Value"]:
        """List the values on the way here, the input first."""
        found = [self]
        while found[-1].before is not None:
            found.append(found[-1].before)
        return found[::-1]

    def since(self, ancestor: "Value") -> list["nn.Module | Part"]:
        """List the layers that lead from another value to this one."""
        path = self.path()
        return [value.layer for value in path[path.index(ancestor) + 1 :]]

    def stack(self, since: "Value | None" = None) -> nn.Sequential:
        """Make the stack that leads here from the input, or from another value.

        Raises:
            Uncovered: there are steps of a formula that did not become a layer.
        """
        path = self.path()
        path = path[1 if since is None else path.index(since) + 1 :]
        for value in path:
            if isinstance(value.layer, Part):
                raise Uncovered(f"{value.layer.name} is covered as a part of a known formula alone ({value.node})")
        return nn.Sequential(*(value.layer for value in path))


def made(name: str, weights: Mapping[str, np.ndarray | torch.Tensor] = {}, **arguments: Any) -> nn.Module:
    """Make one of `graph.LAYERS` with these weights; the rest of its state stays as it begins.

    Raises:
        Uncovered: there is no such layer.
    """
    try:
        with torch.device("meta"):
            layer = graph.build([{"layer": name, **arguments}])[0]
        state = {k: torch.tensor(np.asarray(v, dtype=np.float32)) for k, v in weights.items()}
        state |= {k: torch.zeros_like(v, device="cpu") for k, v in layer.state_dict().items() if k not in state}
        layer.load_state_dict(state, strict=True, assign=True)
    except (RuntimeError, TypeError, ValueError) as error:
        raise Uncovered(str(error).partition("\n")[0]) from error
    return layer.eval().requires_grad_(False)


def then(value: Value, layer: nn.Module | Part, node: str = "") -> Value:
    """Let a layer follow a value; what it undoes goes.

    Raises:
        Uncovered: the layer does not fit the value, or one input would take too much to compute.
    """
    last, before = value.layer, value.before
    if isinstance(layer, Permute) and isinstance(last, Permute):
        value, layer = before, Permute([last.order[axis] for axis in layer.order])
        last, before = value.layer, value.before
    if isinstance(layer, Permute) and layer.order == tuple(range(len(layer.order))):
        return value
    if isinstance(last, Permute) and (isinstance(layer, POINTWISE) or (isinstance(layer, Part) and layer.pointwise)):
        return then(then(before, layer, node), last, value.node)
    if isinstance(layer, Scale):
        if isinstance(last, Scale):
            value, layer = before, Scale(last.scale * layer.scale, last.shift * layer.scale + layer.shift)
            last, before = value.layer, value.before
        if bool((layer.scale == 1).all() and (layer.shift == 0).all()):
            return value
        if bool((layer.scale == 1).all()) and (biased := _with_bias(last, layer.shift)):
            return Value(value.shape, before, biased, value.node)
    if isinstance(layer, nn.Flatten) and isinstance(last, nn.Unflatten) and len(before.shape) == 1:
        return before
    if isinstance(layer, nn.Flatten) and len(value.shape) == 1:
        return value
    if isinstance(layer, nn.Unflatten):
        if isinstance(last, nn.Flatten) and before.shape == tuple(layer.unflattened_size):
            return before
        if grouped := _as_groups(value, tuple(layer.unflattened_size), node):
            return grouped
    return Value(_shape_after(layer, value), value, layer, node or value.node)


def _shape_after(layer: nn.Module | Part, value: Value) -> tuple[int, ...]:
    if isinstance(layer, Part):
        return tuple(1 if i in layer.axes and layer.name == "ReduceMean" else n for i, n in enumerate(value.shape))
    try:
        with torch.device("meta"):
            return graph.shape_after(graph.build(graph.describe(nn.Sequential(layer))), value.shape)
    except ValueError as error:
        raise Uncovered(str(error)) from error


def _with_bias(layer: Any, shift: torch.Tensor) -> nn.Module | None:
    """Give a layer without a bias this one."""
    if not isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d) or layer.bias is not None:
        return None
    return _remade(layer, layer.weight, shift)


def _remade(layer: nn.Module, weight: torch.Tensor, bias: torch.Tensor) -> nn.Module:
    arguments = graph.describe(nn.Sequential(layer))[0] | {"bias": True}
    return made(arguments.pop("layer"), {"weight": weight, "bias": bias}, **arguments)


def _as_groups(value: Value, shape: tuple[int, ...], node: str) -> Value | None:
    """Take for group normalisation what exporters write for it: channels in rows, each row normalised, and back."""
    path = value.path()[-5:]
    kinds = (nn.Flatten, nn.Unflatten, nn.InstanceNorm1d, nn.Flatten)
    if len(path) < 5 or path[0].shape != shape or not all(map(isinstance, [v.layer for v in path[1:]], kinds)):
        return None
    rows, norm = path[2].shape[0], path[3].layer
    plain = norm.weight is None or bool((norm.weight == 1).all() and (norm.bias == 0).all())
    if not plain or shape[0] % rows:
        return None
    layer = made("GroupNorm", num_groups=rows, num_channels=shape[0], eps=norm.eps, affine=False)
    return then(path[0], layer, node)


def reshaped(value: Value, shape: tuple[int, ...]) -> Value:
    """Give a value another shape of as many numbers."""
    if shape == value.shape:
        return value
    if isinstance(value.layer, Part) and value.layer.name == "ReduceMean" and value.layer.axes == (1, 2):
        value = averaged(value.before, value.node)
    if len(value.shape) > 1:
        value = then(value, nn.Flatten())
    return value if len(shape) == 1 else then(value, nn.Unflatten(1, shape))


def averaged(value: Value, node: str) -> Value:
    """Average each channel over the whole image."""
    size = list(value.shape[1:])
    arguments = {"kernel_size": size, "stride": size, "padding": 0, "ceil_mode": False, "count_include_pad": True}
    return then(value, made("AvgPool2d", **arguments), node)


def scaled(value: Value, scale: np.ndarray, shift: np.ndarray, node: str = "") -> Value:
    """Multiply and add constants that `value.shape` broadcasts with."""
    scale, shift = (np.broadcast_to(_behind_batch(x, value), value.shape).astype(np.float32) for x in (scale, shift))
    varying = [
        axis
        for axis in range(len(value.shape))
        if any(not np.array_equal(x, np.broadcast_to(x.take([0], axis), x.shape)) for x in (scale, shift))
    ]
    if len(varying) > 1:  # each number has its own
        flat = then(value, nn.Flatten())
        return reshaped(then(flat, Scale(*map(torch.tensor, (scale.ravel(), shift.ravel()))), node), value.shape)
    axis = varying[0] if varying else 0
    place = tuple(slice(None) if i == axis else 0 for i in range(len(value.shape)))
    return _along(value, axis, Scale(*(torch.tensor(np.array(x[place])) for x in (scale, shift))), node)


def _behind_batch(x: np.ndarray, value: Value) -> np.ndarray:
    """Take the axis of the batch from a constant, which has to be the same for all inputs."""
    if x.ndim == len(value.shape) + 1 and len(x) == 1:
        x = x[0]
    try:
        if np.broadcast_shapes(x.shape, value.shape) == value.shape:
            return x
    except ValueError:
        pass
    raise Uncovered(f"a constant of shape {x.shape} does not go with values of {value.shape}")


def _along(value: Value, axis: int, layer: Scale, node: str) -> Value:
    """Scale along an axis; a permutation before it comes after it then, where another can undo it."""
    if isinstance(value.layer, Permute):
        order = value.layer.order
        uniform = bool((layer.scale == layer.scale[0]).all() and (layer.shift == layer.shift[0]).all())
        source = 0 if uniform else order[axis]
        inner = value.before
        if uniform:
            layer = Scale(*(x[:1].expand(inner.shape[0]).clone() for x in (layer.scale, layer.shift)))
        return then(_along(inner, source, layer, node), value.layer, value.node)
    if axis == 0:
        return then(value, layer, node)
    order = (axis, *(i for i in range(len(value.shape)) if i != axis))
    back = tuple(np.argsort(order).tolist())
    return then(then(then(value, Permute(order), node), layer, node), Permute(back), node)


def common(*values: Value) -> Value:
    """Find the last value that all of these come from."""
    first, *others = (value.path() for value in values)
    known = [{id(value) for value in other} for other in others]
    return [value for value in first if all(id(value) in other for other in known)][-1]


def added(values: Sequence[Value], node: str) -> Value:
    """Add values of one shape."""
    if len({value.shape for value in values}) != 1:
        raise Uncovered("sums of values of different shapes are not covered")
    if order := same_order(values):
        return then(added([value.before for value in values], node), Permute(order), node)
    start = common(*values)
    branches = [value.stack(start) for value in values]
    full = [branch for branch in branches if len(branch)]
    if not full:
        return scaled(start, np.float32(len(values)), np.float32(0), node)
    layer = Residual(full[0]) if len(branches) == 2 and len(full) == 1 else Sum(branches)
    return then(start, layer, node)


def joined(values: Sequence[Value], axis: int, node: str) -> Value:
    """Join values along an axis, counted behind the batch."""
    if order := same_order(values):
        return then(joined([value.before for value in values], order[axis], node), Permute(order), node)
    if axis:
        order = (axis, *(i for i in range(len(values[0].shape)) if i != axis))
        front = [then(value, Permute(order), node) for value in values]
        return then(joined(front, 0, node), Permute(tuple(np.argsort(order).tolist())), node)
    if whole := _parts_of_one(values):
        return whole
    start = common(*values)
    return then(start, Concat([value.stack(start) for value in values]), node)


def _parts_of_one(values: Sequence[Value]) -> Value | None:
    """Find the value that these are the parts of, in order and all of them."""
    if any(value.part is None for value in values):
        return None
    whole, ends = values[0].part[0], [0, *(value.part[2] for value in values)]
    fits = all(v.part[0] is whole and v.part[1] == end for v, end in zip(values, ends, strict=False))
    return whole if fits and ends[-1] == whole.shape[0] else None


def same_order(values: Sequence[Value]) -> tuple[int, ...]:
    """Give the order in which a permutation has just put the axes of all of these, if it is one and the same."""
    orders = {value.layer.order if isinstance(value.layer, Permute) else () for value in values}
    return orders.pop() if len(orders) == 1 else ()


def merged(stack: nn.Sequential) -> nn.Sequential:
    """Fold scales into the dense layers and convolutions before them, in branches, too."""
    layers: list[nn.Module] = []
    for layer in stack:
        last = layers[-1] if layers else None
        if isinstance(layer, Residual):
            layers.append(Residual(merged(layer.body)))
        elif isinstance(layer, Sum | Concat):
            layers.append(type(layer)([merged(branch) for branch in layer.branches]))
        elif isinstance(layer, Scale) and isinstance(last, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            layers[-1] = _scaled_layer(last, layer)
        else:
            layers.append(layer)
    return nn.Sequential(*layers)


def _scaled_layer(layer: nn.Module, by: Scale) -> nn.Module:
    bias = by.shift if layer.bias is None else layer.bias * by.scale + by.shift
    if isinstance(layer, nn.ConvTranspose2d):  # (in, out / groups, h, w)
        scale = by.scale.view(layer.groups, 1, -1, 1, 1)
        weight = (layer.weight.unflatten(0, (layer.groups, -1)) * scale).flatten(0, 1)
    else:
        weight = layer.weight * by.scale.view(-1, *(1,) * (layer.weight.ndim - 1))
    return _remade(layer, weight, bias)
