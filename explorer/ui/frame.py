"""The frame of every page: page table, title, question, pickers, navigation, caption and code.

A page says what it asks in `PAGE`, begins with `view = begin(PAGE)` and ends with `finish(caption, code)`. Links
between pages carry the shared choices, so that a choice survives a switch and every view is a link.
"""

import ast
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import streamlit as st
from streamlit.errors import StreamlitAPIException

from explorer.cards import DataCard, ModelCard
from explorer.checkpoints import Bundle, BundleError, root_folder
from explorer.datasets import DATASETS, Dataset
from explorer.families import FamilyBundle
from explorer.language import later, say
from explorer.ui import address, catalog, collector, components, loading, speaking
from explorer.ui.catalog import Collection
from explorer.ui.downloading import download
from explorer.ui.naming import named
from explorer.ui.opening import Opened, OpenedFamily, opened, opened_family
from explorer.ui.text import as_text

BOUND = {"bind": "query-params"}
SHARED = (speaking.NAME, "dataset", "models", "model", "pick")
LECTURE = later(
    "Hides all but the control, the picture and one line, in large type. The arrow keys, Page Down and Page Up (which "
    "a presenter's clicker sends) go to the next page and back."
)
ROOT = Path(__file__).parent.parent.parent
STYLE, STYLE_OF_LECTURE = (Path(__file__).with_name(name) for name in ("style.css", "lecture.css"))
STYLE_OF_ONE, STYLE_OF_LESSON = (Path(__file__).with_name(name) for name in ("one.css", "lesson.css"))
ICON = Path(__file__).with_name("icon.png")  # a named icon would be fetched from a font server

P = ParamSpec("P")


@dataclass(frozen=True)
class Page:
    """One page: what it is called, what it asks and what to look for. Its file is named like its title.

    place: its order among all. fits: whether it makes sense for images and models that there are; needs: what it
    takes, in words. control, picture: the main control and the picture that it changes, as CSS selectors, for tests;
    also of parts of components.
    """

    title: str
    icon: str
    section: str
    place: int
    question: str
    look_for: str
    fits: Callable[[Collection], bool] = lambda there: bool(there.models)
    needs: str = later("a model that stands for itself")
    control: str = ".st-key-control"
    picture: str = ".st-key-picture"

    @property
    def key(self) -> str:
        """The name by which links and tests know it."""
        return self.title.lower().replace(" ", "_")

    @property
    def file(self) -> str:
        """The path of its file in the project."""
        return f"pages/{self.key}.py" if self.section else "app.py"


def _described(path: Path) -> Page:
    """Read what a page says of itself, `PAGE = Page(...)` in its file, without running the file."""
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "PAGE":
            return eval(compile(ast.Expression(statement.value), path, "eval"), {"Page": Page})
    raise ValueError(f"{path} has no PAGE = Page(...), which says what it asks and where it stands")


def _pages() -> dict[str, Page]:
    found = [_described(path) for path in (ROOT / "app.py", *(ROOT / "pages").glob("*.py"))]
    return {page.key: page for page in sorted(found, key=lambda page: page.place)}


PAGES = _pages()


