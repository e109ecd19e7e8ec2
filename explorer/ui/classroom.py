"""A lesson in a room: what the lecturer's screen and the students' phones show, and what they may do."""

import functools
from collections.abc import Callable
from html import escape
from typing import Any

import streamlit as st

from explorer.language import later, say, say_many
from explorer.lessons.reading import Lesson, Step
from explorer.lessons.rooms import CODE_LENGTH, PHASES, ROUNDS, NotAllowed, Room
from explorer.ui import address, rooming, speaking, stepping
from explorer.ui.frame import bare
from explorer.ui.rooming import all_rooms, browser, reaching

LEADER_SECONDS, PHONE_SECONDS = 0.5, 2.0  # between looks at the room
NO_ROOM = later("There is no room with this code. Codes have six letters and digits; look at the wall again.")
KEY = later(
    "Write this key down. With it and the code you lead this room from any machine; whoever else has it can, too. "
    "It is shown in this session alone."
)
NEXT = {"predict": later("Show it"), "see": later("Explain"), "explain": later("Next step")}


def asked_for() -> str:
    """Give the code of the room that a phone's address names, or an empty string."""
    return next(iter(address.texts("room")), "")[:100]


def led() -> str:
    """Give the code of the room that the lecturer's address names, or an empty string."""
    return next(iter(address.texts("lead")), "")[:100]


def phone() -> None:
    """Draw the small page of a phone, whole."""
    bare(later("Lesson"), wide=False)
    with reaching():
        room = _joined(asked_for())
        if room is None:
            st.title(say("Lesson"))
            st.warning(say(NO_ROOM))
            code_form()
            return
        lesson = stepping.lessons().get(room.lesson)
        if lesson is None or room.step >= len(lesson.steps) or not room.is_open:
            st.title(say("Lesson"))
            st.info(
                say("This lesson is over. Thank you.") if not room.is_open else say("This lesson is not here any more.")
            )
            return
        me = browser(room.code)
        _step_of_phone(lesson, room, me)
        _follow_phone(room)


def code_form() -> None:
    """Ask for the code of a room."""
    with st.form("code", border=False):
        code = st.text_input(say("Code of the room"), max_chars=CODE_LENGTH, autocomplete="off")
        if st.form_submit_button(say("Join"), type="primary") and code.strip():
            st.query_params["room"] = code.strip().upper()
            st.rerun()


def _joined(code: str) -> Room | None:
    """Give the room of a phone; who is in already does not wait."""
    if st.session_state.get("joined") == code:
        return all_rooms().find(code)
    room = rooming.find(code)
    if room is None:
        return None
    if room.is_open and not all_rooms().join(room.code, browser(room.code)):
        st.info(say("This room is full."))
        st.stop()
    st.session_state["joined"] = code
    return room


def _step_of_phone(lesson: Lesson, room: Room, me: str) -> None:
    step = lesson.steps[room.step]
    view = stepping.view_of(stepping.dataset_of(lesson, step))
    st.caption(
        say("{title} · {step} of {n}", title=stepping.as_text(lesson.title), step=room.step + 1, n=len(lesson.steps))
    )
    st.markdown(f"**{stepping.as_text(step.title)}**")
    if room.phase == "explain":
        _explained(lesson, step, room, me, view)
    else:
        which = ROUNDS[PHASES.index(room.phase)]
        if which == "before":
            stepping.question(step)
        else:
            st.markdown(f"### {say('What did you see?')}")
            st.markdown(stepping.plain(step.prediction.question))
        _ballot(view, step, room, me, which)
    if room.phase != "predict" and st.toggle(say("Try it yourself"), key=f"try-{room.step}"):
        stepping.live_page(lesson, step, stepping.TALL_ON_PHONES)


