"""Every sentence that is shown is in the catalogues, translated, and is found where somebody forgot to say it."""

import ast
import re
import threading

import pytest
from babel.messages.pofile import read_po

from explorer import language
from explorer.checkpoints import BundleError
from explorer.language import __main__ as catalogues
from explorer.language import later, number, restated, say, speaking

OTHERS = [code for code in language.offered() if code != language.SOURCE]
PLACES = re.compile(r"%?\{[^{}]*\}")
MARKUP = re.compile(r"\*\*|`|<[^>]*>|\]\(|^#+")
TOLD = "trying"  # what is wrong with a lesson, told to its author by a command
DRAWN = ("app.py", "pages/", "explorer/ui/", "explorer/figures.py", "explorer/export/contents.py")
# what is said: the calls that mark it, and those who read no page
MARKED = {*catalogues.OF_CALLS, "Page"}
PHRASE = re.compile(r"[A-Za-zβσ]{2,}[,:.]? [a-z]{2,}")
CODE = re.compile(r"[=(){}<>;/_\\\"]|^from |\n")
LABELLED = {
    "button", "caption", "checkbox", "chart", "download_button", "error", "expander", "file_uploader", "header", "info",
    "form_submit_button", "markdown", "metric", "more", "multiselect", "named", "number_input", "page_link", "pills",
    "popover", "radio", "segmented_control", "select_slider", "selectbox", "slider", "subheader", "text_input", "title",
    "toggle", "warning",
}  # fmt: skip
SHOWN = {"label", "help", "placeholder", "title", "name", "alt"}
NAMES = re.compile(  # of things, values of options, a command, and what programs read
    r":material/\w+:|Latent-space explorer|^/home/me/pictures$|^top left$|^lx-vote lx-right$|^pages/\w+.py$"
    r"|^python train.py.*|^# nothing was measured yet$|^There is no such file, .*"
)
NO_TEXT = re.compile(  # what is said, comments, errors that programmers see, names of classes
    r"""\b(say|later)\(\s*"(?:[^"\\]|\\.)*"|^\s*(//|/?\*).*$|\s//.*$|\bError\([^)]*\)|\bclassName = .*;"""
    r"""|\belement\("\w+", [^,]*,|\bclass: .*""",
    re.M,
)
IN_SCRIPTS = re.compile(r"""(?<![\w$])("(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*`)""")


@pytest.fixture(scope="module")
def source():
    return catalogues.extracted()


@pytest.mark.parametrize("code", OTHERS)
def test_every_sentence_is_translated_and_none_is_stale(code, source):
    with (language.FOLDER / f"{code}.po").open("rb") as file:
        catalogue = read_po(file)
    wanted, there = ({message.id for message in found if message.id} for found in (source, catalogue))
    mend = "run `python -m explorer.language` and translate what is empty"
    assert wanted - there == set(), f"missing: {mend}"
    assert there - wanted == set(), f"no longer said: {mend}"
    assert not catalogue.obsolete, mend
    assert [m.id for m in catalogue if m.id and (m.fuzzy or not catalogues.translated(m.string))] == [], mend
    for message in (message for message in catalogue if message.id):
        said, *_ = [message.id] if isinstance(message.id, str) else message.id[1:]
        for text in [message.string] if isinstance(message.string, str) else message.string:
            assert set(PLACES.findall(text)) == set(PLACES.findall(said)), said
            assert sorted(MARKUP.findall(text)) == sorted(MARKUP.findall(said)), said
            assert (text[:1].isspace(), text[-1:].isspace()) == (said[:1].isspace(), said[-1:].isspace()), said
    assert catalogues.updated(code, source).get("English").string == language.offered()[code]


def unsaid(path):
    """List the literals of a file that a visitor might read, and that are not said."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    over = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}

    def around(node):
        while node := over.get(node):
            yield node

    def called(node):
        return getattr(node.func, "id", getattr(node.func, "attr", ""))

    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        above, text = list(around(node)), node.value
        outer = above[1] if isinstance(above[0], ast.JoinedStr) else above[0]
        inner = above[0] if isinstance(above[0], ast.JoinedStr) else node
        if isinstance(outer, ast.Dict) and inner in outer.keys:
            continue
        if isinstance(outer, ast.Expr | ast.Raise) or any(
            isinstance(one, ast.Raise | ast.FormattedValue) for one in above
        ):
            continue
        if any(isinstance(one, ast.Call) and called(one) in MARKED for one in above):
            continue
        text = NAMES.sub("", text)
        is_label = isinstance(outer, ast.Call) and called(outer) in LABELLED and outer.args[:1] == [inner]
        is_label |= isinstance(outer, ast.keyword) and outer.arg in SHOWN
        if (is_label and re.search(r"[A-Za-z]{3}", text)) or (PHRASE.search(text) and not CODE.search(text)):
            yield node.lineno, text


@pytest.mark.parametrize(
    "path",
    [p for p in catalogues.sources() if p.relative_to(catalogues.ROOT).as_posix().startswith(DRAWN) and p.stem != TOLD],
    ids=lambda path: path.name,
)
def test_what_is_shown_is_said(path):
    if path.suffix == ".py":
        assert list(unsaid(path)) == []
        return
    literals = IN_SCRIPTS.findall(NO_TEXT.sub("", path.read_text(encoding="utf-8")))
    words = {literal: re.sub(r"\$\{[^}]*\}", "", literal) for literal in literals}
    assert [
        one for one, text in words.items() if PHRASE.search(text) and not re.search(r"[=:;#]|sans-serif|^.\.", text)
    ] == []


def test_numbers_and_what_is_said_later_follow_the_language():
    size = later("{n:,} of {all:,} images are not there, {name} among them.", n=1234, all=5000.5, name="a.png")
    error = BundleError(
        later("{path} {reason}. Make it anew with: {command}", path="a", reason=later("is missing"), command="b")
    )
    assert say(size) == size == "1,234 of 5,000.5 images are not there, a.png among them."
    assert str(error) == "a is missing. Make it anew with: b"
    with speaking("id"):
        assert say(size) == "1.234 dari 5.000,5 gambar tidak ada, di antaranya a.png."
        assert say(str(error)) == "a tidak ada. Buat ulang dengan: b"
        assert number(-1234.5, ",.2f") == "-1.234,50"
        assert say("{kl:.1f} nats", kl=2) == "2,0 nat"
        assert say("a title of one's own") == "a title of one's own" and say("") == ""
    assert number(1234.5, ",.1f") == "1,234.5"


def test_a_word_of_any_language_is_restated_in_the_one_that_is_spoken():
    assert restated("Tas") == "Bag" and restated("conv-ae") == "conv-ae"
    with speaking("id"):
        assert restated("Bag") == restated("Tas") == "Tas"


@pytest.mark.parametrize(
    ("wanted", "code"),
    [("id-ID", "id"), ("id", "id"), ("en-US", "en"), ("tlh", "en"), ("", "en"), (None, "en"), ("ID_id", "id")],
)
def test_the_language_of_a_browser_is_taken_where_there_is_a_catalogue(wanted, code):
    assert language.best(wanted) == code


def test_a_language_without_a_catalogue_is_refused_and_threads_speak_for_themselves():
    with pytest.raises(ValueError, match="no catalogue of the language 'tlh', but of en, id"):
        language.speak("tlh")
    heard = []
    with speaking("id"):
        thread = threading.Thread(target=lambda: heard.append(language.current()))
        thread.start()
        thread.join()
        assert (language.current(), heard) == ("id", ["en"])
