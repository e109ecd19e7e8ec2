"""What a lesson shows and claims, made from the bundles: pictures, figures, curves and points.

Pictures, as the address of an image in Markdown; I and J are numbers of gallery images, from 0:

    original/I                          the image itself, or its stand-in where the originals are not on the disk
    reconstruct/MODEL/I                 what a model makes of its code
    decode/MODEL/1.5,-0.5               what it makes of any code, written out
    between/MODEL/I,J/0.5               of the straight line between two codes
    fade/I,J/0.5                        pixels mixed
    sample/MODEL/prior/SEED             of a draw from the prior, or from another of `sampling.SOURCES`
    noisy/NOISE/LEVEL/I                 noise of `noise.NOISES`
    denoise/MODEL/NOISE/LEVEL/I         and what a model makes of it

Figures, as expressions of numbers, + - * / ** and comparisons with these names:

    pixels                              numbers of an image
    code(MODEL), parameters(MODEL)      numbers of its code, and of its weights
    figure(MODEL, "PATH")               of `metrics.json`, or `figures.json` of a family: "psnr", "members/vae/kl"
    psnr(MODEL, NOISE, LEVEL)           mean over the gallery in dB, of "input" and "median", too
    taken(MODEL, CLASS, CLASS)          share of the test images of one class that a classifier takes for another
    variance(MODEL)                     of the codes over the gallery, mean of all numbers
    noise(MODEL)                        variance that its encoder adds to each number, mean over numbers and gallery
    distance(MODEL, I, J)               between two codes
    together(ATTRIBUTE, ATTRIBUTE)      share of the labelled faces with the first that have the second
    moves(MODEL, ATTRIBUTE, ATTRIBUTE)  how far the score of the second goes, in its standard deviations, while a code
                                        goes one along the first; see `attributes`
"""

import ast
import functools
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from explorer import cards, sampling
from explorer.attributes import METHODS, fit_stored
from explorer.checkpoints import Bundle, BundleError, root_folder
from explorer.families import FamilyBundle, is_family
from explorer.latent import lerp
from explorer.models import n_parameters
from explorer.noise import NOISES, add_noise

OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow, ast.USub: operator.neg, ast.Lt: operator.lt, ast.Gt: operator.gt,
}  # fmt: skip
CURVES = "psnr MODEL NOISE, or family NAME MEMBERS FIGURE"


class Wrong(ValueError):
    """What a lesson asks for cannot be made; the message says why."""


