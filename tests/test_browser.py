import contextlib
import functools
import io
import re
import time

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from PIL import Image

from benchmarks.browser import COMPONENTS, visit, wait_until_finished
from explorer.checkpoints import root_folder
from explorer.language import say, speaking
from explorer.ui import catalog
from explorer.ui.frame import PAGES
from tests.conftest import SIZE

STRIPS = ".lx-strip img"
THERE = {name: catalog.collection(root_folder(), name) for name in ("fashion-mnist", "celeba")}
SENSIBLE = [
    pytest.param(name, key, marks=pytest.mark.wide if name == "celeba" and page.fits(THERE["fashion-mnist"]) else ())
    for name, there in THERE.items() for key, page in PAGES.items() if page.fits(there)
]  # fmt: skip
# what a control's move changes: its part of the address, empty where it has none, and the picture
MOVES = {
    "reconstruct": (lambda page: press(page, "worst"), "way=worst", STRIPS),
    "denoise": (lambda page: nudge(page, "Level"), "level-gaussian=0.45", ".lx-strip:nth-of-type(2) img"),
    "latent_map": (lambda page: page.mouse.click(*point_at_a_code(page)), "chosen=", STRIPS),
    "latent_plane": (lambda page: nudge(page, "Range"), "reach=2.75", "canvas.back"),
    "interpolate": (lambda page: choose_an_image(page, 30), "pick=", STRIPS),
    "classify": (lambda page: click_cell(page, 8, 8), "cell=8-8", STRIPS),
    "draw": (lambda page: draw_a_line(page), "", "canvas.rebuilt"),
    "generate": (lambda page: page.locator(".samples button").nth(2).click(), "", STRIPS),
    "training": (lambda page: press(page, "linear"), "", ".main-svg"),
}

LINKED = ("latent_map", "interpolate")  # whose address is opened anew here


def press(page, text):
    page.get_by_test_id("stMain").get_by_role("radio", name=text, exact=True).click()


def choose_an_image(page, i):
    page.get_by_role("button", name="Choose the image").click()
    page.locator(".thumbnail").nth(i).click()


def nudge(page, label):
    slider = page.get_by_test_id("stSlider").filter(has_text=label).get_by_role("slider")
    slider.focus()
    slider.press("ArrowRight")


def click_cell(page, row, column):
    plot = page.locator(".st-key-confusion .nsewdrag").first.bounding_box()
    page.mouse.click(plot["x"] + (column + 0.5) / 10 * plot["width"], plot["y"] + (row + 0.5) / 10 * plot["height"])


def picture(page, selector):
    return page.locator(selector).evaluate_all(
        "nodes => nodes.map(n => n.src || n.toDataURL?.() || n.innerHTML).join()"
    )


def wait_for_change(page, selector, before, seconds=30):
    deadline = time.monotonic() + seconds
    while picture(page, selector) == before:
        assert time.monotonic() < deadline, f"{selector} stayed as it was for {seconds} s"
        page.wait_for_timeout(50)


def draw_a_line(page):
    box = page.locator("canvas.pad").bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.2 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.7 * box["height"], steps=5)
    page.mouse.up()


def wait_for_address(page, text):
    page.wait_for_function("text => location.search.includes(text)", arg=text, timeout=15_000)


AXE = """async (rules) => (await axe.run({
  resultTypes: ["violations"], preload: false, selectors: false, ...(rules ? { runOnly: rules } : {}) })).violations
  .filter(({ impact }) => ["serious", "critical"].includes(impact))
  .flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`))"""
# A canvas without a role is no graphic to axe-core, and nothing at all to who does not see it.
NAMELESS = f"""({COMPONENTS})("canvas").filter((c) => c.ariaHidden !== "true" && !(c.role && c.ariaLabel))
  .map((c) => `a canvas without a name: ${{c.outerHTML}}`)"""


def barriers(page, rules=None):
    """List what axe-core calls serious or critical, by all of its rules or some, once a page has settled.

    None of it is left to Streamlit either: what it has wrong, the style sheet mends.
    """
    page.evaluate(f"globalThis.axe ?? (() => {{ {AXE_SCRIPT} }})()")
    for _ in range(10):
        found = page.evaluate(AXE, rules) + page.evaluate(NAMELESS)
        if not found:
            break
        page.wait_for_timeout(300)
    return found


