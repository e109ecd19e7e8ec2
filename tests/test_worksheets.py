"""Worksheets: numbers by seed, answers from the bundles, marks offline; and the notebook, which runs."""

import functools
import json
import math
import random
import subprocess
import sys
from pathlib import Path

import pytest

from explorer.checkpoints import root_folder
from explorer.lessons import command, exercises, material
from explorer.lessons.exercises import WorksheetError

ROOT = Path(__file__).parent.parent


@functools.cache
def there(dataset=exercises.DATASET):
    return material.material(dataset, root_folder())


def filled(text, language, answers):
    for n, answer in answers.items():
        written = f"{answer:.6g}".replace(".", ",") if language == "id" else f"{answer:.6g}"
        assert f"answer_{n} = " in text
        text = text.replace(f"answer_{n} = \n", f"answer_{n} = {written}\n")
    return text


@pytest.mark.parametrize("language", ["en", "id"])
def test_twelve_exercises_differ_by_seed_and_are_marked_by_the_bundles(language):
    one, other = (exercises.exercises(there(), seed, language) for seed in (1, 2))
    assert len(one) == 12
    assert sum(a.answer != b.answer for a, b in zip(one, other, strict=True)) >= 9
    assert one == exercises.exercises(there(), 1, language)
    assert not any("{" in exercise.text for exercise in one)
    text = exercises.worksheet(there(), 1, language)
    answers = {n: exercise.answer for n, exercise in enumerate(one, 1)}
    assert all(mark.right for mark in exercises.mark(filled(text, language, answers).encode(), there))
    wrong = {n: answer * 1.2 + 3 for n, answer in answers.items()}
    assert not any(mark.right for mark in exercises.mark(filled(text, language, wrong).encode(), there))
    assert [mark.given for mark in exercises.mark(text.encode(), there)] == [None] * 12


def test_some_answers_as_they_are_worked_out_by_hand():
    numbers, answer = exercises._kl(there(), random.Random(5))
    a, b, c, d = (numbers[name] for name in "abcd")
    assert answer == pytest.approx(0.5 * (a * a + b * b + math.exp(c) + math.exp(d) - 2 - c - d))
    numbers, answer = exercises._halfway(there(), random.Random(5))
    a, b, cos = (numbers[name] for name in ("a", "b", "cos"))
    assert answer == pytest.approx(math.sqrt(a * a + b * b + 2 * a * b * cos) / 2, rel=1e-4)


@pytest.mark.parametrize("content", [
    b"", b"\xff\xfe", b"{", b"[1]", b'{"cells": 3}', b"answer_1 = 3", b"worksheet: seed 99, language xx",
    b"{" * 100_000, b"x" * 6_000_000, b'{"cells": [{"source": 5}]}',
])  # fmt: skip
def test_what_is_no_worksheet_is_refused_in_words(content):
    with pytest.raises(WorksheetError):
        exercises.mark(content, there)


@pytest.mark.parametrize("answer", ["1e999", "nan", "inf", "0x10", "1_000", "__import__('os')", "9" * 400, "١"])
def test_what_is_no_number_is_no_answer(answer):
    text = exercises.worksheet(there(), 3, "en").replace("answer_1 = ", f"answer_1 = {answer}")
    assert exercises.mark(text.encode(), there)[0].given is None


def test_a_notebook_is_marked_like_a_worksheet(tmp_path, capsys):
    text = exercises.notebook(there(), 4, "en")
    book = json.loads(text)
    assert (book["nbformat"], len({cell["id"] for cell in book["cells"]})) == (4, len(book["cells"]))
    ratio = exercises.exercises(there(), 4, "en")[0].answer
    path = tmp_path / "mine.ipynb"
    path.write_text(text.replace("answer_1 = None", f"answer_1 = {ratio}"), encoding="utf-8")
    assert command.main(["grade", str(path)]) == 0
    assert f"{path}: 1 of 12 right" in capsys.readouterr().out
    assert command.main(["grade", str(tmp_path / "none.md")]) == 1
    assert "No such file" in capsys.readouterr().err


@pytest.mark.wide
@pytest.mark.parametrize("language", ["en", "id"])
def test_the_notebook_runs_from_top_to_bottom(language, tmp_path):
    cells = json.loads(exercises.notebook(there(), 7, language))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "0 of 12 answers are there\n"
