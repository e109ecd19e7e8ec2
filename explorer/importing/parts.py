"""One part of a model that was made elsewhere, an encoder, a decoder or a classifier: read, converted and checked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn as nn

from explorer import graph as layers
from explorer.graph import Permute
from explorer.importing import conversion
from explorer.importing.convolutions import cropped
from explorer.importing.reading import Graph, ImportFault
from explorer.importing.stack import POINTWISE, Part, Uncovered, Value, merged, reshaped, scaled, then

TOLERANCE = 1e-4
Enter = Callable[[tuple[int | None, ...]], Value]
Run = Callable[[torch.Tensor], list[torch.Tensor]]


@dataclass(frozen=True)
class Piece:
    """A part as it was made and as we have it.

    name: of its file, or class. shape: of one input in its own form, None where that is open. values: what we make of
    each output, in its own form. reference: computes the same from inputs in its own form. digest: of the file, if any.
    uncovered: the operators that onnxruntime runs in our place, in words.
    """

    name: str
    entry: Value
    values: dict[str, Value]
    reference: Run = field(repr=False)
    digest: str = ""
    uncovered: str = ""

    def difference(self, x: torch.Tensor) -> float:
        """Compare all outputs with the reference on inputs in our form: the largest difference, of 1 or their largest.

        Raises:
            ImportFault: they differ by more than `TOLERANCE`.
        """
        worst = 0.0
        with torch.inference_mode():
            own = self.entry.stack()(x).contiguous()
            for (name, value), expected in zip(self.values.items(), self.reference(own), strict=True):
                found, expected = run(value, x).flatten(1), expected.reshape(len(x), -1)
                if found.shape != expected.shape or not expected.isfinite().all():
                    raise ImportFault(f"{self.name}: its output {name!r} is not finite, or of another shape than said")
                worst = max(worst, ((found - expected).abs().max() / max(1.0, expected.abs().max().item())).item())
        if not worst <= TOLERANCE:
            raise ImportFault(
                f"{self.name} was read wrongly: our layers differ from it by {worst:.2g}, and may by {TOLERANCE:g}. "
                "Please report it with the file"
            )
        return worst


def run(value: Value, x: torch.Tensor) -> torch.Tensor:
    """Compute a value from inputs in our form."""
    if isinstance(value.layer, Part) and value.layer.name in ("Softmax", "LogSoftmax"):
        y = run(value.before, x)
        return y.softmax(1) if value.layer.name == "Softmax" else y.log_softmax(1)
    return merged(value.stack())(x)


def of_graph(graph: Graph, enter: Enter) -> Piece:
    """Convert a graph; `enter` makes the value of our input that has the form of its own.

    Raises:
        ImportFault: it has more than one input, or operators that are neither covered nor run by onnxruntime.
    """
    if len(graph.inputs) != 1:
        names = ", ".join(graph.inputs) or "none"
        raise graph.fault(f"has the inputs {names}, and is to have one. Export the model without the others")
    [shape] = graph.inputs.values()
    if len(shape) < 2:
        raise graph.fault(f"takes an input of shape {shape}, which has no axis for a batch")
    entry = enter(shape[1:])
    try:
        found = conversion.outputs(graph, entry)
        for value in found.values():
            if value is not None and not isinstance(value.layer, Part):
                value.stack()
        values = {name: value for name, value in found.items() if value is not None}
        if not values:
            raise graph.fault(
                "has nothing but samples for its output. Export mean and log-variance, as outputs before the sample"
            )
        names = list(values)
        return Piece(graph.name, entry, values, _evaluator(graph, names, shape[0]), graph.digest)
    except (conversion.Missing, Uncovered) as error:
        return _foreign(graph, entry, shape[0], str(error))


def _evaluator(graph: Graph, names: Sequence[str], batch: int | None) -> Run:
    """Make the function that computes outputs by ONNX's reference evaluator, or by onnxruntime where that fails."""
    from onnx.reference import ReferenceEvaluator

    [source] = graph.inputs

    proto = _for_reference(graph)

    def compute(x: np.ndarray) -> list[np.ndarray]:
        return ReferenceEvaluator(proto).run(list(names), {source: x})

    def reference(x: torch.Tensor) -> list[torch.Tensor]:
        try:
            return _in_batches(compute, x, batch)
        except Exception as error:  # of many classes: transposed convolutions of a given output shape, for one
            try:
                return _session_run(_with_outputs(graph, names), batch)(x)
            except layers.NotInstalled:
                reason = str(error).partition("\n")[0][:200]
                raise graph.fault(
                    f"is not run by ONNX's reference evaluator ({reason}). It can be compared with onnxruntime: "
                    "pip install onnxruntime"
                ) from error

    return reference


