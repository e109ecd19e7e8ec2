"""The latent map: galleries of a few images, and a choice of points that outlives the figure it was made on."""

import base64
import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from playwright.sync_api import TimeoutError

from benchmarks.browser import visit, wait_until_finished
from explorer import checkpoints, projection
from explorer.checkpoints import Bundle, root_folder
from explorer.ui import chosen, mapping
from tests.conftest import NO_DATA
from tests.test_app import open_page, words
from tests.test_browser import press


@pytest.fixture
def few(tmp_path, monkeypatch):
    """Make bundles whose gallery is the first few images of the committed one; t-SNE and UMAP cost nothing."""
    monkeypatch.setenv("EXPLORER_DATA", NO_DATA)
    monkeypatch.setattr(projection, "tsne", lambda codes, perplexity, seed=0: codes[:, :2] + perplexity)
    monkeypatch.setattr(projection, "umap", lambda codes, d, n_neighbors=15, seed=0: codes[:, [0] * d] + n_neighbors)

    def make(n, model="fc-ae", dataset="fashion-mnist"):
        root = tmp_path / f"of-{n}"
        shutil.copytree(root_folder() / dataset / model, root / dataset / model)
        index = checkpoints.read_gallery(root_folder(), dataset)
        first = dataclasses.replace(index, labels=index.labels[:n])
        checkpoints.write_gallery(root, dataset, index.indices[:n], first)
        bundle = Bundle(dataset, model, root)
        stored = {k: v[:n] for k, v in bundle.codes().items() if k in ("codes", "log_var")}
        made, _ = projection.project(stored["codes"].float().numpy())
        bundle.write_codes(stored | {name: torch.from_numpy(value.copy()) for name, value in made.items()})
        monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(root))
        return stored["codes"].float().numpy()

    return make


def figure_of(app):
    return json.loads(app.get("plotly_chart")[0].proto.spec)


@pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.wide), 3, 4, 5, 25])
@pytest.mark.parametrize("model", ["fc-ae", "conv-vae"])
def test_a_map_of_a_few_images_opens_by_every_method_that_is_offered_to_both_ends_of_its_slider(few, n, model):
    codes = few(n, model)
    methods, reasons = mapping.offered(codes)
    app = open_page("latent_map", model=model, method="PCA")
    assert not app.exception
    assert all(reason in words(app) for reason in reasons)
    for method in methods:
        for d in ("2", "3"):
            app = open_page("latent_map", model=model, method=method, dimensions=d)
            assert not app.exception
            assert len(app.get("plotly_chart")) >= 1
            for slider in app.slider:
                assert slider.max < n
                for end in (slider.min, slider.max):
                    assert not app.slider(key=slider.key).set_value(end).run().exception


def test_the_map_says_with_which_perplexity_it_was_made(few):
    few(25)
    app = open_page("latent_map", method="t-SNE")
    assert "t-SNE with perplexity 8, stored with the model" in words(app)
    assert "projection.tsne(codes, 8)" in app.code[0].value
    assert (app.slider[0].value, app.slider[0].max) == (8, 24)


@pytest.mark.parametrize("value", ["28", "90", "0", "-1", "nan"])
def test_a_perplexity_beyond_the_images_is_passed_over(few, value):
    few(25)
    app = open_page("latent_map", method="t-SNE", perplexity=value)
    assert not app.exception
    assert "perplexity 8" in words(app)


def test_a_perplexity_that_was_chosen_for_many_images_is_given_up_for_few(few, monkeypatch):
    few(100)
    app = open_page("latent_map", method="t-SNE")
    app.slider(key="perplexity").set_value(60).run()
    assert "perplexity 60, computed" in words(app)
    few(25)
    assert not app.run().exception
    assert "perplexity 8, stored" in words(app)


@pytest.mark.parametrize(
    "numbers", [[], [0], [1999], [3, 7, 8, 9], [5, 4, 3, 4], list(range(2000)), list(range(0, 2000, 2))]
)
def test_a_link_carries_all_that_is_chosen_in_signs_that_an_address_leaves_alone(numbers):
    text = chosen.to_text(numbers)
    assert chosen.parse([text], 2000) == sorted(set(numbers))
    assert len(text) < 5000
    assert set(text) <= set("0123456789.-")


@pytest.mark.parametrize("text", ["", ".", "-", "-3", "7-3", "x", "10", "9-", "²", "9" * 4400, "0.5e9", "--", "1,2"])
def test_what_makes_no_sense_among_the_chosen_is_passed_over(text):
    assert set(chosen.parse([text], 10)) <= {0, 9}


