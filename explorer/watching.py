"""A run that can be watched while it goes on, in files that the app reads and `train.py` replaces as a whole.

    checkpoints/<dataset>/.run/<process>/status.json          what is being done: `Status`
                                         picture.safetensors  the newest picture of the model at work: `Picture`

The status is written every second for as long as the process lives, so an older one is of a process that is gone. Who
puts a file `stop` beside them ends the run as Ctrl-C would. None of it is read by training.
"""

import _thread
import contextlib
import dataclasses
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import safetensors
import safetensors.torch
import torch

from explorer import latent, storage
from explorer.checkpoints import parse, to_json, to_safetensors
from explorer.datasets import ImageSet
from explorer.images import to_float, to_uint8
from explorer.language import say
from explorer.models import Autoencoder, Model
from explorer.training import Epoch

RUN, STATUS, PICTURE, STOP = ".run", "status.json", "picture.safetensors", "stop"
GONE_AFTER = 15.0  # seconds without a sign of life
SHARE = 0.03  # of the time of a fitting, for its pictures
EIGHT = 8
CODES = 300
CELLS, REACH = 8, 2.0
LARGEST = 64_000_000  # bytes of a picture
READ_AT_ONCE = 48  # pictures of a folder that are shown while it is read
ENDED = ("stopped", "failed")


@dataclass(frozen=True)
class Status:
    """What a run does: "starting", "reading", "fitting", "measuring", "projecting", or one of `ENDED`.

    title: of the data set. done, total: pictures that were read, or epochs. left: seconds until the fitting at work
    ends, as far as is known. models: the names of all, in order, and fitted: those that are. reason: of a failure.
    """

    title: str
    doing: str = "starting"
    model: str = ""
    done: int = 0
    total: int = 0
    left: float | None = None
    models: tuple[str, ...] = ()
    fitted: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Picture:
    """What a model makes of the same images as it learns.

    epoch: how far it is, whole after each epoch. images: uint8 `(8, C, H, W)` of the validation split; rebuilt: the
    same as the model gives them, or None of a classifier, whose guesses `(8,)` with their probabilities are in
    `guesses`, `sure`. points: the codes of more images on the plane `(M, 2)` in standard deviations, with their labels
    `(M,)`. sheet: the plane decoded, `(CELLS², C, H, W)`. curve: epoch, training and validation loss `(E, 3)`.
    While a folder is read there are only images: those that were read last.
    """

    epoch: float = 0.0
    images: torch.Tensor | None = None
    rebuilt: torch.Tensor | None = None
    guesses: torch.Tensor | None = None
    sure: torch.Tensor | None = None
    points: torch.Tensor | None = None
    labels: torch.Tensor | None = None
    sheet: torch.Tensor | None = None
    curve: torch.Tensor | None = None


