"""Exported pages in a real browser: opened from the disk, without a network, on the committed bundles."""

import re

import numpy as np
import pytest
import torch

from benchmarks.browser import visit
from explorer import latent
from explorer.attributes import METHODS, fit_directions
from explorer.checkpoints import Bundle, root_folder
from explorer.export import contents, document
from explorer.export.command import main
from explorer.ui import loading, widgets
from explorer.ui.editing import Edit, Face
from tests.test_export import faces_view, view_of
from tests.test_live import Plane

SLIDE = {"width": 960, "height": 700}  # of reveal.js
EDGE = 2.5 + 2.5 / 9  # of the plane: half a cell beyond the centres of ten cells from -2.5 to 2.5
PIXELS = """canvas => {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return [...data];
}"""
BACKGROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of exported pages, each made when it is first opened."""
    return tmp_path_factory.mktemp("exported")


@pytest.fixture(scope="module")
def offline(browser):
    context = browser.new_context(viewport=SLIDE, offline=True, has_touch=True, color_scheme="light")
    yield context
    context.close()


@pytest.fixture
def exported(offline, folder):
    """Open an exported page from the disk; afterwards nothing but that must have been asked for, and nothing failed."""
    page = offline.new_page()
    asked, failed = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.on("console", lambda said: failed.append(said.text) if said.type == "error" else None)

    def opened(name, *arguments, query=""):
        file = folder / f"{name}.html"
        if not file.exists():
            assert main([*arguments, "-o", str(file)]) == 0
        page.goto(f"{file.as_uri()}{query}")
        page.wait_for_selector("html[data-state=ready]", state="attached")
        return page

    yield opened
    page.close()
    assert failed == []
    pages = {file.as_uri() for file in folder.iterdir()}
    assert {url.partition("?")[0] for url in asked if not url.startswith("data:")} <= pages


@pytest.fixture
def plane(exported):
    return Plane(exported("plane", "latent_plane", "--model", "conv-vae"))


def shown(page):
    """Give the first channel of the picture beside the plane, 0 to 255."""
    return torch.tensor(page.locator("canvas.picture").evaluate(PIXELS)[::4], dtype=torch.float32)


def test_the_picture_follows_the_pointer(plane):
    for x, y in ((0.25, 0.5), (0.7, 0.1)):
        plane.page.mouse.move(*plane.at(x, y), steps=3)
        plane.wait_for((2 * x - 1) * EDGE, (1 - 2 * y) * EDGE)


def test_the_picture_is_what_pytorch_decodes_there_within_half_a_grey_level(plane):
    model = Bundle("fashion-mnist", "conv-vae", root_folder()).load()
    u = v = 0.0
    for key, du, dv in (("ArrowRight", 1, 0), ("ArrowUp", 0, 1), ("ArrowUp", 0, 1), ("ArrowLeft", -1, 0)):
        plane.front.press(f"Shift+{key}")  # moves the pin by a twentieth of the plane's side
        u, v = u + 0.1 * EDGE * du, v + 0.1 * EDGE * dv
        plane.wait_for(u, v)
        with torch.inference_mode():
            expected = 255 * model.decode(torch.tensor([[u, v]])).flatten()
        assert (shown(plane.page) - expected).abs().max() <= 0.51


def test_a_slide_shows_the_whole_plane_and_pins_show_what_is_near(plane):
    assert plane.page.evaluate("document.documentElement.scrollHeight") <= SLIDE["height"]
    plane.page.mouse.click(*plane.at(0.3, 0.5))
    plane.page.mouse.click(*plane.at(0.8, 0.2))
    for title in ("Pin A and the nearest", "Pin B and the nearest", "From A to B"):
        plane.page.get_by_text(title).wait_for(timeout=5000)
    distances = [float(text) for text in plane.page.locator(".group").first.locator("figcaption").all_inner_texts()[1:]]
    assert len(distances) == 9 and distances == sorted(distances)
    images = plane.page.locator(".group").first.locator("canvas").evaluate_all("all => all.map(c => c.toDataURL())")
    assert len(set(images)) == 10


def test_keys_move_a_pin_and_do_not_turn_the_slide(plane):
    plane.page.mouse.click(*plane.at(0.5, 0.5))
    plane.page.evaluate("addEventListener('keydown', ({ key }) => { document.title += key; })")
    before = plane.where()
    for _ in range(3):
        plane.front.press("Shift+ArrowRight")
    plane.wait_for(before[0] + 3 * 0.05 * 2 * EDGE, before[1])
    plane.front.press("n")
    plane.page.get_by_role("checkbox", name="density").focus()
    plane.page.keyboard.press("ArrowRight")
    assert plane.page.title() == "Latent plane · Latent-space explorerShiftShiftShiftnArrowRight"


def test_a_tap_pins(plane):
    plane.page.touchscreen.tap(*plane.at(0.4, 0.6))
    plane.page.get_by_text("Pin A and the nearest").wait_for(timeout=5000)
    plane.wait_for(-0.2 * EDGE, -0.2 * EDGE)


def test_layers_are_switched(plane):
    back = plane.page.locator("canvas.back")
    before = back.evaluate("node => node.toDataURL()")
    plane.page.get_by_role("checkbox", name="codes").check()
    plane.page.locator(".live[data-sheets='2']").wait_for(timeout=5000)
    assert back.evaluate("node => node.toDataURL()") != before


def test_it_follows_the_theme_of_the_reader_or_of_the_address(exported):
    page = exported("plane", "latent_plane", "--model", "conv-vae")
    light = page.evaluate(BACKGROUND)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(BACKGROUND)
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(18, 19, 22)")
    page.emulate_media(color_scheme="light")
    assert exported("plane", query="?theme=dark").evaluate(BACKGROUND) == dark


def test_it_runs_in_a_frame_that_may_do_nothing_but_run_scripts(exported, folder, plane):
    outer = folder / "outer.html"
    outer.write_text(
        '<iframe sandbox="allow-scripts" src="plane.html" width="960" height="700"></iframe>', encoding="utf-8"
    )
    plane.page.goto(outer.as_uri())
    inner = plane.page.frame_locator("iframe")
    inner.locator("html[data-state=ready]").wait_for(state="attached", timeout=10_000)
    before = inner.locator(".live .where").inner_text()
    inner.locator("canvas.front").hover(position={"x": 40, "y": 40})
    inner.locator(".live .where").filter(has_not_text=before).wait_for(timeout=5000)


def test_a_browser_too_old_to_unpack_it_says_so(offline, folder, plane):
    page = offline.new_page()
    page.add_init_script("delete globalThis.DecompressionStream")
    page.goto(plane.page.url)
    assert "any of 2023 or later can" in page.get_by_role("alert").inner_text()
    page.close()


def test_a_drawing_is_rebuilt_and_placed_and_other_images_can_be_chosen(exported):
    page = exported("draw", "draw", "--model", "conv-vae")
    rebuilt, where = page.locator("canvas.rebuilt"), page.locator(".live .where")
    first, landed = rebuilt.evaluate(PIXELS), where.inner_text()
    assert page.locator(".draw .guess").count() == 3
    box = page.locator("canvas.pad").bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.1 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.9 * box["height"], steps=5)
    page.mouse.up()
    where.filter(has_not_text=landed).wait_for(timeout=5000)
    drawn, there = rebuilt.evaluate(PIXELS), where.inner_text()
    page.get_by_text("Begin with another image").click()
    page.locator(".thumbnail").first.click()
    where.filter(has_not_text=there).wait_for(timeout=5000)
    again = np.array(rebuilt.evaluate(PIXELS))  # the first thumbnail is what it began with
    assert np.abs(again - first).mean() < 1 < np.abs(again - drawn).mean()  # of bytes, where it had stand-ins' floats


def test_a_slider_changes_a_face_and_another_face_can_be_sampled(exported, folder):
    view = faces_view()
    stored = {name: tensor.float().numpy() for name, tensor in view.bundle("face-resvae").codes().items()}
    labels = stored["labelled_attributes"][:, [view.dataset.attributes.index("Smiling")]].astype(np.int8)
    found = fit_directions(stored["labelled_codes"][:2000], labels[:2000], ("Smiling",))
    edit = Edit(found, METHODS[0], ("Smiling",), ())
    held = contents.attributes(view, "face-resvae", face=Face(stored["codes"][0], ""), edit=edit, moves={})
    (folder / "face.html").write_bytes(document.document(view, held))
    page = exported("face")
    edited = page.locator(".edited canvas")
    first = edited.evaluate(PIXELS)
    page.locator(".range").first.press("Shift+End")
    page.locator(".value", has_text="+3.00").wait_for(timeout=5000)
    smiling = edited.evaluate(PIXELS)
    page.get_by_role("button", name="Another face, a sample").click()
    page.wait_for_timeout(200)
    assert len({bytes(pixels) for pixels in (first, smiling, edited.evaluate(PIXELS))}) == 3


@pytest.mark.parametrize("model", ["fc-ae", "conv-vae"])
def test_walks_are_those_of_the_app_and_follow_t_steps_and_other_images(exported, model):
    page = exported(f"two-{model}", "interpolate", "--model", model)
    view = view_of("fashion-mnist")
    picks = widgets.completed(view.gallery, [], 2)
    codes = loading.encode(view.bundle(model), view.gallery.images[picks])
    t = torch.linspace(0, 1, 9)
    for row, walk in enumerate((latent.lerp, latent.slerp), start=1):
        z = walk(*codes, t)
        cells = page.locator(".group").nth(row).locator(":scope > .row figure")
        assert [float(text) for text in cells.all_inner_texts()] == pytest.approx(z.norm(dim=1).tolist(), abs=0.006)
        for k in (0, 4, 7):
            pixels = np.array(cells.nth(k).locator("canvas").evaluate(PIXELS)[::4])
            expected = 255 * loading.decode(view.bundle(model), z[k : k + 1]).flatten()
            assert np.abs(pixels - expected).max() <= 0.75  # a quarter by rounding weights, a half by rounding pixels
    slider = page.get_by_label("From A to B: t")
    now = page.locator(".now canvas").nth(1)
    before = now.evaluate(PIXELS)
    slider.press("End")
    page.get_by_text("t 1.00").wait_for(timeout=5000)
    assert now.evaluate(PIXELS) != before
    page.get_by_label("Steps").press("Home")
    assert page.locator(".group").first.locator(":scope > .row figure").count() == 3
    page.get_by_text("Choose other images").click()
    after = now.evaluate(PIXELS)
    page.get_by_role("button", name="image B").click()
    page.locator(".thumbnail").nth(30).click()
    assert now.evaluate(PIXELS) != after


def test_the_sheet_between_four_has_their_reconstructions_in_its_corners(exported):
    page = exported("four", "interpolate", "--model", "conv-vae", "--tab", "four")
    plane = Plane(page)
    view = view_of("fashion-mnist")
    picks = widgets.completed(view.gallery, [], 4)
    bundle = view.bundle("conv-vae")
    corners = loading.decode(bundle, loading.encode(bundle, view.gallery.images[picks])).reshape(4, -1)
    half = 0.5 / 9  # of nine cells, whose centres are the corners
    for k, (x, y) in enumerate(((half, half), (1 - half, half), (half, 1 - half), (1 - half, 1 - half))):
        page.mouse.move(*plane.at(x, y), steps=2)
        plane.wait_for(k % 2, 1 - k // 2)
        page.wait_for_timeout(50)
        assert np.abs(shown(page).numpy() - 255 * corners[k]).mean() < 1.5  # the pointer stands on whole pixels


def test_the_button_of_the_app_gives_the_file_with_a_link_back_to_the_view(page, address, exported, folder):
    visit(page, address, "latent_plane", "?reach=4")
    with page.expect_download() as download:
        page.get_by_role("button", name="Take it home").click()
    assert download.value.suggested_filename == "latent-plane-conv-vae.html"
    download.value.save_as(folder / "app.html")
    opened = exported("app")
    back = opened.get_by_role("link").get_attribute("href")
    assert re.fullmatch(rf"{re.escape(address)}/latent_plane\?.*reach=4(\.0)?.*", back)
    plane = Plane(opened)
    opened.mouse.move(*plane.at(0.75, 0.5))
    plane.wait_for(0.5 * (4 + 4 / 9), 0)
