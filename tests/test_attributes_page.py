"""What the page of attributes prepares, and its sliders in a real browser, on the committed bundles."""

import dataclasses
import re

import numpy as np
import pytest
import torch

from benchmarks.browser import wait_until_finished
from explorer import attributes, stages
from explorer.attributes import METHODS, Directions, fit_directions
from explorer.checkpoints import Bundle, root_folder
from explorer.datasets import DATASETS, ImageSet
from explorer.roster import ROSTER, autoencoders_for
from explorer.ui import editing
from explorer.ui.editing import METER, Edit
from explorer.ui.frame import PAGES
from tests.test_app import open_page, words
from tests.test_attributes import NAMES, planted

MODEL = "face-vae"
NUMBERS = "node => [...node.getContext('2d').getImageData(0, 0, node.width, node.height).data]"


@pytest.fixture(scope="module")
def found():
    return fit_directions(*planted(), NAMES)


@pytest.mark.parametrize("method", METHODS)
def test_one_step_moves_its_own_score_on_the_meter_by_one_by_either_method(found, method):
    edit = Edit(found, method, ("planted", "goes with it"), ())
    moved = editing.effects(edit, edit.steps)
    rows = [found[METER].names[k] for k in found[METER].usable]
    assert moved.shape == (2, len(rows))
    assert [moved[0, rows.index("planted")], moved[1, rows.index("goes with it")]] == pytest.approx([1, 1])


def test_a_direction_that_hardly_moves_its_own_score_is_not_stretched_without_end(found):
    short = dataclasses.replace(found[METER], steps=0.01 * found[METER].steps)
    edit = Edit({METHODS[0]: short, METER: found[METER]}, METHODS[0], ("planted",), ())
    assert edit.whole("planted") == pytest.approx(0.02 * found[METER].steps[0])


def test_what_is_held_still_does_not_move_and_never_holds_itself(found):
    edit = Edit(found, METHODS[0], ("planted", "goes with it"), ("goes with it",))
    rows = [found[METER].names[k] for k in found[METER].usable]
    moved = editing.effects(edit, edit.steps)[:, rows.index("goes with it")]
    assert moved == pytest.approx([0, 1], abs=1e-9)
    assert editing.share_kept("planted", edit) < 1
    assert "of its length is left" in editing.describe("planted", edit)
    assert "left" not in editing.describe("goes with it", edit)


def test_moves_add_up(found):
    edit = Edit(found, METHODS[1], ("planted", "goes with it"), ())
    expected = 2 * edit.steps[0] - edit.steps[1]
    assert edit.change({"planted": 2.0, "goes with it": -1.0}) == pytest.approx(expected)
    assert not edit.change({}).any()


def test_no_attribute_at_all_may_be_chosen(found):
    edit = Edit(found, METHODS[1], (), ("planted",))
    assert edit.change({}).shape == edit.scorers.scale.shape
    assert not edit.change({"planted": 1.0}).any()
    assert editing.editor_data(edit, {})["sliders"] == []


def test_only_directions_that_both_methods_find_are_offered(found):
    assert editing.offered(found) == ["planted", "goes with it", "half known"]


def test_the_table_says_of_each_attribute_whether_it_is_used_or_why_not(found):
    rows = {row["attribute"]: row for row in editing.table(found)}
    assert list(rows) == list(NAMES)
    assert rows["planted"][""] == "used"
    assert rows["nobody"][""] == "hidden: every label says no"
    assert rows["rare"][""].startswith("hidden: only")
    assert rows["noise"][""].count("not better than chance") == 2  # each method with its own figure
    assert (rows["rare"]["with"], rows["rare"]["without"]) == (19, 1181)
    assert rows["planted"][f"{METHODS[0]} (%)"] > 80


def test_the_editor_is_told_what_each_attribute_on_the_meter_is_there_for(found):
    data = editing.editor_data(Edit(found, METHODS[0], ("planted",), ("goes with it",)), {"planted": 1.5})
    assert {entry["name"]: entry["kind"] for entry in data["meter"]} == {
        "planted": "asked", "goes with it": "held", "half known": "side",
    }  # fmt: skip
    [slider] = data["sliders"]
    assert (slider["value"], len(slider["effects"])) == (1.5, len(data["meter"]))


def test_moves_are_read_from_an_address_as_they_were_written():
    moves = {"Smiling": 1.25, "Male": -3.0, "Young": 0.0}
    assert editing.read_moves(editing.write_moves(moves), tuple(moves)) == {"Smiling": 1.25, "Male": -3.0}