# What of the control, of the picture and of what it is in is not on the first screen; a picture cut off is not, either.
FIRST_SCREEN = f"""([control, picture]) => {{
  const components = {COMPONENTS};
  const inside = (box) => box.left >= 0 && box.top >= 0 && box.right <= innerWidth && box.bottom <= innerHeight;
  const frame = document.querySelector(".st-key-picture");
  const found = [control, picture, ".st-key-picture"].filter((selector) => {{
    const nodes = [...document.querySelectorAll(selector), ...components(selector)];
    return !nodes.some((node) => node.checkVisibility() && inside(node.getBoundingClientRect()));
  }});
  if (frame.offsetHeight < 140) found.push("much of the picture");
  if (innerWidth > 640 && frame.scrollHeight > frame.clientHeight + 2) found.push("all of the picture");
  if (document.documentElement.scrollWidth > innerWidth) found.push("what is beside the page");
  return found.join(", ");
}}"""
PHONE = {"width": 390, "height": 844}
WALL = {"width": 1920, "height": 1080}
SCREENS = (PHONE, {"width": 1280, "height": 720})


def wait_for_first_screen(page, key):
    """Wait until control and picture are in sight together: a picture follows its room once that was measured."""
    parts = [PAGES[key].control, PAGES[key].picture]
    for _ in range(50):
        hidden = page.evaluate(FIRST_SCREEN, parts)
        if not hidden:
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"not on the first screen of {key} at {page.viewport_size}: {hidden}")


# What has the focus: 0 above the control, 1 in it, 2 in the picture, 3 below; what it is; whether a ring is around it.
FOCUSED = """() => {
  let [node, place] = [document.activeElement, document.activeElement];
  while (node.shadowRoot?.activeElement) node = node.shadowRoot.activeElement;
  const parts = ["[role=tablist], .st-key-notice", ".st-key-settings, .st-key-control", ".st-key-picture"];
  const part = parts.findIndex((selector) => place.closest(selector));
  const isRinged = [node, node.closest("[data-focus-visible]")].some((around) => {
    const { left, top, right, bottom } = around?.getBoundingClientRect() ?? { right: -1 };
    const { outlineStyle, outlineWidth } = getComputedStyle(around ?? node);
    const isSeen = right > 0 && bottom > 0 && left < innerWidth && top < innerHeight && right - left > 9;
    return isSeen && outlineStyle !== "none" && parseFloat(outlineWidth) > 2;
  });
  return [part < 0 ? 3 : part, node.outerHTML, isRinged];
}"""
MOST_TABS = 20


def assert_that_tab_goes_from_the_control_to_the_picture_under_a_ring(page):
    page.evaluate("document.querySelector('.stMain').focus()")
    found = []
    while len(found) < MOST_TABS and (not found or found[-1][0] < 3):
        page.keyboard.press("Tab")
        found.append(page.evaluate(FOCUSED))
    parts = [part for part, _, _ in found]
    assert parts == sorted(parts) and {1, 2} & set(parts), found
    assert [what for _, what, is_ringed in found if not is_ringed] == []


BACKGROUND = "getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor"


@pytest.mark.parametrize(("dataset", "key"), SENSIBLE)
def test_a_page_has_its_control_beside_its_picture_in_reach_of_keys_no_barrier_nothing_from_elsewhere_and_a_true_link(
    page, address, dataset, key
):
    with heard(page, "pageerror") as failures, heard(page, "request") as requests:
        visit(page, address, key, f"?dataset={dataset}")
        for size in SCREENS:
            page.set_viewport_size(size)
            wait_for_first_screen(page, key)
        light = page.evaluate(BACKGROUND)
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            page.wait_for_function(
                f"([light, same]) => ({BACKGROUND} === light) === same", arg=[light, theme == "light"]
            )
            wait_until_finished(page, PAGES[key].title)
            assert page.get_by_test_id("stException").count() == 0
            assert page.get_by_test_id("stAlertContentWarning").count() == 0
            assert barriers(page, ["color-contrast"] if theme == "dark" else None) == []
        assert_that_tab_goes_from_the_control_to_the_picture_under_a_ring(page)
    assert failures == []
    assert {request.url.split("/")[2] for request in requests if "://" in request.url} == {address.split("/")[2]}
    if dataset == "fashion-mnist" and key in MOVES:
        page.set_viewport_size(SIZE)
        page.emulate_media(color_scheme="light")
        page.evaluate("document.activeElement.blur(); document.querySelector('.stMain').scrollTo(0, 0)")
        wait_until_finished(page, PAGES[key].title)
        wait_for_first_screen(page, key)
        page.wait_for_timeout(500)  # until charts have the size of the window
        move_a_control(page, address, key)


