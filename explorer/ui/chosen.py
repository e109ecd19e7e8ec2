"""Which gallery images are chosen on the map. The address holds them, so that they outlive the figure.

A figure that is drawn anew reports an empty selection, and so does one that a visitor cleared: only the second calls
back, so nothing but `keep` and `clear` ever changes the choice.
"""

import itertools
from collections.abc import Iterable, Sequence
from functools import partial

import streamlit as st

from explorer.language import say
from explorer.ui import address
from explorer.ui.loading import Gallery
from explorer.ui.pictures import Strip, show_strips

NAME = "chosen"  # in the address
SHOWN, IN_A_ROW = 24, 4
MANY = 10**9  # more than any gallery has


def read(n: int) -> list[int]:
    """List the chosen of `n` images in order; what makes no sense in the address is passed over."""
    return parse(address.texts(NAME), n)


def keep(chart: str) -> None:
    """Hold the address to what was selected on the Plotly chart with this key."""
    _write(point["customdata"] for point in st.session_state[chart]["selection"]["points"])


def keep_number(key: str) -> None:
    """Choose the one image whose number, counted from 1, is the value of the widget with this key."""
    number = st.session_state[key]
    _write(() if number is None else (number - 1,))


def clear() -> None:
    """Choose nothing."""
    _write(())


def of_dataset(dataset: str) -> None:
    """Choose nothing where the images are no longer those of the data set they were chosen from."""
    if st.session_state.setdefault("chosen_of", dataset) != dataset:
        st.session_state["chosen_of"] = dataset
        clear()


def show(gallery: Gallery, flat: bool) -> None:
    """Draw the images of the chosen points; one may also be chosen by its number, without a pointer."""
    st.number_input(
        say("Image by number"), 1, len(gallery), None, key="by_number", placeholder=say("1 to {n}", n=len(gallery)),
        on_change=partial(keep_number, "by_number"),
    )  # fmt: skip
    now = read(len(gallery))
    if not now:
        hint = say("Click a point, or draw a lasso or box around some, to see their images here.")
        st.markdown(hint if flat else say("In two dimensions, click points to see their images here."))
        return
    shown = say("**{n} chosen**, the first {shown} shown.", n=len(now), shown=SHOWN)
    told = shown if len(now) > SHOWN else say("**{n} chosen**.", n=len(now))
    st.markdown(f"{told} {say('Double-click the map to let go of them.')}" if flat else told)
    for start in range(0, min(len(now), SHOWN), IN_A_ROW):
        part = now[start : min(start + IN_A_ROW, SHOWN)]
        show_strips([Strip("", gallery.images[part], [gallery.label(i) for i in part])])


def _write(chosen: Iterable[int]) -> None:
    address.keep(NAME, [text] if (text := to_text(chosen)) else [])


def to_text(chosen: Iterable[int]) -> str:
    """Write numbers as `3.7-9.12`: short enough for a link to all of them, of signs that an address leaves alone."""
    runs: list[list[int]] = []
    for i in sorted(set(chosen)):
        if runs and i == runs[-1][1] + 1:
            runs[-1][1] = i
        else:
            runs.append([i, i])
    return ".".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)


def parse(texts: Sequence[str], n: int) -> list[int]:
    """Read numbers below `n` from texts such as `to_text` writes; what makes no sense is passed over."""
    chosen: set[int] = set()
    for run in itertools.chain.from_iterable(text.split(".") for text in texts):
        first, _, last = run.partition("-")
        start, end = address.whole(first, n), address.whole(last or first, MANY)
        if start is not None and end is not None:
            chosen.update(range(start, min(end + 1, n)))
    return sorted(chosen)
