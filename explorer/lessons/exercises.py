"""Worksheets of twelve exercises whose numbers come from a seed and whose answers come from the bundles.

A worksheet is Markdown or a Jupyter notebook with lines `answer_1 = `; both say what seed and language they are of,
so that `mark` needs nothing else. The words are in `exercises.<language>.md`.
"""

import json
import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from explorer.cards import model_card
from explorer.checkpoints import Bundle
from explorer.language import say, speaking
from explorer.lessons.checking import COMMAS
from explorer.lessons.material import Material
from explorer.lessons.reading import FOLDER

DATASET = "fashion-mnist"
MODELS = ("conv-ae", "conv-ae-128", "fc-ae", "conv-dae")
BETAS = ("0.1", "0.25", "0.5", "2", "4", "8", "16")
LEVELS = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75)
ANSWER = re.compile(r"^answer_([0-9]{1,2})[ \t]*=[ \t]*([^#\s]*)", re.MULTILINE)
OF = re.compile(r"worksheet: seed ([0-9]{1,18}), language ([a-z]{2})")
NUMBER = re.compile(r"[+-]?[0-9]{1,12}(\.[0-9]{0,12})?(e[+-]?[0-9]{1,2})?")
MOST_BYTES = 5_000_000

Made = tuple[dict[str, Any], float]  # the numbers of the text, and the answer


class WorksheetError(ValueError):
    """A file that is no worksheet of ours; the message says why."""


@dataclass(frozen=True)
class Exercise:
    """One exercise: its title and text, the answer, how far off it may be, and Python to begin with."""

    title: str
    text: str
    answer: float
    allowed: float
    python: str


@dataclass(frozen=True)
class Mark:
    """What became of one answer: what was given, None where nothing was; what is right; whether it is."""

    given: float | None
    answer: float
    right: bool


def languages() -> list[str]:
    """List the languages that there are worksheets in."""
    return sorted(path.name.split(".")[1] for path in FOLDER.glob("exercises.*.md"))


def exercises(there: Material, seed: int, language: str) -> list[Exercise]:
    """Make the exercises of a seed."""
    dice = random.Random(seed)
    made = []
    for (title, text), (make, allowed, python) in zip(_words(language)[2], KINDS, strict=True):
        numbers, answer = make(there, dice)
        shown = {name: _written(value, language) for name, value in numbers.items()}
        if "model" in numbers:
            shown["model"] = _title(there, numbers["model"], language)
        made.append(Exercise(title, text.format(**shown), answer, allowed(answer), python.format(**numbers)))
    return made


def _title(there: Material, model: str, language: str) -> str:
    with speaking(language):
        return say(model_card(Bundle(there.card.name, model, there.root)).title)


def worksheet(there: Material, seed: int, language: str) -> str:
    """Write the worksheet of a seed as Markdown, to print or to fill in."""
    title, lead, _ = _words(language)
    parts = [f"<!-- worksheet: seed {seed}, language {language} -->\n# {title} {seed}\n\n{lead}"]
    for n, exercise in enumerate(exercises(there, seed, language), 1):
        parts.append(f"## {n}. {exercise.title}\n\n{exercise.text}\n\n```\nanswer_{n} = \n```")
    return "\n\n".join(parts) + "\n"


