"""The operators of ONNX that our layers cover, each as a function from its inputs to values of a stack.

Opsets 9 to 23: what was an attribute and became an input is read from where it is. What depends on constants alone is
computed by ONNX's own reference evaluator. A way of using an operator that no layer has raises `Uncovered`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch.nn as nn

from explorer.graph import Permute
from explorer.importing.convolutions import convolved, cropped, resized, windowed
from explorer.importing.formulas import divided, multiplied, subtracted, summed
from explorer.importing.stack import Part, Uncovered, Value, averaged, joined, made, reshaped, scaled, then

BATCH = 7919  # stands for the size of a batch where a graph computes with shapes: a prime that no graph has
MOST_CONSTANT = 2**26  # numbers that computing with constants may make

Constant = np.ndarray


@dataclass(frozen=True)
class Node:
    """One operator of a graph with its inputs: values, constants, or None where one is left out."""

    op: str
    name: str
    inputs: Sequence[Value | Constant | None]
    attributes: dict[str, Any]
    opset: int
    n_outputs: int
    batch: int | None = None
    proto: Any = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"operator {self.op}, node {self.name!r}"

    @property
    def value(self) -> Value:
        """The first input, which is to be none of the constants."""
        if not isinstance(self.inputs[0], Value):
            raise Uncovered("its first input is a constant and another is not")
        return self.inputs[0]

    def constant(self, i: int, default: Any = None) -> Any:
        """Give input `i`, which is to be a constant, or `default` where it is left out."""
        if i >= len(self.inputs) or self.inputs[i] is None:
            return default
        if isinstance(self.inputs[i], Value):
            raise Uncovered(f"its input {i + 1} is computed from the image, and has to be a constant")
        return self.inputs[i]

    def weight(self, i: int) -> Constant:
        """Give input `i`, which is to be there and a constant."""
        if (found := self.constant(i)) is None:
            raise Uncovered(f"its input {i + 1} is missing")
        return found

    def setting(self, name: str, i: int, default: Any = None) -> Any:
        """Give what is an attribute in some opsets and input `i` in others, as a list of numbers."""
        found = self.attributes.get(name)
        found = self.constant(i) if found is None else found
        return default if found is None else np.asarray(found).ravel().tolist()

    def axis(self, axis: int, of: Value | None = None) -> int:
        """Count an axis from behind the batch."""
        n = len((of or self.value).shape)
        behind = (axis + n + 1 if axis < 0 else axis) - 1
        if not 0 <= behind < n:
            raise Uncovered("it works along the batch")
        return behind


Result = Value | Constant | list[Value]
Operator = Callable[[Node], Result]
OPERATORS: dict[str, Operator] = {}


def covers(*names: str) -> Callable[[Operator], Operator]:
    """Enter a function as that of these operators."""

    def enter(function: Operator) -> Operator:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return enter


def layer(name: str, **defaults: Any) -> Operator:
    """Make the function of an operator that is one of our layers, its attributes with their defaults by our names."""

    def apply(node: Node) -> Value:
        arguments = {ours: node.attributes.get(theirs, value) for ours, (theirs, value) in defaults.items()}
        return then(node.value, made(name, **arguments), str(node))

    return apply


OPERATORS |= {
    "Relu": layer("ReLU"),
    "LeakyRelu": layer("LeakyReLU", negative_slope=("alpha", 0.01)),
    "Elu": layer("ELU", alpha=("alpha", 1.0)),
    "Gelu": layer("GELU", approximate=("approximate", "none")),
    "Sigmoid": layer("Sigmoid"),
    "Tanh": layer("Tanh"),
}


@covers("Softplus")
def _softplus(node: Node) -> Value:
    return then(node.value, made("Softplus", beta=1.0, threshold=20.0), str(node))


@covers("Identity", "Dropout", "Cast", "CastLike")
def _same(node: Node) -> Value:
    if node.op == "Cast" and node.attributes["to"] not in (1, 10, 11, 16):  # float, float16, double, bfloat16
        raise Uncovered("it turns values into another type than floating point")
    return node.value


@covers("Erf", "Exp", "Sqrt", "Reciprocal")
def _part(node: Node) -> Value:
    return then(node.value, Part(node.op), str(node))


@covers("Pow")
def _power(node: Node) -> Value:
    exponent = np.asarray(node.weight(1))
    if exponent.size != 1:
        raise Uncovered("its exponent is not one number")
    return then(node.value, Part("Pow", float(exponent.ravel()[0])), str(node))


@covers("Softmax", "LogSoftmax")
def _softmax(node: Node) -> Value:
    if len(node.value.shape) != 1 or node.axis(node.attributes.get("axis", -1)) != 0:
        raise Uncovered("it is not over a list of classes")
    return then(node.value, Part(node.op), str(node))


@covers("Gemm")
def _gemm(node: Node) -> Value:
    weight = np.asarray(node.weight(1))
    if node.attributes.get("transA") or len(node.value.shape) != 1 or weight.ndim != 2:
        raise Uncovered("it is not a dense layer on a list of numbers")
    weight = (weight if node.attributes.get("transB") else weight.T) * node.attributes.get("alpha", 1.0)
    bias = np.asarray(node.constant(2, np.zeros(len(weight)))) * node.attributes.get("beta", 1.0)
    if bias.ndim > 2 or (bias.ndim == 2 and len(bias) != 1):
        raise Uncovered("what it adds differs from input to input")
    return _dense(node.value, weight, np.broadcast_to(bias.ravel(), len(weight)), str(node))


@covers("MatMul")
def _matmul(node: Node) -> Value:
    weight = np.asarray(node.weight(1))
    if weight.ndim != 2:
        raise Uncovered("it multiplies by more than one matrix")
    if len(node.value.shape) == 1:
        return _dense(node.value, weight.T, None, str(node))
    if len(node.value.shape) != 3:
        raise Uncovered(f"it is over values of shape {node.value.shape}")
    image = then(node.value, Permute((2, 0, 1)), str(node))  # over the channels of every pixel: a convolution of 1 × 1
    one = {"kernel": (1, 1), "stride": (1, 1), "pads": (0, 0, 0, 0), "dilation": (1, 1), "groups": 1}
    image = convolved(image, weight.T[:, :, None, None], None, **one, node=str(node))
    return then(image, Permute((1, 2, 0)), str(node))


def _dense(value: Value, weight: Constant, bias: Constant | None, node: str) -> Value:
    weights = {"weight": weight} | ({} if bias is None else {"bias": bias})
    n_out, n_in = weight.shape
    return then(value, made("Linear", weights, in_features=n_in, out_features=n_out, bias=bias is not None), node)


@covers("Conv", "ConvTranspose")
def _convolution(node: Node) -> Value:
    get = node.attributes.get
    weight, bias = np.asarray(node.weight(1)), node.constant(2)
    if weight.ndim != 4 or len(node.value.shape) != 3:
        raise Uncovered("it is not over the two directions of an image")
    return convolved(
        node.value, weight, bias, kernel=weight.shape[2:], stride=get("strides", (1, 1)),
        pads=get("pads", (0, 0, 0, 0)), dilation=get("dilations", (1, 1)), groups=get("group", 1),
        transposed=node.op == "ConvTranspose", output_padding=get("output_padding", (0, 0)),
        output_shape=get("output_shape"), auto=get("auto_pad", "NOTSET"), node=str(node),
    )  # fmt: skip


@covers("MaxPool", "AveragePool")
def _pool(node: Node) -> Value:
    get = node.attributes.get
    kernel = get("kernel_shape")
    if len(kernel) != 2 or len(node.value.shape) != 3 or node.n_outputs > 1:
        raise Uncovered("it is not over the two directions of an image, or is asked for places")
    return windowed(
        node.value, node.op == "MaxPool", kernel, get("strides", (1, 1)), get("pads", (0, 0, 0, 0)),
        get("dilations", (1, 1)), bool(get("ceil_mode", 0)), bool(get("count_include_pad", 0)),
        get("auto_pad", "NOTSET"), str(node),
    )  # fmt: skip


@covers("GlobalAveragePool")
def _global_average(node: Node) -> Value:
    if len(node.value.shape) != 3:
        raise Uncovered("it is not over the two directions of an image")
    return averaged(node.value, str(node))


@covers("ReduceMean")
def _mean(node: Node) -> Value:
    x, n = node.value, len(node.value.shape)
    axes = tuple(sorted(node.axis(int(a)) for a in node.setting("axes", 1, list(range(1, n + 1)))))
    if node.attributes.get("keepdims", 1):
        return then(x, Part("ReduceMean", axes=axes), str(node))
    order = x.layer.order if isinstance(x.layer, Permute) else tuple(range(n))
    if n == 3 and {order[axis] for axis in axes} == {1, 2}:
        return then(averaged(x.before if isinstance(x.layer, Permute) else x, str(node)), nn.Flatten())
    raise Uncovered(f"it averages over the axes {axes} of values of shape {x.shape}")


@covers("Resize", "Upsample")
def _resize(node: Node) -> Value:
    get = node.attributes.get
    shape = node.value.shape
    scales = node.setting("scales", 1 if node.opset < 11 else 2, [])
    sizes = node.setting("sizes", 3, [])
    if get("axes"):
        raise Uncovered("it names axes of its own")
    if len(shape) != 3 or len(scales or sizes) != 4:
        raise Uncovered("it is not over the two directions of an image")
    sizes = [math.floor(n * s + 1e-6) for n, s in zip(shape, scales[1:], strict=True)] if scales else sizes[1:]
    if sizes[0] != shape[0] or get("antialias") or get("exclude_outside") or (scales and scales[0] != 1):
        raise Uncovered("it changes more than height and width, or smooths")
    old = node.opset < 11  # before there was a choice, coordinates were multiplied, and places rounded down
    how = "asymmetric" if old else get("coordinate_transformation_mode", "half_pixel")
    rounding = "floor" if old else get("nearest_mode", "round_prefer_floor")
    return resized(node.value, sizes[1:], get("mode", "nearest"), how, rounding, str(node))


@covers("BatchNormalization")
def _batch_norm(node: Node) -> Value:
    if node.attributes.get("training_mode"):
        raise Uncovered("it is exported as in training. Export the model in evaluation mode")
    weight, bias, average, variance = (np.asarray(node.weight(i), dtype=np.float64) for i in (1, 2, 3, 4))
    scale = weight / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
    return _by_channel(node.value, scale, bias - average * scale, str(node))


def _by_channel(value: Value, scale: Constant, shift: Constant, node: str) -> Value:
    if len(scale) != value.shape[0]:
        raise Uncovered(f"it has numbers for {len(scale)} channels of {value.shape[0]}")
    shape = (-1, *(1,) * (len(value.shape) - 1))
    return scaled(value, scale.reshape(shape), shift.reshape(shape), node)


@covers("InstanceNormalization")
def _instance_norm(node: Node) -> Value:
    n = len(node.value.shape) - 1
    if n not in (1, 2):
        raise Uncovered(f"it is over values of shape {node.value.shape}")
    weights = {"weight": node.weight(1), "bias": node.weight(2)}
    eps = node.attributes.get("epsilon", 1e-5)
    norm = made(f"InstanceNorm{n}d", weights, num_features=node.value.shape[0], eps=eps, affine=True)
    return then(node.value, norm, str(node))


@covers("GroupNormalization")
def _group_norm(node: Node) -> Value:
    channels, groups = node.value.shape[0], node.attributes["num_groups"]
    eps = node.attributes.get("epsilon", 1e-5)
    normed = then(
        node.value, made("GroupNorm", num_groups=groups, num_channels=channels, eps=eps, affine=False), str(node)
    )
    scale, shift = (np.repeat(x, channels // len(x)) for x in (node.weight(1), node.weight(2)))  # once for each group
    return _by_channel(normed, scale, shift, str(node))


@covers("LayerNormalization")
def _layer_norm(node: Node) -> Value:
    shape = node.value.shape[node.axis(node.attributes.get("axis", -1)) :]
    weight, bias = np.broadcast_to(node.weight(1), shape), node.constant(2)
    weights = {"weight": weight} | ({} if bias is None else {"bias": np.broadcast_to(bias, shape)})
    eps = node.attributes.get("epsilon", 1e-5)
    norm = made(
        "LayerNorm", weights, normalized_shape=list(shape), eps=eps, elementwise_affine=True, bias=bias is not None
    )
    return then(node.value, norm, str(node))


@covers("Mul")
def _mul(node: Node) -> Value:
    values, constants = _parted(node)
    return scaled(values[0], constants[0], np.float32(0), str(node)) if constants else multiplied(*values, str(node))


@covers("Add", "Sum")
def _add(node: Node) -> Value:
    values, constants = _parted(node)
    total = values[0] if len(values) == 1 else summed(values, str(node))
    for constant in constants:
        total = scaled(total, np.float32(1), constant, str(node))
    return total


@covers("Sub")
def _sub(node: Node) -> Value:
    first, second = node.inputs
    if isinstance(first, Value) and isinstance(second, Value):
        return subtracted(first, second, str(node))
    if isinstance(first, Value):
        return scaled(first, np.float32(1), -second, str(node))
    return scaled(second, np.float32(-1), first, str(node))


@covers("Neg")
def _neg(node: Node) -> Value:
    return scaled(node.value, np.float32(-1), np.float32(0), str(node))


@covers("Div")
def _div(node: Node) -> Value:
    if isinstance(node.inputs[1], Value):
        return divided(node.value, node.inputs[1], str(node))
    return scaled(node.value, 1 / np.asarray(node.weight(1), dtype=np.float64), np.float32(0), str(node))


def _parted(node: Node) -> tuple[list[Value], list[Constant]]:
    values = [x for x in node.inputs if isinstance(x, Value)]
    return values, [x for x in node.inputs if isinstance(x, np.ndarray)]


@covers("Flatten")
def _flatten(node: Node) -> Value:
    if node.attributes.get("axis", 1) != 1:
        raise Uncovered("it joins the batch with other axes")
    return reshaped(node.value, (node.value.size,))


@covers("Reshape")
def _reshape(node: Node) -> Value:
    x, target = node.value, [int(n) for n in np.asarray(node.weight(1)).ravel()]
    if not node.attributes.get("allowzero"):
        old = (BATCH, *x.shape)
        target = [old[i] if n == 0 and i < len(old) else n for i, n in enumerate(target)]
    first, rest = target[0], target[1:]
    known = math.prod(n for n in rest if n != -1)
    if -1 in rest and known > 0:
        rest = [x.size // known if n == -1 else n for n in rest]
    if first not in (BATCH, -1, node.batch) or not rest or math.prod(rest) != x.size:
        raise Uncovered(f"it turns values of shape {x.shape} into {tuple(target)}, joined with the batch")
    return reshaped(x, tuple(rest))


@covers("Squeeze", "Unsqueeze")
def _squeeze(node: Node) -> Value:
    x, axes = node.value, node.setting("axes", 1)
    if node.op == "Squeeze":
        axes = [node.axis(int(a)) for a in axes] if axes else [i for i, n in enumerate(x.shape) if n == 1]
        return reshaped(x, tuple(n for i, n in enumerate(x.shape) if i not in axes))
    n = len(x.shape) + 1 + len(axes)
    places = {int(a) % n for a in axes}
    sizes = iter((BATCH, *x.shape))
    shape = [1 if i in places else next(sizes) for i in range(n)]
    if shape[0] != BATCH:
        raise Uncovered("it puts an axis before the batch")
    return reshaped(x, tuple(shape[1:]))


@covers("Transpose")
def _transpose(node: Node) -> Value:
    perm = node.attributes.get("perm") or [*range(len(node.value.shape), -1, -1)]
    if perm[0] != 0:
        raise Uncovered("it moves the batch")
    return then(node.value, Permute([axis - 1 for axis in perm[1:]]), str(node))


@covers("Concat")
def _concat(node: Node) -> Value:
    values, constants = _parted(node)
    if constants:
        raise Uncovered("it joins constants with values")
    return joined(values, node.axis(node.attributes["axis"], values[0]), str(node))


@covers("Split")
def _split(node: Node) -> list[Value]:
    axis = node.axis(node.attributes.get("axis", 0))
    n = node.value.shape[axis]
    size = -(-n // node.n_outputs)
    sizes = node.setting("split", 1) or [min(size, n - i) for i in range(0, n, size)]
    ends = np.cumsum(sizes).tolist()
    if ends[-1] != n or len(sizes) != node.n_outputs:
        raise Uncovered(f"it parts {n} into {sizes}")
    return [cropped(node.value, axis, end - size, end, str(node)) for end, size in zip(ends, sizes, strict=True)]


@covers("Slice")
def _cut(node: Node) -> Value:
    x = node.value
    starts, ends = node.setting("starts", 1), node.setting("ends", 2)
    axes = node.setting("axes", 3, list(range(len(starts))))
    steps = node.setting("steps", 4, [1] * len(starts))
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        behind = node.axis(int(axis))
        start, end, step = slice(int(start), int(end), int(step)).indices(x.shape[behind])
        if step != 1 or start >= end:
            raise Uncovered("it takes every other value, or none")
        x = cropped(x, behind, start, end, str(node))
    return x


@covers("Pad")
def _pad(node: Node) -> Value:
    x, n = node.value, len(node.value.shape)
    pads = [int(p) for p in node.setting("pads", 1)]
    axes = [node.axis(int(a)) for a in node.setting("axes", 3, list(range(1, n + 1)))] if len(pads) != 2 * n + 2 else []
    fill = node.setting("value", 2, [0.0])[0]
    if node.attributes.get("mode", "constant") != "constant" or fill:
        raise Uncovered("it pads with something else than zeros")
    if not axes:
        if pads[0] or pads[n + 1]:
            raise Uncovered("it pads the batch")
        axes, pads = list(range(n)), pads[1 : n + 1] + pads[n + 2 :]
    for axis, before, behind in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        if before or behind:
            x = cropped(x, axis, -before, x.shape[axis] + behind, str(node))
    return x


RANDOM = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial")
# what these make is no larger than what broadcasting their inputs is
FOLDED = {
    "Identity", "Cast", "CastLike", "Size", "Gather", "Unsqueeze", "Squeeze", "Concat", "Slice", "Add", "Sub", "Mul",
    "Div", "Neg", "Sqrt", "Reciprocal", "Floor", "Ceil", "Reshape", "Flatten", "Transpose", "Equal", "Where", "Not",
    "Pow", "Exp", "Log", "Min", "Max", "Mod", "Abs", "ReduceProd", "ReduceSum", "Greater", "Less", "And", "Or", "Split",
    "Shape", "Erf", "Relu", "Sigmoid", "Tanh",
}  # fmt: skip


def folded(node: Node) -> list[Constant]:
    """Compute what depends on constants alone, by ONNX's reference evaluator."""
    from onnx import helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    arrays = [x for x in node.inputs if x is not None]
    if node.op in ("ConstantOfShape", "Expand", "Range", "Tile"):
        last = [int(n) for n in np.asarray(arrays[-1]).ravel()]
        if node.op in ("Range", "Tile") or any(n < 0 for n in last) or math.prod(last) > MOST_CONSTANT:
            raise Uncovered("it makes a constant out of another, larger one")
    elif node.op != "Constant" and node.op not in FOLDED:
        raise Uncovered("is not computed of constants here")
    if node.op in ("Add", "Sub", "Mul", "Div", "Pow", "Where", "Equal", "Min", "Max", "Mod"):
        try:
            size = math.prod(np.broadcast_shapes(*(np.shape(x) for x in arrays)))
        except ValueError as error:
            raise Uncovered(f"its constants do not go together: {error}") from error
        if size > MOST_CONSTANT:
            raise Uncovered("it makes a constant that is too large")
    try:
        names = list(dict.fromkeys(name for name in node.proto.input if name))
        by_name = dict(zip(node.proto.input, node.inputs, strict=True))
        weights = [numpy_helper.from_array(np.asarray(by_name[name]), name) for name in names]
        results = [helper.make_empty_tensor_value_info(name) for name in node.proto.output if name]
        graph = helper.make_graph([node.proto], "constants", [], results, weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", node.opset)])
        return [np.asarray(x) for x in ReferenceEvaluator(model).run(None, {})]
    except Exception as error:  # whatever numpy says of constants that do not fit
        raise Uncovered(f"its constants cannot be computed: {str(error)[:200]}") from error