@dataclass(frozen=True)
class View:
    """What a page is about: a data set with its models, where the bundles are, and the gallery images.

    opened: the bundles that were asked for, as they were then; a page never sees two states of one.
    """

    shown: Collection
    root: Path
    gallery: loading.Gallery
    opened: dict[str, Opened | OpenedFamily] = field(default_factory=dict, repr=False)

    @property
    def dataset(self) -> DataCard:
        """What the images are."""
        return self.shown.images

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models that there are."""
        return tuple(self.shown.models)

    @property
    def autoencoders(self) -> tuple[str, ...]:
        """The names of those that have a decoder."""
        return self.shown.autoencoders

    def card(self, model: str) -> ModelCard:
        """Give what a model says of itself."""
        return self.shown.models[model]

    @property
    def classifier(self) -> Opened | None:
        """The bundle of the classifier, if there is one that can be used."""
        return self._usable(self.shown.classifier)

    @property
    def native(self) -> Opened | None:
        """The bundle of the model whose code is a plane, if there is one that can be used."""
        return self._usable(self.shown.native)

    def _usable(self, model: str | None) -> Opened | None:
        return None if model is None or self.bundle(model).problem else self.bundle(model)

    def family(self, dial: str) -> OpenedFamily:
        """Give the family with such a dial, read whole; stop the page where it cannot be used."""
        name = self.shown.family(dial)
        found = self.bundle(name)
        if found.problem:
            title = as_text(self.shown.families[name].title)
            st.warning(
                f"{say('**{title}** cannot be shown.', title=title)} {as_text(found.problem)}",
                icon=":material/broken_image:",
            )
            st.stop()
        return found

    def bundle(self, model: str) -> Opened:
        """Give the bundle of one model on this data set, read whole."""
        if model not in self.opened:
            self.opened[model] = self._read(model)
        return self.opened[model]

    def is_current(self) -> bool:
        """Whether the files are still those that this view was read from."""
        try:
            gallery = loading.gallery(self.shown, self.root)
            if catalog.collection(self.root, self.dataset.name) != self.shown:
                return False
        except BundleError:
            return False
        return gallery is self.gallery and all(self._read(model) is there for model, there in self.opened.items())

    def _read(self, model: str) -> Opened | OpenedFamily:
        if model in self.shown.families:
            family = FamilyBundle(self.dataset.name, model, self.root)
            return opened_family(family, self.dataset, len(self.gallery))
        return opened(Bundle(self.dataset.name, model, self.root), self.dataset, len(self.gallery))


def fragment(draw: Callable[Concatenate[View, P], Any]) -> Callable[Concatenate[View, P], Any]:
    """Decorate a part of a page as `st.fragment`; where files have changed since, the whole page runs anew."""

    @st.fragment
    @functools.wraps(draw)
    def again(drawn: list[bool], view: View, *args: P.args, **kwargs: P.kwargs) -> Any:
        speaking.again()
        if drawn and not view.is_current():
            st.rerun()
        drawn.append(True)
        return draw(view, *args, **kwargs)

    return functools.wraps(draw)(lambda view, *args, **kwargs: again([], view, *args, **kwargs))


def begin(page: Page, empty: Callable[[Path], None] = lambda root: None) -> View:
    """Set the page up and draw everything above its own controls; stop where there is nothing to show.

    empty: draws what there is to do about it, where no model was fitted.
    """
    collector.settle()
    speaking.settle()
    st.set_page_config(f"{say(page.title)} · Latent-space explorer", ICON, layout="wide", initial_sidebar_state=250)
    st.html(STYLE)
    leave_one_control()
    if (understood := address.understood()) is not None:
        begin_anew(page, understood)
    root = root_folder()
    st.session_state["arrived"] = st.session_state.get("page") != page.key
    st.session_state["page"] = page.key
    with st.sidebar:
        there = pick_collection(root, page)
        pick_lecture()
        speaking.pick()
        navigation(there)
        st.caption(say("Licence of the images: {licence}", licence=as_text(there.images.licence)))
    heading(page, there)
    if not (there.models or there.families):
        command = f"python train.py --dataset {there.images.name}"
        st.info(
            say(
                "No model has been fitted on {title} yet. Fit them all with `{command}`.",
                title=as_text(there.images.title),
                command=command,
            )
        )
        empty(root)
        st.stop()
    if not page.fits(there):
        point_elsewhere(page, there, root)
        st.stop()
    try:
        gallery = loading.gallery(there, root)
    except BundleError as error:
        st.error(as_text(str(error)))
        st.stop()
    if gallery.notice:
        stand_in_notice(there.images.source, gallery)
    return View(there, root, gallery)


def leave_one_control() -> None:
    """Hide all but the pictures and the one control that the address names as `live`, for a page inside a lesson."""
    [key] = address.texts("live")[:1] or [""]
    if re.fullmatch(r"[A-Za-z0-9_-]{1,100}", key):
        st.html(f"<style>{STYLE_OF_ONE.read_text(encoding='utf-8').replace('KEY', key)}</style>")


def bare(title: str, wide: bool = True) -> None:
    """Set a page up that draws all by itself, without title and question; it ends with its own links."""
    collector.settle()
    speaking.settle()
    st.set_page_config(
        f"{say(title)} · Latent-space explorer", ICON, layout="wide" if wide else "centered",
        initial_sidebar_state="collapsed",
    )  # fmt: skip
    st.html(STYLE)
    st.html(STYLE_OF_LESSON)


def heading(page: Page, there: Collection) -> None:
    """Draw the title and the question in one line, and below it what to look for."""
    is_lecture = bool(st.session_state["kept_lecture"])
    if is_lecture:
        st.html(STYLE_OF_LECTURE)
    keys = [shown.key for shown in pages_for(there)]
    place = keys.index(page.key) + 1 if page.key in keys else 0
    components.stage({"lecture": is_lecture, "place": place, "places": len(keys)})
    with st.container(key="head", horizontal=True, vertical_alignment="center", gap="small"):
        st.title(say(page.title), anchor=False, width="content")
        st.markdown(say(page.question), width="content")
    with st.container(key="look"):
        st.markdown(f"**{say('Look for this.')}** {say(page.look_for)}")


def begin_anew(page: Page, params: dict[str, list[str]]) -> None:
    """Run a page with another address, or offer to where Streamlit does not let it be changed."""
    try:
        st.switch_page(page.file, query_params=params)
    except StreamlitAPIException:  # a visitor went back to this address from one whose controls are there already
        st.info(say("This address holds a value that no control can take."))
        st.page_link(page.file, label=say("Open the page without it"), icon=page.icon, query_params=params)
        st.stop()


def pick_lecture() -> None:
    """Offer to hide all but control and picture. Streamlit drops what is bound to the address when the page changes."""
    if st.session_state["arrived"] and st.session_state.get("kept_lecture"):
        st.session_state["lecture"] = True
        st.query_params["lecture"] = "true"
    st.session_state["kept_lecture"] = st.toggle(say("Lecture"), key="lecture", help=say(LECTURE), **BOUND)


def pick_collection(root: Path, page: Page) -> Collection:
    """Offer the data sets that have bundles, at first one on which the page makes sense, and give the chosen one.

    The first of the standard ones where none has bundles. The page stops where the description of the chosen one cannot
    be used.
    """
    names = catalog.datasets(root) or [next(iter(DATASETS))]
    readable = catalog.collections(root, names)
    default = next((i for i, name in enumerate(names) if name in readable and page.fits(readable[name])), 0)
    title = lambda name: say(readable[name].images.title) if name in readable else name  # noqa: E731
    name = named(say("Data set"), names, title, "dataset", names[default])
    if name in readable:
        return readable[name]
    try:
        return catalog.collection(root, name)
    except BundleError as error:
        st.error(as_text(str(error)))
        st.stop()


def point_elsewhere(page: Page, here: Collection, root: Path) -> None:
    """Say why a page makes no sense on a data set, with links to those on which it does."""
    fitting = [there.images for there in catalog.collections(root).values() if page.fits(there)]
    found = (
        say("It makes sense for:")
        if fitting
        else say("None of those that are here has one: `python train.py` fits some.")
    )
    needed = say(
        "This needs {what}, and there is none for {title}.", what=say(page.needs), title=as_text(here.images.title)
    )
    st.info(f"{needed} {found}")
    for images in fitting:
        choice = {"dataset": images.name}
        st.page_link(page.file, label=f"**{as_text(images.title)}**", icon=page.icon, query_params=choice)


def shared_choices() -> dict[str, object]:
    """Collect the choices that links between pages carry, from this page's widgets or its address."""
    choices: dict[str, object] = {}
    for key in SHARED:
        if st.session_state.get(key) is not None:
            choices[key] = st.session_state[key]
        elif key in st.query_params:
            choices[key] = address.texts(key)
    if st.session_state.get("kept_lecture"):
        choices["lecture"] = "true"
    return choices


