"""The pages with a dial: what they hand to the browser, what they say, and that the browser shows it."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.browser import visit
from explorer.checkpoints import root_folder, to_json
from explorer.families import PCA, FamilyBundle
from explorer.ui import components, dialling, weighing
from explorer.ui.frame import PAGES
from tests.test_app import open_page, words

DIALS = {"length": "length-family", "beta": "beta-family", "time": "time-family", "class_and_style": "class-vae"}
MOVED = {
    "length": {"length": "1", "bits": "2", "chart": "error over bits", "shuffle": "3"},
    "beta": {"beta": "4", "code": "10", "over": "where codes lie", "codes": "false"},
    "time": {"epoch": "1"},
    "class_and_style": {"u": "0.5", "v": "-1", "strength": "0.5", "shuffle": "2"},
}


@pytest.fixture
def small(families_root, monkeypatch):
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(families_root))
    return families_root


@pytest.fixture
def handed(small, monkeypatch):
    """What a page hands to its dial, newest last."""
    shown = []
    monkeypatch.setattr(components, "dial", lambda page, data, key: shown.append(data))
    return shown


def family(root, page):
    return FamilyBundle("digits", DIALS[page], root)


@pytest.mark.parametrize("page", DIALS)
def test_a_page_opens_where_its_dial_was_and_its_python_makes_the_picture(handed, page, tmp_path, monkeypatch):
    app = open_page(page, dataset="digits", **MOVED[page])
    assert not app.exception
    assert not app.error
    kept = {name: "".join(app.query_params.get(name, "")) for name in MOVED[page]}
    assert kept == MOVED[page]
    json.dumps(handed[-1], allow_nan=False)
    monkeypatch.chdir(tmp_path)
    exec(app.code[0].value, {})
    [picture] = tmp_path.glob("*.png")
    assert np.asarray(Image.open(picture)).std() > 0


@pytest.mark.parametrize("page", DIALS)
def test_what_no_dial_can_be_at_is_passed_over(handed, page):
    names = {name for name in MOVED[page] if name in ("length", "bits", "beta", "epoch", "u", "v", "strength")}
    app = open_page(page, dataset="digits", **dict.fromkeys(names, "1e9"))
    assert not app.exception
    assert not names & set(app.query_params)


@pytest.mark.parametrize("page", DIALS)
def test_a_damaged_family_is_said_in_words(small, page, tmp_path, monkeypatch):
    root = tmp_path / "checkpoints"
    shutil.copytree(small, root)
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(root))
    path = family(root, page).folder / "figures.json"
    figures = json.loads(path.read_text(encoding="utf-8"))
    member = next(iter(figures["members"]))
    figures["members"][member] = {"mse": "small"}
    path.write_bytes(to_json(figures))
    app = open_page(page, dataset="digits")
    assert not app.exception
    assert f"{path} holds no number as" in words(app).replace("\\", "")
    assert f"python train.py {DIALS[page]} --dataset digits --only metrics" in words(app).replace("\\", "")


def test_pages_with_a_dial_are_offered_where_there_is_a_family(digits_root, monkeypatch):
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(digits_root))
    app = open_page("beta", dataset="digits")
    assert f"This needs {PAGES['beta'].needs}, and there is none for Digits" in words(app)


def test_the_rows_of_a_length_are_what_torch_rebuilds(handed, small):
    open_page("length", dataset="digits", length="4", pick="7")
    data, models = handed[-1], family(small, "length").load()
    codes = family(small, "length").codes()
    at = data["lengths"].index(4)
    for row in data["rows"][:2]:
        [name] = row["networks"][at : at + 1]
        assert row["codes"][at][0] == pytest.approx(codes[f"{name}/codes"][7].tolist(), abs=1e-3)
        assert models[name].config.code == 4
        assert row["errors"][at] == family(small, "length").figures()["members"][name]["mse"]
    assert data["rows"][2]["networks"][at] == PCA
    assert data["rows"][2]["errors"] == [family(small, "length").figures()["pca"]["mse"][n - 1] for n in (1, 4)]


FACTORS = {"loss": "β-TCVAE", "chart": "MIG over distortion", "base": "3"}


def test_where_factors_are_known_the_page_beta_walks_along_each_number(handed, small, tmp_path, monkeypatch):
    app = open_page("beta", dataset="shapes", **FACTORS)
    assert not app.exception
    assert {name: "".join(app.query_params.get(name, "")) for name in FACTORS} == FACTORS
    bundle, name = FamilyBundle("shapes", "shapes-family", small), "tcvae-beta4"
    data, own = handed[-1], bundle.figures()["apart"][name]
    [member] = data["members"]
    assert member["network"] == name
    assert member["base"] == pytest.approx(bundle.codes()[f"{name}/codes"][3].tolist(), abs=1e-3)
    assert len(member["tells"]) == len(own["told"]) == len(member["base"]) == 10
    distortion = bundle.figures()["members"][name]["reconstruction"]
    assert data["chart"]["marks"] == [[{"x": distortion, "y": own["mig"], "colour": dialling.MARKED}]]
    json.dumps(data, allow_nan=False)
    monkeypatch.chdir(tmp_path)
    exec(app.code[0].value, {})
    assert np.asarray(Image.open(f"{name}.png")).std() > 0


def test_a_walk_changes_one_number_alone():
    code = torch.arange(3.0)
    walks = weighing.walks(code)
    for k in range(3):
        assert walks[k, :, k].tolist() == pytest.approx(weighing.STEPS)
        others = [i for i in range(3) if i != k]
        assert (walks[k][:, others] == code[others]).all()


def test_scores_that_are_none_are_said_in_words(small, tmp_path, monkeypatch):
    root = shutil.copytree(small, tmp_path / "checkpoints")
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(root))
    path = root / "shapes" / "shapes-family" / "figures.json"
    figures = json.loads(path.read_text(encoding="utf-8"))
    figures["apart"]["vae-beta4"]["mig"] = "high"
    path.write_bytes(to_json(figures))
    app = open_page("beta", dataset="shapes")
    assert not app.exception
    assert "holds no 5 numbers as scores of vae-beta4" in words(app).replace("\\", "")


@pytest.mark.parametrize("key", ["overview", "reconstruct", "training"])
def test_a_page_of_single_models_says_where_there_are_some(small, key):
    app = open_page(key, dataset="shapes")
    assert not app.exception
    if key == "overview":
        assert "β on shapes" in words(app)
    else:
        assert "there is none for Shapes" in words(app)


def test_the_sentence_says_how_many_numbers_pca_needs():
    assert dialling.amount(None, 256) == "more than 256"
    assert dialling.amount(0.0, 256) == "less than 1"
    assert dialling.amount(3.14, 256) == "3.1"
    assert dialling.amount(187.2, 256) == "187"


def test_the_fitted_density_is_that_of_draws_from_all_posteriors(generator):
    mu = torch.randn(400, 2, generator=generator) @ torch.tensor([[2.0, 1.0], [0.0, 0.5]]) + 3
    log_var = torch.rand(400, 2, generator=generator) - 1
    mean, root = weighing.fitted_density(mu.numpy(), log_var.numpy())
    drawn = mu + (0.5 * log_var).exp() * torch.randn(200, 400, 2, generator=generator)
    assert mean == pytest.approx(drawn.flatten(0, 1).mean(0).numpy(), abs=0.02)
    assert root @ root.T == pytest.approx(np.cov(drawn.flatten(0, 1).T.numpy()), abs=0.05)


PIXELS = """canvas => {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return Array.from(data).filter((_, i) => i % 4 === 0);
}"""
ALL = "canvases => canvases.map(canvas => canvas.toDataURL()).join()"


def test_the_browser_decodes_what_torch_does_while_the_dial_moves(page, address):
    visit(page, address, "beta", "?dataset=fashion-mnist&beta=4")
    bundle = FamilyBundle("fashion-mnist", "beta-family", root_folder())
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((8, 2))).float()
    dial = page.get_by_role("slider", name="β")
    for name in ("d2-beta4", "d2-beta8"):
        with torch.inference_mode():
            expected = bundle.load()[name].decode(noise)[0].flatten()
        found = torch.tensor(page.locator(".images canvas").first.evaluate(PIXELS)) / 255
        assert (found - expected).abs().max() < 0.01  # eight bits, and noise of three digits
        dial.press("ArrowRight")
        page.wait_for_timeout(100)
    page.wait_for_function("location.search.includes('beta=16')", timeout=15_000)


@pytest.mark.parametrize(
    ("key", "keys", "said"),
    [("length", "ArrowRight", "length=32"), ("time", "ArrowLeft", "epoch=8"), ("class_and_style", "ArrowUp", "v=")],
)
def test_a_key_moves_the_dial_and_with_it_pictures_and_address(page, address, key, keys, said):
    visit(page, address, key, "?dataset=fashion-mnist")
    images = page.locator(".dialled canvas")
    before = images.evaluate_all(ALL)
    control = page.locator(".front") if key == "class_and_style" else page.get_by_role("slider").first
    control.first.focus()
    control.first.press(keys)
    page.wait_for_function("said => location.search.includes(said)", arg=said, timeout=15_000)
    assert images.evaluate_all(ALL) != before
    box = page.locator(".dialled").first.bounding_box()
    assert box["y"] + box["height"] <= 720  # dial and what it changes on one screen of a projector


@pytest.mark.parametrize("page", components.DIALS)
def test_the_scripts_of_a_component_declare_no_name_twice(page):
    source = "".join(components.script(name) for name in (*components.DIAL_PARTS, page))
    names = re.findall(r"^(?:export )?(?:async )?(?:function|class|const|let) (\w+)", source, re.MULTILINE)
    assert {name for name in names if names.count(name) > 1} == set()
