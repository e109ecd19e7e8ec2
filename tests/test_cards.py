"""Bundles and data sets that describe themselves, and an app that shows what lies in the folder."""

import dataclasses
import json
import re
import shutil

import pytest
import torch

import train
from explorer import cards
from explorer.cards import DataCard, model_card, read_dataset, write_dataset
from explorer.checkpoints import Bundle, BundleError, root_folder, to_json
from explorer.datasets import DATASETS, Dataset, ImageSet
from explorer.models import AutoencoderConfig, ClassifierConfig
from explorer.roster import ROSTER, Entry, models_for
from explorer.training import Recipe
from explorer.ui import catalog
from explorer.ui.frame import PAGES
from tests.test_app import open_page, words

SHAPE = (3, 16, 16)
STRIPES = ("across", "down", "neither, **nor** <both>")
RECIPE = Recipe(epochs=1)
OWN = (  # names that no page knows
    Entry("small", "Small AE", "Three numbers.", AutoencoderConfig(SHAPE, hidden=(8,), code=3), RECIPE, home="stripes"),
    Entry("cleaner", "Cleaner", "", AutoencoderConfig(SHAPE, hidden=(8,), code=3),
          Recipe(epochs=1, noise="speckle", noise_levels=(0.1, 0.4)), home="stripes"),
    Entry("flat", "A plane", "", AutoencoderConfig(SHAPE, code=2, variational=True), RECIPE, home="stripes"),
    Entry("judge", "The judge", "", ClassifierConfig(SHAPE, (8,), 3), RECIPE, home="stripes"),
)  # fmt: skip


def read_stripes(data_dir, split):
    n = {"train": 60, "validation": 12, "test": 24}[split]
    labels = torch.arange(n) % 3
    images = torch.randint(0, 60, (n, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))
    images[labels == 0, :, ::4] = 255
    images[labels == 1, :, :, ::4] = 255
    return ImageSet(images, labels, STRIPES)


@pytest.fixture(scope="module")
def stripes(build_once):
    """A folder of bundles of a data set and models that neither table knows any more."""

    def build(root):
        row = Dataset("stripes", "Stripes", STRIPES, SHAPE, "our own", read_stripes, shareable=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(DATASETS, "stripes", row)
            for entry in OWN:
                patch.setitem(ROSTER, entry.name, entry)
            arguments = ["--dataset", "stripes", "--device", "cpu", "--threads", "1", "--checkpoints", str(root)]
            assert train.main(arguments) == 0

    return build_once("stripes", build)


@pytest.fixture
def own_stripes(stripes, tmp_path, monkeypatch):
    root = tmp_path / "checkpoints"
    shutil.copytree(stripes, root)
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(root))
    return root


def change(root, file, **values):
    path = root / "stripes" / file
    path.write_bytes(to_json(json.loads(path.read_text(encoding="utf-8")) | values))


@pytest.mark.parametrize("name", ROSTER)
def test_committed_bundles_say_what_they_are(name):
    entry = ROSTER[name]
    bundle = Bundle(entry.home, name, root_folder())
    stored = bundle.config()
    assert {key: stored[key] for key in ("card", "can")} == json.loads(
        to_json(cards.describe(entry, entry.home, stored["recipe"]))
    )
    assert read_dataset(root_folder(), entry.home) == DataCard.of(DATASETS[entry.home])


def test_the_denoiser_is_who_was_asked_for_clean_images(digits_root):
    there = catalog.collection(digits_root, "digits")
    assert list(there.models) == list(models_for("digits"))
    assert there.denoiser.name == "conv-dae"  # conv-vae saw noise, too, and is judged on clean images
    assert there.denoiser.denoises == ("gaussian", 0.0, 0.7)
    assert (there.native, there.classifier) == ("conv-vae", "ffnn")
    assert there.autoencoders == tuple(n for n in models_for("digits") if n != "ffnn")


@pytest.mark.parametrize("key", PAGES)
def test_every_page_opens_on_models_and_images_that_no_table_knows(own_stripes, key):
    assert "stripes" not in DATASETS
    app = open_page(key)
    assert [e.value for e in (*app.exception, *app.error)] == []
    shown = words(app)
    if PAGES[key].fits(catalog.collection(own_stripes, "stripes")):
        assert "This needs" not in shown
        assert "our own" in shown
    else:
        assert key in ("attributes", "draw", "length", "beta", "time", "class_and_style")
        assert f"This needs {PAGES[key].needs}, and there is none for Stripes" in shown


def test_models_are_shown_by_the_title_and_in_the_place_that_they_ask_for(own_stripes):
    change(own_stripes, "flat/config.json", card={"title": "First *of all*", "place": 0})
    there = catalog.collection(own_stripes, "stripes")
    assert next(iter(there.models)) == "flat"
    assert "First \\*of all\\*" not in words(open_page("reconstruct"))  # a title stands where there is no Markdown
    assert "First *of all*" in words(open_page("reconstruct"))


