"""What other machines have otherwise: their encoding, their paths, their packages."""

import ast
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import train
from explorer.checkpoints import Bundle
from explorer.datasets import DATASETS
from tests.test_datasets import write_idx

ROOT = Path(train.__file__).parent
PROGRAM = [ROOT / "app.py", ROOT / "train.py", *(ROOT / "pages").glob("*.py"), *(ROOT / "explorer").rglob("*.py")]
DEVELOPMENT = [*(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]


def calls_without_encoding(source, in_tests=False):
    """Yield line and text of each; tests may leave what our own programs print in the machine's encoding."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or any(k.arg == "encoding" for k in node.keywords):
            continue
        owner, _, name = ast.unparse(node.func).rpartition(".")
        if name == "open" and owner not in ("Image", "os"):
            modes = node.args[1:2] if owner in ("", "io") else node.args[:1]
            modes += [k.value for k in node.keywords if k.arg == "mode"]  # more than files can be opened
            text = all(isinstance(m, ast.Constant) and re.fullmatch("[rwaxt+]+", str(m.value)) for m in modes)
        elif name.endswith("TemporaryFile"):
            text = any("w" in ast.unparse(a) and "b" not in ast.unparse(a) for a in [*node.args, *node.keywords])
        elif owner == "subprocess":
            text = not in_tests and any(k.arg in ("text", "universal_newlines") for k in node.keywords)
        else:
            text = name in ("read_text", "write_text", "TextIOWrapper")
        if text:
            yield node.lineno, ast.unparse(node)


@pytest.mark.parametrize("path", [*PROGRAM, *DEVELOPMENT], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_text_file_is_read_and_written_in_an_encoding_that_is_named(path):
    assert list(calls_without_encoding(path.read_text(encoding="utf-8"), path.parent.name == "tests")) == []


def test_a_file_without_encoding_would_be_found():
    lines = [
        "p.read_text()",
        "p.open()",
        "p.open('w')",
        "open('b')",
        "p.write_text('b')",
        "subprocess.run([], text=True)",
    ]
    fine = [
        "p.open('rb')",
        "pages.open('map')",
        "pages.open(key, 3)",
        "open(p, 'wb')",
        "p.read_text(encoding='utf-8')",
        "Image.open(p)",
        "f(text=True)",
    ]
    assert [call for _, call in calls_without_encoding("\n".join([*lines, *fine]))] == lines


EVERYTHING = """
import json, locale, sys
from pathlib import Path
from explorer.ui import components, loading
import train
found = {"encoding": locale.getencoding().lower(), "scripts": {}, "problems": [], "modules": list(sys.modules)}
for path in Path(components.__file__).parent.glob("*.js"):
    found["scripts"][path.stem] = components.script(path.stem)
if "pages" in sys.argv:
    import functools
    from streamlit.components.v2 import manifest_scanner
    from streamlit.testing.v1 import AppTest
    from explorer.ui.frame import PAGES
    manifest_scanner.scan_component_manifests = functools.cache(manifest_scanner.scan_component_manifests)
    for page in PAGES.values():
        app = AppTest.from_file(ROOT / "app.py", default_timeout=60)
        if page.file != "app.py":
            app.switch_page(page.file)
        app.query_params["dataset"] = "fashion-mnist"
        app.run()
        found["problems"] += [f"{page.title}: {e.value}" for e in [*app.exception, *app.error]]
sys.stdout.write(json.dumps(found) + "\\n")
assert train.main(["--list"]) == 0
"""


def run_in(encoding, locales, *arguments, **variables):
    """Run `EVERYTHING` in a locale of an encoding; what it found, what it printed, and its error stream."""
    code = f"from pathlib import Path\nROOT = Path({str(ROOT)!r})\n{EVERYTHING}"
    ended = subprocess.run(
        [sys.executable, "-W", "always::EncodingWarning", "-", *arguments], cwd=ROOT, capture_output=True,
        input=code.encode(),  # as an argument a backslash would be a yen sign in Shift-JIS
        env={**os.environ, "LC_ALL": encoding, "LOCPATH": str(locales), "PYTHONUTF8": "0",
             "PYTHONCOERCECLOCALE": "0", "PYTHONWARNDEFAULTENCODING": "1", "PYTHONIOENCODING": "", **variables},
    )  # fmt: skip
    errors = ended.stderr.decode("ascii", "replace")
    assert ended.returncode == 0, errors
    first, _, rest = ended.stdout.partition(b"\n")
    return json.loads(first), rest, errors


@pytest.fixture(scope="session")
def locale_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("locales")


@pytest.fixture
def machine(request, locale_folder):
    """The name of a locale in an encoding of which the system has the table (Debian: package locales)."""
    if not shutil.which("localedef") or not Path(f"/usr/share/i18n/charmaps/{request.param}.gz").exists():
        pytest.skip(f"there is no table of {request.param}")
    subprocess.run(
        ["localedef", "-c", "-i", "POSIX", "-f", request.param, locale_folder / request.param], capture_output=True
    )
    return request.param


def check(found, listed, errors):
    components = ROOT / "explorer" / "ui" / "components"
    for name, script in found["scripts"].items():
        assert script.endswith((components / f"{name}.js").read_bytes().decode())
    assert found["problems"] == []
    assert len(listed.splitlines()) == len(train.ROSTER) + len(train.FAMILIES)
    warned = [line for line in errors.splitlines() if "EncodingWarning" in line and str(ROOT) in line]
    assert [line for line in warned if "site-packages" not in line] == []  # an environment may lie below the project


@pytest.fixture(scope="module")
def in_ascii(tmp_path_factory):
    return run_in("C", "", "pages", EXPLORER_DATA=str(tmp_path_factory.mktemp("räume")))


def test_every_page_opens_and_the_roster_is_listed_where_there_is_nothing_but_ascii(in_ascii):
    assert in_ascii[0]["encoding"] == "ansi_x3.4-1968"
    check(*in_ascii)


def test_the_app_and_training_start_without_torchvision_and_what_only_tests_need(in_ascii):
    modules = set(in_ascii[0]["modules"])
    assert {"torch", "streamlit", "train", "explorer.mnist", "explorer.ui.loading"} <= modules
    assert not modules & {"torchvision", "skimage", "pywt", "playwright", "pytest"}


OTHERS = ("CP1250", "GBK", "SHIFT_JIS", "BIG5", "EUC-KR", "CP949")


@pytest.mark.parametrize(
    "machine", ["CP1252", *(pytest.param(name, marks=pytest.mark.wide) for name in OTHERS)], indirect=True
)
def test_windows_code_pages_show_the_same_scripts_and_list_the_roster(machine, locale_folder):
    found, *printed = run_in(machine, locale_folder)
    assert found["encoding"] == machine.lower()
    check(found, *printed)


LONG = Path("räume mit Leerzeichen & Ümlauten", "数据 и данные", *["ein langer Name, der kein Ende nimmt"] * 6)


def test_folders_may_have_blanks_umlauts_and_more_than_260_characters(tmp_path, monkeypatch):
    folder = tmp_path / LONG
    assert len(str(folder)) > 260
    options = ["fc-ae", "--dataset", "digits", "--epochs", "1", "--device", "cpu", "--threads", "1"]
    stages = ["--only", "fit", "metrics"]
    assert train.main([*options, *stages, "--data-dir", str(folder), "--checkpoints", str(folder / "models")]) == 0
    bundle = Bundle("digits", "fc-ae", folder / "models")
    assert bundle.load().code_length == 64
    assert bundle.metrics()["mse"] < 1

    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    write_idx(raw / "t10k-images-idx3-ubyte", np.zeros((3, 28, 28), np.uint8))
    write_idx(raw / "t10k-labels-idx1-ubyte", np.arange(3, dtype=np.uint8))
    assert DATASETS["mnist"].load("test", folder).labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize("folder", ["~/bilder", "bilder"])
def test_a_folder_may_begin_with_the_home_folder(tmp_path, monkeypatch, folder):
    from explorer.datasets import data_folder

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EXPLORER_DATA", folder)
    assert data_folder() == Path(folder.replace("~", str(tmp_path)))
    assert data_folder(folder) == data_folder()


def tracked_files():
    if not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [name for name in listed.decode().split("\0") if name]


def test_every_tracked_file_can_be_checked_out_on_windows_and_on_a_mac():
    names = tracked_files()
    reserved = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)")
    for name in names:
        assert len(name) < 100
        assert not re.search(r'[<>:"\\|?*\x00-\x1f]', name)
        assert not any(reserved.match(part) or part != part.rstrip(" .") for part in name.split("/"))
    folded = [name.casefold() for name in names]
    assert len(set(folded)) == len(names)


def requirements(name):
    lines = [line.partition("#")[0].strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines()]
    return {r.name.lower(): r for r in map(Requirement, filter(None, lines))}


RUN, TEST = requirements("requirements.txt"), requirements("tests/requirements.txt")
TOOLS = {"ruff", "oxlint", "pytest-xdist", "pytest-rerunfailures", "psycopg", "pywavelets"}  # called, not imported
# imported where they are installed, and by CI
OPTIONAL = {"pillow-heif", "onnx", "onnxruntime", "babel", "torch-fidelity"}


def imported(paths):
    """Name the distributions of all packages that are imported, late imports too."""
    installed = importlib.metadata.packages_distributions()
    ours = {"explorer", "benchmarks", "pages", "tests", "train", "app"} | sys.stdlib_module_names
    names = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module.partition(".")[0])
    return {installed.get(name, [name])[0].lower().replace("_", "-") for name in names - ours}


def test_what_the_app_and_training_import_is_required_and_nothing_else():
    assert imported(PROGRAM) - OPTIONAL == set(RUN)


def test_what_tests_and_benchmarks_import_is_required_and_nothing_else():
    assert imported(DEVELOPMENT) - set(RUN) - OPTIONAL == set(TEST) - TOOLS - OPTIONAL


@pytest.mark.parametrize("name", [*RUN, *TEST])
def test_every_requirement_ends_before_the_major_version_after_the_one_that_was_tested(name):
    requirement, [pin] = {**RUN, **TEST}[name], requirements("constraints.txt")[name].specifier
    bounds = {s.operator: Version(s.version) for s in requirement.specifier}
    tested = Version(pin.version)
    assert set(bounds) == {">=", "<"}
    assert pin.operator == "=="
    assert tested.local is None  # of a CPU's or a GPU's wheel: ==2.14.1 allows 2.14.1+cpu, the reverse nothing else
    assert bounds[">="] <= tested < bounds["<"]
    assert bounds["<"] in [Version(f"{tested.major + 1}"), Version(f"{tested.major}.{tested.minor + 1}")]
