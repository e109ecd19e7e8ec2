"""The fuzzer goes over every kind of input, and finds faults that are there."""

import contextlib
import io
import json
import os
import random
import signal

import numpy as np
import pytest

from benchmarks import fuzz, hostile, mutations
from benchmarks.hostile import KINDS, Ground
from explorer import celeba, images

FEW = {"uploads": 30, "bundles": 4, "families": 4, "tables": 30, "addresses": 4, "kills": 3, "strangers": 30}


def run(*arguments):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = fuzz.main(["--json", *map(str, arguments)])
    [line] = [json.loads(text) for text in out.getvalue().splitlines()]
    return code, line


@pytest.fixture(autouse=True)
def own_checkpoints(monkeypatch):
    """What the fuzzer sets for its own process is undone after the test."""
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", "nowhere")


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_inputs_of_each_kind_are_tried_and_counted(families_root, kind, monkeypatch):
    monkeypatch.setattr(hostile, "MOST_SECONDS", {"training": 2, "writing": 0.2})
    code, line = run("--only", kind, "--n", FEW[kind], "--checkpoints", families_root)
    assert line["opened"] + line["refused"] + line["failed"] == line["inputs"] == FEW[kind]
    assert (code, line["failed"]) == (0, 0), line["faults"]
    assert line["opened"] or kind in ("bundles", "families", "strangers")
    assert line["refused"] or kind in ("addresses", "kills")


def wrong_once(monkeypatch, wrong):
    """Let the reader of uploads do something wrong with the first picture that it gets."""
    read, count = images.read_picture, iter(range(1000))
    monkeypatch.setattr(images, "read_picture", lambda data: wrong() if next(count) == 0 else read(data))


def raise_an_error():
    raise KeyError("colours")


def refuse_without_words():
    raise images.ImageError("cannot identify image file <_io.BytesIO object at 0x7f8da7a5d800>")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (raise_an_error, "KeyError: 'colours'"),
        (refuse_without_words, "refused, but not in words"),
        (lambda: np.ones(800_000_000, np.uint8).sum(), "took"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "ended with code -9"),
    ],
    ids=["exception", "no words", "memory", "the end of the process"],
)
def test_a_fault_that_is_there_is_found_and_its_input_kept(monkeypatch, tmp_path, wrong, words):
    wrong_once(monkeypatch, wrong)
    code, line = run("--only", "uploads", "--n", 1, "--keep", tmp_path)
    assert (code, line["failed"]) == (1, 1)
    assert words in line["faults"][0]["fault"]
    [folder] = tmp_path.iterdir()
    assert {path.name for path in folder.iterdir()} == {"how.txt", "upload"}
    assert words in (folder / "how.txt").read_text(encoding="utf-8")


def test_what_comes_after_a_process_that_died_is_tried_in_another(monkeypatch):
    monkeypatch.setattr(images, "read_picture", lambda _: os.kill(os.getpid(), signal.SIGKILL))
    _, line = run("--only", "uploads", "--n", 3)
    assert line["failed"] == 3
    assert sum(fault["times"] for fault in line["faults"]) == 3


def test_a_table_taken_for_none_is_found(monkeypatch):
    monkeypatch.setattr(celeba.tables, "read", lambda *_: None)
    _, line = run("--only", "tables", "--n", 20)
    assert line["failed"] > 10


@pytest.mark.parametrize("name", ["uploads", "tables"])
def test_the_same_number_and_seed_make_the_same_input(tmp_path, name):
    kind = KINDS[name](Ground(tmp_path))
    kind.start()
    one, again, other = (kind.make(random.Random(seed)) for seed in ("1", "1", "2"))
    assert one == again != other


def test_damage_reaches_any_depth_of_a_json_file():
    data = b'{"a": {"b": [1, {"c": 2}]}, "d": 3}'
    words = {mutations.reshaped_json(data, random.Random(i))[0].split(" set")[0] for i in range(200)}
    assert words >= {"a", "d", "a.b", "a.b.0", "a.b.1.c", "without a.b.1.c", "everything"}
