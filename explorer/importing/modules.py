"""Modules of torch: plain stacks of our layers as they are, all others by way of ONNX."""

import copy
import io
import warnings

import torch
import torch.nn as nn

from explorer.importing import parts, reading
from explorer.importing.parts import Enter, Piece
from explorer.importing.reading import ImportFault
from explorer.importing.stack import Uncovered

OPSET = 18  # which every version of torch since 2.6 writes


def form(decoder: nn.Module, encoder: Piece) -> tuple[int, ...]:
    """Find what a decoder takes: the shape of the encoder's first output, or half of it."""
    shape = next(iter(encoder.values.values())).shape
    for tried in (shape, (shape[0] // 2, *shape[1:])):
        try:
            with torch.inference_mode():
                decoder(torch.zeros(2, *tried))
            return tried
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            reason = str(error).partition("\n")[0]
    raise ImportFault(f"encoder and decoder do not fit together: the decoder does not take codes of {shape} ({reason})")


def own(module: nn.Module) -> nn.Module:
    """Copy a module, for the CPU and evaluation, so that what is done to it is not done to the caller's."""
    return copy.deepcopy(module).cpu().eval().requires_grad_(False)


def piece(module: nn.Module, enter: Enter, example: torch.Tensor) -> Piece:
    """Take a module: a plain stack of our layers as it is, any other by way of ONNX; see `parts.of_graph`.

    module: one of `own`. example: inputs `(2, *shape)`.
    """
    example = example.flatten(1) if _takes_flat(module, example) else example
    try:
        return parts.of_module(module, enter(tuple(example.shape[1:])))
    except (LookupError, Uncovered):
        return parts.named(reading.parse(_exported(module, example), type(module).__name__), enter)


def _takes_flat(module: nn.Module, example: torch.Tensor) -> bool:
    """Whether a module takes images as rows of numbers."""
    with torch.inference_mode():
        try:
            module(example)
            return False
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            try:
                module(example.flatten(1))
                return True
            except (RuntimeError, ValueError, TypeError, IndexError):
                reason = str(error).partition("\n")[0]
                shape = tuple(example.shape)
                name = type(module).__name__
                raise ImportFault(f"{name} does not take images of the shape {shape} ({reason})") from error


def _exported(module: nn.Module, example: torch.Tensor) -> bytes:
    """Export a module to ONNX, for a batch of any size, by the exporter that needs no further package.

    Raises:
        ImportFault: torch cannot.
    """
    reading.onnx()
    content = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its deprecation, and of shapes that it takes for constants
            torch.onnx.export(
                module, (example,), content, dynamo=False, opset_version=OPSET, input_names=["x"],
                dynamic_axes={"x": {0: "batch"}},
            )  # fmt: skip
    except Exception as error:  # the exporter has dozens
        reason = str(error).strip().partition("\n")[0][:300]
        raise ImportFault(f"{type(module).__name__} cannot be exported to ONNX: {reason}") from error
    return content.getvalue()
