"""Stacks of layers as data: models that were made elsewhere, described layer by layer.

    [{"layer": "Conv2d", "in_channels": 1, "out_channels": 8, "kernel_size": [3, 3], ...}, {"layer": "ReLU"}, ...]

`build` makes the stack that a description names, `describe` describes one; weights travel apart, in its `state_dict`.
Only what stands in `LAYERS` is ever made, by its own arguments, so a description is data and nothing in it can run.
Beside layers of `torch.nn` there are those that a plain stack needs to say what a graph says: axes, constants, sums and
joins of branches.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
import torch.nn as nn

from explorer.blocks import Residual

MOST_LAYERS = 2_000
DEEPEST = 20  # branches within branches
MOST_VALUES = 2**27  # that all layers make of one image: half a gigabyte
MOST_MULTIPLICATIONS = 10**11  # for one image: six times those of VGG-16 at 224 × 224
OUTSIDE = b"\x0a\x08location"  # the key of external data in the bytes of a graph

Description = Sequence[Mapping[str, Any]]


class NotInstalled(RuntimeError):
    """A package that a model needs is not installed; the message says what to do."""


class Permute(nn.Module):
    """Put the axes behind the batch in another order; `(2, 0, 1)` turns `(B, H, W, C)` into `(B, C, H, W)`."""

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        self.order = tuple(order)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map `(B, *shape)` to a tensor whose axis i behind the batch is the input's axis `order[i]`."""
        return x.permute(0, *(axis + 1 for axis in self.order))

    def extra_repr(self) -> str:
        """Say the order, as other layers say what they are made of."""
        return f"{self.order}"


class Scale(nn.Module):
    """Multiply every channel, or feature, by a number of its own and add another: x * scale + shift, both `(C,)`."""

    def __init__(self, scale: torch.Tensor, shift: torch.Tensor) -> None:
        super().__init__()
        self.channels = len(scale)
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map `(B, C)` or `(B, C, H, W)` to the same shape."""
        shape = (1, -1, *(1,) * (x.ndim - 2))
        return x * self.scale.view(shape) + self.shift.view(shape)


class Sum(nn.Module):
    """Add what branches make of the same input; an empty one gives the input itself."""

    def __init__(self, branches: Sequence[nn.Sequential]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map `(B, *shape)` to the sum of what the branches give, all of one shape."""
        first, *others = (branch(x) for branch in self.branches)
        for other in others:
            first = first + other
        return first


