"""The planes and the pad in a real browser, on the committed bundles."""

import base64
import itertools
import re

import pytest
import torch

from benchmarks.browser import COMPONENTS, visit, wait_until_finished
from explorer.checkpoints import Bundle, root_folder
from explorer.datasets import data_folder
from explorer.layers import pack
from explorer.roster import ROSTER
from explorer.ui import components, serving
from explorer.ui.frame import PAGES
from tests.conftest import has_clothes
from tests.test_layers import FACES, residual_network

SIDE = 28 * 28
LIBRARY = components.script("network") + "\nglobalThis.lx = { engine, makeNetworks, unpack, decodeBase64, LAYER_WASM };"
RUN = """([packed, inputs, wasm]) => {
  const { engine, makeNetworks, unpack, decodeBase64, LAYER_WASM } = globalThis.lx;
  const runtime = engine(wasm ? decodeBase64(LAYER_WASM) : new Uint8Array(4));
  const networks = makeNetworks(unpack(decodeBase64(packed)), runtime);
  const outputs = Object.entries(inputs).map(([part, [text, size]]) => {
    const x = new Float32Array(decodeBase64(text).buffer);
    const letters = [];
    for (let i = 0; i < x.length; i += size) {
      const bytes = new Uint8Array(Float32Array.from(networks[part](x.slice(i, i + size))).buffer);
      for (let j = 0; j < bytes.length; j += 4096) letters.push(String.fromCharCode(...bytes.subarray(j, j + 4096)));
    }
    return [part, btoa(letters.join(""))];
  });
  return [runtime.kind, Object.fromEntries(outputs)];
}"""


IN_JAVASCRIPT = ("conv-vae", "ffnn")  # all that there are in `wide`; each kind of layer in test_live_layers
IN_WIDE = {(name, "javascript") for name in ROSTER if name not in IN_JAVASCRIPT} | {("face-resvae", "webassembly")}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(*case, marks=pytest.mark.wide if case in IN_WIDE else ())
        for case in itertools.product(ROSTER, ("webassembly", "javascript"))
    ],
)
def test_the_browser_computes_what_torch_computes(page, name, kind):
    home = ROSTER[name].home
    parts = Bundle(home, name, root_folder()).load().networks()
    for part, error in errors_in_the_browser(page, parts, kind, n=2 if home == "celeba" else 16).items():
        assert error <= 1e-3, part


@pytest.mark.parametrize("kind", ["webassembly", "javascript"])
def test_the_browser_adds_what_residual_blocks_keep(page, kind):
    torch.manual_seed(0)
    assert errors_in_the_browser(page, {"it": residual_network()}, kind)["it"] <= 1e-4


@pytest.mark.parametrize(("half", "tolerance"), [(False, 1e-5), (True, 2e-3)])
def test_the_browser_decodes_a_face_from_weights_of_either_precision(page, half, tolerance):
    torch.manual_seed(0)
    parts = {"decode": FACES.build().eval().networks()["decode"]}
    assert errors_in_the_browser(page, parts, "webassembly", n=4, half=half)["decode"] <= tolerance


def errors_in_the_browser(page, parts, kind, n=64, half=False):
    """Run networks in the browser on random input; give the largest difference to what torch computes, by name."""
    packed = base64.b64encode(pack("a/b", parts, half)).decode()
    page.add_script_tag(content=LIBRARY, type="module")
    page.wait_for_function("globalThis.lx")
    generator = torch.Generator().manual_seed(0)
    x = {part: torch.randn(n, *shape, generator=generator) for part, (_, shape) in parts.items()}
    x |= {part: x[part].abs().clamp(0, 1) for part in ("encode", "classify") if part in x}
    inputs = {part: [base64.b64encode(v.numpy().tobytes()).decode(), v[0].numel()] for part, v in x.items()}
    used, outputs = page.evaluate(RUN, [packed, inputs, kind == "webassembly"])
    assert used == kind
    errors = {}
    for part, (network, _) in parts.items():
        with torch.inference_mode():
            expected = network(x[part]).flatten(1)
        got = torch.frombuffer(bytearray(base64.b64decode(outputs[part])), dtype=torch.float32)
        errors[part] = (got.view_as(expected) - expected).abs().max().item()
    return errors


