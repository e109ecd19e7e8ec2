"""Bundles read whole and checked, once for each state of their files, so that a page never sees half of a change."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from explorer.cards import DataCard
from explorer.checkpoints import ASKED_FOR, Bundle, BundleError, Stored
from explorer.families import FamilyBundle
from explorer.graph import NotInstalled
from explorer.language import Later, later
from explorer.models import Model
from explorer.ui import checking
from explorer.ui.catalog import OF_BUNDLE
from explorer.ui.kept import from_files

readings = itertools.count()


@dataclass(frozen=True, eq=False)
class Opened(Bundle):
    """A bundle that was read whole: its readers answer from memory, or all say what is wrong with it.

    problem: what is wrong, or an empty string. parts: what the readers give, by name. reading: tells apart what was
    read at different times.
    """

    problem: str = ""
    parts: Mapping[str, Any] = field(default_factory=dict, repr=False)
    reading: int = field(default_factory=readings.__next__)

    def config(self) -> dict[str, Any]:
        """Give `config.json`; see `Bundle.config`."""
        return self._part("config")

    def load(self) -> Model:
        """Give the model, in the memory layout in which convolutions are fast; see `Bundle.load`."""
        return self._part("load")

    def history(self) -> dict[str, list[float]]:
        """Give `history.csv` as columns; see `Bundle.history`."""
        return self._part("history")

    def metrics(self) -> dict[str, Any]:
        """Give the figures on the whole test split; see `Bundle.metrics`."""
        return self._part("metrics")

    def codes(self) -> dict[str, torch.Tensor]:
        """Give the codes of the gallery and what was made from them; see `Bundle.codes`."""
        return self._part("codes")

    def uses(self) -> dict[str, torch.Tensor]:
        """Give what the model is good for; see `uses`. Where it was not found out, the error says how to."""
        return self._asked_for("uses")

    def ladder(self) -> dict[str, torch.Tensor]:
        """Give where the codes lie; see `ladder`. Where it was not found out, the error says how to."""
        return self._asked_for("ladder")

    def edits(self) -> dict[str, torch.Tensor]:
        """Give what edits change; see `edits`. Where it was not found out, the error says how to."""
        return self._asked_for("edits")

    def has(self, stage: str) -> bool:
        """Whether there is what one of the stages `ASKED_FOR` makes, and it can be used."""
        return not self.problem and stage in self.parts

    def _asked_for(self, stage: str) -> dict[str, torch.Tensor]:
        if (lacking := f"no {stage}") in self.parts:
            raise BundleError(self.parts[lacking])
        return self._part(stage)

    def _part(self, name: str) -> Any:
        if self.problem:
            raise BundleError(self.problem)
        return self.parts[name]

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """The codes and what was made from them as arrays of float32 or int64."""
        return {k: (v.float() if v.is_floating_point() else v.long()).numpy() for k, v in self.codes().items()}

    def _part(self, name: str) -> Any:
        if self.problem:
            raise BundleError(self.problem)
        return self.parts[name]


@dataclass(frozen=True, eq=False)
class OpenedFamily(FamilyBundle):
    """A family that was read whole; as `Opened`."""

    problem: str = ""
    parts: Mapping[str, Any] = field(default_factory=dict, repr=False)
    reading: int = field(default_factory=readings.__next__)

    def config(self) -> dict[str, Any]:
        """Give `config.json`; see `FamilyBundle.config`."""
        return self._part("config")

    def load(self) -> dict[str, Model]:
        """Give every member by name; see `FamilyBundle.load`."""
        return self._part("load")

    def history(self) -> dict[str, list[dict[str, float]]]:
        """Give the rows of each fitting; see `FamilyBundle.history`."""
        return self._part("history")

    def figures(self) -> dict[str, Any]:
        """Give what was measured; see `FamilyBundle.figures`."""
        return self._part("figures")

    def tensors(self) -> dict[str, torch.Tensor]:
        """Give all weights as they are stored; see `FamilyBundle.tensors`."""
        return self._part("tensors")

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """The gallery's codes and what was made from them as arrays of float32."""
        return {name: values.float().numpy() for name, values in self._part("codes").items()}

    @cached_property
    def members(self) -> dict[str, dict[str, Any]]:
        """The values of each member, by its name."""
        return {name: values for fit in self.config()["fits"] for name, values in fit.members.items()}

    def _part(self, name: str) -> Any:
        if self.problem:
            raise BundleError(self.problem)
        return self.parts[name]