@dataclass(frozen=True)
class Material:
    """A data set with its models, from which a lesson is made.

    bundle: opens a model by name. original: gives a gallery image `(C, H, W)` in [0, 1].
    """

    card: cards.DataCard
    bundle: Callable[[str], Bundle]
    family: Callable[[str], FamilyBundle]
    original: Callable[[int], np.ndarray]
    root: Path = field(default_factory=root_folder)
    made: dict[str, Any] = field(default_factory=dict, repr=False)  # by recipe or expression: texts repeat themselves

    @functools.cached_property
    def models(self) -> list[str]:
        """The names of its models."""
        return cards.models(self.root, self.card.name)

    def codes(self, model: str) -> torch.Tensor:
        """Give the gallery's codes `(M, D)`."""
        return self._bundle(model).codes()["codes"].float()

    def place(self, model: str, i: int) -> tuple[float, float]:
        """Give where the code of a gallery image lies in the plane of a model of two numbers."""
        codes = self.codes(model)
        if codes.shape[1] != 2:
            raise Wrong(f"the code of {model} has {codes.shape[1]} numbers, and a plane two")
        x, y = codes[self.number(str(i), model)].tolist()
        return round(x, 3), round(y, 3)

    @torch.inference_mode()
    def picture(self, recipe: str) -> np.ndarray:
        """Make a picture `(C, H, W)` in [0, 1]; raises `Wrong`."""
        if recipe not in self.made:
            self.made[recipe] = self._picture(recipe)
        return self.made[recipe]

    def _picture(self, recipe: str) -> np.ndarray:
        kind, *words = recipe.split("/")
        make = PICTURES.get(kind)
        if make is None:
            raise Wrong(f"'{recipe}' is no picture that a model makes; these begin with {', '.join(PICTURES)}")
        try:
            made = make(self, *words)
        except TypeError as error:
            raise Wrong(f"'{recipe}' has a wrong number of parts between its strokes") from error
        return np.asarray(made, np.float32).reshape(self.card.image_shape)

    def value(self, expression: str) -> float:
        """Compute a figure; raises `Wrong`."""
        try:
            return self._of(ast.parse(expression, mode="eval").body)
        except SyntaxError as error:
            raise Wrong(f"'{expression}' is no expression") from error
        except (KeyError, IndexError, TypeError, ZeroDivisionError) as error:
            raise Wrong(f"'{expression}' cannot be computed: {error}") from error

    def curve(self, truth: Sequence[str]) -> tuple[list[float], list[float]]:
        """Give the places and values of a true curve; raises `Wrong`."""
        kind, *words = truth
        if kind == "psnr" and len(words) == 2:
            found = self._levels(*words)
            return [round(x, 3) for x in found["level"]], found["model"]
        if kind == "family" and len(words) == 3:
            return self._along(*words)
        raise Wrong(f"'{' '.join(truth)}' is no curve; there are: {CURVES}")

    def _along(self, name: str, members: str, figure: str) -> tuple[list[float], list[float]]:
        found = self._family(name).figures()["members"]
        values = {float(m.removeprefix(members)): v[figure] for m, v in found.items() if _rest_is_number(m, members)}
        if len(values) < 2:
            raise Wrong(f"{name} has no members {members}…, which differ by a number")
        places = sorted(values)
        return places, [values[x] for x in places]

    def _bundle(self, model: str) -> Bundle:
        if model not in self.models:
            raise Wrong(f"there is no model {model!r} of {self.card.name}; there are: {', '.join(self.models)}")
        return self.bundle(model)

    def _family(self, name: str) -> FamilyBundle:
        if name not in cards.families(self.root, self.card.name):
            raise Wrong(f"there is no family {name!r} of {self.card.name}")
        return self.family(name)

    def _levels(self, model: str, noise: str) -> dict[str, list[float]]:
        if noise not in NOISES:
            raise Wrong(f"there is no noise {noise!r}; there are: {', '.join(NOISES)}")
        if model in ("input", "median"):
            denoiser = next(name for name in self.models if "psnr_by_noise_classical" in self.bundle(name).metrics())
            found = self.bundle(denoiser).metrics()["psnr_by_noise_classical"][noise]
            return {"level": found["level"], "model": found[model]}
        return self._bundle(model).metrics()["psnr_by_noise"][noise]

    def number(self, text: str, model: str = "") -> int:
        """Read the number of a gallery image; raises `Wrong`."""
        model = model or next(name for name in self.models if "codes" in self.bundle(name).codes())
        most = len(self._bundle(model).codes()["codes"])
        if not (text.isdecimal() and int(text) < most):
            raise Wrong(f"{text!r} is no number of a gallery image, 0 to {most - 1}")
        return int(text)

    def _of(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str):
            return node.value
        if isinstance(node, ast.Name) and node.id == "pixels":
            return math.prod(self.card.image_shape)
        if isinstance(node, ast.UnaryOp) and type(node.op) in OPERATORS:
            return OPERATORS[type(node.op)](self._of(node.operand))
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            return OPERATORS[type(node.op)](self._of(node.left), self._of(node.right))
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in OPERATORS:
            return OPERATORS[type(node.ops[0])](self._of(node.left), self._of(node.comparators[0]))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FIGURES:
            return self._figure(node)
        raise Wrong(f"'{ast.unparse(node)}' is not known; known: pixels, {', '.join(FIGURES)}")

    def _figure(self, node: ast.Call) -> Any:
        written = ast.unparse(node)
        if written not in self.made:
            self.made[written] = FIGURES[node.func.id](self, *map(self._of, node.args))
        return self.made[written]


def material(dataset: str, root: Path) -> Material:
    """Make the material of a data set from its folder alone; originals are stand-ins. Raises `BundleError`."""
    card = cards.read_dataset(root, dataset)
    bundle = functools.cache(lambda name: _Read(dataset, name, root))
    family = functools.cache(lambda name: FamilyBundle(dataset, name, root))
    there = [bundle(name) for name in cards.models(root, dataset) if not is_family(root / dataset / name)]
    best = min((b for b in there if "mse" in b.metrics()), key=lambda b: b.metrics()["mse"], default=None)
    if best is None:
        raise BundleError(f"{root / dataset} has no autoencoder")

    @torch.inference_mode()
    def original(i: int) -> np.ndarray:
        return best.load().decode(best.codes()["codes"][i : i + 1].float())[0].numpy()

    return Material(card, bundle, family, original, root)


class _Read(Bundle):
    """A bundle whose files are read once."""

    __hash__ = object.__hash__

    @functools.cached_property
    def _parts(self) -> dict[str, Any]:
        return {}

    def _once(self, name: str) -> Any:
        if name not in self._parts:
            self._parts[name] = getattr(Bundle, name)(self)
        return self._parts[name]

    def load(self) -> Any:
        return self._once("load")

    def codes(self) -> Any:
        return self._once("codes")

    def metrics(self) -> Any:
        return self._once("metrics")


def _rest_is_number(member: str, start: str) -> bool:
    rest = member.removeprefix(start)
    return member.startswith(start) and rest.replace(".", "", 1).isdecimal()


