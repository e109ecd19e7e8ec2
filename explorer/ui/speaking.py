"""Which language a visitor reads: that of the address, else the one chosen in the sidebar, else the browser's own.

The address holds what controls hold, in the words that a visitor sees there; one of another language is restated on
arrival, so that a link means the same in every language.
"""

import streamlit as st

from explorer import language
from explorer.language import later, say

NAME = "lang"  # in the address
SPOKEN, CHOSEN = "spoken", "language"  # in the session: what is spoken, and what the picker holds
LABEL = later("Language")


def settle() -> None:
    """Choose the language of this visit and speak it."""
    named = st.query_params.get(NAME)
    kept = named if named in language.offered() else st.session_state.get(SPOKEN)
    st.session_state[SPOKEN] = kept or language.best(st.context.locale)
    again()


def again() -> None:
    """Speak the language of this visit: parts of a page run alone, each time in a thread that has spoken any."""
    language.speak(st.session_state.get(SPOKEN, language.SOURCE))


def pick() -> None:
    """Offer the languages."""
    names = language.offered()
    here = list(names).index(language.current())
    st.selectbox(say(LABEL), names, here, format_func=names.get, key=CHOSEN, on_change=_choose)


def _choose() -> None:
    """Take the language that was picked, and give every control its choice anew: it was made in other words."""
    st.query_params[NAME] = st.session_state[SPOKEN] = st.session_state[CHOSEN]
    for key, value in st.session_state.items():
        if isinstance(value, str | list) and key not in (SPOKEN, CHOSEN):
            st.session_state[key] = value
