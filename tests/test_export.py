"""What exported pages hold and weigh, and the command that writes them, on the committed bundles."""

import ast
import base64
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from explorer import language, latent
from explorer.attributes import METHODS, fit_directions
from explorer.checkpoints import Bundle, root_folder
from explorer.datasets import DATASETS
from explorer.export import contents, document
from explorer.export.command import main
from explorer.roster import ROSTER
from explorer.ui import catalog, editing, loading, taking
from explorer.ui.editing import Edit, Face
from explorer.ui.frame import PAGES, View
from tests.conftest import AUTOENCODERS, NO_DATA
from tests.test_app import open_page
from tests.test_layers import interpret, unpack

ROOT = Path(__file__).parent.parent
HALF_A_GREY_LEVEL = 0.5 / 255
MOST_OF_FACES = {"face-best": 4.1e6}  # bytes; of the others 3 MB


def write(folder, *arguments):
    file = folder / "page.html"
    assert main([*map(str, arguments), "-o", str(file)]) == 0
    return file


def bytes_in(text):
    """Take the packed bytes out of a page, as a browser does."""
    for packed in re.findall(r'<script type="application/octet-stream"[^>]*>([^<]*)</script>', text):
        parted = np.frombuffer(gzip.decompress(base64.b64decode(packed)), np.uint8)
        yield parted.reshape(2, -1).T.tobytes()


def scene_in(text):
    return json.loads(re.search(r'<script type="application/json" id="scene">(.*?)</script>', text, re.S)[1])


def faces_view():
    """A view of the faces without reading two thousand of them from the disk."""
    index = loading.gallery_index(catalog.dataset(root_folder(), "celeba"), root_folder())
    images = np.zeros((len(index.labels), 3, 64, 64), np.float32)
    gallery = loading.Gallery("celeba", images, index.labels.numpy(), index.indices.numpy(), ("Face",), index.names)
    return View(catalog.collection(root_folder(), "celeba"), root_folder(), gallery)


def view_of(dataset):
    there = catalog.collection(root_folder(), dataset)
    return View(there, root_folder(), loading.gallery(there, root_folder()))


@pytest.mark.parametrize("model", AUTOENCODERS)
def test_what_is_written_decodes_within_half_a_grey_level_of_what_the_app_decodes(tmp_path, monkeypatch, model):
    home = ROSTER[model].home
    if home == "celeba":
        monkeypatch.setattr(loading, "gallery", lambda dataset, root: faces_view().gallery)
    file = write(tmp_path, "latent_plane", "--model", model, "--dataset", home, "--tab", "any")
    assert home == "fashion-mnist" or file.stat().st_size <= MOST_OF_FACES.get(model, 3e6)
    [(identity, networks, weights)] = map(unpack, bytes_in(file.read_text(encoding="utf-8")))
    bundle = Bundle(home, model, root_folder())
    assert identity == bundle.identity
    codes = bundle.codes()["codes"].float()
    place = latent.Plane.native() if codes.shape[1] == 2 else latent.Plane.principal(codes)
    axis = torch.linspace(-5.5, 5.5, 12) if codes.shape[1] == 2 else torch.linspace(-3.3, 3.3, 3)
    z = torch.cat([codes[::100], place.codes(latent.plane(axis, axis))])
    with torch.inference_mode():
        expected = bundle.load().decode(z).flatten(1)
        got = interpret(networks["decode"], weights, z)
    assert (got - expected).abs().max() <= HALF_A_GREY_LEVEL


def test_a_page_forbids_itself_every_request_and_names_no_address_but_the_one_back():
    view = view_of("fashion-mnist")
    back = 'https://example.org/draw?a=1&b="><script>'
    text = document.document(view, contents.draw(view, "conv-vae", start=0), back).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in policy and "http" not in policy
    assert re.findall(r"https?://[^\s'\"<]+", text) == ["https://example.org/draw?a=1&amp;b=&quot;&gt;&lt;script&gt;"]
    assert PAGES["draw"].title in text and PAGES["draw"].look_for in text and view.dataset.licence in text


def test_a_page_is_written_in_another_language(tmp_path):
    text = write(tmp_path, "draw", "--language", "id").read_text(encoding="utf-8")
    assert '<html lang="id">' in text and scene_in(text)["language"] == "id"
    with language.speaking("id"):
        assert language.say(PAGES["draw"].look_for) in text and PAGES["draw"].look_for not in text
    words = json.loads(re.search(r"^(?:.*>)?const WORDS = (.*);$", text, re.M)[1])
    assert words["id"]["Undo"] == "Urungkan"


@pytest.mark.parametrize("back", ["", "javascript:alert(1)", "file:///etc/passwd"])
def test_a_page_links_to_nothing_but_the_web(back):
    view = view_of("fashion-mnist")
    text = document.document(view, contents.interpolate(view, "conv-vae", picks=[0, 1]), back).decode()
    assert "<a " not in text and "Latent-space explorer" in text