def test_the_browser_widens_every_finite_half(page):
    page.add_script_tag(content=LIBRARY, type="module")
    page.wait_for_function("globalThis.lx")
    halves = torch.arange(2**16).to(torch.uint16).view(torch.float16)
    halves = halves[halves.isfinite()]
    header = b'{"model":"a/b","dtype":"float16","networks":{}} '
    data = len(header).to_bytes(4, "little") + header + halves.numpy().tobytes()
    got = page.evaluate(
        "packed => [...globalThis.lx.unpack(globalThis.lx.decodeBase64(packed)).weights]",
        base64.b64encode(data).decode(),
    )
    assert torch.equal(torch.tensor(got), halves.float())


@pytest.fixture
def plane(page, address):
    visit(page, address, "latent_plane")
    return Plane(page)


SLOW = "(() => { let t = 0; performance.now = () => (t += 50); })()"


def test_a_plane_says_where_its_pictures_lag_behind_the_pointer(plane):
    note = plane.page.locator(".live .note").first
    plane.page.mouse.move(*plane.at(0.4, 0.4))
    plane.page.wait_for_timeout(100)
    assert "usual distance" in note.inner_text() and "lags" not in note.inner_text()
    plane.page.evaluate(SLOW)
    for step in range(6):  # most of those whose time counts
        plane.page.mouse.move(*plane.at(0.4 + step / 50, 0.5))
        plane.page.wait_for_timeout(100)
    assert note.inner_text().endswith("; 50 ms a picture in this browser: it lags behind the pointer")


class Plane:
    """The first plane of a page, driven in shares of its side from the upper left corner."""

    def __init__(self, page, n=0):
        self.page = page
        self.front = page.locator("canvas.front").nth(n)
        self.words = page.locator(".live .where").nth(n)
        self.front.scroll_into_view_if_needed()

    def at(self, x, y):
        box = self.front.bounding_box()
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def where(self):
        return [float(number) for number in re.findall(r"-?\d+\.\d+", self.words.inner_text())]

    def wait_for(self, u, v):
        for _ in range(100):
            if self.where() == pytest.approx([u, v], abs=0.06):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"the plane shows {self.where()}, not {u}, {v}")

    def pins(self, n):
        self.page.wait_for_function(
            "n => new URLSearchParams(location.search).getAll('pin').length === n", arg=n, timeout=15_000
        )
        return [tuple(float(p) for p in text.split(",")) for text in self.page.evaluate(
            "new URLSearchParams(location.search).getAll('pin')"
        )]  # fmt: skip


# The plane of the 2-D code reaches from -2.5 to 2.5 at the centres of 10 cells, so half a cell further at its edges.
EDGE = 2.5 + 2.5 / 9


def test_the_picture_follows_the_pointer_and_a_click_pins_and_opens_what_is_real_near_it(plane):
    for x, y in ((0.25, 0.5), (0.7, 0.1)):
        plane.page.mouse.move(*plane.at(x, y), steps=4)
        plane.wait_for((2 * x - 1) * EDGE, (1 - 2 * y) * EDGE)
    assert plane.page.locator(".live .guess").count() == 3
    plane.page.mouse.click(*plane.at(0.3, 0.5))
    [(u, v)] = plane.pins(1)
    assert (u, v) == pytest.approx((-0.4 * EDGE, 0), abs=0.06)
    plane.page.get_by_text("Pin A", exact=True).wait_for()
    plane.page.mouse.click(*plane.at(0.8, 0.2))
    plane.pins(2)
    plane.page.get_by_text("From A to B", exact=True).wait_for()


def drag(plane, start, end, between=lambda: None):
    plane.page.mouse.move(*plane.at(*start))
    plane.page.mouse.down()
    plane.page.mouse.move(*plane.at(*[(a + b) / 2 for a, b in zip(start, end, strict=True)]), steps=3)
    between()
    plane.page.mouse.move(*plane.at(*end), steps=3)
    plane.page.mouse.up()


