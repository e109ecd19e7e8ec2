"""The tables beside the faces: which part an image is of, what is in the face, and whose it is.

A table is a file of the official archive (blanks between the columns, no header or one without a column for the
names), of Kaggle's (CSV), or one that a spreadsheet or pandas saved: tab, `;`, `|` or comma between the columns, UTF-8
or UTF-16, an index column, `1.0` or `True` for 1. It is read right, or an error says where it cannot be.
"""

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from explorer.celeba.folder import ENDINGS, FacesError, Unclear, listed, match

ATTRIBUTES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose",
    "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses",
    "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache",
    "Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks",
    "Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick",
    "Wearing_Necklace", "Wearing_Necktie", "Young",
)  # fmt: skip
UNKNOWN = -1
BLANK = -2  # of an attribute, where -1 may mean that a face has it not
BLANKS = {"", "nan", "na", "n/a", "null", "none", "?"}
INDEX = {"", "index", "unnamed_0"}  # what pandas writes above its own
NAMES = {"image_id", "image", "image_name", "img", "file", "filename", "file_name", "name", "path"}  # a header's word
PARTS = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "dev": 1, "test": 2, "testing": 2}
ANSWERS = {"true": 1, "t": 1, "yes": 1, "y": 1, "false": 0, "f": 0, "no": 0, "n": 0}
SAMPLE = 20  # lines that tell how the columns are parted
BETWEEN = '\t\n ,;|"'  # what a line without content may hold


@dataclass(frozen=True, eq=False)
class Kind:
    """What a table is called and what it says of an image.

    columns: words a header may use, in lower case with `_` between them, and what we call the column.
    number(cell): what a cell says, as a whole number; raises ValueError. expected: what a row is.
    """

    name: str
    columns: dict[str, str]
    number: Callable[[str], int]
    expected: str


