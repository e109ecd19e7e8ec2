import itertools
import math

import pytest
from streamlit.testing.v1 import AppTest

from explorer.ui import address
from explorer.ui.frame import PAGES
from tests.test_app import open_page

DIGITS = "9" * 4400  # int() takes 4,300 at most
HOSTILE = {
    "4,400 digits": DIGITS, "minus 4,400 digits": f"-{DIGITS}", "negative": "-1", "a fraction": "2.5", "nan": "nan",
    "infinite": "inf", "beyond": "1e309", "superscript": "²", "another script": "٣", "empty": "", "null": "a\0b",
    "markup": "<b>a</b>[a](javascript:alert)", "long": "x" * 100_000, "underscore": "1_0", "a pair": f"{DIGITS},٣",
    "repeated": ["", "x", DIGITS, "0", "inf"],
}  # fmt: skip
# of each page, bound or read by ourselves
PARAMETERS = {
    "overview": "dataset lang",
    "lesson": "seed lesson step phase answer",
    "reconstruct": "models way errors n class seed judge pick",
    "denoise": "noise class n seed level-gaussian noise_seed",
    "latent_map": "model method dimensions perplexity neighbors number-conv-vae chosen",
    "latent_plane": "model plane reach density spacing layers layers-any through direction which plain pin pick show",
    "interpolate": "model between steps side pick show shuffle",
    "generate": "makers sources temperature truncation samples components seed sample",
    "draw": "model brush soft pick show shuffle",
    "classify": "cells cell image pin model",
    "elbo": "dataset model layers pick show sigma pin",
    "use_it": "use models probe model score who at",
    "training": "models scale sets",
    "attributes": "dataset model face method attributes against move pick",
    "length": "length bits chart shuffle pick",
    "beta": "beta code over codes",
    "time": "epoch",
    "class_and_style": "u v strength shuffle pick",
}


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("9", 9), ("10", None), ("-1", None), ("²", None), ("٣", None), ("", None), ("1.0", None), ("1_0", None),
     (" 1", None), ("1\n", None), (DIGITS, None)],
)  # fmt: skip
def test_a_whole_number_is_digits_below_its_bound(text, value):
    assert address.whole(text, 10) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("-2.5", -2.5), ("1e-05", 1e-5), ("+3", 3), ("2.", 2), ("100", 100), ("100.1", None), ("1e309", None),
     ("nan", None), ("inf", None), ("٣", None), ("1_0", None), ("", None), (DIGITS, None), (".", None)],
)  # fmt: skip
def test_a_number_is_plain_and_within_its_reach(text, value):
    assert address.number(text, 100) == value


def test_what_is_written_of_a_number_is_read_again():
    for value in (0.0, -3.25, 1e-7, 99.5, math.pi):
        assert address.number(f"{value:g}", 100) == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("key", PAGES)
def test_hostile_values_of_every_parameter_of_a_page_are_passed_over(families_root, monkeypatch, key):
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(families_root))
    values = itertools.cycle(HOSTILE.values())
    app = open_page(key, **dict(zip(PARAMETERS[key].split(), values, strict=False)))
    assert not app.exception
    assert not app.error
    assert app.title[0].value == PAGES[key].title


def test_what_makes_sense_beside_nonsense_is_kept(digits_root, monkeypatch):
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(digits_root))
    app = open_page("denoise", noise="", seed=DIGITS, n="3", level="")
    assert app.slider(key="n").value == 3
    assert app.number_input(key="seed").value == 0
    assert app.query_params == {"n": ["3"]} or app.query_params == {"n": "3"}


def test_the_key_of_a_control_is_no_word_of_a_language(digits_root, monkeypatch):
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(digits_root))
    app = open_page("interpolate", lang="id", live="steps", between="Between four")
    assert ["".join(app.query_params[name]) for name in ("live", "between")] == ["steps", "Antara empat"]


def bound():
    import streamlit as st

    from explorer.ui import address

    if (understood := address.understood()) is not None:
        st.query_params.from_dict(understood)
        st.rerun()
    st.number_input("a", 0, 999, 0, key="whole", bind="query-params")
    st.slider("a", 0.0, 2.0, 1.0, key="number", bind="query-params")
    word = st.segmented_control("a", ["x", "y"], default="x", required=True, key="word", bind="query-params")
    words = st.multiselect("a", ["x", "y"], default=["x"], key="models", bind="query-params")
    assert word in ("x", "y") and set(words) <= {"x", "y"}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_a_bound_widget_has_a_value_of_its_own_whatever_the_address_holds(value):
    app = AppTest.from_function(bound)
    app.query_params.update(dict.fromkeys(("whole", "number", "word", "models"), value))
    assert not app.run().exception


def test_none_of_a_choice_of_several_is_a_choice():
    app = AppTest.from_function(bound)
    app.query_params["models"] = ""
    assert app.run().multiselect(key="models").value == []
