import io
import re
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from explorer.checkpoints import Bundle
from explorer.models import AutoencoderConfig
from explorer.ui import catalog, components, generating
from explorer.ui.generating import Row, Settings
from explorer.ui.opening import opened
from tests.test_app import open_page, words

TITLE = "Variational AE, 2 numbers"


@pytest.fixture(autouse=True)
def bundles(digits_root, monkeypatch):
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(digits_root))
    return digits_root


@pytest.fixture
def sheets(monkeypatch):
    """What the page hands to its sheet of samples, newest last."""
    shown = []
    monkeypatch.setattr(components, "sample_rows", lambda data, key: shown.append(data))
    return shown


def test_a_variational_and_a_plain_model_stand_under_each_other_from_prior_and_mixture(sheets):
    assert not open_page("generate").exception
    [sheet] = sheets
    assert [(row["label"], row["note"].split("\n")[0]) for row in sheet["rows"]] == [
        ("Dense AE", "N(0, 1), not its prior"),
        ("Dense AE", "mixture of 10 normals"),
        (TITLE, "prior N(0, 1)"),
        (TITLE, "mixture of 10 normals"),
    ]
    assert all(row["n"] == 8 for row in sheet["rows"])


@pytest.mark.parametrize(
    ("params", "same"),
    [({}, True), ({"seed": "1"}, False), ({"temperature": "0.5"}, False), ({"truncation": "0.5"}, False)],
)
def test_the_sheet_follows_seed_temperature_and_truncation(sheets, params, same):
    open_page("generate", makers="conv-vae", sources="prior")
    open_page("generate", makers="conv-vae", sources="prior", **params)
    first, second = (sheet["rows"][0]["sheet"] for sheet in sheets)
    assert (first == second) == same


def test_the_number_of_components_moves_the_mixture_and_nothing_else(sheets):
    for k in ("2", "20"):
        open_page("generate", makers="fc-ae", sources=["prior", "one Gaussian", "mixture"], components=k)
    changed = [a["sheet"] != b["sheet"] for a, b in zip(sheets[0]["rows"], sheets[1]["rows"], strict=True)]
    assert changed == [False, False, True]


def test_a_chosen_sample_is_marked_and_shown_beside_its_nearest_real_images(sheets):
    app = open_page("generate", makers="fc-ae", sources="mixture", sample="fc-ae.mixture,3")
    assert not app.exception
    assert sheets[-1]["chosen"] == ("fc-ae.mixture", 2)
    assert "Nearest to sample 3 of Dense AE, mixture" in words(app)
    for strip in ("In pixels", "By code"):
        html = next(e.proto.body for e in app.get("html") if f"<b>{strip}</b>" in e.proto.body)
        for part in html.split('<div class="lx-strip')[1:]:
            distances = [float(d) for d in re.findall(r"<span>\d\n([\d.]+)</span>", part)]
            assert len(distances) == generating.NEIGHBOURS
            assert distances == sorted(distances)
    assert "no model was trained on" in words(app)


def test_a_sample_that_is_not_there_is_passed_over(sheets):
    for sample in ("fc-ae.mixture,9", "fc-ae.mixture,0", "ffnn.prior,1", "fc-ae.mixture", "fc-ae.mixture,²", ","):
        app = open_page("generate", sample=sample)
        assert not app.exception, sample
        assert sheets[-1]["chosen"] is None, sample
        assert "Click a sample" in words(app), sample


@pytest.mark.parametrize("params", [{"makers": ""}, {"sources": ""}])
def test_nothing_chosen_is_said_in_words(params):
    app = open_page("generate", **params)
    assert not app.exception
    assert not app.error


def test_the_python_follows_the_controls(sheets, tmp_path, monkeypatch):
    app = open_page(
        "generate", makers="conv-ae", sources="one Gaussian", temperature="0.7", truncation="2", samples="16", seed="4"
    )
    code = app.code[0].value
    assert "for name in ['conv-ae']" in code
    assert "for kind in ['one Gaussian']" in code
    assert "sample(16, 0.7, truncation=2.0, seed=4)" in code
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "generate", "exec"), {})
    assert Image.open(tmp_path / "samples.png").size == (4 * (8 * 29 - 1), 4 * (2 * 29 - 1))


