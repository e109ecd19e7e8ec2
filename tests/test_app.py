import contextlib
import functools
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict
from PIL import Image
from streamlit.testing.v1 import AppTest

import train
from explorer import language, layers, mnist, projection
from explorer.cards import DataCard, model_card
from explorer.celeba import ATTRIBUTES
from explorer.checkpoints import STAGES, Bundle, root_folder
from explorer.datasets import DATASETS
from explorer.images import read_picture
from explorer.roster import ROSTER, autoencoders_for, models_for
from explorer.ui import catalog, widgets
from explorer.ui.catalog import Collection
from explorer.ui.frame import PAGES
from tests.conftest import NO_DATA, pca_for_umap

ROOT = Path(__file__).parent.parent
MODEL_PAGES = {"reconstruct": "fc-ae", "denoise": "conv-dae", "latent_map": "fc-ae", "latent_plane": "conv-vae",
               "interpolate": "fc-ae", "generate": "conv-vae", "draw": "fc-ae", "classify": "ffnn",
               "training": "conv-vae", "overview": "conv-ae", "elbo": "conv-vae", "use_it": "fc-ae"}  # fmt: skip


def of_roster(dataset: str) -> Collection:
    """What there is once the whole roster was fitted."""
    bundles = [Bundle(dataset, name, Path("nowhere")) for name in models_for(dataset)]
    return Collection(DataCard.of(DATASETS[dataset]), {bundle.model: model_card(bundle) for bundle in bundles})


OF_DIGITS, OF_FACES = ([key for key, page in PAGES.items() if page.fits(of_roster(d))] for d in ("digits", "celeba"))


COMMITTED = {name: catalog.collection(root_folder(), name) for name in ("fashion-mnist", "celeba")}


def open_page(key: str, **params: str) -> AppTest:
    app = AppTest.from_file(ROOT / "app.py", default_timeout=60)
    if PAGES[key].file != "app.py":
        app.switch_page(PAGES[key].file)
    for name, value in params.items():
        app.query_params[name] = value
    return app.run()


def words(app: AppTest) -> str:
    kinds = ("markdown", "warning", "error", "info", "caption", "title", "subheader")
    texts = [element.value for kind in kinds for element in app.get(kind)]
    return "\n".join(texts + [element.proto.body for element in app.get("html")])


@pytest.fixture
def bundles(digits_root, monkeypatch):
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(digits_root))
    return digits_root


@pytest.fixture
def own_bundles(digits_root, tmp_path, monkeypatch):
    root = tmp_path / "checkpoints"
    shutil.copytree(digits_root, root)
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(root))
    return root


@pytest.fixture(scope="session")
def faces(build_once):
    """Made-up faces on disk, and face models fitted on them for an epoch; a data folder and a root of bundles."""
    folder = build_once("faces", make_faces)
    return folder / "data", folder / "checkpoints"


def make_faces(folder):
    rng = np.random.default_rng(0)
    images = folder / "data" / "celeba" / "img_align_celeba"
    images.mkdir(parents=True)
    names = [f"{i:06d}.jpg" for i in range(1, 61)]
    for name in names:
        Image.fromarray(rng.integers(0, 256, (5, 4, 3), np.uint8)).resize((178, 218)).save(images / name)
    parts = [f"{name} {(0, 0, 1, 2, 2, 2)[i % 6]}" for i, name in enumerate(names)]
    labels = [f"{name} {' '.join(map(str, rng.choice([-1, 1], 40)))}" for name in names]
    (images.parent / "list_eval_partition.txt").write_text("\n".join(parts) + "\n", encoding="utf-8")
    head = [str(len(names)), " ".join(ATTRIBUTES)]
    (images.parent / "list_attr_celeba.txt").write_text("\n".join(head + labels) + "\n", encoding="utf-8")
    arguments = ["--dataset", "celeba", "--epochs", "1", "--device", "cpu", "--threads", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXPLORER_CACHE", str(folder / "cache"))
        roots = ["--data-dir", str(folder / "data"), "--checkpoints", str(folder / "checkpoints")]
        for name, more in (("first", ()), ("again", ("--resume", "--only", "fit"))):
            with (folder / name).open("w", encoding="utf-8") as out, contextlib.redirect_stdout(out):
                assert train.main([*arguments, *roots, *more]) == 0


def test_one_command_says_the_hours_beforehand_fits_all_models_of_faces_and_prints_their_figures(faces):
    models = models_for("celeba")
    for name, n_fitted in (("first", 0), ("again", len(models))):
        lines = (faces[0].parent / name).read_text(encoding="utf-8").splitlines()
        hours = next(i for i, line in enumerate(lines) if line.startswith(", ".join(models)) and "in all" in line)
        assert hours < next(i for i, line in enumerate(lines) if line.startswith(f"{models[0]}: "))
        assert sum("is fitted already" in line for line in lines) == n_fitted
        head, *rows = lines[-len(models) - 1 :]
        assert head.startswith("model") and [row.split()[0] for row in rows] == list(models)
        assert {len(row.split()) for row in rows} == {8}


@pytest.fixture
def face_data(faces, tmp_path, monkeypatch):
    """A copy of the data folder of made-up faces, and the app set to it and to their models."""
    data = tmp_path / "data"
    shutil.copytree(faces[0], data)
    monkeypatch.setenv("EXPLORER_DATA", str(data))
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(faces[1]))
    return data


