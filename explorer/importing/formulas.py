"""Layers that exporters write as formulas of several operators: SiLU, GELU, and normalisation of layers and instances.

The steps of a formula are kept as they come (`Part`), and recognised where two ways from one value meet again.
"""

from collections.abc import Sequence

import numpy as np
import torch.nn as nn

from explorer.graph import Permute, Scale
from explorer.importing.stack import Part, Uncovered, Value, added, common, made, same_order, scaled, then

Way = Sequence[nn.Module | Part]
CUBIC = "x + 0.044715 x³"
CENTRED = "x - mean"


def multiplied(a: Value, b: Value, node: str) -> Value:
    """Multiply two values: powers, SiLU (Elfwing et al. 2018) and GELU (Hendrycks & Gimpel 2016), or `divided`."""
    if order := same_order((a, b)):
        return then(multiplied(a.before, b.before, node), Permute(order), node)
    start = common(a, b)
    ways = a.since(start), b.since(start)
    for plain, gate in (ways, ways[::-1]):
        if (found := _product(start, plain, gate, node)) is not None:
            return found
    raise Uncovered("products of two values are covered as powers and in SiLU, GELU and normalisations alone")


def _product(start: Value, plain: Way, gate: Way, node: str) -> Value | None:
    if not plain and gate and isinstance(gate[-1], Part) and gate[-1].name == "Reciprocal":
        return _normalised(start, gate[:-1], node)
    if not gate:
        if not plain:
            return then(start, Part("Pow", 2.0), node)
        if isinstance(plain[0], Part) and plain[0].name == "Pow" and len(plain) == 1:
            return then(start, Part("Pow", plain[0].number + 1), node)
    factor = _uniform(plain[0]) if len(plain) == 1 else (1.0, 0.0) if not plain else None
    if factor is None or factor[1]:
        return None
    if len(gate) == 1 and isinstance(gate[0], nn.Sigmoid):
        return _times(then(start, made("SiLU"), node), factor[0], node)
    half = _uniform(gate[-1]) if gate else None
    if half is None or half[0] != half[1]:
        return None
    approximate = _gelu(gate[:-1])
    return approximate and _times(
        then(start, made("GELU", approximate=approximate), node), 2 * half[0] * factor[0], node
    )


def _gelu(way: Way) -> str:
    """Say which form of GELU has this in its brackets beside the one, empty for neither."""
    names = [layer.name if isinstance(layer, Part) else type(layer).__name__ for layer in way]
    if names == ["Scale", "Erf"] and _is(way[0], 0.5**0.5):
        return "none"
    if names == [CUBIC, "Scale", "Tanh"] and _is(way[1], (2 / np.pi) ** 0.5):
        return "tanh"
    return ""


def _uniform(layer: nn.Module | Part) -> tuple[float, float] | None:
    """Give the one number that a layer multiplies all by, and the one that it adds."""
    if not isinstance(layer, Scale):
        return None
    values = [x.unique() for x in (layer.scale, layer.shift)]
    return (values[0].item(), values[1].item()) if all(len(x) == 1 for x in values) else None


def _is(layer: nn.Module | Part, scale: float) -> bool:
    found = _uniform(layer)
    return found is not None and not found[1] and abs(found[0] - scale) < 1e-4


def _times(value: Value, factor: float, node: str) -> Value:
    factor = 1.0 if abs(factor - 1) < 1e-6 else factor
    return scaled(value, np.float32(factor), np.float32(0), node)


def summed(values: Sequence[Value], node: str) -> Value:
    """Add values; the inner sum of GELU's other form is kept as a step of it."""
    if order := same_order(values):
        return then(summed([value.before for value in values], node), Permute(order), node)
    start = common(*values)
    ways = sorted((value.since(start) for value in values), key=len)
    if len(ways) == 2 and not ways[0] and len(ways[1]) == 2:
        cube, factor = ways[1]
        if isinstance(cube, Part) and (cube.name, cube.number) == ("Pow", 3.0) and _is(factor, 0.044715):
            return then(start, Part(CUBIC), node)
    return added(values, node)


def subtracted(a: Value, b: Value, node: str) -> Value:
    """Take one value from another; an average taken from what it is of is a step of a normalisation."""
    start = common(a, b)
    ways = a.since(start), b.since(start)
    if not ways[0] and len(ways[1]) == 1 and isinstance(ways[1][0], Part) and ways[1][0].name == "ReduceMean":
        return then(start, Part(CENTRED, axes=ways[1][0].axes), node)
    return added([a, scaled(b, np.float32(-1), np.float32(0), node)], node)


def divided(a: Value, b: Value, node: str) -> Value:
    """Divide one value by another, which is covered as the last step of a normalisation."""
    start = common(a, b)
    found = _normalised(start, b.since(start), node) if start is a else None
    if found is None:
        raise Uncovered("quotients of two values are covered in normalisations alone")
    return found


def _normalised(start: Value, way: Way, node: str) -> Value | None:
    """Make the layer of a centred value that is divided by this: the root of the mean of its squares and a little."""
    if len(way) != 4 or not isinstance(start.layer, Part) or start.layer.name != CENTRED:
        return None
    axes, (square, average, little, root) = start.layer.axes, way
    more = _uniform(little)
    right = (square, average, root) == (Part("Pow", 2.0), Part("ReduceMean", axes=axes), Part("Sqrt"))
    if not right or more is None or more[0] != 1:
        return None
    shape, n = start.shape, len(start.shape)
    if axes == tuple(range(n - len(axes), n)) and not (n == 3 and axes == (1, 2)):
        arguments = {"normalized_shape": list(shape[n - len(axes) :]), "elementwise_affine": False, "bias": False}
        norm = made("LayerNorm", eps=more[1], **arguments)
    elif n == 3 and axes == (1, 2):
        norm = made("InstanceNorm2d", num_features=shape[0], eps=more[1], affine=False)
    else:
        return None
    return then(start.before, norm, node)
