"""The quality benchmark measures from weights, prints one JSON line per model, and fails in words."""

import contextlib
import io
import json
import math
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import face_runs, quality
from explorer import edits, elbo, realism
from explorer.checkpoints import Bundle
from explorer.datasets import DATASETS, ImageSet
from explorer.families import FamilyBundle
from explorer.images import to_float
from explorer.models import AutoencoderConfig
from explorer.noise import add_noise
from explorer.roster import autoencoders_for, models_for

SIGMAS = {"0.2", "0.4", "0.6"}


def measure(root, *models, options=("--json",)):
    arguments = ["--quick", "--dataset", "digits", "--checkpoints", str(root), "--processes", "1"]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = quality.main([*arguments, *options, *models])
    return code, out.getvalue()


@pytest.fixture(scope="module")
def figures(digits_root):
    code, printed = measure(digits_root)
    assert code == 0
    lines = [json.loads(line) for line in printed.splitlines()]
    assert [line["model"] for line in lines] == list(models_for("digits"))
    return {line["model"]: line for line in lines}


@pytest.fixture
def bundles(digits_root, tmp_path):
    return shutil.copytree(digits_root, tmp_path / "bundles")


@pytest.mark.parametrize("name", autoencoders_for("digits"))
def test_an_autoencoder_has_its_reconstruction_figures(figures, name):
    line = figures[name]
    assert (line["dataset"], line["n_test"]) == ("digits", quality.QUICK.n_test)
    assert 0 < line["mse"] < 1 and -1 <= line["ssim"] <= 1 and "accuracy" not in line
    # a mean of logarithms is at least the logarithm of the mean
    assert line["psnr"] >= -10 * math.log10(line["mse"]) - 1e-3
    assert 0 < line["best_code_gain"] < 10 and 0 < line["best_code_gain_train"] < 10
    assert abs(line["psnr_train"] - line["psnr"]) < 3 and abs(line["ssim_train"] - line["ssim"]) < 0.2
    assert ("negative_elbo" in line) == (name == "conv-vae")
    if name == "conv-vae":
        assert line["reconstruction"] + line["kl"] == pytest.approx(line["negative_elbo"])
    assert ("psnr_by_sigma" in line) == (name == "conv-dae")


def test_the_classifier_has_an_accuracy_and_no_error_of_pixels(figures):
    line = figures["ffnn"]
    assert 0 <= line["accuracy"] <= 1 and not {"mse", "psnr", "ssim", "best_code_gain"} & set(line)


def test_a_denoiser_stands_beside_classical_filters_that_denoise(figures, digits):
    line = figures["conv-dae"]
    assert line["n_classical"] == quality.QUICK.n_test
    assert set(line["psnr_by_sigma"]) == SIGMAS
    x = to_float(digits["test"].images[: quality.QUICK.n_test])
    for variant in quality.VARIANTS:
        psnr, chosen = (line[f"best_{variant}_{what}_by_sigma"] for what in ("psnr", "filter"))
        assert set(psnr) == set(chosen) == SIGMAS
        assert all(setting["filter"] in quality.FILTERS and len(setting) > 1 for setting in chosen.values())
        assert psnr["0.2"] > psnr["0.4"] > psnr["0.6"]
        for sigma, value in psnr.items():
            noisy = add_noise(x, "gaussian", float(sigma), seed=0)
            assert value > quality.psnr_per_image(x, noisy).mean() + 3.0


def test_stored_metrics_are_never_read(figures, bundles):
    stored = bundles / "digits" / "fc-ae" / "metrics.json"
    stored.write_text(json.dumps({"mse": 0.0, "psnr": 99.0, "ssim": 1.0}), encoding="utf-8")
    (bundles / "digits" / "conv-vae" / "metrics.json").unlink()
    code, printed = measure(bundles, "fc-ae", "conv-vae")
    assert code == 0
    assert [json.loads(line) for line in printed.splitlines()] == [figures["fc-ae"], figures["conv-vae"]]


@pytest.mark.parametrize("weights", ["damaged", "foreign"])
def test_a_broken_bundle_is_named_and_the_others_are_still_printed(bundles, capsys, weights):
    path = bundles / "digits" / "fc-ae" / "model.safetensors"
    other = bundles / "digits" / "conv-dae" / "model.safetensors"
    path.write_bytes(b"no weights" if weights == "damaged" else other.read_bytes())
    code, printed = measure(bundles, "fc-ae", "ffnn")
    assert code == 1
    assert [json.loads(line)["model"] for line in printed.splitlines()] == ["ffnn"]
    assert "fc-ae/model.safetensors" in capsys.readouterr().err


