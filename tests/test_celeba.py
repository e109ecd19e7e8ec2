import itertools
import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from explorer import celeba
from explorer.celeba import ATTRIBUTES, UNKNOWN, FacesError
from explorer.celeba import cache as kept
from explorer.datasets import DATASETS, SPLITS, DataError
from explorer.decoding import ImageError, extensions

COLOURS = {"000001.jpg": (200, 30, 30), "000002.jpg": (30, 200, 30), "000003.jpg": (30, 30, 200), "b.png": (9, 9, 9)}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("EXPLORER_CACHE", str(folder))
    return folder


@pytest.fixture(params=["torchvision", "kaggle"])
def layout(request):
    return request.param


@pytest.fixture
def data_dir(tmp_path, layout):
    folder = tmp_path / "data"
    images = folder / "celeba" / "img_align_celeba"
    images = images / "img_align_celeba" if layout == "kaggle" else images
    images.mkdir(parents=True)
    for name, colour in COLOURS.items():
        Image.new("RGB", (178, 218), colour).save(images / name)
    return folder


def image_folder(data_dir):
    return celeba.find_images(data_dir / "celeba")[0].parent


def write_table(data_dir, layout, name, columns, rows):
    """Write rows {file name: values} in the way of the official archive, or of Kaggle's."""
    path = data_dir / "celeba" / f"{name}.{'csv' if layout == 'kaggle' else 'txt'}"
    separator = "," if layout == "kaggle" else "  "
    lines = [separator.join([image, *map(str, values)]) for image, values in rows.items()]
    if layout == "kaggle":
        lines.insert(0, ",".join(["image_id", *columns]))
    elif name == "list_attr_celeba":
        lines = [str(len(rows)), " ".join(columns), *lines]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_partition(data_dir, layout, parts):
    rows = {name: [part] for name, part in zip(COLOURS, parts, strict=True)}
    write_table(data_dir, layout, "list_eval_partition", ["partition"], rows)


def test_images_partition_attributes_and_identities_are_read_from_either_layout(data_dir, layout):
    write_partition(data_dir, layout, [0, 1, 2, 0])
    values = {name: [1 if (i + k) % 3 else -1 for k in range(40)] for i, name in enumerate(COLOURS)}
    write_table(data_dir, layout, "list_attr_celeba", ATTRIBUTES, values)
    write_table(data_dir, layout, "identity_CelebA", ["identity"], {"000002.jpg": [77]})
    faces = celeba.read(data_dir)
    assert faces.names == tuple(COLOURS)
    assert faces.images.shape == (4, 3, 64, 64)
    for image, colour in zip(faces.images, COLOURS.values(), strict=True):
        assert np.abs(image.reshape(3, -1).T.astype(int) - colour).max() <= 3  # JPEG
    assert faces.partition.tolist() == [0, 1, 2, 0]
    assert faces.attributes.tolist() == [[int(v > 0) for v in row] for row in values.values()]
    assert faces.identities.tolist() == [UNKNOWN, 77, UNKNOWN, UNKNOWN]
    assert faces.notes == ()


def test_the_splits_of_the_data_set_are_the_official_parts(data_dir, layout):
    write_partition(data_dir, layout, [0, 1, 2, 0])
    names = {split: DATASETS["celeba"].load(split, data_dir).names for split in ("train", "validation", "test")}
    assert names == {"train": ("000001.jpg", "b.png"), "validation": ("000002.jpg",), "test": ("000003.jpg",)}
    picked = DATASETS["celeba"].pick(data_dir, ["000003.jpg"])
    assert np.array_equal(picked, DATASETS["celeba"].load("test", data_dir).images)


def test_a_split_without_images_says_which_how_many_there_are_and_what_to_do(data_dir, layout):
    write_partition(data_dir, layout, [0, 0, 0, 1])
    with pytest.raises(DataError, match=r"no image in .* belongs to the test part") as error:
        DATASETS["celeba"].load("test", data_dir)
    for words in ("of 4 belong 3 to train, 1 to validation, 0 to test", "Add images", "list_eval_partition"):
        assert words in str(error.value)