@pytest.mark.parametrize(
    ("claim", "reason"),
    [
        ({"can": {"decodes": True}}, "does not follow from its architecture"),
        ({"card": ["title"]}, "title and summary are not words"),
        ({"card": {"title": 7}}, "title and summary are not words"),
        ({"card": {"place": "first"}}, "whole number as its place"),
        ({"card": {"reported": {"mse": "small"}}}, "reported figures that are no numbers"),
    ],
)
def test_a_bundle_that_claims_what_it_is_not_is_refused_with_the_reason(own_stripes, claim, reason):
    change(own_stripes, "small/config.json", **claim)
    shown = words(open_page("reconstruct"))
    assert "small/config.json" in shown
    assert reason in shown
    assert "A plane" in shown


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"image_shape": [3, 10**12, 16]}, "pixels"),
        ({"image_shape": [2, 16, 16]}, "of one or three colours"),
        ({"image_shape": "large"}, "image shape"),
        ({"classes": []}, "0 classes"),
        ({"classes": [1, 2, 3]}, "not words"),
        ({"licence": None}, "not words"),
        ({"range": [0, 255]}, "values from 0 to 1"),
        ({"images": "/etc"}, "unknown fields images"),
    ],
)
def test_a_description_of_images_that_there_cannot_be_is_refused_in_words(own_stripes, values, reason):
    change(own_stripes, "dataset.json", **values)
    with pytest.raises(BundleError, match=reason) as refused:
        read_dataset(own_stripes, "stripes")
    assert "python train.py --images FOLDER --name stripes --only projections" in str(refused.value)
    app = open_page("reconstruct")
    assert reason in app.error[0].value.replace("\\", "")
    assert not app.exception


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 10**5, '{"title": "x"}'])
def test_a_damaged_description_is_refused_in_words(own_stripes, content):
    (own_stripes / "stripes" / "dataset.json").write_text(content, encoding="utf-8")
    app = open_page("overview")
    assert "dataset.json" in app.error[0].value.replace("\\", "")
    assert not app.exception


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("gallery.json", '{"indices": [0], "labels": [0], "names": ["../../../etc/passwd"]}', "names those of files"),
        ("gallery.json", '{"indices": [0], "labels": [0], "names": ["/etc/passwd"]}', "names those of files"),
        ("gallery.json", '{"indices": ' + "[" * 10**5, "not JSON"),
        ("small/config.json", "[" * 10**5, "not JSON"),
        ("small/metrics.json", '{"mse": ' * 10**5, "not JSON"),
        ("small/config.json", {"image_shape": [3, 10**6, 10**6]}, "has the shape|have the shape"),
        ("small/config.json", {"code": 10**12}, "does not follow from its architecture"),
        ("small/config.json", {"channels": [10**9], "strides": [2]}, "no model that can be built|does not fit config"),
    ],
)
def test_a_hostile_bundle_is_refused_with_the_file_and_the_reason(own_stripes, file, content, reason):
    if isinstance(content, dict):
        path = own_stripes / "stripes" / file
        architecture = json.loads(path.read_text(encoding="utf-8"))["architecture"] | content
        change(own_stripes, file, architecture=architecture)
    else:
        (own_stripes / "stripes" / file).write_text(content, encoding="utf-8")
    app = open_page("reconstruct")
    assert not app.exception
    shown = words(app).replace("\\", "")
    assert file.partition("/")[0] in shown
    assert re.search(reason, shown), shown


def test_bundles_from_before_there_were_cards_open(own_stripes, digits_root):
    old = own_stripes / "digits"
    shutil.copytree(digits_root / "digits", old)
    (old / "dataset.json").unlink()
    for path in old.glob("*/config.json"):
        values = json.loads(path.read_text(encoding="utf-8"))
        path.write_bytes(to_json({k: v for k, v in values.items() if k not in ("card", "can")}))
    there = catalog.collection(own_stripes, "digits")
    assert there.models["fc-ae"].title == ROSTER["fc-ae"].title
    assert not open_page("reconstruct", dataset="digits").error


def test_a_model_without_a_card_that_no_table_knows_is_shown_by_its_name(own_stripes):
    path = own_stripes / "stripes" / "small" / "config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    path.write_bytes(to_json({k: v for k, v in values.items() if k not in ("card", "can")}))
    card = model_card(Bundle("stripes", "small", own_stripes))
    assert (card.title, card.decodes, card.place) == ("small", True, cards.LAST)
    assert list(catalog.models(own_stripes, "stripes"))[-1] == "small"


def test_a_description_comes_back_as_it_was_written(tmp_path):
    card = dataclasses.replace(DataCard.of(DATASETS["celeba"]), name="mine", shareable=True, reader="")
    write_dataset(tmp_path, card)
    assert read_dataset(tmp_path, "mine") == card
    assert card.source is None
