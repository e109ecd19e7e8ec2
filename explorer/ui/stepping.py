"""The parts of a lesson on the screen: its text and pictures, the field to answer in, the live page, the votes."""

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
import streamlit as st

from explorer import language
from explorer.checkpoints import BundleError, root_folder
from explorer.language import say
from explorer.lessons import reading, voting
from explorer.lessons.material import Material
from explorer.lessons.reading import CLAIM, PICTURE, Choose, Lesson, LessonError, Point, Prediction, Step
from explorer.lessons.voting import REACH
from explorer.palette import class_colour, class_outline
from explorer.ui import catalog, components, loading, speaking
from explorer.ui.frame import View
from explorer.ui.kept import from_files, stamp
from explorer.ui.pictures import Strip, data_uri, look_of, show_legend, show_strips
from explorer.ui.text import as_text

TALL, TALL_ON_PHONES = 600, 560  # pixels of the page inside a step
OPTION_PIXELS = 148  # of a picture to choose: two beside each other on a phone


def lessons() -> dict[str, Lesson]:
    """Read all lessons that can be read, by key."""
    return {key: lesson for key, lesson in _all().items() if isinstance(lesson, Lesson)}


def broken() -> list[str]:
    """Say of each lesson that cannot be read what is wrong with it first."""
    return [said.splitlines()[0] for said in _all().values() if isinstance(said, str)]


def _all() -> dict[str, Lesson | str]:
    return {key: _read(path) for key, path in reading.shipped().items()}


@from_files(lambda path: stamp([str(path)]), max_entries=64)
def _read(path: Path) -> Lesson | str:
    try:
        return reading.read(path)
    except (LessonError, OSError) as error:
        return str(error)


def view_if_here(dataset: str) -> View | None:
    """Open a data set for a lesson; where it is not here, say so and give None."""
    root = root_folder()
    try:
        there = catalog.collection(root, dataset)
        return View(there, root, loading.gallery(there, root))
    except BundleError as error:
        st.info(
            say(
                "This is about {dataset}, which cannot be shown here. {error}",
                dataset=as_text(dataset),
                error=as_text(str(error)),
            )
        )
        return None


def view_of(dataset: str) -> View:
    """Open a data set for a lesson, or stop the page."""
    return view_if_here(dataset) or st.stop()


def dataset_of(lesson: Lesson, step: Step) -> str:
    """Name the data set of a step."""
    return step.shown.params.get("dataset", [lesson.dataset])[0]


def material_of(view: View) -> Material:
    """Make the material of a lesson from what the app has read."""
    return Material(view.dataset, view.bundle, view.bundle, lambda i: view.gallery.images[i], view.root)


@st.cache_resource(max_entries=256, show_spinner=False)
def _picture(_view: View, recipe: str, of: tuple[int, ...]) -> np.ndarray:
    return material_of(_view).picture(recipe)


def picture(view: View, recipe: str) -> np.ndarray:
    """Make a picture `(C, H, W)`, once for each state of the files."""
    models = [part for part in recipe.split("/") if part in view.models]
    return _picture(view, recipe, (view.gallery.reading, *(view.bundle(model).reading for model in models)))


def show_text(view: View, text: str) -> None:
    """Show a text of a lesson: Markdown without HTML, figures as they stand, neighbouring pictures in a row."""
    text = plain(text)
    row: list[tuple[str, str]] = []
    for part in re.split(r"(!\[[^\]\n]*\]\([^)\s]*\))", text):
        found = PICTURE.fullmatch(part)
        if found:
            row.append((found[2], found[1]))
        elif part.strip():
            _show_row(view, row)
            row = []
            st.markdown(part)
    _show_row(view, row)


def _show_row(view: View, row: Sequence[tuple[str, str]]) -> None:
    if row:
        images = np.stack([picture(view, recipe) for recipe, _ in row])
        show_strips([Strip("", images, [words for _, words in row])])


