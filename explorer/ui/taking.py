"""The button that takes a page home: one HTML file, made when it is asked for, so that a rerun costs nothing."""

from typing import Any
from urllib.parse import urlencode

import streamlit as st

from explorer import language
from explorer.language import say
from explorer.ui import live
from explorer.ui.frame import View


def button(view: View, page: str, model: str, **choices: Any) -> None:
    """Offer a page as it is now as one file, where its model runs in a browser.

    choices: as the function with the name of the page in `explorer.export.contents` takes them.
    """
    if live.unsupported(view.bundle(model)):
        return
    back = st.context.url or ""
    if back and (query := st.query_params.to_dict()):
        query = {name: st.query_params.get_all(name) for name in query}
        back = f"{back}?{urlencode(query, doseq=True)}"

    spoken = language.current()

    def make() -> bytes:
        from explorer.export.contents import PAGES  # no page needs it before
        from explorer.export.document import document

        with language.speaking(spoken):  # the file is made after the page, in a thread of its own
            return document(view, PAGES[page](view, model, **choices), back)

    st.download_button(
        say("Take it home"), make, f"{page.replace('_', '-')}-{model}.html", "text/html", key=f"take-{page}",
        on_click="ignore", icon=":material/download:",
        help=say("One file with the model inside: it opens in any browser without a server or a network, "
        "on a course page, or in a slide."),
    )  # fmt: skip