@dataclass(frozen=True)
class Table:
    """Rows of a table: `lines[i]` of the file says `values[i]`, int64 `(R, len(columns))`, of the image `names[i]`.

    count: how many rows the file says it has, or None.
    """

    path: Path
    columns: tuple[str, ...]
    names: tuple[str, ...]
    lines: tuple[int, ...]
    values: np.ndarray
    count: int | None

    def rows_of(self, images: Sequence[str]) -> np.ndarray:
        """Find the row of each image: int64 `(len(images),)`, -1 where none names it.

        Raises:
            FacesError: no row names any, or names without their endings leave open which row is whose.
        """
        try:
            rows = match(images, self.names)
        except Unclear as error:
            line = self.lines[self.names.index(error.theirs[0])]
            raise FacesError(
                f"{self.path}, line {line}, is ambiguous: it names {listed(error.theirs)}, the folder holds "
                f"{listed(error.mine)}. Remove or rename one of them, or name the files in full in the table."
            ) from error
        if (rows < 0).all():
            raise FacesError(
                f"{self.path}, line {self.lines[0]}: neither this row, of {listed(self.names[:1])}, nor any other "
                f"names one of the {len(images):,} images, such as {listed(images[:1])}. Correct the names, or remove "
                "the file to do without it."
            )
        return rows

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd about the file, in sentences."""
        if self.count in (None, len(self.names)):
            return ()
        said = f"{self.path.name} says in its first line that it has {self.count:,} rows"
        return (f"{said}, but {len(self.names):,} follow.",)


def _whole(cell: str) -> int:
    """Read 1, +1, 1.0, 1e0, a spreadsheet's 1,0 or a typographer's minus."""
    text = cell.strip().replace("−", "-")
    if "," in text:
        text = re.sub(r",00?$", "", text)
    try:
        value = float(text.replace("_", " "))  # Python would read 0_1 as 1
    except ValueError:
        value = math.nan
    if not (abs(value) < 2**53 and value.is_integer()):  # above that floats are not exact
        raise ValueError(f"{_shown(cell)} is no whole number")
    return int(value)


def _part(cell: str) -> int:
    word = cell.strip().casefold()
    part = PARTS[word] if word in PARTS else _whole(word)
    if part not in (0, 1, 2):
        raise ValueError(f"{_shown(cell)} is a part other than 0, 1 and 2")
    return part


def _answer(cell: str) -> int:
    """Read an attribute: 1, -1 or 0, or `BLANK`."""
    word = cell.strip().casefold()
    if word in BLANKS:
        return BLANK
    answer = ANSWERS[word] if word in ANSWERS else _whole(word)
    if answer not in (-1, 0, 1):
        raise ValueError(f"{_shown(cell)} is neither 1 nor -1 nor 0")
    return answer


def _person(cell: str) -> int:
    word = cell.strip().casefold()
    if word in BLANKS:
        return UNKNOWN
    if (person := _whole(word)) < 0:
        raise ValueError(f"{_shown(cell)} is below 0")
    return person


def _shown(cell: str) -> str:
    return repr(cell if len(cell) <= 60 else f"{cell[:60]}…")


def _plain(word: str) -> str:
    return re.sub(r"[\W_]+", "_", word.strip().casefold())


PARTITION = Kind(
    "list_eval_partition",
    dict.fromkeys(("partition", "part", "split", "subset", "set"), "partition"),
    _part,
    "the name of an image and its part: 0 (train), 1 (validation) or 2 (test)",
)
ATTRIBUTE = Kind(
    "list_attr_celeba",
    {_plain(name): name for name in ATTRIBUTES},
    _answer,
    "a header of CelebA's attributes, then the name of an image and 1 or -1 for each column",
)
IDENTITY = Kind(
    "identity_CelebA",
    dict.fromkeys(("identity", "identity_celeba", "person", "person_id", "celebrity"), "identity"),
    _person,
    "the name of an image and the number of a person",
)


def read(paths: Sequence[Path], kind: Kind) -> Table | None:
    """Read the one of `paths` that is a table of this kind and holds rows; None where no path is called like it.

    Raises:
        FacesError: it cannot be read, holds nothing, has another ending, or there are two that do not say the same.
    """
    name = kind.name.casefold()
    called = [path for path in paths if path.name.casefold().startswith(name)]
    whole, problems = [], []
    for path in called:
        if path.name.casefold() not in {name + ending for ending in ("", ".txt", ".csv", ".tsv")}:
            problems.append(f"{path} is not called {kind.name}.txt or {kind.name}.csv, as a table of this kind is")
        elif not path.is_file():
            problems.append(f"{path} is no file, or a link to nothing")
        elif (table := parse(_content(path), path, kind)).names:
            whole.append(table)
        else:
            problems.append(f"{path} holds no row")
    if called and not whole:
        raise FacesError(f"{problems[0]}. Expected there: {kind.expected}. Mend it, or remove it to do without.")
    for other in whole[1:]:
        if _said(whole[0]) != _said(other):
            raise FacesError(f"{whole[0].path} and {other.path} do not say the same. Remove one of them.")
    return whole[0] if whole else None


def own(path: Path) -> Table:
    """Read a table of attributes with any names: a header, names of images first, then yes or no in each column.

    Raises:
        FacesError: what is wrong in which line, and what was expected.
    """
    content = _content(path)
    expected = Kind("attributes", {}, _answer, "a header, then the name of an image and yes or no for each column")
    lines, _ = _lines(_text(content, path, expected))
    first = next((line for line in lines if line.strip(BETWEEN)), "")
    header = next(_csv([first], max("\t;|,", key=first.count)), [])
    cells = [cell.strip() for cell in header if cell.strip()]
    columns = {_plain(cell): cell for cell in cells[1:] if _plain(cell) not in NAMES}
    if not columns:
        raise _wrong(path, 1, "it names no attribute", expected)
    table = parse(content, path, replace(expected, columns=columns))
    if not table.names:
        raise _wrong(path, 1, "no row follows", expected)
    return table


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FacesError(f"{path} cannot be read ({error.strerror}). Mend that, or move it away.") from error


def _said(table: Table) -> dict[str, dict[str, int]]:
    rows = zip(table.names, table.values.tolist(), strict=True)
    return {name: dict(zip(table.columns, row, strict=True)) for name, row in rows}


@lru_cache(maxsize=8)  # the splits of a data set are read one after the other, from the same files
def parse(content: bytes, path: Path, kind: Kind) -> Table:
    """Read the content of a table, without rows where it is empty; `path` is for messages.

    Raises:
        FacesError: what is wrong in which line, and what was expected.
    """
    lines, count = _lines(_text(content, path, kind))
    layout, rows = _rows(lines, path, kind)
    columns, places = tuple(layout.columns.values()), tuple(layout.columns)
    number = cache(kind.number)
    names: dict[str, int] = {}  # and the row
    numbers, values = [], []
    for line, name, cells in rows:
        try:
            said = [number(cells[place]) for place in places]
        except ValueError as error:
            raise _wrong(path, line, str(error), kind) from error
        if name not in names:
            names[name] = len(values)
            numbers.append(line)
            values.append(said)
        elif said != values[names[name]]:
            first = numbers[names[name]]
            raise _wrong(path, line, f"it contradicts line {first}, which is of {listed([name])}, too", kind)
    table = np.array(values, dtype=np.int64).reshape(len(values), len(columns))
    if kind.number is _answer:
        table = _answers(table, columns, numbers, path)
    return Table(path, columns, tuple(names), tuple(numbers), table, count)


def _answers(values: np.ndarray, columns: Sequence[str], lines: Sequence[int], path: Path) -> np.ndarray:
    """Turn 1 and -1, or 1 and 0, and `BLANK` into 1, 0 and `UNKNOWN`."""
    both = (values == 0).any(axis=0) & (values == -1).any(axis=0)
    if both.any():
        column = int(both.argmax())
        zero, minus = (lines[int((values[:, column] == value).argmax())] for value in (0, -1))
        raise FacesError(
            f"{path}: of {columns[column]} line {zero} says 0 and line {minus} says -1, so that it is open which means "
            "that a face has it not. Expected: 1 and -1, or 1 and 0; leave blank what is unknown."
        )
    return np.select([values == 1, values == BLANK], [1, UNKNOWN], 0)


def _wrong(path: Path, line: int, found: str, kind: Kind) -> FacesError:
    return FacesError(
        f"{path}, line {line}, cannot be read: {found}. Expected there: {kind.expected}. Correct it, unpack the file "
        "anew, or remove it to do without."
    )


def _text(content: bytes, path: Path, kind: Kind) -> str:
    """Decode UTF-8, or the UTF-16 or UTF-32 that spreadsheets save; byte-order marks are dropped."""
    if content.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        encoding = "utf-32"
    elif content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif b"\0" in content[:4]:
        encoding = "utf-16-be" if content.startswith(b"\0") else "utf-16-le"
    else:
        encoding = "utf-8"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _wrong(path, line, f"its text is not {encoding.upper()} (save it as UTF-8)", kind) from error
    if "\0" in text:
        raise _wrong(path, text[: text.index("\0")].count("\n") + 1, "it is no text", kind)
    return text.replace("\ufeff", "")


def _lines(text: str) -> tuple[list[str], int | None]:
    """Part the text into lines, blank the number of rows and Excel's `sep=;` before the first row; that number."""
    lines = list(io.StringIO(text, newline=None))  # any line end becomes \n
    count = None
    for i, line in enumerate(lines):
        words = re.findall(r"[^\s,;|\"]+", line)
        if len(words) == 1 and words[0].isdecimal() and count is None:
            count = int(words[0])
        elif words and not re.fullmatch(r"\s*\"?sep=.\"?\s*", line, re.IGNORECASE):
            break
        lines[i] = "\n"
    return lines, count


