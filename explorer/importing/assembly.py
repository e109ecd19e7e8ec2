"""Encoder and decoder, or a classifier, put together to a model: what the code is, and what the pixels are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn as nn

from explorer.graph import Log, Scale, Sum, describe
from explorer.importing.convolutions import cropped
from explorer.importing.parts import Piece, as_image, run
from explorer.importing.reading import ImportFault
from explorer.importing.stack import POINTWISE, Part, Value, joined, merged, reshaped, scaled, then
from explorer.models import Autoencoder, Classifier, ImportedAutoencoderConfig, ImportedClassifierConfig

N_RANDOM = 64
Output = Literal["logits", "pixels", "scaled"]


@dataclass(frozen=True)
class Pixels:
    """How a model takes pixels x in [0, 1]: (low + (high - low) x - mean) / std, with one mean or one for each channel.

    output: what its decoder makes: "logits", of which a sigmoid makes pixels; "pixels" in [0, 1]; or "scaled" ones, as
    its encoder takes them. None for what looks most like the images.
    """

    low: float = 0.0
    high: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    output: Output | None = None

    def __post_init__(self) -> None:
        numbers = np.array([self.low, self.high, *self.mean, *self.std])
        if not np.isfinite(numbers).all() or self.low == self.high or min(self.std) <= 0:
            raise ImportFault("the range has to be of two different numbers, and deviations above zero")

    def line(self, image: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Give what pixels are multiplied by and what is added then, `(C, 1, 1)` each."""
        if {len(self.mean), len(self.std)} - {1, image[0]}:
            raise ImportFault(f"there are {image[0]} channels: give one mean and deviation, or {image[0]} of each")
        mean, std = (np.broadcast_to(np.array(x, np.float64), image[0])[:, None, None] for x in (self.mean, self.std))
        return (self.high - self.low) / std, (self.low - mean) / std

    @property
    def plain(self) -> bool:
        """Whether the model takes pixels as they are."""
        return (self.low, self.high) == (0, 1) and set(self.mean) == {0} and set(self.std) == {1}


AS_THEY_ARE = Pixels()


def posterior(piece: Piece, form: tuple[int | None, ...], variational: bool | None) -> tuple[Value, bool]:
    """Find the code in what an encoder gives: D numbers, or 2 D, mean and log-variance, where it is variational.

    form: of what the decoder takes, of D numbers. Two outputs of D numbers each are mean and log-variance, in this
    order unless their names say otherwise; one output of 2 D is both, along the axis that is twice as long.
    variational: what the user says.
    """
    values, d = piece.values, int(np.prod(form))
    sizes = {name: value.size for name, value in values.items()}
    if variational is False or len(values) == 1:
        first = next(iter(values.values()))
        if first.size == d and not variational:
            return reshaped(first, (d,)), False
        if first.size == 2 * d and len(values) == 1:
            heads = _halves(first, form)
            return (joined(heads, 0, piece.name), True) if variational is not False else (heads[0], False)
    elif len(values) == 2 and set(sizes.values()) == {d}:
        mean, log_variance = values.values() if not _reversed(*values) else [*values.values()][::-1]
        return joined([reshaped(mean, (d,)), reshaped(log_variance, (d,))], 0, piece.name), True
    given = ", ".join(f"{name} of {size:,} numbers" for name, size in sizes.items())
    raise ImportFault(
        f"{piece.name} and the decoder do not fit together: the encoder gives {given}, and the decoder takes {d:,}. "
        f"It has to give {d:,}, or mean and log-variance of {d:,} each"
    )


def _reversed(first: str, second: str) -> bool:
    return any(word in first.lower() for word in ("var", "sigma")) and any(w in second.lower() for w in ("mean", "mu"))


