"""What bundles and data sets say of themselves, so that the app shows what lies in the checkpoints folder.

    checkpoints/<dataset>/dataset.json           what the images are: `DataCard`
    checkpoints/<dataset>/<model>/config.json    "card": title, summary, place, report; "can": what follows from its
                                                 architecture and recipe: `ModelCard`; or "family": `FamilyCard`

The tables `DATASETS` and `ROSTER` say how `train.py` reads and fits the standard ones; here they only speak for folders
that were written before there were cards, and for a bundle whose `config.json` cannot be read.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from explorer import storage
from explorer.checkpoints import FILES, Bundle, BundleError, anew, parse, to_json
from explorer.datasets import DATASETS, Dataset
from explorer.families import FAMILIES, FamilyBundle, is_family
from explorer.language import later
from explorer.models import ModelConfig
from explorer.roster import ROSTER, Entry
from explorer.training import Recipe

DATASET_FILE = "dataset.json"
STORED = "gallery"  # the reader of images that lie beside the bundles
LAST = 1_000_000  # the place of a model that says none: after those that do
MOST_CLASSES = 100_000
LARGEST_SIDE = 4096


@dataclass(frozen=True)
class ModelCard:
    """What one model is and what it can do.

    code: length of its code, None for a feature map or a classifier's last layer. denoises: the kind of noise that it
    was trained to take away, with the lowest and highest level, or None. likelihood: of a variational model. config:
    its architecture, where it can be read. reported: figures that a report claims for it on this data set, by their
    names in `metrics.json`. place: among the others. imported: whether it was fitted elsewhere, nobody says how.
    """

    name: str
    title: str
    summary: str = ""
    decodes: bool = False
    variational: bool = False
    classifies: bool = False
    code: int | None = None
    denoises: tuple[str, float, float] | None = None
    likelihood: str = ""
    config: ModelConfig | None = None
    reported: Mapping[str, float] = field(default_factory=dict, hash=False)
    place: int = LAST
    imported: bool = False

    @property
    def is_native(self) -> bool:
        """Whether its code is a plane under a prior: two numbers of a variational model."""
        return self.decodes and self.variational and self.code == 2


@dataclass(frozen=True)
class FamilyCard:
    """What one family is: what its dial turns, one of `families.DIALS`, or an empty string; its place among others."""

    name: str
    title: str
    summary: str = ""
    dial: str = ""
    place: int = LAST


@dataclass(frozen=True)
class DataCard:
    """What the images of a data set are.

    image_shape: `(C, H, W)`, with values in [0, 1]. shareable: whether the licence lets images be passed on, with its
    name beside them. attributes: what may be known of each image. reader: which row of `DATASETS` reads the originals,
    or "gallery" where those of the gallery lie beside the bundles, or an empty string.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    licence: str
    shareable: bool = False
    attributes: tuple[str, ...] = ()
    reader: str = ""

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """Describe a data set: a standard one has a reader, the images of others are kept with the gallery."""
        names = {f.name for f in dataclasses.fields(cls)} - {"reader"}
        reader = dataset.name if dataset.name in DATASETS else STORED
        return cls(**{name: getattr(dataset, name) for name in names}, reader=reader)

    @property
    def has_faces(self) -> bool:
        """Whether these are the aligned faces, with eyes where every image has them."""
        return self.reader == "celeba"

    @property
    def source(self) -> Dataset | None:
        """How the originals are read, where that is known."""
        return DATASETS.get(self.reader)


def abilities(config: ModelConfig, recipe: Recipe | None) -> dict[str, Any]:
    """Say what a model of an architecture, fitted by a recipe, can do; the field "can" of `config.json`.

    Without a recipe it was made elsewhere, and nothing is known of noise.
    """
    # noise on a variational encoder's input keeps it from learning images by heart; what it rebuilds is judged clean
    cleans = config.decodes and not config.variational and recipe is not None and recipe.noise is not None
    return {
        "decodes": config.decodes,
        "variational": config.variational,
        "classifies": not config.decodes,
        "code": config.code if config.decodes else None,
        "denoises": [recipe.noise, *recipe.noise_levels] if cleans else None,
        "likelihood": config.likelihood if config.variational else "",
    }


def describe(entry: Entry, dataset: str, recipe: Recipe, roster: Mapping[str, Entry] = ROSTER) -> dict[str, Any]:
    """Write the fields "card" and "can" of the bundle of a model of a roster."""
    reported = entry.reported if dataset == entry.home else {}
    card = {"title": entry.title, "summary": entry.summary, "place": list(roster).index(entry.name)}
    return {"card": card | {"reported": reported}, "can": abilities(entry.config, recipe)}


def model_card(bundle: Bundle) -> ModelCard:
    """Read what a bundle says of itself; of one that cannot be read, what the roster says, else as good as nothing."""
    entry = ROSTER.get(bundle.model)
    try:
        config = bundle.config()
        words = config.get("card") or (describe(entry, bundle.dataset, config["recipe"])["card"] if entry else {})
        architecture, recipe = config["architecture"], config["recipe"]
        if wrong_card(config):
            words = {}
    except BundleError:
        if entry is None:
            return ModelCard(bundle.model, bundle.model, decodes=True)
        words, architecture, recipe = describe(entry, bundle.dataset, entry.recipe)["card"], entry.config, entry.recipe
    can = abilities(architecture, recipe)
    noise = can.pop("denoises")
    return ModelCard(
        bundle.model, words.get("title", bundle.model), words.get("summary", ""), **can, config=architecture,
        denoises=tuple(noise) if noise else None, reported=words.get("reported", {}), place=words.get("place", LAST),
        imported=recipe is None,
    )  # fmt: skip


