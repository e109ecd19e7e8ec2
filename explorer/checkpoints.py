"""Bundles: one folder per fitted model, the only thing that training and the app both know.

    checkpoints/<dataset>/dataset.json           what the images are; see `cards`
    checkpoints/<dataset>/gallery.json           indices and labels of the gallery images
    checkpoints/<dataset>/gallery.safetensors    and their pixels, of images that are one's own
    checkpoints/<dataset>/<model>/config.json    architecture, recipe, data contract, provenance
                                  model.safetensors
                                  history.csv    one row per epoch
                                  metrics.json   figures on the whole test split
                                  codes.safetensors  codes of the gallery and their projections
                                  uses.safetensors   what the model is good for, where that was asked for; see `uses`
                                  ladder.safetensors where codes lie, and what is sampled there; asked for; see `ladder`
                                  edits.safetensors  what edits change besides what they should; asked for; see `edits`

`config.json`, `model.safetensors` and `history.csv` come from fitting; the others from stages that
can be run later. Every file but the history names the weights it belongs to by their SHA-256, so a file
of another model, or of this one before it was fitted anew, is found out. Nothing is pickled, so nothing
in a bundle can execute. A folder is switched as a whole, so an interrupted run leaves the previous one, and a
reader sees one or the other; see `storage`.
"""

import csv
import dataclasses
import functools
import hashlib
import io
import itertools
import json
import math
import os
import shlex
import subprocess
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import safetensors
import safetensors.torch
import torch

from explorer import storage
from explorer.datasets import DATASETS, SPLIT_SEED, Dataset, ImageSet
from explorer.language import later
from explorer.models import (
    AutoencoderConfig,
    ClassifierConfig,
    ConditionalConfig,
    DeepConfig,
    ImportedAutoencoderConfig,
    ImportedClassifierConfig,
    Model,
    ModelConfig,
    device_of,
)
from explorer.training import Epoch, Recipe, State

FORMAT = 1
GALLERY_IMAGES = "gallery.safetensors"
MOST_WORDS = 400  # characters of a reason: what is wrong may be a field of a megabyte
HALF_FROM = 1_000_000  # parameters
FITTED = ("config.json", "model.safetensors", "history.csv")
STAGES = {"fit": FITTED, "metrics": ("metrics.json",), "projections": ("codes.safetensors",)}
ASKED_FOR = {
    "uses": ("uses.safetensors",),
    "ladder": ("ladder.safetensors",),
    "edits": ("edits.safetensors",),
}  # stages whose files a whole bundle may lack
FILES = tuple(name for names in (STAGES | ASKED_FOR).values() for name in names)
KINDS: dict[str, type[ModelConfig]] = {
    "autoencoder": AutoencoderConfig,
    "classifier": ClassifierConfig,
    "conditional": ConditionalConfig,
    "deep": DeepConfig,
    "imported autoencoder": ImportedAutoencoderConfig,
    "imported classifier": ImportedClassifierConfig,
}
NO_HISTORY = b"epoch,train_loss,validation_loss,seconds\n"  # of a model that was fitted elsewhere

Config = TypeVar("Config")
Result = TypeVar("Result")


class BundleError(RuntimeError):
    """A file of a bundle is missing, damaged or foreign; the message names it and what mends it."""


def root_folder(root: Path | str | None = None) -> Path:
    """Name the folder of all bundles: `root`, else the variable EXPLORER_CHECKPOINTS, else ours."""
    default = Path(__file__).parent.parent / "checkpoints"
    return Path(root or os.environ.get("EXPLORER_CHECKPOINTS") or default).expanduser()