def move_a_control(page, address, key):
    move, expected, selector = MOVES[key]
    before = picture(page, selector)
    move(page)
    wait_for_change(page, selector, before)
    if not expected:
        return
    wait_for_address(page, expected)
    if key not in LINKED:
        return
    wait_until_finished(page, PAGES[key].title)
    wanted, query = picture(page, selector), page.evaluate("location.search")
    page.evaluate("localStorage.clear(); sessionStorage.clear()")  # another visitor, who has the link alone
    visit(page, address, key, query)
    assert picture(page, selector) == wanted


@pytest.mark.wide
@pytest.mark.parametrize(("dataset", "key"), SENSIBLE)
def test_a_page_has_its_control_beside_its_picture_on_a_wall(page, address, dataset, key):
    page.set_viewport_size(WALL)
    visit(page, address, key, f"?dataset={dataset}")
    wait_for_first_screen(page, key)


def test_what_forced_colours_would_take_away_stays_and_nothing_moves_for_who_wants_no_motion(page, address):
    visit(page, address, "latent_map")
    chosen = page.get_by_test_id("stMain").get_by_role("radio", name="UMAP")
    page.emulate_media(color_scheme="light", forced_colors="active")
    assert chosen.evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
    page.emulate_media(color_scheme="light", forced_colors="none")
    visit(page, address, "classify")
    number = page.locator(".st-key-confusion .textpoint text").first
    before = number.evaluate("node => getComputedStyle(node).fill")
    page.emulate_media(color_scheme="light", forced_colors="active")
    assert number.evaluate("node => getComputedStyle(node).fill") == before
    seconds = "[...document.querySelectorAll('*')].map(node => parseFloat(getComputedStyle(node).transitionDuration))"
    assert page.evaluate(f"Math.max(...{seconds})") < 0.001


@contextlib.contextmanager
def heard(page, event):
    found = []

    def hear(what):
        found.append(what)

    page.on(event, hear)
    yield found
    page.remove_listener(event, hear)


def test_a_choice_survives_a_page_switch_both_ways(page, address):
    visit(page, address, "interpolate", "?model=conv-ae&pick=5&pick=9")
    for title in ("Latent map", "Overview", "Interpolate"):
        page.locator('[data-testid="stSidebar"] a', has_text=title).click()
        wait_until_finished(page, title)
        query = page.evaluate("location.search")
        assert "pick=5" in query and "pick=9" in query
        if title != "Overview":
            assert page.get_by_role("combobox", name="Model").input_value() == "Convolutional AE"
            wait_for_address(page, "model=conv-ae")


def test_the_language_is_the_browsers_at_first_or_chosen_in_the_sidebar_and_held_by_the_address(page, address, browser):
    visit(page, address, "latent_plane", "?layers=codes")
    assert page.evaluate("document.documentElement.lang") == "en"
    page.get_by_test_id("stSidebar").get_by_role("combobox", name="Language").press("ArrowDown")
    page.get_by_role("option", name="Bahasa Indonesia").click()
    for part in ("lang=id", "layers=kode"):
        wait_for_address(page, part)
    page.locator(".live .note", has_text="kode asli terdekat: ").wait_for(timeout=15_000)
    assert page.evaluate("document.documentElement.lang") == "id"
    page.locator('[data-testid="stSidebar"] a', has_text="Interpolasi").click()
    with speaking("id"):
        wait_until_finished(page, say(PAGES["interpolate"].title))
    wait_for_address(page, "lang=id")
    with contextlib.closing(browser.new_context(locale="id-ID", viewport=SIZE)) as context:
        other = context.new_page()
        visit(other, address, "latent_plane", "?layers=codes&reach=3.5", "id")
        wait_for_address(other, "layers=kode")
        assert "reach=3.5" in other.evaluate("location.search")


