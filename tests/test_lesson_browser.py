"""A lesson with one lecturer and three phones in Chromium, in both languages, through a step of each kind."""

import pytest

from benchmarks.browser import serve, visit
from explorer.lessons.reading import Choose, Draw, read, shipped
from explorer.lessons.rooms import Rooms

PHONE = {"width": 390, "height": 844}
WALL = {"width": 1920, "height": 1080}
SECONDS = 60


@pytest.fixture(scope="module")
def hall(tmp_path_factory):
    """A server with rooms of its own, and where these are."""
    where = f"sqlite:///{tmp_path_factory.mktemp('hall')}/rooms.sqlite"
    with serve(environment={"EXPLORER_DATABASE": where}) as address:
        yield address, where


@pytest.fixture
def four(browser):
    """The lecturer's window and three phones, each a browser of its own."""
    contexts = [browser.new_context(viewport=size, reduced_motion="reduce") for size in (WALL, PHONE, PHONE, PHONE)]
    pages = [context.new_page() for context in contexts]
    for page in pages:
        page.set_default_timeout(1000 * SECONDS)
    yield pages[0], pages[1:]
    for context in contexts:
        context.close()


def vote(phone, step, k):
    """Choose the option number `k`, or draw with the pointer: a line, of which a point is the end."""
    if isinstance(step.prediction, Choose):
        phone.locator("[class*=st-key-options] button").nth(k % len(step.prediction.options)).click()
    else:
        field = phone.locator("canvas.field")
        field.scroll_into_view_if_needed()
        box = field.bounding_box()
        at = lambda x, y: (box["x"] + x * box["width"], box["y"] + y * box["height"])  # noqa: E731
        phone.mouse.move(*at(0.3, 0.2 + 0.1 * k))
        phone.mouse.down()
        phone.mouse.move(*at(0.9, 0.7), steps=5)
        phone.mouse.up()
    phone.get_by_text("Your vote counts").wait_for()


@pytest.mark.parametrize(("key", "steps"), [("autoencoders.en", (0, 1)), ("variational.id", (1,))])
def test_a_lesson_with_three_phones(hall, four, key, steps):
    (address, where), (lecturer, phones), lesson = hall, four, read(shipped()[key])
    visit(lecturer, address, "lesson")
    lecturer.get_by_role("combobox", name="Lesson").press("ArrowDown")
    lecturer.get_by_role("option", name=lesson.title).first.click()
    lecturer.get_by_text(f"{len(lesson.steps)} steps, about {lesson.minutes} minutes").wait_for()
    lecturer.get_by_role("button", name="Open a room").click()
    lecturer.locator(".lx-qr").wait_for()
    code = lecturer.locator(".lx-code").first.inner_text()
    there = Rooms(where)
    for phone in phones:
        phone.goto(f"{address}/lesson?room={code}")
    for i in range(max(steps) + 1):
        take_step(lecturer, phones, lesson, i, i in steps)
        if i in steps:
            assert [len(there.votes(code, i, which)) for which in ("before", "after")] == [3, 1]
        lecturer.get_by_role("button", name="Next step").click()
        lecturer.get_by_role("button", name="Show it").wait_for()
    lecturer.reload()
    assert code in lecturer.url
    lecturer.get_by_role("button", name="Close the room").click()
    phones[0].get_by_text("This lesson is over").wait_for()


def take_step(lecturer, phones, lesson, i, is_voted):
    step = lesson.steps[i]
    for phone in phones:
        phone.get_by_text(step.title, exact=True).wait_for()
    if is_voted:
        phones[1].reload()  # keeps its number
        for k, phone in enumerate(phones):
            vote(phone, step, k)
        lecturer.get_by_text("3 of 3", exact=True).wait_for()
        assert phones[0].evaluate("document.documentElement.scrollWidth <= innerWidth")
    lecturer.get_by_role("button", name="Show it").click()
    shown = lecturer.frame_locator("iframe")
    shown.locator(".stApp[data-test-script-state=notRunning]").wait_for()
    if is_voted:
        phones[0].get_by_text("What did you see?").wait_for()
        vote(phones[0], step, 1)
        lecturer.get_by_text("1 of 3", exact=True).wait_for()
    lecturer.get_by_role("button", name="Explain").click()
    lecturer.get_by_text(step.ask[:20]).wait_for()
    if is_voted:
        lecturer.get_by_text("Predicted: 3 votes").wait_for()
        lecturer.get_by_text("Seen: 1 vote", exact=True).wait_for()
        phones[2].get_by_text("You predicted").first.wait_for()
        if isinstance(step.prediction, Draw):
            lecturer.locator("canvas.field").nth(1).wait_for()
