import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from explorer import celeba
from explorer.celeba import ATTRIBUTES, UNKNOWN, FacesError

NAMES = ("000001.jpg", "000002.jpg", "000003.jpg")
MAC = "\ufeff"  # a byte-order mark
HEADER = "image_id,partition\n"
ROWS = "000001.jpg,0\n000002.jpg,1\n000003.jpg,2\n"
OFFICIAL = ROWS.replace(",", " ")
SMILING, MALE = ATTRIBUTES.index("Smiling"), ATTRIBUTES.index("Male")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    """The faces' folder of a data folder, with the three images."""
    folder = tmp_path / "data" / "celeba"
    put_images(folder, NAMES)
    return folder


def put_images(folder, names):
    images = folder / "img_align_celeba"
    images.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        Image.new("RGB", (8, 8), (20 * i, 99, 40)).save(images / name)


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def parts(folder):
    faces = celeba.read(folder.parent)
    return dict(zip(faces.names, faces.partition.tolist(), strict=True))


RIGHT = {
    "official": ("txt", OFFICIAL),
    "a count before the rows": ("txt", "3\n" + OFFICIAL),
    "a mark before the first name": ("txt", MAC + OFFICIAL),
    "a mark before the count": ("txt", MAC + "3\n" + OFFICIAL),
    "a mark before the header": ("csv", MAC + HEADER + ROWS),
    "two marks, of files put together": ("txt", MAC + MAC + OFFICIAL.replace("000002", MAC + "000002")),
    "UTF-16 of a spreadsheet": ("csv", (HEADER + ROWS).replace(",", "\t").encode("utf-16")),
    "UTF-16 without a mark": ("txt", OFFICIAL.encode("utf-16-le")),
    "UTF-16, big end first": ("csv", (HEADER + ROWS).encode("utf-16-be")),
    "UTF-32": ("csv", (HEADER + ROWS).encode("utf-32")),
    "line ends of Windows": ("csv", (HEADER + ROWS).replace("\n", "\r\n")),
    "line ends of an old Mac": ("txt", OFFICIAL.replace("\n", "\r")),
    "no last line end": ("txt", OFFICIAL.rstrip()),
    "semicolons": ("csv", (HEADER + ROWS).replace(",", ";")),
    "semicolons and decimal commas": (
        "csv", "image_id;partition\n000001.jpg;0,0\n000002.jpg;1,0\n000003.jpg;2,00\n",
    ),
    "tabs": ("csv", (HEADER + ROWS).replace(",", "\t")),
    "tabs in a .txt": ("txt", OFFICIAL.replace(" ", "\t")),
    "bars": ("csv", (HEADER + ROWS).replace(",", "|")),
    "Excel's first line": ("csv", "sep=;\n" + (HEADER + ROWS).replace(",", ";")),
    "commas in a .txt": ("txt", ROWS),
    "blanks in a .csv": ("csv", "image_id partition\n" + OFFICIAL),
    "blanks around commas": ("csv", (HEADER + ROWS).replace(",", " , ")),
    "many blanks": ("txt", OFFICIAL.replace(" ", "    ")),
    "a CSV without a header": ("csv", ROWS),
    "a header in other case": ("csv", "Image_ID,PARTITION\n" + ROWS),
    "other words in the header": ("csv", "filename,split\n" + ROWS),
    "columns in another order": ("csv", "partition,image_id\n0,000001.jpg\n1,000002.jpg\n2,000003.jpg\n"),
    "more columns": ("csv", "image_id,note,partition\n000001.jpg,my own,0\n000002.jpg,,1\n000003.jpg,7,2\n"),
    "pandas' index": ("csv", ",image_id,partition\n0,000001.jpg,0\n1,000002.jpg,1\n2,000003.jpg,2\n"),
    "pandas' index, saved twice": (
        "csv", "Unnamed: 0,image_id,partition\n7,000001.jpg,0\n8,000002.jpg,1\n9,000003.jpg,2\n",
    ),
    "an index without a header": ("csv", "0,000001.jpg,0\n1,000002.jpg,1\n2,000003.jpg,2\n"),
    "an index that the header leaves out": ("csv", HEADER + "0,000001.jpg,0\n1,000002.jpg,1\n2,000003.jpg,2\n"),
    "floats": ("csv", HEADER + "000001.jpg,0.0\n000002.jpg,1.0\n000003.jpg,2.000e+00\n"),
    "words": ("csv", HEADER + "000001.jpg,train\n000002.jpg,Validation\n000003.jpg,TEST\n"),
    "quotes": ("csv", '"image_id","partition"\n"000001.jpg","0"\n"000002.jpg","1"\n"000003.jpg","2"\n'),
    "quotes in a .txt": ("txt", '"000001.jpg" 0\n"000002.jpg" 1\n"000003.jpg" 2\n'),
    "rows that a spreadsheet leaves": ("csv", HEADER + ROWS + ",\n,\n\n"),
    "columns that a spreadsheet leaves": ("csv", (HEADER + ROWS).replace("\n", ",,\n") + ",,,\n"),
    "blank lines": ("txt", "\n" + OFFICIAL.replace("\n", "\n\n")),
    "the header twice": ("csv", HEADER + ROWS + HEADER),
    "a row twice": ("csv", HEADER + ROWS + "000002.jpg,1\n"),
    "rows of other images": ("csv", HEADER + "999999.jpg,1\n" + ROWS),
    "folders before the names": ("csv", HEADER + ROWS.replace("0000", "img_align_celeba/0000")),
    "folders of Windows before the names": ("txt", OFFICIAL.replace("0000", "C:\\my faces\\0000")),
    "no endings": ("csv", HEADER + ROWS.replace(".jpg", "")),
    "another ending": ("txt", OFFICIAL.replace(".jpg", ".png")),
    "another case": ("txt", OFFICIAL.replace(".jpg", ".JPEG")),
    "no ending of the table": ("", OFFICIAL),
    "a .tsv": ("tsv", (HEADER + ROWS).replace(",", "\t")),
    "a name in capitals": ("TXT", OFFICIAL),
}  # fmt: skip


