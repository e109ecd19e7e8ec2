"""Fit a model: `fit` yields one `Epoch` record per epoch and leaves the best weights in the model.

`Fitting` is the same with a state that can be kept after each epoch and restored.

The data set is one uint8 tensor on the device; batches are index slices of a permutation, so there
are no worker processes and no Python per image.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

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
    """What one epoch measured: parts of the loss (see `losses`), averaged over all images.

    test: figures on the test split that were asked for beside; nothing is chosen by them.
    """

    epoch: int
    train: dict[str, float]
    validation: dict[str, float]
    learning_rate: float  # of the last step
    seconds: float
    n_images: int
    test: dict[str, float] = field(default_factory=dict)

    def row(self) -> dict[str, float]:
        """Flatten the record to one row of `history.csv`."""
        return {
            "epoch": self.epoch,
            **{f"train_{name}": value for name, value in self.train.items()},
            **{f"validation_{name}": value for name, value in self.validation.items()},
            **{f"test_{name}": value for name, value in self.test.items()},
            "learning_rate": self.learning_rate,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class State:
    """All that a fitting needs to go on after an epoch: tensors by name, and values that JSON can hold."""

    tensors: dict[str, torch.Tensor]
    values: dict[str, Any]


def fit(
    model: Model,
    train: ImageSet,
    validation: ImageSet,
    recipe: Recipe,
    seed: int,
    progress: Callable[[int, float], None] | None = None,
) -> Iterator[Epoch]:
    """Fit `model` in place from its first epoch to its last; see `Fitting`."""
    return Fitting(model, train, validation, recipe, seed).epochs(progress)


class Fitting:
    """A model that is being fitted in place, on the device it is on.

    The same seed on the same device and number of threads gives the same weights, also when the state
    after any epoch is restored into a fitting made with the same arguments.
    """

    def __init__(self, model: Model, train: ImageSet, validation: ImageSet, recipe: Recipe, seed: int) -> None:
        torch.manual_seed(seed)  # dropout draws from the global generator
        self.model, self.recipe, self.seed = model, recipe, seed
        self.device = next(model.parameters()).device
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.train, self.validation = train.to(self.device), validation.to(self.device)
        self.optimizer = torch.optim.AdamW(  # without weight decay this is Adam
            model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        if recipe.schedule == "one-cycle":
            n_steps = recipe.epochs * len(_batches(torch.arange(len(train)), recipe.batch_size))
            self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, recipe.learning_rate, n_steps)
        else:
            self.schedule = torch.optim.lr_scheduler.ConstantLR(self.optimizer, factor=1.0)
        self.epoch = 0
        self.best_loss, self.best = math.inf, {}

    def epochs(self, progress: Callable[[int, float], None] | None = None) -> Iterator[Epoch]:
        """Yield an `Epoch` after each epoch that is left.

        After the last one the model holds the weights of the epoch with the lowest validation loss.
        `progress(n_images, loss)` is called every few batches.

        Raises:
            Diverged: the loss is NaN or infinite; the model is then of no use.
        """
        while self.epoch < self.recipe.epochs:
            start = time.perf_counter()
            train, learning_rate = self._train(progress)
            validation = evaluate(self.model, self.validation, self.recipe, self.seed)
            if validation["loss"] < self.best_loss:
                self.best_loss, self.best = validation["loss"], copy.deepcopy(self.model.state_dict())
            self.epoch += 1
            seconds = time.perf_counter() - start
            yield Epoch(self.epoch, train, validation, learning_rate, seconds, len(self.train))
        if not self.best:
            raise Diverged(f"the validation loss was never finite in {self.recipe.epochs} epochs")
        self.model.load_state_dict(self.best)
        self.model.eval()

    def _train(self, progress: Callable[[int, float], None] | None) -> tuple[dict[str, float], float]:
        """Train for one epoch; return the parts of the loss over all images, and the last learning rate."""
        self.model.train()
        sums: dict[str, torch.Tensor] = {}
        since_report = 0
        order = torch.randperm(len(self.train), generator=self.generator, device=self.device)
        batches = _batches(order, self.recipe.batch_size)
        for step, index in enumerate(batches, start=1):
            parts = _batch_loss(self.model, self.train, index, self.recipe, self.generator)
            self.optimizer.zero_grad(set_to_none=True)
            parts["loss"].backward()
            self.optimizer.step()
            learning_rate = self.schedule.get_last_lr()[0]
            self.schedule.step()
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + value.detach() * len(index)
            since_report += len(index)
            if step % REPORT_EVERY == 0 or step == len(batches):
                loss = _finite(parts["loss"].item(), self.epoch + 1, step, self.recipe)
                if progress:
                    progress(since_report, loss)
                since_report = 0
        return {name: (value / len(self.train)).item() for name, value in sums.items()}, learning_rate

    def state(self) -> State:
        """Copy all that is needed to go on from here."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        optimizer = self.optimizer.state_dict()
        for i, values in optimizer["state"].items():
            tensors |= {f"optimizer.{i}.{k}": torch.as_tensor(v) for k, v in values.items()}
        tensors |= {f"random.{k}": v for k, v in self._random_states().items()}
        values = {
            "epoch": self.epoch,
            "best_loss": self.best_loss,
            "groups": optimizer["param_groups"],
            "schedule": self.schedule.state_dict(),
        }
        return State({k: v.detach().cpu().clone() for k, v in tensors.items()}, copy.deepcopy(values))

    def restore(self, state: State) -> None:
        """Go back to a state of a fitting that was made with the same arguments."""
        parts: dict[str, dict[str, torch.Tensor]] = {"model": {}, "best": {}, "optimizer": {}, "random": {}}
        for name, tensor in state.tensors.items():
            part, _, key = name.partition(".")
            parts[part][key] = tensor
        self.model.load_state_dict(parts["model"])
        self.best = {k: v.to(self.device) for k, v in parts["best"].items()}
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in parts["optimizer"].items():
            i, _, key = name.partition(".")
            moments.setdefault(int(i), {})[key] = tensor
        self.optimizer.load_state_dict({"state": moments, "param_groups": state.values["groups"]})
        self.schedule.load_state_dict(state.values["schedule"])
        self.epoch, self.best_loss = state.values["epoch"], state.values["best_loss"]
        self.generator.set_state(parts["random"]["batches"])
        torch.set_rng_state(parts["random"]["torch"])
        if self.device.type != "cpu":
            getattr(torch, self.device.type).set_rng_state(parts["random"]["device"])

    def _random_states(self) -> dict[str, torch.Tensor]:
        states = {"batches": self.generator.get_state(), "torch": torch.get_rng_state()}
        if self.device.type != "cpu":
            states["device"] = getattr(torch, self.device.type).get_rng_state()
        return states


def expected_seconds(fitting: Fitting, n_steps: int = 5) -> float:
    """Estimate how long the epochs that are left will take, from a few steps of a copy of the model."""
    recipe, device = fitting.recipe, fitting.device
    model = copy.deepcopy(fitting.model).train()
    optimizer = torch.optim.AdamW(model.parameters())
    generator = torch.Generator(device).manual_seed(fitting.seed)
    index = torch.arange(min(recipe.batch_size, len(fitting.train)), device=device)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):  # dropout draws from the global generator
        for step in range(n_steps + 1):
            if step == 1:  # the first warms up
                start = time.perf_counter()
            loss = _batch_loss(model, fitting.train, index, recipe, generator)["loss"]
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            loss.item()  # waits for the device
    per_image = (time.perf_counter() - start) / (n_steps * len(index))
    n_epochs = recipe.epochs - fitting.epoch
    return n_epochs * per_image * (len(fitting.train) + len(fitting.validation) / 3)  # no backward pass there


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