def test_missing_data_say_what_to_put_where(tmp_path):
    with pytest.raises(DataError) as error:
        DATASETS["celeba"].load("train", tmp_path)
    wanted = tmp_path / "celeba" / "img_align_celeba" / "000001.jpg"
    for words in ("img_align_celeba.zip", str(wanted), "list_eval_partition.txt", "non-commercial"):
        assert words in str(error.value)


def test_without_a_partition_file_the_split_is_by_a_hash_and_said(data_dir):
    faces = celeba.read(data_dir)
    assert set(faces.partition) <= {0, 1, 2}
    assert "4 images were parted 80/10/10 by a hash of their pixels: there is no list_eval_pa" in faces.notes[0]


def put_noise(folder, numbers, ending="png"):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:04d}.{ending}")


def parts(data_dir, **options):
    faces = celeba.read(data_dir, **options)
    return dict(zip(faces.names, faces.partition.tolist(), strict=True))


def test_no_image_changes_its_part_when_others_come_or_it_is_renamed_and_the_shares_are_right(tmp_path):
    images = tmp_path / "celeba" / "img_align_celeba"
    put_noise(images, range(400))
    before = parts(tmp_path)
    shares = np.bincount(list(before.values()), minlength=3) / 400
    assert np.abs(shares - (0.8, 0.1, 0.1)).max() < 0.05
    assert parts(tmp_path, seed=1) != before
    put_noise(images, range(400, 420))
    (images / "0007.png").unlink()
    (images / "0008.png").rename(images / "zz.png")
    after = parts(tmp_path)
    assert after.pop("zz.png") == before.pop("0008.png")
    del before["0007.png"]
    assert {name: after[name] for name in before} == before


def test_copies_of_one_picture_share_a_part_in_whatever_file(tmp_path):
    images = tmp_path / "celeba" / "img_align_celeba"
    put_noise(images, range(30))
    for path in sorted(images.iterdir()):
        shutil.copy(path, images / f"copy of {path.name}")
        for ending in ("bmp", "tiff", "webp"):
            Image.open(path).save(images / f"{path.stem} again.{ending}", lossless=True)
    found = parts(tmp_path)
    for name in [f"{number:04d}" for number in range(30)]:
        assert len({part for other, part in found.items() if name in other}) == 1
    named = {f"{number:04d}.png": (found[f"{number:04d}.png"] + 1) % 3 for number in range(30)}
    table = tmp_path / "celeba" / "list_eval_partition.txt"
    table.write_text("".join(f"{name} {part}\n" for name, part in named.items()), encoding="utf-8")
    found = parts(tmp_path)  # copies go with the one that the table names
    for name, part in named.items():
        assert {other for stem, other in found.items() if name[:4] in stem} == {part}


def test_images_that_the_partition_does_not_name_are_drawn_and_named(data_dir, layout):
    write_table(data_dir, layout, "list_eval_partition", ["partition"], {"000001.jpg": [2], "zzz.jpg": [1]})
    faces = celeba.read(data_dir)
    assert faces.partition[0] == 2
    assert "has no row for 000002.jpg, 000003.jpg, b.png" in faces.notes[0]


def test_missing_and_extra_rows_of_attributes_are_counted(data_dir, layout):
    write_partition(data_dir, layout, [0, 0, 0, 0])
    rows = {"000002.jpg": [1, -1], "unknown.jpg": [1, 1], "other.jpg": [1, 1]}
    write_table(data_dir, layout, "list_attr_celeba", ["Smiling", "Male"], rows)
    faces = celeba.read(data_dir)
    smiling, male = ATTRIBUTES.index("Smiling"), ATTRIBUTES.index("Male")
    assert faces.attributes[1, [smiling, male]].tolist() == [1, 0]
    assert (np.delete(faces.attributes, 1, axis=0) == UNKNOWN).all()
    assert (np.delete(faces.attributes[1], [smiling, male]) == UNKNOWN).all()
    assert faces.notes[:2] == (
        "1 of 4 images have a row of attributes.",
        "2 rows of attributes belong to images that are not there.",
    )
    assert ".txt lacks 5_o_Clock" in faces.notes[2] or ".csv lacks 5_o_Clock_Shadow, Arched" in faces.notes[2]