@pytest.fixture
def both(faces, digits_root, tmp_path, monkeypatch):
    """Bundles of digits and of faces in one root."""
    root = tmp_path / "checkpoints"
    shutil.copytree(digits_root, root)
    shutil.copytree(faces[1], root, dirs_exist_ok=True)
    monkeypatch.setenv("EXPLORER_DATA", str(faces[0]))
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(root))
    return root


@pytest.mark.parametrize("key", OF_DIGITS)
def test_a_page_opens_with_its_frame_and_without_an_exception(bundles, key):
    app = open_page(key)
    assert not app.exception
    assert not app.error
    assert app.title[0].value == PAGES[key].title
    text = words(app)
    assert PAGES[key].question in text
    assert PAGES[key].look_for in text
    assert app.caption[-1].value
    compile(app.code[0].value, key, "exec")


@pytest.mark.parametrize("key", OF_DIGITS)
def test_the_python_beside_a_picture_runs(bundles, key, tmp_path, monkeypatch):
    code = open_page(key).code[0].value
    monkeypatch.chdir(tmp_path)
    exec(compile(code, key, "exec"), {})


@pytest.mark.parametrize(
    ("key", "params", "expected"),
    [
        ("reconstruct", {"way": "worst", "models": "fc-ae", "n": "3"}, "for name in ['fc-ae']"),
        ("denoise", {"noise": "speckle", "level-speckle": "0.25"}, '"speckle", level=0.25'),
        ("latent_map", {"method": "t-SNE", "perplexity": "12"}, "tsne(codes, 12)"),
        ("latent_map", {"method": "UMAP", "dimensions": "3"}, "umap(codes, 3, 15)"),
        ("latent_map", {"method": "native plane", "model": "conv-vae"}, "points = codes"),
        ("latent_plane", {"reach": "3.5", "spacing": "quantiles"}, "latent.axis(10, 3.5, 'quantiles')"),
        (
            "latent_plane",
            {"plane": "Any model", "model": "conv-ae", "through": "three images"},
            "Plane.through(*codes[",
        ),
        ("latent_plane", {"plane": "Any model", "model": "conv-ae"}, "Plane.principal(codes)"),
        ("latent_plane", {"plane": "Along one direction", "which": "3"}, "principal_directions(codes, 3)[2]"),
        ("latent_plane", {"plane": "Along one direction", "direction": "latent number"}, "torch.eye"),
        ("latent_plane", {"plane": "The hole test"}, "Plane.principal(codes)"),
        ("latent_plane", {"plane": "Side by side", "planes": ["conv-ae", "fc-ae"]}, "Plane.through(*codes["),
        ("interpolate", {"steps": "5"}, "linspace(0, 1, 5)"),
        ("interpolate", {"between": "Every model", "walk": "spherical"}, "latent.slerp(*model.embed(x), t)"),
        ("interpolate", {"between": "Between four", "side": "4"}, "bilinear(model.embed(x), 4)"),
        ("classify", {"cells": "row percent"}, "percent=True"),
        ("training", {"models": "conv-ae", "scale": "linear"}, "log=False"),
    ],
)
def test_the_python_beside_a_picture_follows_the_controls(bundles, key, params, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(projection, "umap", pca_for_umap)
    code = open_page(key, **params).code[0].value
    assert expected in code
    monkeypatch.chdir(tmp_path)
    exec(compile(code, key, "exec"), {})


@pytest.mark.parametrize("key", OF_DIGITS)
def test_a_page_without_any_bundle_says_what_to_run(tmp_path, monkeypatch, key):
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(tmp_path))
    app = open_page(key)
    assert not app.exception
    assert "python train.py --dataset fashion-mnist" in words(app)