def _for_reference(graph: Graph) -> Any:
    """Write a graph so that ONNX's reference evaluator computes what ONNX says.

    Before opset 14 it mixes the mean of a batch into batch norm, which a momentum of 1 undoes; of the groups of a
    transposed convolution it takes wrong weights, which are written as one group here, zeros between them.
    """
    from onnx import helper, numpy_helper

    proto = type(graph.proto)()
    proto.CopyFrom(graph.proto)
    weights = {tensor.name: tensor for tensor in graph.proto.graph.initializer}
    for node in proto.graph.node:
        changed = {}
        if node.op_type == "BatchNormalization" and graph.opset < 14:
            changed = {"momentum": 1.0}
        groups = [a.i for a in node.attribute if a.name == "group" and a.i > 1]
        if node.op_type == "ConvTranspose" and groups and node.input[1] in weights:
            whole = _as_one_group(numpy_helper.to_array(weights[node.input[1]]), groups[0])
            node.input[1] += " of all groups"
            proto.graph.initializer.append(numpy_helper.from_array(whole, node.input[1]))
            changed = {"group": 1}
        kept = [attribute for attribute in node.attribute if attribute.name not in changed]
        del node.attribute[:]
        node.attribute.extend(kept + [helper.make_attribute(name, value) for name, value in changed.items()])
    return proto


def _as_one_group(weight: np.ndarray, groups: int) -> np.ndarray:
    """Write weights `(in, out / groups, h, w)` as `(in, out, h, w)`, with zeros between the groups."""
    n_in, n_out = len(weight) // groups, weight.shape[1]
    whole = np.zeros((len(weight), n_out * groups, *weight.shape[2:]), weight.dtype)
    for g in range(groups):
        rows = slice(g * n_in, (g + 1) * n_in)
        whole[rows, g * n_out : (g + 1) * n_out] = weight[rows]
    return whole


def _in_batches(compute: Callable[[np.ndarray], list[Any]], x: torch.Tensor, batch: int | None) -> list[torch.Tensor]:
    size = batch or len(x)
    padded = torch.cat([x, x.new_zeros(-len(x) % size, *x.shape[1:])])
    parts = [compute(part.numpy()) for part in padded.split(size)]
    return [
        torch.cat([torch.from_numpy(np.array(y)).reshape(size, -1) for y in out])[: len(x)]
        for out in zip(*parts, strict=True)
    ]


def _foreign(graph: Graph, entry: Value, batch: int | None, reason: str) -> Piece:
    """Keep a graph as it is, for onnxruntime: outputs that differ from run to run are drawn at random, and dropped."""
    content = graph.proto.SerializeToString()
    try:
        session = layers.session(content)
        x = np.full((batch or 1, *entry.shape), 0.5, np.float32)
        first, second = (session.run(None, {next(iter(graph.inputs)): x}) for _ in range(2))
    except layers.NotInstalled as error:
        raise graph.fault(
            f"has an operator that is not covered ({reason}). It can be imported all the same, to be computed on the "
            "server, where onnxruntime is installed: pip install onnxruntime"
        ) from error
    except Exception as error:
        raise graph.fault(f"has an operator that is not covered ({reason}), and onnxruntime: {error}") from error
    steady = {
        name: y.shape[1:] for name, y, z in zip(graph.outputs, first, second, strict=True) if np.array_equal(y, z)
    }
    if not steady:
        raise graph.fault("has nothing but samples for its output")
    content = _with_outputs(graph, list(steady))
    return Piece(
        graph.name, entry, _by_onnxruntime(graph, content, steady, entry, batch or 0), _session_run(content, batch),
        graph.digest, reason,
    )  # fmt: skip