def family_card(bundle: FamilyBundle) -> FamilyCard:
    """Read what a family says of itself; of one that cannot be read, what the table says, else as good as nothing."""
    try:
        words = bundle.config()["family"]
        place = words.get("place", LAST)
        title, summary, dial = words["title"], words["summary"], words["dial"]
    except BundleError:
        known = FAMILIES.get(bundle.model)
        if known is None:
            return FamilyCard(bundle.model, bundle.model)
        title, summary, dial, place = known.title, known.summary, known.dial, list(FAMILIES).index(known.name)
    return FamilyCard(bundle.model, title, summary, dial, place if type(place) is int else LAST)


def wrong_card(config: Mapping[str, Any]) -> str:
    """Say what a bundle claims to be that it is not, in words that follow the name of the file; empty if nothing."""
    words, can = config.get("card", {}), config.get("can")
    if not isinstance(words, dict) or not all(isinstance(words.get(key, ""), str) for key in ("title", "summary")):
        return later("has a card whose title and summary are not words")
    reported, place = words.get("reported", {}), words.get("place", LAST)
    if type(place) is not int or not isinstance(reported, dict) or not all(map(_is_figure, reported.values())):
        return later("has a card without a whole number as its place, or with reported figures that are no numbers")
    found = json.loads(to_json(abilities(config["architecture"], config["recipe"])))
    if can is not None and can != found:
        return later("says that it can do what does not follow from its architecture and recipe")
    return ""


def _is_figure(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


def write_dataset(root: Path, card: DataCard) -> None:
    """Keep what the images of a data set are, beside its bundles."""
    path = root / card.name / DATASET_FILE
    content = to_json({k: v for k, v in dataclasses.asdict(card).items() if k != "name"} | {"range": [0.0, 1.0]})
    with storage.lock(path):
        if not path.is_file() or path.read_bytes() != content:
            storage.replace_file(path, content)


def read_dataset(root: Path, name: str) -> DataCard:
    """Read what the images of a data set are; of a standard one without the file, what the table says.

    Raises:
        BundleError: the file is missing or damaged, or describes images that there cannot be.
    """
    path = root / name / DATASET_FILE
    try:
        if not path.is_file():
            if name in DATASETS:
                return DataCard.of(DATASETS[name])
            raise ValueError(later("is missing"))
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or values.pop("range", None) != [0.0, 1.0]:
            raise ValueError(later("does not describe images with values from 0 to 1"))
        return _checked(parse(DataCard, values | {"name": name}))
    except (OSError, RecursionError, TypeError, ValueError) as error:
        reason = (
            str(error)
            if str(error).startswith(("is ", "does ", "names "))
            else later("cannot be used ({error})", error=error)
        )
        raise BundleError(
            later("{path} {reason}. Make it anew with: {command}", path=path, reason=reason, command=anew(name))
        ) from error


def _checked(card: DataCard) -> DataCard:
    words = (card.title, card.licence, card.reader, *card.classes, *card.attributes)
    if not isinstance(card.shareable, bool) or not all(isinstance(word, str) and len(word) < 300 for word in words):
        raise ValueError(later("names title, licence, classes or attributes that are not words"))
    if not 1 <= len(card.classes) <= MOST_CLASSES:
        raise ValueError(later("names {n:,} classes", n=len(card.classes)))
    sizes = card.image_shape
    if len(sizes) != 3 or not all(type(n) is int for n in sizes) or sizes[0] not in (1, 3):
        raise ValueError(later("names an image shape that is not three whole numbers, of one or three colours"))
    if not all(1 <= n <= LARGEST_SIDE for n in sizes[1:]):
        raise ValueError(later("names images of {height} × {width} pixels", height=sizes[1], width=sizes[2]))
    return card


def datasets(root: Path) -> list[str]:
    """Name the data sets that have bundles or families in a folder: the standard ones first, in their order."""
    try:
        names = [path.name for path in root.iterdir() if not path.name.startswith(".")]
    except OSError:
        return []
    found = {name for name in names if models(root, name) or families(root, name)}
    return [name for name in DATASETS if name in found] + sorted(found - set(DATASETS))


def models(root: Path, dataset: str) -> list[str]:
    """Name the bundles of a data set, whole or not, unsorted."""
    held = (path for path in _folders(root, dataset) if any((path / file).is_file() for file in FILES))
    return [path.name for path in held if not is_family(path)]


def families(root: Path, dataset: str) -> list[str]:
    """Name the families of a data set, whole or not, unsorted."""
    return [path.name for path in _folders(root, dataset) if is_family(path)]


def _folders(root: Path, dataset: str) -> list[Path]:
    try:
        return [path for path in (root / dataset).iterdir() if not path.name.startswith(".")]
    except OSError:
        return []
