import dataclasses
import json
import os
from pathlib import Path

import pytest
import torch

from explorer import checkpoints
from explorer.checkpoints import FITTED, STAGES, Bundle, BundleError, describe, fitted_files, root_folder
from explorer.datasets import DATASETS, ImageSet
from explorer.roster import ROSTER
from explorer.training import Epoch

READERS = {
    "config.json": Bundle.config,
    "model.safetensors": Bundle.load,
    "history.csv": Bundle.history,
    "metrics.json": Bundle.metrics,
    "codes.safetensors": Bundle.codes,
}
COMMANDS = {name: f"--dataset digits --only {stage}" for stage, names in STAGES.items() for name in names}
COMMANDS |= dict.fromkeys(FITTED, "--dataset digits")
SIZES = {"train": 1300, "validation": 137, "test": 360}
SPLITS = {
    name: ImageSet(torch.full((n, 1, 1, 1), n % 251, dtype=torch.uint8), torch.zeros(n), ("x",))
    for name, n in SIZES.items()
}
HISTORY = [
    Epoch(i, {"loss": 1 / i}, {"loss": 0.123456 / i}, learning_rate=1e-3, seconds=0.25, n_images=9) for i in (1, 2, 3)
]


def make_model(entry, seed=0):
    torch.manual_seed(seed)
    model = entry.config.build()
    for buffer in model.buffers():
        if buffer.is_floating_point():
            buffer.uniform_()
    return model.eval()


def make_bundle(root, entry, seed=0):
    bundle = Bundle("digits", entry.name, root)
    write_fit(bundle, make_model(entry, seed))
    bundle.write_metrics(dict.fromkeys(checkpoints.required_figures(entry.config), 0.1 + seed))
    bundle.write_codes({name: torch.rand(7, 3) for name in checkpoints.required_codes(entry.config)})
    return bundle


def write_fit(bundle, model):
    recipe = dataclasses.replace(ROSTER[bundle.model].recipe, epochs=len(HISTORY))
    bundle.write(
        "fit", fitted_files(model, describe(bundle, model.config, recipe, DATASETS["digits"], SPLITS, 5), HISTORY)
    )


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def edit_json(path, change):
    values = json.loads(path.read_text(encoding="utf-8"))
    change(values)
    path.write_text(json.dumps(values), encoding="utf-8")


@pytest.fixture
def every_bundle(digits_entry, tmp_path):
    return make_bundle(tmp_path, digits_entry)


@pytest.fixture
def bundle(tmp_path):
    return make_bundle(tmp_path, ROSTER["fc-ae"])


@pytest.fixture
def siblings(bundle):
    return [bundle.folder.with_name(f".fc-ae.{word}") for word in ("new", "old")]


def test_weights_come_back_equal_on_every_key(digits_entry, every_bundle):
    stored, loaded = make_model(digits_entry).state_dict(), every_bundle.load()
    assert loaded.state_dict().keys() == stored.keys()
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, stored[key]), key
        assert value.dtype == stored[key].dtype, key
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())


def test_a_config_comes_back_equal_on_every_key(digits_entry, every_bundle):
    config = every_bundle.config()
    assert sorted(config) == sorted(
        ["architecture", "data", "format", "kind", "made", "model", "recipe", "seed", "test_curve", "weights"]
    )
    assert config["architecture"] == digits_entry.config
    assert config["recipe"] == dataclasses.replace(digits_entry.recipe, epochs=3)
    assert config["kind"] == ("autoencoder" if digits_entry.is_autoencoder else "classifier")
    assert (config["format"], config["model"], config["seed"]) == (checkpoints.FORMAT, digits_entry.name, 5)
    assert config["data"] == {
        "dataset": "digits",
        "image_shape": [1, 28, 28],
        "range": [0.0, 1.0],
        "classes": list("0123456789"),
        "splits": SIZES,
        "digests": {name: data.digest for name, data in SPLITS.items()},
        "split_seed": 0,
    }
    assert set(config["made"]) == {"date", "device", "git_commit", "versions"}
    assert config["made"]["device"] == "cpu"


def test_a_history_comes_back_equal_on_every_key(bundle):
    rows = [epoch.row() for epoch in HISTORY]
    history = bundle.history()
    assert list(history) == list(rows[0])
    for name, column in history.items():
        assert column == pytest.approx([row[name] for row in rows], rel=1e-5)


def test_figures_come_back_equal_on_every_key(bundle):
    figures = dict.fromkeys(checkpoints.required_figures(ROSTER["fc-ae"].config), 1 / 3) | {
        "curve": [0.1, 1e-9],
        "π": "é",
    }
    bundle.write_metrics(figures)
    assert bundle.metrics() == figures | {"weights": bundle.weights_digest()}