def test_only_data_sets_whose_licence_allows_it_are_passed_on():
    assert [name for name, dataset in DATASETS.items() if not dataset.shareable] == ["celeba"]


@pytest.fixture(scope="module")
def faces():
    """A view of the faces, with directions of two attributes."""
    view = faces_view()
    stored = {name: tensor.float().numpy() for name, tensor in view.bundle("face-vae").codes().items()}
    names = ("Smiling", "Male")
    columns = [view.dataset.attributes.index(name) for name in names]
    labels = stored["labelled_attributes"][:2000, columns].astype(np.int8)
    return view, Edit(fit_directions(stored["labelled_codes"][:2000], labels, names), METHODS[0], names, ())


@pytest.mark.parametrize("own", [False, True])
def test_no_face_of_the_data_set_travels_but_the_visitors_own_does(faces, own):
    view, edit = faces
    face = Face(loading.codes(view.bundle("face-vae"))["codes"][0], "", view.gallery.images[0])
    held = contents.attributes(view, "face-vae", face=face, edit=edit, moves={}, own=own)
    text = document.document(view, held).decode()
    assert ("data:image" in text) == own
    assert scene_in(text)["parts"][0]["data"]["made"] == "reconstruction"
    assert "of which no image is in this file" in text


@pytest.mark.parametrize("picks", [[0, 1], [0, 1, 2, 3]])
def test_walks_between_faces_hold_their_codes_and_samples_but_no_image(faces, picks):
    view, _ = faces
    held = contents.interpolate(view, "face-vae", picks=picks)
    text = document.document(view, held).decode()
    assert "data:image" not in text and held.scene["sheet"] is None
    assert held.codes == pytest.approx(loading.encode(view.bundle("face-vae"), view.gallery.images[picks]).numpy())
    assert np.shape(held.scene["samples"]) == (contents.SAMPLES, 128)


def test_pages_with_images_offer_others_and_hold_exactly_their_codes():
    view = view_of("fashion-mnist")
    held = contents.interpolate(view, "fc-ae", picks=[5, 9])
    assert held.codes.shape == (contents.THUMBNAILS, 64)
    [*_, codes] = bytes_in(document.document(view, held).decode())
    assert np.array_equal(np.frombuffer(codes, "<f4").reshape(held.codes.shape), held.codes)
    assert held.scene["sheet"]["titles"][:2] == [view.gallery.label(5), view.gallery.label(9)]


def test_without_the_original_images_stand_ins_travel_and_the_page_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPLORER_DATA", NO_DATA)
    text = write(tmp_path, "draw", "--model", "conv-vae").read_text(encoding="utf-8")
    assert "shown are stand-ins, decoded by" in text


@pytest.mark.parametrize(
    ("tab", "parts"),
    [("2-D", ["conv-vae"]), ("any", ["fc-ae"]), ("one", ["fc-ae"]), ("hole", ["fc-ae", "conv-vae"])],
)
def test_each_tab_of_the_plane_can_be_written(tmp_path, tab, parts):
    scene = scene_in(write(tmp_path, "latent_plane", "--tab", tab).read_text(encoding="utf-8"))
    assert [part["data"]["model"].split("/")[1] for part in scene["parts"]] == parts


def test_three_images_lay_a_plane_and_the_classifier_comes_where_it_is_asked_for(tmp_path):
    asked = ["latent_plane", "--model", "conv-ae-128", "--classifier"]
    text = write(tmp_path, *asked, "--image", 1, "--image", 2, "--image", 3).read_text(encoding="utf-8")
    [part] = scene_in(text)["parts"]
    assert part["data"]["names"] == ["A → B", "A → C"]
    assert [unpack(packed)[0] for packed in bytes_in(text)] == [part["data"]["model"], part["data"]["classifier"]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["classify"], "unknown page 'classify'; known: latent_plane, draw, attributes, interpolate"),
        (["latent_plane", "--model", "ffnn"], "ffnn on fashion-mnist does not fit"),
        (["latent_plane", "--model", "fc-ae", "--tab", "2-D"], "does not fit The 2-D code, but conv-vae"),
        (["draw", "--model", "face-vae"], "draw needs a model of shapes that can be drawn"),
        (["latent_plane", "--model", "face-vae", "--tab", "hole"], "fit The hole test, but no model of it does"),
        (["latent_plane", "--model", "face-vae", "--classifier"], "there is no classifier of celeba"),
        (["draw", "--tab", "two"], "draw has no tab 'two'; it has none"),
        (["interpolate", "--tab", "between"], "it has Between two, Between four"),
        (["draw", "--image", "1000"], "the gallery has 1000 images, counted from 0, so there is no 1000"),
        (["draw", "--image", "1", "--image", "2"], "draw shows 1 image, so give --image no more often"),
        (["latent_plane", "--image", "1"], "The 2-D code shows no image of its own"),
        (["latent_plane", "--tab", "any", "--image", "1", "--image", "1", "--image", "1"], "lie on one line"),
    ],
)
def test_what_does_not_go_together_is_said_with_exit_code_2(tmp_path, capsys, arguments, said):
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "-o", str(tmp_path / "page.html")])
    assert stopped.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_a_broken_bundle_is_named_with_exit_code_1_and_the_file_before_stays(tmp_path, capsys, monkeypatch):
    root = tmp_path / "checkpoints"
    for name in ("conv-vae", "conv-ae"):
        shutil.copytree(root_folder() / "fashion-mnist" / name, root / "fashion-mnist" / name)
    shutil.copy(root_folder() / "fashion-mnist" / "gallery.json", root / "fashion-mnist")
    weights = root / "fashion-mnist" / "conv-vae" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(root))
    file = tmp_path / "page.html"
    file.write_text("before", encoding="utf-8")
    assert main(["latent_plane", "--model", "conv-vae", "-o", str(file)]) == 1
    assert str(weights) in capsys.readouterr().err
    assert file.read_text(encoding="utf-8") == "before"


