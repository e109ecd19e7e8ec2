"""Choices among what has a name and a title: a person reads titles, the address has names.

Streamlit's own binding writes into the address what is read on the page.
"""

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from explorer.ui import address


def named(
    label: str,
    options: Sequence[str],
    title: Callable[[str], str],
    key: str,
    default: str,
    control: Callable[..., str] = st.selectbox,
    **more: Any,
) -> str:
    """Choose one by its title, by default in a box; its name is kept in the address as `key`, and for the next page."""
    found = _brought(key, options)
    if found is not None:
        st.session_state[key] = (found or [default])[0]
    if st.session_state.get(key) not in options:  # of another data set
        st.session_state[key] = default
    name = control(label, options, format_func=title, key=key, **more)
    return _leave(key, name, [] if name == default else [name])


def several_named(
    label: str, options: Sequence[str], title: Callable[[str], str], key: str, default: list[str]
) -> list[str]:
    """Choose any number by their titles; see `named`. That none is chosen is an empty value in the address."""
    found = _brought(key, options)
    if found is not None:
        st.session_state[key] = found if found or address.texts(key) == [""] else default
    before = st.session_state[key]
    if before and not set(before) & set(options):
        st.session_state[key] = default
    names = st.multiselect(label, options, format_func=title, key=key)
    return _leave(key, names, [] if names == default else names or [""])


def _brought(key: str, options: Sequence[str]) -> list[str] | None:
    """List the choice that a visitor comes with, by the address or from another page; None for one who was here."""
    written = address.arrived(key)
    is_new = st.session_state.get("arrived") or key not in st.session_state
    if written is None and not is_new:
        return None
    kept = st.session_state.get(f"kept_{key}", []) if is_new else []
    return [name for name in written or kept if name in options]


def _leave(key: str, choice: Any, values: Sequence[str]) -> Any:
    st.session_state[f"kept_{key}"] = values
    address.leave(key, values)
    return choice