def test_a_lasso_on_the_map_opens_the_images_in_it(page, address):
    visit(page, address, "latent_map", "?method=PCA")
    x, y = point_at_a_code(page)
    page.locator('.st-key-map [data-val="lasso"]').click()
    page.mouse.move(x - 25, y - 25)
    page.mouse.down()
    for dx, dy in ((25, -25), (25, 25), (-25, 25), (-25, -25)):
        page.mouse.move(x + dx, y + dy, steps=5)
    page.mouse.up()
    wait_for_address(page, "chosen=")
    page.locator(STRIPS).first.wait_for(timeout=15_000)


def test_pointing_at_the_map_shows_the_image(page, address):
    visit(page, address, "latent_map", "?method=PCA")
    point_at_a_code(page)
    card = page.locator(".lx-hover-card")
    card.wait_for(state="visible", timeout=10_000)
    assert card.inner_text().strip() in ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt",
                                         "Sneaker", "Bag", "Ankle boot")  # fmt: skip


def point_at_a_code(page):
    page.wait_for_timeout(600)  # the pointer's card looks for the chart every 250 ms
    spot = page.evaluate("""() => {
      const chart = document.querySelector('.st-key-map .js-plotly-plot');
      const { xaxis, yaxis } = chart._fullLayout, box = chart.getBoundingClientRect();
      return [box.x + xaxis._offset + xaxis.d2p(chart.data[1].x[0] ?? chart._fullData[1].x[0]),
              box.y + yaxis._offset + yaxis.d2p(chart.data[1].y[0] ?? chart._fullData[1].y[0])];
    }""")
    page.mouse.move(spot[0] - 3, spot[1] - 3)
    page.mouse.move(*spot, steps=3)
    return spot


def test_the_walk_is_downloaded_as_an_animation(page, address):
    visit(page, address, "interpolate")
    with page.expect_download() as download:
        page.get_by_role("button", name="GIF: linear").click()
    with open(download.value.path(), "rb") as file:
        assert file.read(6) == b"GIF89a"


wide = functools.partial(pytest.param, marks=pytest.mark.wide)


@pytest.mark.parametrize("key", ["reconstruct", "latent_plane", wide("training"), wide("interpolate")])
def test_a_page_follows_when_another_data_set_is_chosen(page, address, key):
    visit(page, address, key, "?dataset=celeba")
    # by a key: the list opens at the top of the page first, over the box, where a quick click ends on it
    page.get_by_test_id("stSidebar").get_by_role("combobox", name="Data set").press("ArrowDown")
    page.get_by_role("option", name="Fashion-MNIST", exact=True).click()
    page.get_by_text("Licence of the images: MIT").wait_for(timeout=15_000)
    wait_until_finished(page, PAGES[key].title)
    assert page.get_by_test_id("stException").count() == 0
    assert page.get_by_test_id("stAlert").count() == 0


@pytest.fixture
def cropped(page, address):
    """The page on which a photo, 200 wide and 300 high, dark left and light right, is about to be cropped."""
    photo = Image.new("RGB", (200, 300), "white")
    photo.paste("black", (0, 0, 100, 300))
    buffer = io.BytesIO()
    photo.save(buffer, "PNG")
    visit(page, address, "reconstruct", "?dataset=celeba&way=your+own")
    file = {"name": "p.png", "mimeType": "image/png", "buffer": buffer.getvalue()}
    page.locator("input[type=file]").set_input_files(file)
    page.locator('.crop[data-state="ready"]').wait_for(timeout=15_000)
    page.locator(STRIPS).first.wait_for(timeout=15_000)
    wait_until_finished(page, PAGES["reconstruct"].title)  # until then the Python is that of the run before
    page.get_by_text("The same picture in Python").click()
    return page


def wait_for_crop(page, *expected):
    for _ in range(150):
        crop = re.search(r"crop=\((\d+), (\d+), (\d+)\)", page.locator("code").last.inner_text())
        if crop and [int(v) for v in crop.groups()] == pytest.approx(expected, abs=2):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"the code says {crop and crop.group()}, not {expected}")