@st.fragment
def _ballot(view: stepping.View, step: Step, room: Room, me: str, which: str) -> None:
    """Take the vote of a phone; it may be changed while it is asked."""
    speaking.again()
    with reaching():
        now, key = all_rooms().own_vote(room.code, room.step, which, me), f"{room.code}-{room.step}-{which}"
        new = stepping.given(view, step.prediction, key)
        if new is not None and new != now:
            if not all_rooms().vote(room.code, room.step, which, me, new):  # the room has moved on
                st.rerun()
            now = new
        stepping.answer_field(view, step.prediction, now, key)
        if now is None:
            st.caption(say("Nobody sees who voted what."))
        else:
            st.success(say("Your vote counts. You may change it while it is asked."), icon=":material/how_to_vote:")


def _explained(lesson: Lesson, step: Step, room: Room, me: str, view: stepping.View) -> None:
    own = [all_rooms().own_vote(room.code, room.step, which, me) for which in ROUNDS]
    stepping.own_votes(view, step.prediction, own, f"own-{room.step}")
    stepping.show_text(view, step.reveal)
    st.markdown(f"**{say('To talk about.')}** {stepping.plain(step.ask)}")


@st.fragment(run_every=PHONE_SECONDS)
def _follow_phone(drawn: Room) -> None:
    """Draw the page anew once the room has moved on."""
    speaking.again()
    with reaching():
        if all_rooms().find(drawn.code) != drawn:
            st.rerun()


def open_room(lesson: Lesson) -> None:
    """Open a room and lead it."""
    with reaching():
        room, key = all_rooms().open(lesson.key, browser())
    st.session_state["key"] = (room.code, key)
    st.query_params.clear()
    st.query_params["lead"] = room.code
    st.rerun()


def lead(code: str) -> None:
    """Draw the lecturer's page, whole."""
    bare(later("Lesson"))
    with reaching():
        room = all_rooms().find(code)
        if room is None or not all_rooms().leads(room.code, browser()):
            _key_form(code)
            return
        lesson = stepping.lessons().get(room.lesson)
        if lesson is None or room.step >= len(lesson.steps):
            st.warning(
                say(
                    "The lesson {lesson} is not here any more, or is shorter than it was.",
                    lesson=stepping.as_text(room.lesson),
                )
            )
            return
        if not room.is_open:
            _closed(lesson, room)
            return
        left, right = st.columns([7, 3], gap="large")
        with left:
            _step_of_leader(lesson, room)
        with right:
            _beside(lesson, room)


def _key_form(code: str) -> None:
    st.title(say("Lesson"))
    st.markdown(
        say("Only its lecturer leads a room. From another machine, or after the browser was closed, the key opens it.")
    )
    with st.form("key", border=False):
        code = st.text_input(say("Code of the room"), code.strip("-")[:CODE_LENGTH], max_chars=CODE_LENGTH)
        key = st.text_input(say("Key"), type="password", max_chars=40, autocomplete="off")
        if st.form_submit_button(say("Lead the room"), type="primary"):
            if rooming.take_over(code, key):
                st.query_params["lead"] = code.strip().upper()
                st.rerun()
            st.warning(say("Code and key do not belong together."))


def _step_of_leader(lesson: Lesson, room: Room) -> None:
    step = lesson.steps[room.step]
    view = stepping.view_of(stepping.dataset_of(lesson, step))
    st.caption(
        say(
            "{title} · step {step} of {n}",
            title=stepping.as_text(lesson.title),
            step=room.step + 1,
            n=len(lesson.steps),
        )
    )
    st.markdown(f"## {stepping.as_text(step.title)}")
    if room.phase == "predict":
        if room.step == 0:
            stepping.show_text(view, lesson.opening)
        sides = [st.container()] * 2 if stepping.is_choice(step) else st.columns([2, 3])  # so that a field is in sight
        with sides[0]:
            stepping.show_text(view, step.text)
            stepping.question(step)
        with sides[1]:
            stepping.unanswered(view, step.prediction, f"open-{room.step}")
    elif room.phase == "see":
        stepping.live_page(lesson, step, stepping.TALL)
    else:
        _both_rounds(view, step, room)
        stepping.show_text(view, step.reveal)
        st.markdown(f"### {stepping.plain(step.ask)}")


