"""Lessons as text files: what the reader takes and refuses, and that those shipped are true."""

import functools

import pytest

from explorer.checkpoints import root_folder
from explorer.lessons import checking, command, material, reading
from explorer.lessons.reading import Choose, Draw, LessonError, Point, read, shipped
from explorer.ui.trying import try_page

SHIPPED = shipped()
NAMES = ("autoencoders", "curious", "variational")
GOOD = """---
title: A lesson
minutes: 5
---
Hello.

## First
Look. {{1.3 = code("conv-ae") / pixels}} ![it](reconstruct/fc-ae/3)

```view
page: reconstruct
models: conv-ae; fc-ae
live: class
```

```predict
choose: Which?
- [ ] ![A](original/1)
- [x] a word
because: code("conv-ae") > pixels
```

### Reveal
It is **so**.

### Ask
Why?

## Second
```view
page: latent_plane
live: native
```
```predict
point: Where?
plane: conv-vae
image: 17
```
### Reveal
There.
### Ask
Why?

## Third
```view
page: denoise
live: level-gaussian
```
```predict
draw: How?
across: level
up: PSNR in dB, 0 to 40
truth: psnr conv-dae gaussian
```
### Reveal
Down.
### Ask
Why?
"""


@functools.cache
def there(dataset):
    return material.material(dataset, root_folder())


