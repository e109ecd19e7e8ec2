"""Time and memory against the size: what is measured, the fitted line and its drawing."""

import contextlib
import io
import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from benchmarks import allfaces, scaling
from benchmarks.scaling import Size


def test_a_size_is_measured_from_a_mapped_file_larger_than_what_is_read():
    row = scaling.measure_size(Size(n_images=3000, side=16, code=8, mapped=True), "cpu", 1, most=256)
    assert row["data_bytes"] == 3000 * 3 * 16 * 16
    assert row["images_per_second"] == pytest.approx(3000 / row["seconds_per_epoch"])


def test_the_fit_of_a_line_is_that_line_and_the_plot_shows_every_size(tmp_path):
    rows = [
        {"n_images": n, "side": 64, "code": 1, "seconds_per_epoch": 2 + 0.5 * n, "peak_bytes": 7.0 * n}
        for n in (1, 2, 3, 4)
    ]
    line = {"curve": "images", "sizes": rows, **scaling.fits("images", rows)}
    assert line["fit"]["seconds_per_epoch"] == pytest.approx({"at_0": 2.0, "per_unit": 0.5})
    assert line["fit"]["peak_bytes"] == pytest.approx({"at_0": 0.0, "per_unit": 7.0}, abs=1e-9)
    scaling.draw([line], tmp_path / "plot.svg")
    drawn = ET.parse(tmp_path / "plot.svg").getroot()
    assert len([e for e in drawn if e.tag.endswith("circle")]) == 4


def test_every_curve_has_at_least_four_sizes_and_the_faces_are_all_there():
    curves = scaling.size_jobs(quick=False)
    assert all(len(sizes) >= 4 for name, sizes in curves.items() if name != "celeba")
    assert [(size.n_images, size.side) for size in curves["celeba"]] == [(202_599, 64), (202_599, 128)]


@pytest.mark.wide
def test_every_curve_is_printed_and_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "size_jobs", lambda quick: {"code": [Size(128, 16, code) for code in (4, 8)]})
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert scaling.main(["--json", "--device", "cpu", "--threads", "1", "--plot", str(tmp_path / "plot.svg")]) == 0
    [line] = [json.loads(text) for text in out.getvalue().splitlines()]
    assert (line["curve"], line["x"]) == ("code", [4, 8])
    assert set(line["fit"]) == {"seconds_per_epoch", "peak_bytes"}
    for row in line["sizes"]:  # each in a process of its own: weights, gradients and two moments at least
        assert row["peak_bytes"] >= 4 * 4 * row["parameters"]
    drawn = ET.parse(tmp_path / "plot.svg").getroot()
    assert len([e for e in drawn if e.tag.endswith("circle")]) == 2


@pytest.mark.wide
def test_all_of_celeba_is_simulated_with_links_to_few_pictures(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path / "cache"))
    room = tmp_path / "celeba" / "img_align_celeba"
    room.mkdir(parents=True)
    for i in range(12):
        Image.fromarray(np.full((218, 178, 3), 20 * i, np.uint8)).save(room / f"{i:06}.jpg")
    command = ["face-vae", "--images", "200", "--left", "30", "--data-dir", str(tmp_path), "--json"]
    assert allfaces.main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["pictures"]) == (200, 12)
    assert found["hours"] and found["seconds_to_hours"] > 0