def test_a_pin_is_dragged_also_while_another_control_draws_the_page_anew_and_in_a_window_that_changes_its_size(plane):
    def rerun():
        plane.page.evaluate("[...document.querySelectorAll('button')].find(b => b.innerText === 'codes').click()")
        plane.page.get_by_text("T-shirt", exact=True).first.wait_for(timeout=15_000)
        wait_until_finished(plane.page, PAGES["latent_plane"].title)  # the legend has moved the plane
        plane.page.wait_for_timeout(200)

    def resize():
        plane.page.set_viewport_size({"width": 1500, "height": 1000})

    drag(plane, (0.3, 0.5), (0.6, 0.3))  # the first touch sets the pin
    for end, between in (((0.3, 0.6), rerun), ((0.7, 0.4), resize)):
        [(u, v)] = plane.pins(1)
        drag(plane, (0.5 + u / EDGE / 2, 0.5 - v / EDGE / 2), end, between)
        expected = pytest.approx(((2 * end[0] - 1) * EDGE, (1 - 2 * end[1]) * EDGE), abs=0.06)
        plane.page.wait_for_function(
            "u => Math.abs(parseFloat(new URLSearchParams(location.search).get('pin')) - u) < 0.06",
            arg=(2 * end[0] - 1) * EDGE, timeout=15_000,
        )  # fmt: skip
        assert plane.pins(1)[0] == expected


def test_arrow_keys_nudge_a_pin_which_is_said_and_delete_lets_it_go(plane):
    plane.page.mouse.click(*plane.at(0.5, 0.5))
    [(before, _)] = plane.pins(1)
    for _ in range(3):
        plane.front.press("Shift+ArrowRight")
    plane.page.wait_for_function("() => location.search.includes('pin=0.')", timeout=15_000)
    assert plane.pins(1)[0][0] == pytest.approx(before + 3 * 0.05 * 2 * EDGE, abs=0.06)
    said = plane.page.locator(".said")
    said.filter(has_text=re.compile(r"^Pin A: z₁ .+; taken for .+ %; nearest image: .+, number \d+$")).wait_for(
        state="attached", timeout=15_000
    )
    plane.front.press("Escape")  # is Streamlit's and the screen reader's
    assert len(plane.pins(1)) == 1
    plane.front.press("Delete")
    assert plane.pins(0) == []
    said.filter(has_text="No pin").wait_for(state="attached", timeout=15_000)


def test_a_tap_pins(browser, address):
    context = browser.new_context(has_touch=True, viewport={"width": 1000, "height": 1000})
    page = context.new_page()
    visit(page, address, "latent_plane")
    plane = Plane(page)
    page.touchscreen.tap(*plane.at(0.4, 0.6))
    assert plane.pins(1)[0] == pytest.approx((-0.2 * EDGE, -0.2 * EDGE), abs=0.06)
    context.close()


def test_a_link_with_pins_opens_the_same_view_on_a_server_that_has_not_seen_them(page, address):
    visit(page, address, "latent_plane", "?pin=1,1&pin=-1,-0.5")
    page.get_by_text("From A to B", exact=True).wait_for(timeout=15_000)
    Plane(page).wait_for(-1, -0.5)


def test_pins_that_make_no_sense_are_passed_over(page, address):
    visit(page, address, "latent_plane", "?pin=nan,1&pin=1e9,0")
    plane = Plane(page)
    plane.wait_for(0, 0)
    assert plane.pins(0) == []


def test_two_planes_share_one_pointer(page, address):
    visit(page, address, "latent_plane", "?plane=The+hole+test")
    left, right = Plane(page, 0), Plane(page, 1)
    page.mouse.move(*left.at(0.25, 0.25), steps=4)
    expected = (-0.5 * (3 + 3 / 11), 0.5 * (3 + 3 / 11))
    left.wait_for(*expected)
    right.wait_for(*expected)


@pytest.mark.parametrize(
    "lack",
    ["WebAssembly.validate = () => false", pytest.param("delete globalThis.WebAssembly", marks=pytest.mark.wide)],
)
def test_a_browser_without_webassembly_decodes_in_javascript(window, address, lack):
    page = window.new_page()
    page.add_init_script(lack)
    visit(page, address, "latent_plane")
    assert page.locator(".live").get_attribute("data-state") == "javascript"
    plane = Plane(page)
    page.mouse.move(*plane.at(0.25, 0.5), steps=4)
    plane.wait_for(-0.5 * EDGE, 0)
    page.close()


