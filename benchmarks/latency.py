"""How long a lecturer waits, in headless Chromium.

    python -m benchmarks.latency [--json] [--repeats 20] [--only regions ...]

cold_start    from starting the server process, with an open browser, to the first picture on the Overview page
stock_cold_start  the same for the minimal app, in turn with ours
page_switch   from a click in the navigation to the finished page: title, pictures and charts there, script ended
slider        from the release of a dragged slider to the new picture, decoded and painted
stock_slider  the same for a minimal Streamlit app (`stock_app.py`), moved in turn with ours in the same run
pointer_to_pixels, draw_to_reconstruction, attribute_to_pixels
              for each model, from the time stamp of a pointer event over the plane, on the drawing pad, or on a
              slider of the page Attributes, to the first task after the animation frame that shows the new
              picture; beside them how many times longer the stock slider took, and the bytes that travel to the page
dial_to_last  the same for each position of a dial, held by its arrow keys: all that it changes is painted then; on
              Time without the gliding of dots
pointer_to_sum  from a pointer event over the plane of ELBO to the map, the bars and the sum of what is under it
regions       on Classify, from a plane that is to be drawn anew, with its weights there, to the frame with the
              classifier's regions: from 7 x 7 pictures, from 13 x 13 at the borders, and as fine as they get

Denoise and Latent plane are timed on Fashion-MNIST, Interpolate and Attributes on faces.

All figures in milliseconds, median and 95th percentile; each is printed when it is there.
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Collection, Iterator

from benchmarks.browser import COMPONENTS, FINISHED, chromium, serve, serve_stock, visit
from explorer.arguments import speak_any_encoding
from explorer.checkpoints import Bundle, root_folder
from explorer.roster import autoencoders_for
from explorer.ui import catalog
from explorer.ui.frame import PAGES
from explorer.ui.loading import packed

DATASET = "fashion-mnist"
FACES = "celeba"
PARTS = ("start", "sliders", "live", "dials", "ledger", "regions", "pages")
DIALS = (("length", DATASET), ("beta", DATASET), ("beta", "shapes"), ("time", DATASET))
SLIDERS = {"denoise": "Level", "latent_plane": "Range", "interpolate": "Steps", "stock": "z"}
PICTURES = {
    "denoise": "document.querySelector('.lx-strip:nth-of-type(2) img')",
    "latent_plane": f"({COMPONENTS})('.live')[0]",
    "interpolate": "document.querySelector('.lx-strip img')",
    "stock": "document.querySelector('[data-testid=stImage] img')",
}
MOVES = 120  # of the pointer, for each model
SETTLE_MS = 300  # between two drags, so that the first has left nothing to do
PAUSE_MS = 40  # between two of them: a hand that moves slowly, so that each has a frame of its own

# From the event's own time stamp to the first task after the frame that shows it. A picture of ours is known by its
# address, a canvas by the number of sheets painted on it.
WATCH = """() => {
  const find = () => PICTURE;
  const state = (node) => node?.src ?? node?.dataset.sheets;
  const old = state(find());
  let released = null;
  window.addEventListener('pointerup', event => { released = event.timeStamp; }, { capture: true, once: true });
  window.lxWait = new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error('no new picture in 20 s')), 20000);
    const look = async () => {
      const node = find();
      if (released === null || !node || state(node) === old || node.complete === false) {
        return requestAnimationFrame(look);
      }
      await node.decode?.();
      requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - released)));
    };
    requestAnimationFrame(look);
  });
}"""

# The component's own listener sits deeper, so its animation frame is asked for before this one and runs before it.
FOLLOW = f"""([selector, kind]) => {{
  const [canvas] = ({COMPONENTS})(selector);
  window.lxTimes = [];
  const waiting = [];
  const channel = new MessageChannel(); // a task without setTimeout's clamp
  channel.port1.onmessage = () => window.lxTimes.push(performance.now() - waiting.shift());
  document.addEventListener(kind, event => {{
    const before = canvas.dataset.frames;
    const look = () => {{
      if (canvas.dataset.frames === before) return requestAnimationFrame(look);
      waiting.push(event.timeStamp);
      channel.port2.postMessage(null);
    }};
    requestAnimationFrame(look);
  }});
}}"""

# A plane is drawn anew when its size changes.
REGIONS = f"""() => {{
  const root = ({COMPONENTS})('.live')[0];
  window.lxRegions = new Promise(resolve => {{
    const times = {{}};
    let start = null;
    new MutationObserver((changes, observer) => {{
      const {{ painted, regions }} = root.dataset;
      start ??= performance.now();
      const cells = painted === 'yes' ? 'all' : regions;
      if (!changes.some(change => change.attributeName === 'data-regions') && cells !== 'all') return;
      requestAnimationFrame(() => setTimeout(() => {{
        times[cells] ??= performance.now() - start;
        if (cells !== 'all') return;
        observer.disconnect();
        resolve(times);
      }}));
    }}).observe(root, {{ attributes: true, attributeFilter: ['data-painted', 'data-regions'] }});
  }});
}}"""

IDLE = "document.querySelector('[data-testid=stApp]').dataset.testScriptState === 'notRunning'"

SWITCH = """([link, title, finished]) => new Promise(resolve => {
  const isFinished = eval(finished);
  const start = performance.now();
  document.querySelector(link).click();
  const look = () => {
    if (!isFinished(title)) return requestAnimationFrame(look);
    requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - start)));
  };
  requestAnimationFrame(look);
})"""


def percentiles(measure: str, page: str, milliseconds: list[float]) -> dict[str, object]:
    """Make one row of the result; p95 is the highest value where there are fewer than 20."""
    ordered = sorted(milliseconds)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
    return {
        "measure": measure, "page": page, "p50_ms": round(statistics.median(ordered), 1),
        "p95_ms": round(p95, 1), "n": len(ordered),
    }  # fmt: skip


def drag(page: object, key: str, share: float) -> float:
    """Drag a page's slider to `share` of its length and return the wait for the new picture in ms."""
    page.wait_for_function(IDLE)
    slider = page.get_by_test_id("stSlider").filter(has_text=SLIDERS[key])
    track, thumb = slider.bounding_box(), slider.get_by_role("slider").bounding_box()
    y = thumb["y"] + thumb["height"] / 2
    page.mouse.move(thumb["x"], y)  # the input of this role is wider than the thumb, and begins at its middle
    page.mouse.down()
    page.mouse.move(track["x"] + share * track["width"], y, steps=4)
    page.evaluate(WATCH.replace("PICTURE", PICTURES[key]))
    page.mouse.up()
    return page.evaluate("window.lxWait")


