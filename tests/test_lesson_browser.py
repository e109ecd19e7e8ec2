"""A whole lesson with one lecturer and some phones in Chromium, and a curve that is drawn at home."""

import functools

import pytest

from benchmarks.browser import visit
from explorer.language import say, speaking
from explorer.lessons import rooms
from explorer.lessons.reading import Choose, read, shipped

PHONE = {"width": 390, "height": 844}
WALL = {"width": 1920, "height": 1080}
SECONDS = 180  # the first that opens Attributes waits until all directions are fitted
LOCALES = {"en": "en-GB", "id": "id-ID"}


def in_words_of(language, text):
    with speaking(language):
        return say(text)


@pytest.fixture
def open_browser(browser):
    """Open a browser of its own, of a size and a language; gives its page, and what the app calls something in it."""
    contexts = []

    def opened(size, language):
        context = browser.new_context(viewport=size, reduced_motion="reduce", locale=LOCALES[language])
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(1000 * SECONDS)
        return page, functools.partial(in_words_of, language)

    yield opened
    for context in contexts:
        context.close()


def answer(page, step, k):
    """Choose the option number `k`, or draw with the pointer: a line, of which a point is the end."""
    if isinstance(step.prediction, Choose):
        page.locator("[class*=st-key-options] button").nth(k % len(step.prediction.options)).click()
        return
    page.locator(".stApp[data-test-script-state=notRunning]").wait_for()
    field = page.locator("canvas.field")
    field.hover()  # once it lies still
    box = field.bounding_box()
    at = lambda x, y: (box["x"] + x * box["width"], box["y"] + y * box["height"])  # noqa: E731
    page.mouse.move(*at(0.3, 0.2 + 0.1 * k))
    page.mouse.down()
    page.mouse.move(*at(0.9, 0.7), steps=5)
    page.mouse.up()


def vote(phone, step, k):
    page, words = phone
    answer(page, step, k)
    page.get_by_text(words("Your vote counts. You may change it while it is asked.")).wait_for()


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def wait_for_page_inside(page):
    page.frame_locator("iframe").locator(".stApp[data-test-script-state=notRunning]").wait_for()


def open_room(page, words, address, lesson, language):
    visit(page, address, "lesson", language=language)
    page.get_by_role("combobox", name=words("Lesson")).press("ArrowDown")
    page.get_by_role("option", name=lesson.title).first.click()
    page.get_by_text(words("{n} steps, about {minutes} minutes.").format(n=4, minutes=lesson.minutes)).wait_for()
    press(page, words("Open a room"))
    page.locator(".lx-qr").wait_for()
    return page.locator(".lx-code").first.inner_text()


@pytest.mark.parametrize(
    ("language", "of_phones"), [("en", ["en", "id"]), pytest.param("id", ["id", "id", "en"], marks=pytest.mark.wide)]
)
def test_a_whole_lesson_with_phones_of_which_one_speaks_another_language(address, open_browser, language, of_phones):
    lesson, there = read(shipped()[f"curious.{language}"]), rooms.Rooms(rooms.address())
    lecturer, words = open_browser(WALL, language)
    code = open_room(lecturer, words, address, lesson, language)
    phones = [open_browser(PHONE, spoken) for spoken in of_phones]
    for page, _ in phones:
        page.goto(f"{address}/lesson?room={code}")
    for i, step in enumerate(lesson.steps):
        predict(lecturer, words, phones, step)
        one = phones[i % len(phones)]
        see(lecturer, words, phones, step, tries=one)
        explain(lecturer, words, one, step, n=len(phones))
        assert [len(there.votes(code, i, which)) for which in rooms.ROUNDS] == [len(phones), 1]
        if i == 0:  # both keep what they are
            lecturer.reload()
            phones[0][0].reload()
            assert code in lecturer.url
        if i < len(lesson.steps) - 1:
            press(lecturer, words("Next step"))
    press(lecturer, words("Close the room"))
    for page, spoken in phones:
        page.get_by_text(spoken("This lesson is over. Thank you.")).wait_for()


def predict(lecturer, words, phones, step):
    for k, (page, spoken) in enumerate(phones):
        page.get_by_text(step.title, exact=True).wait_for()
        vote((page, spoken), step, k)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    lecturer.get_by_text(words("{n} of {all}").format(n=len(phones), all=len(phones)), exact=True).wait_for()


def see(lecturer, words, phones, step, tries):
    press(lecturer, words("Show it"))
    wait_for_page_inside(lecturer)
    page, spoken = tries
    page.get_by_text(spoken("What did you see?")).wait_for()
    vote(tries, step, 1)
    page.get_by_text(spoken("Try it yourself")).click()
    wait_for_page_inside(page)
    lecturer.get_by_text(words("{n} of {all}").format(n=1, all=len(phones)), exact=True).wait_for()


def explain(lecturer, words, phone, step, n):
    press(lecturer, words("Explain"))
    lecturer.get_by_text(step.ask[:20]).wait_for()
    for title, votes in (("Predicted", n), ("Seen", 1)):
        lecturer.get_by_text(f"{words(title)}: {votes}").wait_for()
    if not isinstance(step.prediction, Choose):
        lecturer.locator("canvas.field").nth(1).wait_for()
    phone[0].get_by_text(phone[1]("You predicted")).first.wait_for()


def test_a_curve_is_drawn_at_home_and_kept_in_the_address(page, address):
    page.goto(f"{address}/lesson?lesson=autoencoders.en&step=1")
    answer(page, read(shipped()["autoencoders.en"]).steps[0], 1)
    page.wait_for_function("() => location.search.includes('answer=1')", timeout=1000 * SECONDS)
    press(page, "Show me")
    wait_for_page_inside(page)