class Watch:
    """Tell in a data set's folder what this process does, as a context; the last word is why it ended early.

    seen: whether it tells anything, as one of several processes that fit a model together. Where nothing can be written
    the run goes on unseen: it is there for its bundles.
    """

    def __init__(self, folder: Path, seen: bool = True) -> None:
        self.folder, self.seen = folder / RUN / str(os.getpid()), seen
        self.status = Status(folder.name)
        self._over, self._pictures = threading.Event(), list[np.ndarray]()
        self._shown, self._one_writer = 0.0, threading.Lock()

    def __enter__(self) -> Self:
        forget(self.folder.parent)
        self._tell()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        if isinstance(error, KeyboardInterrupt):
            self.say(doing="stopped")
        elif error:
            self.say(doing="failed", reason=str(error))
        elif self.status.doing not in ENDED:
            self.withdraw()
        self._tell()

    def say(self, **changes: Any) -> None:
        """Change fields of the status."""
        self.status = replace(self.status, **changes)

    def withdraw(self) -> None:
        """Leave nothing behind: all went well and the bundles are there, or the run could not begin."""
        self.seen = False
        shutil.rmtree(self.folder, ignore_errors=True)
        for folder in (self.folder.parent, self.folder.parent.parent):
            with contextlib.suppress(OSError):  # there is something in it
                folder.rmdir()

    def read(self, done: int, total: int, image: np.ndarray | None) -> None:
        """Tell that one of so many pictures was read: uint8 `(C, S, S)`, or None where it cannot be used."""
        self.say(doing="reading", done=done, total=total)
        if image is not None:
            alike = [other for other in self._pictures[1 - READ_AT_ONCE :] if other.shape == image.shape]
            self._pictures = [*alike, image]
            if time.monotonic() - self._shown > 0.5:
                self.show(Picture(images=torch.from_numpy(np.stack(self._pictures))))
                self._tell()

    def show(self, picture: Picture) -> None:
        """Replace the newest picture."""
        tensors = {name: torch.as_tensor(value) for name, value in vars(picture).items() if value is not None}
        self._write(PICTURE, to_safetensors(tensors))
        self._shown = time.monotonic()

    def _tell(self) -> None:
        self._write(STATUS, to_json(dataclasses.asdict(self.status)))

    def _beat(self) -> None:
        while not self._over.wait(1.0):
            self._tell()
            if (self.folder / STOP).exists():
                (self.folder / STOP).unlink()
                _thread.interrupt_main(signal.SIGTERM)

    def _write(self, name: str, content: bytes) -> None:
        with self._one_writer, contextlib.suppress(OSError):
            if self.seen:
                storage.replace_file(self.folder / name, content)


class Painter:
    """Paint a model while it is fitted, as often as a small share of the time allows."""

    def __init__(self, watch: Watch, model: Model, validation: ImageSet) -> None:
        self.watch, self.model = watch, model
        self.device = next(model.parameters()).device
        spread = np.linspace(0, len(validation) - 1, min(CODES, len(validation))).astype(int)
        some = validation[torch.from_numpy(spread)]
        self.x, self.labels = to_float(some.images).to(self.device), some.labels.to(torch.int32)
        self.eight = torch.from_numpy(np.linspace(0, len(some) - 1, min(EIGHT, len(some))).astype(int))
        self.images = some.images[self.eight]
        self.points: torch.Tensor | None = None
        self.due = 0.0

    def paint(self, epoch: float, history: Sequence[Epoch], last: bool = False) -> None:
        """Show the model as it is, unless it was shown a moment ago and this is not the last time."""
        begun = time.monotonic()
        if begun < self.due and not last:
            return
        was_training = self.model.training
        self.model.eval()
        self.watch.show(self._picture(epoch, history))
        self.model.train(was_training)
        now = time.monotonic()
        self.due = now + max(0.5, (now - begun) / SHARE)

    @torch.inference_mode()
    def _picture(self, epoch: float, history: Sequence[Epoch]) -> Picture:
        curve = [[e.epoch, e.train["loss"], e.validation["loss"]] for e in history]
        made: dict[str, torch.Tensor] = {"curve": torch.tensor(curve, dtype=torch.float32).reshape(-1, 3)}
        codes = self.model.embed(self.x).float().cpu()
        plane = self._plane(codes)
        if isinstance(self.model, Autoencoder):
            made["rebuilt"] = _bytes(self.model(self.x[self.eight]))
        else:
            sure, guesses = self.model(self.x[self.eight]).float().softmax(1).max(1)
            made |= {"guesses": guesses.to(torch.int32), "sure": sure}
        if plane is not None:
            made |= {"points": plane.coordinates(codes)[0], "labels": self.labels}
            self.points = made["points"]
            if isinstance(self.model, Autoencoder):
                axis = latent.axis(CELLS, REACH, "linear")
                places = plane.codes(latent.plane(axis, axis)).to(self.device)
                made["sheet"] = _bytes(self.model.decode(places))
        return Picture(epoch, self.images, **made)

    def _plane(self, codes: torch.Tensor) -> latent.Plane | None:
        """Lay the plane on which the codes are seen, facing as the last one did; None where they span none."""
        if codes.shape[1] == 2 and isinstance(self.model, Autoencoder):
            return latent.Plane.native()
        if min(codes.shape) < 3 or not codes.isfinite().all():
            return None
        plane = latent.Plane.principal(codes)
        if self.points is not None:
            turned = (plane.coordinates(codes)[0] * self.points).sum(0).sign()
            plane = replace(plane, basis=plane.basis * turned[:, None])
        return plane