@pytest.mark.parametrize(("ending", "content"), RIGHT.values(), ids=RIGHT)
def test_a_partition_is_read_however_it_was_saved(folder, ending, content):
    write(folder / ("list_eval_partition" + (f".{ending}" if ending else "")), content)
    faces = celeba.read(folder.parent)
    assert faces.partition.tolist() == [0, 1, 2]
    assert faces.notes == ("No image has attributes: there is no list_attr_celeba file.",)


WRONG = {
    "nothing": ("", "holds no row"),
    "blank": ("\n \n\n", "holds no row"),
    "a header only": (HEADER, "holds no row"),
    "a part that does not exist": (HEADER + ROWS.replace(",1", ",5"), "line 3, .*'5' is a part other than 0, 1 and 2"),
    "half a part": (HEADER + ROWS.replace(",1", ",1.5"), "line 3, .*'1.5' is no whole number"),
    "no part": (HEADER + ROWS.replace(",1", ","), "line 3, .*'' is no whole number"),
    "a word": (OFFICIAL.replace(" 1", " tset"), "line 2, .*'tset' is no whole number"),
    "a long number": (OFFICIAL.replace(" 1", " " + "9" * 5000), "line 2, .*is no whole number"),
    "a row cut short": (HEADER + ROWS.replace(",1", ""), "line 3, .*1 columns instead of 2"),
    "a row too long": (HEADER + ROWS.replace(",1", ",1,1"), "line 3, .*3 columns instead of 2"),
    "two numbers": (OFFICIAL.replace(" 1", " 1 1"), "line 2, .*'000002.jpg 1' is no name of an image"),
    "a row without a name": (HEADER + ROWS + ",1\n", "line 5, .*'' is no name of an image"),
    "rows that contradict": (OFFICIAL + "000001.jpg 2\n", "line 4, .*contradicts line 1, which is of 000001.jpg"),
    "a quote that does not end": (HEADER + ROWS.replace("000003", '"000003'), "line 4, .*unexpected end of data"),
    "a quote over two rows": (ROWS.replace("000001", '"000001').replace("2.jpg", '2.jpg"'), "line 2, "),
    "attributes": ("Smiling Male\n000001.jpg 1 -1\n", "line 1, .*names no column"),
    "attributes as CSV": ("image_id,Smiling\n000001.jpg,1\n", "line 1, .*names no column"),
    "people": (OFFICIAL.replace(" 1", " 2880"), "line 2, .*'2880' is a part"),
    "a page of the web": ("<!DOCTYPE html>\n<title>Quota exceeded</title>", "line 1, .*DOCTYPE"),
    "a pointer of Git LFS": ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "line 1, .*git-lfs"),
    "an archive": (b"PK\x03\x04\x14\0\0\0\x08\0", "line 1, "),
    "an old code page": ("000001.jpg 0\nmüller.jpg 1\n".encode("latin-1"), "line 2, .*not UTF-8"),
    "names of other images": (OFFICIAL.replace("0000", "9999"), "line 1: neither this row, of 999901.jpg, nor"),
    "one column twice": ("image_id,split,partition\n000001.jpg,0,0\n", "line 1, .*is the name of two columns"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "words"), WRONG.values(), ids=WRONG)