@pytest.mark.parametrize("text", ["Smiling", "Smiling,x", "Smiling,nan", "Smiling,inf", "Flying,1", "", ","])
def test_moves_that_make_no_sense_are_passed_over(text):
    assert editing.read_moves([text], ["Smiling"]) == {}


def test_moves_end_where_the_sliders_do():
    assert editing.read_moves(["Smiling,1e9"], ["Smiling"]) == {"Smiling": editing.REACH}


def test_a_direction_says_whether_the_encoder_had_seen_the_faces_it_is_judged_on(found):
    said = {}
    for on_new in (None, np.zeros(len(NAMES), bool), np.ones(len(NAMES), bool)):
        judged = {method: dataclasses.replace(found[method], on_new=on_new) for method in found}
        said[str(on_new)[:6]] = editing.describe("planted", Edit(judged, METHODS[0], ("planted",), ()))
    assert ["though perhaps not" in said["None"], "though not from the encoder" in said["[False"]] == [True, True]
    assert "neither direction nor encoder has seen" in said["[ True"]
    apart = dataclasses.replace(found[METHODS[0]], on_new=np.zeros(len(NAMES), bool), apart=True)
    assert editing.judged_on(apart, 0) == editing.APART


def test_labelled_codes_are_kept_with_the_part_that_their_images_are_of():
    def part(n, labels):
        images = torch.zeros(n, 3, 64, 64, dtype=torch.uint8)
        return ImageSet(images, torch.zeros(n, dtype=torch.long), ("Face",), torch.tensor(labels, dtype=torch.int8))

    splits = {"test": part(2, [[1], [0]]), "train": part(3, [[1], [-1], [0]]), "validation": part(1, [[1]])}
    stored = stages.labelled_codes(ROSTER[MODEL].config.build().eval(), splits)
    assert "labelled_people" not in stored
    who = {
        name: dataclasses.replace(data, people=torch.tensor([7, -1, 9][: len(data)])) for name, data in splits.items()
    }
    people = stages.labelled_codes(ROSTER[MODEL].config.build().eval(), who)["labelled_people"].tolist()
    assert people[0] == people[2] == people[3] and people[1] != people[0] and people[4] == -1
    assert stored["labelled_split"].tolist() == [0, 0, 1, 2, 2]
    assert stored["labelled_attributes"].flatten().tolist() == [1, 0, 1, 1, 0]
    assert len(stored["labelled_codes"]) == 5


def test_the_page_does_not_call_faces_new_that_the_encoder_may_know(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPLORER_DATA", str(tmp_path))
    monkeypatch.setattr(attributes, "fit_directions", lambda codes, labels, names, **_: few_directions(codes, names))
    page = open_page("attributes", dataset="celeba", attributes="Smiling", move="Smiling,2", every="true")
    text = words(page)
    assert "on faces held out from the direction, though perhaps not from the encoder; both classes" in text
    assert "All 4,559 labelled images are of the part that the model was fitted to" in text
    n = text.count("of the change in pixels lies outside the mask")  # beside the strip of each model, and as its text
    assert n == 2 * len(autoencoders_for("celeba"))


def few_directions(codes, names):
    """Directions that cost nothing, of codes of this length."""
    n, d = len(names), codes.shape[1]
    directions = Directions(
        names, np.ones(d), np.eye(n, d), np.eye(n, d), np.zeros(n), np.full(n, 0.8), None, np.full(n, 200),
        np.full(n, 200), ("",) * n,
    )  # fmt: skip
    return dict.fromkeys(METHODS, directions)


# In the browser


@pytest.fixture
def editor(page, address):
    return open_editor(page, address, "&move=")


def open_editor(page, address, query=""):
    page.goto(f"{address}/attributes?dataset=celeba&model={MODEL}{query}")
    wait_until_finished(page, PAGES["attributes"].title, seconds=180)  # the first time all directions are fitted
    page.locator(".edit").wait_for()
    return page


def push(page, n, steps):
    slider = page.locator("input.range").nth(n)
    slider.focus()
    for _ in range(abs(steps)):
        slider.press("ArrowRight" if steps > 0 else "ArrowLeft")


def amount(page, label):
    row = page.locator(".meter .row").filter(has=page.get_by_text(label, exact=True))
    return float(row.locator(".amount").inner_text().replace("−", "-"))


def wait_for_amount(page, label, expected):
    for _ in range(100):
        if amount(page, label) == pytest.approx(expected, abs=0.011):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"{label} moved by {amount(page, label)}, not {expected}")


def wait_for_moves(page, moves):
    page.wait_for_function(
        "moves => JSON.stringify(new URLSearchParams(location.search).getAll('move')) === JSON.stringify(moves)",
        arg=moves, timeout=15_000,
    )  # fmt: skip