def parse(cls: type[Config], values: Mapping[str, Any]) -> Config:
    """Rebuild a frozen config from its JSON object; lists become tuples.

    Raises:
        ValueError: a field is unknown.
    """
    known = {f.name for f in dataclasses.fields(cls)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"unknown fields {', '.join(unknown)}; {cls.__name__} has {', '.join(sorted(known))}")
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def whole(read: Callable[[Any], Result]) -> Callable[[Any], Result]:
    """Make a reader of `Stored` read files that all come from one writer."""

    @functools.wraps(read)
    def reader(self: "Stored") -> Result:
        if self.place is not None:
            return read(self)
        return storage.read_whole(self.folder, lambda place: read(dataclasses.replace(self, place=place)))

    return reader


@dataclasses.dataclass(frozen=True)
class Stored:
    """A folder of what was fitted. Every reader raises `BundleError` for a file it cannot use, and none ever writes.

    place: where the files lie at the moment, known while they are read. stages: what is written together, in order.
    weights_file: the one that the others belong to.
    """

    stages: ClassVar[Mapping[str, tuple[str, ...]]]
    weights_file: ClassVar[str]

    dataset: str
    model: str
    root: Path
    place: Path | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def files(self) -> tuple[str, ...]:
        """The names of all files that belong to it."""
        return tuple(name for names in self.stages.values() for name in names)

    @property
    def folder(self) -> Path:
        """Its own folder."""
        return self.root / self.dataset / self.model

    @property
    @whole
    def fingerprint(self) -> tuple[tuple[str, int, int, int], ...]:
        """Name, size and times of change (ns) of each file: a cache key that a retrained model changes."""
        paths = [path for name in sorted(self.files) if (path := self._at(name)).is_file()]
        return tuple((path.name, *_stamp(path)[1:]) for path in paths)

    def command(self, stage: str = "fit") -> str:
        """Give the command that makes the files of a stage anew."""
        return _command(self.dataset, self.model) + ("" if stage == "fit" else f" --only {stage}")

    @whole
    def weights_digest(self) -> str:
        """Compute the SHA-256 of the weights file, in hexadecimal."""
        return _digest(*_stamp(self._path(self.weights_file, "fit")))

    def lock(self, waiting: Callable[[], None] = lambda: None) -> AbstractContextManager[None]:
        """Keep other writers of this bundle out; `waiting` is called where one is at work. See `storage.lock`."""
        return storage.lock(self.folder.resolve(), waiting)

    @property
    def state_file(self) -> Path:
        """Where a fitting that is not over keeps its state."""
        return self.folder.with_name(f".{self.folder.name}.state")

    def write_state(self, state: State, description: Mapping[str, Any], history: Sequence[Epoch]) -> None:
        """Keep the state of a fitting after an epoch, whole or not at all."""
        values = {"state": state.values, "description": description, "history": [e.__dict__ for e in history]}
        with self.lock():
            storage.replace_file(self.state_file, to_safetensors(state.tensors, {"values": json.dumps(values)}))

    def read_state(self, description: Mapping[str, Any]) -> tuple[State, list[Epoch]]:
        """Read the state and the records of a fitting that was stopped.

        Raises:
            BundleError: the file is damaged, or of a fitting with another description; it says which fields.
        """
        try:
            with safetensors.safe_open(self.state_file, "pt") as file:
                values = json.loads((file.metadata() or {})["values"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if differing := differences(values["description"], description):
                raise ValueError(f"it was made otherwise ({'; '.join(differing)})")
            return State(tensors, values["state"]), [Epoch(**row) for row in values["history"]]
        except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            message = f"{self.state_file} cannot be resumed: {error}. Begin anew with: {self.command()}"
            raise BundleError(message) from error

    def write(self, stage: str, files: Mapping[str, bytes]) -> None:
        """Replace the files of one stage, whole or not at all.

        Fitting anew drops the files of later stages, which describe the old weights.
        """
        if set(files) != set(self.stages[stage]):
            raise ValueError(f"stage {stage!r} writes {self.stages[stage]}, not {tuple(files)}")
        later = () if stage == "fit" else self.files
        storage.replace_folder(self.folder, files, own=self.files, kept=later)

    def config(self) -> dict[str, Any]:
        """Read `config.json`."""
        raise NotImplementedError

    @contextmanager
    def _belonging(self) -> Iterator[None]:
        """Say of a description that cannot be read that it belongs elsewhere, and why."""
        try:
            yield
        except KeyError as error:
            raise self._broken(
                "config.json", "fit", later("does not belong here: it lacks or misnames {error}", error=error)
            ) from error
        except (AttributeError, TypeError, ValueError) as error:
            raise self._broken("config.json", "fit", later("does not belong here: {error}", error=error)) from error

    def check_test_images(self, test: ImageSet) -> None:
        """Refuse to measure on other test images than there were when this was fitted: it may have learned them.

        Raises:
            BundleError: the test images are others; bundles older than their digests are taken at their word.
        """
        stored = self.config()["data"].get("digests", {}).get("test")
        if stored and stored != test.digest:
            reason = later("was fitted when the test images were others, so it may have learned some of these")
            raise self._broken("config.json", "fit", reason)

    def _built(self, architecture: ModelConfig, weights: Mapping[str, torch.Tensor]) -> Model:
        """Build a model in evaluation mode on the CPU with these weights, all keys and shapes equal."""
        try:
            with torch.device("meta"):  # shapes alone: a config may ask for more than there is memory
                model = architecture.build()
        except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
            raise self._broken(
                "config.json", "fit", later("describes no model that can be built: {error}", error=error)
            ) from error
        dtypes = {name: tensor.dtype for name, tensor in model.state_dict().items()}
        weights = {name: tensor.to(dtypes.get(name, tensor.dtype)) for name, tensor in weights.items()}
        try:
            model.load_state_dict(weights, strict=True, assign=True)
        except RuntimeError as error:
            reason = later("does not fit config.json: {reason}", reason=textwrap.shorten(str(error), 300))
            raise self._broken(self.weights_file, "fit", reason) from error
        return model.eval().requires_grad_(False)

    def _check_weights(self, name: str, stage: str, digest: str | None) -> None:
        if digest != self.weights_digest():
            raise self._broken(name, stage, later("belongs to other weights"))

    def _at(self, name: str) -> Path:
        return (self.place or self.folder) / name

    def _path(self, name: str, stage: str) -> Path:
        path = self._at(name)
        if not path.is_file():
            raise self._broken(name, stage, later("is missing"))
        return path

    def _text(self, name: str, stage: str) -> str:
        try:
            return self._path(name, stage).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise self._broken(name, stage, later("cannot be read ({error})", error=error)) from error

    def _json(self, name: str, stage: str) -> dict[str, Any]:
        try:
            return _parsed(self._text(name, stage))
        except ValueError as error:
            raise self._broken(name, stage, str(error)) from error

    def _tensors(self, name: str, stage: str) -> dict[str, torch.Tensor]:
        path = self._path(name, stage)
        try:
            return safetensors.torch.load(path.read_bytes())  # mapped, Windows could not replace it while it is used
        except (safetensors.SafetensorError, OSError) as error:
            raise self._broken(name, stage, later("is truncated or not safetensors ({error})", error=error)) from error

    def _own_tensors(self, name: str, stage: str) -> dict[str, torch.Tensor]:
        """Read tensors that were made with the weights that are here now."""
        tensors = self._tensors(name, stage)
        with safetensors.safe_open(self._at(name), "pt") as file:
            self._check_weights(name, stage, (file.metadata() or {}).get("weights"))
        return tensors

    def _broken(self, name: str, stage: str, reason: str) -> BundleError:
        reason = reason if len(reason) <= MOST_WORDS else f"{reason[:MOST_WORDS]}…"
        return BundleError(
            later(
                "{path} {reason}. Make it anew with: {command}",
                path=self.folder / name,
                reason=reason,
                command=self.command(stage),
            )
        )


@dataclasses.dataclass(frozen=True)
class Bundle(Stored):
    """One fitted model on disk."""

    stages = STAGES | ASKED_FOR
    weights_file = "model.safetensors"

    @property
    def identity(self) -> str:
        """Name these very weights: data set, model and digest."""
        return f"{self.dataset}/{self.model}/{self.config()['weights']}"

    def command(self, stage: str = "fit") -> str:
        """Give the command that makes the files of a stage anew."""
        files = self._imported()
        if files is None:
            return _command(self.dataset, self.model) + ("" if stage == "fit" else f" --only {stage}")
        command = f"{_command(self.dataset)} --import {self.model}"
        if stage != "fit":
            return f"{command} --only {stage}"
        if not all(file["sha256"] for file in files.values()):
            return f'explorer.save(model, "{self.model}", "{self.dataset}") in Python'
        return " ".join([command, *(f"--{part} {shlex.quote(file['name'])}" for part, file in files.items())])

    def is_imported(self) -> bool:
        """Whether the model was made elsewhere, as far as can be read."""
        return self._imported() is not None

    def _imported(self) -> dict[str, dict[str, str]] | None:
        """Name the files that an imported model was made of, by part; None of one that was fitted, or unreadable."""
        try:
            files = json.loads(self._at("config.json").read_text(encoding="utf-8"))["imported"]["files"]
            known = {part: files[part] for part in ("encoder", "decoder", "classifier") if part in files}
            return known if all(_is_name(file["name"]) and "sha256" in file for file in known.values()) else None
        except (OSError, ValueError, RecursionError, LookupError, TypeError):
            return None

    @whole
    def config(self) -> dict[str, Any]:
        """Read `config.json`, with "architecture" and "recipe" as their config classes.

        The recipe is None where a model was made elsewhere; "imported" then says of what.
        """
        values = self._json("config.json", "fit")
        with self._belonging():
            if (values["format"], values["model"], values["data"]["dataset"]) != (
                FORMAT, self.model, self.dataset,
            ):  # fmt: skip
                raise ValueError(
                    f"it describes format {values['format']}, model {values['model']!r} "
                    f"on {values['data']['dataset']!r}"
                )
            values["architecture"] = parse(KINDS[values["kind"]], values["architecture"])
            values["recipe"] = None if values["recipe"] is None else parse(Recipe, values["recipe"])
            if (shape := tuple(values["data"]["image_shape"])) != values["architecture"].image_shape:
                raise ValueError(later("its data have the shape {shape}, its architecture another", shape=shape))
        return values

    @whole
    def stored_description(self) -> dict[str, Any] | None:
        """Read what `describe` said when this bundle was fitted; None where there is no whole bundle."""
        try:
            self.load()
            config, history = self.config(), self.history()
        except BundleError:
            return None
        parsed = {k: config[k] and dataclasses.asdict(config[k]) for k in ("architecture", "recipe")}  # new fields, too
        return {"test_curve": "test_psnr" in history} | config | json.loads(to_json(parsed))

    @whole
    def load(self) -> Model:
        """Build the model in evaluation mode on the CPU with the stored weights, all keys and shapes equal."""
        config = self.config()
        weights = self._tensors("model.safetensors", "fit")
        self._check_weights("model.safetensors", "fit", config.get("weights"))
        return self._built(config["architecture"], weights)

    @whole
    def history(self) -> dict[str, list[float]]:
        """Read `history.csv` as columns, empty ones of an imported model; see `training.Epoch.row` for their names."""
        recipe = self.config()["recipe"]
        n_epochs = recipe.epochs if recipe else 0
        text = self._text("history.csv", "fit")
        try:
            table = csv.DictReader(io.StringIO(text))
            rows = list(table)
            columns = {
                name: [float(row[name]) for row in rows] for name in (rows[0] if rows else table.fieldnames or ())
            }
        except (csv.Error, TypeError, ValueError) as error:
            reason = later("is damaged: not every row holds a number for each column")
            raise self._broken("history.csv", "fit", reason) from error
        if not text.endswith("\n") or len(rows) != n_epochs:
            raise self._broken("history.csv", "fit", later("is damaged: it does not hold {n} whole epochs", n=n_epochs))
        if missing := [name for name in ("epoch", "train_loss", "validation_loss") if name not in columns]:
            raise self._broken("history.csv", "fit", later("is damaged: it lacks {names}", names=", ".join(missing)))
        return columns

    @whole
    def test_curve(self) -> dict[str, list[float]]:
        """List "steps", "minutes" and "psnr" (dB, on the test split) after each epoch of fitting.

        Empty where `train.py --test-curve` did not measure it.
        """
        config, history = self.config(), self.history()
        if not history.get("test_psnr"):
            return {}
        per_epoch = math.ceil(config["data"]["splits"]["train"] / config["recipe"].batch_size)
        return {
            "steps": [epoch * per_epoch for epoch in history["epoch"]],
            "minutes": [seconds / 60 for seconds in itertools.accumulate(history["seconds"])],
            "psnr": history["test_psnr"],
        }

    @whole
    def metrics(self) -> dict[str, Any]:
        """Read the figures on the whole test split; names as in `metrics.evaluate`."""
        figures = self._json("metrics.json", "metrics")
        required = required_figures(self.config()["architecture"])
        if missing := [name for name in required if name not in figures]:
            raise self._broken("metrics.json", "metrics", later("lacks {names}", names=", ".join(missing)))
        self._check_weights("metrics.json", "metrics", figures.get("weights"))
        return figures

    @whole
    def codes(self) -> dict[str, torch.Tensor]:
        """Read the codes `(M, D)` of the gallery and what was made from them; see `projection.project`."""
        tensors = self._own_tensors("codes.safetensors", "projections")
        required = required_codes(self.config()["architecture"])
        if missing := [name for name in required if name not in tensors]:
            raise self._broken("codes.safetensors", "projections", later("lacks {names}", names=", ".join(missing)))
        return tensors

    @whole
    def uses(self) -> dict[str, torch.Tensor]:
        """Read what these weights were found to be good for; see `uses`. Not every bundle has it."""
        return self._own_tensors("uses.safetensors", "uses")

    @whole
    def ladder(self) -> dict[str, torch.Tensor]:
        """Read where the codes of these weights lie; see `ladder`. Not every bundle has it."""
        return self._own_tensors("ladder.safetensors", "ladder")

    @whole
    def edits(self) -> dict[str, torch.Tensor]:
        """Read what edits of these weights change; see `edits`. Not every bundle has it."""
        return self._own_tensors("edits.safetensors", "edits")

    def has(self, stage: str) -> bool:
        """Whether there is what one of the stages `ASKED_FOR` makes, of these weights."""
        try:
            return bool(getattr(self, stage)())
        except BundleError:
            return False

    def is_measured(self) -> bool:
        """Whether there are figures of these weights."""
        try:
            return bool(self.metrics())
        except BundleError:
            return False

    def is_projected(self) -> bool:
        """Whether there are codes of these weights, of the gallery that there is."""
        try:
            return len(self.codes()["codes"]) == len(read_gallery(self.root, self.dataset).labels)
        except BundleError:
            return False

    def write_metrics(self, figures: Mapping[str, Any]) -> None:
        """Store what `metrics.evaluate` measured of the weights that are here now."""
        self.write("metrics", {"metrics.json": to_json({**figures, "weights": self.weights_digest()})})

    def write_codes(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Store codes of the gallery and their projections, made with the weights that are here now."""
        content = to_safetensors(tensors, {"weights": self.weights_digest()})
        self.write("projections", {"codes.safetensors": content})

    def write_asked_for(self, stage: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """Store what one of the stages `ASKED_FOR` found out about the weights that are here now."""
        self.write(stage, {ASKED_FOR[stage][0]: to_safetensors(tensors, {"weights": self.weights_digest()})})


def required_figures(config: ModelConfig) -> tuple[str, ...]:
    """Name what `metrics.json` holds of every model of this kind."""
    return ("mse", "psnr", "ssim", "psnr_by_noise", "psnr_by_noise_classical") if config.decodes else ("accuracy",)


def required_codes(config: ModelConfig) -> tuple[str, ...]:
    """Name what `codes.safetensors` holds of every model of this kind."""
    more = ("test_logits", "test_labels") if not config.decodes else ("log_var",) if config.variational else ()
    return ("codes", "pca_2d", "pca_explained", *more)


def describe(
    bundle: Bundle,
    config: ModelConfig,
    recipe: Recipe | None,
    dataset: Dataset,
    splits: Mapping[str, ImageSet],
    seed: int,
    test_curve: bool = False,
) -> dict[str, Any]:
    """Say what is fitted, how, on what, from which seed and whether with a test curve, as JSON would hold it.

    recipe: None of a model that was made elsewhere.
    """
    kind = next(name for name, cls in KINDS.items() if type(config) is cls)
    values = {
        "format": FORMAT,
        "model": bundle.model,
        "kind": kind,
        "architecture": dataclasses.asdict(config),
        "recipe": recipe and dataclasses.asdict(recipe),
        "data": {
            "dataset": dataset.name,
            "image_shape": dataset.image_shape,
            "range": [0.0, 1.0],
            "classes": dataset.classes,
            "splits": {name: len(data) for name, data in splits.items()},
            "digests": {name: data.digest for name, data in splits.items()},
            "split_seed": SPLIT_SEED,
        },
        "seed": seed,
        "test_curve": test_curve,
    }
    return json.loads(to_json(values))


def differences(there: Mapping[str, Any], here: Mapping[str, Any], path: str = "") -> list[str]:
    """List the fields of `here` that have another value in `there`, with both values.

    Of a field that `there` lacks, as an older description does, nothing is known.
    """
    found = []
    for key, value in here.items():
        other = there.get(key, value)
        if isinstance(value, dict) and isinstance(other, dict):
            found += differences(other, value, f"{path}{key}.")
        elif other != value:
            found.append(f"{path}{key} is {other}, not {value}")
    return found


def _stamp(path: Path) -> tuple[str, int, int, int]:
    stat = path.stat()
    return str(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


@functools.lru_cache(maxsize=64)
def _digest(path: str, *_stamp: int) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def fitted_files(model: Model, description: Mapping[str, Any], history: Sequence[Epoch]) -> dict[str, bytes]:
    """Serialise what fitting made, the files of stage "fit"; see `describe`. An imported model has no history.

    Weights of a large model that was fitted here are stored in half precision: half the download, and every figure of
    the bundle is measured on what was stored. Those of an imported one stay as they are.
    """
    state = model.state_dict()
    if history and sum(p.numel() for p in model.parameters()) > HALF_FROM:
        state = halved(state)
    weights = to_safetensors(state)
    config = {
        **description,
        "weights": hashlib.sha256(weights).hexdigest(),
        "made": provenance(device_of(model)),
    }
    return {"config.json": to_json(config), "model.safetensors": weights, "history.csv": _table(history)}


def _table(history: Sequence[Epoch]) -> bytes:
    if not history:
        return NO_HISTORY
    table = io.StringIO(newline="")
    rows = [epoch.row() for epoch in history]
    writer = csv.DictWriter(table, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in rows)
    return table.getvalue().encode()


def halved(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copy tensors to the CPU, those of floating-point numbers in half precision."""
    return {k: (v.half() if v.is_floating_point() else v).cpu().clone() for k, v in state.items()}


def to_json(values: Mapping[str, Any]) -> bytes:
    """Write a JSON object with sorted keys, one value per line, so that changes are small."""
    return (json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def to_safetensors(tensors: Mapping[str, torch.Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Write named tensors, moved to the CPU and made contiguous."""
    return safetensors.torch.save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, metadata)


@dataclasses.dataclass(frozen=True)
class GalleryIndex:
    """Which test images are the gallery: places in the test split and labels, int64 `(M,)`.

    names: file names `(M,)`, where images are files; a copy with more or fewer images has other places.
    """

    indices: torch.Tensor
    labels: torch.Tensor
    names: tuple[str, ...] = ()


def write_gallery(root: Path, dataset: str, indices: torch.Tensor, gallery: ImageSet) -> None:
    """Store which test images `(M,)` are the gallery, and their labels and names, once per data set."""
    path = root / dataset / "gallery.json"
    values = {"indices": indices.tolist(), "labels": gallery.labels.tolist()}
    content = json.dumps(values | ({"names": gallery.names} if gallery.names else {})) + "\n"
    with storage.lock(path):
        if not path.is_file() or path.read_bytes() != content.encode():
            storage.replace_file(path, content.encode())


def write_gallery_images(root: Path, dataset: str, images: torch.Tensor) -> None:
    """Keep the pixels of the gallery, uint8 `(M, C, H, W)`, of a data set whose originals may go elsewhere."""
    path = root / dataset / GALLERY_IMAGES
    with storage.lock(path):
        storage.replace_file(path, to_safetensors({"images": images}))


def read_gallery_images(root: Path, dataset: str) -> torch.Tensor:
    """Read the pixels of the gallery, uint8 `(M, C, H, W)`.

    Raises:
        BundleError: the file is missing or damaged.
    """
    path = root / dataset / GALLERY_IMAGES
    try:
        images = safetensors.torch.load(path.read_bytes())["images"]
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise ValueError(later("holds no images"))
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
        raise BundleError(
            later(
                "{path} cannot be used ({error}). Make it anew with: {command}",
                path=path,
                error=error,
                command=anew(dataset),
            )
        ) from error
    return images


def anew(dataset: str) -> str:
    """Give the command that makes the gallery of a data set anew."""
    return f"{_command(dataset)} --only projections"


def _command(dataset: str, *model: str) -> str:
    """Give the command of a data set, or of one of its models; one's own images are fitted all together."""
    if dataset not in DATASETS:
        return f"python train.py --images FOLDER --name {dataset}"
    return " ".join(("python train.py", *model, f"--dataset {dataset}"))


def read_gallery(root: Path, dataset: str) -> GalleryIndex:
    """Read which test images are the gallery.

    Raises:
        BundleError: the file is missing or damaged.
    """
    path = root / dataset / "gallery.json"
    try:
        if not path.is_file():
            raise ValueError(later("is missing"))
        values = _parsed(path.read_text(encoding="utf-8"))
        indices, labels, names = (values.get(key, []) for key in ("indices", "labels", "names"))
        if not (_are(indices, _is_place) and _are(labels, _is_place) and _are(names, _is_name)):
            raise ValueError(later("is damaged: indices and labels are whole numbers from 0, names those of files"))
        if not indices or len(labels) != len(indices) or len(names) not in (0, len(indices)):
            raise ValueError(later("is damaged: indices, labels and names differ in length"))
    except (OSError, ValueError) as error:
        reason = str(error) if type(error) is ValueError else later("cannot be read ({error})", error=error)
        raise BundleError(
            later("{path} {reason}. Make it anew with: {command}", path=path, reason=reason, command=anew(dataset))
        ) from error
    return GalleryIndex(torch.tensor(indices), torch.tensor(labels), tuple(names))


def _parsed(text: str) -> dict[str, Any]:
    """Read a JSON object; the words of the `ValueError` follow the name of the file."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(later("is truncated or not JSON ({error})", error=error)) from error
    if not isinstance(values, dict):
        raise ValueError(later("holds no JSON object"))
    return values


def _are(values: object, fitting: Callable[[object], bool]) -> bool:
    return isinstance(values, list) and all(map(fitting, values))


def _is_place(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and value != "" and "/" not in value


def provenance(device: torch.device) -> dict[str, Any]:
    """Say when, where and with what a model was fitted."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, encoding="utf-8", check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # a downloaded archive has no git
        commit = None
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": name,
        "git_commit": commit,
        "versions": {"torch": str(torch.__version__), "safetensors": safetensors.__version__},
    }
