import dataclasses
import errno
import functools
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

import train
from explorer import devices, projection, training
from explorer.checkpoints import FITTED, STAGES, Bundle, read_gallery
from explorer.datasets import DATASETS, DataError
from explorer.families import FAMILIES
from explorer.noise import NOISES
from explorer.roster import ROSTER
from explorer.watching import RUN
from tests.conftest import pca_for_tsne, pca_for_umap

ROOT = Path(train.__file__).parent
DIGITS = ("--dataset", "digits", "--device", "cpu", "--threads", "1")
FIGURES = {
    "plain": {"mse", "psnr", "ssim", "psnr_by_noise", "psnr_by_noise_classical", "weights"},
    "variational": {"negative_elbo", "reconstruction", "kl", "kl_per_dimension"},
    "classifier": {"accuracy", "cross_entropy", "calibration_error", "weights"},
}


def contents(folder):
    """All that lies in a folder but locks and what a run that ended early says of itself."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock" and RUN not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def run(*arguments):
    return train.main([*arguments, *DIGITS])


@pytest.fixture
def digits_copy(digits_root, checkpoints_root):
    return shutil.copytree(digits_root, checkpoints_root)


def test_the_whole_roster_is_fitted_measured_and_projected(digits_entry, digits_root):
    bundle = Bundle("digits", digits_entry.name, digits_root)
    assert set(contents(bundle.folder)) == {name for names in STAGES.values() for name in names}
    assert bundle.load().code_length > 0
    assert bundle.config()["recipe"] == dataclasses.replace(digits_entry.recipe, epochs=2)
    assert bundle.config()["data"]["splits"] == {"train": 1300, "validation": 137, "test": 360}
    history = bundle.history()
    assert history["epoch"] == [1.0, 2.0]
    assert history["train_loss"][1] < history["train_loss"][0]


def test_figures_are_those_of_the_kind_of_model(digits_entry, digits_root):
    figures = Bundle("digits", digits_entry.name, digits_root).metrics()
    if not digits_entry.is_autoencoder:
        assert set(figures) == FIGURES["classifier"]
        assert figures["accuracy"] > 0.5
        return
    variational = FIGURES["variational"] if digits_entry.config.variational else set()
    assert set(figures) == FIGURES["plain"] | variational
    assert 0 < figures["mse"] < 0.15
    for curves, names in (("psnr_by_noise", {"model"}), ("psnr_by_noise_classical", {"input", "median"})):
        assert set(figures[curves]) == set(NOISES)
        assert all(set(curve) == {"level"} | names for curve in figures[curves].values())


def test_codes_and_projections_are_those_of_the_gallery(digits_entry, digits_root, digits):
    bundle = Bundle("digits", digits_entry.name, digits_root)
    codes = bundle.codes()
    width = bundle.load().code_length
    shapes = {"codes": (360, width), "pca_2d": (360, 2), "pca_explained": (min(width, 3),), "tsne_2d": (360, 2)}
    shapes |= {"umap_2d": (360, 2), "umap_3d": (360, 3)}
    if width > 2:
        shapes["pca_3d"] = (360, 3)
    if not digits_entry.is_autoencoder:
        shapes |= {"test_logits": (360, 10), "test_labels": (360,)}
    elif digits_entry.config.variational:
        shapes["log_var"] = (360, width)
    assert {name: tuple(value.shape) for name, value in codes.items()} == shapes
    x = digits["test"].images.float() / 255
    torch.testing.assert_close(codes["codes"].float(), bundle.load().embed(x), rtol=1e-3, atol=1e-3)


def test_the_gallery_of_a_small_test_set_is_the_whole(digits_root, digits):
    gallery = read_gallery(digits_root, "digits")
    assert gallery.indices.tolist() == list(range(360))
    assert torch.equal(gallery.labels, digits["test"].labels)
    assert gallery.names == ()


def test_the_stored_logits_give_the_stored_accuracy(digits_root):
    bundle = Bundle("digits", "ffnn", digits_root)
    codes = bundle.codes()
    hits = codes["test_logits"].argmax(1) == codes["test_labels"]
    assert hits.double().mean().item() == bundle.metrics()["accuracy"]


@pytest.mark.parametrize(("stage", "file"), [("metrics", "metrics.json"), ("projections", "codes.safetensors")])
def test_a_later_stage_runs_alone_and_gives_the_same_again(digits_copy, stage, file, monkeypatch):
    monkeypatch.setattr(projection, "umap", pca_for_umap)
    monkeypatch.setattr(projection, "tsne", pca_for_tsne)
    before = contents(digits_copy)
    (digits_copy / "digits" / "fc-ae" / file).unlink()
    assert run("fc-ae", "--only", stage) == 0
    assert contents(digits_copy) == before


def test_a_later_stage_without_a_fitted_model_says_what_comes_first(checkpoints_root, capsys):
    assert run("fc-ae", "--only", "metrics") == 1
    assert (
        "config.json is missing. Make it anew with: python train.py fc-ae --dataset digits" in capsys.readouterr().err
    )


def test_fitting_alone_says_what_comes_next(checkpoints_root, capsys):
    assert run("fc-ae", "--only", "fit", "--epochs", "1") == 0
    assert set(contents(checkpoints_root)) == {f"digits/fc-ae/{name}" for name in FITTED}
    assert "next: python train.py fc-ae --dataset digits --only metrics" in capsys.readouterr().out


def test_the_command_line_changes_the_recipe_and_the_seed(checkpoints_root):
    changes = ("--epochs", "1", "--batch-size", "500", "--learning-rate", "0.002", "--seed", "7")
    assert run("fc-ae", "fc-ae", "--only", "fit", *changes) == 0
    config = Bundle("digits", "fc-ae", checkpoints_root).config()
    recipe = dataclasses.replace(ROSTER["fc-ae"].recipe, epochs=1, batch_size=500, learning_rate=0.002)
    assert (config["recipe"], config["seed"]) == (recipe, 7)


def test_a_dry_run_writes_nothing(checkpoints_root, capsys, monkeypatch):
    monkeypatch.setattr(projection, "umap", pca_for_umap)
    monkeypatch.setattr(projection, "tsne", pca_for_tsne)
    assert run("fc-ae", "ffnn", "--dry-run") == 0
    assert not checkpoints_root.exists()
    out = capsys.readouterr().out
    assert "fc-ae: test MSE" in out
    assert "ffnn: test accuracy" in out


def test_the_list_names_every_model_with_its_parameters(capsys):
    assert train.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*ROSTER, *FAMILIES]
    assert "435,536 parameters,   0.4 million multiply-adds,    64 numbers in the code" in lines[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["conv-xy"], f"unknown model 'conv-xy'; known: {', '.join(ROSTER)}"),
        (["--dataset", "cifar"], f"unknown data set 'cifar'; known: {', '.join(DATASETS)}"),
        (["--device", "cuda:99"], "device 'cuda:99' is not there"),
        (["--device", "abacus"], "device 'abacus' is not there"),
        (["--epochs", "0"], "'0' is no whole number of at least 1"),
        (["--epochs", "many"], "'many' is no whole number of at least 1"),
        (["--batch-size", "1"], "'1' is no whole number of at least 2"),
        (["--only", "drawing"], "invalid choice: 'drawing'"),
        (["--learning-rate", "-1"], "learning-rate"),
        (["--learning-rate", "fast"], "learning-rate"),
        (["--seed", "99999999999999999999"], "'99999999999999999999' is no whole number of at least 0 and at most"),
        (["--seed=-1"], "'-1' is no whole number of at least 0"),
        (["--threads", "0"], "'0' is no whole number of at least 1"),
        (["--threads", "1000000"], "'1000000' is no whole number of at least 1 and at most 1024"),
        (["--batch-size", "9" * 5000], "9999...' is no whole number of at least 2"),
        (["--precision", "int3"], "invalid choice: 'int3'"),
        (["face-vae"], "face-vae cannot run on digits; its models: fc-ae, conv-ae"),
    ],
)
def test_a_wrong_command_ends_with_code_2_and_says_why(checkpoints_root, capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        train.main(["--dataset", "digits", "--device", "cpu", "fc-ae", *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_missing_data_end_with_code_1_and_the_command(checkpoints_root, tmp_path, capsys):
    (tmp_path / "FashionMNIST" / "raw").mkdir(parents=True)
    assert train.main(["fc-ae", "--device", "cpu", "--data-dir", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert "train-images-idx3-ubyte is missing" in err
    assert "python train.py --download --dataset fashion-mnist" in err


@pytest.fixture
def downloads(monkeypatch):
    calls = []

    def fetch(data_dir):
        calls.append(data_dir)
        raise DataError("the network is down")

    monkeypatch.setitem(DATASETS, "mnist", dataclasses.replace(DATASETS["mnist"], fetch=fetch))
    return calls


@pytest.mark.parametrize("folder_exists", [True, False])
def test_download_fetches_even_where_a_folder_is_and_a_failure_is_code_1(downloads, tmp_path, capsys, folder_exists):
    if folder_exists:
        (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    assert train.main(["--download", "--dataset", "mnist", "--data-dir", str(tmp_path)]) == 1
    assert downloads == [tmp_path]
    assert capsys.readouterr().err == "train.py: the network is down\n"


def test_fitting_downloads_only_where_there_is_no_folder(downloads, checkpoints_root, tmp_path):
    arguments = ["fc-ae", "--device", "cpu", "--dataset", "mnist", "--data-dir", str(tmp_path)]
    assert train.main(arguments) == 1
    assert downloads == [tmp_path]
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    assert train.main(arguments) == 1
    assert downloads == [tmp_path]


def test_download_of_a_set_that_needs_none_checks_it(capsys):
    assert train.main(["--download", "--dataset", "digits"]) == 0
    assert capsys.readouterr().out == "Digits (scikit-learn) is complete\n"


def test_models_that_diverge_are_reported_and_leave_their_bundles(digits_copy, capsys):
    before = contents(digits_copy)
    assert run("conv-vae", "fc-ae", "--only", "fit", "--epochs", "1", "--learning-rate", "1e30") == 1
    err = capsys.readouterr().err
    for name in ("conv-vae", "fc-ae"):
        assert f"{name}: failed: the loss became nan in epoch 1" in err
    assert "The bundle on disk is as it was." in err
    assert contents(digits_copy) == before


def test_a_model_that_diverges_does_not_stop_the_next(digits_copy, monkeypatch, capsys):
    before = contents(digits_copy)
    entry = ROSTER["fc-ae"]
    diverging = dataclasses.replace(entry, recipe=dataclasses.replace(entry.recipe, learning_rate=1e30))
    monkeypatch.setitem(ROSTER, "fc-ae", diverging)
    assert run("fc-ae", "ffnn", "--only", "fit", "--epochs", "1") == 1
    assert capsys.readouterr().err.endswith("failed: fc-ae\n")
    after = contents(digits_copy)
    assert after["digits/ffnn/model.safetensors"] != before["digits/ffnn/model.safetensors"]
    assert {name for name in before if before[name] != after.get(name)} == {
        f"digits/ffnn/{name}" for names in STAGES.values() for name in names
    }


def child(*arguments):
    code = textwrap.dedent("""
        import sys

        class Blocker:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in ("streamlit", "plotly", "umap"):
                    raise ImportError(name + " is blocked")

        sys.meta_path.insert(0, Blocker())
        import train
        sys.exit(train.main(sys.argv[1:]))
    """)
    # a shell's background job passes on that it ignores Ctrl-C
    listen = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments, *DIGITS],
        cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=listen,
    )  # fmt: skip


def test_fitting_and_measuring_need_neither_streamlit_nor_plotly_nor_umap(checkpoints_root):
    process = child("fc-ae", "--epochs", "1")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err.decode()
    assert b"pip install umap-learn" in err
    bundle = Bundle("digits", "fc-ae", checkpoints_root)
    assert "tsne_2d" in bundle.codes()
    assert "umap_2d" not in bundle.codes()


wide = functools.partial(pytest.param, marks=pytest.mark.wide)


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), wide("SIGTERM", 143), wide("SIGKILL", -9)])
def test_a_run_that_is_stopped_leaves_the_bundle_byte_for_byte(digits_copy, name, code):
    before = contents(digits_copy)
    process = child("fc-ae", "--epochs", "100000")
    seen = b""
    while b"loss=" not in seen:
        chunk = os.read(process.stderr.fileno(), 4096)
        assert chunk, seen.decode()
        seen += chunk
    process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=300)
    assert process.returncode == code
    said = {"SIGINT": b"interrupted: finished", "SIGTERM": b"terminated: finished"}
    assert all((words in err) == (name == kind) for kind, words in said.items())
    assert b"Traceback" not in err
    state = Bundle("digits", "fc-ae", digits_copy).state_file
    for path in state.parent.glob(state.name + "*"):  # and what kill -9 leaves of the next one, half written
        path.unlink()
    assert contents(digits_copy) == before


def history(root):
    bundle = Bundle("digits", "fc-ae", root)
    return {name: column for name, column in bundle.history().items() if name != "seconds"}


def test_a_run_that_was_killed_goes_on_and_ends_as_if_it_had_not_been(checkpoints_root, tmp_path):
    whole = tmp_path / "whole"
    assert run("fc-ae", "--only", "fit", "--epochs", "12", "--checkpoints", str(whole)) == 0
    process = child("fc-ae", "--only", "fit", "--epochs", "12")
    bundle = Bundle("digits", "fc-ae", checkpoints_root)
    while not bundle.state_file.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate(timeout=60)
    assert not bundle.folder.exists()
    assert run("fc-ae", "--only", "fit", "--epochs", "12", "--resume") == 0
    assert history(checkpoints_root) == history(whole)
    assert not bundle.state_file.exists()


def stop_after_an_epoch(*arguments):
    write_state = Bundle.write_state

    def write_and_stop(*values):
        write_state(*values)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bundle, "write_state", write_and_stop)
        assert run(*arguments, "--only", "fit") == 130


def test_a_state_of_another_run_is_not_resumed_and_says_what_differs(digits_copy, capsys):
    before = contents(digits_copy)
    stop_after_an_epoch("fc-ae", "--epochs", "100000", "--seed", "3")
    state_file = Bundle("digits", "fc-ae", digits_copy).state_file
    assert run("fc-ae", "--only", "fit", "--epochs", "2", "--resume") == 1
    err = capsys.readouterr().err
    assert "recipe.epochs is 100000, not 2" in err and "seed is 3, not 0" in err
    assert "Begin anew with: python train.py fc-ae --dataset digits" in err
    state_file.unlink()
    assert contents(digits_copy) == before


def test_a_model_that_is_fitted_already_is_not_fitted_again(digits_copy, capsys):
    before = contents(digits_copy)
    assert run("fc-ae", "--only", "fit", "--epochs", "2", "--resume") == 0
    assert "fc-ae: is fitted already" in capsys.readouterr().out
    assert contents(digits_copy) == before


def test_a_folder_that_cannot_be_written_is_found_before_training(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    assert run("fc-ae", "--checkpoints", str(tmp_path / "file" / "checkpoints")) == 1
    captured = capsys.readouterr()
    assert "bundles cannot be written to" in captured.err
    assert "threads" not in captured.out


def test_a_model_that_does_not_fit_the_memory_says_what_to_lower_and_the_next_runs(digits_copy, monkeypatch, capsys):
    before = contents(digits_copy)
    epochs = training.Fitting.epochs

    def starved(fitting, progress):
        if len(list(fitting.model.parameters())) == 8:  # fc-ae
            raise torch.OutOfMemoryError("tried to allocate 3 GiB")
        return epochs(fitting, progress)

    monkeypatch.setattr(training.Fitting, "epochs", starved)
    assert run("fc-ae", "ffnn", "--only", "fit", "--epochs", "1") == 1
    err = capsys.readouterr().err
    assert "fc-ae: failed: cpu is out of memory; try --batch-size 64" in err
    after = contents(digits_copy)
    assert after["digits/fc-ae/model.safetensors"] == before["digits/fc-ae/model.safetensors"]
    assert after["digits/ffnn/model.safetensors"] != before["digits/ffnn/model.safetensors"]


def test_a_state_of_another_architecture_is_not_resumed_and_says_what_differs(checkpoints_root, capsys):
    stop_after_an_epoch("conv-ae", "--epochs", "100000")
    other, mine = (Bundle("digits", name, checkpoints_root).state_file for name in ("conv-ae", "fc-ae"))
    other.replace(mine)
    assert run("fc-ae", "--only", "fit", "--resume") == 1
    err = capsys.readouterr().err
    assert "model is conv-ae, not fc-ae" in err
    assert "architecture.channels is [16, 32, 64], not []" in err
    assert not Bundle("digits", "fc-ae", checkpoints_root).folder.exists()


def test_a_state_of_another_data_set_is_not_resumed_and_says_what_differs(checkpoints_root, capsys, monkeypatch):
    state_file = Bundle("digits", "fc-ae", checkpoints_root).state_file
    stop_after_an_epoch("fc-ae", "--epochs", "100000")
    monkeypatch.setitem(DATASETS, "mnist", dataclasses.replace(DATASETS["digits"], name="mnist"))
    (checkpoints_root / "mnist").mkdir()
    state_file.replace(checkpoints_root / "mnist" / state_file.name)
    assert train.main(["fc-ae", "--dataset", "mnist", "--device", "cpu", "--only", "fit", "--resume"]) == 1
    assert "data.dataset is digits, not mnist" in capsys.readouterr().err


def test_a_read_only_folder_is_found_before_training(checkpoints_root, monkeypatch, capsys):
    def refuse(dir):  # the superuser may write where permissions forbid it
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(train.tempfile, "TemporaryFile", refuse)
    assert run("fc-ae") == 1
    captured = capsys.readouterr()
    assert f"cannot be written to {checkpoints_root / 'digits'}: Read-only file system" in captured.err
    assert "threads" not in captured.out


def test_memory_that_the_cpu_does_not_have_is_asked_for_and_the_message_says_what_to_lower(
    digits_copy, monkeypatch, capsys
):
    before = contents(digits_copy)
    monkeypatch.setattr(training.Fitting, "epochs", lambda fitting, progress: torch.empty(2**60))
    assert run("fc-ae", "--only", "fit", "--epochs", "1") == 1
    assert "fc-ae: failed: cpu is out of memory; try --batch-size 64" in capsys.readouterr().err
    assert contents(digits_copy) == before


ERRORS = {
    "foreseen": (OSError(errno.ENOSPC, "No space left on device"), "/digits: No space left on device. Make room,"),
    "of one file": (PermissionError(errno.EACCES, "Permission denied", "/a/file"), "/a/file: Permission denied."),
    "a mistake": (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "a mistake in the program (RuntimeError)"),
    "another mistake": (ValueError("n_components=3"), "a mistake in the program (ValueError)"),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_whatever_ends_one_model_is_said_and_the_next_runs(checkpoints_root, monkeypatch, capsys, kind):
    error, words = ERRORS[kind]
    epochs = training.Fitting.epochs

    def broken(fitting, progress):
        if len(list(fitting.model.parameters())) == 8:  # fc-ae
            raise error
        return epochs(fitting, progress)

    monkeypatch.setattr(training.Fitting, "epochs", broken)
    assert run("fc-ae", "ffnn", "--only", "fit", "--epochs", "1") == 1
    err = capsys.readouterr().err
    assert "fc-ae: failed: " in err and words in err
    assert err.endswith("failed: fc-ae\n")
    assert ("Traceback" in err and str(error) in err) == ("mistake" in kind)
    assert Bundle("digits", "ffnn", checkpoints_root).load()


def a_few(n_train, n_validation, n_test):
    """Take so many digits, as a data set of its own."""
    sizes = {"train": n_train, "validation": n_validation, "test": n_test}

    def read(data_dir, split):
        return DATASETS["digits"].read(data_dir, split)[torch.arange(sizes[split])]

    return dataclasses.replace(DATASETS["digits"], name="few", read=read)


def test_few_images_are_fitted_and_what_cannot_be_drawn_of_them_is_said(checkpoints_root, monkeypatch, capsys):
    monkeypatch.setitem(DATASETS, "few", a_few(8, 1, 1))
    arguments = ("--dataset", "few", "--device", "cpu", "--threads", "1", "--epochs", "1")
    assert train.main(["fc-ae", "conv-ae-128", *arguments]) == 0
    err = capsys.readouterr().err
    for name in ("fc-ae", "conv-ae-128"):
        codes = Bundle("few", name, checkpoints_root).codes()
        assert set(codes) == {"codes", "pca_2d", "pca_3d", "pca_explained"}
        assert f"{name}: left out: t-SNE of 1 codes" in err and f"{name}: left out: UMAP of 1 codes" in err
    assert "train.py fc-ae" not in err  # no command that fails likewise


@pytest.mark.parametrize("sizes", [(60, 20, 9), (3, 1, 1)])
def test_a_dry_run_takes_the_images_that_are_there(checkpoints_root, monkeypatch, sizes):
    monkeypatch.setitem(DATASETS, "few", a_few(*sizes))
    arguments = ("--dataset", "few", "--device", "cpu", "--threads", "1", "--only", "fit", "metrics")
    assert train.main(["ffnn", "--dry-run", *arguments]) == 0


def test_a_data_set_that_no_model_is_made_for_ends_with_code_2_and_says_so(monkeypatch, capsys):
    other = dataclasses.replace(DATASETS["digits"], name="mine", image_shape=(3, 32, 32))
    monkeypatch.setitem(DATASETS, "mine", other)
    for names in ([], ["fc-ae"]):
        with pytest.raises(SystemExit) as ended:
            train.main([*names, "--dataset", "mine", "--device", "cpu"])
        assert ended.value.code == 2
        assert "no model of the roster takes images of 3 x 32 x 32" in capsys.readouterr().err


@pytest.fixture
def one_before_the_others():
    """A data set before those of the table, whose order is kept: what a monkeypatch deletes comes back at the end."""
    others = dict(DATASETS)
    DATASETS.clear()
    DATASETS.update({"mine": dataclasses.replace(others["digits"], name="mine")} | others)
    yield
    DATASETS.clear()
    DATASETS.update(others)


def test_a_data_set_before_the_others_becomes_no_models_home(one_before_the_others):
    homes = {entry.home for entry in ROSTER.values()}
    assert homes == {"fashion-mnist", "celeba"}


def test_the_home_of_each_model_has_images_of_its_shape(entry):
    assert DATASETS[entry.home].image_shape == entry.config.image_shape


def test_paths_may_begin_with_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert run("fc-ae", "--only", "fit", "--epochs", "1", "--checkpoints=~/option", "--data-dir=~/data") == 0
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", "~/variable")
    monkeypatch.setenv("EXPLORER_DATA", "~/data")
    assert run("fc-ae", "--only", "fit", "--epochs", "1") == 0
    assert {path.name for path in tmp_path.iterdir()} == {"option", "variable"}


NOBODY = """
import os, pwd, sys

