"""A model, a data set and a page are added as the README says, each in one place, to a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROGRAM = """
import train
from explorer import projection

projection.umap = lambda codes, n_components, *settings: projection.pca(codes, n_components)[0]
projection.tsne = lambda codes, *settings: projection.pca(codes, 2)[0]
assert train.main(["tiny", "--device", "cpu", "--threads", "1"]) == 0

import functools
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest
from explorer.ui.frame import PAGES

manifest_scanner.scan_component_manifests = functools.cache(manifest_scanner.scan_component_manifests)

for key in ("overview", "reconstruct", "training", "brightness"):
    page = PAGES[key]
    app = AppTest.from_file("app.py", default_timeout=60)
    if page.section:
        app.switch_page(page.file)
    app.query_params["dataset"] = "stripes"
    app.run()
    assert not app.exception and not app.error, (page, app.exception, app.error)
    print(page.key, *[label for box in app.selectbox if box.key == "dataset" for label in box.options])
    print(*[link.label for link in app.get("page_link")], sep="|")
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A copy of the project without its bundles, with the three examples of the README in the files that they name."""
    copy = tmp_path_factory.mktemp("house")
    for name in ("explorer", "pages", ".streamlit"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("app.py", "train.py"):
        shutil.copy(ROOT / name, copy)
    blocks = re.findall(
        r"```python\n# ((?:explorer|pages)/\w+\.py)\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S
    )
    assert [path for path, _ in blocks] == ["explorer/roster.py", "explorer/datasets.py", "pages/brightness.py"]
    for path, lines in blocks:
        assert lines.count("\n") <= 11
        with (copy / path).open("a", encoding="utf-8") as file:
            file.write("\n\n" + lines)
    return copy


def test_what_the_readme_adds_is_fitted_and_opened(house):
    environment = {**os.environ, "PYTHONPATH": str(house), "EXPLORER_CHECKPOINTS": str(house / "checkpoints")}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=house, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tiny: test MSE" in done.stdout
    assert "brightness Stripes" in done.stdout
    assert "|Brightness" in done.stdout