def sliders(browser: object, ours: str, stock: str, repeats: int) -> list[dict[str, object]]:
    """Time the sliders of our pages and of the stock app, in turn."""
    rows = []
    yardstick = browser.new_page()
    yardstick.goto(stock)
    yardstick.wait_for_selector('[data-testid="stImage"] img', timeout=120_000)
    for key, dataset in (("denoise", DATASET), ("latent_plane", DATASET), ("interpolate", FACES)):
        page = browser.new_page(viewport={"width": 1280, "height": 1400})
        visit(page, ours, key, f"?dataset={dataset}")
        times: dict[str, list[float]] = {"slider": [], "stock_slider": []}
        for i in range(repeats + 2):
            share = 0.1 + 0.8 * ((i * 0.618) % 1)
            page.bring_to_front()
            mine = drag(page, key, share)
            page.wait_for_timeout(SETTLE_MS)
            yardstick.bring_to_front()
            theirs = drag(yardstick, "stock", share)
            yardstick.wait_for_timeout(SETTLE_MS)
            if i >= 2:  # the first two fill caches and compile kernels
                times["slider"].append(mine)
                times["stock_slider"].append(theirs)
        rows += [percentiles(measure, key, values) for measure, values in times.items()]
        page.close()
    yardstick.close()
    return rows


