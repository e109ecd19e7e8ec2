"""How long a lecturer waits: cold start, page switches, and sliders, in headless Chromium.

    python -m benchmarks.latency [--json] [--repeats 20]

cold_start    from starting the server process, with an open browser, to the first picture on the Overview page
page_switch   from a click in the navigation to the finished page: title, pictures and charts there, script ended
slider        from the release of a dragged slider to the new picture, decoded and painted
stock_slider  the same for a minimal Streamlit app (`stock_app.py`), moved in turn with ours in the same run
"""

import argparse
import json
import statistics
import sys
import time

from benchmarks.browser import FINISHED, ROOT, chromium, serve, wait_until_finished
from explorer.ui.frame import PAGES

PICTURES = {"denoise": ".lx-strip:nth-of-type(2) img", "latent_plane": ".lx-sheet img"}
SLIDERS = {"denoise": "Level", "latent_plane": "Range", "stock": "z"}
STOCK_PICTURE = '[data-testid="stImage"] img'

# From the event's own time stamp to the first task after the frame that shows the new picture.
WATCH = """selector => {
  const old = document.querySelector(selector).src;
  let released = null;
  window.addEventListener('pointerup', event => { released = event.timeStamp; }, { capture: true, once: true });
  window.lxWait = new Promise(resolve => {
    const look = () => {
      const image = document.querySelector(selector);
      if (released === null || !image || image.src === old || !image.complete) return requestAnimationFrame(look);
      image.decode().then(() => requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - released))));
    };
    requestAnimationFrame(look);
  });
}"""

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


def drag(page: object, label: str, picture: str, share: float) -> float:
    """Drag the slider called `label` to `share` of its length and return the wait for a new `picture` in ms."""
    slider = page.get_by_test_id("stSlider").filter(has_text=label)
    track, thumb = slider.bounding_box(), slider.get_by_role("slider").bounding_box()
    y = thumb["y"] + thumb["height"] / 2
    page.mouse.move(thumb["x"] + thumb["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(track["x"] + share * track["width"], y, steps=4)
    page.evaluate(WATCH, picture)
    page.mouse.up()
    return page.evaluate("window.lxWait")


def sliders(browser: object, repeats: int) -> list[dict[str, object]]:
    """Time the sliders of our pages and of the stock app, in turn."""
    rows = []
    with serve() as ours, serve(ROOT / "benchmarks" / "stock_app.py") as stock:
        yardstick = browser.new_page()
        yardstick.goto(stock)
        yardstick.wait_for_selector(STOCK_PICTURE, timeout=120_000)
        for key, picture in PICTURES.items():
            page = browser.new_page(viewport={"width": 1280, "height": 1400})
            page.goto(f"{ours}/{key}")
            wait_until_finished(page, PAGES[key].title)
            times: dict[str, list[float]] = {"slider": [], "stock_slider": []}
            for i in range(repeats + 2):
                share = 0.1 + 0.8 * ((i * 0.618) % 1)
                page.bring_to_front()
                mine = drag(page, SLIDERS[key], picture, share)
                yardstick.bring_to_front()
                theirs = drag(yardstick, SLIDERS["stock"], STOCK_PICTURE, share)
                if i >= 2:  # the first two fill caches and compile kernels
                    times["slider"].append(mine)
                    times["stock_slider"].append(theirs)
            rows += [percentiles(measure, key, values) for measure, values in times.items()]
            page.close()
    return rows


def page_switches(browser: object, repeats: int) -> list[dict[str, object]]:
    """Time each page's opening by a click in the navigation, after every page was open once."""
    times: dict[str, list[float]] = {key: [] for key in PAGES}
    with serve() as address:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(address)
        wait_until_finished(page, PAGES["overview"].title)
        for i in range(repeats + 1):
            for key in [*list(PAGES)[1:], "overview"]:
                name = "" if key == "overview" else key
                link = f'[data-testid="stSidebar"] a[href*="/{name}?"]'
                waited = page.evaluate(SWITCH, [link, PAGES[key].title, FINISHED])
                page.wait_for_timeout(300)
                if i:
                    times[key].append(waited)
    return [percentiles("page_switch", key, values) for key, values in times.items()]


def cold_starts(browser: object, repeats: int) -> dict[str, object]:
    """Time from starting the server to the first picture."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        with serve() as address:
            page = browser.new_page()
            page.goto(address)
            page.wait_for_function(
                "document.querySelector('[data-testid=\"stImage\"] img')?.naturalWidth > 0", timeout=120_000
            )
            times.append(1000 * (time.perf_counter() - start))
            page.close()
    return percentiles("cold_start", "overview", times)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(description="Time the app in headless Chromium.")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--repeats", type=int, default=20, help="moves of each slider (default 20)")
    args = parser.parse_args(argv)
    try:
        with chromium() as browser:
            rows = sliders(browser, args.repeats)
            rows += page_switches(browser, max(3, args.repeats // 3))
            rows.append(cold_starts(browser, max(3, args.repeats // 4)))
    except RuntimeError as error:
        print(f"benchmarks.latency: {error}", file=sys.stderr)
        return 1
    for row in rows:
        text = "{measure:<13} {page:<13} p50 {p50_ms:7.1f} ms   p95 {p95_ms:7.1f} ms   n = {n}"
        print(json.dumps(row) if args.json else text.format(**row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