def _halves(value: Value, form: tuple[int | None, ...]) -> list[Value]:
    """Part a value into mean and log-variance along the axis that is twice as long as the code's, else the first."""
    axes = [i for i, n in enumerate(value.shape) if len(form) == len(value.shape) and n == 2 * (form[i] or 0)]
    axis = axes[0] if axes else 0
    if axis == 0:
        value = reshaped(value, (value.size,))
    n = value.shape[axis] // 2
    return [reshaped(cropped(value, axis, i, i + n, ""), (value.size // 2,)) for i in (0, n)]


def autoencoder(
    encoder: Piece, decoder: Piece, form: tuple[int, ...], images: torch.Tensor, pixels: Pixels,
    variational: bool | None = None,
) -> tuple[Autoencoder, dict[str, object]]:  # fmt: skip
    """Put an encoder and a decoder together, after both were compared with what they were made of.

    form: of what the decoder takes, without the batch. images: some of the data set's `(N, C, H, W)`, in [0, 1].
    Returns the model, and what was found: "difference" and "output".

    Raises:
        ImportFault: they do not fit together, or differ from what they were made of.
    """
    shape = tuple(images.shape[1:])
    code, variational = posterior(encoder, form, variational)
    d = int(np.prod(form))
    generator = torch.Generator().manual_seed(0)
    random = torch.rand(N_RANDOM, *shape, generator=generator)
    worst = encoder.difference(torch.cat([random, images]))
    with torch.inference_mode():
        z = merged(code.stack())(images)[:, :d]
    spread = z.std(0).nan_to_num() * torch.randn(N_RANDOM, d, generator=generator) + z.mean(0)
    worst = max(worst, decoder.difference(torch.cat([spread, z])))
    kind, made = _pixels(decoder, z, images, pixels)
    stacks = merged(code.stack()), merged(made.stack())
    likelihood = "bernoulli" if shape[0] == 1 else "gaussian"  # that of the roster's models, so that figures compare
    config = ImportedAutoencoderConfig(
        shape, *(tuple(describe(stack)) for stack in stacks), code=d, variational=variational, logits=kind == "logits",
        likelihood=likelihood,
    )  # fmt: skip
    return Autoencoder(config, *stacks, (d,)).eval(), {"difference": worst, "output": kind}


def _pixels(decoder: Piece, z: torch.Tensor, images: torch.Tensor, pixels: Pixels) -> tuple[str, Value]:
    """Choose what a decoder's output is: what the user says, else what rebuilds images best from their codes."""
    shape = tuple(images.shape[1:])
    outputs = [value for value in decoder.values.values() if value.size == images[0].numel()]
    if len(outputs) != 1:
        sizes = ", ".join(f"{name} of {value.size:,}" for name, value in decoder.values.items())
        raise ImportFault(
            f"{decoder.name} gives {sizes} numbers, and images of the data set have {images[0].numel():,}"
        )
    candidates = _candidates(as_image(outputs[0], shape, decoder.name), pixels)
    if pixels.output is not None:
        if pixels.output not in candidates:
            raise ImportFault(f"{decoder.name} makes no {pixels.output}, but {' or '.join(candidates)}")
        return pixels.output, candidates[pixels.output]

    @torch.inference_mode()
    def error(kind: str) -> float:
        y = run(candidates[kind], z)
        return ((torch.sigmoid(y) if kind == "logits" else y) - images).square().mean().item()

    best = min(candidates, key=error)
    return best, candidates[best]


def _candidates(value: Value, pixels: Pixels) -> Mapping[str, Value]:
    """List what an image may be, as pixels in [0, 1] or their logits."""
    found: dict[str, Value] = {}
    if isinstance(value.layer, nn.Sigmoid):
        found["logits"] = value.before
    else:
        found["pixels"] = _clamped(value)
        if not isinstance(value.layer, POINTWISE):  # logits have no bounds
            found["logits"] = value
    if not pixels.plain:
        scale, shift = pixels.line(value.shape)
        found["scaled"] = _clamped(scaled(value, 1 / scale, -shift / scale))
    return found


def _clamped(value: Value) -> Value:
    """Keep values between 0 and 1, as ReLU(x) - ReLU(x - 1), where the layers before do not."""
    last, before = value.layer, value.before
    bounds = {nn.Sigmoid: (0.0, 1.0), nn.Tanh: (-1.0, 1.0)}
    if isinstance(last, Scale) and type(before.layer) in bounds:
        ends = torch.tensor(bounds[type(before.layer)])[:, None] * last.scale + last.shift
        if ends.min() >= -1e-6 and ends.max() <= 1 + 1e-6:
            return value
    if isinstance(last, nn.Sigmoid):
        return value
    n = value.shape[0]

    def line(scale: float, shift: float) -> Scale:
        return Scale(torch.full((n,), scale), torch.full((n,), shift))

    above = nn.Sequential(line(1.0, -1.0), nn.ReLU(), line(-1.0, 0.0))
    return then(value, Sum([nn.Sequential(nn.ReLU()), above]))


def classifier(piece: Piece, images: torch.Tensor, n_classes: int) -> tuple[Classifier, dict[str, object]]:
    """Make a classifier of logits, after it was compared with what it was made of; see `autoencoder`.

    A last softmax is left out, since that of the logits gives the same probabilities; where what comes out is above
    zero and adds up to one all the same, its logarithm is taken.
    """
    values = [value for value in piece.values.values() if value.size == n_classes]
    if len(values) != 1:
        sizes = ", ".join(f"{name} of {value.size:,}" for name, value in piece.values.items())
        raise ImportFault(f"{piece.name} gives {sizes} numbers, and the data set has {n_classes:,} classes")
    shape = tuple(images.shape[1:])
    random = torch.rand(N_RANDOM, *shape, generator=torch.Generator().manual_seed(0))
    worst = piece.difference(torch.cat([random, images]))
    value = reshaped(values[0], (n_classes,))
    ends = isinstance(value.layer, Part | nn.Sigmoid)
    with torch.inference_mode():
        y = run(value, images)
    value = value.before if ends else value
    probable = not ends and bool((y >= 0).all() and ((y.sum(1) - 1).abs() < 1e-3).all())
    if probable:
        value = then(value, Log())
    stack = merged(value.stack())
    last = len(stack) - isinstance(stack[-1], nn.Linear) if len(stack) else 0
    body, head = (nn.Sequential(*part) for part in (stack[:last], stack[last:]))
    features = head[0].in_features if len(head) else n_classes
    config = ImportedClassifierConfig(shape, *(tuple(describe(part)) for part in (body, head)), n_classes=n_classes)
    return Classifier(config, body, head, features).eval(), {
        "difference": worst, "output": "probabilities" if ends or probable else "logits",
    }  # fmt: skip