def test_codes_come_back_equal_on_every_key(bundle, generator):
    codes = {
        name: torch.randn(5, 4, generator=generator).T  # not contiguous
        for name in checkpoints.required_codes(ROSTER["fc-ae"].config)
    }
    codes |= {"half": torch.rand(3).half(), "bytes": torch.arange(9, dtype=torch.uint8)}
    bundle.write_codes(codes)
    loaded = bundle.codes()
    assert loaded.keys() == codes.keys()
    for name, value in codes.items():
        assert torch.equal(loaded[name], value), name
        assert loaded[name].dtype == value.dtype, name


def test_a_bundle_holds_five_files_and_nothing_that_can_execute(every_bundle):
    files = contents(every_bundle.folder)
    assert set(files) == set(READERS)
    for name, content in files.items():
        if name.endswith(".safetensors"):
            length = int.from_bytes(content[:8], "little")
            json.loads(content[8 : 8 + length])
        else:
            content.decode()
    beside = {path.name for path in every_bundle.folder.parent.iterdir()} - {every_bundle.model}
    assert beside == {f".{every_bundle.model}.lock"}


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "truncated": halve,
    "garbage": lambda path: path.write_bytes(b"\xff\xfe\x00 no file of ours \x80" * 9),
    "of another kind": lambda path: path.write_text("[1, 2]\n", encoding="utf-8"),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_with_the_command_that_mends_it(bundle, name, damage):
    DAMAGES[damage](bundle.folder / name)
    with pytest.raises(BundleError) as error:
        READERS[name](bundle)
    assert str(bundle.folder / name) in str(error.value)
    assert str(error.value).endswith(f": python train.py fc-ae {COMMANDS[name]}")


@pytest.mark.parametrize("name", [name for name in READERS if name != "history.csv"])
@pytest.mark.parametrize("owner", ["conv-ae", "ffnn"])
def test_a_file_of_another_model_is_found_out(bundle, tmp_path, name, owner):
    other = make_bundle(tmp_path / "elsewhere", ROSTER[owner])
    (bundle.folder / name).write_bytes((other.folder / name).read_bytes())
    with pytest.raises(BundleError, match=name):
        READERS[name](bundle)


@pytest.mark.parametrize("name", ["model.safetensors", "metrics.json", "codes.safetensors"])
def test_a_file_of_older_weights_is_found_out(bundle, tmp_path, name):
    older = make_bundle(tmp_path / "elsewhere", ROSTER["fc-ae"], seed=1)
    (bundle.folder / name).write_bytes((older.folder / name).read_bytes())
    with pytest.raises(BundleError, match=f"{name} belongs to other weights"):
        READERS[name](bundle)


@pytest.mark.parametrize("lost", [3, len("3,0.333333,0.041152,0.001,0.25\n")], ids=["digits", "row"])
def test_a_history_without_its_end_is_found_out(bundle, lost):
    path = bundle.folder / "history.csv"
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(BundleError, match=r"history\.csv"):
        bundle.history()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: "", "it does not hold 3 whole epochs"),
        (lambda text: text.replace("train_loss", "loss"), "it lacks train_loss"),
        (lambda text: text.replace("0.25", "a quarter"), "not every row holds a number for each column"),
        (lambda text: text.replace(",0.25\n", "\n"), "not every row holds a number for each column"),
        (lambda text: text.replace("0.25\n", "0.25,7\n"), "not every row holds a number for each column"),
        (lambda text: text + "9" * 200_000 + "\n", "not every row holds a number for each column"),
    ],
)
def test_a_history_that_is_no_table_of_numbers_is_refused_in_words(bundle, change, reason):
    path = bundle.folder / "history.csv"
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(BundleError, match=rf"history\.csv is damaged: {reason}\. Make it anew"):
        bundle.history()


def test_weights_that_do_not_fit_the_architecture_are_refused(bundle):
    edit_json(bundle.folder / "config.json", lambda values: values["architecture"].update(code=32))
    with pytest.raises(BundleError, match=r"(?s)model\.safetensors does not fit config\.json: .*size mismatch"):
        bundle.load()


