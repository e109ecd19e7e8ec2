"""The bundle of a model that was made elsewhere, from files or from modules of torch, by one door."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn

from explorer import cards, checkpoints, stages
from explorer.checkpoints import Bundle, BundleError
from explorer.datasets import DATASETS, SPLIT_SEED, SPLITS, Dataset, ImageSet, gallery_indices
from explorer.images import to_float
from explorer.importing import assembly, modules, parts, reading
from explorer.importing.assembly import AS_THEY_ARE, Pixels
from explorer.importing.parts import Piece
from explorer.importing.reading import ImportFault
from explorer.importing.stack import Uncovered, Value, reshaped
from explorer.models import Model
from explorer.roster import ROSTER

N_IMAGES = 100  # of the test split, to compare on


@dataclass(frozen=True)
class Imported:
    """A model with what its bundle says of where it comes from; see `from_files`."""

    model: Model
    source: dict[str, Any]

    @property
    def summary(self) -> str:
        """Say what was read and how far it is from what was given, in a line."""
        names = " and ".join(part["name"] for part in self.source["files"].values())
        text = f"{names}: {self.source['output']}, at most {self.source['difference']:.1g} from the reference"
        uncovered = self.source["uncovered"]
        return text + (f"; computed on the server by onnxruntime, for {uncovered}" if uncovered else "")


def from_files(
    files: Mapping[str, Path], test: ImageSet, pixels: Pixels = AS_THEY_ARE, variational: bool | None = None
) -> Imported:
    """Read the ONNX files of "encoder" and "decoder", or of a "classifier", for images like those of a test split.

    Raises:
        ImportFault: a file cannot be used, or they do not fit one another or the images; the message says why.
    """
    graphs = {part: reading.read(path) for part, path in files.items()}
    image = tuple(test.images.shape[1:])
    entry = parts.image_entry(image, *pixels.line(image))

    def enter_code(shape: tuple[int | None, ...]) -> Value:
        if None in shape:
            raise graphs["decoder"].fault("does not say how many numbers its code has. Export it with that fixed")
        return reshaped(Value((parts.size_of(shape),)), shape)

    enters = {"encoder": entry, "classifier": entry, "decoder": enter_code}
    found = {part: parts.named(graph, enters[part]) for part, graph in graphs.items()}
    form = next(iter(graphs["decoder"].inputs.values()))[1:] if "decoder" in graphs else ()
    return _assembled(found, form, test, pixels, variational)


def _assembled(
    found: Mapping[str, Piece], form: tuple[int, ...], test: ImageSet, pixels: Pixels, variational: bool | None
) -> Imported:
    images = to_float(test.images[gallery_indices(test.labels, N_IMAGES)])
    try:
        if "classifier" in found:
            model, about = assembly.classifier(found["classifier"], images, len(test.classes))
        else:
            model, about = assembly.autoencoder(found["encoder"], found["decoder"], form, images, pixels, variational)
    except Uncovered as error:
        raise ImportFault(f"{' and '.join(p.name for p in found.values())}: {error}") from error
    files = {part: {"name": piece.name, "sha256": piece.digest or None} for part, piece in found.items()}
    uncovered = "; ".join(piece.uncovered for piece in found.values() if piece.uncovered)
    return Imported(model, about | {"files": files, "uncovered": uncovered})


def from_modules(
    model: nn.Module | tuple[nn.Module, nn.Module], test: ImageSet, pixels: Pixels = AS_THEY_ARE,
    variational: bool | None = None,
) -> Imported:  # fmt: skip
    """Take an encoder and a decoder of `torch.nn`, or a classifier, for images like those of a test split.

    model: `(encoder, decoder)`; or one module with these two as attributes; or else a classifier. Plain stacks of our
    layers are taken as they are, others by way of ONNX.

    Raises:
        ImportFault: as `from_files`.
    """
    pair = model if isinstance(model, tuple) else (getattr(model, "encoder", None), getattr(model, "decoder", None))
    image = tuple(test.images.shape[1:])
    entry = parts.image_entry(image, *pixels.line(image))
    one = torch.rand(2, *image)
    if not all(isinstance(part, nn.Module) for part in pair):
        if not isinstance(model, nn.Module):
            raise ImportFault("encoder and decoder, or the classifier, have to be modules of torch")
        return _assembled({"classifier": modules.piece(modules.own(model), entry, one)}, (), test, pixels, variational)
    encoder, decoder = (modules.own(part) for part in pair)
    found = {"encoder": modules.piece(encoder, entry, one)}
    form = modules.form(decoder, found["encoder"])
    found["decoder"] = modules.piece(
        decoder, lambda shape: reshaped(Value((parts.size_of(form),)), form), torch.rand(2, *form)
    )
    return _assembled(found, form, test, pixels, variational)


def keep(bundle: Bundle, imported: Imported, dataset: Dataset, splits: Mapping[str, ImageSet]) -> None:
    """Write the configuration and the weights of an imported model; figures and codes are later stages.

    Raises:
        BundleError: there is a model of this name that was fitted here.
    """
    if bundle.model in ROSTER or (bundle.folder.exists() and not bundle.is_imported()):
        raise BundleError(f"{bundle.folder} is that of a model that is fitted here: choose another name")
    model, source = imported.model, imported.source
    names = ", ".join(f"{part} {file['name']}" for part, file in source["files"].items())
    described = checkpoints.describe(bundle, model.config, None, dataset, splits, SPLIT_SEED)
    described |= {
        "card": {"title": bundle.model, "summary": f"Imported: {names}.", "place": cards.LAST, "reported": {}},
        "can": cards.abilities(model.config, None),
        "imported": source,
    }
    bundle.write("fit", checkpoints.fitted_files(model, described, ()))


def save(
    model: nn.Module | tuple[nn.Module, nn.Module], name: str, dataset: str | Dataset, *,
    range: tuple[float, float] = (0.0, 1.0), mean: tuple[float, ...] = (0.0,), std: tuple[float, ...] = (1.0,),
    output: assembly.Output | None = None, variational: bool | None = None,
    checkpoints: Path | str | None = None, data_dir: Path | str | None = None,
) -> Bundle:  # fmt: skip
    """Keep a model of yours as a bundle, measured on the test split, that every page of the app opens.

    >>> import explorer
    >>> explorer.save((encoder, decoder), "my-ae", "fashion-mnist")  # doctest: +SKIP

    model: `(encoder, decoder)`; a module with these two as attributes; or a classifier. An encoder maps images
    `(B, C, H, W)`, or rows `(B, C * H * W)`, to codes; a variational one to mean and log-variance, as two outputs or
    one of twice the length. dataset: one of `explorer.datasets.DATASETS`, or its name. range, mean, std, output: as
    `Pixels` says. checkpoints, data_dir: as those of `train.py`.

    Raises:
        ImportFault: the model cannot be used; the message says why.
        DataError: the data set is not on this disk.
        BundleError: there is a model of this name that was fitted here.
    """
    from explorer.checkpoints import root_folder

    check_name(name)
    dataset = DATASETS[dataset] if isinstance(dataset, str) else dataset
    splits = {split: dataset.load(split, data_dir) for split in SPLITS}
    imported = from_modules(model, splits["test"], Pixels(*range, tuple(mean), tuple(std), output), variational)
    bundle = Bundle(dataset.name, name, root_folder(checkpoints))
    with bundle.lock():
        keep(bundle, imported, dataset, splits)
        stages.measure(bundle, bundle.load(), splits)
        stages.embed_gallery(bundle, bundle.load(), splits, dataset)
    return bundle


def check_name(name: str) -> None:
    """Raise `ImportFault` for a name that no folder and no address should have."""
    from explorer.imagefolder import slug

    if name != slug(Path(name)) or name in ROSTER:
        raise ImportFault(f"the name {name!r} is one of the roster's, or not of small letters, digits and hyphens")