Step = tuple[str, str, str, Callable[[Any], str]]  # file, stage, reader, and what is wrong with what it gives


@from_files(lambda bundle, images, n_gallery: bundle.fingerprint, max_entries=64, hash_funcs=OF_BUNDLE)
def opened(bundle: Bundle, images: DataCard, n_gallery: int) -> Opened:
    """Read a bundle whole, and check that its parts fit together, and to images and a gallery of so many of them."""
    parts = dict[str, Any]()
    steps: tuple[Step, ...] = (
        ("config.json", "fit", "config", checking.wrong_config),
        ("model.safetensors", "fit", "load", lambda model: checking.wrong_model(model, images)),
        ("history.csv", "fit", "history", checking.wrong_history),
        ("metrics.json", "metrics", "metrics", lambda figures: checking.wrong_figures(figures, parts["load"])),
        ("codes.safetensors", "projections", "codes",
         lambda codes: checking.wrong_codes(codes, parts["load"], images, n_gallery)),
    )  # fmt: skip
    problem = _read(bundle, steps, parts)
    if not problem:
        checks = {
            "uses": lambda found: checking.wrong_uses(found, images, n_gallery),
            "ladder": lambda found: checking.wrong_ladder(found, parts["load"]),
            "edits": lambda found: checking.wrong_edits(found, parts["load"], images),
        }
        for stage, wrong in checks.items():
            parts |= _asked_for(bundle, stage, wrong)
        parts["load"].to(memory_format=torch.channels_last)
    return Opened(bundle.dataset, bundle.model, bundle.root, problem=problem, parts=parts)


@from_files(lambda bundle, images, n_gallery: bundle.fingerprint, max_entries=16, hash_funcs=OF_BUNDLE)
def opened_family(bundle: FamilyBundle, images: DataCard, n_gallery: int) -> OpenedFamily:
    """Read a family whole, and check that its parts fit together, and to images and a gallery of so many of them."""
    parts = dict[str, Any]()
    steps: tuple[Step, ...] = (
        ("config.json", "fit", "config", lambda config: checking.wrong_family(config, images)),
        ("members.safetensors", "fit", "tensors", lambda tensors: ""),
        ("members.safetensors", "fit", "load", lambda models: ""),
        ("history.json", "fit", "history", lambda rows: checking.wrong_rows(rows, parts["config"])),
        ("figures.json", "metrics", "figures", lambda figures: checking.wrong_measures(figures, parts["config"])),
        ("codes.safetensors", "metrics", "codes",
         lambda codes: checking.wrong_family_codes(codes, parts["load"], parts["config"], n_gallery)),
    )  # fmt: skip
    problem = _read(bundle, steps, parts)
    return OpenedFamily(bundle.dataset, bundle.model, bundle.root, problem=problem, parts=parts)


def _read(bundle: Stored, steps: tuple[Step, ...], parts: dict[str, Any]) -> str:
    """Fill `parts` by the readers of a bundle; return what is wrong with the first that cannot be used."""
    for file, stage, name, wrong in steps:
        try:
            parts[name] = getattr(bundle, name)()
            reason = wrong(parts[name])
        except (BundleError, NotInstalled) as error:
            return str(error)
        except Exception:  # a mutated file reaches corners of json, safetensors and torch that nobody lists
            reason = later("cannot be used")
        if reason:
            return unfit(bundle.folder / file, reason, bundle.command(stage))
    return ""


def _asked_for(bundle: Bundle, stage: str, wrong: Callable[[dict[str, torch.Tensor]], str]) -> dict[str, Any]:
    """Read what not every bundle has, or why it cannot be used; the bundle can be shown without."""
    try:
        found = getattr(bundle, stage)()
        reason = wrong(found)
    except BundleError as error:
        return {f"no {stage}": str(error)}
    except Exception:  # as above
        reason = later("cannot be used")
    if reason:
        return {f"no {stage}": unfit(bundle.folder / ASKED_FOR[stage][0], reason, bundle.command(stage))}
    return {stage: found}


def unfit(path: Path, reason: str, command: str) -> Later:
    """Say what is wrong with a file, and how to make it anew."""
    return later("{path} {reason}. Make it anew with: {command}", path=path, reason=reason, command=command)