def _both_rounds(view: stepping.View, step: Step, room: Room) -> None:
    """Show how the votes fell before and after what was seen, side by side."""
    stepping.pictures(view, step.prediction)
    for column, which, title in zip(st.columns(2), ROUNDS, (say("Predicted"), say("Seen")), strict=True):
        with column:
            found = all_rooms().votes(room.code, room.step, which)
            title = say_many("{title}: {n} vote", "{title}: {n} votes", len(found), title=title)
            stepping.votes(view, step.prediction, found, title, True, f"{which}-{room.step}")


def _beside(lesson: Lesson, room: Room) -> None:
    """Draw how phones get in, what goes on, and what the lecturer may do."""
    where = rooming.phones_address(room.code)
    st.html(f'<div class="lx-code">{room.code}</div>')
    if room.phase == "predict":
        st.html(rooming.qr_picture(where))
        st.html(f'<div class="lx-where">{escape(where)}</div>')
    shown = st.toggle(say("Show how the votes fall"), key="falling", help=say("Who sees the majority follows it."))
    _arriving(lesson, room, shown)
    _buttons(lesson, room)
    held = st.session_state.get("key", ("", ""))
    if held[0] == room.code:
        with st.popover(say("Key")):
            st.markdown(say(KEY))
            st.code(held[1], language=None)


@st.fragment(run_every=LEADER_SECONDS)
def _arriving(lesson: Lesson, room: Room, shown: bool) -> None:
    """Count the votes while they arrive, and show them where that is wanted."""
    speaking.again()
    with reaching():
        if all_rooms().find(room.code) != room:
            st.rerun()
        n_phones = all_rooms().n_phones(room.code)
        if room.phase == "explain":
            st.markdown(say_many("**{n}** phone", "**{n}** phones", n_phones))
            return
        step, which = lesson.steps[room.step], ROUNDS[PHASES.index(room.phase)]
        found = all_rooms().votes(room.code, room.step, which)
        st.html(f'<div class="lx-code">{say("{n} of {all}", n=len(found), all=n_phones)}</div>')
        st.caption(say("votes are in") if room.phase == "predict" else say("have said what they saw"))
        if shown:
            view = stepping.view_of(stepping.dataset_of(lesson, step))
            stepping.votes(view, step.prediction, found, say("Votes"), False, f"falling-{room.step}-{which}")


def _buttons(lesson: Lesson, room: Room) -> None:
    last = room.step == len(lesson.steps) - 1 and room.phase == "explain"
    if not last:
        phase = PHASES[(PHASES.index(room.phase) + 1) % len(PHASES)]
        step = room.step + (phase == "predict")
        _button(say(NEXT[room.phase]), lambda: all_rooms().move(room.code, browser(), step, phase), "primary")
    if room.step or room.phase != "predict":
        phase = PHASES[PHASES.index(room.phase) - 1]
        step = room.step - (room.phase == "predict")
        _button(say("Back"), functools.partial(all_rooms().move, room.code, browser(), step, phase))
    _button(say("Close the room"), lambda: all_rooms().close(room.code, browser()), "primary" if last else "tertiary")


def _button(label: str, act: Callable[[], Any], look: str = "secondary") -> None:
    if st.button(label, type=look, width="stretch"):
        try:
            act()
        except NotAllowed:  # another machine has taken over, or the room was closed
            st.toast(say("This room is led from elsewhere now, or closed."))
        st.rerun()


def _closed(lesson: Lesson, room: Room) -> None:
    st.title(say("This room is closed"))
    st.markdown(say("Its votes are gone a day after it was closed."))
    for number, step in enumerate(lesson.steps[: room.step + 1], 1):
        before, after = (all_rooms().votes(room.code, number - 1, which) for which in ROUNDS)
        st.markdown(
            say(
                "{number}. {title}: {before} predicted, {after} said what they saw",
                number=number,
                title=stepping.as_text(step.title),
                before=len(before),
                after=len(after),
            )
        )
    st.page_link("pages/lesson.py", label=say("Lessons"), icon=":material/school:")
