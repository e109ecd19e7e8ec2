"""The languages of what people read: English as the code has it, and those of the catalogues `*.po` in this folder.

`say` what is shown, `later` what is only named in one place and shown in another. Without a catalogue, as in `train.py`
and wherever nobody chose a language, everything is English. `python -m explorer.language` keeps the catalogues up to
date with the code.
"""

import ast
import contextlib
import functools
import gettext
import io
import re
import string
import struct
from collections.abc import Collection, Iterable, Iterator
from contextvars import ContextVar
from numbers import Number
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
SOURCE = "en"

_IN_SCRIPT = re.compile(r'\b(?:say|later)\(\s*("(?:[^"\\]|\\.)*")')
_current: ContextVar[str] = ContextVar("language", default=SOURCE)


class Later(str):
    """A sentence to be said later: in English by itself, in the language of the moment through `say`."""

    message: str
    values: dict[str, Any]

    def __str__(self) -> str:
        return self  # so that an error's text is still what can be said in another language


def later(message: str, **values: Any) -> Later:
    """Mark a sentence that `say` shows; `{name:format}` in it stands for a value."""
    values = {name: str(value) if isinstance(value, BaseException) else value for name, value in values.items()}
    made = Later(_english.vformat(message, (), values) if values else message)
    made.message, made.values = message, values
    return made


def choices(*messages: str) -> tuple[Later, ...]:
    """Mark several, such as the options of a control."""
    return tuple(map(later, messages))


def say(message: str, **values: Any) -> str:
    """Give a sentence in the current language, with values in place of its `{name:format}`; unknown ones stay as is."""
    if isinstance(message, Later):
        message, values = message.message, {**message.values, **values}
    text = _catalogue(current()).gettext(message) if message else ""
    return _Spoken().vformat(text, (), values) if values else text


def say_many(one: str, many: str, n: int, **values: Any) -> str:
    """Give the sentence for one, or that for many, by a number `n`, which both may name."""
    text = _catalogue(current()).ngettext(one, many, n)
    return _Spoken().vformat(text, (), {"n": n, **values})


class Passing(Later):
    """A sentence for those who keep it and show it by themselves, in the language of that moment."""

    def __str__(self) -> str:
        return say(self)


def passing(message: str) -> Passing:
    """Mark a sentence as `later` does, which is said when it is turned into text."""
    made = Passing(message)
    made.message, made.values = message, {}
    return made


NAME = later("English")  # what a language calls itself
NUMBER = later("1,234.5")  # how it writes this number
LIST = later(", ")  # what stands between the parts of a list


def number(value: float, form: str = "") -> str:
    """Write a number in the current language; form: as for `format`."""
    return format(value, form).translate(_marks(current()))


def listed(parts: Iterable[str]) -> str:
    """Write a list in the current language."""
    return say(LIST).join(parts)


def decimal_marks() -> tuple[str, str]:
    """Give what stands before the decimals, and between thousands."""
    _, thousands, _, _, _, decimal, _ = say(NUMBER)
    return decimal, thousands


def current() -> str:
    """Name the language that is spoken here, such as "en"."""
    return _current.get()


def speak(language: str) -> None:
    """Speak a language from now on, in this thread; raises `ValueError` where there is no catalogue of it."""
    if language not in offered():
        raise ValueError(f"there is no catalogue of the language {language!r}, but of {', '.join(offered())}")
    _current.set(language)


@contextlib.contextmanager
def speaking(language: str) -> Iterator[None]:
    """Speak a language for a while."""
    before = current()
    speak(language)
    try:
        yield
    finally:
        _current.set(before)


@functools.cache
def offered() -> dict[str, str]:
    """List the languages that there are by their codes, English first, with the name that each gives itself."""
    found = sorted(path.stem for path in FOLDER.glob("*.po"))
    return {SOURCE: NAME, **{language: _catalogue(language).gettext(NAME.message) for language in found}}


