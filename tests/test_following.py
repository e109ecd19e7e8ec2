"""An image followed to its end: the path to one that is taken rightly, and the classifier's regions in the browser."""

import json

import numpy as np
import pytest
import torch

from benchmarks.browser import visit, wait_until_finished
from explorer.checkpoints import Bundle, root_folder
from explorer.palette import class_colour
from explorer.ui import following
from explorer.ui.following import SHOWN, STEPS, Path, first_change
from explorer.ui.frame import PAGES
from tests.test_app import open_page, words

TITLE = PAGES["classify"].title
CLASSES = ("coat", "shirt")


def path(guesses):
    images = np.arange(STEPS, dtype=np.float32)[:, None, None, None] / STEPS
    probabilities = torch.tensor([[0.9, 0.1] if guess == 0 else [0.2, 0.8] for guess in guesses])
    return Path(images, probabilities, first_change(guesses))


def test_a_change_of_mind_is_the_first_guess_that_differs():
    assert first_change([3, 3, 1, 3, 2]) == 2
    assert first_change([3, 3]) is None


def test_the_strip_holds_the_picture_that_changes_the_mind_among_even_steps():
    changed = path([0] * 50 + [1] * (STEPS - 50))
    strip = changed.strip(1)
    assert len(strip.images) == SHOWN + 1
    assert [i for i, text in enumerate(strip.captions) if "here" in text] == [5]
    assert strip.images[5].item() == pytest.approx(50 / STEPS)
    assert (strip.captions[0], strip.captions[-1]) == ("10 %", "80 %")
    assert len(path([0] * STEPS).strip(1).images) == SHOWN


def test_it_is_said_where_the_mind_changes_and_whether_rebuilding_was_enough():
    told = path([0] * 48 + [1] * (STEPS - 48)).told(CLASSES, taken_for=0)
    assert told == "After 50 % of the way the classifier changes its mind: coat → **shirt**."
    assert path([1] * STEPS).told(CLASSES, 0).startswith("Rebuilt, it is already taken for shirt. The classifier never")


@pytest.mark.parametrize("model", ["conv-vae", "fc-ae"])
def test_an_image_ends_at_one_of_its_class_that_is_taken_rightly(model):
    app = open_page("classify", model=model)
    assert not app.exception
    text = words(app)
    assert "the nearest Shirt of the gallery, one that is taken rightly" in text
    assert "of the way the classifier changes its mind" in text
    assert text.count("▲ here") == 1


def test_a_gallery_without_another_of_its_class_is_said(monkeypatch):
    def alone(*_):
        raise ValueError("the gallery has no other image of its class")

    monkeypatch.setattr(following, "_by_distance", alone)
    assert "It cannot be followed: the gallery has no other image" in words(open_page("classify"))


# In the browser


def test_regions_are_those_of_the_classifier_and_a_click_follows_another_image(page, address):
    visit(page, address, "classify", "?model=conv-vae")
    plane = page.locator("canvas.back")
    colours = plane.evaluate(
        """canvas => Array.from({ length: 24 * 24 }, (_, i) => {
          const [x, y] = [(i % 24 + 0.25) / 24 * canvas.width, (Math.floor(i / 24) + 0.25) / 24 * canvas.height];
          return [...canvas.getContext("2d").getImageData(x, y, 1, 1).data].slice(0, 3);
        })"""
    )
    centres = (torch.arange(24) + 0.25) / 24
    across = -3.5 - 7 / 22 + centres * (7 + 7 / 11)  # twelve cells, whose outer centres lie at ±3.5
    z = torch.stack([across.repeat(24), -across.repeat_interleave(24)], dim=1)
    model, judge = (Bundle("fashion-mnist", name, root_folder()).load() for name in ("conv-vae", "ffnn"))
    with torch.inference_mode():
        wanted = judge(model.decode(z)).argmax(1).numpy()
    ten = np.array([[int(class_colour(k)[i : i + 2], 16) for i in (1, 3, 5)] for k in range(10)])
    apart = np.abs(np.array(colours)[:, None] - ten).max(2)
    painted = apart.min(1) <= 2  # elsewhere stand the names of classes
    assert painted.mean() > 0.85
    assert (apart.argmin(1) == wanted)[painted].mean() > 0.96  # at a border, either side
    before = page.locator(".lx-strip img").first.get_attribute("src")
    page.locator(".samples button").nth(3).click()
    page.wait_for_function("() => location.search.includes('image=')", timeout=15_000)
    wait_until_finished(page, TITLE)
    assert page.locator(".lx-strip img").first.get_attribute("src") != before
    assert json.loads(page.locator(".samples button").nth(3).get_attribute("aria-pressed"))
