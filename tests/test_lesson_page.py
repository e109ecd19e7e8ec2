"""The page Lesson without a browser: by oneself, on a phone, and as who leads; and what a stranger can do there."""

import pytest
from streamlit.testing.v1 import AppTest

from explorer.lessons import reading, rooms, voting
from explorer.lessons.reading import Choose, Draw, Option, Point
from explorer.ui import rooming, stepping
from tests.test_app import ROOT, words

CHOOSE = Choose("?", (Option("a"), Option("b")), 1)
DRAW = Draw("?", "x", "y", 0, 10, ("psnr", "conv-dae", "gaussian"))
KEY = "autoencoders.en"
SECOND = 1  # its step to choose from words


@pytest.fixture(autouse=True)
def no_guesses(monkeypatch):
    monkeypatch.setattr(rooming, "guesses", rooms.Guesses())


def open_lesson(**params):
    app = AppTest.from_file(ROOT / "app.py", default_timeout=60)
    app.switch_page("pages/lesson.py")
    for name, value in params.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def press(app, label):
    [button] = [button for button in app.button if button.label == label]
    button.click().run()
    assert not app.exception


def labels(app):
    return [button.label for button in app.button]


@pytest.fixture
def room():
    return rooming.all_rooms().open(KEY, "lecturer")[0]


def test_a_lesson_by_oneself_keeps_its_answers_in_the_address():
    app = open_lesson(lesson=KEY, step="2", phase="predict")
    assert "Why is the first one so much better?" in words(app)
    assert [button.disabled for button in app.button if button.label == "Show me"] == [True]
    press(app, "It was trained for longer")
    assert "".join(app.query_params["answer"]) == "2~before~2"
    press(app, "Show me")
    assert "What did you see?" in words(app)
    assert "1.3 numbers for each" not in words(app)
    press(app, "Its code is longer than the image")
    press(app, "Explain")
    assert "You predicted **It was trained for longer**. You saw **Its code is longer than the image ✓**." in words(app)
    assert "1.3 numbers for each" in words(app) and "{{" not in words(app)
    later = open_lesson(**{name: app.query_params[name] for name in ("lesson", "answer")}, step="14")
    assert "It was trained for longer" in words(later)
    assert [button.label for button in later.get("download_button")] == ["To print (HTML)"]


def test_answers_that_make_no_sense_are_passed_over():
    nonsense = ["", "~~", "2~before~9", "2~before~0.5", "99~before~1", "5~after~nan_1", "1~before~" + "1_" * 500,
                "2~never~1", "<b>~before~1"]  # fmt: skip
    app = open_lesson(lesson=KEY, step="14", answer=[*nonsense, "3~before~1", "1~before~0.01"])
    assert "What you predicted" in words(app) and "<b>" not in words(app)
    assert "What is lost first? | B | – | B |" in words(app)


def test_a_phone_votes_once_sees_what_is_shown_and_then_what_is_so(room):
    there = rooming.all_rooms()
    there.move(room.code, "lecturer", SECOND, "predict")
    phone = open_lesson(room=room.code)
    assert there.n_phones(room.code) == 1
    press(phone, "It was trained for longer")
    press(phone, "Its code is longer than the image")
    assert there.votes(room.code, SECOND, "before") == [1]
    there.move(room.code, "lecturer", SECOND, "see")
    phone.run()
    assert "What did you see?" in words(phone) and [toggle.label for toggle in phone.toggle] == ["Try it yourself"]
    press(phone, "It was lucky with its first weights")
    assert (there.votes(room.code, SECOND, "before"), there.votes(room.code, SECOND, "after")) == ([1], [3])
    there.move(room.code, "lecturer", SECOND, "explain")
    assert "You predicted **Its code is longer than the image ✓**." in words(phone.run())
    there.close(room.code, "lecturer")
    assert "This lesson is over" in words(phone.run())


def test_a_phone_cannot_lead_and_its_address_never_has_the_key(room):
    phone = open_lesson(room=room.code)
    assert not {"Show it", "Explain", "Next step", "Close the room"} & set(labels(phone))
    assert set(phone.query_params) == {"room"}
    stranger = open_lesson(lead=room.code)
    assert not {"Show it", "Close the room"} & set(labels(stranger))
    assert "Only its lecturer leads a room" in words(stranger)


