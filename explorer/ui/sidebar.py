"""What the sidebar has: the data set, a lecture, and links to the pages, which carry the choices that they share."""

from pathlib import Path

import streamlit as st

from explorer.checkpoints import BundleError
from explorer.datasets import DATASETS
from explorer.language import later, say
from explorer.ui import address, catalog, speaking
from explorer.ui.catalog import Collection
from explorer.ui.naming import named
from explorer.ui.paging import Page, pages_for
from explorer.ui.text import as_text

SHARED = (speaking.NAME, "dataset", "models", "model", "pick")
LECTURE = later(
    "Hides all but the control, the picture and one line, in large type. The arrow keys, Page Down and Page Up (which "
    "a presenter's clicker sends) go to the next page and back."
)


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


def pick_lecture() -> None:
    """Offer to hide all but control and picture. Streamlit drops what is bound to the address when the page changes."""
    if st.session_state["arrived"] and st.session_state.get("kept_lecture"):
        st.session_state["lecture"] = True
        st.query_params["lecture"] = "true"
    st.session_state["kept_lecture"] = st.toggle(say("Lecture"), key="lecture", help=say(LECTURE), bind="query-params")


def navigation(there: Collection) -> None:
    """Draw the links to the pages that make sense here, in their sections."""
    section = None
    choices = shared_choices() | {"dataset": there.images.name}
    for page in pages_for(there):
        if page.section != section:
            section = page.section
            st.caption(say(section))
        st.page_link(page.file, label=say(page.title), icon=page.icon, query_params=choices, width="stretch")


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