def test_damaged_images_are_named_skipped_and_counted(data_dir, layout):
    write_partition(data_dir, layout, [0, 1, 2, 0])
    whole = (image_folder(data_dir) / "000001.jpg").read_bytes()
    (image_folder(data_dir) / "000001.jpg").write_bytes(whole[: len(whole) // 3])
    (image_folder(data_dir) / "000003.jpg").write_bytes(b"no picture")
    faces = celeba.read(data_dir)
    assert faces.names == ("000002.jpg", "b.png")
    assert faces.partition.tolist() == [1, 0]
    assert faces.notes[0].startswith("2 images were skipped: 000001.jpg (This is not a picture")
    assert "damaged, or only a part of it), 000003.jpg (" in faces.notes[0]
    assert faces.notes[0].endswith("but a text).")
    assert celeba.read(data_dir).notes == faces.notes
    with pytest.raises(FacesError, match=r"1 images in .* are missing or damaged: 000003\.jpg"):
        celeba.pick(data_dir, ["b.png", "000003.jpg"])


def test_a_folder_of_nothing_but_damage_is_refused(data_dir):
    for path in image_folder(data_dir).iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(FacesError, match="none of the 4 images"):
        celeba.read(data_dir)


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "P"])
def test_every_colour_mode_becomes_rgb(mode):
    assert celeba.square(Image.new("RGB", (178, 218), (90, 90, 90)).convert(mode), 64).shape == (3, 64, 64)


def painted(size, box):
    """A black picture with a white box (left, top, right, bottom)."""
    picture = Image.new("RGB", size)
    picture.paste((255, 255, 255), box)
    return picture


def inner(image):
    """The outermost pixels blend with what lies beside the crop."""
    return image[:, 1:-1, 1:-1]


def test_aligned_images_keep_their_middle_148_pixels():
    assert inner(celeba.square(painted((178, 218), (15, 35, 163, 183)), 64)).min() == 255
    assert inner(celeba.square(painted((178, 218), (20, 35, 163, 183)), 64))[0, :, 0].max() < 255


def test_other_images_keep_their_largest_middle_square():
    assert inner(celeba.square(painted((300, 100), (100, 0, 200, 100)), 64)).min() == 255
    assert inner(celeba.square(painted((100, 250), (0, 75, 100, 175)), 64)).min() == 255


def one_face(tmp_path, name, content):
    """Read a folder of one image: its pixels, for it was not skipped."""
    images = tmp_path / "celeba" / "img_align_celeba"
    images.mkdir(parents=True, exist_ok=True)
    path = images / name
    path.write_bytes(content) if isinstance(content, bytes) else content.save(path)
    faces = celeba.read(tmp_path)
    assert faces.names == (name,)
    return faces.images[0]


def test_a_picture_is_turned_as_its_camera_says(tmp_path):
    picture = painted((100, 100), (0, 0, 100, 50))  # white above
    picture.getexif()[0x0112] = 3  # upside down
    picture.save(tmp_path / "turned.jpg", exif=picture.getexif())
    assert one_face(tmp_path, "turned.jpg", (tmp_path / "turned.jpg").read_bytes())[0, 0].max() < 5


