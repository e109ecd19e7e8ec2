"""A lesson by oneself: predict, look, read, go on. Where one is and what one answered stands in the address."""

from html import escape
from typing import Any

import streamlit as st

from explorer.language import later, say
from explorer.lessons import voting
from explorer.lessons.reading import Lesson
from explorer.lessons.rooms import PHASES, ROUNDS
from explorer.ui import address, stepping
from explorer.ui.frame import PAGES, View, bare

MARK = "~"  # between the parts of an answer in the address
SHEET = """<!doctype html><html lang="{language}"><meta charset="utf-8"><title>{title}</title>
<style>body {{ font: 16px/1.5 sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }}
td, th {{ text-align: left; vertical-align: top; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #999; }}
</style><h1>{title}</h1><table><tr><th></th>{head}</tr>{rows}</table></html>"""

Answers = dict[tuple[int, str], Any]


def wanted() -> Lesson | None:
    """Give the lesson that the address names with a step, or None."""
    [key] = address.texts("lesson")[:1] or [""]
    return stepping.lessons().get(key) if address.texts("step") else None


def start(lesson: Lesson) -> None:
    """Go to the first step."""
    st.query_params.clear()
    _go(lesson, 0, PHASES[0])


def _go(lesson: Lesson, step: int, phase: str) -> None:
    st.query_params["lesson"], st.query_params["step"], st.query_params["phase"] = lesson.key, str(step + 1), phase
    st.rerun()


def take(lesson: Lesson) -> None:
    """Draw one step of a lesson, or the answers at its end."""
    bare(later("Lesson"))
    number = next(iter(address.wholes("step", len(lesson.steps) + 2)), 1)
    phase = next((text for text in address.texts("phase") if text in PHASES), PHASES[0])
    answers = _answers(lesson)
    page = PAGES["lesson"]
    st.page_link(page.file, label=say("All lessons"), icon=page.icon)
    if number > len(lesson.steps):
        _end(lesson, answers)
    else:
        _step(lesson, max(1, number) - 1, phase, answers)


def _answers(lesson: Lesson) -> Answers:
    """Read the answers in the address; what makes no sense is passed over."""
    found: Answers = {}
    for text in address.texts("answer"):
        number, which, value = [*text.split(MARK), "", ""][:3]
        i = address.whole(number, len(lesson.steps) + 1)
        if i and which in ROUNDS:
            asked = lesson.steps[i - 1].prediction
            n = len(value.split("_")) if voting.is_curve(asked) else 0
            if n <= voting.MOST_PLACES and (answer := voting.from_text(asked, value, n)) is not None:
                found[i - 1, which] = answer
    return found


def _keep(answers: Answers) -> None:
    texts = [f"{i + 1}{MARK}{which}{MARK}{voting.to_text(value)}" for (i, which), value in sorted(answers.items())]
    address.keep("answer", texts)


def _step(lesson: Lesson, i: int, phase: str, answers: Answers) -> None:
    step = lesson.steps[i]
    view = stepping.view_of(stepping.dataset_of(lesson, step))
    st.progress((i + PHASES.index(phase) / len(PHASES)) / len(lesson.steps), f"{i + 1} / {len(lesson.steps)}")
    st.markdown(f"## {stepping.as_text(step.title)}")
    if phase == "predict":
        if i == 0:
            stepping.show_text(view, lesson.opening)
        stepping.show_text(view, step.text)
        stepping.question(step)
        _ask(view, lesson, i, "before", answers)
    elif phase == "see":
        stepping.live_page(lesson, step, stepping.TALL)
        st.markdown(f"### {say('What did you see?')}\n\n{stepping.plain(step.prediction.question)}")
        _ask(view, lesson, i, "after", answers)
    else:
        _explain(view, lesson, i, answers)
    _buttons(lesson, i, phase, answers)


def _ask(view: View, lesson: Lesson, i: int, which: str, answers: Answers) -> None:
    asked = lesson.steps[i].prediction
    key = f"alone-{i}-{which}"
    if (new := stepping.given(view, asked, key)) is not None:
        answers[i, which] = new
        _keep(answers)
    stepping.answer_field(view, asked, answers.get((i, which)), key)


def _explain(view: View, lesson: Lesson, i: int, answers: Answers) -> None:
    step = lesson.steps[i]
    stepping.pictures(view, step.prediction)
    stepping.own_votes(view, step.prediction, [answers.get((i, which)) for which in ROUNDS], f"own-{i}")
    stepping.show_text(view, step.reveal)
    st.markdown(f"### {stepping.plain(step.ask)}")


def _buttons(lesson: Lesson, i: int, phase: str, answers: Answers) -> None:
    with st.container(horizontal=True):
        before = PHASES.index(phase) - 1
        if (i or before >= 0) and st.button(say("Back")):
            _go(lesson, i if before >= 0 else i - 1, PHASES[before])
        which = dict(zip(PHASES, (*ROUNDS, None), strict=True))[phase]
        missing = which is not None and (i, which) not in answers
        label = {"predict": say("Show me"), "see": say("Explain"), "explain": say("Go on")}[phase]
        if st.button(label, type="primary", disabled=missing, help=say("Answer first.") if missing else None):
            after = PHASES.index(phase) + 1
            _go(lesson, i if after < len(PHASES) else i + 1, PHASES[after % len(PHASES)])


def _end(lesson: Lesson, answers: Answers) -> None:
    st.markdown(f"## {say('What you predicted, saw, and what is so')}")
    rows = []
    for i, step in enumerate(lesson.steps):
        right = stepping.truth_of(lesson, step)
        said = [voting.in_words(step.prediction, answers.get((i, which))) for which in ROUNDS]
        rows.append([f"{i + 1}. {step.title}", *map(stepping.plain, said), voting.in_words(step.prediction, right)])
    head = ["", say("Predicted"), say("Seen"), say("True")]
    lines = [head, ["---"] * 4, *([stepping.as_text(cell) for cell in row] for row in rows)]
    st.markdown("\n".join(f"| {' | '.join(line)} |" for line in lines))
    cells = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    titles = "".join(f"<th>{escape(title)}</th>" for title in head[1:])
    sheet = SHEET.format(language=lesson.language, title=escape(lesson.title), head=titles, rows=cells)
    st.download_button(say("To print (HTML)"), sheet, f"{lesson.name}-answers.html", "text/html", on_click="ignore")