def unknown(*_):
    raise KeyError("getpwuid(): uid not found: 54321")

pwd.getpwuid = pwd.getpwnam = unknown
for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME"):
    os.environ.pop(name, None)
import train
sys.exit(train.main())
"""


@pytest.mark.parametrize(
    ("option", "variable"), [("--checkpoints=~/x", ""), ("--data-dir=~/x", ""), ("--seed=1", "~/x")]
)
def test_a_path_in_the_home_folder_is_refused_where_there_is_none(monkeypatch, capsys, option, variable):
    def unknown(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", unknown)
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", variable)
    with pytest.raises(SystemExit) as ended:
        train.main([option, *DIGITS])
    assert ended.value.code == 2
    assert "home" in capsys.readouterr().err


@pytest.mark.wide
def test_a_user_without_a_name_and_a_home_can_fit(tmp_path):
    command = [sys.executable, "-c", NOBODY, "fc-ae", "--only", "fit", "--epochs", "1", *DIGITS]
    ended = subprocess.run([*command, "--checkpoints", str(tmp_path)], cwd=ROOT, capture_output=True)
    assert ended.returncode == 0, ended.stderr.decode()


@pytest.mark.parametrize("encoding", ["ascii", "cp932", wide("cp1252"), wide("utf-8")])
def test_what_is_printed_survives_any_encoding(encoding):
    environment = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "train.py", "--list"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, env={**os.environ, **environment})
    assert (ended.returncode, ended.stderr) == (0, b"")
    lines = ended.stdout.decode(encoding).splitlines()
    assert [line.split()[0] for line in lines] == [*ROSTER, *FAMILIES]
    assert ("1→16→32→64" in lines[1]) == (encoding in ("utf-8", "cp932"))
    assert ("1\\u219216" in lines[1]) == (encoding in ("ascii", "cp1252"))


def test_the_list_starts_no_gpu(monkeypatch, capsys):
    def started(*arguments):
        raise AssertionError("a device was asked for")

    monkeypatch.setattr(torch.cuda, "is_available", started)
    monkeypatch.setattr(devices, "choose_device", started)
    assert train.main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(ROSTER) + len(FAMILIES)


def test_a_state_of_a_gpu_is_gone_on_with_and_a_sentence_says_that_draws_are_fresh(checkpoints_root, capsys):
    bundle = Bundle("digits", "fc-ae", checkpoints_root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.Fitting, "epochs", stopping(training.Fitting.epochs, after=1))
        assert run("fc-ae", "--only", "fit", "--epochs", "3") == 130
    with safetensors.safe_open(bundle.state_file, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    tensors |= {f"random.{name}": torch.zeros(16, dtype=torch.uint8) for name in ("batches", "device")}
    safetensors.torch.save_file(tensors, bundle.state_file, metadata)
    assert run("fc-ae", "--only", "fit", "--epochs", "3", "--resume") == 0
    captured = capsys.readouterr()
    assert "fc-ae: epoch 1 was computed on another kind of device than cpu" in captured.err
    assert "2 epochs, about" in captured.out
    assert len(bundle.history()["epoch"]) == 3


def stopping(epochs, after):
    """End a run by Ctrl-C in the epoch after those."""

    def stopped(fitting, progress):
        for epoch in epochs(fitting, progress):
            yield epoch
            if epoch.epoch == after:
                fitting.model.eval()
                next(fitting.steps())  # the weights move on
                raise KeyboardInterrupt

    return stopped


@pytest.mark.parametrize("every", [0.0, 30.0])
def test_the_last_whole_epoch_is_kept_when_a_run_is_interrupted(checkpoints_root, tmp_path, monkeypatch, every):
    whole, written = tmp_path / "whole", []
    assert run("fc-ae", "--only", "fit", "--epochs", "5", "--checkpoints", str(whole)) == 0
    monkeypatch.setattr(train, "STATE_EVERY", every)
    write_state = Bundle.write_state
    monkeypatch.setattr(Bundle, "write_state", lambda *values: written.append(values) or write_state(*values))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.Fitting, "epochs", stopping(training.Fitting.epochs, after=3))
        assert run("fc-ae", "--only", "fit", "--epochs", "5") == 130
    assert [len(values[-1]) for values in written] == ([1, 2, 3] if every == 0 else [1, 3])
    assert run("fc-ae", "--only", "fit", "--epochs", "5", "--resume") == 0
    assert history(checkpoints_root) == history(whole)


def test_the_device_limit_streams_the_images_and_the_weights_are_the_same(checkpoints_root, tmp_path, monkeypatch):
    rooms = []
    place = training.place
    monkeypatch.setattr(training, "place", lambda data, device, room: rooms.append(room) or place(data, device, room))
    for folder, limit in (("resident", ()), ("streamed", ("--device-limit", "0"))):
        arguments = ("fc-ae", "--only", "fit", "--epochs", "1", "--checkpoints", str(tmp_path / folder))
        assert run(*arguments, *limit) == 0
    resident, streamed = (Bundle("digits", "fc-ae", tmp_path / f).weights_digest() for f in ("resident", "streamed"))
    assert resident == streamed
    assert rooms == [None, None, 0, 0]


@pytest.mark.parametrize(
    ("rank", "asked", "given"),
    [("1", "cuda", "cuda:1"), ("1", "auto", "cuda:1"), ("1", "cuda:3", "cuda:3"), (None, "cuda", "cuda:0")],
)
def test_the_gpu_that_is_chosen_is_the_current_one_and_each_process_has_its_own(monkeypatch, rank, asked, given):
    current = []
    if rank:
        monkeypatch.setenv("LOCAL_RANK", rank)
    else:
        monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(torch, "zeros", lambda n, device: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    for name in ("benchmark", "allow_tf32"):
        monkeypatch.setattr(torch.backends.cudnn, name, getattr(torch.backends.cudnn, name))  # put back afterwards
    assert devices.choose_device(asked) == torch.device(given)
    assert current == [torch.device(given)]
    assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32) == (True, False)


@pytest.mark.parametrize(("capability", "precision"), [((7, 5), "float32"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")])
def test_gpus_without_bfloat16_compute_in_float32(monkeypatch, capability, precision):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert devices.default_precision(torch.device("cuda")) == precision
    assert devices.default_precision(torch.device("cpu")) == "float32"