def _with_outputs(graph: Graph, names: Sequence[str]) -> bytes:
    """Write a graph with some of its outputs alone."""
    own = type(graph.proto)()
    own.CopyFrom(graph.proto)
    kept = [output for output in own.graph.output if output.name in names]
    del own.graph.output[:]
    own.graph.output.extend(kept)
    return own.SerializeToString()


def _session_run(content: bytes, batch: int | None) -> Run:
    session = layers.session(content)
    name = session.get_inputs()[0].name
    return lambda x: _in_batches(lambda part: session.run(None, {name: part}), x, batch)


def _by_onnxruntime(
    graph: Graph, content: bytes, outputs: Mapping[str, Sequence[int]], entry: Value, batch: int
) -> dict[str, Value]:
    """Make the values of a graph's outputs: one module that gives all of them in a row, and its parts."""
    ends = np.cumsum([int(np.prod(shape)) for shape in outputs.values()]).tolist()
    module = layers.Foreign(len(content), entry.shape, ends[-1], batch, graph.n_parameters)
    module.content = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    whole = then(entry, module, graph.name)
    parts = [cropped(whole, 0, start, end, graph.name) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    return {
        name: reshaped(part, tuple(map(int, shape))) for part, (name, shape) in zip(parts, outputs.items(), strict=True)
    }


def of_module(module: nn.Module, entry: Value) -> Piece:
    """Take a module whose layers are all ours, without ONNX; it computes the reference itself.

    Raises:
        LookupError: it holds a layer that is none of ours; the message is the layer.
        Uncovered: its layers do not fit the input.
    """
    value = entry
    for layer in layers.plain(module):
        layers.describe(nn.Sequential(layer))
        value = then(value, layer)
    return Piece(type(module).__name__, entry, {"output": value}, lambda x: [module(x)])


def named(graph: Graph, enter: Enter) -> Piece:
    """Convert a graph as `of_graph` does, with its name in every message."""
    try:
        return of_graph(graph, enter)
    except ImportFault as error:
        if graph.name in str(error):
            raise
        raise graph.fault(str(error)) from error


def size_of(shape: Sequence[int]) -> int:
    """Count the numbers of a shape."""
    return int(np.prod(shape))


def image_entry(image: tuple[int, int, int], scale: np.ndarray, shift: np.ndarray) -> Enter:
    """Make the function that brings pixels `(C, H, W)` in [0, 1] into the form in which a part takes them."""

    def enter(shape: tuple[int | None, ...]) -> Value:
        value = scaled(Value(image), scale, shift)
        channels, height, width = image
        if _fits(shape, image):
            return value
        if _fits(shape, (height, width, channels)):
            return then(value, Permute((1, 2, 0)))
        if channels == 1 and _fits(shape, (height, width)):
            return reshaped(value, (height, width))
        if _fits(shape, (value.size,)):
            return reshaped(value, (value.size,))
        raise ImportFault(f"takes images of the shape {_size(shape)}, and the data set's have {_size(image)}")

    return enter


def _fits(declared: Sequence[int | None], shape: Sequence[int]) -> bool:
    return len(declared) == len(shape) and all(a in (None, b) for a, b in zip(declared, shape, strict=True))


def _size(shape: Sequence[int | None]) -> str:
    return " × ".join("?" if n is None else str(n) for n in shape)


def as_image(value: Value, image: tuple[int, int, int], name: str) -> Value:
    """Bring what a decoder makes into the form `(C, H, W)`."""
    if isinstance(value.layer, POINTWISE):
        return then(as_image(value.before, image, name), value.layer)
    channels, height, width = image
    if value.shape == image:
        return value
    if value.shape == (height, width, channels):
        return then(value, Permute((2, 0, 1)))
    if value.shape in ((height, width), (value.size,)) and value.size == channels * height * width:
        return reshaped(value, image)
    raise ImportFault(f"{name} makes images of the shape {_size(value.shape)}, and the data set's have {_size(image)}")
