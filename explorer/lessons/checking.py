"""Hold a lesson to what it speaks of: pages, controls, models, images, figures; name line and reason where it errs."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from explorer.checkpoints import BundleError
from explorer.lessons.material import Material, Wrong
from explorer.lessons.reading import CLAIM, PICTURE, Choose, Draw, Lesson, LessonError, Point, Shown, Step, read

COMMAS = ("id",)  # languages in which a comma begins the decimals and full stops part thousands
MARKUP = re.compile(r"<[a-zA-Z!/][^>]*>")
ADDRESS = re.compile(r"[^!]\[[^\]]*\]\(([^)]*)\)")

Opener = Callable[[Shown, str], list[str]]  # says what is wrong with a view on a data set


def number(text: str, language: str) -> tuple[float, float]:
    """Read a number as a language writes it, and half a unit of its last digit; raises `ValueError`."""
    text = text.replace("−", "-")
    text = text.replace(".", "").replace(",", ".") if language in COMMAS else text.replace(",", "")
    _, point, decimals = text.partition(".")
    return float(text), 0.5 * 10.0 ** -(len(decimals) if point else 0)


def check(path: Path, material: Callable[[str], Material], opener: Opener | None = None) -> list[str]:
    """List what is wrong with a lesson, `file:line: reason`; empty where nothing is.

    material: gives that of a data set, raises `BundleError`. opener: opens a page, where pages are to be opened.
    """
    try:
        lesson = read(path)
        usual = material(lesson.dataset)
    except LessonError as error:
        return str(error).splitlines()
    except (OSError, BundleError) as error:
        return [f"{path}:1: {getattr(error, 'strerror', None) or error}"]
    faults = list(_claims(lesson, lesson.opening, 1, path, usual))
    for step in lesson.steps:
        [dataset] = step.shown.params.get("dataset", [lesson.dataset])[:1]
        try:
            faults += _step(lesson, step, path, material(dataset), opener)
        except BundleError as error:
            faults.append((step.lines["view"], str(error)))
    return [f"{path}:{line}: {reason}" for line, reason in sorted(faults)]


def _step(lesson: Lesson, step: Step, path: Path, there: Material, opener: Opener | None) -> Iterator[tuple[int, str]]:
    for part, text in (("step", step.text), ("reveal", step.reveal), ("ask", step.ask)):
        yield from _claims(lesson, text, step.lines[part], path, there)
    for reason in _prediction(step, there):
        yield step.lines["predict"], reason
    for text in step.shown.params.get("pick", ()):
        if reason := _reason(lambda text=text: there.number(text)):
            yield step.lines["view"], reason
    if opener:
        for reason in opener(step.shown, there.card.name):
            yield step.lines["view"], reason


def _claims(lesson: Lesson, text: str, start: int, path: Path, there: Material) -> Iterator[tuple[int, str]]:
    """Recompute each figure of a text and make each of its pictures."""
    lines = path.read_text(encoding="utf-8").splitlines()

    def line_of(found: str) -> int:
        return next((i for i, line in enumerate(lines[start - 1 :], start) if found in line), start)

    for claim in CLAIM.finditer(text):
        if reason := wrong_claim(*claim.groups(), lesson.language, there):
            yield line_of(claim[0]), reason
    for picture in PICTURE.finditer(text):
        if reason := _reason(lambda picture=picture: there.picture(picture[2])):
            yield line_of(picture[0]), reason
    for markup in MARKUP.finditer(text):
        yield line_of(markup[0]), f"'{markup[0]}' is HTML, which is not shown; use Markdown"
    for link in ADDRESS.finditer(text):
        if not link[1].startswith(("https://", "http://")):
            yield line_of(link[0][1:]), f"the link '{link[1]}' does not begin with https://"


def wrong_claim(stated: str, spread: str | None, expression: str, language: str, there: Material) -> str:
    """Say what is wrong with a figure that a text states, or return an empty string."""
    try:
        value, half = number(stated, language)
        allowed = number(spread, language)[0] if spread else half
    except ValueError:
        return f"'{stated}' is no number as '{language}' writes it"
    reason = ""
    try:
        true = float(there.value(expression))
        if not abs(true - value) <= allowed * (1 + 1e-9):
            reason = f"the text says {stated}, and {expression} is {true:.6g}"
    except (Wrong, BundleError, TypeError) as error:
        reason = str(error)
    return reason


def _reason(make: Callable[[], object]) -> str:
    try:
        make()
    except (Wrong, BundleError) as error:
        return str(error)
    return ""


def _prediction(step: Step, there: Material) -> Iterator[str]:
    asked = step.prediction
    if isinstance(asked, Choose):
        for option in asked.options:
            if option.picture and (reason := _reason(lambda option=option: there.picture(option.picture))):
                yield reason
        said = [(option.text, option.picture) for option in asked.options]
        if len({picture or text for text, picture in said}) < len(said):
            yield "two options are the same"
        if asked.because:
            yield from _because(asked.because, there)
    elif isinstance(asked, Point):
        if reason := _reason(lambda: there.place(asked.plane, asked.image)):
            yield reason
    elif isinstance(asked, Draw):
        yield from _curve(asked, there)


def _because(expression: str, there: Material) -> Iterator[str]:
    try:
        true = there.value(expression)
    except (Wrong, BundleError) as error:
        yield str(error)
        return
    if true is not True:
        yield f"the right option is so because {expression}, and that is not so"


def _curve(asked: Draw, there: Material) -> Iterator[str]:
    try:
        _, values = there.curve(asked.truth)
    except (Wrong, BundleError) as error:
        yield str(error)
        return
    if not asked.low <= min(values) <= max(values) <= asked.high:
        yield f"the curve goes from {min(values):.4g} to {max(values):.4g}, and the axis does not"