def _bytes(x: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(to_uint8(x.float().nan_to_num().cpu().numpy()))


def duration(seconds: float) -> str:
    """Write a time for people in the current language: seconds, minutes or hours."""
    if seconds < 90:
        return say("{seconds:.0f} s", seconds=seconds)
    if seconds < 5400:
        return say("{minutes:.0f} min", minutes=seconds / 60)
    return say("{hours:.1f} h", hours=seconds / 3600)


def runs(root: Path) -> list[Path]:
    """List the folders of runs below a folder of bundles, whatever has become of them, the newest last."""
    found = [path.parent for path in root.glob(f"*/{RUN}/*/{STATUS}")]
    return sorted(found, key=last_word)


def last_word(run: Path) -> float:
    """Tell when a run gave its last sign of life, in seconds since 1970; 0 of one that is no more."""
    try:
        return (run / STATUS).stat().st_mtime
    except OSError:
        return 0.0


def status(run: Path) -> Status | None:
    """Read what a run does; None where that cannot be read. One that went silent is "stopped"."""
    try:
        found = parse(Status, json.loads((run / STATUS).read_text(encoding="utf-8")))
    except (AttributeError, OSError, RecursionError, TypeError, ValueError):
        return None
    if not _sound(found):
        return None
    if found.doing not in ENDED and time.time() - last_word(run) > GONE_AFTER:
        return replace(found, doing="stopped", reason="its process is gone")
    return found


def _sound(found: Status) -> bool:
    words = (found.title, found.doing, found.model, found.reason)
    names = (found.models, found.fitted)
    return (
        all(isinstance(word, str) for word in words)
        and all(type(n) is int for n in (found.done, found.total))
        and isinstance(found.left, float | int | None)
        and all(isinstance(some, tuple) and all(isinstance(name, str) for name in some) for some in names)
    )


def picture(run: Path) -> Picture | None:
    """Read the newest picture of a run; None where there is none that can be read."""
    try:
        with (run / PICTURE).open("rb") as file:
            tensors = safetensors.torch.load(file.read(LARGEST))
        made = Picture(float(tensors.pop("epoch")), **tensors)
    except (KeyError, OSError, RuntimeError, TypeError, ValueError, safetensors.SafetensorError):
        return None
    return made if _fits(made) else None


def _fits(made: Picture) -> bool:
    """Whether a picture has the shapes and types that `Painter` gives it."""
    images = [x for x in (made.images, made.rebuilt, made.sheet) if x is not None]
    n = 0 if made.images is None else len(made.images)
    return (
        all(x.dtype == torch.uint8 and x.ndim == 4 and x.shape[1] in (1, 3) and x.numel() for x in images)
        and all(x is None or x.shape == (n,) for x in (made.guesses, made.sure))
        and (made.rebuilt is None or made.rebuilt.shape == made.images.shape)
        and (made.sheet is None or len(made.sheet) == CELLS**2)
        and (made.points is None or (made.labels is not None and made.points.shape == (len(made.labels), 2)))
        and (made.curve is None or (made.curve.ndim == 2 and made.curve.shape[1] == 3))
    )


def stop(run: Path) -> None:
    """Ask a run to end after what it is doing, as Ctrl-C does; see its status for when it has."""
    (run / STOP).touch()


def forget(folder: Path) -> None:
    """Remove what runs that are over have left in a folder `.run`."""
    with contextlib.suppress(OSError):
        for run in list(folder.iterdir()):
            found = status(run)
            if found is None or found.doing in ENDED:
                shutil.rmtree(run, ignore_errors=True)
