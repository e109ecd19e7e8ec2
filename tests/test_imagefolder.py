"""One's own images: any folder of pictures as a data set, and a roster for it."""

import os
import shutil
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import train
from explorer import cards, imagefolder
from explorer.checkpoints import GALLERY_IMAGES, Bundle, BundleError, read_gallery, read_gallery_images
from explorer.datasets import SPLITS, DataError, gallery_indices
from explorer.imagefolder import dataset, look
from explorer.roster import for_images
from explorer.ui import catalog
from explorer.ui.frame import PAGES
from tests.test_app import open_page, words

N = 60


def save(path, seed, mode="RGB", size=(40, 30), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1] // 5, size[0] // 5, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST).convert(mode).save(path, **options)


@pytest.fixture
def folder(tmp_path):
    """Sixty pictures in three classes, of several kinds and names in several scripts."""
    root = tmp_path / "Meine Bilder № 1"
    for i in range(N):
        kind = ("küche", "街", "_x_ <b>")[i % 3]
        ending = ("png", "JPG", "webp", "gif", "bmp", "tiff")[i % 6]
        save(root / kind / f"Bild {i} é.{ending}", i)
    return root


def splits_of(found, shape=(3, 16, 16)):
    row = dataset(found, "mine", shape)
    return {split: row.load(split) for split in SPLITS}


def test_subfolders_are_classes_and_every_kind_of_picture_is_read(folder):
    found = look(folder)
    assert found.classes == ("_x_ <b>", "küche", "街")
    splits = splits_of(found)
    assert sum(len(data) for data in splits.values()) == N
    assert splits["train"].images.shape[1:] == (3, 16, 16)
    counts = torch.bincount(torch.cat([data.labels for data in splits.values()]))
    assert counts.tolist() == [20, 20, 20]


def parts(folder):
    return {image.numpy().tobytes(): split for split, data in splits_of(look(folder)).items() for image in data.images}


def test_an_image_never_changes_its_part_and_copies_share_one(folder):
    before = parts(folder)
    for i in range(10):
        save(folder / "küche" / f"new {i}.png", 1000 + i)
    shutil.copy(next((folder / "街").glob("*.bmp")), folder / "küche" / "a copy.png")
    (folder / "küche" / "new 0.png").rename(folder / "küche" / "renamed.png")
    after = parts(folder)
    assert len(after) == N + 10
    assert {image: after[image] for image in before} == before


def test_what_is_no_picture_is_passed_over_in_words_and_links_may_run_in_a_circle(folder):
    (folder / "notes.txt").write_text("x", encoding="utf-8")
    (folder / ".hidden.png").write_bytes(b"x")
    (folder / "küche" / "broken.jpg").write_bytes(b"\xff\xd8nothing")
    (folder / "街" / "again").symlink_to(folder)
    os.symlink(folder / "nowhere.png", folder / "街" / "gone.png")
    found = look(folder)
    notes = " ".join(splits_of(found)["train"].notes)
    assert "1 files are no pictures: 1 .txt" in notes
    assert "2 pictures were skipped" in notes
    assert "broken.jpg (This is not a picture" in notes
    assert "gone.png (a link to nothing)" in notes
    assert sum(len(data) for data in splits_of(found).values()) == N