@pytest.fixture
def file(tmp_path):
    def write(text, name="made-up.en.md"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_lesson_is_read_whole(file):
    lesson = read(file(GOOD))
    assert (lesson.key, lesson.title, lesson.minutes, lesson.opening) == ("made-up.en", "A lesson", 5, "Hello.")
    first, second, third = lesson.steps
    assert isinstance(first.prediction, Choose) and first.prediction.right == 1
    assert [(option.text, option.picture) for option in first.prediction.options] == [
        ("A", "original/1"), ("a word", ""),
    ]  # fmt: skip
    assert first.shown == reading.Shown("reconstruct", {"models": ["conv-ae", "fc-ae"]}, "class")
    assert (first.reveal, first.ask) == ("It is **so**.", "Why?")
    assert second.prediction == Point("Where?", "conv-vae", 17)
    assert third.prediction == Draw("How?", "level", "PSNR in dB", 0, 40, ("psnr", "conv-dae", "gaussian"))
    assert checking.check(file(GOOD), there) == []


@pytest.mark.parametrize(
    ("there_", "instead", "line", "reason"),
    [
        ("minutes: 5", "minutes: five", 3, "whole number"),
        ("title: A lesson\n", "", 1, "needs 'title"),
        ("---\ntitle", "title", 1, "begins with '---'"),
        ("```view\npage: reconstruct", "```vue\npage: reconstruct", 7, "no block ```view"),
        ("live: class\n```", "live: class", 10, "no end"),
        ("live: class\n", "", 10, "no 'live"),
        ("- [x] a word", "- [ ] a word", 16, "0 options are marked [x]"),
        ("- [ ] ![A](original/1)", "- [x] ![A](original/1)", 16, "2 options are marked [x]"),
        ("- [ ] ![A](original/1)\n", "", 16, "there are 1 options"),
        ("- [ ] ![A](original/1)", "- A", 18, "an option is"),
        ("choose: Which?", "chose: Which?", 17, "'chose' means nothing here"),
        ("### Reveal\nIt is **so**.", "### Show\nIt is **so**.", 23, "is no part of a step"),
        ("### Ask\nWhy?\n\n## Second", "### Ask\n\n## Second", 26, "no '### Ask'"),
        ("up: PSNR in dB, 0 to 40", "up: PSNR in dB", 52, "two ends"),
        ("image: 17", "image: seventeen", 37, "number of a gallery image"),
        ("plane: conv-vae\n", "", 34, "'point' needs 'plane"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_form_is_said_with_its_line(file, there_, instead, line, reason):
    assert there_ in GOOD
    path = file(GOOD.replace(there_, instead, 1))
    with pytest.raises(LessonError) as error:
        read(path)
    assert any(said.startswith(f"{path}:{line}: ") and reason in said for said in str(error.value).splitlines())


@pytest.mark.parametrize(
    ("there_", "instead", "line", "reason"),
    [
        ("{{1.3", "{{1.4", 8, 'the text says 1.4, and code("conv-ae") / pixels is 1.30612'),
        ('code("conv-ae") / pixels', 'code("conv-be") / pixels', 8, "there is no model 'conv-be'"),
        ('code("conv-ae") / pixels', '__import__("os")', 8, "is not known"),
        ('code("conv-ae") / pixels', 'code("conv-ae") /', 8, "is no expression"),
        ('code("conv-ae") / pixels', 'figure("conv-ae", "nix")', 8, "cannot be computed"),
        ('because: code("conv-ae") > pixels', 'because: code("conv-ae") < pixels', 16, "that is not so"),
        ("(original/1)", "(original/1000000)", 16, "no number of a gallery image"),
        ("(reconstruct/fc-ae/3)", "(https://example.org/a.png)", 8, "no picture that a model makes"),
        ("(reconstruct/fc-ae/3)", "(reconstruct/fc-ae)", 8, "wrong number of parts"),
        ("- [x] a word", "- [x] ![B](original/1)", 16, "two options are the same"),
        ("plane: conv-vae", "plane: fc-ae", 34, "and a plane two"),
        ("0 to 40", "0 to 10", 49, "the axis does not"),
        ("psnr conv-dae gaussian", "psnr conv-dae rain", 49, "there is no noise 'rain'"),
        ("psnr conv-dae gaussian", "mse conv-dae", 49, "is no curve"),
        ("Hello.", "Hello <img src=x>.", 5, "HTML"),
        ("Hello.", "Hello [you](javascript:alert(1)).", 5, "does not begin with https"),
    ],
)
def test_what_is_not_true_is_said_with_its_line(file, there_, instead, line, reason):
    assert there_ in GOOD
    path = file(GOOD.replace(there_, instead, 1))
    said = checking.check(path, there)
    assert len([s for s in said if s.startswith(f"{path}:{line}: ") and reason in s]) == 1, said


def test_a_file_that_is_no_text_or_wrongly_named_is_refused_in_words(file, tmp_path):
    (tmp_path / "bytes.en.md").write_bytes(b"---\ntitle: \xff")
    assert checking.check(tmp_path / "bytes.en.md", there) == [f"{tmp_path / 'bytes.en.md'}:2: the text is not UTF-8"]
    assert "named like" in checking.check(file(GOOD, "lesson.txt"), there)[0]
    assert "No such file" in checking.check(tmp_path / "none.en.md", there)[0]


@pytest.mark.parametrize(("text", "language", "value", "half"), [
    ("1,024", "en", 1024, 0.5), ("1.024", "id", 1024, 0.5), ("0,25", "id", 0.25, 0.005), ("−0.03", "en", -0.03, 0.005),
])  # fmt: skip
def test_numbers_are_read_as_a_language_writes_them(text, language, value, half):
    assert checking.number(text, language) == pytest.approx((value, half))


def test_three_lessons_are_shipped_in_two_languages_alike():
    assert list(SHIPPED) == [f"{name}.{language}" for name in NAMES for language in ("en", "id")]
    for name in NAMES:
        english, indonesian = (read(SHIPPED[f"{name}.{language}"]) for language in ("en", "id"))
        assert len(english.steps) == len(indonesian.steps)
        for one, other in zip(english.steps, indonesian.steps, strict=True):
            assert one.shown == other.shown
            assert (one.lines.keys(), type(one.prediction)) == (other.lines.keys(), type(other.prediction))
            if isinstance(one.prediction, Choose):
                pictures = [[o.picture for o in step.prediction.options] for step in (one, other)]
                assert pictures[0] == pictures[1] and one.prediction.right == other.prediction.right
            texts = [step.text + step.prediction.question + step.reveal + step.ask for step in (one, other)]
            claims = [[claim[2] for claim in reading.CLAIM.findall(text)] for text in texts]
            assert sorted(claims[0]) == sorted(claims[1])
    assert len(read(SHIPPED["autoencoders.en"]).steps) >= 12


@pytest.mark.parametrize("key", SHIPPED)
def test_every_figure_and_picture_of_a_lesson_is_true(key):
    assert checking.check(SHIPPED[key], there) == []


@pytest.mark.wide
@pytest.mark.parametrize("name", NAMES)
def test_every_page_of_a_lesson_opens_with_its_control(name):
    assert checking.check(SHIPPED[f"{name}.en"], there, try_page) == []


def test_the_command_names_what_is_wrong_and_ends_with_one(file, capsys):
    wrong = {
        "page: reconstruct": "page: rebuild",
        "live: native": "live: naive",
        "live: level-gaussian": "live: noise_seed",
    }
    path = file(functools.reduce(lambda text, part: text.replace(part, wrong[part]), wrong, GOOD))
    assert command.main(["check", str(path)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"{path}:10: there is no page 'rebuild'; there are: overview, ")
    assert said[1] == f"{path}:30: the page latent_plane has no control 'naive' as it is shown"
    assert said[2].endswith("the control 'noise_seed' of the page denoise lies in a menu, which a lesson does not show")
    assert command.main(["check", "--no-pages", str(path)]) == 0