def notebook(there: Material, seed: int, language: str) -> str:
    """Write the same as a Jupyter notebook, which runs from top to bottom as it is."""
    title, lead, _ = _words(language)
    cells = [("markdown", f"<!-- worksheet: seed {seed}, language {language} -->\n# {title} {seed}\n\n{lead}")]
    cells.append(("code", START.strip()))
    for n, exercise in enumerate(exercises(there, seed, language), 1):
        cells.append(("markdown", f"## {n}. {exercise.title}\n\n{exercise.text}"))
        cells.append(("code", f"{exercise.python}\nanswer_{n} = None"))
    cells.append(("code", END.format(n=len(KINDS)).strip()))
    written = [
        {"cell_type": kind, "id": f"cell-{i}", "metadata": {}, "source": text.splitlines(keepends=True)}
        | ({"execution_count": None, "outputs": []} if kind == "code" else {})
        for i, (kind, text) in enumerate(cells)
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {"cells": written, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def mark(content: bytes, material: Callable[[str], Material]) -> list[Mark]:
    """Mark a worksheet or notebook that was filled in; raises `WorksheetError`."""
    if len(content) > MOST_BYTES:
        raise WorksheetError(f"it has more than {MOST_BYTES:,} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise WorksheetError("its text is not UTF-8") from error
    if text.lstrip().startswith("{"):
        text = _sources(text)
    of = OF.search(text)
    if not of or of[2] not in languages():
        raise WorksheetError("it says no seed and language: the line '<!-- worksheet: seed …, language … -->' is gone")
    given = {int(number): _read(value, of[2]) for number, value in ANSWER.findall(text)}
    marks = []
    for n, exercise in enumerate(exercises(material(DATASET), int(of[1]), of[2]), 1):
        value = given.get(n)
        right = value is not None and abs(value - exercise.answer) <= exercise.allowed
        marks.append(Mark(value, exercise.answer, right))
    return marks


def _sources(text: str) -> str:
    """Take the text of the cells of a notebook."""
    try:
        cells = json.loads(text)["cells"]
        return "\n".join("".join(cell["source"]) for cell in cells)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WorksheetError("it is no notebook") from error


def _read(text: str, language: str) -> float | None:
    text = text.strip("*`_").replace("−", "-")
    text = text.replace(",", ".") if language in COMMAS else text
    return float(text) if NUMBER.fullmatch(text) else None


def _words(language: str) -> tuple[str, str, list[tuple[str, str]]]:
    """Read title, lead, and title and text of each exercise."""
    head, *parts = (FOLDER / f"exercises.{language}.md").read_text(encoding="utf-8").split("\n## ")
    lines = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line)
    return lines["title"], lines["lead"], [tuple(map(str.strip, part.split("\n", 1))) for part in parts]


def _written(value: Any, language: str) -> str:
    if not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        text = f"{value:,}"
    elif value == round(value, 3):
        text = f"{value:g}"
    else:
        text = f"{value:.3f}" if abs(value) >= 0.1 else f"{value:.5f}"
    return text.translate(str.maketrans(",.", ".,")) if language in COMMAS else text


def _ratio(there: Material, dice: random.Random) -> Made:
    model = dice.choice(MODELS)
    pixels, code = there.value("pixels"), there.value(f'code("{model}")')
    return {"pixels": pixels, "model": model, "code": code}, pixels / code


def _bits(there: Material, dice: random.Random) -> Made:
    numbers, ratio = _ratio(there, dice)
    bits = dice.randint(2, 7)
    return numbers | {"bits": bits}, 8 * ratio / bits


def _psnr(there: Material, dice: random.Random) -> Made:
    model = dice.choice((*MODELS, "conv-vae"))
    mse = there.value(f'figure("{model}", "mse")')
    return {"model": model, "mse": mse}, -10 * math.log10(mse)


def _pair(there: Material, dice: random.Random, model: str) -> tuple[int, int, torch.Tensor, torch.Tensor]:
    codes = there.codes(model)
    i, j = dice.sample(range(len(codes)), 2)
    return i, j, codes[i], codes[j]


def _distance(there: Material, dice: random.Random) -> Made:
    i, j, first, second = _pair(there, dice, "conv-vae")
    (a, b), (c, d) = first.tolist(), second.tolist()
    return dict(i=i, j=j, a=a, b=b, c=c, d=d), (first - second).norm().item()


def _halfway(there: Material, dice: random.Random) -> Made:
    i, j, first, second = _pair(there, dice, "fc-ae")
    cos = torch.cosine_similarity(first, second, 0).item()
    return dict(i=i, j=j, a=first.norm().item(), b=second.norm().item(), cos=cos), ((first + second) / 2).norm().item()


def _posterior(there: Material, dice: random.Random) -> tuple[dict[str, Any], torch.Tensor, torch.Tensor]:
    stored = there.bundle("conv-vae").codes()
    i = dice.randrange(len(stored["codes"]))
    mu, log_var = (stored[name][i].float() for name in ("codes", "log_var"))
    (a, b), (c, d) = mu.tolist(), log_var.tolist()
    return dict(i=i, a=a, b=b, c=c, d=d), mu, log_var


def _kl(there: Material, dice: random.Random) -> Made:
    numbers, mu, log_var = _posterior(there, dice)
    return numbers, 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum().item()


def _sigma(there: Material, dice: random.Random) -> Made:
    numbers, _, log_var = _posterior(there, dice)
    return numbers, (log_var[0] / 2).exp().item()


def _right(there: Material, dice: random.Random) -> Made:
    name = dice.choice(there.card.classes)
    return {"name": name}, round(1000 * there.value(f'taken("ffnn", "{name}", "{name}")'))


def _wrong(there: Material, dice: random.Random) -> Made:
    name, other = dice.sample(["T-shirt", "Pullover", "Dress", "Coat", "Shirt"], 2)
    return {"name": name, "other": other}, round(1000 * there.value(f'taken("ffnn", "{name}", "{other}")'))


def _gain(there: Material, dice: random.Random) -> Made:
    level = dice.choice(LEVELS)
    model, noisy = (there.value(f'psnr("{name}", "gaussian", {level})') for name in ("conv-dae", "input"))
    return {"level": level}, model - noisy


def _beta(there: Material, dice: random.Random) -> Made:
    length, beta = dice.choice((2, 10)), dice.choice(BETAS)
    member = there.family("beta-family").figures()["members"][f"d{length}-beta{beta}"]
    rec, kl = member["reconstruction"], member["kl"]
    return {"beta": float(beta), "rec": rec, "kl": kl, "member": f"d{length}-beta{beta}"}, rec + float(beta) * kl


def _aggregate(there: Material, dice: random.Random) -> Made:
    stored, which = there.bundle("conv-vae").codes(), dice.randrange(2)
    v = stored["codes"][:, which].float().var(correction=0).item()
    s = stored["log_var"][:, which].float().exp().mean().item()
    return {"which": which + 1, "v": v, "s": s}, v + s


def _one_percent(answer: float) -> float:
    return max(0.01 * abs(answer), 0.002)  # what is given is rounded


def _exactly(answer: float) -> float:
    return 0.01


_POSTERIOR = 'mu, log_var = (there.bundle("conv-vae").codes()[name][{i}].float() for name in ("codes", "log_var"))'
_GUESSES = 'logits, labels = (there.bundle("ffnn").codes()[name] for name in ("test_logits", "test_labels"))'
KINDS: Sequence[tuple[Callable[[Material, random.Random], Made], Callable[[float], float], str]] = (
    (_ratio, _one_percent, 'length = there.bundle("{model}").load().code_length'),
    (_bits, _one_percent, 'length = there.bundle("{model}").load().code_length'),
    (_psnr, _one_percent, 'figures = there.bundle("{model}").metrics()'),
    (_distance, _one_percent, 'a, b = there.codes("conv-vae")[[{i}, {j}]]'),
    (_halfway, _one_percent, 'a, b = there.codes("fc-ae")[[{i}, {j}]]'),
    (_kl, _one_percent, _POSTERIOR),
    (_sigma, _one_percent, _POSTERIOR),
    (_right, _exactly, _GUESSES),
    (_wrong, _exactly, _GUESSES),
    (_gain, lambda answer: 0.5, 'figures = there.bundle("conv-dae").metrics()'),
    (_beta, _one_percent, 'member = there.family("beta-family").figures()["members"]["{member}"]'),
    (_aggregate, _one_percent, 'stored = there.bundle("conv-vae").codes()'),
)
START = f"""
import math

import torch
from explorer.checkpoints import root_folder
from explorer.lessons.material import material

there = material("{DATASET}", root_folder())
"""
END = """
given = [globals().get(f"answer_{{n}}") for n in range(1, {n} + 1)]
print(f"{{sum(value is not None for value in given)}} of {{len(given)}} answers are there")
"""