def _numbers(text: str, n: int = 0) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
        if not all(map(math.isfinite, values)) or (n and len(values) != n):
            raise ValueError
    except ValueError as error:
        raise Wrong(f"'{text}' is no list of {n or 'some'} numbers with commas between them") from error
    return values


def _decode(there: Material, model: str, text: str) -> torch.Tensor:
    length = there.codes(model).shape[1]
    return there._bundle(model).load().decode(torch.tensor([_numbers(text, length)]))


def _between(there: Material, model: str, pair: str, t: str) -> torch.Tensor:
    a, b = (there.codes(model)[there.number(part, model)] for part in _pair(pair))
    return there._bundle(model).load().decode(lerp(a, b, torch.tensor(_numbers(t, 1))))


def _fade(there: Material, pair: str, t: str) -> np.ndarray:
    a, b = (there.original(there.number(part)) for part in _pair(pair))
    [share] = _numbers(t, 1)
    return (1 - share) * a + share * b


def _pair(text: str) -> list[str]:
    parts = text.split(",")
    if len(parts) != 2:
        raise Wrong(f"'{text}' is no pair of images with a comma between them")
    return parts


def _sample(there: Material, model: str, source: str, seed: str) -> torch.Tensor:
    if source not in sampling.SOURCES:
        raise Wrong(f"{source!r} is nothing to draw from; there are: {', '.join(sampling.SOURCES)}")
    stored = there._bundle(model).codes()
    fitted = sampling.fit(source, stored["codes"], stored.get("log_var"), n_components=10)
    return there._bundle(model).load().decode(fitted.sample(1, seed=int(_numbers(seed, 1)[0])))


def _noisy(there: Material, noise: str, level: str, i: str) -> torch.Tensor:
    if noise not in NOISES:
        raise Wrong(f"there is no noise {noise!r}; there are: {', '.join(NOISES)}")
    x = torch.from_numpy(np.array(there.original(there.number(i)), np.float32))[None]
    return add_noise(x, noise, _numbers(level, 1)[0], seed=0)


def _path(there: Material, model: str, path: str) -> Any:
    found = there._bundle(model).metrics() if model in there.models else there._family(model).figures()
    for part in path.split("/"):
        found = found[int(part)] if isinstance(found, list) else found[part]
    return found


def _psnr(there: Material, model: str, noise: str, level: float) -> float:
    found = there._levels(model, noise)
    return float(np.interp(level, found["level"], found["model"]))


def _taken(there: Material, model: str, name: str, other: str) -> float:
    stored, classes = there._bundle(model).codes(), there.card.classes
    if missing := [n for n in (name, other) if n not in classes]:
        raise Wrong(f"there is no class {missing[0]!r}; there are: {', '.join(classes)}")
    guesses = stored["test_logits"].float().argmax(1)[stored["test_labels"] == classes.index(name)]
    return (guesses == classes.index(other)).float().mean().item()


def _together(there: Material, name: str, other: str) -> float:
    names = there.card.attributes
    if missing := [n for n in (name, other) if n not in names]:
        raise Wrong(f"there is no attribute {missing[0]!r}; there are: {', '.join(names)}")
    model = next(m for m in there.models if "labelled_attributes" in there.bundle(m).codes())
    known = there.bundle(model).codes()["labelled_attributes"].bool()
    having = known[:, names.index(name)]
    return known[having, names.index(other)].float().mean().item()


def _moves(there: Material, model: str, name: str, other: str) -> float:
    stored = {k: v.float().numpy() for k, v in there._bundle(model).codes().items()}
    found = fit_stored(stored, there.card.attributes, (name, other))
    meter = found["logistic regression"]
    step = found[METHODS[0]].steps[0]
    return float((meter.normals[1] @ step) / (meter.normals[0] @ step))


PICTURES: dict[str, Callable[..., Any]] = {
    "original": lambda there, i: there.original(there.number(i)),
    "reconstruct": lambda there, m, i: there._bundle(m).load().decode(there.codes(m)[there.number(i, m)][None]),
    "decode": _decode,
    "between": _between,
    "fade": _fade,
    "sample": _sample,
    "noisy": _noisy,
    "denoise": lambda there, m, noise, level, i: there._bundle(m).load()(_noisy(there, noise, level, i)),
}  # fmt: skip
FIGURES: dict[str, Callable[..., Any]] = {
    "code": lambda there, model: there._bundle(model).load().code_length,
    "parameters": lambda there, model: n_parameters(there._bundle(model).load()),
    "figure": _path,
    "psnr": _psnr,
    "taken": _taken,
    "variance": lambda there, model: there.codes(model).var(0, correction=0).mean().item(),
    "noise": lambda there, model: there._bundle(model).codes()["log_var"].float().exp().mean().item(),
    "distance": lambda there, model, i, j: (there.codes(model)[i] - there.codes(model)[j]).norm().item(),
    "together": _together,
    "moves": _moves,
}
