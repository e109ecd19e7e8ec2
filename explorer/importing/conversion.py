"""From a graph to the values at its outputs: every operator in order, what is not needed passed over."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from explorer.graph import MOST_LAYERS
from explorer.importing.operators import BATCH, OPERATORS, RANDOM, Node, folded
from explorer.importing.reading import Graph
from explorer.importing.stack import Uncovered, Value

DRAWN = "drawn at random"


class Missing(ValueError):
    """Operators of a graph are not covered; the message names them with their nodes."""


def outputs(graph: Graph, start: Value) -> dict[str, Value | None]:
    """Convert a graph whose image, or code, is `start`; by output, None for one that is drawn at random.

    Raises:
        Missing: an output needs an operator that is not covered.
    """
    known = _constants(graph)
    [name], [shape] = graph.inputs.keys(), graph.inputs.values()
    known[name] = start
    needed = _needed(graph)
    for i, proto in enumerate(graph.proto.graph.node):
        if i in needed:
            known |= _results(proto, known, graph, shape[0] if shape else None)
    found = {name: known.get(name) for name in graph.outputs}
    if missing := {str(x): None for x in found.values() if isinstance(x, Uncovered)}:
        raise Missing("; ".join(missing))
    if wrong := [name for name, x in found.items() if not isinstance(x, Value | str)]:
        raise graph.fault(f"has an output {wrong[0]!r} that does not depend on its input")
    return {name: x if isinstance(x, Value) else None for name, x in found.items()}


def _constants(graph: Graph) -> dict[str, Any]:
    from onnx import numpy_helper

    try:
        found = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.proto.graph.initializer}
    except (TypeError, ValueError) as error:
        raise graph.fault(f"is truncated: a tensor of its weights is not as large as it says ({error})") from error
    found = {k: v.astype(np.float32) if v.dtype.kind not in "iubUSO" else v for k, v in found.items()}
    return {"": None} | found


def _needed(graph: Graph) -> set[int]:
    """Find the nodes that lead to an output, by number."""
    wanted, found = set(graph.outputs), set()
    for i, node in reversed(list(enumerate(graph.proto.graph.node))):
        if wanted.intersection(node.output):
            found.add(i)
            wanted.update(node.input)
    return found


def _results(proto: Any, known: dict[str, Any], graph: Graph, batch: int | None) -> dict[str, Any]:
    """Convert one operator; what it lacks stands in the place of its outputs, and of all that needs these."""
    from onnx.helper import get_attribute_value

    inputs = [known.get(name, Uncovered(f"nothing makes {name!r}")) for name in proto.input]
    if proto.op_type in RANDOM or any(isinstance(x, str) for x in inputs):
        return dict.fromkeys(proto.output, DRAWN)
    if poison := [x for x in inputs if isinstance(x, Uncovered)]:
        return dict.fromkeys(proto.output, poison[0])
    attributes = {a.name: get_attribute_value(a) for a in proto.attribute}
    attributes = {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()}
    name = proto.name or next(filter(None, proto.output), "")
    op = proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}"
    node = Node(op, name, inputs, attributes, graph.opset, len([o for o in proto.output if o]), batch, proto)
    try:
        made = _converted(node)
    except Uncovered as error:
        return dict.fromkeys(proto.output, Uncovered(f"{node}: {error}"))
    except (ArithmeticError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        return dict.fromkeys(proto.output, Uncovered(f"{node}: it is not as ONNX has it ({error})"))
    return dict(zip((o for o in proto.output), made, strict=False))


def _converted(node: Node) -> Iterable[Value | np.ndarray]:
    values = [x for x in node.inputs if isinstance(x, Value)]
    if not values:
        return folded(node)
    if node.op == "Shape":
        first, last = node.attributes.get("start", 0), node.attributes.get("end")
        return [np.array((BATCH, *values[0].shape)[first:last])]
    if node.op not in OPERATORS:
        raise Uncovered("it is not covered")
    found = OPERATORS[node.op](node)
    found = found if isinstance(found, list) else [found]
    if any(len(value.path()) > MOST_LAYERS for value in found):
        raise Uncovered(f"there are more than {MOST_LAYERS:,} layers before it")
    return found