def pixels(page, name):
    return torch.tensor(page.locator(f".{name} canvas").evaluate(NUMBERS)).view(64, 64, 4)[..., :3]


def sizes_of_side_effects(page):
    """List how far each moves, in the order in which they are shown."""
    rows = page.locator(".meter .side .row").evaluate_all(
        "rows => rows.sort((a, b) => a.style.order - b.style.order).map(row => row.querySelector('.amount').innerText)"
    )
    return [abs(float(text.replace("−", "-"))) for text in rows]


def test_the_face_and_the_meter_follow_a_slider_that_is_spoken_and_reset_brings_them_back(editor):
    first = pixels(editor, "edited")
    assert torch.equal(first, pixels(editor, "reconstruction"))
    push(editor, 0, 30)
    wait_for_amount(editor, "Smiling", 1.5)
    assert editor.get_by_role("slider", name="Smiling").get_attribute("aria-valuetext") == "+1.50 steps"
    editor.wait_for_timeout(300)
    sizes = sizes_of_side_effects(editor)
    assert sizes == sorted(sizes, reverse=True)  # the largest stands first
    assert sizes[0] > 0.1
    assert not torch.equal(pixels(editor, "edited"), first)
    assert torch.equal(pixels(editor, "reconstruction"), first)
    wait_for_moves(editor, ["Smiling,1.5"])
    editor.get_by_role("button", name="Reset").click()
    wait_for_amount(editor, "Smiling", 0)
    assert torch.equal(pixels(editor, "edited"), first)
    wait_for_moves(editor, [""])


def test_the_edited_face_is_what_torch_decodes(page, address):
    open_editor(page, address, "&pick=5&move=Smiling,2&move=Male,-1&method=logistic+regression")
    bundle = Bundle("celeba", MODEL, root_folder())
    stored = {name: tensor.float().numpy() for name, tensor in bundle.codes().items()}
    names = DATASETS["celeba"].attributes
    found = attributes.fit_stored(stored, names)
    edit = Edit(found, METHODS[1], ("Smiling", "Male"), ())
    z = stored["codes"][5] + edit.change({"Smiling": 2.0, "Male": -1.0})
    with torch.inference_mode():
        expected = bundle.load().decode(torch.from_numpy(z).float()[None])[0].permute(1, 2, 0)
    wait_for_amount(page, "Smiling", 2 + -1 * editing.effects(edit, edit.steps)[1, found[METER].usable.index(31)])
    assert (pixels(page, "edited") / 255 - expected).abs().max() < 0.02  # half precision and eight bits


def test_what_is_held_still_stays_where_it_is(page, address):
    open_editor(page, address, "&attributes=Smiling&against=Male&against=Young")
    push(page, 0, 40)
    page.wait_for_timeout(300)
    assert page.locator(".meter .held .name").all_inner_texts() == ["Male", "Young"]
    assert amount(page, "Male") == amount(page, "Young") == 0
    assert 0 < amount(page, "Smiling") <= 2


def test_marks_of_the_encoder_come_when_a_slider_is_let_go_and_go_when_it_moves(editor):
    push(editor, 0, 20)
    wait_for_moves(editor, ["Smiling,1"])
    marks = editor.locator(".meter .mark:not([hidden])")
    marks.first.wait_for(timeout=15_000)
    assert marks.count() == editor.locator(".meter .row").count()
    notes = editor.locator(".notes")
    assert re.search(r"\d % of the change in pixels lies outside the mask.*\d % of pairs of one", notes.inner_text())
    editor.locator("input.range").first.evaluate(
        "node => { node.value = 2; node.dispatchEvent(new Event('input', { bubbles: true })); }"
    )
    wait_for_amount(editor, "Smiling", 2)
    assert marks.count() == 0 and notes.inner_text().startswith("Let go of a slider")


def test_a_link_opens_the_same_edit_on_a_server_that_has_not_seen_it(page, address):
    open_editor(page, address, "&attributes=Smiling&attributes=Eyeglasses&move=Eyeglasses,1.5&move=Flying,1")
    assert page.locator("input.range").evaluate_all("nodes => nodes.map(node => node.value)") == ["0", "1.5"]
    wait_for_moves(page, ["Eyeglasses,1.5"])


def test_a_sample_of_the_prior_has_no_original(page, address):
    open_editor(page, address, "&face=sample&seed=3")
    assert page.locator(".original").is_hidden()
    before = pixels(page, "reconstruction")
    open_editor(page, address, "&face=sample&seed=4")
    assert not torch.equal(pixels(page, "reconstruction"), before)
