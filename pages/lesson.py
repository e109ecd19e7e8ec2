"""Lesson: what do you predict?"""

import streamlit as st

from explorer.language import current, later, offered, say
from explorer.lessons import exercises
from explorer.lessons.exercises import DATASET
from explorer.lessons.material import Wrong
from explorer.lessons.reading import Lesson
from explorer.ui import alone, classroom, screen, stepping
from explorer.ui.frame import BOUND, Page, begin, finish
from explorer.ui.text import as_text

PAGE = Page(
    "Lesson", ":material/school:", "Teach and learn", place=5,
    question="What do you predict?",
    look_for=(
        "Begin, and guess before you see: who predicts what will happen learns from it; who only watches learns as "
        "little as who was not there."
    ),
)  # fmt: skip

CAPTION = later(
    "A lesson is a text file with steps to predict, to see and to explain, whose figures are held to the models. In a "
    "room phones vote without names, and votes are gone a day after the room was closed."
)


def pick_lesson() -> Lesson:
    """Choose a lesson, at first one in the language of the page."""
    found = dict(sorted(stepping.lessons().items(), key=lambda pair: pair[1].language != current()))
    name = lambda lesson: f"{lesson.title} ({offered().get(lesson.language, lesson.language)})"  # noqa: E731
    return found[st.selectbox(say("Lesson"), list(found), format_func=lambda key: name(found[key]), key="lesson")]


def ways(lesson: Lesson) -> None:
    """Offer to take a lesson by oneself, to open a room, or to join one."""
    st.markdown(say("{n} steps, about {minutes} minutes.", n=len(lesson.steps), minutes=lesson.minutes))
    left, middle, right = st.columns(3, gap="medium", border=True)
    with left:
        st.markdown(say("**By yourself.** At your own pace; your answers stand in the address."))
        if st.button(say("Begin"), type="primary"):
            alone.start(lesson)
    with middle:
        st.markdown(say("**In class.** You lead, and phones vote."))
        if st.button(say("Open a room")):
            classroom.open_room(lesson)
        if st.button(say("Lead a room by its key"), type="tertiary"):
            st.query_params["lead"] = "-"
            st.rerun()
    with right:
        st.markdown(say("**In a room** that is open."))
        classroom.code_form()


def worksheets(language: str) -> None:
    """Offer the worksheet of a seed, to print and as a notebook."""
    st.subheader(say("Worksheet"))
    if not (view := stepping.view_if_here(DATASET)):
        return
    there = stepping.material_of(view)
    left, middle, right = st.columns([2, 1, 1], vertical_alignment="bottom")
    label = say("Your seed: a number of your own, such as that of your card")
    seed = int(left.number_input(label, 0, 10**9, 1, key="seed", **BOUND))
    for column, name, make in ((middle, "md", exercises.worksheet), (right, "ipynb", exercises.notebook)):
        label = {"md": say("Worksheet (Markdown)"), "ipynb": say("Notebook (Jupyter)")}[name]
        content = lambda make=make: make(there, seed, language)  # noqa: E731
        column.download_button(label, content, f"worksheet-{seed}.{name}", on_click="ignore", width="stretch")
    st.markdown(
        say(
            "Twelve exercises with numbers of your own. `python -m explorer.lessons grade FILE` marks what you filled "
            "in."
        )
    )


def choose() -> None:
    """Draw the page on which a lesson begins."""
    begin(PAGE)
    with screen.control():
        lesson = pick_lesson()
    with screen.picture():
        ways(lesson)
    for reason in stepping.broken():
        st.warning(f"{say('A lesson cannot be read.')} {as_text(reason)}")
    worksheets(lesson.language)
    finish(
        CAPTION,
        f"""
from explorer.lessons.reading import read, shipped

lesson = read(shipped()["{lesson.key}"])
for step in lesson.steps:
    print(step.title, step.shown, step.prediction, sep="\\n")
""",
    )


try:
    if classroom.asked_for():
        classroom.phone()
    elif code := classroom.led():
        classroom.lead(code)
    elif lesson := alone.wanted():
        alone.take(lesson)
    else:
        choose()
except Wrong as error:  # of a lesson that nobody has checked
    told = say("This step cannot be shown: {reason}.", reason=as_text(str(error)))
    st.warning(f"{told} {say('`python -m explorer.lessons check` says where.')}")