class Concat(nn.Module):
    """Join what branches make of the same input along channels, or features; an empty one gives the input itself."""

    def __init__(self, branches: Sequence[nn.Sequential]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map `(B, *shape)` to `(B, C_1 + C_2 + …, …)`, branches that agree in all other axes."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class Log(nn.Module):
    """Take the natural logarithm of probabilities, of none that is below 1e-12."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map probabilities of any shape to logits of the same."""
        return x.clamp(min=1e-12).log()


class Foreign(nn.Module):
    """A graph that is not in our layers, kept as the bytes of its ONNX file and run by onnxruntime, on the CPU.

    content: uint8 `(size,)`. shape: of one input, without the batch. n_out: the numbers of all its outputs, one after
    another. batch: how many inputs it takes at a time, 0 for any.
    """

    def __init__(self, size: int, shape: Sequence[int], n_out: int, batch: int, n_parameters: int) -> None:
        super().__init__()
        self.size, self.shape, self.n_out, self.batch = size, tuple(shape), n_out, batch
        self.n_parameters = n_parameters
        self.register_buffer("content", torch.zeros(size, dtype=torch.uint8))

    @cached_property
    def session(self) -> Any:
        """Start onnxruntime on the graph; raises as `session`."""
        return session(self.content.cpu().numpy().tobytes())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map `(B, *shape)` to `(B, n_out)`; on the device "meta" by shape alone."""
        if x.device.type == "meta":
            if x.shape[1:] != self.shape:
                raise ValueError(f"a graph takes {self.shape}, not {tuple(x.shape[1:])}")
            return x.new_empty(len(x), self.n_out)
        n, size = len(x), self.batch or len(x)
        padded = torch.cat([x, x.new_zeros(-n % size, *self.shape)]).cpu().float()
        name = self.session.get_inputs()[0].name
        parts = [self.session.run(None, {name: part.numpy()}) for part in padded.split(size)]
        flat = [torch.cat([torch.from_numpy(y).float().reshape(size, -1) for y in part], 1) for part in parts]
        return torch.cat(flat)[:n].to(x.device)


def session(content: bytes) -> Any:
    """Start onnxruntime on the bytes of an ONNX file that holds all its weights, with a single thread.

    Raises:
        NotInstalled: there is no onnxruntime.
        ValueError: the graph names files outside itself, or is none that onnxruntime takes.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise NotInstalled(
            "This model has operators that are not among our layers, and is run by onnxruntime, which is not "
            "installed: pip install onnxruntime"
        ) from error
    if OUTSIDE in content:
        raise ValueError("the graph names files outside itself")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what fails is said by an exception
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class of its own for each reason
        raise ValueError(f"onnxruntime does not take the graph: {str(error)[:300]}") from error


_CONVOLUTION = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias")
_NORM = ("num_features", "eps", "affine")

# by the name of the class, what it is made of: arguments that are its attributes, too
LAYERS: dict[str, tuple[Callable[..., nn.Module], tuple[str, ...]]] = {
    "Linear": (nn.Linear, ("in_features", "out_features", "bias")),
    "Conv2d": (nn.Conv2d, _CONVOLUTION),
    "ConvTranspose2d": (nn.ConvTranspose2d, (*_CONVOLUTION, "output_padding")),
    "BatchNorm1d": (nn.BatchNorm1d, _NORM),
    "BatchNorm2d": (nn.BatchNorm2d, _NORM),
    "InstanceNorm1d": (nn.InstanceNorm1d, _NORM),
    "InstanceNorm2d": (nn.InstanceNorm2d, _NORM),
    "GroupNorm": (nn.GroupNorm, ("num_groups", "num_channels", "eps", "affine")),
    "LayerNorm": (nn.LayerNorm, ("normalized_shape", "eps", "elementwise_affine", "bias")),
    "ReLU": (nn.ReLU, ()),
    "LeakyReLU": (nn.LeakyReLU, ("negative_slope",)),
    "ELU": (nn.ELU, ("alpha",)),
    "GELU": (nn.GELU, ("approximate",)),
    "SiLU": (nn.SiLU, ()),
    "Sigmoid": (nn.Sigmoid, ()),
    "Tanh": (nn.Tanh, ()),
    "Softplus": (nn.Softplus, ("beta", "threshold")),
    "Flatten": (nn.Flatten, ()),
    "Unflatten": (nn.Unflatten, ("dim", "unflattened_size")),
    "MaxPool2d": (nn.MaxPool2d, ("kernel_size", "stride", "padding", "dilation", "ceil_mode")),
    "AvgPool2d": (nn.AvgPool2d, ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")),
    "Upsample": (nn.Upsample, ("size", "scale_factor", "mode", "align_corners")),
    "Permute": (Permute, ("order",)),
    "Scale": (lambda channels: Scale(torch.ones(channels), torch.zeros(channels)), ("channels",)),
    "Log": (Log, ()),
    "Foreign": (Foreign, ("size", "shape", "n_out", "batch", "n_parameters")),
}
BRANCHED: dict[str, Callable[..., nn.Module]] = {"Residual": Residual, "Sum": Sum, "Concat": Concat}


def describe(stack: nn.Sequential) -> list[dict[str, Any]]:
    """Describe a stack as JSON can hold it; stacks within are taken for their layers, and dropout for nothing.

    Raises:
        LookupError: a layer is none of `LAYERS` as it is there; its message is the layer.
    """
    return [_describe(layer) for layer in plain(stack)]


def plain(stack: nn.Module) -> list[nn.Module]:
    """List the layers of a stack, and of those within it, as they act in evaluation mode."""
    if isinstance(stack, nn.Sequential):
        return [layer for part in stack for layer in plain(part)]
    return [] if isinstance(stack, nn.Dropout | nn.Dropout2d | nn.Identity) else [stack]


def _describe(layer: nn.Module) -> dict[str, Any]:
    name = type(layer).__name__
    if isinstance(layer, Residual):
        return {"layer": name, "body": describe(layer.body)}
    if isinstance(layer, Sum | Concat):
        return {"layer": name, "branches": [describe(branch) for branch in layer.branches]}
    if name not in LAYERS or not _as_described(layer):
        raise LookupError(str(layer).partition("\n")[0])
    values = {key: getattr(layer, key) for key in LAYERS[name][1]}
    if "bias" in values:
        values["bias"] = layer.bias is not None
    return {"layer": name, **{k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}}


def _as_described(layer: nn.Module) -> bool:
    """Whether what a description leaves out is as it is by default."""
    made = LAYERS[type(layer).__name__][0]
    if isinstance(made, type) and type(layer) is not made:
        return False
    usual = {
        "padding_mode": "zeros", "return_indices": False, "divisor_override": None, "start_dim": 1, "end_dim": -1,
        "recompute_scale_factor": None,
    }  # fmt: skip
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        usual["track_running_stats"] = True
    if isinstance(layer, nn.InstanceNorm1d | nn.InstanceNorm2d):
        usual["track_running_stats"] = False
    return all(getattr(layer, key, value) == value for key, value in usual.items())


def build(description: Description) -> nn.Sequential:
    """Make the stack that a description names, with weights as they begin.

    Raises:
        ValueError: it names a layer that is none of `LAYERS`, with other arguments, or too many of them.
    """
    if (n := _count(description, 0)) > MOST_LAYERS:
        raise ValueError(f"it has {n:,} layers; {MOST_LAYERS:,} are the most")
    return _build(description)


def _build(description: Description) -> nn.Sequential:
    return nn.Sequential(*(_made(dict(values)) for values in description))


def _made(values: dict[str, Any]) -> nn.Module:
    name = values.pop("layer")
    if name == "Residual":
        return Residual(_build(values["body"]))
    if name in BRANCHED:
        return BRANCHED[name]([_build(branch) for branch in values["branches"]])
    make, arguments = LAYERS[name]
    if set(values) != set(arguments):
        raise ValueError(f"a layer {name} is made of {', '.join(arguments) or 'nothing'}, not {', '.join(values)}")
    return make(**{key: _argument(value) for key, value in values.items()})


def _argument(value: Any) -> Any:
    if isinstance(value, list | tuple):
        if len(value) > 8 or not all(type(n) is int and abs(n) < 2**31 for n in value):
            raise ValueError("a layer is made of a list that is not a few whole numbers")
        return tuple(value)
    if value is not None and not isinstance(value, str) and not abs(value) < 2**40:
        raise ValueError("a layer is made of a number out of all bounds")
    return value


def _count(description: Description, depth: int) -> int:
    """Count layers, those of branches too, and see that all are named in `LAYERS`."""
    if depth > DEEPEST:
        raise ValueError(f"its branches lie more than {DEEPEST} deep in one another")
    if not isinstance(description, list | tuple):
        raise ValueError("it is no list of layers")
    total = 0
    for values in description:
        name = values.get("layer") if isinstance(values, dict) else None
        if not isinstance(name, str) or name not in (LAYERS | BRANCHED):
            raise ValueError(f"it names a layer {name!r}, which is none of ours")
        within = [values.get("body")] if name == "Residual" else values.get("branches") if name in BRANCHED else []
        if not isinstance(within, list | tuple) or (name in BRANCHED and set(values) - {"layer", "body", "branches"}):
            raise ValueError(f"a layer {name} has no list of branches")
        total += 1 + sum(_count(branch, depth + 1) for branch in within)
    return total


@torch.inference_mode()
def shape_after(stack: nn.Module, shape: Sequence[int]) -> tuple[int, ...]:
    """Say what shape `(*shape)`, without the batch, comes out as; computed on the device "meta", without memory.

    Raises:
        ValueError: the layers do not fit the shape or one another, or one image would take too much to compute.
    """
    values = products = 0

    def count(layer: nn.Module, x: tuple[torch.Tensor], y: torch.Tensor) -> None:
        nonlocal values, products
        values += y.numel()
        products += multiplications(layer, x[0], y)
        if values > MOST_VALUES or products > MOST_MULTIPLICATIONS:
            raise ValueError(f"it would compute {values:,} values and {products:,} products for one image")

    hooks = [layer.register_forward_hook(count) for layer in stack.modules() if not isinstance(layer, nn.Sequential)]
    try:
        return tuple(stack.eval()(torch.empty(1, *shape, device="meta")).shape[1:])
    except (RuntimeError, TypeError, IndexError) as error:
        raise ValueError(f"its layers do not fit together: {str(error).partition(chr(10))[0][:200]}") from error
    finally:
        for hook in hooks:
            hook.remove()


def multiplications(layer: nn.Module, x: torch.Tensor, y: torch.Tensor) -> int:
    """Count the products that a layer makes of one image: of dense and convolutional ones all, of others as they do."""
    if isinstance(layer, nn.Linear):
        return layer.weight.numel() * x[..., 0].numel()
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        # every place of a transposed convolution's input meets every weight, of a convolution's output
        return layer.weight.numel() * math.prod((x if isinstance(layer, nn.ConvTranspose2d) else y).shape[2:])
    if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
        size = layer.kernel_size
        return y.numel() * (size**2 if isinstance(size, int) else math.prod(size))
    return y.numel()