@pytest.fixture
def rows():
    codes = torch.arange(16.0).view(8, 2)
    images = [np.full((8, 1, 28, 28), value, dtype=np.float32) for value in (0.0, 1.0)]
    return [
        Row("conv-vae", TITLE, "prior", codes, images[0], ""),
        Row("conv-vae", TITLE, "one Gaussian", -codes, images[1], ""),
    ]


def test_the_downloaded_codes_are_those_of_the_rows_with_how_they_were_drawn(rows, tmp_path):
    path = tmp_path / "samples.safetensors"
    path.write_bytes(generating.codes_file(rows, Settings(8, 0.5, 2.0, 10, 3)))
    tensors = safetensors.torch.load_file(path)
    assert torch.equal(tensors["conv-vae.prior"], rows[0].codes)
    assert torch.equal(tensors["conv-vae.one-Gaussian"], rows[1].codes)
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata() == {
            "n": "8", "temperature": "0.5", "truncation": "2.0", "components": "10", "seed": "3",
            "noise": "none",
        }  # fmt: skip


def test_the_downloaded_picture_has_the_rows_under_each_other(rows):
    picture = np.asarray(Image.open(io.BytesIO(generating.picture(rows))))
    assert picture.shape == (4 * (2 * 30 - 2), 4 * (8 * 30 - 2))
    assert (picture[0] == 0)[:100].all()
    assert (picture[-1] == 255).all()


def test_a_model_fitted_anew_is_sampled_anew(bundles):
    bundle = Bundle("digits", "fc-ae", bundles)

    def fitted():
        return generating.fitted(opened(bundle, catalog.dataset(bundle.root, bundle.dataset), 360), "mixture", 3)

    before = fitted()
    assert fitted() is before
    (bundle.folder / "history.csv").touch()
    assert fitted() is not before


def test_a_variational_model_is_held_against_its_prior_below_the_map(tmp_path, monkeypatch):
    app = open_page("latent_map", model="conv-vae")
    assert not app.exception
    assert "Does the code follow the prior?" in words(app)
    assert [metric.label for metric in app.metric] == [
        "KL, all numbers", "Active numbers", "Mean of |z|², prior: 2", "Spread of |z|², prior: 2.0",
    ]  # fmt: skip
    monkeypatch.chdir(tmp_path)
    exec(compile(app.code[1].value, "prior", "exec"), {})
    assert (tmp_path / "norms.html").is_file()


def test_the_latent_number_that_is_shown_first_is_the_one_furthest_off_and_another_can_be_chosen():
    first = open_page("latent_map", model="conv-vae")
    furthest = int(re.search(r"Furthest off: z(\d+)", words(first)).group(1))
    assert first.number_input(key="number-conv-vae").value == furthest
    other = 3 - furthest
    second = open_page("latent_map", model="conv-vae", **{"number-conv-vae": str(other)})
    assert f"**z{other}**" in words(second)
    assert f"k = {other} - 1" in second.code[1].value


@pytest.mark.parametrize("model", ["fc-ae", "ffnn"])
def test_a_model_without_a_prior_is_not_held_against_one(model):
    app = open_page("latent_map", model=model)
    assert not app.exception
    assert "follow the prior" not in words(app)


def test_only_a_gaussian_decoder_has_noise_of_pixels_and_either_sigma():
    def bundle(likelihood):
        config = AutoencoderConfig((3, 8, 8), hidden=(4,), code=2, variational=True, likelihood=likelihood, sigma=0.2)
        figures = {"reconstruction": -50.0, "negative_elbo": -40.0}
        figures |= {"bits_per_dim": 5.0} if likelihood == "gaussian" else {}
        return SimpleNamespace(load=config.build, metrics=lambda: figures)

    none, fitted, best = (generating.sigma_of(bundle("gaussian"), noise) for noise in generating.NOISES)
    assert (none, fitted) == (0, 0.2) and 0 < best != fitted
    assert [generating.sigma_of(bundle("bernoulli"), noise) for noise in generating.NOISES] == [0, 0, 0]