def drag(page, start, by):
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(start[0] + by[0], start[1] + by[1], steps=4)
    page.mouse.up()


def test_the_square_of_a_photo_is_dragged_and_sized_and_the_models_see_it(cropped):
    wait_for_crop(cropped, 0, 50, 200)
    before = picture(cropped, STRIPS)
    cropped.locator(".crop .stage").scroll_into_view_if_needed()
    box = cropped.locator(".crop .square").bounding_box()
    pixel = box["width"] / 200
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    drag(cropped, middle, (30 * pixel, -20 * pixel))  # it cannot leave the photo, so it only goes up
    wait_for_crop(cropped, 0, 30, 200)
    corner = cropped.locator(".crop .handle").last.bounding_box()
    drag(cropped, (corner["x"] + corner["width"] / 2, corner["y"] + corner["height"] / 2), (-100 * pixel, -100 * pixel))
    wait_for_crop(cropped, 0, 30, 100)
    wait_for_change(cropped, STRIPS, before)


def test_the_square_of_a_photo_obeys_keys_and_stays_in_the_photo(cropped):
    square = cropped.locator(".crop .square")
    square.press("ArrowDown")
    wait_for_crop(cropped, 0, 51, 200)
    for _ in range(12):
        square.press("Shift+ArrowDown")
    wait_for_crop(cropped, 0, 100, 200)
    square.press("+")
    wait_for_crop(cropped, 0, 100, 200)


SMALL_TYPE = """() => {
  const small = [];
  const look = (root) => root.querySelectorAll("*").forEach((node) => {
    if (node.shadowRoot) look(node.shadowRoot);
    const said = [...node.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.textContent.trim());
    const { width, height } = node.getBoundingClientRect();
    const seen = said && width > 3 && height && node.checkVisibility({ visibilityProperty: true });
    if (seen && parseFloat(getComputedStyle(node).fontSize) < 24) small.push(node.outerHTML);
  });
  look(document.body);
  return small;
}"""


def test_a_lecture_is_large_hides_the_rest_and_goes_on_and_back_by_a_clicker(page, address):
    page.set_viewport_size(WALL)
    visit(page, address, "latent_plane", "?lecture=true")
    assert page.evaluate(SMALL_TYPE) == []
    assert not page.get_by_text("Look for this").is_visible() and not page.get_by_test_id("stSidebar").is_visible()
    wait_for_first_screen(page, "latent_plane")
    page.locator("canvas.front").press("ArrowRight")  # moves a pin
    wait_for_address(page, "pin=")
    for key, title in (("PageDown", "Interpolate"), ("ArrowRight", "Generate"), ("PageUp", "Interpolate")):
        page.keyboard.press(key)
        wait_until_finished(page, title)
        assert "lecture=true" in page.evaluate("location.search")
    assert page.evaluate(SMALL_TYPE) == []
    page.get_by_role("slider", name="Steps").press("ArrowRight")
    wait_for_address(page, "steps=10")
    page.get_by_role("button", name="End the lecture").click()
    page.get_by_text("Look for this").wait_for()


@pytest.fixture
def phone(browser):
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True, reduced_motion="reduce")
    yield context.new_page()
    context.close()


@pytest.mark.parametrize(
    ("key", "touched", "across", "down", "changes"),
    [
        ("latent_plane", "canvas.front", 0.3, 0.6, "pin="),
        wide("classify", ".st-key-confusion .nsewdrag", 0.85, 0.85, "cell=8-8"),
        wide("denoise", ".st-key-control .stSlider [data-rac]", 0.9, 0.6, "level-gaussian="),
    ],
)
def test_touch_works_in_planes_matrix_and_sliders(phone, address, key, touched, across, down, changes):
    visit(phone, address, key)
    touch(phone, touched, across, down)
    wait_for_address(phone, changes)


def test_touch_works_on_the_pad(phone, address):
    visit(phone, address, "draw")
    before = picture(phone, "canvas.rebuilt")
    touch(phone, "canvas.pad", 0.5, 0.1)
    wait_for_change(phone, "canvas.rebuilt", before)


def touch(page, selector, across, down):
    box = page.locator(selector).first.bounding_box()
    page.touchscreen.tap(box["x"] + across * box["width"], box["y"] + down * box["height"])