def test_a_partition_that_cannot_be_read_is_named_with_its_line_and_what_was_expected(folder, content, words):
    path = write(folder / "list_eval_partition.txt", content)
    with pytest.raises(FacesError, match=words) as error:
        celeba.read(folder.parent)
    assert str(path) in str(error.value)
    expected = ("Expected there: the name of an image and its part", "such as 000001.jpg")
    assert any(words in str(error.value) for words in expected)
    assert "there is no" not in str(error.value)
    write(path, OFFICIAL)
    assert parts(folder) == dict(zip(NAMES, (0, 1, 2), strict=True))


LABELS = {  # Smiling: 1, 0, unknown; Male: 0, 1, 1
    "official": "3\nSmiling Male\n000001.jpg  1 -1\n000002.jpg -1  1\n000003.jpg nan  1\n",
    "a name in the header": "image_id Smiling Male\n000001.jpg  1 -1\n000002.jpg -1  1\n000003.jpg ?  1\n",
    "Kaggle's": "image_id,Smiling,Male\n000001.jpg,1,-1\n000002.jpg,-1,1\n000003.jpg,,1\n",
    "0 for no": "image_id,Smiling,Male\n000001.jpg,1,0\n000002.jpg,0,1\n000003.jpg,,1\n",
    "pandas'": ",image_id,Smiling,Male\n0,000001.jpg,1.0,-1.0\n1,000002.jpg,-1.0,1.0\n2,000003.jpg,NaN,1.0\n",
    "truth": "image_id,Smiling,Male\n000001.jpg,True,False\n000002.jpg,FALSE,TRUE\n000003.jpg,NA,true\n",
    "answers": "image_id;Smiling;Male\n000001.jpg;yes;no\n000002.jpg;N;Y\n000003.jpg;;Yes\n",
    "another order and case": "male,SMILING,image_id\n-1,1,000001.jpg\n1,-1,000002.jpg\n1,,000003.jpg\n",
    "a typographer's minus": "image_id,Smiling,Male\n000001.jpg,+1,−1\n000002.jpg,−1,1\n000003.jpg,,1\n",
    "columns of others": "image_id,Note,Smiling,Male\n000001.jpg,a b,1,-1\n000002.jpg,,-1,1\n000003.jpg,5,,1\n",
    "names as the index": "\tSmiling\tMale\n000001\t1\t-1\n000002\t-1\t1\n000003\t\t1\n",
    "no word above the names": "Smiling,Male\n000001.jpg,1,-1\n000002.jpg,-1,1\n000003.jpg,,1\n",
}


