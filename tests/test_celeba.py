import io
import os
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from explorer import celeba
from explorer.celeba import ATTRIBUTES, UNKNOWN, FacesError
from explorer.datasets import DATASETS, DataError

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
    path.write_text("\n".join(lines) + "\n")


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


def test_a_split_without_images_says_so(data_dir, layout):
    write_partition(data_dir, layout, [0, 0, 0, 0])
    with pytest.raises(DataError, match=r"no image in .* belongs to the test part"):
        DATASETS["celeba"].load("test", data_dir)


def test_missing_data_say_what_to_put_where(tmp_path):
    with pytest.raises(DataError) as error:
        DATASETS["celeba"].load("train", tmp_path)
    wanted = tmp_path / "celeba" / "img_align_celeba" / "000001.jpg"
    for words in ("img_align_celeba.zip", str(wanted), "list_eval_partition.txt", "non-commercial"):
        assert words in str(error.value)


def test_without_a_partition_file_the_split_is_seeded_and_said(data_dir):
    first, again = celeba.read(data_dir, seed=3), celeba.read(data_dir, seed=3)
    assert np.array_equal(first.partition, again.partition)
    assert set(first.partition) <= {0, 1, 2}
    assert "4 images were parted 80/10/10 at random with seed 3: there is no list_eval_partition" in first.notes[0]


def test_images_that_the_partition_does_not_name_are_drawn_and_named(data_dir, layout):
    write_table(data_dir, layout, "list_eval_partition", ["partition"], {"000001.jpg": [2], "zzz.jpg": [1]})
    faces = celeba.read(data_dir)
    assert faces.partition[0] == 2
    assert "it has no row for 000002.jpg, 000003.jpg, b.png" in faces.notes[0]


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
    assert faces.notes[2].startswith("The attribute file lacks 5_o_Clock_Shadow, Arched_Eyebrows")


@pytest.mark.parametrize("row", [["1"], ["one", "1"], []])
def test_a_damaged_table_is_named_with_its_line(data_dir, layout, row):
    write_table(data_dir, layout, "list_attr_celeba", ["Smiling", "Male"], {"000001.jpg": [1, 1], "b.png": row})
    with pytest.raises(FacesError, match=r"list_attr_celeba\.(txt|csv), line \d, cannot be read"):
        celeba.read(data_dir)


def test_a_part_that_does_not_exist_is_refused(data_dir, layout):
    write_partition(data_dir, layout, [0, 1, 5, 0])
    with pytest.raises(FacesError, match="a part other than 0, 1 and 2"):
        celeba.read(data_dir)


def test_damaged_images_are_named_skipped_and_counted(data_dir, layout):
    write_partition(data_dir, layout, [0, 1, 2, 0])
    whole = (image_folder(data_dir) / "000001.jpg").read_bytes()
    (image_folder(data_dir) / "000001.jpg").write_bytes(whole[: len(whole) // 3])
    (image_folder(data_dir) / "000003.jpg").write_bytes(b"no picture")
    faces = celeba.read(data_dir)
    assert faces.names == ("000002.jpg", "b.png")
    assert faces.partition.tolist() == [1, 0]
    assert faces.notes[0] == "2 damaged images were skipped: 000001.jpg, 000003.jpg."
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


def test_a_picture_is_turned_as_its_camera_says():
    picture = painted((100, 100), (0, 0, 100, 50))  # white above
    exif = picture.getexif()
    exif[0x0112] = 3  # upside down
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", exif=exif)
    turned = Image.open(buffer)
    assert celeba.square(turned, 64)[0, 0].max() < 5


def test_decoded_images_are_kept_until_a_file_changes(data_dir, cache, monkeypatch):
    first = celeba.read(data_dir).images.copy()
    decoded = []
    original = celeba.square
    monkeypatch.setattr(celeba, "square", lambda picture, side: decoded.append(1) or original(picture, side))
    assert np.array_equal(celeba.read(data_dir).images, first)
    assert decoded == []
    path = image_folder(data_dir) / "000002.jpg"
    Image.new("RGB", (178, 218), (250, 250, 250)).save(path)
    os.utime(path, ns=(1, 1))
    assert celeba.read(data_dir).images[1].min() > 240
    assert len(decoded) == 4
    (image_folder(data_dir) / "b.png").unlink()
    assert len(celeba.read(data_dir).names) == 3
    next(cache.glob("*.uint8")).write_bytes(b"short")
    assert len(celeba.read(data_dir).images) == 3


def test_a_cache_that_does_not_fit_the_disk_says_so_and_leaves_nothing(data_dir, cache, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(celeba.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10))
        with pytest.raises(FacesError, match=r"cannot take the 0 MB of decoded faces\. Free some room"):
            celeba.read(data_dir)
    assert list(cache.iterdir()) == []

    def failing(sources, side):
        yield sources[0], np.zeros((3, 64, 64), np.uint8)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(celeba, "_images", failing)
    with pytest.raises(FacesError, match="EXPLORER_CACHE"):
        celeba.read(data_dir)
    assert list(cache.iterdir()) == []


def test_the_real_faces_are_the_official_parts(faces_dir):
    sizes = {split: len(DATASETS["celeba"].load(split, faces_dir)) for split in ("train", "validation", "test")}
    assert sizes == {"train": 20_000, "validation": 1_500, "test": 2_500}
    train = DATASETS["celeba"].load("train", faces_dir)
    assert (train.attributes != UNKNOWN).any(1).sum() == 4_559
    assert 60 < train.images.float().mean() < 160