def test_weights_that_give_no_number_are_a_broken_bundle(bundles, capsys, monkeypatch):
    monkeypatch.setattr(quality.metrics, "evaluate", lambda model, test: {"mse": math.nan})
    code, printed = measure(bundles, "fc-ae")
    assert (code, printed) == (1, "")
    assert "no finite mse" in capsys.readouterr().err


def test_missing_data_end_with_code_1_and_name_the_file(digits_root, tmp_path, capsys):
    code, printed = measure(digits_root, options=("--dataset", "mnist", "--data-dir", str(tmp_path)))
    assert code == 1 and printed == ""
    assert "t10k-images-idx3-ubyte is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "known"),
    [(["conv-xy"], "conv-vae"), (["--dataset", "x"], "digits"), (["fc-ae", "--dataset", "celeba"], "face-vae")],
)
def test_an_unknown_name_ends_with_code_2_and_lists_the_known(arguments, known, capsys):
    with pytest.raises(SystemExit) as ended:
        quality.main(arguments)
    assert ended.value.code == 2
    assert known in capsys.readouterr().err.splitlines()[-1]


@pytest.fixture(scope="module")
def faces():
    generator = torch.Generator().manual_seed(0)
    shape = {"test": (12, 3, 32, 32), "train": (20, 3, 32, 32)}
    noise = {split: torch.randint(256, s, dtype=torch.uint8, generator=generator) for split, s in shape.items()}
    return {split: ImageSet(images, torch.zeros(len(images)).long(), ("Face",)) for split, images in noise.items()}


@pytest.fixture
def measured(faces, monkeypatch):
    """Measure a small variational model of made-up faces; `read` counts how often training images were read."""
    read = []

    def read_split(folder, split):
        read.append(split)
        return faces[split]

    monkeypatch.setitem(DATASETS, "celeba", replace(DATASETS["celeba"], read=read_split))
    monkeypatch.setattr(realism, "N_PAIRS", 20)
    quality.training_images.cache_clear()
    quality.data_floor.cache_clear()

    def run(**changes):
        options = {"image_shape": (3, 32, 32), "code": 4, "variational": True, "likelihood": "gaussian"}
        torch.manual_seed(0)
        model = AutoencoderConfig(channels=(4, 4), strides=(2, 2), **{**options, **changes}).build().eval()
        config = {"recipe": SimpleNamespace(noise=None)}
        bundle = SimpleNamespace(dataset="celeba", model="face-vae", config=lambda: config, load=lambda: model)
        return quality.measure(bundle, faces["test"], SimpleNamespace(data_dir=None, effort=quality.QUICK)), read

    yield run
    quality.training_images.cache_clear()
    quality.data_floor.cache_clear()


def test_a_variational_model_of_faces_has_figures_of_its_samples_with_their_floors(measured, faces):
    line, read = measured()
    assert read == ["train"]
    assert line["n_test"] == line["n_generative"] == 12
    bits = line["negative_elbo"] / (3 * 32 * 32 * math.log(2)) + 8
    assert line["bits_per_dim"] == pytest.approx(bits)
    assert set(line["swd"]) == set(line["swd_floor"]) == {"32", "16", "mean"}
    assert list(line["swd_noisy"]) == ["0.1000", f"{line['sigma_calibrated']:.4f}"]
    assert line["negative_elbo_calibrated"] < line["negative_elbo"]
    assert {"ms_ssim", "active_units", "blurred_at"} | set(quality.FLOORS) | set(quality.FLOORS.values()) <= set(line)
    assert line["swd_floor"] == realism.floor_figures(faces["test"].images, faces["train"].images)["swd_floor"]
    assert json.loads(json.dumps(line)) == line


def test_the_floor_is_measured_once_for_all_models(measured):
    first, _ = measured()
    second, read = measured(code=5)
    assert read == ["train"]
    assert first["swd"] != second["swd"] and first["swd_floor"] == second["swd_floor"]


def test_a_plain_autoencoder_of_faces_has_no_samples_to_measure(measured):
    line, read = measured(variational=False)
    assert read == ["train"] and "mse" in line
    assert not {"swd", "diversity", "bits_per_dim"} & set(line)


def test_a_likelihood_that_is_no_density_has_no_bits(measured):
    line, _ = measured(likelihood="bernoulli")
    assert "negative_elbo" in line and "swd" in line and "bits_per_dim" not in line


def test_small_images_are_not_sampled(figures):
    assert "swd" not in figures["conv-vae"]