@pytest.mark.parametrize("ending", ["PNG", "bmp", "gif", "tif", "webp", "JPEG", "jfif"])
def test_a_face_of_64_pixels_stays_as_it_is_in_any_kind_of_file(tmp_path, ending):
    grey = np.random.default_rng(0).integers(100, 116, (16, 16), np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    options = {"lossless": True} if ending == "webp" else {"quality": 100} if ending in ("JPEG", "jfif") else {}
    path = tmp_path / f"face.{ending}"
    Image.fromarray(grey).save(path, "JPEG" if ending == "jfif" else None, **options)
    face = one_face(tmp_path, path.name, path.read_bytes())
    assert np.abs(face.astype(int) - grey).max() <= (3 if ending in ("JPEG", "jfif") else 0)


def test_sixteen_bits_are_scaled_and_transparency_is_laid_on_white_as_in_uploads(tmp_path):
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64)
    face = one_face(tmp_path, "deep.png", Image.fromarray(ramp.astype(np.uint16)))
    assert np.abs(face[0] - ramp / 257).max() <= 1
    (tmp_path / "celeba" / "img_align_celeba" / "deep.png").unlink()
    assert one_face(tmp_path, "clear.png", Image.new("RGBA", (9, 9), (200, 0, 0, 0))).min() == 255


def test_whatever_the_reader_reads_is_looked_for():
    assert {f".{ending}" for ending in extensions()} <= set(celeba.folder.ENDINGS)


def test_a_face_of_one_pixel_is_read(tmp_path):
    assert (one_face(tmp_path, "dot.png", Image.new("RGB", (1, 1), (7, 8, 9))) == [[[7]], [[8]], [[9]]]).all()


def test_damaged_exif_costs_no_face(tmp_path):
    for broken in (b"not a TIFF header", b"II*\0\xff\xff\xff\xff"):
        picture = Image.new("RGB", (9, 9), (50, 60, 70))
        picture.save(tmp_path / "exif.png", exif=b"Exif\0\0" + broken)
        assert (one_face(tmp_path, "exif.png", (tmp_path / "exif.png").read_bytes())[0] == 50).all()


OFFICIAL = {"img_align_celeba": "Img", "list_eval_partition.txt": "Eval", "list_attr_celeba.txt": "Anno"}


@pytest.mark.parametrize("top", ["celeba", "CelebA", "celeba/CelebA"])
@pytest.mark.parametrize("case", [str, str.upper, str.lower])
def test_the_layout_of_the_official_drive_is_found(tmp_path, top, case):
    for name, room in OFFICIAL.items():
        path = tmp_path / top / case(room) / (name if room == "Img" else case(name))
        path.parent.mkdir(parents=True)
        if room == "Img":
            path = path / "img_align_celeba"
            path.mkdir(parents=True)
            for image, colour in COLOURS.items():
                Image.new("RGB", (8, 8), colour).save(path / image)
        else:
            head = "Smiling\n" if room == "Anno" else ""
            path.write_text(head + "".join(f"{image} 1\n" for image in COLOURS), encoding="utf-8")
    faces = celeba.read(tmp_path)
    assert faces.names == tuple(COLOURS)
    assert faces.partition.tolist() == [1, 1, 1, 1]
    assert faces.attributes[:, ATTRIBUTES.index("Smiling")].tolist() == [1, 1, 1, 1]


def test_the_fullest_of_the_folders_of_images_is_read_and_the_others_are_said(data_dir, layout):
    images = image_folder(data_dir)
    inner = images / "img_align_celeba"
    inner.mkdir()
    assert celeba.read(data_dir).names == tuple(COLOURS)
    shutil.copy(images / "b.png", inner / "c.png")
    faces = celeba.read(data_dir)
    assert faces.names == tuple(COLOURS)
    assert faces.notes[0] == f"1 images in {inner} are passed over: {images} holds 4."


def test_what_systems_leave_beside_images_is_no_image(data_dir):
    images = image_folder(data_dir)
    for name in ("._000001.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", "list.html"):
        (images / name).write_bytes(b"\0\5\x16\7")
    (images / "__MACOSX").mkdir()
    shutil.copy(images / "b.png", images / "__MACOSX" / "x.png")
    (data_dir / "celeba" / "__MACOSX" / "img_align_celeba").mkdir(parents=True)
    (data_dir / "celeba" / "._list_eval_partition.txt").write_bytes(b"\0\5\x16\7")
    faces = celeba.read(data_dir)
    assert faces.names == tuple(COLOURS)
    assert not any("skipped" in note for note in faces.notes)