def test_weights_without_a_key_are_refused(bundle):
    model = make_model(ROSTER["fc-ae"])
    del model.decoder[0].bias
    write_fit(bundle, model)
    with pytest.raises(BundleError, match=r"(?s)does not fit config\.json: .*Missing key"):
        bundle.load()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c.update(model="conv-ae"), "model 'conv-ae'"),
        (lambda c: c["data"].update(dataset="mnist"), "on 'mnist'"),
        (lambda c: c.update(format=99), "format 99"),
        (lambda c: c.update(kind="diffusion"), "'diffusion'"),
        (lambda c: c.pop("recipe"), "'recipe'"),
        (lambda c: c["architecture"].update(latent_dim=3), "unknown fields latent_dim"),
        (lambda c: c["recipe"].update(momentum=3), "unknown fields momentum"),
        (lambda c: c["recipe"].update(epochs=0), "start at 1"),
        (lambda c: c["architecture"].update(code=None), "needs the length of its code"),
        (lambda c: c.update(architecture=[]), ""),
        (lambda c: c["data"].update(image_shape=[3, 64, 64]), r"shape \(3, 64, 64\)"),
    ],
)
def test_a_config_that_does_not_belong_here_is_refused(bundle, change, reason):
    edit_json(bundle.folder / "config.json", change)
    with pytest.raises(BundleError, match=f"config.json does not belong here: .*{reason}"):
        bundle.config()


@pytest.mark.parametrize("name", READERS)
def test_the_fingerprint_changes_with_every_file_and_not_by_itself(bundle, name):
    before = bundle.fingerprint
    assert bundle.fingerprint == before
    path = bundle.folder / name
    stat = path.stat()
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))
    touched = bundle.fingerprint
    assert touched != before
    path.unlink()
    assert bundle.fingerprint not in (before, touched)


def test_no_bundle_has_an_empty_fingerprint(tmp_path):
    assert Bundle("digits", "fc-ae", tmp_path).fingerprint == ()


@pytest.mark.parametrize("stage", ["metrics", "projections"])
def test_a_later_stage_keeps_the_files_of_the_others(bundle, stage):
    before = contents(bundle.folder)
    [name] = STAGES[stage]
    bundle.write(stage, {name: b"new"})
    assert contents(bundle.folder) == before | {name: b"new"}


def test_fitting_anew_drops_the_files_of_later_stages(bundle):
    write_fit(bundle, make_model(ROSTER["fc-ae"], seed=1))
    assert set(contents(bundle.folder)) == set(FITTED)
    for reader in (Bundle.metrics, Bundle.codes):
        with pytest.raises(BundleError, match="is missing"):
            reader(bundle)


@pytest.mark.parametrize("names", [FITTED[:2], (*FITTED, "extra.json"), ("metrics.json",)])
def test_a_stage_writes_exactly_its_files(bundle, names):
    before = contents(bundle.folder)
    with pytest.raises(ValueError, match="stage 'fit' writes"):
        bundle.write("fit", dict.fromkeys(names, b""))
    assert contents(bundle.folder) == before


@pytest.mark.parametrize("name", READERS)
def test_readers_find_the_folder_that_a_killed_write_moved_aside_and_leave_it_there(bundle, siblings, name):
    fingerprint = bundle.fingerprint
    bundle.folder.rename(siblings[1])
    READERS[name](bundle)
    assert bundle.fingerprint == fingerprint
    assert siblings[1].is_dir() and not bundle.folder.exists()


def test_the_next_write_brings_back_the_folder_that_a_killed_one_moved_aside(bundle, siblings):
    before = contents(bundle.folder)
    bundle.folder.rename(siblings[1])
    bundle.write("metrics", {"metrics.json": b"{}"})
    assert contents(bundle.folder) == before | {"metrics.json": b"{}"}
    assert not any(path.exists() for path in siblings)


def test_a_config_that_asks_for_more_than_there_is_memory_is_refused_without_asking(bundle):
    edit_json(bundle.folder / "config.json", lambda values: values["architecture"].update(hidden=[10**11]))
    with pytest.raises(BundleError, match=r"does not fit config\.json"):
        bundle.load()


def test_what_is_wrong_is_said_in_a_few_words_however_long_it_is(bundle):
    edit_json(bundle.folder / "config.json", lambda values: values.update(format="a" * 100_000))
    with pytest.raises(BundleError, match=r"config\.json does not belong here: it describes format aaa") as error:
        bundle.config()
    assert len(str(error.value)) < 1000


def test_json_that_is_nested_too_deep_is_refused(bundle):
    (bundle.folder / "metrics.json").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(BundleError, match=r"metrics\.json is truncated or not JSON"):
        bundle.metrics()


def test_codes_of_a_variational_model_need_their_log_variances(tmp_path):
    bundle = make_bundle(tmp_path, ROSTER["conv-vae"])
    bundle.write_codes({name: torch.rand(7, 3) for name in checkpoints.required_codes(ROSTER["fc-ae"].config)})
    with pytest.raises(BundleError, match="lacks log_var"):
        bundle.codes()


def test_test_images_that_are_others_than_at_fitting_are_not_measured_on(bundle):
    bundle.check_test_images(SPLITS["test"])
    with pytest.raises(BundleError, match="may have learned some of these"):
        bundle.check_test_images(SPLITS["validation"])
    edit_json(bundle.folder / "config.json", lambda values: values["data"].pop("digests"))
    bundle.check_test_images(SPLITS["validation"])