def test_a_file_that_cannot_be_written_is_said_with_exit_code_1(tmp_path, capsys):
    (tmp_path / "folder").write_text("a file", encoding="utf-8")
    assert main(["latent_plane", "-o", str(tmp_path / "folder" / "page.html")]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_the_command_writes_a_plane_of_at_most_a_megabyte_and_prints_its_size_alone(tmp_path):
    command = [sys.executable, "-m", "explorer.export", "latent_plane", "--model", "conv-vae", "-o", "plane.html"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    [file] = tmp_path.iterdir()
    size = file.stat().st_size
    assert size <= 1e6
    assert (done.stdout, done.stderr) == (f"plane.html: {size / 1e6:.2f} MB\n", "")


def test_no_page_of_the_app_imports_what_exports_it_before_it_is_asked_to():
    for path in [ROOT / "app.py", *(ROOT / "pages").glob("*.py"), *(ROOT / "explorer" / "ui").rglob("*.py")]:
        at_once = [
            node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.ImportFrom)
        ]
        assert not [node for node in at_once if f"{node.module}".startswith("explorer.export")], path


def taken_home(monkeypatch, key, **params):
    """Open a page of the app and give the name and the text of what its button makes."""
    made = []
    monkeypatch.setattr(
        taking.st, "download_button", lambda label, data, name, *rest, **more: made.append((name, data))
    )
    assert not open_page(key, **params).exception
    [(name, data)] = [(name, data) for name, data in made if name.endswith(".html")]
    return name, data().decode()


@pytest.mark.parametrize(
    ("key", "params", "kinds"),
    [
        ("latent_plane", {"plane": "The 2-D code", "layers": "posterior"}, ["plane"]),
        ("latent_plane", {"plane": "Any model", "through": "three images"}, ["plane"]),
        ("latent_plane", {"plane": "Along one direction"}, ["plane"]),
        ("latent_plane", {"plane": "The hole test"}, ["plane", "plane"]),
        ("draw", {"model": "conv-vae"}, ["draw", "plane"]),
        ("interpolate", {"between": "Between two"}, ["walk"]),
        ("interpolate", {"between": "Between four"}, ["plane"]),
    ],
)
def test_the_button_of_each_page_and_tab_makes_a_file_of_what_is_shown(digits_root, monkeypatch, key, params, kinds):
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(digits_root))
    name, text = taken_home(monkeypatch, key, dataset="digits", **params)
    assert re.fullmatch(rf"{key.replace('_', '-')}-(fc-ae|conv-vae)\.html", name)
    scene = scene_in(text)
    assert [part["kind"] for part in scene["parts"]] == kinds
    if params.get("layers"):
        assert scene["parts"][0]["data"]["layers"] == ["posterior"] and scene["parts"][0]["data"]["ellipse"]


@pytest.mark.parametrize(("source", "made"), [("gallery", "reconstruction"), ("sample", "sample")])
def test_the_button_below_a_face_makes_a_file_of_it_without_its_picture(faces, monkeypatch, source, made):
    view, edit = faces
    monkeypatch.setattr(loading, "gallery", lambda dataset, root: view.gallery)
    monkeypatch.setattr(editing, "fitted", lambda bundle, names: edit.found)
    _, text = taken_home(monkeypatch, "attributes", dataset="celeba", model="face-vae", face=source)
    assert scene_in(text)["parts"][0]["data"]["made"] == made
    assert "data:image" not in text