def test_pictures_beside_the_subfolders_or_too_many_subfolders_make_no_classes(folder):
    save(folder / "loose.png", 7)
    found = look(folder)
    assert found.classes == ("Image",)
    assert "subfolders are not taken for classes" in found.notes[0]
    (folder / "loose.png").unlink()
    for i in range(5):
        save(folder / f"class {i}" / "one.png", 100 + i)
    assert "8 subfolders are too many for 65 pictures" in look(folder).notes[0]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda root: None, "is no folder"),
        (lambda root: root.mkdir(), "holds 0 pictures, and at least 30 are needed"),
        (lambda root: [save(root / f"{i}.png", i) for i in range(3)], "holds 3 pictures"),
        (lambda root: (root.mkdir(), (root / "a.zip").write_bytes(b"x")), r"Files of other kinds are there: 1 \.zip"),
    ],
)
def test_a_folder_that_cannot_be_a_data_set_is_refused_in_words_with_code_1(tmp_path, capsys, make, reason):
    root = tmp_path / "pictures"
    make(root)
    with pytest.raises(DataError, match=reason):
        look(root)
    assert train.main(["--images", str(root), "--device", "cpu", "--checkpoints", str(tmp_path / "out")]) == 1
    assert "train.py: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_table_beside_the_pictures_says_what_is_in_each(folder):
    rows = [f"Bild {i} é;{'yes' if i % 2 else 'no'};{i % 3 // 2}" for i in range(50)]
    (folder / "Attributes.csv").write_text("\n".join(["Bild;Has wings;Flies at night", *rows]), encoding="utf-8")
    found = look(folder)
    assert not any("no pictures" in note for note in found.notes)
    row = dataset(found, "mine", (3, 16, 16))
    assert row.attributes == ("Has wings", "Flies at night")
    values = torch.cat([row.load(split).attributes for split in SPLITS])
    assert values.shape == (N, 2)
    assert [int((values[:, 0] == k).sum()) for k in (1, 0, -1)] == [25, 25, 10]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("", "names no attribute"),
        ("name\nBild 0 é\n", "names no attribute"),
        ("name,wings\n", "no row follows"),
        ("name,wings\nBild 0 é,perhaps\n", "line 2, cannot be read: 'perhaps'"),
        ("name,wings\nnobody,yes\n", "names one of the 60 images"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_with_file_and_line(folder, table, reason):
    (folder / "attributes.csv").write_text(table, encoding="utf-8")
    with pytest.raises(DataError, match=reason) as refused:
        splits_of(look(folder))
    assert "attributes.csv" in str(refused.value)


def test_one_picture_again_and_again_cannot_be_parted(tmp_path):
    for i in range(40):
        save(tmp_path / "same" / f"{i}.png", 0)
    with pytest.raises(DataError, match="too few pictures that differ"):
        splits_of(look(tmp_path / "same"))


@pytest.mark.parametrize(("mode", "grey"), [("L", True), ("RGB", False), ("CMYK", False)])
def test_colour_is_found_out_by_looking(tmp_path, mode, grey):
    for i in range(31):
        save(tmp_path / "p" / f"{i}.jpg", i, mode)
    seen = []
    assert imagefolder.is_grey(look(tmp_path / "p"), lambda *told: seen.append(told)) is grey
    assert seen[0][:2] == (1, 31)
    assert seen[0][2].shape == (3, 28, 28)


def test_grey_images_have_one_channel_of_luminance(folder):
    found = look(folder)
    colour, grey = splits_of(found)["test"].images.float(), splits_of(found, (1, 16, 16))["test"].images.float()
    expected = (colour * torch.tensor(imagefolder.LUMINANCE)[:, None, None]).sum(1, keepdim=True)
    torch.testing.assert_close(grey, expected, atol=0.51, rtol=0)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 64, 64), (3, 128, 128), (1, 50, 50)])
@pytest.mark.parametrize("n_classes", [1, 7])
def test_there_is_a_roster_for_images_of_any_size(folder, shape, n_classes):
    found = look(folder)
    row = dataset(imagefolder.Found(folder, found.names, found.labels, ("c",) * n_classes, ()), "mine", shape)
    roster = for_images(row, 500)
    assert list(roster) == ["ae", "vae", "vae-2d", "denoiser", *["classifier"] * (n_classes > 1)]
    x = torch.rand(2, *shape)
    for entry in roster.values():
        model = entry.config.build().eval()
        assert model(x).shape == (x.shape if entry.is_autoencoder else (2, n_classes))
        assert entry.home == "mine"
    assert [for_images(row, n)["ae"].recipe.epochs for n in (1, 500, 10**6)] == [100, 60, 10]


@pytest.fixture(scope="module")
def fitted(build_once, tmp_path_factory):
    def build(root):
        pictures = tmp_path_factory.mktemp("pictures") / "Bunte Bilder"
        for i in range(90):
            save(pictures / ("a", "b *b*")[i % 2] / f"{i}.png", i)
        options = ["--size", "16", "--epochs", "1", "--device", "cpu", "--threads", "1"]
        assert train.main(["--images", str(pictures), *options, "--checkpoints", str(root)]) == 0
        shutil.rmtree(pictures)  # the app needs it no more

    return build_once("own-images", build)


def test_one_command_makes_bundles_that_describe_themselves(fitted):
    there = catalog.collection(fitted, "bunte-bilder")
    assert (there.images.title, there.images.licence) == ("Bunte Bilder", "your own images")
    assert (there.images.shareable, there.images.reader) == (False, cards.STORED)
    assert list(there.models) == ["ae", "vae", "vae-2d", "denoiser", "classifier"]
    assert (there.native, there.classifier, there.denoiser.name) == ("vae-2d", "classifier", "denoiser")
    images = read_gallery_images(fitted, "bunte-bilder")
    assert images.shape == (len(read_gallery(fitted, "bunte-bilder").labels), 3, 16, 16)
    assert "--images FOLDER --name bunte-bilder" in Bundle("bunte-bilder", "ae", fitted).command()


@pytest.mark.parametrize("key", PAGES)
def test_every_page_opens_on_ones_own_images(fitted, monkeypatch, key):
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(fitted))
    app = open_page(key)
    assert [e.value for e in (*app.exception, *app.error, *app.warning)] == []
    assert "Stand-ins" not in words(app)


@pytest.mark.parametrize("content", [None, b"", b"no tensors", "another"])
def test_a_gallery_whose_images_are_gone_or_damaged_is_shown_by_stand_ins(fitted, tmp_path, monkeypatch, content):
    shutil.copytree(fitted, tmp_path / "bundles")
    path = tmp_path / "bundles" / "bunte-bilder" / GALLERY_IMAGES
    if content is None:
        path.unlink()
    elif content == "another":
        shutil.copy(path.parent / "ae" / "codes.safetensors", path)
    else:
        path.write_bytes(content)
    with pytest.raises(BundleError, match=f"{GALLERY_IMAGES} cannot be used.*--images FOLDER --name bunte-bilder"):
        read_gallery_images(tmp_path / "bundles", "bunte-bilder")
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(tmp_path / "bundles"))
    app = open_page("reconstruct")
    assert not app.exception
    assert "Stand-ins" in words(app)


