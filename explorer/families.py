"""Families: one model over a list of values, so that what a value does can be seen at every position of a dial.

    checkpoints/<dataset>/<family>/config.json            "family": what its dial turns; "fits": values, architecture
                                                          and recipe of each fitting
                                   members.safetensors    the weights of all members in half precision, <member>/<name>
                                   history.json           one row per epoch of each fitting
                                   figures.json           what was measured of these weights; see `dials`
                                   codes.safetensors      codes of the gallery under each member

The table `FAMILIES` is to `train.py` what `ROSTER` is for single models. The architectures are small, so that all
members of a family fit in a few megabytes and their decoders travel to a browser at once.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import torch

from explorer import checkpoints, storage
from explorer.checkpoints import FORMAT, KINDS, BundleError, Stored, parse, to_json, to_safetensors, whole
from explorer.datasets import DATASETS, Dataset, ImageSet
from explorer.images import to_float
from explorer.language import later
from explorer.models import AutoencoderConfig, ConditionalConfig, Model, ModelConfig
from explorer.roster import ROSTER, choose_models, models_for
from explorer.training import Epoch, Recipe, State

LENGTHS = (1, 2, 3, 4, 8, 16, 32, 64, 128, 256)
BETAS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
SHAPE_BETAS = (1.0, 2.0, 4.0, 8.0, 16.0)
EPOCHS = (0, 1, 2, 3, 5, 8, 13)
STAGES = {
    "fit": ("config.json", "members.safetensors", "history.json"),
    "metrics": ("figures.json", "codes.safetensors"),
}
DIALS = ("length", "beta", "epoch", "class")
PCA = "pca"  # "pca/mean" `(P,)` and "pca/basis" `(D, P)` beside the members of a family of lengths

MEMBER = "member/"  # before what a state holds of members that are made already

Value = str | int | float


@dataclass(frozen=True)
class Fit:
    """One fitting of a family.

    values: what it has that its siblings have otherwise. keep: epochs after which its weights are kept, each as a
    member of its own, 0 before the first; without, the one member has the weights of the best epoch.
    """

    name: str
    values: Mapping[str, Value]
    config: ModelConfig
    recipe: Recipe
    keep: tuple[int, ...] = ()

    @property
    def members(self) -> dict[str, dict[str, Value]]:
        """Name its members, with their values."""
        if not self.keep:
            return {self.name: dict(self.values)}
        return {f"{self.name}@{epoch}": {**self.values, "epoch": epoch} for epoch in self.keep}

    def on(self, dataset: Dataset, changes: Mapping[str, Any]) -> "Fit":
        """Adapt it to the images of a data set, and the recipe to a command line."""
        shape = {"image_shape": dataset.image_shape}
        if hasattr(self.config, "n_classes"):
            shape["n_classes"] = len(dataset.classes)
        recipe = dataclasses.replace(self.recipe, **changes)
        keep = tuple(epoch for epoch in self.keep if epoch <= recipe.epochs)
        if self.keep and recipe.epochs not in keep:
            keep += (recipe.epochs,)
        return dataclasses.replace(self, config=dataclasses.replace(self.config, **shape), recipe=recipe, keep=keep)


@dataclass(frozen=True)
class Family:
    """One family: what its dial turns, one of `DIALS`, and its fittings."""

    name: str
    title: str
    summary: str
    dial: str
    fits: tuple[Fit, ...]
    home: str = "fashion-mnist"


# Strides 2, 2, 1 end in 16 x 7 x 7 = 784 features, so that a code of 256 numbers is no longer than what it is made of,
# and the layers beside the code are a fifth of the weights that dense ones of the same error would have.
_SMALL = AutoencoderConfig(channels=(16, 32, 16), strides=(2, 2, 1), code=2)
# Six epochs in small batches at a high rate: all families in about an hour on one core. After four epochs of one-cycle
# the plain model of 64 numbers had a validation error of 0.0137, 0.0105, 0.0095, 0.0087 in batches of 128 at a rate of
# 2e-3, 5e-3, 1e-2, 2e-2, and 0.0077 in batches of 64 at 1e-2.
_SHORT = Recipe(epochs=6, batch_size=64, learning_rate=1e-2)
# After six, 128 numbers of a plain autoencoder are no better than PCA's.
_LONGER = dataclasses.replace(_SHORT, epochs=12)


def _lengths(kind: str, config: AutoencoderConfig) -> tuple[Fit, ...]:
    values = ({"kind": kind, "length": length} for length in LENGTHS)
    return tuple(
        Fit(f"{kind}-{v['length']}", v, dataclasses.replace(config, code=v["length"]), _LONGER) for v in values
    )


def _betas(length: int) -> tuple[Fit, ...]:
    config = dataclasses.replace(_SMALL, code=length, variational=True)
    recipe = dataclasses.replace(_SHORT, epochs=4)  # short codes are learned sooner
    return tuple(
        Fit(f"d{length}-beta{beta:g}", {"length": length, "beta": beta}, dataclasses.replace(config, beta=beta), recipe)
        for beta in BETAS
    )


# 64 x 64 pixels of flat shapes: few channels where pixels are many, so that the browser decodes ten of each of ten
# numbers at once.
_SHAPE = AutoencoderConfig(
    (1, 64, 64), channels=(8, 16, 32, 32), strides=(2, 2, 2, 2), hidden=(128,), code=10, variational=True
)
_SHAPE_RECIPE = Recipe(epochs=12, batch_size=64, learning_rate=4e-3, kl_from=50.0)


def _shapes(kind: str, betas: tuple[float, ...], weighs: str) -> tuple[Fit, ...]:
    return tuple(
        Fit(
            f"{kind}-beta{beta:g}", {"kind": kind, "length": 10, "beta": beta},
            dataclasses.replace(_SHAPE, beta=beta, weighs=weighs), _SHAPE_RECIPE,
        )
        for beta in betas
    )  # fmt: skip


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "length-family",
            later("Length of the code"),
            later("The same autoencoder with codes of 1 to 256 numbers, plain and variational."),
            "length",
            _lengths("ae", _SMALL) + _lengths("vae", dataclasses.replace(_SMALL, variational=True)),
        ),
        Family(
            "beta-family",
            "β",
            later(
                "The same variational autoencoder under nine weights of its KL term, with codes of 2 and of 10 numbers."
            ),
            "beta",
            _betas(2) + _betas(10),
        ),
        Family(
            "time-family",
            later("Time"),
            later(
                "The variational autoencoder of 2 numbers and a classifier as they were after epochs 0, 1, 2, 3, 5, "
                "8 and 13."
            ),
            "epoch",
            (
                Fit(
                    "vae",
                    {"model": "vae"},
                    ROSTER["conv-vae"].config,
                    dataclasses.replace(ROSTER["conv-vae"].recipe, epochs=EPOCHS[-1]),
                    EPOCHS,
                ),
                Fit(
                    "classifier",
                    {"model": "classifier"},
                    dataclasses.replace(ROSTER["ffnn"].config, hidden=(128, 64)),  # seven states of it are kept
                    dataclasses.replace(ROSTER["ffnn"].recipe, epochs=EPOCHS[-1]),
                    EPOCHS,
                ),
            ),
        ),
        Family(
            "class-vae",
            later("Class × style"),
            later("A variational autoencoder that is told the class, so that its 8 numbers are left for the style."),
            "class",
            (
                Fit(
                    "vae",
                    {},
                    ConditionalConfig(channels=(16, 32, 16), strides=(2, 2, 1), code=8, variational=True),
                    dataclasses.replace(_SHORT, epochs=12),
                ),
            ),
        ),
        Family(
            "shapes-family",
            later("β on shapes"),
            later("β-VAE and β-TCVAE with 10 numbers, on images whose factors are known."),
            "beta",
            _shapes("vae", SHAPE_BETAS, "kl") + _shapes("tcvae", SHAPE_BETAS[1:-1], "total correlation"),
            home="shapes",
        ),
    )
}


@dataclass(frozen=True)
class FamilyBundle(Stored):
    """One fitted family on disk; "model" is its name."""

    stages = STAGES
    weights_file = "members.safetensors"

    @property
    def identity(self) -> str:
        """Name these very weights: data set, family and digest."""
        return f"{self.dataset}/{self.model}/{self.config()['weights']}"

    @whole
    def config(self) -> dict[str, Any]:
        """Read `config.json`, with "fits" as a tuple of `Fit`."""
        values = self._json("config.json", "fit")
        with self._belonging():
            whose = (values["format"], values["model"], values["data"]["dataset"])
            if whose != (FORMAT, self.model, self.dataset):
                raise ValueError(f"it describes format {whose[0]}, family {whose[1]!r} on {whose[2]!r}")
            words = values["family"]
            if words["dial"] not in DIALS or not all(isinstance(words[key], str) for key in ("title", "summary")):
                raise ValueError("it names no dial that there is, or title and summary are not words")
            values["fits"] = tuple(map(_read_fit, values["fits"]))
            shape = tuple(values["data"]["image_shape"])
            if not values["fits"] or any(fit.config.image_shape != shape for fit in values["fits"]):
                raise ValueError(f"its data have the shape {shape}, its members another, or there are none")
        return values

    @whole
    def tensors(self) -> dict[str, torch.Tensor]:
        """Read all weights as they are stored, `<member>/<name>`."""
        stored = self._tensors(self.weights_file, "fit")
        self._check_weights(self.weights_file, "fit", self.config().get("weights"))
        return stored

    @whole
    def load(self) -> dict[str, Model]:
        """Build every member, by name, in evaluation mode on the CPU, all keys and shapes equal."""
        stored = self.tensors()
        models = {}
        for fit in self.config()["fits"]:
            for member in fit.members:
                own = {k.removeprefix(f"{member}/"): v for k, v in stored.items() if k.startswith(f"{member}/")}
                models[member] = self._built(fit.config, own)
        return models

    @whole
    def history(self) -> dict[str, list[dict[str, float]]]:
        """Read the rows of each fitting, one per epoch; see `training.Epoch.row` for their columns."""
        rows = self._json("history.json", "fit")
        for fit in self.config()["fits"]:
            own = rows.get(fit.name)
            own = own if isinstance(own, list) else []
            epochs = [row["epoch"] for row in own if isinstance(row, dict) and "epoch" in row]
            if [epoch for epoch in epochs if epoch] != list(range(1, fit.recipe.epochs + 1)):
                reason = f"is damaged: it does not hold {fit.recipe.epochs} whole epochs of {fit.name}"
                raise self._broken("history.json", "fit", reason)
        return rows

    @whole
    def figures(self) -> dict[str, Any]:
        """Read what `dials.measure` measured of these weights."""
        figures = self._json("figures.json", "metrics")
        self._check_weights("figures.json", "metrics", figures.get("weights"))
        return figures

    @whole
    def codes(self) -> dict[str, torch.Tensor]:
        """Read the codes `(M, D)` of the gallery under each member, and what was made from them; see `dials`."""
        return self._own_tensors("codes.safetensors", "metrics")

    def is_fitted_as(self, description: Mapping[str, Any]) -> bool:
        """Whether there is a whole family.

        Raises:
            BundleError: it was fitted otherwise; the message says which fields.
        """
        try:
            self.load()
            stored = self._json("config.json", "fit")
            self.history()
        except BundleError:
            return False
        if differing := checkpoints.differences(_by_name(stored), _by_name(description)):
            raise BundleError(
                f"{self.folder} was made otherwise ({'; '.join(differing[:3])}). Fit it anew with: {self.command()}"
            )
        return True

    def is_measured(self) -> bool:
        """Whether there are figures and codes of these weights."""
        try:
            return bool(self.figures()) and bool(self.codes())
        except BundleError:
            return False

    def write_fitted(self, description: Mapping[str, Any], parts: Sequence["Part"], more: Mapping[str, Any]) -> None:
        """Store what all fittings made, and `more` tensors beside their members."""
        read = {part.fit: part.read() for part in parts}
        tensors = {name: tensor for weights, _ in read.values() for name, tensor in weights.items()}
        weights = to_safetensors({**tensors, **more})
        made = checkpoints.provenance(torch.device("cpu")) | {"device": sorted({p.made_on() for p in parts})}
        config = {**description, "weights": hashlib.sha256(weights).hexdigest(), "made": made}
        history = {name: rows for name, (_, rows) in read.items()}
        self.write(
            "fit",
            {"config.json": to_json(config), self.weights_file: weights, "history.json": _to_rows(history)},
        )

    def write_measured(self, figures: Mapping[str, Any], codes: Mapping[str, torch.Tensor]) -> None:
        """Store what `dials.measure` made of the weights that are here now."""
        digest = self.weights_digest()
        self.write(
            "metrics",
            {
                "figures.json": to_json({**figures, "weights": digest}),
                "codes.safetensors": to_safetensors(codes, {"weights": digest}),
            },
        )


@dataclass(frozen=True)
class Part(Stored):
    """What one fitting of a family has left while others are not over: its state, then its members."""

    fit: str = ""
    description: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def folder(self) -> Path:
        """Where its files lie: this name with endings."""
        return self.root / self.dataset / f".{self.model}.parts" / self.fit

    @property
    def file(self) -> Path:
        """The file of its members."""
        return self.folder.with_name(f"{self.fit}.safetensors")

    def write_members(self, members: Mapping[str, Mapping[str, torch.Tensor]], history: Sequence[Epoch]) -> None:
        """Keep its members' weights in half precision and the rows of its epochs."""
        tensors = {f"{name}/{k}": v for name, state in members.items() for k, v in state.items()}
        rows = [epoch.row() for epoch in history]
        values = {"description": self.description, "history": rows, "device": _device()}
        with storage.lock(self.file):
            storage.replace_file(self.file, to_safetensors(tensors, {"values": json.dumps(values)}))

    def is_done(self) -> bool:
        """Whether it is over, made as it would be now."""
        try:
            return self._values()["description"] == self.description
        except BundleError:
            return False

    def made_on(self) -> str:
        """Say on what kind of device it was fitted."""
        return self._values()["device"]

    def read(self) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
        """Read the weights of its members and the rows of its epochs; raises `BundleError`."""
        values = self._values()
        with safetensors.safe_open(self.file, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, values["history"]  # noqa: SIM118

    def _values(self) -> dict[str, Any]:
        try:
            with safetensors.safe_open(self.file, "pt") as file:
                return json.loads((file.metadata() or {})["values"])
        except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
            raise BundleError(f"{self.file} is missing or damaged. Go on with: {self.command()} --resume") from error


def _by_name(description: Mapping[str, Any]) -> dict[str, Any]:
    return {**description, "fits": {fit["name"]: fit for fit in description["fits"]}}


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_initialized() else "cpu"


def _to_rows(history: Mapping[str, Sequence[Mapping[str, float]]]) -> bytes:
    """Write one row of numbers per line, so that changes are small."""
    rows = {name: [{k: float(f"{v:.6g}") for k, v in row.items()} for row in rows] for name, rows in history.items()}
    lines = (f"  {json.dumps(name)}: [\n" + ",\n".join(f"    {json.dumps(row)}" for row in rows[name]) + "\n  ]"
             for name in rows)  # fmt: skip
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def _read_fit(values: Mapping[str, Any]) -> Fit:
    name, own, keep = values["name"], values["values"], values["keep"]
    if not isinstance(name, str) or not isinstance(own, dict) or not all(type(epoch) is int for epoch in keep):
        raise ValueError("a fitting has no name, no values, or epochs that are no whole numbers")
    config = parse(KINDS[values["kind"]], values["architecture"])
    return Fit(name, own, config, parse(Recipe, values["recipe"]), tuple(keep))


def describe_fit(fit: Fit) -> dict[str, Any]:
    """Say what one fitting is, as JSON would hold it."""
    kind = next(name for name, cls in KINDS.items() if type(fit.config) is cls)
    values = dataclasses.asdict(fit) | {"kind": kind, "architecture": dataclasses.asdict(fit.config)}
    return json.loads(to_json({k: v for k, v in values.items() if k != "config"}))


def describe(
    bundle: FamilyBundle, family: Family, fits: Sequence[Fit], dataset: Dataset, splits: Mapping[str, ImageSet],
    seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Say what a family is, how and on what it is fitted, as JSON would hold it."""
    of_one = checkpoints.describe(bundle, fits[0].config, fits[0].recipe, dataset, splits, seed)
    place = list(FAMILIES).index(family.name)
    words = {"dial": family.dial, "title": family.title, "summary": family.summary, "place": place}
    kept = {name: of_one[name] for name in ("format", "model", "data", "seed")}
    return {**kept, "family": words, "fits": [describe_fit(fit) for fit in fits]}


def parts(bundle: FamilyBundle, description: Mapping[str, Any]) -> list[Part]:
    """List where the fittings of a family keep what they have, in its order."""
    common = {name: description[name] for name in ("format", "data", "seed")}
    return [
        Part(bundle.dataset, bundle.model, bundle.root, fit=fit["name"], description={**common, **fit})
        for fit in description["fits"]
    ]


def choose(names: Sequence[str], dataset: str | None) -> dict[str, list[str]]:
    """Say which models and families run on which data set; as `choose_models`, whose models come first.

    Where none is named, a data set for whose images there are no models has its families.

    Raises:
        ValueError: one is made for images of another shape, or none for those of the data set.
    """
    if dataset and not names and not models_for(dataset):
        names = [name for name, family in FAMILIES.items() if family.home == dataset]
    chosen = [name for name in dict.fromkeys(names) if name in FAMILIES]
    others = [name for name in names if name not in FAMILIES]
    work = choose_models(others, dataset) if others or not chosen else {}
    for name in chosen:
        on = dataset or FAMILIES[name].home
        shape = FAMILIES[name].fits[0].config.image_shape
        if DATASETS[on].image_shape != shape:
            raise ValueError(f"{name} cannot run on {on}: it is made for images of {' x '.join(map(str, shape))}")
        work.setdefault(on, []).append(name)
    return work


def with_members(state: State, members: Mapping[str, Mapping[str, torch.Tensor]]) -> State:
    """Add the members that a fitting has made so far to its state."""
    more = {f"{MEMBER}{name}/{k}": v for name, weights in members.items() for k, v in weights.items()}
    return State({**state.tensors, **more}, state.values)


def without_members(state: State) -> tuple[State, dict[str, dict[str, torch.Tensor]]]:
    """Part what `with_members` has put together."""
    members: dict[str, dict[str, torch.Tensor]] = {}
    for key in [key for key in state.tensors if key.startswith(MEMBER)]:
        name, _, weight = key.removeprefix(MEMBER).partition("/")
        members.setdefault(name, {})[weight] = state.tensors[key]
    own = {key: value for key, value in state.tensors.items() if not key.startswith(MEMBER)}
    return State(own, state.values), members


def is_family(folder: Path) -> bool:
    """Whether a folder says of itself that it holds a family; where it cannot say, whether it holds its weights."""
    path = folder / "config.json"
    try:
        stat = path.stat()
        return _says_family(str(path), stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size)
    except (OSError, ValueError, RecursionError):
        return (folder / FamilyBundle.weights_file).is_file()


@functools.lru_cache(maxsize=256)
def _says_family(path: str, *_stamp: int) -> bool:
    values = json.loads(Path(path).read_text(encoding="utf-8"))
    return isinstance(values, dict) and "family" in values


def principal(splits: Mapping[str, ImageSet], n: int) -> dict[str, torch.Tensor]:
    """Fit PCA to all training and validation images: "pca/mean" `(P,)` and "pca/basis" `(n, P)` in half precision.

    The right singular vectors of the centred matrix, largest first, as eigenvectors of its covariance in float64.
    """
    x = torch.cat([to_float(splits[name].images).flatten(1) for name in ("train", "validation")]).double()
    mean = x.mean(0)
    x -= mean
    _, vectors = torch.linalg.eigh(x.T @ x)  # ascending
    basis = vectors.flip(1)[:, :n].T
    return {f"{PCA}/mean": mean.half(), f"{PCA}/basis": basis.contiguous().half()}
