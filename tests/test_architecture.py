import ast
import functools
import subprocess
import tempfile
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import train

ROOT = Path(train.__file__).parent
PROGRAMS = [ROOT / "app.py", ROOT / "train.py", *(ROOT / "pages").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
LIBRARY = sorted((ROOT / "explorer").rglob("*.py"))
LAYERS = (  # from the bottom; a module imports from its own layer and from those before it
    {
        "arguments",
        "blocks",
        "celeba",
        "cuda",
        "datasets",
        "decoding",
        "devices",
        "graph",
        "images",
        "language",
        "layers",
        "losses",
        "mnist",
        "models",
        "noise",
        "palette",
        "processes",
        "shapes",
        "signatures",
        "storage",
    },
    {
        "anomalies",
        "attributes",
        "cards",
        "checkpoints",
        "dials",
        "disentanglement",
        "edits",
        "elbo",
        "families",
        "figures",
        "flows",
        "imagefolder",
        "importing",
        "ladder",
        "latent",
        "metrics",
        "probes",
        "projection",
        "realism",
        "roster",
        "sampling",
        "stages",
        "training",
        "uses",
        "watching",
    },
    {"export", "lessons", "ui"},
)


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in [*PROGRAMS, *LIBRARY]}


@functools.cache
def parsed(name):
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module


@functools.cache
def graph():
    return {name: set(imports(parsed(name))) for name in MODULES}


def everything_behind(name):
    found, waiting = set(), [name]
    while waiting:
        for target in graph().get(waiting.pop(), ()):
            if target not in found:
                found.add(target)
                waiting.append(target)
    return found


def packages(names):
    return {name.partition(".")[0] for name in names}


def layer(name):
    _, _, inside = name.partition("explorer.")
    if not inside:
        return len(LAYERS)
    [height] = [height for height, names in enumerate(LAYERS) if inside.partition(".")[0] in names]
    return height


@pytest.mark.parametrize("name", MODULES)
def test_only_the_app_its_pages_and_the_ui_import_streamlit(name):
    # the stock app is the baseline of benchmarks; hostile addresses are tried on the pages; sessions speak its protocol
    programs = ("app", "benchmarks.stock_app", "benchmarks.hostile", "benchmarks.sessions")
    allowed = name in programs or name.startswith(("pages.", "explorer.ui"))
    assert allowed or "streamlit" not in packages(graph()[name])


def test_training_never_reaches_streamlit_or_plotly():
    reached = everything_behind("train")
    assert "explorer.losses" in reached
    assert not packages(reached) & {"streamlit", "plotly"}


def test_figures_never_import_torch():
    assert "plotly" in packages(graph()["explorer.figures"])
    assert "torch" not in packages(everything_behind("explorer.figures"))


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("explorer.")])
def test_no_import_runs_upward(name):
    ours = {target for target in graph()[name] if target in MODULES}
    assert {target for target in ours if layer(target) > layer(name)} == set()


def test_no_import_runs_in_a_circle():
    TopologicalSorter(graph()).prepare()


@pytest.mark.parametrize("name", MODULES)
def test_nothing_reads_or_writes_what_can_execute(name):
    assert not packages(graph()[name]) & {"pickle", "joblib", "dill", "shelve", "marshal"}
    attributes = {ast.unparse(node) for node in ast.walk(parsed(name)) if isinstance(node, ast.Attribute)}
    assert not attributes & {"torch.load", "torch.save", "np.load", "np.save"}


@pytest.mark.parametrize("name", [module_name(path) for path in LIBRARY])
def test_everything_public_has_a_docstring(name):
    def without(body, owner):
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                if not ast.get_docstring(node):
                    yield f"{owner}.{node.name}"
                if isinstance(node, ast.ClassDef):
                    yield from without(node.body, node.name)

    assert ast.get_docstring(parsed(name))
    assert list(without(parsed(name).body, name)) == []


def test_no_tracked_file_names_a_folder_of_this_machine():
    if not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    assert ROOT / "train.py" in files
    folders = {ROOT, ROOT.parent, Path.home()} - {Path(tempfile.gettempdir())}
    needles = [f"{folder}/".encode() for folder in folders if len(folder.parts) > 1]
    assert [path for path in files if any(needle in path.read_bytes() for needle in needles)] == []
