"""What lies in the checkpoints folder: data sets and their models, by what they say of themselves."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from explorer import cards
from explorer.cards import DATASET_FILE, DataCard, FamilyCard, ModelCard
from explorer.checkpoints import Bundle, BundleError
from explorer.families import FamilyBundle
from explorer.language import say
from explorer.ui.kept import from_files, stamp

OF_BUNDLE = {kind: lambda bundle: os.fsencode(bundle.folder) for kind in (Bundle, FamilyBundle)}


def datasets(root: Path) -> list[str]:
    """Name the data sets that have bundles: the standard ones first."""
    return cards.datasets(root)


@from_files(lambda root, name: stamp([str(root / name / DATASET_FILE)]), max_entries=64)
def dataset(root: Path, name: str) -> DataCard:
    """Read what the images of a data set are; raises `BundleError`."""
    return cards.read_dataset(root, name)


def models(root: Path, name: str) -> dict[str, ModelCard]:
    """Read what each bundle of a data set says of itself, in the order in which they want to be shown."""
    found = [_model(Bundle(name, model, root)) for model in cards.models(root, name)]
    return {card.name: card for card in sorted(found, key=lambda card: (card.place, card.name))}


@from_files(lambda bundle: bundle.fingerprint, max_entries=256, hash_funcs=OF_BUNDLE)
def _model(bundle: Bundle) -> ModelCard:
    return cards.model_card(bundle)


def families(root: Path, name: str) -> dict[str, FamilyCard]:
    """Read what each family of a data set says of itself, in the order in which they want to be shown."""
    found = [_family(FamilyBundle(name, family, root)) for family in cards.families(root, name)]
    return {card.name: card for card in sorted(found, key=lambda card: (card.place, card.name))}


@from_files(lambda bundle: bundle.fingerprint, max_entries=64, hash_funcs=OF_BUNDLE)
def _family(bundle: FamilyBundle) -> FamilyCard:
    return cards.family_card(bundle)


@dataclass(frozen=True)
class Collection:
    """A data set with its models and families: what the images are, and what each model can do, by name."""

    images: DataCard
    models: Mapping[str, ModelCard]
    families: Mapping[str, FamilyCard] = field(default_factory=dict)

    @property
    def autoencoders(self) -> tuple[str, ...]:
        """The names of the models that have a decoder."""
        return tuple(name for name, card in self.models.items() if card.decodes)

    @property
    def classifiers(self) -> tuple[str, ...]:
        """The names of the classifiers."""
        return tuple(name for name, card in self.models.items() if card.classifies)

    @property
    def classifier(self) -> str | None:
        """The name of the first classifier, if there is one."""
        return next(iter(self.classifiers), None)

    @property
    def native(self) -> str | None:
        """The name of the first model whose code is a plane, if there is one."""
        return next((name for name, card in self.models.items() if card.is_native), None)

    @property
    def denoiser(self) -> ModelCard | None:
        """The first model that was trained to take noise away, if there is one."""
        return next((card for card in self.models.values() if card.denoises), None)

    def title(self, name: str) -> str:
        """Give what a person calls a model, in the current language, and its name where another is called the same."""
        title = say(self.models[name].title)
        alone = sum(say(card.title) == title for card in self.models.values()) == 1
        return title if alone else f"{title} ({name})"

    def family(self, dial: str) -> str | None:
        """Name the first family with such a dial, if there is one."""
        return next((name for name, card in self.families.items() if card.dial == dial), None)


def collection(root: Path, name: str) -> Collection:
    """Read what a data set and its models say of themselves; raises `BundleError`."""
    return Collection(dataset(root, name), models(root, name), families(root, name))


def collections(root: Path, names: Sequence[str] | None = None) -> dict[str, Collection]:
    """Read those of some data sets that can be read, by name; of all that there are where none are named."""
    found = {}
    for name in datasets(root) if names is None else names:
        with contextlib.suppress(BundleError):  # who chooses this one is told what is wrong with it
            found[name] = collection(root, name)
    return found
