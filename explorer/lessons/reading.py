"""Read a lesson, `<name>.<language>.md`: Markdown with a heading for each step.

    ---
    title: Autoencoders in 45 minutes
    minutes: 45
    dataset: fashion-mnist
    ---
    What comes before the first step.

    ## Title of a step
    What is said and shown before the question. ![a bag](reconstruct/conv-ae/17) is a picture that a model makes, and
    {{1.3 = code("conv-ae") / pixels}} a figure that is recomputed; see `material`.

    ```view
    page: reconstruct
    models: conv-ae
    live: class
    ```

    ```predict
    choose: What comes out?
    - [ ] ![A](original/17)
    - [x] the other one
    because: code("conv-ae") > pixels
    ```

    ### Reveal
    What was to be seen, and why.

    ### Ask
    What to talk about then.

In `view`, all lines but `page` and `live` are parameters of the page's address; `live` is the key of the one control
that stays. The other kinds of `predict`:

    point: Where will this sandal land?         draw: How does PSNR fall as noise grows?
    plane: conv-vae                             across: level of the noise
    image: 17                                   up: PSNR in dB, 0 to 40
                                                truth: psnr conv-dae gaussian

The words of this syntax are the same in every language.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
NAME = re.compile(r"([a-z0-9-]+)\.([a-z]{2})\.md")
PICTURE = re.compile(r"!\[([^\]\n]*)\]\(([^)\s]*)\)")
OPTION = re.compile(r"- \[([ x])\] (.+)")
CLAIM = re.compile(r"\{\{\s*([+−-]?[\d.,]+)\s*(?:±\s*([\d.,]+)\s*)?=\s*(.+?)\s*\}\}")
AXIS = re.compile(r"(.+), ([\d.,−-]+) (?:to|–) ([\d.,−-]+)")
MOST_OPTIONS = 6
MOST_BYTES = 1_000_000


class LessonError(ValueError):
    """A lesson that cannot be used; the message has a line `file:line: reason` for each fault."""


@dataclass(frozen=True)
class Option:
    """One answer to choose: words, and the picture to show instead of them, if there is one."""

    text: str
    picture: str = ""


@dataclass(frozen=True)
class Choose:
    """Choose one of some options. right: its place. because: what makes it right, an expression, or empty."""

    question: str
    options: tuple[Option, ...]
    right: int
    because: str = ""


@dataclass(frozen=True)
class Point:
    """Point at where the code of a gallery image lies in the plane of a model of two numbers."""

    question: str
    plane: str
    image: int


@dataclass(frozen=True)
class Draw:
    """Sketch a curve over the places of a true one. low, high: ends of the axis upwards."""

    question: str
    across: str
    up: str
    low: float
    high: float
    truth: tuple[str, ...]


Prediction = Choose | Point | Draw


@dataclass(frozen=True)
class Shown:
    """The page that shows it: its key, the parameters of its address, and the key of the one control that stays."""

    page: str
    params: Mapping[str, Sequence[str]] = field(default_factory=dict)
    live: str = ""


@dataclass(frozen=True)
class Step:
    """One step; lines: where its parts begin in the file, from 1."""

    title: str
    text: str
    shown: Shown
    prediction: Prediction
    reveal: str
    ask: str
    lines: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Lesson:
    """A lesson in one language."""

    name: str
    language: str
    title: str
    minutes: int
    dataset: str
    opening: str
    steps: tuple[Step, ...]

    @property
    def key(self) -> str:
        """The name by which addresses and rooms know it."""
        return f"{self.name}.{self.language}"


def shipped(folder: Path = FOLDER) -> dict[str, Path]:
    """List the lessons of a folder by key."""
    found = {path.name.removesuffix(".md"): path for path in folder.glob("*.md") if NAME.fullmatch(path.name)}
    return dict(sorted((key, path) for key, path in found.items() if not key.startswith("exercises.")))


def read(path: Path) -> Lesson:
    """Read a lesson; raises `LessonError` with every fault of its form, `OSError` where there is no file."""
    match = NAME.fullmatch(path.name)
    if not match:
        raise LessonError(f"{path}:1: the file is to be named like autoencoders.en.md: name, language, md")
    if path.stat().st_size > MOST_BYTES:
        raise LessonError(f"{path}:1: the file has more than {MOST_BYTES:,} bytes")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise LessonError(f"{path}:{line}: the text is not UTF-8") from error
    faults: list[tuple[int, str]] = []
    lesson = _parsed(text.splitlines(), *match.groups(), faults)
    if faults or lesson is None:
        raise LessonError("\n".join(f"{path}:{line}: {reason}" for line, reason in sorted(faults)))
    return lesson


Faults = list[tuple[int, str]]
Lines = list[tuple[int, str]]  # number from 1, text


def _parsed(lines: list[str], name: str, language: str, faults: Faults) -> Lesson | None:
    numbered = list(enumerate(lines, 1))
    head, rest = _front(numbered, faults)
    sections = list(_sections(rest, "## "))
    opening = _text(sections[0][1])
    steps = [step for title, body, line in sections[1:] if (step := _step(title, body, line, faults))]
    if len(sections) == 1:
        faults.append((len(lines) or 1, "there is no step: a step begins with a line '## Title'"))
    minutes = head.get("minutes", (1, ""))
    if not minutes[1].isdecimal():
        faults.append((minutes[0], "the front matter needs 'minutes: 45', a whole number"))
    if not head.get("title", (1, ""))[1]:
        faults.append((1, "the front matter needs 'title: …'"))
    if faults:
        return None
    dataset = head.get("dataset", (1, "fashion-mnist"))[1]
    return Lesson(name, language, head["title"][1], int(minutes[1]), dataset, opening, tuple(steps))


def _front(lines: Lines, faults: Faults) -> tuple[dict[str, tuple[int, str]], Lines]:
    """Take the front matter off: lines `name: value` between two lines `---`."""
    ends = [i for i, (_, text) in enumerate(lines) if text.strip() == "---"][:2]
    if len(ends) < 2 or ends[0] != 0:
        faults.append((1, "the file begins with '---', lines such as 'title: …' and 'minutes: 45', and '---'"))
        return {}, lines
    return _values(lines[1 : ends[1]], faults, ("title", "minutes", "dataset")), lines[ends[1] + 1 :]


def _values(lines: Lines, faults: Faults, known: Sequence[str] = ()) -> dict[str, tuple[int, str]]:
    """Read lines `name: value`; `known` names are allowed, all where there are none."""
    values = {}
    for number, text in lines:
        name, colon, value = (part.strip() for part in text.partition(":"))
        if not text.strip():
            continue
        if not colon or not value:
            faults.append((number, f"'{text.strip()[:60]}' is no 'name: value'"))
        elif known and name not in known:
            faults.append((number, f"'{name}' means nothing here; known: {', '.join(known)}"))
        elif name in values:
            faults.append((number, f"'{name}' is here a second time"))
        else:
            values[name] = (number, value)
    return values


def _sections(lines: Lines, mark: str) -> Iterator[tuple[str, Lines, int]]:
    """Part lines at headings outside of fences: title, body, line; first what comes before any, without a title."""
    title, body, start, fenced = "", [], lines[0][0] if lines else 1, False
    for number, text in lines:
        fenced ^= text.startswith("```")
        if text.startswith(mark) and not fenced:
            yield title, body, start
            title, body, start = text.removeprefix(mark).strip(), [], number
        else:
            body.append((number, text))
    yield title, body, start


def _text(lines: Lines) -> str:
    return "\n".join(text for _, text in lines).strip()


def _step(title: str, lines: Lines, line: int, faults: Faults) -> Step | None:
    before = len(faults)
    (_, body, _), *after = _sections(lines, "### ")
    ends = {}
    for name, text, number in after:
        if name not in ("Reveal", "Ask") or name in ends:
            faults.append(
                (number, f"'### {name}' is no part of a step: these are '### Reveal' and '### Ask', each once")
            )
        ends[name] = (number, _text(text))
    body, blocks = _fences(body, faults)
    missing = [name for name in ("view", "predict") if name not in blocks]
    faults += [(line, f"the step '{title}' has no block ```{name}") for name in missing]
    for name in ("Reveal", "Ask"):
        number, words = ends.get(name, (line, ""))
        if not words:
            faults.append((number, f"the step '{title}' has no '### {name}' with words below it"))
    shown = _shown(*blocks["view"], faults) if "view" in blocks else None
    prediction = _prediction(*blocks["predict"], faults) if "predict" in blocks else None
    if len(faults) > before or shown is None or prediction is None:
        return None
    places = {"step": line} | {name: number for name, (number, _) in blocks.items()}
    places |= {name.lower(): number for name, (number, _) in ends.items()}
    return Step(title, _text(body), shown, prediction, ends["Reveal"][1], ends["Ask"][1], places)


def _fences(lines: Lines, faults: Faults) -> tuple[Lines, dict[str, tuple[int, Lines]]]:
    """Take the blocks `view` and `predict` out of a text."""
    rest, blocks, name, start = [], {}, None, 0
    for number, text in lines:
        if text.strip() in ("```view", "```predict"):
            if name is not None:
                faults.append((start, f"the block ```{name} has no end, a line ```"))
            name, start = text.strip()[3:], number
            if name in blocks:
                faults.append((number, f"a step has one ```{name} block, and this is the second"))
            blocks[name] = (number, [])
        elif name is not None and text.strip() == "```":
            name = None
        elif name is not None:
            blocks[name][1].append((number, text))
        else:
            rest.append((number, text))
    if name is not None:
        faults.append((start, f"the block ```{name} has no end, a line ```"))
    return rest, blocks


def _shown(line: int, lines: Lines, faults: Faults) -> Shown | None:
    values = {name: value for name, (_, value) in _values(lines, faults).items()}
    missing = [name for name in ("page", "live") if name not in values]
    faults += [(line, f"the view has no '{name}: …'") for name in missing]
    if missing:
        return None
    params = {name: [part.strip() for part in value.split(";")] for name, value in values.items()}
    return Shown(params.pop("page")[0], {k: v for k, v in params.items() if k != "live"}, values["live"])


KINDS = {"choose": ("because",), "point": ("plane", "image"), "draw": ("across", "up", "truth")}


def _prediction(line: int, lines: Lines, faults: Faults) -> Prediction | None:
    options = [(number, text.strip()) for number, text in lines if text.strip().startswith("- ")]
    plain = [(number, text) for number, text in lines if not text.strip().startswith("- ")]
    values = _values(plain, faults, [*KINDS, *(name for names in KINDS.values() for name in names)])
    kinds = [kind for kind in KINDS if kind in values]
    if len(kinds) != 1:
        faults.append(
            (line, f"a prediction has one line with its question: {', '.join(f'{kind}: …' for kind in KINDS)}")
        )
        return None
    [kind] = kinds
    needed = () if kind == "choose" else KINDS[kind]
    if missing := [name for name in needed if name not in values]:
        faults.append((line, f"'{kind}' needs '{missing[0]}: …'"))
        return None
    if extra := [name for name in values if name not in (kind, *KINDS[kind])]:
        faults.append((values[extra[0]][0], f"'{extra[0]}' is no part of '{kind}'"))
    if options and kind != "choose":
        faults.append((options[0][0], f"'{kind}' has no options"))
    return READERS[kind](line, values, options, faults)


def _choose(line: int, values: dict[str, tuple[int, str]], options: Lines, faults: Faults) -> Choose | None:
    read, right = [], []
    for number, text in options:
        match = OPTION.fullmatch(text)
        if not match:
            faults.append((number, "an option is '- [ ] words', the right one '- [x] words'"))
            continue
        picture = PICTURE.fullmatch(match[2].strip())
        right += [len(read)] if match[1] == "x" else []
        read.append(Option(picture[1], picture[2]) if picture else Option(match[2].strip()))
    if not 2 <= len(read) <= MOST_OPTIONS:
        faults.append((line, f"there are {len(read)} options; 2 to {MOST_OPTIONS} can be shown"))
    if len(right) != 1:
        faults.append((line, f"{len(right)} options are marked [x] as right; it is to be one"))
        return None
    return Choose(values["choose"][1], tuple(read), right[0], values.get("because", (0, ""))[1])


def _point(line: int, values: dict[str, tuple[int, str]], options: Lines, faults: Faults) -> Point | None:
    number, image = values["image"]
    if not (image.isdecimal() and len(image) < 7):
        faults.append((number, "'image' is the number of a gallery image, from 0"))
        return None
    return Point(values["point"][1], values["plane"][1], int(image))


def _draw(line: int, values: dict[str, tuple[int, str]], options: Lines, faults: Faults) -> Draw | None:
    number, text = values["up"]
    match = AXIS.fullmatch(text)
    try:
        low, high = (float(part.replace("−", "-")) for part in match.groups()[1:])
        if not low < high:
            raise ValueError
    except (AttributeError, ValueError):
        faults.append((number, "'up' is a title and two ends, the lower first: 'PSNR in dB, 0 to 40'"))
        return None
    return Draw(values["draw"][1], values["across"][1], match[1], low, high, tuple(values["truth"][1].split()))


READERS: dict[str, Any] = {"choose": _choose, "point": _point, "draw": _draw}