def test_what_is_no_picture_is_named_skipped_and_counted(data_dir, monkeypatch):
    images = image_folder(data_dir)
    (images / "a.jpg").symlink_to(images / "gone.jpg")
    (images / "c.jpg").symlink_to(images / "c.jpg")  # in a circle
    (images / "d.jpg").mkdir()
    os.mkfifo(images / "e.jpg")
    (images / "f.jpg").touch()
    faces = celeba.read(data_dir)
    assert faces.names == tuple(COLOURS)
    assert faces.notes[0].startswith("5 images were skipped: a.jpg (a link to nothing), c.jpg (")
    skipped = json.loads(next(kept.cache_folder().glob("*.json")).read_text(encoding="utf-8"))["skipped"]
    assert [skipped["d.jpg"], skipped["e.jpg"]] == ["no file", "no file"]
    assert "picture" in skipped["f.jpg"]
    shutil.copy(images / "b.png", images / "gone.jpg")  # the link leads somewhere now
    assert "a.jpg" in celeba.read(data_dir).names


def test_links_of_folders_may_run_in_a_circle(data_dir, layout):
    image_folder(data_dir).joinpath("img_align_celeba").symlink_to(data_dir / "celeba")
    (data_dir / "celeba" / "Img").symlink_to(data_dir)
    assert celeba.read(data_dir).names == tuple(COLOURS)
    (data_dir / "celeba" / "Eval").symlink_to(data_dir / "gone")
    with pytest.raises(FacesError, match=r"Eval cannot be read \(No such file or directory\)"):
        celeba.read(data_dir)


def test_an_archive_that_was_not_unpacked_is_named(tmp_path):
    (tmp_path / "celeba").mkdir()
    archive = tmp_path / "celeba" / "img_align_celeba.zip"
    archive.touch()
    with pytest.raises(FacesError, match=f"{archive} is there, but is no folder: an archive has to be unpacked"):
        celeba.read(tmp_path)


def test_a_few_faces_are_picked_by_name_whatever_the_ending(data_dir):
    for path in image_folder(data_dir).glob("*.jpg"):
        path.rename(path.with_suffix(".JPEG"))
    picked = DATASETS["celeba"].pick(data_dir, ["000003.jpg", "000001.jpg"])
    assert np.array_equal(picked, celeba.read(data_dir).images[[2, 0]])
    for name in ("000009.jpg", str(image_folder(data_dir) / "b.png"), "../img_align_celeba/b.png"):
        with pytest.raises(DataError, match="are missing or damaged"):
            DATASETS["celeba"].pick(data_dir, ["b.png", name])


def test_file_names_of_any_bytes_are_read_and_said(tmp_path):
    images = tmp_path / "celeba" / "img_align_celeba"
    put_noise(images, range(2))
    try:
        os.rename(os.fsencode(images / "0001.png"), os.fsencode(images) + b"/\xff.png")
    except OSError:
        pytest.skip("this disk takes Unicode names only")
    faces = celeba.read(tmp_path)
    assert len(faces.names) == 2
    assert celeba.read(tmp_path).names == faces.names
    assert all(note.encode() for note in faces.notes)


@pytest.fixture
def decodings(monkeypatch):
    """The pictures that were decoded since."""
    pictures, original = [], kept.square
    monkeypatch.setattr(kept, "square", lambda picture, side: pictures.append(picture) or original(picture, side))
    return pictures