def test_who_opens_a_room_leads_it_and_the_key_opens_it_elsewhere():
    first = open_lesson(lesson=KEY)
    press(first, "Open a room")
    code = "".join(first.query_params["lead"])
    key = first.code[0].value
    assert len(key) == 20 and key not in str(dict(first.query_params))
    press(first, "Show it")
    other = open_lesson(lead=code)
    other.text_input[1].set_value("A" * 20)
    press(other, "Lead the room")
    assert "do not belong together" in words(other)
    other.text_input[1].set_value(key)
    press(other, "Lead the room")
    assert "Explain" in labels(other)
    press(other, "Explain")
    press(other, "Next step")
    found = rooming.all_rooms().find(code)
    assert (found.step, found.phase) == (1, "predict")
    first.run()
    assert "Only its lecturer leads a room" in words(first)
    press(other, "Back")
    press(other, "Close the room")
    assert not rooming.all_rooms().find(code).is_open
    assert "gone a day after" in words(other)


@pytest.mark.parametrize("code", ["AAAAAA", "<b>x</b>", "' OR 1=1 --", "x" * 5000, "..", "٣٣٣٣٣٣", "[a](javascript:1)"])
def test_a_wrong_code_is_answered_in_words_and_never_shown(code):
    app = open_lesson(room=code)
    assert "There is no room with this code" in words(app)
    assert code not in words(app)
    assert rooming.guesses._wrong


def test_a_database_that_cannot_be_reached_is_named_and_the_rest_works(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("EXPLORER_DATABASE", f"sqlite:///{tmp_path}/file/rooms.sqlite")
    assert "EXPLORER_DATABASE" in open_lesson(room="AAAAAA").error[0].value
    assert not open_lesson(lesson=KEY).error


def test_a_lesson_that_is_gone_or_shorter_is_said_to_be(room, monkeypatch):
    monkeypatch.setattr(stepping, "lessons", dict)
    assert "not here any more" in words(open_lesson(room=room.code))


def test_a_lesson_that_cannot_be_read_or_shown_is_said_to_be(monkeypatch, tmp_path):
    good = reading.shipped()[KEY].read_text(encoding="utf-8")
    (tmp_path / "bad.en.md").write_text("no lesson", encoding="utf-8")
    (tmp_path / KEY).with_suffix(".en.md").write_text(good.replace("original/0", "original/none"), encoding="utf-8")
    monkeypatch.setattr(reading.shipped, "__defaults__", (tmp_path,))
    assert "bad.en.md:1:" in words(open_lesson()).replace("\\", "")
    assert "This step cannot be shown: 'none' is no number" in words(open_lesson(lesson=KEY, step="2"))


WHERE = Point("?", "m", 1)


@pytest.mark.parametrize(
    ("asked", "value", "stored"),
    [
        (CHOOSE, 1, 1), (CHOOSE, 2, None), (CHOOSE, -1, None), (CHOOSE, True, None), (CHOOSE, 1.0, None),
        (CHOOSE, "1", None), (CHOOSE, None, None), (CHOOSE, [1], None), (WHERE, [0.123, 99], [0.12, voting.REACH]),
        (WHERE, [float("nan"), 0], None), (WHERE, [1], None), (WHERE, "12", None), (WHERE, [[1], 2], None),
        (DRAW, [1, 2, 30], [1, 2, 10]), (DRAW, [1, 2], None), (DRAW, [1, 2, "x"], None), (DRAW, {"a": 1}, None),
    ],
)  # fmt: skip
def test_only_what_answers_the_question_is_a_vote(asked, value, stored):
    assert voting.accepted(asked, value, 3) == stored


@pytest.mark.parametrize(("asked", "value"), [(CHOOSE, 1), (WHERE, [0.5, -1.25]), (DRAW, [0.0, 2.5, 10.0])])
def test_what_is_written_of_a_vote_in_the_address_is_read_again(asked, value):
    assert voting.from_text(asked, voting.to_text(value), 3) == value


def test_a_browser_is_known_by_its_session_and_not_by_what_changes_in_its_cookie():
    masks = [bytes([i] * 4) for i in (0, 7)]
    token = bytes(range(16))
    cookies = [f"2|{mask.hex()}|{bytes(b ^ mask[i % 4] for i, b in enumerate(token)).hex()}|1" for mask in masks]
    assert {rooming.browser_secret(cookie) for cookie in cookies} == {token.hex()}
    for bad in ("", "2|aa|bb|1", "x" * 100, "2|zz|zz|1", "1|2|3", "2|00000000||1"):
        assert rooming.browser_secret(bad) == ""


def test_the_code_for_phones_is_a_picture_of_their_address():
    address = rooming.phones_address("ABC234")
    assert address.endswith("/lesson?room=ABC234") and "localhost" not in address
    assert rooming.qr_picture(address).startswith('<img class="lx-qr" src="data:image/svg+xml;base64,')
    assert "<script" not in rooming.qr_picture('http://x/"><script>')


def test_a_figure_that_is_a_sentence_begins_no_numbered_list():
    assert stepping.plain("{{5 = pixels}}. The others.\n\n1. It is.") == "5\\. The others.\n\n1. It is."