@pytest.mark.parametrize("file", [name for files in STAGES.values() for name in files])
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_broken_bundle_is_named_with_its_command_and_the_others_work(own_bundles, file, damage):
    path = own_bundles / "digits" / "fc-ae" / file
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    app = open_page("reconstruct")
    assert not app.exception
    warning = app.warning[0].value
    assert file in warning
    assert "python train.py fc-ae --dataset digits" in warning
    assert "Denoising AE" in words(app)


@pytest.mark.parametrize("key", [key for key in OF_DIGITS if key != "lesson"])  # whose models are its lesson's
def test_every_page_survives_a_foreign_weights_file(own_bundles, key):
    model = MODEL_PAGES[key]
    other = "conv-ae" if model != "conv-ae" else "fc-ae"
    folder = own_bundles / "digits"
    shutil.copy(folder / other / "model.safetensors", folder / model / "model.safetensors")
    app = open_page(key, model=model)
    assert not app.exception
    assert f"python train.py {model} --dataset digits" in words(app)


def test_images_can_be_the_best_or_the_worst_of_a_model(bundles):
    def mean_psnr(way):
        app = open_page("reconstruct", way=way, judge="fc-ae", models="fc-ae")
        return float(re.search(r"mean ([\d.]+)\sdB", words(app)).group(1))

    assert mean_psnr("best") > mean_psnr("worst")


def upload(data: bytes, name: str = "mine.png") -> AppTest:
    app = open_page("reconstruct", way="your own")
    return app.file_uploader[0].upload(name, data, "image/png").run()


def picture(mode: str = "L", size: tuple[int, int] = (40, 60), kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, 200 if mode == "L" else None).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(("mode", "kind"), [("L", "PNG"), ("RGBA", "PNG"), ("I;16", "PNG"), ("CMYK", "JPEG")])
def test_an_upload_is_reconstructed_by_every_model(bundles, mode, kind):
    app = upload(picture(mode, kind=kind))
    assert not app.exception
    assert not app.error
    assert "Variational AE" in words(app)


def test_an_upload_that_is_no_picture_is_refused_in_words(bundles):
    app = upload(b"these are not pixels")
    assert not app.exception
    assert "mine.png: This is not a picture" in app.error[0].value


def test_the_name_of_an_upload_is_text_and_a_file_is_what_its_first_bytes_say(bundles):
    app = upload(b"%PDF-1.7", "**x** [a](b).png")
    assert app.error[0].value.startswith(r"\*\*x\*\* \[a\](b).png: This is not a picture that can be read but a PDF")


def test_an_upload_is_decoded_once_and_what_was_made_up_is_said(bundles, monkeypatch):
    reads = []
    monkeypatch.setattr(widgets, "read_picture", lambda data: reads.append(data) or read_picture(data))
    buffer = io.BytesIO()
    Image.fromarray(np.linspace(0, 4095, 784).reshape(28, 28).astype(np.uint16)).save(buffer, "PNG")
    app = upload(buffer.getvalue(), "mine.JFIF")
    app.toggle(key="errors").set_value(True).run()
    assert "taken for 12 bits: 4,095 is shown white" in words(app)
    assert len(reads) == 1
    app.file_uploader[0].upload("next.png", picture(), "image/png").run()
    assert len(reads) == 2


@pytest.mark.parametrize(("key", "words_there"), [("latent_plane", "on the server"), ("draw", "cannot follow")])
def test_a_model_with_other_layers_is_not_sent_to_the_browser(bundles, monkeypatch, key, words_there):
    def refuse(model, networks, half=False):
        raise layers.Unsupported("a layer of type GELU cannot be described")

    monkeypatch.setattr(layers, "pack", refuse)
    app = open_page(key)
    assert not app.exception
    assert words_there in app.info[0].value and "GELU" in app.info[0].value
    assert ('<div class="lx-plane">' in words(app)) == (key == "latent_plane")


def links(app: AppTest) -> list[str]:
    return [element.proto.label for element in app.get("page_link")]