def test_the_table_holds_floors_and_names_the_blurred_level(measured, capsys):
    line, _ = measured()
    quality.print_table({**line, "blurred_at": "32", "swd": {"32": 70.0, "16": 9.0, "mean": 39.5}})
    rows = capsys.readouterr().out.splitlines()
    floor = line["swd_floor"]
    [blurred] = [row for row in rows if "(blurred here)" in row]
    assert blurred.split()[1:] == ["swd,", "32", "(blurred", "here)", "70.00", f"{floor['32']:.2f}", "–", "–"]
    [nearest] = [row for row in rows if " nearest_train_distance " in row]
    expected = [f"{line[name]:.5f}" for name in ("nearest_train_distance", "nearest_train_distance_floor")]
    assert nearest.split()[2:4] == expected


def test_the_table_holds_reports_and_targets_of_fashion_mnist(capsys):
    line = {"dataset": "fashion-mnist", "model": "ffnn", "accuracy": 0.905}
    quality.print_table(line)
    assert capsys.readouterr().out.split() == ["ffnn", "accuracy", "0.90500", "–", "0.901", "≥", "0.91", "NO"]
    quality.print_table({**line, "accuracy": 0.91})
    assert capsys.readouterr().out.split()[-1] == "yes"
    quality.print_table({**line, "dataset": "digits"})
    assert capsys.readouterr().out.split() == ["ffnn", "accuracy", "0.90500", "–", "–", "–"]


def test_every_target_belongs_to_a_row_of_the_table(figures):
    rows = {(name, row) for name, line in figures.items() for row, *_ in quality.table_rows(line)}
    rows |= {("face-best", row) for _, row in rows}
    assert set(quality.TARGETS) <= rows


@pytest.mark.parametrize("sigma", quality.SIGMAS)
def test_undoing_the_clipping_finds_the_clean_pixel(sigma):
    clean = np.linspace(0.1, 0.9, 9)
    x = torch.from_numpy(clean).view(9, 1, 1, 1).expand(9, 1, 200, 200)
    local_means = add_noise(x, "gaussian", sigma, seed=0).mean((1, 2, 3)).numpy()
    assert np.abs(local_means - clean).max() > 0.1 * sigma  # clipping has moved them
    # the mean of 40,000 pixels is known to sigma / 200, and the inverse at most doubles an error
    assert quality.undo_clipping(local_means, sigma) == pytest.approx(clean, abs=0.04 * sigma)


@pytest.mark.parametrize("name", quality.FILTERS)
def test_every_filter_takes_its_whole_grid(name, generator):
    x = torch.rand(1, 1, 28, 28, generator=generator).numpy()
    for setting in [s for s in quality.GRID if s.filter == name][::5]:
        scores = quality.filter_psnr((setting, 0.2, x, x))
        assert scores.shape == (2, 1) and np.isfinite(scores).all()


def test_tuning_takes_the_setting_that_is_best_on_the_training_images(digits):
    x = to_float(digits["train"].images[:6])
    effort = quality.Effort(n_screen=3, n_kept=2, n_tune=6, thin=29)
    with quality.workers(1) as run:
        plain, _ = quality.tune(x, 0.4, effort, run)
    noisy = add_noise(x, "gaussian", 0.4, quality.TUNING_SEED).numpy()
    tried = quality.GRID[:: effort.thin]
    scores = [quality.filter_psnr((setting, 0.4, x.numpy(), noisy))[0].mean() for setting in tried]
    assert plain == tried[np.argmax(scores)]


def test_a_family_has_the_figures_that_are_stored_with_it(families_root):
    code, printed = measure(families_root, "length-family", "class-vae")
    assert code == 0
    lines = {line["model"]: line for line in map(json.loads, printed.splitlines())}
    assert list(lines) == ["length-family", "class-vae"]
    stored = FamilyBundle("digits", "length-family", families_root).figures()
    assert lines["length-family"]["members"].keys() == stored["members"].keys()
    assert lines["length-family"]["pca"]["mse"] == pytest.approx(stored["pca"]["mse"], rel=0.5)  # of 50 images
    shares = FamilyBundle("digits", "class-vae", families_root).figures()["recognised"]["by_class"]
    assert lines["class-vae"]["recognised"]["by_class"] == shares
    assert "pca-4: mse" in measure(families_root, "length-family", options=())[1]


def test_scores_of_known_factors_are_rows_of_a_family():
    own = dict.fromkeys(quality.SCORES, 0.5) | {"told": [[0.1]]}
    rows = list(quality.table_rows({"members": {}, "apart": {"vae-beta4": own}}))
    assert rows == [(f"vae-beta4: {name}", 0.5, None) for name in quality.SCORES]


def test_a_variational_model_has_bounds_on_its_likelihood(figures):
    line = figures["conv-vae"]
    assert line["n_bounds"] == quality.QUICK.n_bounds
    assert line["bound_1000"] < line["bound_1"]
    assert not any("bound_1" in other for name, other in figures.items() if name != "conv-vae")


