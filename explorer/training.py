"""Fit a model: `fit` yields one `Epoch` record per epoch and leaves the best weights in the model.

`Fitting` is the same with a state that can be kept after each epoch and restored.

The data set is one uint8 tensor on the device; batches are index slices of a permutation, so there
are no worker processes and no Python per image.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
import torch.nn as nn
import torch.nn.functional as F

from explorer import cuda, losses
from explorer.datasets import ImageSet
from explorer.devices import Precision, default_precision
from explorer.images import to_float
from explorer.models import Classifier, ConditionalAutoencoder, Model
from explorer.noise import NOISES
from explorer.processes import ALONE, Processes

EVALUATION_BATCH = 1000
KL_SHARE = 0.7
REPORT_EVERY = 20  # batches between two calls of `progress`: each one waits for the device


class TooFew(ValueError):
    """There are too few images to fit, or for so many processes; the message says how many are needed."""


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
    kl_from: where the weight of a variational model's KL begins, to come to its own after `KL_SHARE` of all steps,
    evenly in its logarithm; 0: it has its own from the first. A code that may hold little at first takes the factors in
    one by one, each in a number of its own (Burgess et al. 2018 let the capacity grow for the same reason).
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
    kl_from: float = 0.0

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

    On the CPU the same seed and number of threads give the same weights, also when the state after any epoch is
    restored into a fitting made with the same arguments. On CUDA draws are the same, but sums are not added in a
    fixed order, and a fitting that goes on runs a few steps as written before it records: weights differ by rounding,
    and what grows out of it.

    Of several processes each takes its share of every batch, and all hold the same weights: the mean over a
    share is weighted by the share's size, so that gradients are those of the whole batch. Draws of noise,
    posterior and dropout differ from one process to the next and start anew from the seed in each epoch. Batch
    norm takes its statistics from all shares on CUDA, from each process's own on the CPU.

    room: bytes that the images may take on the device; more are streamed from where they are. None: half of
    what is free. graph: whether steps are recorded on CUDA. precision: see `Loss`.
    """

    def __init__(
        self,
        model: Model,
        train: ImageSet,
        validation: ImageSet,
        recipe: Recipe,
        seed: int,
        processes: Processes = ALONE,
        room: int | None = None,
        graph: bool = True,
        precision: Precision | None = None,
    ) -> None:
        fewest = 2 * processes.count  # batch norm needs two images in each process
        if min(recipe.batch_size, len(train)) < fewest or len(validation) < processes.count:
            who = f"{processes.count} processes need" if processes.count > 1 else "a fitting needs"
            raise TooFew(
                f"{who} batches and splits of at least {fewest} images; {processes.count} will do for validation; the "
                f"batch size is {recipe.batch_size}, the splits have {len(train)} and {len(validation)}"
            )
        torch.manual_seed(seed)  # dropout draws from the global generator
        self.model, self.recipe, self.seed, self.processes = model, recipe, seed, processes
        self.device = next(model.parameters()).device
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.train, self.validation = (place(data, self.device, room) for data in (train, validation))
        self.step = Step(model, self.train, recipe, self.generator, processes, graph, precision)
        self.optimizer = self.step.optimizer
        self.n_steps = recipe.epochs * len(_batches(torch.arange(len(train)), recipe.batch_size, fewest))
        self.schedule = schedule_for(self.optimizer, recipe, self.n_steps)
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
            start = time.perf_counter()  # never steps back, as the time of day may
            train, learning_rate = self._train(progress)
            self.processes.agree(self.model)
            validation = evaluate(self.model, self.validation, self.recipe, self.seed, self.processes)
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
        since_report = n_seen = 0
        learning_rate = 0.0
        for number, (n_images, loss) in enumerate(self.steps(), start=1):
            since_report, n_seen = since_report + n_images, n_seen + n_images
            if number % REPORT_EVERY == 0 or n_seen == len(self.train):
                value = _finite(loss.item(), self.epoch + 1, number, self.recipe)
                if progress:
                    progress(since_report, value)
                since_report = 0
            learning_rate = self.schedule.get_last_lr()[0]
            self.schedule.step()
        means = {name: (value / len(self.train)).item() for name, value in self.step.sums.items()}
        return self.processes.sums(means), learning_rate

    def steps(self) -> Iterator[tuple[int, torch.Tensor]]:
        """Train on every image once; yield the number of images and the loss of each step.

        The loss is that of this process's share, the number that of all. The schedule is left to the caller.
        """
        self.model.train()
        self.step.begin(self.seed, self.epoch)
        order = torch.randperm(len(self.train), generator=self.generator, device=self.device)
        batches = _batches(order, self.recipe.batch_size, 2 * self.processes.count)
        for whole, (index, images) in zip(batches, self.step.feed(batches), strict=True):
            if self.step.kl_weight is not None:
                self.step.kl_weight.fill_(self.kl_weight())
            yield len(whole), self.step(index, images, len(whole))

    def kl_weight(self) -> float:
        """Give the weight of the KL in the step to come, of a recipe where it changes."""
        done = min(1.0, self.schedule.last_epoch / (KL_SHARE * self.n_steps))
        return self.recipe.kl_from ** (1 - done) * losses.own_kl_weight(self.model) ** done

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

    def restore(self, state: State) -> str:
        """Go back to a state of a fitting that was made with the same arguments, on this kind of device or another.

        Random generators belong to a kind of device. On another one they are seeded anew; a sentence that says so
        is returned, otherwise nothing.
        """
        parts: dict[str, dict[str, torch.Tensor]] = {"model": {}, "best": {}, "optimizer": {}, "random": {}}
        for name, tensor in state.tensors.items():
            part, _, key = name.partition(".")
            parts[part][key] = tensor
        self.model.load_state_dict(parts["model"])
        self.best = {k: v.to(self.device) for k, v in parts["best"].items()}
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in parts["optimizer"].items():
            i, _, key = name.partition(".")
            like = self.step.parameters[int(i)]
            # the fused update walks weights and moments side by side in memory: they need the same layout
            moments.setdefault(int(i), {})[key] = torch.empty_like(like).copy_(tensor) if tensor.ndim else tensor
        self.optimizer.load_state_dict({"state": moments, "param_groups": state.values["groups"]})
        self.schedule.load_state_dict(state.values["schedule"])
        self.epoch, self.best_loss = state.values["epoch"], state.values["best_loss"]
        try:
            self.generator.set_state(parts["random"]["batches"])
            torch.set_rng_state(parts["random"]["torch"])
            if self.device.type != "cpu":
                getattr(torch, self.device.type).set_rng_state(parts["random"]["device"])
        except (KeyError, RuntimeError, TypeError):  # each kind of device has states of its own size
            fresh = hash((self.seed, self.epoch)) % 2**63  # not the seed's own, which gave the first epoch
            self.generator.manual_seed(fresh)
            torch.manual_seed(fresh)
            return (
                f"epoch {self.epoch} was computed on another kind of device than {self.device.type}, whose random "
                "numbers cannot be gone on with: fresh ones are drawn, and the weights will not be those of one run"
            )
        return ""

    def _random_states(self) -> dict[str, torch.Tensor]:
        states = {"batches": self.generator.get_state(), "torch": torch.get_rng_state()}
        if self.device.type != "cpu":
            states["device"] = getattr(torch, self.device.type).get_rng_state()
        return states


