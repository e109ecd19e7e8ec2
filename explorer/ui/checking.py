"""Whether what a bundle holds fits together: shapes, kinds of values, what pages will ask for.

`Bundle` sees to it that each file can be read and belongs to the weights. Here is what only their content shows. Each
function returns what is wrong in words that follow the name of the file, or an empty string.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from explorer import anomalies, edits, elbo, ladder, probes, uses
from explorer.attributes import METHODS
from explorer.cards import DataCard, wrong_card
from explorer.dials import BITS
from explorer.disentanglement import SCORES
from explorer.families import PCA
from explorer.language import later
from explorer.models import Autoencoder, Model
from explorer.noise import NOISES

LARGEST = 1e9  # of any number in a bundle: sums of its fourth powers are float32, still
LARGEST_LOG_VAR = 50.0  # a standard deviation of 10^10; its square is float32, still
SCALARS = ("mse", "psnr", "ssim", "negative_elbo", "accuracy")
OF_SAMPLES = (
    "n_generative", "active_units", "diversity", "diversity_floor", "nearest_train_distance",
    "nearest_train_distance_floor",
)  # fmt: skip
WHOLE = {
    "test_labels": (0, LARGEST), "labelled_attributes": (-1, 1), "labelled_split": (-1, LARGEST),
    "labelled_people": (-1, LARGEST), "masks": (0, 255),
}  # fmt: skip

Shape = tuple[int | str, ...]  # a letter stands for any size, the same everywhere


def wrong_model(model: Model, images: DataCard) -> str:
    """Say where a model cannot run on the images of its data set."""
    if model.config.image_shape != images.image_shape:
        return later(
            "describes a model of images of {shape}, and the data set's have {expected}",
            shape=model.config.image_shape,
            expected=images.image_shape,
        )
    x = torch.zeros(1, *images.image_shape)
    expected = x.shape if isinstance(model, Autoencoder) else (1, len(images.classes))
    with torch.inference_mode():
        y, z = model(x), model.embed(x)
    if y.shape != expected or z.shape != (1, model.code_length):
        return later(
            "describes a model whose output has the shape {shape}, not {expected}",
            shape=tuple(y.shape),
            expected=tuple(expected),
        )
    if not (y.isfinite().all() and z.isfinite().all()):
        return later("describes a model whose output is not finite")
    return ""


def wrong_codes(codes: Mapping[str, torch.Tensor], model: Model, images: DataCard, n_gallery: int) -> str:
    """Say which tensor is missing, of another shape than those it goes with, or holds what it cannot hold."""
    d, k, a = model.code_length, len(images.classes), len(images.attributes)
    shapes: dict[str, Shape] = {
        "codes": (n_gallery, d), "log_var": (n_gallery, d),
        "pca_2d": (n_gallery, 2), "tsne_2d": (n_gallery, 2), "umap_2d": (n_gallery, 2),
        "pca_3d": (n_gallery, 3), "umap_3d": (n_gallery, 3), "pca_explained": ("P",),
        "labelled_codes": ("L", d), "labelled_attributes": ("L", a), "labelled_split": ("L",),
        "labelled_people": ("L",), "test_logits": ("N", k), "test_labels": ("N",),
    }  # fmt: skip
    needed = {"codes"}
    if not isinstance(model, Autoencoder):
        needed |= {"test_logits", "test_labels"}
    elif model.config.variational:
        needed |= {"log_var"}
    if codes.keys() & {"labelled_codes", "labelled_attributes"}:
        needed |= {"labelled_codes", "labelled_attributes"}
    if missing := sorted(needed - codes.keys()):
        return later("lacks {missing}", missing=", ".join(missing))
    if codes["codes"].shape != (n_gallery, d):
        return later(
            "holds codes of another gallery: {size} instead of {n} × {d}", size=_size(codes["codes"]), n=n_gallery, d=d
        )
    sizes: dict[str, int] = {}
    for name, shape in shapes.items():
        if name in codes and (wrong := _wrong_tensor(name, codes[name], shape, sizes)):
            return wrong
    if "log_var" in codes and codes["log_var"].max() > LARGEST_LOG_VAR:
        return later("holds log_var beyond {most:g}", most=LARGEST_LOG_VAR)
    if "test_labels" in codes and not codes["test_labels"].float().lt(k).all():
        return later("holds test_labels that are none of {k} classes", k=k)
    return ""


def wrong_uses(found: Mapping[str, torch.Tensor], images: DataCard, n_gallery: int) -> str:
    """Say which tensor holds what it cannot hold, is missing, or is not as long as those that it goes with."""
    n = len(uses.usual_places(n_gallery))
    sizes: dict[str, int] = {"N": n}
    curves, sets = set(), dict[str, set[str]]()
    for name, tensor in found.items():
        what, _, whose = name.partition("/")
        shape: Shape = ("N",) if whose == anomalies.USUAL else (name,)
        if what in probes.PROBES or name == "labels":
            curves.add(name)
            shape = ("S",) if name == "labels" else ("S", 2)
        elif name == "bounds":
            shape = (name, len(elbo.BOUNDS))
        elif what in anomalies.SCORES:
            sets.setdefault(what, set()).add(whose)
        else:
            return later("holds {name}, which is unknown", name=name[:40])
        if wrong := _wrong_tensor(name, tensor, shape, sizes):
            return wrong
    wanted = {"labels", *(f"{probe}/{whose}" for probe in probes.PROBES for whose in ("code", *uses.BASELINES))}
    if curves not in (set(), wanted):
        return later("does not hold a curve of each probe")
    scored = sets.get("distance", set())
    if any(whose != scored for whose in sets.values()) or not scored - {uses.OTHERS} > {anomalies.USUAL}:
        return later("does not hold each score of test images and of the same strangers")
    left_out = {name for name in scored if name.startswith(anomalies.LEFT_OUT)}
    if bool(left_out) != (uses.OTHERS in scored) or len(left_out) > 1:
        return later("holds scores of a class that was left out, and not of all the others")
    for name in left_out:
        both = len(found[f"distance/{name}"]) + len(found[f"distance/{uses.OTHERS}"])
        if name.removeprefix(anomalies.LEFT_OUT) not in images.classes or both != n:
            return later("holds scores of a class that was left out, and not of all the others")
    return ""


def wrong_ladder(found: Mapping[str, torch.Tensor], model: Model) -> str:
    """Say which tensor is missing, unknown, of another size or holds what it cannot hold."""
    flow = ladder.flow_of(found)
    shapes: dict[str, Shape] = {f"swd/{rung}": ("L",) for rung in ladder.RUNGS}
    shapes |= {f"figures/{rung}": (len(ladder.FIGURES),) for rung in ladder.RUNGS}
    shapes |= {name: tuple(tensor.shape) for name, tensor in found.items() if name.startswith("flow/")}
    if found.keys() != shapes.keys():
        return later("lacks or does not know {name}", name=min(found.keys() ^ shapes.keys())[:40])
    if not isinstance(model, Autoencoder) or flow.axes.shape != (model.code_length, model.code_length):
        return later("holds a flow for codes of another length")
    sizes: dict[str, int] = {}
    return next((wrong for name in shapes if (wrong := _wrong_tensor(name, found[name], shapes[name], sizes))), "")


def wrong_edits(found: Mapping[str, torch.Tensor], model: Model, images: DataCard) -> str:
    """Say which tensor is missing, unknown, of another size or holds what it cannot hold."""
    n = len(images.attributes)
    shapes: dict[str, Shape] = {f"effects/{method}": (n, len(edits.EFFECTS)) for method in METHODS}
    shapes["masks"] = (n, math.ceil(math.prod(images.image_shape[1:]) / 8))
    who: dict[str, Shape] = {"axes": (model.code_length, "R"), "pairs": (2, 101), "judged": (len(edits.JUDGED),)}
    if found.keys() & who.keys():
        shapes |= who
    if found.keys() != shapes.keys():
        return later("lacks or does not know {name}", name=min(found.keys() ^ shapes.keys())[:40])
    sizes: dict[str, int] = {}
    return next((wrong for name in shapes if (wrong := _wrong_tensor(name, found[name], shapes[name], sizes))), "")


def _wrong_tensor(name: str, tensor: torch.Tensor, shape: Shape, sizes: dict[str, int]) -> str:
    wanted = [sizes.get(size, size) if isinstance(size, str) else size for size in shape]
    fits = [isinstance(w, str) or w == n for w, n in zip(wanted, tensor.shape, strict=False)]
    if len(wanted) != tensor.ndim or not all(fits):
        return later(
            "holds {name} of {size} instead of {wanted}",
            name=name,
            size=_size(tensor),
            wanted=" × ".join(map(str, wanted)),
        )
    sizes.update((size, n) for size, n in zip(shape, tensor.shape, strict=True) if isinstance(size, str))
    whole = name in WHOLE
    if whole == tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        return later("holds {name} as {kind}", name=name, kind=str(tensor.dtype).removeprefix("torch."))
    low, high = WHOLE.get(name, (-LARGEST, LARGEST))
    if not (tensor.double().ge(low) & tensor.double().le(high)).all():  # neither is true of what is no number
        return later("holds {name} that are not finite, or out of all bounds", name=name)
    return "" if tensor.numel() or name.startswith("labelled") else later("holds no {name}", name=name)


def _size(tensor: torch.Tensor) -> str:
    return " × ".join(map(str, tensor.shape)) or later("a single number")


def wrong_figures(figures: Mapping[str, Any], model: Model) -> str:
    """Say which figure is missing, no number, or not as many numbers as it has to be."""
    scalars = [name for name in SCALARS if name in figures]
    lists: list[tuple[str, Any, int | None]] = []
    if isinstance(model, Autoencoder):
        scalars += ["mse", "psnr", "ssim"]
        if model.config.variational:
            lists.append(("kl_per_dimension", figures.get("kl_per_dimension"), model.code_length))
        lists += _curves(figures)
    else:
        scalars.append("accuracy")
    if "swd" in figures:
        scalars += OF_SAMPLES
        for name in ("swd", "swd_floor"):
            sizes = figures.get(name)
            if not isinstance(sizes, dict) or "mean" not in sizes or not all(map(_is_number, sizes.values())):
                return later("holds {name} without a number for each size and their mean", name=name)
    for name in scalars:
        if not _is_number(figures.get(name)):
            return later("holds no number as {name}", name=name)
    for name, values, n in lists:
        if not isinstance(values, list) or not all(map(_is_number, values)) or len(values) != (n or len(values)):
            return _too_few(n, name)
    return ""


def _curves(figures: Mapping[str, Any]) -> Iterator[tuple[str, Any, int | None]]:
    """List the curves over noise, each with its name and the number of levels, None where these are not there."""
    for whose, names in (("psnr_by_noise", ("model",)), ("psnr_by_noise_classical", ("input", "median"))):
        for kind in NOISES:
            curve = _inside(_inside(figures, whose), kind)
            levels = _inside(curve, "level")
            n = len(levels) if isinstance(levels, list) else None
            for name in ("level", *names):
                yield f"{whose} {kind} {name}", _inside(curve, name), n


def _inside(values: Any, name: str) -> Any:
    return values.get(name) if isinstance(values, dict) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST


def wrong_history(history: Mapping[str, Sequence[float]]) -> str:
    """Say which column is missing; a loss may be any number, since a fitting may have diverged and found back."""
    for name in ("epoch", "train_loss", "validation_loss", "seconds"):
        if name not in history:
            return later("has no column {name}", name=name)
    for name in history:
        if name.startswith("train_") and (other := f"validation_{name.removeprefix('train_')}") not in history:
            return later("has no column {other}", other=other)
    for name in ("epoch", "seconds", "test_psnr"):
        if not all(map(_is_number, history.get(name, ()))):
            return later("has a row without a number as {name}", name=name)
    return ""


def wrong_config(config: Mapping[str, Any]) -> str:
    """Say what of the recipe and of the data's description is not as pages show it."""
    if wrong := wrong_card(config):
        return wrong
    recipe, splits = config["recipe"], _inside(config["data"], "splits")
    for name in ("train", "validation"):
        if not _is_count(_inside(splits, name)):
            return later("does not say how many images the {name} split has", name=name)
    if recipe is None:
        return ""
    levels = recipe.noise_levels
    if not (_is_count(recipe.epochs) and _is_count(recipe.batch_size)):
        return later("has a recipe without whole numbers of epochs and of images in a batch")
    if not isinstance(levels, tuple) or len(levels) != 2 or not all(map(_is_number, levels)):
        return later("has a recipe whose noise_levels are not two numbers")
    return ""