def test_a_gaussian_decoder_has_a_calibrated_sigma():
    model = AutoencoderConfig((1, 8, 8), hidden=(4,), code=2, variational=True, likelihood="gaussian").build().eval()
    figures = {"reconstruction": 500.0, "negative_elbo": 510.0, "bits_per_dim": 20.0}
    found = elbo.calibrated(model.config, figures)
    assert found["sigma_calibrated"] > 0 and found["negative_elbo_calibrated"] < 510
    assert found["bits_per_dim_calibrated"] < 20
    assert elbo.calibrated(model.config, {"negative_elbo": 510.0}) == {}


def test_what_a_model_is_good_for_is_a_row_each(digits_root, digits, monkeypatch):
    found = {"labels": torch.tensor([10.0, 20.0]), "error/test images": torch.arange(3.0), "error/noise": torch.ones(3)}
    curves = {
        f"{probe}/{whose}": torch.rand(2, 2) for probe in ("linear", "knn") for whose in ("code", "pixels", "pca")
    }
    monkeypatch.setattr(quality.uses, "measure", lambda *_: found | curves)
    bundle = Bundle("digits", "fc-ae", digits_root)
    figures = quality.good_for(bundle, bundle.load(), digits["test"], None)
    assert figures["auc"] == {"noise": {"error": pytest.approx(0.5)}}
    rows = list(quality.table_rows(figures))
    assert [name for name, *_ in rows] == [
        "linear, 10 labels", "linear, 20 labels", "knn, 10 labels", "knn, 20 labels", "auc of error, noise",
    ]  # fmt: skip
    assert rows[1][1:] == (curves["linear/code"][1, 0], curves["linear/pixels"][1, 0])


def test_edits_and_the_rungs_of_the_ladder_are_rows(monkeypatch, faces):
    monkeypatch.setitem(DATASETS, "celeba", replace(DATASETS["celeba"], read=lambda folder, split: faces["train"]))
    rows = torch.zeros(40, len(edits.EFFECTS))
    rows[31], rows[20] = torch.tensor([0.8, 1.8, 0.4, 0.3, 0.9]), torch.tensor([0.6, 1.6, 0.8, 0.7, 0.5])
    found = {f"effects/{method}": rows for method in quality.METHODS} | {"judged": torch.tensor([0.75, 0.1, 0.01])}
    monkeypatch.setattr(edits, "measure", lambda *_: found)
    assert quality.edited(SimpleNamespace(dataset="celeba"), None, faces["test"], None) == {}
    monkeypatch.setattr(edits, "makes_sense", lambda *_: True)
    figures = quality.edited(SimpleNamespace(dataset="celeba"), None, faces["test"], None)
    figures["ladder"] = {"prior": {"swd": 101.0, "precision": 0.1}}
    shown = {name: value for name, value, _ in quality.table_rows(figures)}
    assert shown["swd, codes from prior"] == 101 and shown["identity: auc"] == 0.75
    assert shown["same, Smiling, difference of means"] == pytest.approx(0.9)
    assert shown["outside, mean of 2 attributes, logistic regression"] == pytest.approx(0.5)


def test_runs_of_equal_time_name_what_they_changed_and_sigma_is_learned_where_it_is_to_be(monkeypatch, capsys):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (10, 3, 64, 64), dtype=torch.uint8, generator=generator)
    noise = ImageSet(images, torch.zeros(10).long(), ("Face",))
    monkeypatch.setitem(DATASETS, "celeba", replace(DATASETS["celeba"], read=lambda folder, split: noise))
    monkeypatch.setattr(face_runs, "LEARN_EVERY", 1)
    for name in ("sigma 0.1", "sigma learned", "face-vae"):
        config = face_runs.RUNS[name].config
        widths = {part: (8,) * 3 for part in ("channels", "decoder_channels") if hasattr(config, part)}
        monkeypatch.setitem(face_runs.RUNS, name, replace(face_runs.RUNS[name], config=replace(config, **widths)))
    assert face_runs.main(["sigma 0.1", "sigma learned", "--seconds", "0.1", "--json"]) == 0
    fixed, learned = map(json.loads, capsys.readouterr().out.splitlines())
    assert (fixed["run"], fixed["sigma"], learned["run"]) == ("sigma 0.1", 0.1, "sigma learned")
    assert learned["sigma"] != 0.1 and learned["n_seen"] % 10 == 0
    assert all(0 < line[name] < 30 for line in (fixed, learned) for name in ("psnr", "psnr_average"))
    assert face_runs.main(["face-vae", "--seconds", "0.1"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("face-vae")
    with pytest.raises(SystemExit, match="2"):
        face_runs.main(["bigger"])
