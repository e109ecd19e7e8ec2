"""The page ELBO: its sum is what PyTorch computes, follows the pointer, and its dial marks the calibrated sigma."""

import math

import pytest
import torch

from benchmarks.browser import visit, wait_until_finished
from explorer import losses
from explorer.checkpoints import Bundle, read_gallery, root_folder
from explorer.datasets import DATASETS
from explorer.images import to_float
from explorer.ui.frame import PAGES
from explorer.ui.ledger import EPS
from tests.test_app import open_page, words

TITLE = PAGES["elbo"].title


def test_the_page_says_what_a_calibrated_sigma_is_worth_and_passes_over_a_sigma_that_makes_no_sense():
    app = open_page("elbo", dataset="celeba", model="face-vae", sigma=["nan", "0.6", "-1", "0.001", "1e9", "x"])
    assert not app.exception
    worth = app.dataframe[0].value
    assert worth["σ"].round(4).tolist() == [0.1, 0.0658]
    assert round(-worth["−ELBO, nats"].diff().iloc[1]) == 1664
    assert "sigma" not in app.query_params


def test_a_bernoulli_model_has_no_sigma_and_says_how_many_draws_carry_the_weight():
    text = words(open_page("elbo", sigma="0.2"))
    assert "calibrated" not in text and "of 1,000 draws" in text


# In the browser


def number(page, row, column=1):
    text = page.locator(f".ledger tr.{row} td:nth-of-type({column})").inner_text()
    return float(text.partition(" ")[0].replace("−", "-").replace(",", ""))


def test_the_sum_is_that_of_pytorch_and_follows_pointer_and_keys(page, address, data_dir):
    visit(page, address, "elbo", "?pick=7")
    own = number(page, "total")
    assert own == pytest.approx(expected(7, data_dir), abs=0.1)
    assert own == pytest.approx(number(page, "reconstruction") + number(page, "kl"), abs=0.15)
    assert number(page, "total", 2) == pytest.approx(own / math.log(2), abs=0.2)
    assert number(page, "total", 3) == pytest.approx(own / math.log(2) / 784, abs=2e-4)
    assert number(page, "gap") == pytest.approx(own - number(page, "bound"), abs=0.15)
    plane = page.locator("canvas.front")
    box = plane.bounding_box()
    page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 0.1 * box["height"])
    page.wait_for_timeout(200)
    away = number(page, "total")
    assert away > own and number(page, "kl") > 3
    page.mouse.move(box["x"] - 20, box["y"])
    page.wait_for_timeout(200)
    assert number(page, "total") == own
    plane.focus()
    plane.press("ArrowUp")
    page.wait_for_function("() => location.search.includes('pin=')", timeout=15_000)
    wait_until_finished(page, TITLE)
    assert number(page, "total") != own


def expected(i, data_dir):
    """The negative ELBO that the page shows: over the same draws around the mean code."""
    place = read_gallery(root_folder(), "fashion-mnist").indices[i]
    x = to_float(DATASETS["fashion-mnist"].load("test", data_dir).images[place])
    model = Bundle("fashion-mnist", "conv-vae", root_folder()).load()
    half = torch.randn(EPS[False] // 2, 2, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        q = model.encode(x[None])
        z = q.mu + torch.exp(q.log_var / 2) * torch.cat([half, -half])
        nll = losses.bernoulli_nll(model.decode_logits(z), x.expand(len(z), -1, -1, -1)).mean()
    return (nll + losses.kl_to_standard_normal(q).sum()).item()


def test_the_dial_moves_the_sum_and_the_address(page, address):
    visit(page, address, "elbo", "?dataset=celeba&model=face-vae")
    before = number(page, "total")
    dial = page.locator(".ledger .range")
    dial.focus()
    dial.press("ArrowLeft")
    page.wait_for_function("() => location.search.includes('sigma=')", timeout=15_000)
    wait_until_finished(page, TITLE)
    assert number(page, "total") < before
    assert "0.0658 of the test set" in page.locator(".ledger .dial .words").inner_text()
