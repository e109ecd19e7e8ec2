"""Bring the catalogues up to date with the code: `python -m explorer.language`; with `fr`, begin one of French.

What the code says anew is added without a translation, what it no longer says goes; a test fails until every
message is translated. Needs Babel, of tests/requirements.txt.
"""

import ast
import io
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from babel.messages import Catalog
from babel.messages.pofile import read_po, write_po

from explorer import celeba
from explorer.language import FOLDER, in_script

ROOT = FOLDER.parent.parent
SCRIPTS = ROOT / "explorer" / "ui" / "components"
OF_PAGES = ("title", "section", "question", "look_for", "needs")  # of `Page`, all that is shown
OF_CALLS = {"say": 1, "later": 1, "passing": 1, "say_many": 1, "choices": None}  # so many of what each is given
PLACES = {0: "title", 2: "section"}  # of those that are given without their names
NEEDLESS = re.compile(
    r'^"(?!Language:|Plural-Forms|MIME|Content)[A-Z][\w-]+: .*\\n"\n', re.M
)  # dates and names of the head

Found = tuple[str | tuple[str, str], int]  # a message, or one with its plural, and its line


def main(given: Sequence[str] | None = None) -> int:
    """Update every catalogue, and those named; return its exit code."""
    named = sys.argv[1:] if given is None else given
    source = extracted()
    for language in sorted({*named, *(path.stem for path in FOLDER.glob("*.po"))}):
        catalogue = updated(language, source)
        write(FOLDER / f"{language}.po", catalogue)
        missing = sum(not translated(message.string) for message in catalogue if message.id)
        print(f"{language}.po: {len(catalogue)} messages, {missing} to be translated")
    return 0


def updated(language: str, source: Catalog) -> Catalog:
    """Merge a catalogue, if it is there, with what the code says; what the code no longer says is left out."""
    path = FOLDER / f"{language}.po"
    catalogue = read_po(io.BytesIO(path.read_bytes())) if path.exists() else Catalog(language)
    catalogue.update(source, no_fuzzy_matching=True)
    catalogue.obsolete.clear()
    return catalogue


def write(path: Path, catalogue: Catalog) -> None:
    """Write a catalogue, in the order of the code."""
    buffer = io.BytesIO()
    write_po(buffer, catalogue, width=120, include_lineno=False)
    path.write_text(NEEDLESS.sub("", buffer.getvalue().decode()), encoding="utf-8", newline="\n")


def translated(text: str | Sequence[str]) -> bool:
    """Whether a translation is there, for every number where it has several."""
    return bool(text) if isinstance(text, str) else bool(text) and all(text)


def extracted() -> Catalog:
    """Collect all that the code says to people."""
    catalogue = Catalog(fuzzy=False)
    for path in sources():
        text = path.read_text(encoding="utf-8")
        for message, line in in_script(text) if path.suffix == ".js" else of_python(text):
            catalogue.add(message, locations=[(path.relative_to(ROOT).as_posix(), line)])
    for name in celeba.ATTRIBUTES:
        catalogue.add(name.replace("_", " "), locations=[("explorer/celeba/tables.py", 0)])
    return catalogue


def sources() -> list[Path]:
    """List the files that may say something."""
    return [
        ROOT / "app.py",
        *sorted((ROOT / "pages").glob("*.py")),
        *sorted((ROOT / "explorer").rglob("*.py")),
        *sorted(SCRIPTS.glob("*.js")),
    ]


def of_python(text: str) -> Iterator[Found]:
    """List what `say` and its like are given as literals, and what a `Page` shows."""
    for node in ast.walk(ast.parse(text)):
        name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        if name == "Page":
            given = {PLACES.get(i, ""): part for i, part in enumerate(node.args)}
            given |= {part.arg: part.value for part in node.keywords}
            parts = [given[of] for of in OF_PAGES if of in given]
        else:
            parts = node.args[: OF_CALLS[name]] if name in OF_CALLS else []
        for part in parts:
            if not isinstance(part, ast.Constant):
                continue
            if name == "say_many":
                yield (part.value, node.args[1].value), node.lineno
            elif part.value:
                yield part.value, node.lineno


if __name__ == "__main__":
    sys.exit(main())