def best(wanted: str | None) -> str:
    """Choose the offered language nearest to a browser's, such as "id-ID"; English where there is none."""
    code = (wanted or "").replace("_", "-").partition("-")[0].lower()
    return code if code in offered() else SOURCE


def restated(text: str) -> str:
    """Give what was said in any of the languages in the current one; what none of them says stays as it is."""
    return say(_sources().get(text, text))


def translations(messages: Iterable[str], languages: Collection[str] = ()) -> dict[str, dict[str, str]]:
    """Give the translations of some messages, by language, of all where none is named; English has none."""
    wanted = dict.fromkeys(messages)
    return {
        code: {message: _catalogue(code).gettext(message) for message in wanted}
        for code in languages or offered() if code != SOURCE
    }  # fmt: skip


def in_script(source: str) -> Iterator[tuple[str, int]]:
    """List what JavaScript gives `say` and `later` as literals, each with its line."""
    for found in _IN_SCRIPT.finditer(source):
        yield ast.literal_eval(found[1]), source.count("\n", 0, found.start()) + 1


class _Spoken(string.Formatter):
    """Write numbers with the marks of the current language, and sentences of others in it."""

    def format_field(self, value: Any, form: str) -> str:
        if isinstance(value, Number) or hasattr(value, "item"):  # of an array or a tensor
            return number(value, form)
        return format(say(value) if isinstance(value, Later) else value, form)


_english = string.Formatter()


@functools.cache
def _marks(language: str) -> dict[int, str]:
    _, thousands, _, _, _, decimal, _ = _catalogue(language).gettext(NUMBER.message)
    return {} if decimal == "." else str.maketrans(",.", thousands + decimal)


@functools.cache
def _sources() -> dict[str, str]:
    """Map every translation back to its message."""
    return {
        text: message for code in offered() if code != SOURCE for message, text in read(code).items()
        if isinstance(text, str) and text
    }  # fmt: skip


@functools.cache
def _catalogue(language: str) -> gettext.NullTranslations:
    if language == SOURCE:
        return gettext.NullTranslations()
    return gettext.GNUTranslations(io.BytesIO(compiled(read(language))))


def read(language: str) -> dict[str, str | list[str]]:
    """Read a catalogue: message -> translation, or for messages that have a plural the translations of each number."""
    entries: dict[str, dict[str, str]] = {}
    for block in re.split(r"\n\s*\n", (FOLDER / f"{language}.po").read_text(encoding="utf-8")):
        parts: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if found := re.match(r'(msg\w+(?:\[\d\])?)?\s*(".*")$', line):
                name = found[1] or name
                parts[name] = parts.get(name, "") + ast.literal_eval(found[2])
        if "msgid" in parts and not re.search(r"^#,.*\bfuzzy\b", block, re.M):
            entries[parts["msgid"]] = parts
    return {
        message: parts["msgstr"] if "msgstr" in parts else [
            message, parts["msgid_plural"], *(text for name, text in sorted(parts.items()) if "[" in name)
        ]
        for message, parts in entries.items()
    }  # fmt: skip


def compiled(entries: dict[str, str | list[str]]) -> bytes:
    """Write a catalogue in the binary form that Python's `gettext` reads."""
    pairs = []
    for message, text in entries.items():
        if isinstance(text, str):
            pairs.append((message.encode(), text.encode()))
        else:
            pairs.append(("\0".join(text[:2]).encode(), "\0".join(text[2:]).encode()))
    pairs = sorted((message, text) for message, text in pairs if text)
    tables, strings, start = [b"", b""], b"", 28 + 16 * len(pairs)
    for k in (0, 1):
        for pair in pairs:
            tables[k] += struct.pack("<2I", len(pair[k]), start + len(strings))
            strings += pair[k] + b"\0"
    head = struct.pack("<7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0)
    return head + tables[0] + tables[1] + strings