@dataclass(frozen=True)
class _Layout:
    """The cells of a header, or None; in which cell the name stands; what other cells say; how many cells there are."""

    header: list[str] | None
    named: int
    columns: dict[int, str]
    width: int


def _rows(lines: list[str], path: Path, kind: Kind) -> tuple[_Layout, Iterator[tuple[int, str, list[str]]]]:
    """Find the layout, and go through the rows: number of the line, name of the image, and cells."""
    sample = [line for line in lines if line.strip(BETWEEN)][:SAMPLE]
    if not sample:
        return _Layout(None, 0, {}, 0), iter(())
    delimiter = _delimiter(sample, kind)
    try:
        if delimiter is None:
            layout = _layout_of_text(sample[0], kind)
            parted = (line.rsplit(None, layout.width - 1) for line in lines)  # from the right: names may hold blanks
            records = enumerate(parted, start=1)
        else:
            layout = _layout_of_csv(list(_csv(sample, delimiter)), kind)
            records = _records(lines, delimiter, path, kind)
    except LookupError as error:
        raise _wrong(path, lines.index(sample[0]) + 1, error.args[0], kind) from error
    return layout, _checked(records, layout, path, kind)


def _csv(lines: list[str], delimiter: str, strict: bool = False) -> Iterator[list[str]]:
    return csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=strict)


def _records(lines: list[str], delimiter: str, path: Path, kind: Kind) -> Iterator[tuple[int, list[str]]]:
    reader = _csv(lines, delimiter, strict=True)
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise _wrong(path, reader.line_num, str(error), kind) from error