def test_a_description_that_lacks_a_field_says_nothing_of_it():
    there = {"seed": 1, "data": {"splits": {"train": 3}}}
    here = {"seed": 2, "test_curve": True, "data": {"splits": {"train": 3}, "digests": {"train": "ab"}}}
    assert checkpoints.differences(there, here) == ["seed is 1, not 2"]


@pytest.mark.parametrize("names", [(), ("a.jpg", "b.jpg", "c.jpg")])
def test_a_gallery_comes_back_equal_and_is_written_once(tmp_path, names):
    indices = torch.tensor([4, 9, 11])
    gallery = ImageSet(
        torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 2, 1]), ("x", "y", "z"), names=names
    )
    checkpoints.write_gallery(tmp_path, "digits", indices, gallery)
    path = tmp_path / "digits" / "gallery.json"
    os.utime(path, ns=(1, 1))
    checkpoints.write_gallery(tmp_path, "digits", indices, gallery)
    assert path.stat().st_mtime_ns == 1
    found = checkpoints.read_gallery(tmp_path, "digits")
    assert torch.equal(found.indices, indices)
    assert torch.equal(found.labels, gallery.labels)
    assert found.names == names
    checkpoints.write_gallery(tmp_path, "digits", indices + 1, gallery)
    assert torch.equal(checkpoints.read_gallery(tmp_path, "digits").indices, indices + 1)
    assert [p for p in path.parent.iterdir() if not p.name.endswith(".lock")] == [path]


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        '{"indices": [1, 2',
        "[1, 2]",
        "{}",
        '{"indices": [1, 2], "labels": [1]}',
        '{"indices": [], "labels": []}',
        '{"indices": [1, 2], "labels": [1, 1], "names": ["a.jpg"]}',
        '{"indices": ["a"], "labels": [1]}',
        '{"indices": [[1]], "labels": [[1]]}',
        '{"indices": [Infinity], "labels": [1]}',
        '{"indices": [0.5], "labels": [1]}',
        '{"indices": [-1], "labels": [1]}',
        '{"indices": [1000000000000], "labels": [1]}',
        f'{{"indices": [{"9" * 5000}], "labels": [1]}}',
        f'{{"indices": {"[" * 100_000}',
        '{"indices": [1], "labels": [1], "names": [7]}',
        '{"indices": [1], "labels": [1], "names": ["/etc/passwd"]}',
        '{"indices": [1], "labels": [1], "names": ["\\ud800.jpg"]}',
    ],
)
def test_a_damaged_gallery_is_named_with_the_command_that_mends_it(tmp_path, content):
    path = tmp_path / "digits" / "gallery.json"
    path.parent.mkdir()
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(BundleError, match=r"python train\.py --dataset digits --only projections") as error:
        checkpoints.read_gallery(tmp_path, "digits")
    assert str(path) in str(error.value)
    assert "Error" not in str(error.value)


def test_a_gallery_that_is_no_file_is_not_waited_for(tmp_path):
    (tmp_path / "digits").mkdir()
    os.mkfifo(tmp_path / "digits" / "gallery.json")
    with pytest.raises(BundleError, match=r"gallery\.json is missing"):
        checkpoints.read_gallery(tmp_path, "digits")


def test_the_folder_of_bundles_is_the_argument_then_the_variable_then_ours(checkpoints_root, monkeypatch):
    assert root_folder("elsewhere") == Path("elsewhere")
    assert root_folder() == checkpoints_root
    monkeypatch.delenv("EXPLORER_CHECKPOINTS")
    assert root_folder() == Path(checkpoints.__file__).parent.parent / "checkpoints"


def test_json_is_sorted_one_field_a_line():
    assert checkpoints.to_json({"b": 1, "a": "σ"}).decode() == '{\n  "a": "σ",\n  "b": 1\n}\n'


def test_a_test_curve_is_there_where_it_was_measured(bundle):
    assert bundle.test_curve() == {}
    path = bundle.folder / "history.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [f"{line},{value}" for line, value in zip(lines, ("test_psnr", 20.0, 21.0, 22.5), strict=True)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    curve, history = bundle.test_curve(), bundle.history()
    per_epoch = -(-SIZES["train"] // ROSTER["fc-ae"].recipe.batch_size)
    assert curve["steps"] == [per_epoch, 2 * per_epoch, 3 * per_epoch]
    assert curve["minutes"][-1] == pytest.approx(sum(history["seconds"]) / 60)
    assert curve["psnr"] == [20.0, 21.0, 22.5]