def _is_count(value: object) -> bool:
    return isinstance(value, int) and _is_number(value) and value >= 0


def wrong_family(config: Mapping[str, Any], images: DataCard) -> str:
    """Say what of a family's description does not go with its dial, or with the images."""
    fits, dial = config["fits"], config["family"]["dial"]
    needed = {"length": ("kind", "length"), "beta": ("length", "beta"), "epoch": ("model",), "class": ()}[dial]
    if any(fit.config.image_shape != images.image_shape for fit in fits):
        return later("describes members for images that are not {shape}", shape=images.image_shape)
    if len({name for fit in fits for name in fit.members}) < len(fits):
        return later("names two members alike")
    for fit in fits:
        if missing := [name for name in needed if name not in fit.values]:
            return later("describes a member without {missing}", missing=", ".join(missing))
        if not all(map(_is_number, (fit.values[name] for name in needed if name in ("length", "beta")))):
            return later("describes a member whose length or beta is no number")
    if dial == "epoch" and not all(fit.keep and fit.keep == fits[0].keep for fit in fits):
        return later("describes fittings of which other epochs are kept")
    return ""


def wrong_rows(history: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Say which row lacks a loss that is a number."""
    for fit in config["fits"]:
        for row in history[fit.name]:
            if not _is_number(row.get("validation_loss")) or not all(map(_is_number, row.values())):
                return later("has a row of {name} without a number as its loss", name=fit.name)
    return ""


def wrong_measures(figures: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Say which figure of a family is missing, no number, or not as many numbers as it has to be."""
    members, dial = _inside(figures, "members"), config["family"]["dial"]
    lists: list[tuple[str, Any, int | None]] = []
    for fit in config["fits"]:
        for name in fit.members:
            own = _inside(members, name)
            variational = fit.config.variational
            kinds = ("mse",) if fit.config.decodes else ("accuracy",)
            kinds += ("reconstruction", "kl", "active") if variational else ()
            if wrong := [kind for kind in kinds if not _is_number(_inside(own, kind))]:
                return later("holds no number as {figure} of {name}", figure=wrong[0], name=name)
            if variational:
                lists.append((f"kl_per_number of {name}", _inside(own, "kl_per_number"), fit.config.code))
    if dial == "length":
        lists.append((f"{PCA} mse", _inside(_inside(figures, PCA), "mse"), None))
        own = _inside(figures, "quantised")
        names = [fit.name for fit in config["fits"]] + [f"{PCA}-{fit.values['length']}" for fit in config["fits"]]
        lists += [(f"quantised {name}", _inside(own, name), len(BITS)) for name in names]
        for kind, ways in _inside_all(_inside(figures, "codecs")):
            for way, points in _inside_all(ways):
                lists += [(f"codecs {kind} {way}", point, 2) for point in points]
    if dial == "beta" and "apart" in figures:
        for fit in config["fits"]:
            own, told = _inside(figures["apart"], fit.name), _inside(_inside(figures["apart"], fit.name), "told")
            lists.append(
                (later("scores of {name}", name=fit.name), [_inside(own, name) for name in SCORES], len(SCORES))
            )
            if not isinstance(told, list) or len(told) != fit.config.code:
                return later("holds no {n} rows of what numbers of {name} tell", n=fit.config.code, name=fit.name)
            lists += [(later("what a number of {name} tells", name=fit.name), row, len(told[0])) for row in told]
    if dial == "class" and figures.get("recognised"):
        lists.append(("recognised by_class", figures["recognised"].get("by_class"), None))
        shares = (figures["recognised"].get(name) for name in ("generated", "rebuilt", "test"))
        lists.append(("recognised", list(shares), 3))
    for name, values, n in lists:
        if not isinstance(values, list) or not all(map(_is_number, values)) or len(values) != (n or len(values) or 1):
            return _too_few(n, name)
    return ""


def _too_few(n: int | None, name: str) -> str:
    return (
        later("holds no {n} numbers as {name}", n=n, name=name) if n else later("holds no numbers as {name}", name=name)
    )


def _inside_all(values: Any) -> list[tuple[str, Any]]:
    return list(values.items()) if isinstance(values, dict) else []


def wrong_family_codes(
    codes: Mapping[str, torch.Tensor], models: Mapping[str, Model], config: Mapping[str, Any], n_gallery: int
) -> str:
    """Say which tensor of a family is missing, of another shape than those it goes with, or not finite."""
    dial = config["family"]["dial"]
    shapes: dict[str, Shape] = {}
    for name, model in models.items():
        d = model.code_length
        shapes[f"{name}/codes"] = (n_gallery, d)
        shapes |= {f"{name}/range": (2, d)} if dial == "length" else {}
        shapes |= {f"{name}/log_var": (n_gallery, d)} if dial == "beta" else {}
        shapes |= {f"{name}/map": (n_gallery, 2)} if dial == "epoch" else {}
    if dial == "length":
        shapes |= {f"{PCA}/codes": (n_gallery, "P"), f"{PCA}/range": (2, "P")}
    sizes: dict[str, int] = {}
    for name, shape in shapes.items():
        if name not in codes:
            return later("lacks {name}", name=name)
        if wrong := _wrong_tensor(name, codes[name], shape, sizes):
            return wrong
    return ""