@pytest.mark.parametrize("originals", [True, False])
@pytest.mark.parametrize("key", OF_FACES)
def test_a_page_opens_on_faces(face_data, key, originals):
    if not originals:
        shutil.rmtree(face_data)
    app = open_page(key, dataset="celeba")
    assert not app.exception
    assert not app.error
    assert ("Stand-ins" in words(app)) == (not originals)
    assert "non-commercial research only" in words(app)
    compile(app.code[0].value, key, "exec")


@pytest.mark.parametrize("key", OF_FACES)
def test_the_python_beside_a_picture_of_faces_runs(face_data, key, tmp_path, monkeypatch):
    code = open_page(key, dataset="celeba").code[0].value
    monkeypatch.chdir(tmp_path)
    exec(compile(code, key, "exec"), {})


def test_faces_that_appear_on_disk_take_the_place_of_their_stand_ins(face_data):
    images = face_data / "celeba" / "img_align_celeba"
    away = images.rename(face_data / "away")
    assert "Stand-ins" in words(open_page("interpolate", dataset="celeba"))
    away.rename(images)
    assert "Stand-ins" not in words(open_page("interpolate", dataset="celeba"))


def test_one_face_of_the_gallery_that_is_missing_gives_stand_ins_and_is_named(face_data):
    name = sorted((face_data / "celeba" / "img_align_celeba").iterdir())[3]  # of the test part
    name.unlink()
    assert name.name in words(open_page("reconstruct", dataset="celeba"))


def test_stand_ins_come_from_the_model_with_the_smallest_error_whose_bundle_is_whole(both, monkeypatch):
    monkeypatch.setenv("EXPLORER_DATA", NO_DATA)
    names = autoencoders_for("celeba")
    best, other, *_ = sorted(names, key=lambda name: Bundle("celeba", name, both).metrics()["mse"])
    assert f"decoded by {ROSTER[best].title} " in words(open_page("training", dataset="celeba"))
    (both / "celeba" / best / "model.safetensors").write_bytes(b"")
    assert f"decoded by {ROSTER[other].title} " in words(open_page("training", dataset="celeba"))


def test_what_is_chosen_by_class_is_not_offered_where_there_is_one_class(face_data):
    app = open_page("reconstruct", dataset="celeba", way="by class")
    assert "by class" not in app.get("button_group")[0].options
    assert not app.exception
    assert "show" not in open_page("interpolate", dataset="celeba").session_state


@pytest.mark.parametrize(("dataset", "key"), [(d, k) for d in ("digits", "celeba") for k in PAGES])
def test_a_link_to_a_page_that_makes_no_sense_names_the_data_sets_on_which_it_does(both, dataset, key):
    app = open_page(key, dataset=dataset)
    assert not app.exception
    other = "celeba" if dataset == "digits" else "digits"
    makes_sense, elsewhere = (key in {"digits": OF_DIGITS, "celeba": OF_FACES}[name] for name in (dataset, other))
    here, there = DATASETS[dataset].title, DATASETS[other].title
    assert any(PAGES[key].needs in info.value and here in info.value for info in app.info) == (not makes_sense)
    assert (f"**{there}**" in links(app)) == (elsewhere and not makes_sense)
    assert bool(app.code) == makes_sense


@pytest.mark.parametrize(("dataset", "keys"), [("digits", OF_DIGITS), ("celeba", OF_FACES)])
def test_the_sidebar_links_to_the_pages_that_make_sense(both, dataset, keys):
    assert links(open_page("training", dataset=dataset)) == [PAGES[key].title for key in keys]


def test_a_page_for_faces_opens_on_faces_by_itself(both):
    app = open_page("attributes")
    assert app.selectbox(key="dataset").value == "celeba"
    assert app.code


def test_another_data_set_brings_its_own_models(both):
    app = open_page("reconstruct", dataset="digits", models="fc-ae")
    app.selectbox(key="dataset").select("celeba").run()
    assert not app.exception
    assert app.multiselect(key="models").value == [*autoencoders_for("celeba")]


def axis_types(app: AppTest) -> list[str]:
    return [json.loads(chart.proto.spec)["layout"]["yaxis"]["type"] for chart in app.get("plotly_chart")]


