"""ONNX files: read with limits, so that a damaged or hostile one is refused before it takes memory or other files."""

import hashlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOST_BYTES = 1 << 30  # of a file, and of all weights: 250 million numbers
MOST_NODES = 20_000
OPSETS = range(9, 24)
OLDEST = (1, 23)  # of the package: before, its reference evaluator pads convolutions wrongly
NEEDED = "ONNX files are read by the package onnx, of version {}.{} or newer: pip install -U onnx".format(*OLDEST)


class ImportFault(ValueError):
    """A model cannot be imported; the message says of which file, why, and what can be done."""


@dataclass(frozen=True)
class Graph:
    """An ONNX graph that was read whole.

    proto: the model, its weights inside. name, digest: of its file, the digest a SHA-256 in hexadecimal.
    """

    name: str
    digest: str
    proto: Any

    @property
    def opset(self) -> int:
        """The version of ONNX's own operators."""
        return next(o.version for o in self.proto.opset_import if o.domain in ("", "ai.onnx"))

    @property
    def inputs(self) -> dict[str, tuple[int | None, ...]]:
        """Name the inputs that are no weights, each with its shape, None where it is open."""
        weights = {tensor.name for tensor in self.proto.graph.initializer}
        return {v.name: _shape(v) for v in self.proto.graph.input if v.name not in weights}

    @property
    def outputs(self) -> dict[str, tuple[int | None, ...]]:
        """Name the outputs, each with its shape, None where it is open."""
        return {v.name: _shape(v) for v in self.proto.graph.output}

    @property
    def n_parameters(self) -> int:
        """Count the numbers in its weights."""
        return sum(math.prod(tensor.dims) for tensor in self.proto.graph.initializer)

    def fault(self, reason: str) -> ImportFault:
        """Make the error that says what is wrong with this file."""
        return ImportFault(f"{self.name} {reason}")


def _shape(value: Any) -> tuple[int | None, ...]:
    dims = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in dims)


def onnx() -> Any:
    """Import the package onnx.

    Raises:
        ImportFault: it is not installed, or too old.
    """
    try:
        import onnx as package
        import onnx.external_data_helper
        import onnx.inliner
        import onnx.numpy_helper
        import onnx.reference
    except ImportError as error:
        raise ImportFault(NEEDED) from error
    if tuple(map(int, package.__version__.split(".")[:2])) < OLDEST:
        raise ImportFault(f"{NEEDED} ({package.__version__} is installed)")
    return package


def read(path: Path) -> Graph:
    """Read an ONNX file, with the weights that lie in files beside it.

    Raises:
        ImportFault: it is missing, truncated, too large, of an opset that is not known here, or names a file of weights
            outside its folder.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise ImportFault(f"{path} has {size / 1e6:,.0f} MB; {MOST_BYTES / 1e6:,.0f} are the most")
        content = path.read_bytes()
    except OSError as error:
        raise ImportFault(f"{path} cannot be read: {error.strerror or error}") from error
    return parse(content, path.name, path.parent)


def parse(content: bytes, name: str, folder: Path | None = None) -> Graph:
    """Read the bytes of an ONNX file; its weights may lie in files of `folder`, else all have to be in it."""
    package = onnx()
    try:
        proto = package.ModelProto.FromString(content)
    except Exception as error:  # protobuf's two implementations have an error each
        raise ImportFault(f"{name} is truncated, or no ONNX file") from error
    if not proto.graph.node or not proto.graph.output:
        raise ImportFault(f"{name} is truncated, or no ONNX file: it holds no graph")
    if len(proto.graph.node) > MOST_NODES:
        raise ImportFault(f"{name} has {len(proto.graph.node):,} operators; {MOST_NODES:,} are the most")
    graph = Graph(name, hashlib.sha256(content).hexdigest(), proto)
    versions = [o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")]
    if not versions or versions[0] not in OPSETS:
        found = f"opset {versions[0]}" if versions else "no opset"
        raise graph.fault(f"is written in {found}; {OPSETS[0]} to {OPSETS[-1]} are read. Export it with one of these")
    _check_tensors(graph, folder)
    if folder is not None:
        package.external_data_helper.load_external_data_for_model(proto, str(folder))
    if proto.functions:
        graph = Graph(name, graph.digest, package.inliner.inline_local_functions(proto))
    return graph


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from ([attribute.t] if attribute.HasField("t") else attribute.tensors)
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from _tensors(inner)


def _check_tensors(graph: Graph, folder: Path | None) -> None:
    """See that every tensor is as large as it says, and lies where it may."""
    total = 0
    for tensor in _tensors(graph.proto.graph):
        if any(n < 0 for n in tensor.dims):
            raise graph.fault(f"holds a tensor {tensor.name!r} of negative size")
        total += 4 * math.prod(tensor.dims)
        if total > MOST_BYTES:
            raise graph.fault(f"holds weights of more than {MOST_BYTES / 1e6:,.0f} MB")
        if tensor.data_location == tensor.EXTERNAL:
            _check_outside(graph, tensor, folder)


def _check_outside(graph: Graph, tensor: Any, folder: Path | None) -> None:
    where = {entry.key: entry.value for entry in tensor.external_data}
    location = where.get("location", "")
    if folder is None:
        raise graph.fault(f"keeps weights in a file of its own, {location!r}, and is to hold them all")
    try:
        path, home = (folder / location).resolve(strict=True), folder.resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise graph.fault(f"keeps weights in {location!r}, which is not beside it. Copy both to one folder") from error
    if os.path.isabs(location) or not path.is_relative_to(home) or not path.is_file():
        raise graph.fault(f"names {location!r} as a file of its weights, which lies outside its folder: refused")
    try:
        begin, length = (int(where.get(key) or 0) for key in ("offset", "length"))
    except ValueError as error:
        raise graph.fault(f"does not say which part of {location!r} holds {tensor.name!r}") from error
    size = path.stat().st_size
    if begin < 0 or length < 0 or begin + length > size or size > MOST_BYTES:
        raise graph.fault(f"wants {length:,} bytes of {location!r}, which is truncated or too large: it has {size:,}")
