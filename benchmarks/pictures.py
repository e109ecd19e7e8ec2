"""Make the pictures of the pages in `docs/`, as small PNGs of 256 colours.

python -m benchmarks.pictures [PAGE ...]
"""

import argparse
import io
from pathlib import Path

from PIL import Image

from benchmarks.browser import ROOT, chromium, serve, visit
from explorer.ui.frame import PAGES

SIZE = {"width": 1280, "height": 720}
COLOURS = 256
FOLDER = ROOT / "docs"
VIEWS = {  # no photograph of a person is in them
    "attributes": "?dataset=celeba&face=sample&seed=3&move=Smiling,2",
    "use_it": "?use=Strangers",
}
LEFT = {"lesson"}  # its picture is of a room in which a class has voted
SETTLED_MS = 1500  # for charts, which are drawn anew when their room is known


def picture(page: object, address: str, key: str) -> Image.Image:
    """Take a picture of the first screen of a page."""
    visit(page, address, key, VIEWS.get(key, ""))
    page.wait_for_timeout(SETTLED_MS)
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return shot.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)


def main() -> None:
    """Make the pictures of the pages that are named, or of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", metavar="PAGE", help=f"any of {', '.join(PAGES)}; all by default")
    keys = parser.parse_args().pages or [key for key in PAGES if key not in LEFT]
    with serve() as address, chromium() as browser:
        page = browser.new_page(viewport=SIZE, reduced_motion="reduce")
        for key in keys:
            file = FOLDER / f"{key}.png"
            picture(page, address, key).save(file, optimize=True)
            print(f"{file.relative_to(Path.cwd())}: {file.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