def schedule_for(
    optimizer: torch.optim.Optimizer, recipe: Recipe, n_steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Make the schedule that a recipe names, for `n_steps` steps in all."""
    if recipe.schedule == "one-cycle":
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, n_steps)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


class Loss(nn.Module):
    """The loss of a model as a module of its own, which is what DistributedDataParallel can wrap.

    precision: what matrix products and convolutions are computed in, None for `default_precision`; all else, and
    weights and moments, are float32.
    """

    def __init__(
        self, model: Model, recipe: Recipe, generator: torch.Generator, precision: Precision | None = None
    ) -> None:
        super().__init__()
        self.model, self.recipe, self.generator = model, recipe, generator
        self.precision = precision or default_precision(generator.device)
        # a tensor, so that a recorded step reads it
        self.kl_weight = torch.tensor(recipe.kl_from, device=generator.device) if recipe.kl_from else None

    def forward(self, *batch: torch.Tensor) -> losses.Parts:
        """Average over a batch."""
        device = self.generator.device.type
        halved = self.precision == "bfloat16"
        with torch.autocast(device, torch.bfloat16, cache_enabled=False) if halved else nullcontext():
            return batch_loss(self.model, batch, self.recipe, self.generator, self.kl_weight)


class Step:
    """One step of training: gather a batch, augment it, loss, gradients, update; `sums` adds up over an epoch.

    On CUDA a step of full size is recorded once and replayed as one graph; see `cuda`. Several processes run
    without it.
    """

    def __init__(
        self,
        model: Model,
        data: ImageSet,
        recipe: Recipe,
        generator: torch.Generator,
        processes: Processes = ALONE,
        graph: bool = True,
        precision: Precision | None = None,
    ) -> None:
        self.data, self.recipe, self.processes = data, recipe, processes
        self.device = generator.device
        self.draws = generator if processes.count == 1 else torch.Generator(self.device)
        if processes.count > 1 and self.device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(model)
        loss = Loss(model, recipe, self.draws, precision)
        self.precision, self.kl_weight = loss.precision, loss.kl_weight
        self.loss = loss if processes.count == 1 else nn.parallel.DistributedDataParallel(loss)
        self.parameters = list(model.parameters())
        # fused reads and writes the moments once: a quarter of the time of the default on the CPU
        self.optimizer = torch.optim.AdamW(  # without weight decay this is Adam
            self.parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
        self.sums: dict[str, torch.Tensor] = {}
        self.resident = on_device(data.images, self.device)
        recorded = graph and processes.count == 1 and self.device.type == "cuda"
        self.graph = cuda.Graph() if recorded else None

    def begin(self, seed: int, epoch: int) -> None:
        """Set the sums to zero, and where there are several processes, each one's draws to the epoch's own."""
        for total in self.sums.values():
            total.zero_()
        if self.processes.count > 1:
            own = hash((seed, epoch, self.processes.rank)) % 2**63
            self.draws.manual_seed(own)
            torch.manual_seed(own)

    def feed(self, batches: list[torch.Tensor]) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
        """Yield this process's share of each batch of indices, and the images where they are streamed.

        A thread then copies the next batch while the device computes.
        """
        shares = [self.processes.share(index) for index in batches]
        if self.resident:
            yield from ((index, None) for index in shares)
            return
        # moved at once: each move from a GPU would wait for all that it has been asked for
        places = torch.cat(shares).to(self.data.images.device).split([len(share) for share in shares])
        copier = cuda.Copier(self.device) if self.device.type == "cuda" else None

        def fetch(place: torch.Tensor) -> torch.Tensor:
            images = self.data.images.index_select(0, place)
            return copier.copy(images) if copier else images.to(self.device)

        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(fetch, places[0])
            for index, following in zip(shares, [*places[1:], None], strict=True):
                images = coming.result()
                if copier:
                    copier.wait(images)  # before the next copy begins, so that not that one is waited for
                if following is not None:
                    coming = pool.submit(fetch, following)
                yield index, images

    def __call__(self, index: torch.Tensor, images: torch.Tensor | None, n_images: int) -> torch.Tensor:
        """Train on a share `(B,)` of a batch of `n_images` in all; return the share's loss."""
        if self.graph and len(index) == self.recipe.batch_size:
            return self.graph(self, index, images)
        loss = self.gradients(index, images, n_images)
        self.optimizer.step()
        return loss

    def gradients(self, index: torch.Tensor, images: torch.Tensor | None, n_images: int) -> torch.Tensor:
        """Compute the gradients of the mean loss over the whole batch; return the share's loss."""
        for parameter in self.parameters:  # first, so that their memory serves this step
            parameter.grad = None
        if images is None:
            images = gather(self.data, index, self.device)
        batch = prepare(images, self.data.labels[index], self.recipe, self.draws)
        parts = self.loss(*batch)
        weight = len(index) * self.processes.count / n_images  # DistributedDataParallel averages over processes
        (parts["loss"] if weight == 1 else parts["loss"] * weight).backward()
        for name, value in parts.items():
            if name not in self.sums:
                self.sums[name] = torch.zeros_like(value, requires_grad=False)
            self.sums[name].add_(value.detach(), alpha=len(index))
        return parts["loss"].detach()


def expected_seconds(fitting: Fitting, n_steps: int = 5) -> float:
    """Estimate how long the epochs that are left will take, from a few steps of a copy of the model."""
    recipe, device = fitting.recipe, fitting.device
    generator = torch.Generator(device).manual_seed(fitting.seed)
    model, graph = copy.deepcopy(fitting.model).train(), fitting.step.graph is not None
    step = Step(model, fitting.train, recipe, generator, fitting.processes, graph, fitting.step.precision)
    index = torch.arange(min(recipe.batch_size, len(fitting.train)), device=device)
    warm_up = cuda.WARM_UP + 1 if device.type == "cuda" else 1
    with torch.random.fork_rng([device] if device.type == "cuda" else []):  # dropout draws from the global generator
        for number, (part, images) in enumerate(step.feed([index] * (n_steps + warm_up))):
            if number == warm_up:
                start = time.perf_counter()
            step(part, images, len(index)).item()  # waits for the device
    per_image = (time.perf_counter() - start) / (n_steps * len(index))
    n_epochs = recipe.epochs - fitting.epoch
    return n_epochs * per_image * (len(fitting.train) + len(fitting.validation) / 3)  # no backward pass there


@torch.inference_mode()
def evaluate(
    model: Model, images: ImageSet, recipe: Recipe, seed: int, processes: Processes = ALONE
) -> dict[str, float]:
    """Average the recipe's loss and its parts over `images`, without augmentation.

    Noise and posterior draws come from `seed`, so that two epochs are compared on the same draws. Of several
    processes each measures its share, and the sums are added up.
    """
    model.eval()
    plain = replace(recipe, flip=False, shift=0)
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(seed + processes.rank)
    share = processes.share(torch.arange(len(images), device=device))
    sums: dict[str, float] = {}
    for index in share.split(EVALUATION_BATCH):
        batch = prepare(gather(images, index, device), images.labels[index], plain, generator)
        for name, value in batch_loss(model, batch, plain, generator).items():
            sums[name] = sums.get(name, 0.0) + value.item() * len(index)
    return {name: value / len(images) for name, value in processes.sums(sums).items()}


def place(data: ImageSet, device: torch.device, room: int | None = None) -> ImageSet:
    """Move labels to the device, and images too where they take no more than `room` bytes, None: half of what is free.

    Images that stay are read batch by batch, from memory or from a mapped file; see `Step.feed`.
    """
    if room is None:
        room = torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else data.images.nbytes
    images = data.images if data.images.nbytes > room else data.images.to(device)
    return replace(data, images=images, labels=data.labels.to(device))


def on_device(images: torch.Tensor, device: torch.device) -> bool:
    """Say whether images are where they are computed on."""
    return images.device == device


def gather(data: ImageSet, index: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy images by index `(B,)` to the device: uint8 `(B, C, H, W)`, through pinned memory on the way to CUDA."""
    # index_select copies whole images, indexing with brackets one pixel after the other
    if on_device(data.images, device):
        return data.images.index_select(0, index)
    images = data.images.index_select(0, index.to(data.images.device))
    return images.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else images.to(device)


def _batches(order: torch.Tensor, batch_size: int, fewest: int = 2) -> list[torch.Tensor]:
    """Cut indices `(N,)` into batches; a last one of less than `fewest` images joins the one before it."""
    batches = list(order.split(batch_size))
    if len(batches) > 1 and len(batches[-1]) < fewest:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # what the model sees, what it is asked for, labels


def prepare(images: torch.Tensor, labels: torch.Tensor, recipe: Recipe, generator: torch.Generator) -> Batch:
    """Augment uint8 images `(B, C, H, W)`, turn them into pixels in [0, 1], and corrupt what the model sees."""
    x = to_float(augment(images, recipe.flip, recipe.shift, generator))
    if not recipe.noise:
        return x, x, labels
    low, high = recipe.noise_levels
    level = low + (high - low) * torch.rand(len(x), generator=generator, device=x.device)
    return NOISES[recipe.noise].corrupt(x, level, generator), x, labels


def batch_loss(
    model: Model, batch: Batch, recipe: Recipe, generator: torch.Generator, kl_weight: torch.Tensor | None = None
) -> losses.Parts:
    """Average the loss of the kind of model, and its parts, over a batch."""
    x_in, x, labels = batch
    if isinstance(model, Classifier):
        return losses.classifier_loss(model, x_in, labels, recipe.label_smoothing)
    if isinstance(model, ConditionalAutoencoder):
        model = model.given(labels)
    return losses.autoencoder_loss(model, x_in, x, generator, kl_weight)


def augment(x: torch.Tensor, flip: bool, shift: int, generator: torch.Generator) -> torch.Tensor:
    """Mirror each image `(B, C, H, W)` with probability 1/2 and move it by up to `shift` pixels.

    What is moved in from outside is black; `flip=False, shift=0` returns the images unchanged. Pixels may be of
    any type; bytes are a quarter of the work.
    """
    n, _, height, width = x.shape
    chosen = torch.arange(n, device=x.device)
    if flip:
        mirrored = torch.rand(n, generator=generator, device=x.device) < 0.5
        x, chosen = torch.cat([x, x.flip(-1)]), chosen + n * mirrored  # whole images: `where` would go by pixels
    if not shift:
        return x.index_select(0, chosen) if flip else x
    offsets = torch.randint(2 * shift + 1, (n, 2), generator=generator, device=x.device)
    padded = F.pad(x, (shift, shift, shift, shift))  # (., C, H+2s, W+2s)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (., C, 2s+1, 2s+1, H, W), no copy
    return windows[chosen, :, offsets[:, 0], offsets[:, 1]]


def _finite(loss: float, epoch: int, step: int, recipe: Recipe) -> float:
    if not math.isfinite(loss):
        raise Diverged(
            f"the loss became {loss} in epoch {epoch}, step {step}; "
            f"a learning rate below {recipe.learning_rate:g} may help"
        )
    return loss