def follow(page: object, canvas: str, picture: str) -> list[float]:
    """Move the pointer over `canvas` on a winding path, and return the waits for a new `picture` in ms.

    To and fro at one speed, so that a slider has another value after every move.
    """
    box = page.locator(canvas).bounding_box()
    page.evaluate(FOLLOW, [picture, "pointermove"])
    for i in range(MOVES):
        x, y = 0.1 + 0.8 * abs(0.06 * i % 2 - 1), 0.5 + 0.4 * math.cos(0.21 * i)
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.wait_for_timeout(PAUSE_MS)
    return page.evaluate("window.lxTimes")[10:]  # the first compile kernels


def live(browser: object, ours: str, stock_ms: float | None) -> Iterator[dict[str, object]]:
    """Time the plane for each model, the drawing pad on Fashion-MNIST, and the sliders of attributes on faces."""
    for dataset in (DATASET, FACES):
        for model in autoencoders_for(dataset):
            page = browser.new_page(viewport={"width": 1280, "height": 1400})
            query = f"?dataset={dataset}&model={model}"
            visit(page, ours, "latent_plane", f"{query}&plane=Any+model")
            times = {"pointer_to_pixels": follow(page, "canvas.front", "canvas.picture")}
            if dataset == DATASET:
                visit(page, ours, "draw", query)
                times["draw_to_reconstruction"] = press_and_follow(page, "canvas.pad", "canvas.rebuilt")
            else:
                visit(page, ours, "attributes", query)
                times["attribute_to_pixels"] = press_and_follow(page, "input.range >> nth=0", ".edited canvas")
            page.close()
            bundle = Bundle(dataset, model, root_folder())
            shared = {"model": model, "bytes": len(packed(bundle).content)}
            for measure, values in times.items():
                row = percentiles(measure, "", values) | shared
                del row["page"]
                yield row | ({"stock_slider_ratio": round(stock_ms / row["p50_ms"], 1)} if stock_ms else {})


def press_and_follow(page: object, target: str, picture: str) -> list[float]:
    """Hold the pointer down on `target` while it moves; see `follow`."""
    box = page.locator(target).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    times = follow(page, target, picture)
    page.mouse.up()
    return times