@pytest.mark.parametrize("content", LABELS.values(), ids=LABELS)
def test_attributes_are_read_however_they_were_saved(folder, content):
    write(folder / "list_attr_celeba.csv", content)
    attributes = celeba.read(folder.parent).attributes
    assert attributes[:, SMILING].tolist() == [1, 0, UNKNOWN]
    assert attributes[:, MALE].tolist() == [0, 1, 1]
    assert (np.delete(attributes, [SMILING, MALE], axis=1) == UNKNOWN).all()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("000001.jpg 1 -1\n", "line 1, .*no header names the columns"),
        ("Smiling Male\n000001.jpg 1\n", "line 2, .*2 columns instead of 3"),
        ("Smiling Male\n000001.jpg 1 -1 1\n", "line 2, .*no name of an image"),
        ("Smiling Male\n000001.jpg 1 2\n", "line 2, .*'2' is neither 1 nor -1 nor 0"),
        ("Smiling Male\n000001.jpg 1 0\n000002.jpg 1 -1\n", "of Male line 2 says 0 and line 3 says -1"),
        ("Smiling Smiling\n000001.jpg 1 1\n", "line 1, .*Smiling is the name of two columns"),
        ("lefteye_x lefteye_y\n000001.jpg 69 109\n", "line 1, .*names no column"),
    ],
)
def test_attributes_that_cannot_be_read_are_refused(folder, content, words):
    path = write(folder / "list_attr_celeba.txt", content)
    with pytest.raises(FacesError, match=f"{path}.*{words}"):
        celeba.read(folder.parent)


def test_people_are_read_and_may_be_unknown(folder):
    path = write(folder / "identity_CelebA.txt", "image_id;identity\n000001.jpg;2880.0\n000002.jpg;\n")
    assert celeba.read(folder.parent).identities.tolist() == [2880, UNKNOWN, UNKNOWN]
    for wrong in ("-1", "99999999999999999999", "inf", "1_0", "n000012"):
        write(path, f"000001.jpg {wrong}\n")
        with pytest.raises(FacesError, match=f"{path}, line 1, "):
            celeba.read(folder.parent)


def test_a_count_that_is_not_that_of_the_rows_is_said(folder):
    write(folder / "list_eval_partition.txt", "202599\n" + OFFICIAL)
    faces = celeba.read(folder.parent)
    assert faces.partition.tolist() == [0, 1, 2]
    assert faces.notes[-1] == ("list_eval_partition.txt says in its first line that it has 202,599 rows, but 3 follow.")


@pytest.mark.parametrize(
    ("images", "named"),
    [
        (["my face 1.png", "your face.jpg"], ["my face 1.jpg", "your face.jpg"]),
        (["a, b.jpg", "c, d.jpg"], ["a, b.jpg", "c, d.jpg"]),
        (["a;b.jpg", "c;d.jpg"], ["a;b.jpg", "c;d.jpg"]),
        (["IMG_1.JPG", "IMG_2.JPG"], ["img_1.jpg", "img_2.jpeg"]),
        (["face.v2.png", "face.v3.png"], ["face.v2", "face.v3.jpg"]),
        ([unicodedata.normalize("NFD", "müller.jpg"), "é.jpg"], ["müller.jpg", unicodedata.normalize("NFD", "é.jpg")]),
        (["a.jpg", "a.png"], ["a.jpg", "a.png"]),
        (["a.jpg", "A.jpg"], ["a.jpg", "A.jpg"]),
    ],
)
@pytest.mark.parametrize("ending", ["txt", "csv"])
def test_rows_find_their_images(tmp_path, ending, images, named):
    folder = tmp_path / "data" / "celeba"
    put_images(folder, images)
    text = "{} 0\n{} 2\n" if ending == "txt" else 'image_id,partition\n"{}",0\n"{}",2\n'
    write(folder / f"list_eval_partition.{ending}", text.format(*named))
    assert parts(folder) == dict(zip(images, (0, 2), strict=True))


