"""The frame of every page: title, question, sidebar, caption and code.

A page says what it asks in `PAGE`, begins with `view = begin(PAGE)` and ends with `finish(caption, code)`. Links
between pages carry the shared choices, so that a choice survives a switch and every view is a link.
"""

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import streamlit as st
from streamlit.errors import StreamlitAPIException

from explorer.checkpoints import BundleError, root_folder
from explorer.datasets import Dataset
from explorer.language import say
from explorer.ui import address, catalog, collector, components, loading, sidebar, speaking
from explorer.ui.catalog import Collection
from explorer.ui.downloading import download
from explorer.ui.paging import PAGES, Page
from explorer.ui.text import as_text
from explorer.ui.view import View

BOUND = {"bind": "query-params"}
STYLE, STYLE_OF_LECTURE = (Path(__file__).with_name(name) for name in ("style.css", "lecture.css"))
STYLE_OF_ONE, STYLE_OF_LESSON = (Path(__file__).with_name(name) for name in ("one.css", "lesson.css"))
ICON = Path(__file__).with_name("icon.png")  # a named icon would be fetched from a font server

P = ParamSpec("P")


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
        there = sidebar.pick_collection(root, page)
        sidebar.pick_lecture()
        speaking.pick()
        sidebar.navigation(there)
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
    keys = [key for key, shown in PAGES.items() if shown.fits(there)]
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