def dials(browser: object, ours: str) -> Iterator[dict[str, object]]:
    """Time the dials of the pages with one, to the frame in which all is painted that they change."""
    for key, dataset in DIALS:
        page = browser.new_page(viewport={"width": 1280, "height": 720}, reduced_motion="reduce")
        visit(page, ours, key, f"?dataset={dataset}")
        dial = page.get_by_role("slider").first
        steps = int(dial.get_attribute("max"))
        dial.press("Home")
        page.evaluate(FOLLOW, [".dialled", "input"])
        for i in range(MOVES):
            dial.press("ArrowRight" if i // steps % 2 == 0 else "ArrowLeft")
            page.wait_for_timeout(5 * PAUSE_MS)
        yield percentiles("dial_to_last", f"{key}, {dataset}", page.evaluate("window.lxTimes")[10:])
        page.close()


def ledger(browser: object, ours: str) -> Iterator[dict[str, object]]:
    """Time the sum of ELBO under a pointer over the plane."""
    for dataset, model in ((DATASET, "conv-vae"), (FACES, "face-vae")):
        page = browser.new_page(viewport={"width": 1280, "height": 1400})
        visit(page, ours, "elbo", f"?dataset={dataset}&model={model}")
        yield percentiles("pointer_to_sum", model, follow(page, "canvas.front", ".ledger"))
        page.close()


def regions(browser: object, ours: str, repeats: int) -> Iterator[dict[str, object]]:
    """Time the classifier's regions on the planes of a slow decoder and of a quick one."""
    for model in ("conv-vae", "fc-ae"):
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        visit(page, ours, "classify", f"?dataset={DATASET}&model={model}")
        page.wait_for_function(f"({COMPONENTS})('.live')[0]?.dataset.painted === 'yes'")
        times: dict[str, list[float]] = {"6": [], "12": [], "all": []}
        for i in range(repeats + 1):
            page.evaluate(REGIONS)
            page.set_viewport_size({"width": 1360 - 80 * (i % 2), "height": 1000})
            found = page.evaluate("window.lxRegions")
            page.wait_for_timeout(SETTLE_MS)
            if i:  # the first compiles kernels
                for cells, values in times.items():
                    values.append(found[cells])
        for cells, values in times.items():
            yield percentiles(f"regions_{cells}", model, values)
        page.close()


def page_switches(browser: object, address: str, repeats: int) -> list[dict[str, object]]:
    """Time each page's opening by a click in the navigation, after every page was open once."""
    times: dict[str, list[float]] = {
        key: [] for key, page in PAGES.items() if page.fits(catalog.collection(root_folder(), DATASET))
    }
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    visit(page, address, "overview")
    for i in range(repeats + 1):
        for key in [*list(times)[1:], "overview"]:
            name = "" if key == "overview" else key
            link = f'[data-testid="stSidebar"] a[href^="{name}?"]'
            waited = page.evaluate(SWITCH, [link, PAGES[key].title, FINISHED])
            page.wait_for_timeout(300)
            if i:
                times[key].append(waited)
    page.close()
    return [percentiles("page_switch", key, values) for key, values in times.items()]


def cold_starts(browser: object, repeats: int) -> list[dict[str, object]]:
    """Time from starting a server to its first picture: ours, and the minimal app as Streamlit runs it, in turn."""
    plane = f"({COMPONENTS})('canvas.picture')[0]?.dataset.frames > 0"
    times: dict[str, list[float]] = {"cold_start": [], "stock_cold_start": []}
    for _ in range(repeats):
        for measure, server, picture in (
            ("cold_start", serve, plane), ("stock_cold_start", serve_stock, f"{PICTURES['stock']}?.naturalWidth > 0"),
        ):  # fmt: skip
            start = time.perf_counter()
            with server() as address:
                page = browser.new_page()
                page.goto(address)
                page.wait_for_function(picture, timeout=120_000)
                times[measure].append(1000 * (time.perf_counter() - start))
                page.close()
    return [percentiles(measure, "overview", values) for measure, values in times.items()]


def rows(browser: object, only: Collection[str], repeats: int) -> Iterator[dict[str, object]]:
    """Measure the parts that are wanted, each row when it is there."""
    if "start" in only:
        yield from cold_starts(browser, max(3, repeats // 4))
    with serve() as ours, serve_stock() as stock:
        stock_ms = None
        if "sliders" in only:
            moved = sliders(browser, ours, stock, repeats)
            yield from moved
            stock_ms = min(row["p50_ms"] for row in moved if row["measure"] == "stock_slider")
        if "live" in only:
            yield from live(browser, ours, stock_ms)
        if "dials" in only:
            yield from dials(browser, ours)
        if "ledger" in only:
            yield from ledger(browser, ours)
        if "regions" in only:
            yield from regions(browser, ours, repeats)
        if "pages" in only:
            yield from page_switches(browser, ours, max(3, repeats // 3))


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    speak_any_encoding()
    parser = argparse.ArgumentParser(description="Time the app in headless Chromium.")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--repeats", type=int, default=20, help="moves of each slider (default 20)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default: all)")
    args = parser.parse_args(argv)
    from playwright.sync_api import Error as PlaywrightError

    text = "{measure:<23} {name:<13} p50 {p50_ms:7.1f} ms   p95 {p95_ms:7.1f} ms   n = {n}"
    try:
        with chromium() as browser:
            for row in rows(browser, args.only, args.repeats):
                line = json.dumps(row) if args.json else text.format(name=row.get("page") or row["model"], **row)
                print(line, flush=True)
    except (RuntimeError, PlaywrightError) as error:
        print(f"benchmarks.latency: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