def question(step: Step) -> None:
    """Show what is asked."""
    st.markdown(f"### {plain(step.prediction.question)}")


def places(view: View, asked: Prediction) -> int:
    """Count the places of a curve; none of anything else."""
    return len(truth(view, asked)) if voting.is_curve(asked) else 0


def truth_of(lesson: Lesson, step: Step) -> Any:
    """Give what is right in a step; its data set is opened where that is needed."""
    if isinstance(step.prediction, Choose):
        return step.prediction.right
    return truth(view_of(dataset_of(lesson, step)), step.prediction)


def truth(view: View, asked: Prediction) -> Any:
    """Give what is right: the place of an option, a point, or the values of a curve."""
    if isinstance(asked, Choose):
        return asked.right
    if isinstance(asked, Point):
        return list(material_of(view).place(asked.plane, asked.image))
    return material_of(view).curve(asked.truth)[1]


def given(view: View, asked: Prediction, key: str) -> Any:
    """Give what was answered in the field with this key since it was drawn, or None."""
    if isinstance(asked, Choose):
        return st.session_state.pop(f"{key}-chosen", None)
    value = (st.session_state.get(key) or {}).get("value")
    return voting.accepted(asked, value, places(view, asked))


def answer_field(view: View, asked: Prediction, now: Any, key: str) -> None:
    """Let somebody answer. now: the answer so far, or None."""
    if isinstance(asked, Choose):
        _choices(view, asked, now, key)
        return
    if isinstance(asked, Point):
        show_legend(view.gallery.classes)
    components.sketch(_field(view, asked) | {"value": now, "open": True}, key=key)


def _choices(view: View, asked: Choose, now: int | None, key: str) -> None:
    def choose(k: int) -> None:
        st.session_state[f"{key}-chosen"] = k

    has_pictures = any(option.picture for option in asked.options)
    with st.container(horizontal=has_pictures, key=f"options-{key}"):
        for k, option in enumerate(asked.options):
            with st.container(width=OPTION_PIXELS if has_pictures else "stretch", gap="small", key=f"option-{key}-{k}"):
                if option.picture:
                    st.html(_image(picture(view, option.picture), option.text))
                look = "primary" if k == now else "secondary"
                st.button(plain(option.text), f"{key}-{k}", type=look, width="stretch", on_click=choose, args=(k,))


def pictures(view: View, asked: Prediction) -> None:
    """Show the options that are pictures."""
    shown = [option for option in asked.options if option.picture] if isinstance(asked, Choose) else []
    _show_row(view, [(option.picture, option.text) for option in shown])


def is_choice(step: Step) -> bool:
    """Whether one of some options is to be chosen."""
    return isinstance(step.prediction, Choose)


def unanswered(view: View, asked: Prediction, key: str) -> None:
    """Show what there is to choose from, or where to point or draw, without letting anybody."""
    if not isinstance(asked, Choose):
        if isinstance(asked, Point):
            show_legend(view.gallery.classes)
        components.sketch(_field(view, asked), key=key)
        return
    pictures(view, asked)
    st.markdown("\n".join(f"- {plain(option.text)}" for option in asked.options if not option.picture))


def plain(text: str) -> str:
    """Leave of each figure what the text says; one that is a sentence by itself begins no numbered list."""
    text = re.sub(rf"(?m)^({CLAIM.pattern})([.)])", lambda found: f"{found[1]}\\{found[found.re.groups]}", text)
    return CLAIM.sub(lambda claim: claim[1], text)


def _image(x: np.ndarray, words: str) -> str:
    return f'<img class="{look_of(x)}" src="{data_uri(x)}" alt="{escape(words)}">'


