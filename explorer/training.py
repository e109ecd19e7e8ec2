"""Fit a model: `fit` yields one `Epoch` record per epoch and leaves the best weights in the model.

The data set is one uint8 tensor on the device; batches are index slices of a permutation, so there
are no worker processes and no Python per image.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F

from explorer import losses
from explorer.datasets import ImageSet
from explorer.images import to_float
from explorer.models import Classifier, Model
from explorer.noise import NOISES

EVALUATION_BATCH = 1000
REPORT_EVERY = 20  # batches between two calls of `progress`: each one waits for the device


class Diverged(RuntimeError):
    """The loss became NaN or infinite; the message says when."""


@dataclass(frozen=True)
class Recipe:
    """How a model is fitted; everything but its architecture.

    weight_decay: decoupled from the gradient (Loshchilov & Hutter 2019), per unit of learning rate.
    learning_rate: the highest one of a "one-cycle" schedule (Smith & Topin 2018), or the constant.
    label_smoothing: share of a label's weight spread over all classes (classifier only).
    flip, shift: mirror half of the images; move each by up to `shift` pixels.
    noise, noise_levels: corrupt the input with this kind, at levels drawn evenly from this range.
    """

    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 1e-3
    schedule: Literal["constant", "one-cycle"] = "one-cycle"
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    flip: bool = False
    shift: int = 0
    noise: str | None = None
    noise_levels: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2:  # batch norm needs two images
            raise ValueError(f"epochs ({self.epochs}) start at 1, the batch size ({self.batch_size}) at 2")
        if self.noise is not None and self.noise not in NOISES:
            raise ValueError(f"unknown noise {self.noise!r}; known: {', '.join(NOISES)}")


@dataclass(frozen=True)
class Epoch:
    """What one epoch measured: parts of the loss (see `losses`), averaged over all images."""

    epoch: int
    train: dict[str, float]
    validation: dict[str, float]
    learning_rate: float  # of the last step
    seconds: float
    n_images: int

    def row(self) -> dict[str, float]:
        """Flatten the record to one row of `history.csv`."""
        return {
            "epoch": self.epoch,
            **{f"train_{name}": value for name, value in self.train.items()},
            **{f"validation_{name}": value for name, value in self.validation.items()},
            "learning_rate": self.learning_rate,
            "seconds": self.seconds,
        }


def fit(
    model: Model,
    train: ImageSet,
    validation: ImageSet,
    recipe: Recipe,
    seed: int,
    progress: Callable[[int, float], None] | None = None,
) -> Iterator[Epoch]:
    """Fit `model` in place on the device it is on, and yield an `Epoch` after each epoch.

    After the last one the model holds the weights of the epoch with the lowest validation loss.
    `progress(n_images, loss)` is called every few batches. The same seed on the same device and number
    of threads gives the same weights.

    Raises:
        Diverged: the loss is NaN or infinite; the model is then of no use.
    """
    torch.manual_seed(seed)  # dropout draws from the global generator
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    train, validation = train.to(device), validation.to(device)
    n_batches = len(_batches(torch.arange(len(train)), recipe.batch_size))
    optimizer = torch.optim.AdamW(  # without weight decay this is Adam
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    if recipe.schedule == "one-cycle":
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, recipe.epochs * n_batches)
    else:
        schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    best_loss, best_state = math.inf, None
    for epoch in range(1, recipe.epochs + 1):
        start = time.perf_counter()
        model.train()
        sums: dict[str, torch.Tensor] = {}
        since_report = 0
        order = torch.randperm(len(train), generator=generator, device=device)
        for step, index in enumerate(_batches(order, recipe.batch_size), start=1):
            parts = _batch_loss(model, train, index, recipe, generator)
            optimizer.zero_grad(set_to_none=True)
            parts["loss"].backward()
            optimizer.step()
            learning_rate = schedule.get_last_lr()[0]
            schedule.step()
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + value.detach() * len(index)
            since_report += len(index)
            if step % REPORT_EVERY == 0 or step == n_batches:
                loss = _finite(parts["loss"].item(), epoch, step, recipe)
                if progress:
                    progress(since_report, loss)
                since_report = 0
        held_out = evaluate(model, validation, recipe, seed)
        if held_out["loss"] < best_loss:
            best_loss, best_state = held_out["loss"], copy.deepcopy(model.state_dict())
        yield Epoch(
            epoch=epoch,
            train={name: (value / len(train)).item() for name, value in sums.items()},
            validation=held_out,
            learning_rate=learning_rate,
            seconds=time.perf_counter() - start,
            n_images=len(train),
        )
    if best_state is None:
        raise Diverged(f"the validation loss was never finite in {recipe.epochs} epochs")
    model.load_state_dict(best_state)
    model.eval()


@torch.inference_mode()
def evaluate(model: Model, images: ImageSet, recipe: Recipe, seed: int) -> dict[str, float]:
    """Average the recipe's loss and its parts over `images`, without augmentation.

    Noise and posterior draws come from `seed`, so that two epochs are compared on the same draws.
    """
    model.eval()
    plain = replace(recipe, flip=False, shift=0)
    device = images.images.device
    generator = torch.Generator(device).manual_seed(seed)
    sums: dict[str, float] = {}
    for index in torch.arange(len(images), device=device).split(EVALUATION_BATCH):
        for name, value in _batch_loss(model, images, index, plain, generator).items():
            sums[name] = sums.get(name, 0.0) + value.item() * len(index)
    return {name: value / len(images) for name, value in sums.items()}


def _batches(order: torch.Tensor, batch_size: int) -> list[torch.Tensor]:
    """Cut indices `(N,)` into batches; batch norm needs two images, so no last batch is of one alone."""
    batches = list(order.split(batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def _batch_loss(
    model: Model, data: ImageSet, index: torch.Tensor, recipe: Recipe, generator: torch.Generator
) -> losses.Parts:
    x = augment(to_float(data.images[index]), recipe.flip, recipe.shift, generator)
    if isinstance(model, Classifier):
        return losses.classifier_loss(model, x, data.labels[index], recipe.label_smoothing)
    x_in = x
    if recipe.noise:
        low, high = recipe.noise_levels
        level = low + (high - low) * torch.rand(len(x), generator=generator, device=x.device)
        x_in = NOISES[recipe.noise].corrupt(x, level, generator)
    return losses.autoencoder_loss(model, x_in, x, generator)


def augment(x: torch.Tensor, flip: bool, shift: int, generator: torch.Generator) -> torch.Tensor:
    """Mirror each image `(B, C, H, W)` with probability 1/2 and move it by up to `shift` pixels.

    What is moved in from outside is black; `flip=False, shift=0` returns the images unchanged.
    """
    n, _, height, width = x.shape
    if flip:
        mirrored = torch.rand(n, generator=generator, device=x.device) < 0.5
        x = torch.where(mirrored[:, None, None, None], x.flip(-1), x)
    if shift:
        offsets = torch.randint(2 * shift + 1, (n, 2), generator=generator, device=x.device)
        rows = offsets[:, :1] + torch.arange(height, device=x.device)  # (B, H)
        columns = offsets[:, 1:] + torch.arange(width, device=x.device)  # (B, W)
        padded = F.pad(x, (shift, shift, shift, shift)).permute(0, 2, 3, 1)  # (B, H+2s, W+2s, C)
        image = torch.arange(n, device=x.device)[:, None, None]
        x = padded[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return x


def _finite(loss: float, epoch: int, step: int, recipe: Recipe) -> float:
    if not math.isfinite(loss):
        raise Diverged(
            f"the loss became {loss} in epoch {epoch}, step {step}; "
            f"a learning rate below {recipe.learning_rate:g} may help"
        )
    return loss