def test_nats_below_zero_are_drawn_on_a_linear_scale(face_data, monkeypatch):
    parts = {"loss": [90.0, -9.0], "reconstruction": [80.0, -12.0], "kl": [10.0, 3.0]}
    history = {f"{which}_{k}": v for which in ("train", "validation") for k, v in parts.items()}
    history |= {"epoch": [1.0, 2.0], "seconds": [1.0, 1.0]}
    monkeypatch.setattr(Bundle, "history", lambda self: history)
    app = open_page("training", dataset="celeba", scale="log")
    assert axis_types(app) == ["linear", "linear", "log"]
    assert "differ in σ: Face VAE 0.1, " in words(app) and "Deep face VAE 0.06. Nats" in words(app)
    assert "differ in σ" not in words(open_page("training", dataset="celeba", models="face-vae"))


def test_a_portrait_is_turned_upright_and_its_middle_square_is_taken_first(face_data, tmp_path, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying: 60 wide, 40 high
    buffer = io.BytesIO()
    Image.new("L", (60, 40), 90).save(buffer, "JPEG", exif=exif)
    app = open_page("reconstruct", dataset="celeba", way="your own")
    app = app.file_uploader[0].upload("mine.png", buffer.getvalue(), "image/jpeg").run()
    assert not app.exception
    assert not app.error
    assert "crop=(0, 10, 40)" in app.code[0].value
    assert "invert" not in app.session_state
    monkeypatch.chdir(tmp_path)
    Path("mine.png").write_bytes(buffer.getvalue())
    exec(compile(app.code[0].value, "reconstruct", "exec"), {})


def test_missing_originals_give_labelled_stand_ins(monkeypatch):
    monkeypatch.setenv("EXPLORER_DATA", NO_DATA)
    app = open_page("reconstruct", dataset="fashion-mnist")
    assert not app.exception
    assert "Stand-ins" in words(app)
    assert any("Download originals" in button.label for button in app.button)


@pytest.mark.parametrize(
    ("dataset", "key"),
    [(name, key) for name, there in COMMITTED.items() for key, page in PAGES.items() if page.fits(there)],
)
def test_every_page_has_content_with_nothing_downloaded_and_no_english_in_indonesian(monkeypatch, dataset, key):
    monkeypatch.setenv("EXPLORER_DATA", NO_DATA)
    app = open_page(key, dataset=dataset, lang="id")
    assert not app.exception
    assert not app.error
    assert app.code
    text = "\n".join(strings(app._tree))
    assert [phrase for phrase in english("id") if phrase in text] == []


def strings(node):
    """List what a page says anywhere, also to the browser's components, but for its Python and its pictures."""
    if children := getattr(node, "children", None):
        for child in children.values():
            yield from strings(child)
    if getattr(node, "proto", None) and node.type != "code":
        parts = [MessageToDict(node.proto)]
        while parts:
            part = parts.pop()
            if isinstance(part, dict):
                parts += part.values()
            elif isinstance(part, list):
                parts += part
            elif isinstance(part, str) and not part.startswith("$$"):  # the name of a control
                yield re.sub(r"data:image[^\"]*", "", part)


@functools.cache
def english(code):
    """List what the catalogue of a language has other words for: of each sentence its longest part without values."""
    pairs = [(said, text) for said, text in language.read(code).items() if said and isinstance(text, str)]
    parts = {max(re.split(r"%?\{[^{}]*\}", said), key=len).strip() for said, text in pairs if said != text}
    kept = " ".join(text for _, text in pairs)
    return sorted(part for part in parts if " " in part and len(part) > 9 and part not in kept)


def test_a_truncated_data_file_is_named_and_stand_ins_are_shown(data_dir, tmp_path, monkeypatch):
    raw = tmp_path / "FashionMNIST" / "raw"
    shutil.copytree(Path(data_dir) / "FashionMNIST" / "raw", raw, copy_function=shutil.copy)
    images = raw / "t10k-images-idx3-ubyte"
    images.chmod(0o644)
    images.write_bytes(images.read_bytes()[:1000])
    monkeypatch.setenv("EXPLORER_DATA", str(tmp_path))
    app = open_page("interpolate")
    assert not app.exception
    assert "t10k-images-idx3-ubyte is truncated" in words(app)


def test_a_download_without_network_fails_in_words(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPLORER_DATA", str(tmp_path / "nothing"))
    monkeypatch.setitem(mnist.SOURCES, "FashionMNIST", mnist.Source(("http://127.0.0.1:9/",), ("",) * 4))
    app = open_page("overview")
    app.button(key="download").click().run()
    assert not app.exception
    assert "Check the network" in app.error[0].value