def test_links_of_before_with_a_number_each_are_read():
    assert chosen.parse(["4", "2", "4"], 10) == [2, 4]


@pytest.mark.parametrize(("method", "dimensions"), [("PCA", "2"), ("PCA", "3"), ("t-SNE", "2"), ("UMAP", "3")])
def test_what_is_chosen_stands_out_on_every_map_and_its_images_are_shown(few, method, dimensions):
    few(25)
    app = open_page("latent_map", method=method, dimensions=dimensions, chosen="3.7-9")
    assert "**4 chosen**" in words(app)
    traces = figure_of(app)["data"]
    if dimensions == "2":
        assert sum(len(trace["selectedpoints"]) for trace in traces) == 4
    else:
        sizes = np.concatenate([decoded(trace["marker"]["size"]) for trace in traces])
        assert (sizes == sizes.max()).sum() == 4


def decoded(values):
    if isinstance(values, dict):  # as plotly writes an array
        return np.frombuffer(base64.b64decode(values["bdata"]), np.dtype(values["dtype"]))
    return np.array(values)


def test_the_numbers_of_one_data_set_choose_nothing_of_another(few):
    app = open_page("latent_map", method="PCA", chosen="3")
    assert "**1 chosen**" in words(app)
    app.session_state["chosen_of"] = "another"
    assert "chosen**" not in words(app.run())


# In the browser

MARKED = """() => document.querySelector('.st-key-map .js-plotly-plot').data
  .reduce((sum, trace) => sum + (trace.selectedpoints?.length ?? 0), 0)"""


def draw_a_box(page):
    page.locator('.st-key-map [data-val="select"]').click()
    plot = page.locator(".st-key-map .nsewdrag").first.bounding_box()
    page.mouse.move(plot["x"] + 0.3 * plot["width"], plot["y"] + 0.3 * plot["height"])
    page.mouse.down()
    page.mouse.move(plot["x"] + 0.6 * plot["width"], plot["y"] + 0.6 * plot["height"], steps=6)
    page.mouse.up()


def clear(page):
    plot = page.locator(".st-key-map .nsewdrag").first.bounding_box()
    for _ in range(5):  # Plotly takes two clicks for one double click only where they come within 0.3 s
        page.mouse.dblclick(plot["x"] + 20, plot["y"] + 20)
        try:
            page.wait_for_function("!location.search.includes('chosen=')", timeout=5_000)
        except TimeoutError:
            continue
        break
    page.get_by_text("Click a point, or draw").wait_for(timeout=15_000)
    assert page.evaluate(MARKED) == 0


def switch(page, text, axis, kind="scattergl"):
    """Press a control, and wait for the figure with this axis."""
    press(page, text)
    page.wait_for_function(
        """([axis, kind]) => {
          const chart = document.querySelector('.st-key-map .js-plotly-plot');
          const { scene, xaxis } = chart?.layout ?? {};
          return chart?.data?.[0].type === kind && (scene?.xaxis ?? xaxis).title.text === axis;
        }""",
        arg=[axis, kind], timeout=30_000,
    )  # fmt: skip
    wait_until_finished(page, "Latent map")


def test_a_choice_outlives_another_method_and_goes_when_it_is_cleared(page, address):
    visit(page, address, "latent_map", "?method=PCA")
    draw_a_box(page)
    many = page.get_by_text(" chosen, the first 24 shown")
    many.wait_for(timeout=15_000)
    said = many.inner_text()
    query = page.evaluate("new URLSearchParams(location.search).get('chosen')")
    for text, *figure in (("t-SNE", "t-SNE 1"), ("PCA", "PCA 1"), ("3", "PCA 1", "scatter3d"), ("2", "PCA 1")):
        switch(page, text, *figure)
        assert many.inner_text().split(",")[0] == said.split(",")[0]
        assert page.evaluate("new URLSearchParams(location.search).get('chosen')") == query
        assert page.evaluate(MARKED) == (0 if text == "3" else int(said.split()[0]))  # in 3-D they are larger
    clear(page)  # what came with the figure
    draw_a_box(page)
    many.wait_for(timeout=15_000)
    clear(page)  # what was drawn on it
    switch(page, "UMAP", "UMAP 1")
    assert "chosen=" not in page.evaluate("location.search")
