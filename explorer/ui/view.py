"""What a page is about, read once for each run of it."""

from dataclasses import dataclass, field
from pathlib import Path

import streamlit as st

from explorer.cards import DataCard, ModelCard
from explorer.checkpoints import Bundle, BundleError
from explorer.families import FamilyBundle
from explorer.language import say
from explorer.ui import catalog, loading
from explorer.ui.catalog import Collection
from explorer.ui.opening import Opened, OpenedFamily, opened, opened_family
from explorer.ui.text import as_text


@dataclass(frozen=True)
class View:
    """What a page is about: a data set with its models, where the bundles are, and the gallery images.

    opened: the bundles that were asked for, as they were then; a page never sees two states of one.
    """

    shown: Collection
    root: Path
    gallery: loading.Gallery
    opened: dict[str, Opened | OpenedFamily] = field(default_factory=dict, repr=False)

    @property
    def dataset(self) -> DataCard:
        """What the images are."""
        return self.shown.images

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models that there are."""
        return tuple(self.shown.models)

    @property
    def autoencoders(self) -> tuple[str, ...]:
        """The names of those that have a decoder."""
        return self.shown.autoencoders

    def card(self, model: str) -> ModelCard:
        """Give what a model says of itself."""
        return self.shown.models[model]

    @property
    def classifier(self) -> Opened | None:
        """The bundle of the classifier, if there is one that can be used."""
        return self._usable(self.shown.classifier)

    @property
    def native(self) -> Opened | None:
        """The bundle of the model whose code is a plane, if there is one that can be used."""
        return self._usable(self.shown.native)

    def _usable(self, model: str | None) -> Opened | None:
        return None if model is None or self.bundle(model).problem else self.bundle(model)

    def family(self, dial: str) -> OpenedFamily:
        """Give the family with such a dial, read whole; stop the page where it cannot be used."""
        name = self.shown.family(dial)
        found = self.bundle(name)
        if found.problem:
            title = as_text(self.shown.families[name].title)
            st.warning(
                f"{say('**{title}** cannot be shown.', title=title)} {as_text(found.problem)}",
                icon=":material/broken_image:",
            )
            st.stop()
        return found

    def bundle(self, model: str) -> Opened:
        """Give the bundle of one model on this data set, read whole."""
        if model not in self.opened:
            self.opened[model] = self._read(model)
        return self.opened[model]

    def is_current(self) -> bool:
        """Whether the files are still those that this view was read from."""
        try:
            gallery = loading.gallery(self.shown, self.root)
            if catalog.collection(self.root, self.dataset.name) != self.shown:
                return False
        except BundleError:
            return False
        return gallery is self.gallery and all(self._read(model) is there for model, there in self.opened.items())

    def _read(self, model: str) -> Opened | OpenedFamily:
        if model in self.shown.families:
            family = FamilyBundle(self.dataset.name, model, self.root)
            return opened_family(family, self.dataset, len(self.gallery))
        return opened(Bundle(self.dataset.name, model, self.root), self.dataset, len(self.gallery))