def _checked(
    records: Iterable[tuple[int, list[str]]], layout: _Layout, path: Path, kind: Kind
) -> Iterator[tuple[int, str, list[str]]]:
    for line, cells in records:
        if cells == layout.header or not any(map(str.strip, cells)):
            continue
        if len(cells) < layout.width or any(map(str.strip, cells[layout.width :])):
            raise _wrong(path, line, f"{len(cells)} columns instead of {layout.width}", kind)
        name = cells[layout.named].strip().replace("\\", "/").rpartition("/")[2].strip('"')
        if not name or "\n" in name or (not _is_picture(name) and any(map(_is_picture, name.split()))):
            raise _wrong(path, line, f"{_shown(name)} is no name of an image", kind)
        yield line, name, cells


def _delimiter(sample: list[str], kind: Kind) -> str | None:
    """Choose what parts the columns so that most rows can be read; None for blanks.

    csv.Sniffer counts signs without knowing what a row says: it parts `1.jpg;1,0` at the comma.
    """

    def readable(delimiter: str | None) -> int:
        if delimiter is None:
            rows = [line.split()[1:][-1:] for line in sample]
        else:
            rows = [row if len(row) > 1 else [] for row in _csv(sample, delimiter)]
        return sum(any(_says_something(cell, kind) for cell in row) for row in rows)

    best = max(("\t", ";", "|", ",", None), key=readable)  # of equals the first
    return best if readable(best) else next((sign for sign in "\t;|," if sign in sample[0]), None)


def _says_something(cell: str, kind: Kind) -> bool:
    if cell.strip().casefold() in BLANKS:
        return False
    try:
        kind.number(cell)
    except ValueError:
        return False
    return True


def _is_picture(cell: str) -> bool:
    return cell.strip(' "').casefold().endswith(ENDINGS)


def _is_header(cells: list[str], kind: Kind) -> bool:
    return not any(_is_picture(cell) or _says_something(cell, kind) for cell in cells)


def _columns(header: list[str], kind: Kind) -> dict[int, str]:
    columns = {i: kind.columns[_plain(cell)] for i, cell in enumerate(header) if _plain(cell) in kind.columns}
    if not columns:
        raise LookupError(f"{_shown(' '.join(header))} names no column of this table")
    if twice := [name for name, n in Counter(columns.values()).items() if n > 1]:
        raise LookupError(f"{listed(twice)} is the name of two columns")
    return columns


def _layout_of_text(first: str, kind: Kind) -> _Layout:
    """Find the layout from the first line: the official one has no header, or one without a word for the names."""
    words = first.split()
    if not _is_header(words, kind):
        return _headless(0, kind)
    columns = _columns(words[1:] if _plain(words[0]) in NAMES else words, kind)
    width = len(words) + (_plain(words[0]) not in NAMES)
    return _Layout(first.rsplit(None, width - 1), 0, {place + 1: name for place, name in columns.items()}, width)


def _headless(named: int, kind: Kind) -> _Layout:
    if kind.number is _answer:
        raise LookupError("no header names the columns")
    return _Layout(None, named, {named + 1: next(iter(kind.columns.values()))}, named + 2)


def _layout_of_csv(rows: list[list[str]], kind: Kind) -> _Layout:
    """Find the layout from the first rows: an index column may stand before the names, with or without a header."""
    header, *body = rows
    pictures = Counter(place for row in rows for place, cell in enumerate(row) if _is_picture(cell))
    shown = pictures.most_common(1)[0][0] if pictures else None  # where names of pictures are seen
    if not _is_header(header, kind):
        return _headless(shown or 0, kind)
    words = [_plain(cell) for cell in header]
    while not words[-1]:
        words.pop()
    columns = _columns(header, kind)
    named = next((place for place, word in enumerate(words) if word in NAMES), None)
    longer = bool(body) and any(map(str.strip, body[0][len(words) : len(words) + 1]))  # a cell without a header
    if named is None:
        free = [place for place, word in enumerate(words) if place not in columns]
        free.sort(key=lambda place: words[place] in INDEX)
        named, shift = (0, 1) if longer else (free[0] if free else 0, 0)
        named = named if shown is None else shown
    else:
        shift = int(longer and shown == named + 1)
        named += shift
    columns = {place + shift: name for place, name in columns.items()}
    if named in columns:
        raise LookupError("no column holds the names of the images")
    return _Layout(header, named, columns, len(words) + shift)