def test_own_images_and_the_roster_do_not_go_together(capsys, tmp_path):
    for arguments in (["fc-ae"], ["--dataset", "digits"], ["--name", "Groß"], ["--name", "mnist"]):
        with pytest.raises(SystemExit) as ended:
            train.main(["--images", str(tmp_path), *arguments])
        assert ended.value.code == 2
    assert "small letters, digits and hyphens" in capsys.readouterr().err


def test_a_second_run_keeps_size_and_colour_and_skips_what_is_fitted(fitted, tmp_path, capsys):
    shutil.copytree(fitted, tmp_path / "bundles")
    for i in range(90):
        save(tmp_path / "Bunte Bilder" / ("a", "b *b*")[i % 2] / f"{i}.png", i)
    options = ["--epochs", "1", "--device", "cpu", "--threads", "1", "--resume"]
    arguments = ["--images", str(tmp_path / "Bunte Bilder"), *options, "--checkpoints", str(tmp_path / "bundles")]
    assert train.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "90 pictures, 2 classes, in colour, made 16 × 16" in printed
    assert printed.count("is fitted already") == 5


def test_a_hundred_classes_are_the_most(tmp_path):
    for i in range(101):
        (tmp_path / f"class {i}").mkdir()
        for j in range(10):
            (tmp_path / f"class {i}" / f"{j}.png").touch()
    found = look(tmp_path)
    assert found.classes == ("Image",)
    assert "101 subfolders are too many" in found.notes[0]


def test_a_gallery_of_more_classes_than_images_holds_as_many_as_it_may():
    assert len(gallery_indices(torch.arange(50) % 30, 20)) == 20


def packed(path, members, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_zip_is_unpacked_once_without_its_outer_folder_and_without_what_is_no_picture(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path / "cache"))
    members = {"all/a/1.png": b"1", "all/b/2.PNG": b"2", "all/attributes.csv": b"name", "all/notes.txt": b"x",
               "__MACOSX/all/a/._1.png": b"x", "all/.hidden/3.png": b"x"}  # fmt: skip
    source = packed(tmp_path / "Fotos.zip", members)
    folder = imagefolder.unpacked(source)
    assert (folder.name, imagefolder.name_of(source)) == ("Fotos", "fotos")
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == {"a/1.png": b"1", "b/2.PNG": b"2", "attributes.csv": b"name"}
    made = folder.stat().st_ino
    assert imagefolder.unpacked(source) == folder
    assert folder.stat().st_ino == made
    assert imagefolder.unpacked(tmp_path) == tmp_path


@pytest.mark.parametrize("name", ["../out.png", "a/../../out.png", "/out.png", "..\\out.png", "c:\\out.png"])
def test_nothing_in_a_zip_leaves_its_folder(tmp_path, monkeypatch, name):
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path / "cache"))
    folder = imagefolder.unpacked(packed(tmp_path / "a.zip", {name: b"x", "whole.png": b"y"}))
    written = [path for path in tmp_path.rglob("*.png")]
    assert all(path.is_relative_to(folder) for path in written)


def test_names_that_a_packer_wrote_in_utf_8_without_saying_so_are_read(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path / "cache"))
    source = packed(tmp_path / "a.zip", {"Bälle/1.png": b"x", "z.png": b"y"})
    source.write_bytes(source.read_bytes().replace(b"\x00\x08", b"\x00\x00"))  # the flag that says so
    assert (imagefolder.unpacked(source) / "Bälle" / "1.png").read_bytes() == b"x"


def test_a_zip_that_cannot_be_unpacked_is_refused_in_words_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path / "cache"))
    source = packed(tmp_path / "a.zip", {"1.png": bytes(1000)})
    whole = source.read_bytes()
    cases = [
        (whole[:100], "is no whole zip"),
        (whole.replace(bytes(1000), b"x" * 1000), "is no whole zip"),
        (b"", "no whole"),
    ]
    for content, reason in cases:
        source.write_bytes(content)
        with pytest.raises(DataError, match=reason):
            imagefolder.unpacked(source)
    source.write_bytes(whole)
    for patch in ((imagefolder, "MOST_UNPACKED", 10), (shutil, "disk_usage", lambda folder: SimpleNamespace(free=10))):
        with monkeypatch.context() as patched:
            patched.setattr(*patch)
            with pytest.raises(DataError, match=r"take more than|do not fit the 0 MB free"):
                imagefolder.unpacked(source)
    with pytest.raises(DataError, match=r"cannot be unpacked: .*No such file"):
        imagefolder.unpacked(tmp_path / "b.zip")
    assert not list((tmp_path / "cache").rglob("*.png"))
