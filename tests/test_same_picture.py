"""What a page shows and what the Python beside it makes are compared: pixels within a grey level, figures exactly."""

import base64
import functools
import io
import json
import re
import struct

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from PIL import Image

from explorer import attributes, images, latent, projection
from explorer.checkpoints import Bundle, root_folder
from explorer.datasets import DATASETS
from explorer.images import to_uint8
from explorer.ui import components, loading
from tests.conftest import NO_DATA
from tests.test_app import open_page


def cells(picture: np.ndarray, side: int, gap: int) -> np.ndarray:
    """Cut a sheet `(H, W)` or `(H, W, 3)` into its images `(N, side, side, 3)`, row by row."""
    rgb = np.asarray(Image.fromarray(picture).convert("RGB"))
    rows, columns = ((length + gap) // (side + gap) for length in rgb.shape[:2])
    corners = [(r * (side + gap), c * (side + gap)) for r in range(rows) for c in range(columns)]
    return np.stack([rgb[y : y + side, x : x + side] for y, x in corners])


def unpack(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


class Pages:
    """Opens pages of one data set and runs the Python beside them, and gives of each what it shows or makes."""

    def __init__(self, monkeypatch, dataset):
        self.dataset, self.side = dataset, DATASETS[dataset].image_shape[-1]
        self.handed, self.written, self.enlarged = [], [], []
        for name in ("plane", "sample_rows", "face_editor", "drawing_pad"):
            monkeypatch.setattr(components, name, lambda data, key: self.handed.append(data))
        monkeypatch.setattr(components, "ledger", lambda data, key: None)
        monkeypatch.setattr(go.Figure, "write_html", lambda figure, file: self.written.append(figure))
        png = images.png
        monkeypatch.setattr(images, "png", lambda x, scale=1: self.enlarged.append(x) or png(x, scale))

    def open(self, key, params, folder, number=0):
        """Return what is shown and what is made, each as images `(N, side, side, 3)` and figures."""
        for record in (self.handed, self.written, self.enlarged):
            record.clear()
        app = open_page(key, dataset=self.dataset, **params)
        assert not app.exception
        self.code = app.code[number].value
        shown = self.shown(app)
        return shown, self.run(self.code, folder)

    def shown(self, app):
        charts = [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]
        if self.handed:
            pads = [data for data in self.handed if "start" in data]  # the plane beside one is another picture
            return np.concatenate([self.in_component(data) for data in pads or self.handed]), charts
        html = "".join(element.proto.body for element in app.get("html"))
        strips = re.findall(r'<img class="lx-\w+" src="([^"]+)"', html)
        sheets = [cells(unpack(uri), self.side, 2) for uri in strips]
        if self.enlarged and not strips:
            sheets = [cells(np.squeeze(to_uint8(x).transpose(1, 2, 0)), self.side, 1) for x in self.enlarged]
        return np.concatenate(sheets) if sheets else None, charts

    def in_component(self, data):
        """The images that the browser makes of what a component is handed."""
        if "rows" in data:  # samples
            return np.concatenate([cells(unpack(row["sheet"]), self.side, 0)[: row["n"]] for row in data["rows"]])
        model = Bundle(*data["model"].split("/")[:2], root_folder()).load()
        if "sliders" in data:  # attributes
            moved = sum((s["value"] * np.array(s["step"]) for s in data["sliders"]), np.array(data["code"]))
            return pixels(model.decode(torch.tensor(moved[None]).float()))
        if "start" in data:  # the pad
            x = torch.tensor(data["start"]).view(1, *data["image"])
            return pixels(torch.cat([x, model(x)]))
        axis = torch.tensor(data["axis"])
        where = latent.Plane(torch.tensor(data["origin"]), torch.tensor([data["right"], data["up"]]))
        return pixels(model.decode(where.codes(latent.plane(axis, torch.zeros(1) if data["flat"] else axis))))

    def run(self, code, folder):
        """Run the Python beside a picture; its pictures are enlarged and have a gap of none or one pixel."""
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            exec(compile(code, "the Python beside the picture", "exec"), {})
        made = []
        for path in sorted(folder.glob("*.png"), key=lambda path: code.index(path.name)):
            scale = int((re.search(rf'scale=(\d)\)\.save\("{path.name}"', code) or [0, 1])[1])
            gap = 0 if re.search(rf'gap=0\), scale=\d\)\.save\("{path.name}"', code) else 1
            made.append(cells(np.asarray(Image.open(path))[::scale, ::scale], self.side, gap))
        return np.concatenate(made) if made else None, [json.loads(figure.to_json()) for figure in self.written]


def pixels(x):
    return np.concatenate([cells(np.squeeze(to_uint8(one.numpy()).transpose(1, 2, 0)), one.shape[-1], 0) for one in x])


def same(shown, made):
    """Whether both have the same pictures within a grey level, and the same figures."""
    (x, charts), (y, figures) = shown, made
    if (x is None) != (y is None):
        return False
    pictures = x is None or (x.shape == y.shape and np.abs(x.astype(int) - y).max() <= 1)
    return pictures and charts == figures


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """A data folder with a test split of Fashion-MNIST's shape, so that nothing has to be fetched or fitted."""
    raw = tmp_path_factory.mktemp("data") / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (10_000, 7, 7), np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    (raw / "t10k-images-idx3-ubyte").write_bytes(struct.pack(">4i", 0x803, *pixels.shape) + pixels.tobytes())
    (raw / "t10k-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 0x801, 10_000) + bytes(range(10)) * 1000)
    return raw.parent.parent


@pytest.fixture
def pages(made_up, monkeypatch):
    """Pages on the committed bundles; t-SNE and UMAP are stood in for by what costs nothing and has their settings."""
    monkeypatch.setenv("EXPLORER_DATA", str(made_up))
    monkeypatch.setattr(projection, "tsne", lambda codes, perplexity, seed=0: codes[:, :2] + perplexity + seed)
    monkeypatch.setattr(projection, "umap", lambda codes, d, n_neighbors, seed=0: codes[:, :d] + n_neighbors + seed)
    return Pages(monkeypatch, "fashion-mnist")


wide = functools.partial(pytest.param, marks=pytest.mark.wide)

TWO_SETTINGS = [
    ("overview", {}, None),
    ("reconstruct", {"n": "3", "models": ["fc-ae", "conv-vae"]}, {"way": "worst", "errors": "true", "n": "2"}),
    wide("reconstruct", {"way": "at random", "seed": "1"}, {"way": "at random", "seed": "2"}),
    ("denoise", {"noise": "speckle", "level-speckle": "0.25"}, {"noise": "gaussian", "noise_seed": "3"}),
    ("latent_map", {"method": "PCA", "model": "conv-ae"}, {"method": "PCA", "model": "fc-ae", "chosen": "3.7-9"}),
    wide("latent_map", {"method": "UMAP"}, {"method": "UMAP", "dimensions": "3"}),
    ("latent_map", {"method": "UMAP", "neighbors": "8"}, {"method": "UMAP", "neighbors": "9"}),
    wide("latent_map", {"method": "t-SNE"}, {"method": "t-SNE", "perplexity": "12"}),
    ("latent_map", {"method": "t-SNE", "perplexity": "13"}, {"method": "t-SNE", "perplexity": "12"}),
    ("latent_plane", {"reach": "3.5", "spacing": "quantiles"}, {"density": "7"}),
    wide("latent_plane", {"plane": "Any model", "model": "conv-ae"}, {"plane": "Any model", "model": "fc-ae"}),
    (
        "latent_plane",
        {"plane": "Any model", "through": "three images"},
        {"plane": "Any model", "through": "three images", "pick": ["5", "9", "44"]},
    ),
    (
        "latent_plane",
        {"plane": "Along one direction", "which": "3"},
        {"plane": "Along one direction", "direction": "latent number", "pick": "7"},
    ),
    ("latent_plane", {"plane": "The hole test", "plain": "fc-ae"}, {"plane": "The hole test", "plain": "conv-ae"}),
    ("interpolate", {"steps": "5"}, {"steps": "5", "pick": ["8", "80"]}),
    ("interpolate", {"between": "Between four", "side": "4"}, {"between": "Between four", "side": "5"}),
    (
        "generate",
        {"seed": "4", "sources": "prior"},
        {"makers": "conv-vae", "seed": "5", "components": "3", "temperature": "0.7", "samples": "16"},
    ),
    ("draw", {"model": "conv-ae"}, {"model": "conv-ae", "pick": "11"}),
    ("classify", {}, {"cells": "row percent"}),
    ("elbo", {}, {"pick": "120"}),
    ("use_it", {}, {"probe": "nearest neighbours", "models": ["fc-ae", "ffnn"]}),
    ("training", {"scale": "linear"}, {"models": ["conv-vae", "ffnn"], "sets": "train"}),
]


@pytest.mark.parametrize(("key", "one", "other"), TWO_SETTINGS)
def test_the_python_makes_what_the_page_shows_and_other_settings_show_another(pages, key, one, other, tmp_path):
    first, made = pages.open(key, one, tmp_path / "one")
    assert first[0] is not None or first[1]
    assert same(only(key, first), only(key, made))
    if other is not None:
        second, made = pages.open(key, other, tmp_path / "other")
        assert same(only(key, second), only(key, made))
        assert not same(first, second)


FIGURES = ("latent_map", "classify", "elbo", "use_it", "training")


def only(key, shown):
    """What of a page the Python beside it is to make: the figures of these pages, the pictures of the others."""
    pictures, charts = shown
    return (None, charts[:1] if key == "latent_map" else charts) if key in FIGURES else (pictures, [])


def test_the_python_beside_the_check_of_the_prior_makes_its_four_figures(pages, tmp_path):
    found = []
    for number in ("1", "2"):
        (_, charts), made = pages.open(
            "latent_map", {"model": "conv-vae", "number-conv-vae": number}, tmp_path / number, 1
        )
        assert made == (None, charts[1:])
        found.append(made)
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("key", "params", "written", "instead"),
    [
        ("denoise", {}, "seed=0", "seed=1"),
        ("denoise", {"level-gaussian": "0.2"}, "level=0.2", "level=0.25"),
        ("reconstruct", {"way": "at random", "n": "2"}, ".images[[", ".images.flip(0)[["),
        ("latent_map", {"method": "t-SNE", "perplexity": "12"}, "tsne(codes, 12)", "tsne(codes, 13)"),
        ("interpolate", {"steps": "5"}, "latent.slerp", "latent.lerp"),
        ("generate", {"makers": "conv-vae"}, "n_components=10", "n_components=11"),
        ("classify", {}, "percent=False", "percent=True"),
    ],
)
def test_python_that_makes_another_picture_is_told(pages, key, params, written, instead, tmp_path):
    shown, _ = pages.open(key, params, tmp_path / "own")
    changed = pages.code.replace(written, instead)
    assert changed != pages.code
    pages.written.clear()
    assert not same(only(key, shown), pages.run(changed, tmp_path / "other"))


def test_a_map_that_ignores_its_slider_is_told(pages, monkeypatch, tmp_path):
    stored = Bundle("fashion-mnist", "fc-ae", root_folder()).codes()["tsne_2d"].numpy()
    monkeypatch.setattr(loading, "projected", lambda *_: stored)
    shown, made = pages.open("latent_map", {"method": "t-SNE", "perplexity": "12"}, tmp_path / "own")
    assert not same(only("latent_map", shown), made)


@pytest.fixture
def without_data(monkeypatch):
    monkeypatch.setenv("EXPLORER_DATA", NO_DATA)


@pytest.mark.parametrize(
    ("dataset", "key", "params"),
    [
        ("fashion-mnist", "reconstruct", {"n": "2", "models": "conv-ae-128"}),
        ("fashion-mnist", "draw", {"model": "conv-ae"}),
        pytest.param("celeba", "interpolate", {"steps": "3"}, marks=pytest.mark.wide),
        ("celeba", "overview", {}),
    ],
)
def test_the_python_makes_the_stand_ins_that_a_page_shows(without_data, monkeypatch, dataset, key, params, tmp_path):
    shown, made = Pages(monkeypatch, dataset).open(key, params, tmp_path / "own")
    assert same(only(key, shown), made)


@pytest.mark.parametrize(
    "params",
    [
        {"move": "Male,-1", "against": "Young", "pick": "5"},
        pytest.param({"move": "Smiling,2"}, marks=pytest.mark.wide),
    ],
)
def test_the_python_beside_an_edited_face_makes_it(without_data, monkeypatch, tmp_path, params):
    faces, fitted, fit = Pages(monkeypatch, "celeba"), {}, attributes.fit_directions

    def fit_once(*arguments, **options):  # as the cache does for the page, and for the Python beside it, too
        key = tuple(a.tobytes() if isinstance(a, np.ndarray) else repr(a) for a in (*arguments, options))
        return fitted[key] if key in fitted else fitted.setdefault(key, fit(*arguments, **options))

    monkeypatch.setattr(attributes, "fit_directions", fit_once)
    (shown, _), made = faces.open("attributes", {"model": "face-vae", **params}, tmp_path / "own")
    assert same((shown, []), made)