def pages_for(there: Collection) -> list[Page]:
    """List the pages that make sense on a data set and its models."""
    return [page for page in PAGES.values() if page.fits(there)]


def navigation(there: Collection) -> None:
    """Draw the links to the pages that make sense here, in their sections."""
    section = None
    choices = shared_choices() | {"dataset": there.images.name}
    for page in pages_for(there):
        if page.section != section:
            section = page.section
            st.caption(say(section))
        st.page_link(page.file, label=say(page.title), icon=page.icon, query_params=choices, width="stretch")


def stand_in_notice(source: Dataset | None, gallery: loading.Gallery) -> None:
    """Say in one line that stand-ins are shown; behind it why, and an offer to fetch the originals."""
    with st.container(key="notice", horizontal=True, vertical_alignment="center"):
        absent = say("The original images are not on this disk.")
        st.markdown(f":material/image_not_supported: **{say('Stand-ins.')}** {absent}", width="content")
        with st.popover(say("Why, and how to see them")):
            st.markdown(f"{as_text(gallery.notice)}\n\n{as_text(gallery.missing)}")
            label = source and say("Download originals ({n} MB)", n=source.megabytes)
            if source and source.fetch and st.button(label, key="download"):
                download(source)


def usable(view: View, names: list[str]) -> list[str]:
    """Keep the models whose bundle can be read; say for each other one which file is wrong."""
    good = []
    for name in names:
        if problem := view.bundle(name).problem:
            title = as_text(view.card(name).title)
            st.warning(
                f"{say('**{title}** cannot be shown.', title=title)} {as_text(problem)}", icon=":material/broken_image:"
            )
        else:
            good.append(name)
    return good


def finish(caption: str, code: str) -> None:
    """Say how to read the picture, and draw the few lines of Python that make it again."""
    st.caption(say(caption))
    with st.expander(say("The same picture in Python"), icon=":material/code:"):
        st.code(code.strip(), language="python")
