"""Windows that move over an image: convolutions, pools, crops and enlargements, as ONNX means them.

ONNX pads each side on its own, torch both alike. A kernel that has zeros at one side says the same: with p zeros padded
before and q behind, p < q, it is as if the kernel had q - p more rows of zeros before its first and q were padded.
"""

import math
from collections.abc import Sequence

import numpy as np

from explorer.graph import Permute
from explorer.importing.stack import Uncovered, Value, made, then

AXES = (0, 1)


def _pads(
    auto: str, pads: Sequence[int], sizes: Sequence[int], stride: Sequence[int], reach: Sequence[int]
) -> list[tuple[int, int]]:
    """List what is padded before and behind, for both directions; `reach` is the size of the kernel with its gaps."""
    if auto in ("NOTSET", ""):
        return [(pads[i], pads[i + 2]) for i in AXES]
    if auto == "VALID":
        return [(0, 0), (0, 0)]
    totals = [max(0, (math.ceil(sizes[i] / stride[i]) - 1) * stride[i] + reach[i] - sizes[i]) for i in AXES]
    return [_halves(total, auto) for total in totals]


def _halves(total: int, auto: str) -> tuple[int, int]:
    less, more = total // 2, total - total // 2
    return (less, more) if auto == "SAME_UPPER" else (more, less)


def _spread(weight: np.ndarray, dilation: Sequence[int]) -> np.ndarray:
    """Write a kernel with gaps as one without, zeros in the gaps."""
    size = [(n - 1) * d + 1 for n, d in zip(weight.shape[2:], dilation, strict=True)]
    spread = np.zeros((*weight.shape[:2], *size), weight.dtype)
    spread[:, :, :: dilation[0], :: dilation[1]] = weight
    return spread


def convolved(
    value: Value,
    weight: np.ndarray,
    bias: np.ndarray | None,
    *,
    kernel: Sequence[int],
    stride: Sequence[int],
    pads: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    transposed: bool = False,
    output_padding: Sequence[int] = (0, 0),
    output_shape: Sequence[int] | None = None,
    auto: str = "NOTSET",
    node: str = "",
) -> Value:
    """Convolve, or convolve transposed, with a kernel `(out, in / groups, h, w)`, or `(in, out / groups, h, w)`."""
    sizes = value.shape[1:]
    reach = [(kernel[i] - 1) * dilation[i] + 1 for i in AXES]
    if transposed:
        full = [(sizes[i] - 1) * stride[i] + reach[i] for i in AXES]
        padded = _transposed_pads(auto, pads, sizes, stride, full, output_padding, output_shape)
        zeros = [_zeros_transposed(*padded[i], stride[i]) for i in AXES]
        symmetric, extra = [z[2] for z in zeros], [z[3] for z in zeros]
    else:
        padded = _pads(auto, pads, sizes, stride, reach)
        symmetric, extra = [max(pair) for pair in padded], None
        zeros = [(s - before, s - behind) for s, (before, behind) in zip(symmetric, padded, strict=True)]
    if any(z[0] or z[1] for z in zeros):
        weight = _spread(weight, dilation)
        dilation = (1, 1)
        weight = np.pad(weight, ((0, 0), (0, 0), *((z[0], z[1]) for z in zeros)))
    n_in, n_out = value.shape[0], weight.shape[1] * groups if transposed else weight.shape[0]
    weights = {"weight": weight} | ({} if bias is None else {"bias": bias})
    more = {"output_padding": extra} if transposed else {}
    layer = made(
        "ConvTranspose2d" if transposed else "Conv2d", weights, in_channels=n_in, out_channels=n_out,
        kernel_size=list(weight.shape[2:]), stride=list(stride), padding=symmetric, dilation=list(dilation),
        groups=groups, bias=bias is not None, **more,
    )  # fmt: skip
    return then(value, layer, node)


def _transposed_pads(
    auto: str,
    pads: Sequence[int],
    sizes: Sequence[int],
    stride: Sequence[int],
    full: Sequence[int],
    output_padding: Sequence[int],
    output_shape: Sequence[int] | None,
) -> list[tuple[int, int]]:
    """List what a transposed convolution cuts off before and behind, for both directions; below zero, adds."""
    if output_shape is None and auto in ("NOTSET", "VALID", ""):
        return [(pads[i], pads[i + 2] - output_padding[i]) for i in AXES]
    wanted = [n * s for n, s in zip(sizes, stride, strict=True)] if output_shape is None else output_shape[-2:]
    totals = [full[i] + output_padding[i] - wanted[i] for i in AXES]
    halves = [_halves(max(0, total), auto) for total in totals]
    return [
        (before, behind + min(0, total) - extra)
        for (before, behind), total, extra in zip(halves, totals, output_padding, strict=True)
    ]


def _zeros_transposed(before: int, behind: int, stride: int) -> tuple[int, int, int, int]:
    """Say how many zeros go before and behind a transposed kernel, what is cut off both sides, and what is added."""
    first = max(0, behind - before)
    cut = before + first
    last = max(0, cut - behind - stride + 1)  # torch adds less than a stride
    return first, last, cut, cut - behind - last