def test_a_strip_follows_the_pointer_along_one_direction(page, address):
    visit(page, address, "latent_plane", "?plane=Along+one+direction")
    words = page.locator(".live .where")
    box = page.locator("canvas.front").bounding_box()
    before = words.inner_text()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.5 * box["height"], steps=4)
    page.wait_for_timeout(300)
    assert words.inner_text() != before


def test_a_drawing_is_rebuilt_and_placed_while_it_is_drawn(page, address):
    visit(page, address, "draw")
    plane = Plane(page)
    pad = page.locator("canvas.pad")
    shot = "node => node.toDataURL()"
    page.wait_for_function(f"({COMPONENTS})('.live .where')[0].textContent !== 'z₁ 0.00   z₂ 0.00'")
    first, landed = pad.evaluate(shot), plane.where()
    page.get_by_role("button", name="Clear").click()
    page.wait_for_timeout(200)
    empty = pad.evaluate(shot)
    box = pad.bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.1 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.9 * box["height"], steps=6)
    page.wait_for_timeout(200)
    rebuilt = page.locator("canvas.rebuilt").evaluate(shot)
    page.mouse.up()
    drawn = pad.evaluate(shot)
    assert len({first, empty, drawn, rebuilt}) == 4
    assert plane.where() != landed
    held_against = "real images" if has_clothes(data_folder()) else "stand-ins have"
    assert f"of the {held_against}" in page.locator(".draw .note").inner_text()
    for expected in (empty, first):
        page.get_by_role("button", name="Undo").click()
        page.wait_for_timeout(200)
        assert pad.evaluate(shot) == expected


def test_what_a_browser_has_does_not_travel_again(browser, address):
    context = browser.new_context()
    page = context.new_page()
    frames, fetched, kept = [], [], set()
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: frames.append(len(frame))))
    network = context.new_cdp_session(page)
    network.send("Network.enable")
    network.on("Network.requestWillBeSent", lambda event: fetched.append((event["requestId"], event["request"]["url"])))
    network.on("Network.requestServedFromCache", lambda event: kept.add(event["requestId"]))
    network.on("Network.responseReceived", lambda e: e["response"]["fromDiskCache"] and kept.add(e["requestId"]))

    def travelled():
        files = [url for i, url in fetched if i not in kept and f"/{serving.FILES}/" in url]
        size = sum(frames)
        for seen in (frames, fetched, kept):
            seen.clear()
        return size, files

    visit(page, address, "overview")
    _, files = travelled()
    assert {"plane.js", "conv-vae.bin", "ffnn.bin"} <= {url.rpartition("/")[2] for url in files}
    first = {}
    for turn in range(2):
        for key in ("latent_map", "overview"):
            page.locator(f'[data-testid="stSidebar"] a[href^="{"" if key == "overview" else key}?"]').first.click()
            wait_until_finished(page, PAGES[key].title)
            size, files = travelled()
            assert turn == 0 or (size < 0.4 * max(first[key], 100_000) and files == [])
            first[key] = size
    page.reload()
    wait_until_finished(page, PAGES["overview"].title)
    assert travelled()[1] == []
    context.close()


def test_weights_that_do_not_arrive_are_asked_for_again_and_missed_in_words(browser, address):
    page = browser.new_page()
    answers = iter([503, 404])
    page.route(
        "**/conv-vae.bin", lambda route: route.fulfill(status=s) if (s := next(answers, 0)) else route.fallback()
    )
    visit(page, address, "latent_plane")
    page.wait_for_function(f"({COMPONENTS})('.live')[0].dataset.state === 'webassembly'")
    page.unroute("**/conv-vae.bin")
    page.route("**/files/weights/**", lambda route: route.fulfill(status=404))
    page.reload()
    page.wait_for_function(f"({COMPONENTS})('.live')[0]?.dataset.state === 'failed'")
    note = f"getComputedStyle(({COMPONENTS})('.live')[0], '::before').content"
    assert "did not arrive. Reload the page" in page.evaluate(note)
    page.close()