@pytest.mark.parametrize(
    ("images", "rows", "said"),
    [
        (["a.jpg", "a.png"], "a.jpeg 0\n", ["line 1", "a.jpeg", "a.jpg, a.png"]),
        (["a.webp"], "b.jpg 0\na.jpg 0\na.png 2\n", ["line 2", "a.jpg, a.png", "a.webp"]),
        (["A.jpg", "a.png"], "a.jpg 1\n", ["line 1", "A.jpg, a.png"]),
    ],
)
def test_a_row_that_may_be_of_two_images_is_ambiguous(tmp_path, images, rows, said):
    folder = tmp_path / "data" / "celeba"
    put_images(folder, images)
    path = write(folder / "list_eval_partition.txt", rows)
    with pytest.raises(FacesError, match="ambiguous") as error:
        celeba.read(folder.parent)
    assert all(words in str(error.value) for words in (str(path), *said))


def test_an_image_that_is_not_named_beside_one_of_the_same_stem_is_said(folder):
    put_images(folder, ["000002.png"])
    write(folder / "list_eval_partition.txt", OFFICIAL)
    faces = celeba.read(folder.parent)
    assert dict(zip(faces.names, faces.partition, strict=True))["000002.jpg"] == 1
    assert "list_eval_partition.txt has no row for 000002.png" in faces.notes[0]
    assert "000002.png differs only in its ending from an image that has one" in faces.notes[0]


def test_of_two_tables_the_one_that_holds_something_is_read(folder):
    for nothing in (b"", b"\n\n", HEADER.encode()):
        write(folder / "list_eval_partition.txt", nothing)
        write(folder / "list_eval_partition.csv", HEADER + ROWS)
        assert list(parts(folder).values()) == [0, 1, 2]
    write(folder / "list_eval_partition.txt", OFFICIAL)
    assert list(parts(folder).values()) == [0, 1, 2]
    write(folder / "list_eval_partition.txt", OFFICIAL.replace(" 1", " 0"))
    with pytest.raises(FacesError, match=r"partition\.csv and .*partition\.txt do not say the same"):
        celeba.read(folder.parent)


def test_a_table_that_is_no_file_or_cannot_be_opened_is_named(folder, monkeypatch):
    path = folder / "list_eval_partition.txt"
    path.mkdir()
    with pytest.raises(FacesError, match=f"{path} is no file"):
        celeba.read(folder.parent)
    path.rmdir()
    path.symlink_to(folder / "nowhere")
    with pytest.raises(FacesError, match=f"{path} is no file, or a link to nothing"):
        celeba.read(folder.parent)
    write(folder / "list_eval_partition.csv", HEADER + ROWS)
    assert list(parts(folder).values()) == [0, 1, 2]

    def forbidden(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    with pytest.raises(FacesError, match=r"partition\.csv cannot be read \(Permission denied\)"):
        celeba.read(folder.parent)


def test_a_name_of_a_damaged_table_is_said_in_a_few_words_however_long_it_is(folder):
    write(folder / "list_eval_partition.txt", "a" * 100_000 + " 0\n")
    with pytest.raises(FacesError, match=r"list_eval_partition\.txt, line 1: neither this row, of aaa") as error:
        celeba.read(folder.parent)
    assert len(str(error.value)) < 1500


@pytest.mark.parametrize("ending", [" (1).txt", ".csv.zip", ".xlsx", ".txt.txt"])
def test_a_table_under_another_name_is_named(folder, ending):
    path = write(folder / f"list_eval_partition{ending}", OFFICIAL)
    with pytest.raises(FacesError) as error:
        celeba.read(folder.parent)
    assert f"{path} is not called list_eval_partition.txt or list_eval_partition.csv" in str(error.value)
    write(folder / "list_eval_partition.txt", OFFICIAL)
    assert list(parts(folder).values()) == [0, 1, 2]


def test_a_table_is_read_once_for_all_splits_and_again_when_it_changes(folder, monkeypatch):
    path = write(folder / "list_eval_partition.txt", OFFICIAL)
    assert list(parts(folder).values()) == [0, 1, 2]
    times = path.stat()
    reads = []
    original = celeba.tables._text
    monkeypatch.setattr(celeba.tables, "_text", lambda *args: reads.append(args) or original(*args))
    assert list(parts(folder).values()) == [0, 1, 2]
    assert reads == []
    write(path, OFFICIAL.replace(" 1", " 2"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert list(parts(folder).values()) == [0, 2, 2]