def _field(view: View, asked: Prediction) -> dict[str, Any]:
    """Describe the empty field of a point or curve for sketch.js."""
    classes = range(len(view.gallery.classes))
    field = {
        "name": plain(asked.question), "crowd": [], "truth": None, "value": None, "open": False, "dots": [],
        "colours": [class_colour(k) for k in classes], "outlines": [class_outline(k) for k in classes], "places": [],
    }  # fmt: skip
    if isinstance(asked, Point):
        codes = loading.codes(view.bundle(asked.plane))["codes"]
        others = [i for i in range(len(codes)) if i != asked.image]
        dots = [[*(round(float(v), 2) for v in codes[i]), int(view.gallery.labels[i])] for i in others]
        reach = [-REACH, REACH]
        return field | {"kind": "point", "axes": ["z₁", "z₂"], "x": reach, "y": reach, "dots": dots}
    texts = [language.number(x, "g") for x in material_of(view).curve(asked.truth)[0]]
    ends = {"x": [0, len(texts) - 1], "y": [asked.low, asked.high]}
    return field | {"kind": "curve", "axes": [asked.across, asked.up], "places": texts} | ends


def votes(view: View, asked: Prediction, found: Sequence[Any], title: str, solved: bool, key: str) -> None:
    """Show how votes fall, as bars, a cloud of points or a bundle of curves; where it is `solved`, what is right."""
    st.markdown(f"**{title}**")
    right = truth(view, asked) if solved else None
    if isinstance(asked, Choose):
        st.html(_bars(asked, voting.counts(asked, found), right))
        return
    crowd = [vote for vote in found if voting.accepted(asked, vote, places(view, asked)) is not None]
    components.sketch(_field(view, asked) | {"crowd": crowd, "truth": right}, key=key)
    if crowd and solved:
        far = sorted(voting.distance(asked, vote, right) for vote in crowd)
        st.caption(say("Half of them are nearer than {far:g} to what is true.", far=float(f"{far[len(far) // 2]:.2g}")))


def own_votes(view: View, asked: Prediction, pair: Sequence[Any], key: str) -> None:
    """Show what one predicted and saw beside what is so."""
    titles = (say("You predicted"), say("You saw"))
    if isinstance(asked, Choose):
        words = [voting.in_words(asked, own) + " ✓" * (own == asked.right) for own in pair]
        said = [f"{title} **{own}**." for title, own in zip(titles, words, strict=True) if own != voting.NOTHING]
        st.markdown(plain(" ".join([*said, say("It is **{text}**.", text=asked.options[asked.right].text)])))
        return
    shown = [(own, title) for own, title in zip(pair, titles, strict=True) if own is not None] or [
        (None, say("It is so"))
    ]
    for column, (own, title) in zip(st.columns(len(shown)), shown, strict=True):
        with column:
            st.markdown(f"**{title}**")
            components.sketch(_field(view, asked) | {"truth": truth(view, asked), "value": own}, key=f"{key}-{title}")


def _bars(asked: Choose, counted: Sequence[int], right: int | None) -> str:
    most, rows = max(1, *counted), []
    for k, (option, n) in enumerate(zip(asked.options, counted, strict=True)):
        mark = "✓ " if k == right else ""
        look = "lx-vote lx-right" if k == right else "lx-vote"
        rows.append(
            f'<div class="{look}"><span>{escape(mark + plain(option.text))}</span>'
            f'<i><b style="width:{100 * n / most:.1f}%"></b></i><span>{n}</span></div>'
        )
    return f'<div class="lx-votes">{"".join(rows)}</div>'


def live_page(lesson: Lesson, step: Step, tall: int) -> None:
    """Show the page of a step with its one control."""
    params = {"dataset": [dataset_of(lesson, step)], **step.shown.params}
    query = [(name, value) for name, values in params.items() for value in values]
    query += [("embed", "true"), ("live", step.shown.live), (speaking.NAME, language.current())]
    base = urlsplit(st.context.url or "").path.rpartition("/")[0]
    page = "" if step.shown.page == "overview" else step.shown.page
    st.iframe(f"{base}/{page}?{urlencode(query)}", height=tall)