def test_decoded_images_are_kept_until_a_file_changes(data_dir, cache, decodings):
    first = celeba.read(data_dir).images.copy()
    decodings.clear()
    assert np.array_equal(celeba.read(data_dir).images, first)
    assert decodings == []
    path = image_folder(data_dir) / "000002.jpg"
    Image.new("RGB", (178, 218), (250, 250, 250)).save(path)
    os.utime(path, ns=(1, 1))
    assert celeba.read(data_dir).images[1].min() > 240
    assert len(decodings) == 4
    (image_folder(data_dir) / "b.png").unlink()
    assert len(celeba.read(data_dir).names) == 3
    assert len(list(cache.glob("celeba-*.uint8"))) == 1
    for damage in (b"short", b""):
        next(cache.glob("*.uint8")).write_bytes(damage)
        assert len(celeba.read(data_dir).images) == 3
    for damage in (b"[]", b"{}", b'{"names": 5}', b"\xff"):
        next(cache.glob("*.json")).write_bytes(damage)
        assert len(celeba.read(data_dir).images) == 3


def test_an_image_that_is_mended_with_its_size_and_date_is_read_anew(data_dir):
    path = image_folder(data_dir) / "000002.jpg"
    whole, times = path.read_bytes(), path.stat()
    path.write_bytes(bytes(len(whole)))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "000002.jpg" not in celeba.read(data_dir).names
    path.write_bytes(whole)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "000002.jpg" in celeba.read(data_dir).names


def test_an_image_that_only_lacked_a_reader_or_memory_is_read_by_the_next_run(data_dir, decodings, monkeypatch):
    original = kept.read_picture

    def without_png(path, **options):
        if path.suffix == ".png":
            raise ImageError("PNG needs a reader. Install one.")
        return original(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(kept, "read_picture", without_png)
        for _ in range(2):
            assert celeba.read(data_dir).notes[0] == "1 images were skipped: b.png (PNG needs a reader)."
        assert len(decodings) == 3
    assert "b.png" in celeba.read(data_dir).names


def test_a_cache_that_does_not_fit_the_disk_says_so_and_leaves_nothing(data_dir, cache, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(kept.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10))
        with pytest.raises(FacesError, match=r"No space left .*cannot take the 0 MB of decoded faces\. Free some room"):
            celeba.read(data_dir)
    assert list(cache.glob("celeba-*")) == []
    for number, words in ((28, "cannot take the 0 MB"), (13, "cannot be written"), (30, "cannot be written")):

        def failing(paths, side, number=number):
            yield np.zeros((3, 64, 64), np.uint8), ""
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(kept, "read_images", failing)
        with pytest.raises(FacesError, match=f"{os.strerror(number)}: {cache} {words}.*EXPLORER_CACHE"):
            celeba.read(data_dir)
        assert list(cache.glob("celeba-*")) == []


def test_a_cache_that_cannot_be_a_folder_is_told_as_that(data_dir, cache, monkeypatch):
    cache.write_bytes(b"")
    with pytest.raises(FacesError, match=f"exists: {cache} cannot be written.*EXPLORER_CACHE") as error:
        celeba.read(data_dir)
    assert "room" not in str(error.value)

    def forbidden(path, **options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", forbidden)
    with pytest.raises(FacesError, match=f"Permission denied: {cache} cannot be written"):
        celeba.read(data_dir)


def test_the_cache_folder_may_start_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EXPLORER_CACHE", "~/my cache")
    assert kept.cache_folder() == tmp_path / "my cache"
    monkeypatch.delenv("EXPLORER_CACHE")
    assert kept.cache_folder() == tmp_path / ".cache" / "latent-space-explorer"
    monkeypatch.setenv("EXPLORER_CACHE", "~nobody-of-this-name/x")
    with pytest.raises(FacesError, match="EXPLORER_CACHE"):
        kept.cache_folder()


def in_processes(*targets):
    """Run functions in processes of their own; their exit codes."""
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=target) for target in targets]
    for process in started:
        process.start()
    for process in started:
        process.join()
    return [process.exitcode for process in started]


