"""The first screen of a page: its main control and the picture that this changes, which are always seen together.

A page draws in them: `with screen.control(): ...`, `with screen.picture(): ...`. How they lie on a projector, a laptop
and a phone is said once, in `style.css`, by the keys that they have here; how high the picture may be is measured by
`components/stage.js`.
"""

from collections.abc import Sequence

import plotly.graph_objects as go
import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.elements.lib.mutable_tab_container import TabContainer
from streamlit.elements.plotly_chart import PlotlyState

from explorer.language import restated, say

CHART_HEIGHT = 420  # pixels, of a chart below the first screen
LECTURE_SCALE = 1.75  # of type in a lecture: 30 px where it was 17


def is_lecture() -> bool:
    """Whether all but control, picture and one line is hidden."""
    return bool(st.session_state.get("lecture"))


def settings() -> DeltaGenerator:
    """Begin the controls that draw the whole page anew; they share a row with the main control."""
    return st.container(key="settings", horizontal=True, vertical_alignment="bottom")


def control() -> DeltaGenerator:
    """Begin the main control of a page, which is always in sight, on a phone under the thumb."""
    return st.container(key="control", horizontal=True, vertical_alignment="bottom")


def picture() -> DeltaGenerator:
    """Begin the picture that the main control changes; it is as high as the first screen lets it be."""
    return st.container(key="picture")


def beside() -> DeltaGenerator:
    """Begin what stands beside a part of the picture; where there is much of it, it scrolls by itself."""
    return st.container(key="beside")


def more(label: str = "", icon: str = ":material/tune:") -> DeltaGenerator:
    """Begin what is seldom touched, folded behind one word."""
    return st.popover(label or say("More"), icon=icon)


def tabs(names: Sequence[str], key: str, default: str | None = None) -> Sequence[TabContainer]:
    """Offer tabs, kept in the address as `key`; the open one stays so in another language or with another default."""
    shown = [say(name) for name in names]
    before = restated(st.session_state.get(key) or "")
    if before in shown:
        st.session_state[key] = before
    return st.tabs(shown, default=default and say(default), key=key, on_change="rerun", bind="query-params")


def chart(figure: go.Figure, key: str, alt: str, is_picture: bool = False, **options: object) -> PlotlyState:
    """Draw a Plotly chart under a name that a screen reader says; as the page's picture it takes the room there is."""
    if is_lecture():
        figure = enlarged(figure)
    height = "stretch" if is_picture else figure.layout.height or CHART_HEIGHT
    return st.plotly_chart(figure, key=key, alt=say(alt), height=height, **options)


def enlarged(figure: go.Figure) -> go.Figure:
    """Copy a figure with all its type, lines and marks larger, for a lecture; small digits between decades go."""
    made = go.Figure(_enlarged(figure.to_dict()))
    return made.update_yaxes(dtick=1, selector={"type": "log"})


def _enlarged(part: object, name: str = "") -> object:
    if isinstance(part, dict):
        return {key: _enlarged(value, f"{name}.{key}") for key, value in part.items()}
    if isinstance(part, list) and name.endswith(("shapes", "annotations", "data")):
        return [_enlarged(value, name) for value in part]
    is_size = name.endswith(("font.size", "line.width", "data.marker.size"))
    return part * LECTURE_SCALE if is_size and isinstance(part, int | float) else part