def cropped(value: Value, axis: int, start: int, stop: int, node: str) -> Value:
    """Take a part of an axis, counted behind the batch, or more than there is: zeros, then.

    As a convolution, or a dense layer, whose weights are ones and zeros: it computes nothing new.
    """
    if (start, stop) == (0, value.shape[axis]):
        return value
    if isinstance(value.layer, Permute):
        return then(cropped(value.before, value.layer.order[axis], start, stop, node), value.layer, node)
    if len(value.shape) not in (1, 3):
        raise Uncovered(f"it cuts values of shape {value.shape}")
    if axis == 0:
        return _picked(value, start, stop, node)
    channels = value.shape[0]
    before, behind = ([n if i == axis - 1 else 0 for i in AXES] for n in (start, value.shape[axis] - stop))
    kernel = [1 + max(0, b) + max(0, e) for b, e in zip(before, behind, strict=True)]
    weight = np.zeros((channels, 1, *kernel), np.float32)
    weight[:, :, max(0, before[0]), max(0, before[1])] = 1
    pads = [max(0, -n) for n in (*before, *behind)]
    return convolved(
        value, weight, None, kernel=kernel, stride=(1, 1), pads=pads, dilation=(1, 1), groups=channels, node=node
    )


def _picked(value: Value, start: int, stop: int, node: str) -> Value:
    n = value.shape[0]
    if start < 0 or stop > n:
        raise Uncovered("it pads channels")
    pick = np.eye(n, dtype=np.float32)[start:stop]
    if len(value.shape) == 1:
        layer = made("Linear", {"weight": pick}, in_features=n, out_features=stop - start, bias=False)
        picked = then(value, layer, node)
    else:
        one = {"kernel": (1, 1), "stride": (1, 1), "pads": (0, 0, 0, 0), "dilation": (1, 1), "groups": 1}
        picked = convolved(value, pick[:, :, None, None], None, **one, node=node)
    return Value(picked.shape, picked.before, picked.layer, node, part=(value, start, stop))


def windowed(
    value: Value,
    largest: bool,
    kernel: Sequence[int],
    stride: Sequence[int],
    pads: Sequence[int],
    dilation: Sequence[int],
    ceil: bool,
    count_padding: bool,
    auto: str,
    node: str,
) -> Value:
    """Take the largest value, or the average, of a window that moves over the image."""
    sizes = value.shape[1:]
    reach = [(kernel[i] - 1) * dilation[i] + 1 for i in AXES]
    padded = _pads(auto, pads, sizes, stride, reach)
    before = [pair[0] for pair in padded]
    # more padding behind than before: the window may go over the edge, where nothing counts
    over = ceil or any(behind > first for first, behind in padded)
    wanted = [(sizes[i] + sum(padded[i]) - reach[i]) // stride[i] + 1 for i in AXES]
    arguments = {"kernel_size": list(kernel), "stride": list(stride), "padding": before, "ceil_mode": over}
    if largest:
        result = then(value, made("MaxPool2d", **arguments, dilation=list(dilation)), node)
    else:
        if list(dilation) != [1, 1] or (count_padding and any(a != b for a, b in padded)):
            raise Uncovered("an average over windows with gaps, or of padding that differs between the sides")
        result = then(value, made("AvgPool2d", **arguments, count_include_pad=count_padding), node)
    if not ceil and list(result.shape[1:]) != wanted:
        raise Uncovered(f"its padding {padded} is none that a pool has here")
    return result


def resized(value: Value, sizes: Sequence[int], mode: str, how: str, rounding: str, node: str) -> Value:
    """Enlarge an image, or make it smaller; how: where a pixel of the new image lies in the old one."""
    size = [int(n) for n in sizes]
    if mode == "nearest":
        for old, new in zip(value.shape[1:], size, strict=True):
            if not np.array_equal(_nearest(old, new, how, rounding), np.arange(new) * old // new):
                raise Uncovered(f"its nearest pixels, by {how} and {rounding}, are not those of torch")
        layer = made("Upsample", size=size, scale_factor=None, mode="nearest", align_corners=None)
    elif mode in ("linear", "bilinear") and how in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        corners = how == "align_corners"
        layer = made("Upsample", size=size, scale_factor=None, mode="bilinear", align_corners=corners)
    else:
        raise Uncovered(f"mode {mode} with coordinates by {how}")
    return then(value, layer, node)


def _nearest(old: int, new: int, how: str, rounding: str) -> np.ndarray:
    i, scale = np.arange(new), new / old
    if how == "asymmetric":
        place = i / scale
    elif how in ("half_pixel", "pytorch_half_pixel"):
        place = (i + 0.5) / scale - 0.5
    elif how == "align_corners" and new > 1:
        place = i * (old - 1) / (new - 1)
    elif how == "tf_half_pixel_for_nn":
        place = (i + 0.5) / scale
    else:
        raise Uncovered(f"coordinates by {how}")
    rounded = {
        "floor": np.floor(place), "ceil": np.ceil(place),
        "round_prefer_floor": np.ceil(place - 0.5), "round_prefer_ceil": np.floor(place + 0.5),
    }[rounding]  # fmt: skip
    return rounded.clip(0, old - 1).astype(int)