def test_what_a_run_leaves_that_was_killed_while_it_decoded_is_cleaned_up_by_the_next(data_dir, cache):
    def killed():
        def one(paths, side):
            yield np.zeros((3, 64, 64), np.uint8), ""
            os.kill(os.getpid(), signal.SIGKILL)

        kept.read_images = one
        celeba.read(data_dir)

    assert in_processes(killed) == [-signal.SIGKILL]
    assert list(cache.glob("*.part"))
    (cache / "celeba-64-0123456789ab-0123456789abcdef.uint8.part").touch()  # of another data folder
    (cache / "mine.part").touch()
    assert celeba.read(data_dir).names == tuple(COLOURS)
    left = sorted(path.suffix for path in cache.iterdir() if path.name != "celeba.lock")
    assert left == [".json", ".part", ".uint8"]
    assert (cache / "mine.part").exists()


@pytest.mark.parametrize("damaged", [False, True])
def test_a_run_goes_on_with_what_a_killed_one_had_decoded(data_dir, cache, monkeypatch, damaged):
    whole = celeba.read(data_dir)
    shutil.rmtree(cache)
    original, asked = kept.read_images, []

    def killed(paths, side):
        yield from itertools.islice(original(paths, side), 3)
        raise KeyboardInterrupt

    def counted(paths, side):
        asked.append(len(paths))
        return original(paths, side)

    monkeypatch.setattr(kept, "read_images", killed)
    with pytest.raises(KeyboardInterrupt):
        celeba.read(data_dir)
    if damaged:  # as after a power cut
        [part] = cache.glob("*.uint8.part")
        part.write_bytes(part.read_bytes()[:20_000])
    monkeypatch.setattr(kept, "read_images", counted)
    faces = celeba.read(data_dir)
    assert asked == [len(COLOURS) - (1 if damaged else 3)]
    assert faces.names == whole.names
    assert np.array_equal(faces.images, whole.images)


def test_two_processes_that_read_at_once_decode_once_and_read_the_same(data_dir, tmp_path):
    original = kept.read_images

    def slow(paths, side):
        if not paths:  # of those that could not be read
            return
        with (tmp_path / "decoded").open("a", encoding="utf-8") as file:
            file.write("once ")
        time.sleep(0.3)
        yield from original(paths, side)

    def reads():
        kept.read_images = slow
        assert celeba.read(data_dir).names == tuple(COLOURS)

    assert in_processes(reads, reads, reads) == [0, 0, 0]
    assert (tmp_path / "decoded").read_text(encoding="utf-8") == "once "
    assert not list(kept.cache_folder().glob("*.part"))


def test_one_face_or_three_are_read_or_refused_in_words_by_each_split(tmp_path):
    for count in (1, 3):
        put_noise(tmp_path / "celeba" / "img_align_celeba", range(count))
        found = list(parts(tmp_path).values())
        for part, split in enumerate(SPLITS):
            if part in found:
                assert len(DATASETS["celeba"].load(split, tmp_path)) == found.count(part)
            else:
                with pytest.raises(DataError, match=f"belongs to the {split} part; of {count} belong "):
                    DATASETS["celeba"].load(split, tmp_path)


@pytest.mark.wide
def test_the_real_faces_are_the_official_parts(faces_dir):
    check_real_faces(faces_dir, {"train": 20_000, "validation": 1_500, "test": 2_500}, n_labelled=4_559)


def test_every_fortieth_of_the_real_faces_is_in_its_official_part(faces_dir, tmp_path):
    images = tmp_path / "celeba" / "img_align_celeba"
    images.mkdir(parents=True)
    for path in celeba.find_images(faces_dir / "celeba")[::40]:
        (images / path.name).symlink_to(path.resolve())
    for table in (faces_dir / "celeba").glob("*.txt"):
        (images.parent / table.name).symlink_to(table.resolve())
    check_real_faces(tmp_path, {"train": 500, "validation": 38, "test": 62}, n_labelled=114)


def check_real_faces(data_dir, sizes, n_labelled):
    assert {split: len(DATASETS["celeba"].load(split, data_dir)) for split in SPLITS} == sizes
    train = DATASETS["celeba"].load("train", data_dir)
    assert (train.attributes != UNKNOWN).any(1).sum() == n_labelled
    assert 60 < train.images.float().mean() < 160
