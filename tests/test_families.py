"""Families: fitted member by member, stored whole, measured on what is stored."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

import train
from explorer import cards, dials, families, processes
from explorer.checkpoints import BundleError, root_folder, to_json
from explorer.datasets import DATASETS
from explorer.families import DIALS, FAMILIES, FamilyBundle, Part
from explorer.images import to_float
from explorer.models import Classifier, ConditionalConfig
from explorer.training import Fitting, Recipe
from explorer.ui import catalog
from tests.conftest import few_shapes, tiny

DIGITS = ("--dataset", "digits", "--device", "cpu", "--threads", "1")
NAMES = {family.dial: name for name, family in FAMILIES.items() if family.home == "fashion-mnist"}
SHAPES = "shapes-family"


def run(*arguments):
    return train.main([*arguments, *DIGITS])


def family(root, dial):
    if dial == SHAPES:
        return FamilyBundle("shapes", SHAPES, root)
    return FamilyBundle("digits", NAMES[dial], root)


@pytest.fixture
def own_families(families_root, checkpoints_root):
    return shutil.copytree(families_root, checkpoints_root)


def test_there_is_a_family_for_every_dial():
    assert tuple(NAMES) == DIALS


def test_a_folder_of_a_family_is_no_bundle_and_says_what_its_dial_turns(families_root):
    there = catalog.collection(families_root, "digits")
    assert not set(there.models) & set(FAMILIES)
    assert {dial: there.family(dial) for dial in DIALS} == NAMES
    assert [card.title for card in there.families.values()] == [FAMILIES[name].title for name in NAMES.values()]
    assert there.family("weight") is None


def test_a_data_set_may_have_families_alone(families_root):
    assert "shapes" in catalog.datasets(families_root)
    there = catalog.collection(families_root, "shapes")
    assert (there.models, there.family("beta")) == ({}, SHAPES)


@pytest.mark.parametrize("dial", [*DIALS, SHAPES])
def test_a_family_is_fitted_and_stored_in_half_precision(families_root, dial):
    bundle = family(families_root, dial)
    expected = tiny(FAMILIES[bundle.model])
    assert sorted(path.name for path in bundle.folder.iterdir()) == sorted(bundle.files)
    assert [fit.name for fit in bundle.config()["fits"]] == [fit.name for fit in expected.fits]
    assert list(bundle.load()) == [name for fit in expected.fits for name in fit.members]
    assert {t.dtype for t in bundle.tensors().values()} <= {torch.float16, torch.int64}
    for fit in expected.fits:
        losses = [row["validation_loss"] for row in bundle.history()[fit.name]]
        assert losses[-1] < losses[0]
    assert not bundle.folder.with_name(f".{bundle.model}.parts").exists()


@pytest.mark.parametrize("dial", [*DIALS, SHAPES])
def test_figures_and_codes_are_those_of_the_stored_weights(families_root, digits, dial, monkeypatch):
    few_shapes(monkeypatch)
    bundle = family(families_root, dial)
    judge = train.classifier_of(DATASETS["digits"], families_root)
    assert isinstance(judge, Classifier)
    config = bundle.config()
    splits = {"test": DATASETS["shapes"].load("test")} if dial == SHAPES else digits
    turned = config["family"]["dial"]
    figures, codes = dials.measure(turned, config["fits"], bundle.tensors(), bundle.load(), splits, judge)
    stored = bundle.figures()
    assert ("apart" in stored) == (dial == SHAPES)
    assert stored.pop("weights") == config["weights"]
    found, kept = numbers(json.loads(to_json(figures))), numbers(stored)
    assert list(found) == list(kept)
    # another process, or processor, may add otherwise
    assert list(found.values()) == pytest.approx(list(kept.values()), rel=1e-4)
    assert all(
        torch.allclose(codes[name].float(), x.float(), rtol=2e-3, atol=1e-3) for name, x in bundle.codes().items()
    )


def numbers(values, path=""):
    """List the numbers in nested figures by their places."""
    if isinstance(values, dict | list):
        items = values.items() if isinstance(values, dict) else enumerate(values)
        return {k: v for key, value in items for k, v in numbers(value, f"{path}/{key}").items()}
    return {path: values}


def test_members_differ_by_what_the_dial_turns_alone(families_root):
    for fit in family(families_root, "length").config()["fits"]:
        alike = {"code": fit.values["length"], "variational": fit.values["kind"] == "vae"}
        assert fit.config == dataclasses.replace(fit.config, **alike)
    configs = [fit.config for fit in family(families_root, "beta").config()["fits"]]
    assert {(c.code, c.beta) for c in configs} == {(d, b) for d in (2, 10) for b in (0.0, 4.0)}
    assert len({dataclasses.replace(c, code=2, beta=1.0) for c in configs}) == 1


def test_states_of_time_begin_with_random_weights_and_end_with_the_last(families_root):
    bundle = family(families_root, "epoch")
    models = bundle.load()
    assert list(models)[:3] == ["vae@0", "vae@1", "vae@2"]
    fit = bundle.config()["fits"][0]
    torch.manual_seed(0)
    first = fit.config.build().state_dict()
    assert all(torch.equal(v.half().float(), models["vae@0"].state_dict()[k]) for k, v in first.items())


class Stop(KeyboardInterrupt):
    pass


def test_a_run_that_was_stopped_goes_on_member_by_member(
    families_root, checkpoints_root, tiny_families, monkeypatch, capsys
):  # fmt: skip
    write = Part.write_state

    def write_and_stop(part, *values):
        write(part, *values)
        if part.fit == "ae-4":
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(Part, "write_state", write_and_stop)
        assert run("length-family", "--only", "fit") == 130
    parts = checkpoints_root / "digits" / ".length-family.parts"
    assert {path.name for path in parts.iterdir() if path.suffix != ".lock"} == {"ae-1.safetensors", ".ae-4.state"}
    assert not (checkpoints_root / "digits" / "length-family").exists()
    capsys.readouterr()
    assert run("length-family", "--only", "fit", "--resume") == 0
    assert "3 of 4 fittings" in capsys.readouterr().out
    resumed, whole = family(checkpoints_root, "length"), family(families_root, "length")
    assert all(torch.equal(resumed.tensors()[name], tensor) for name, tensor in whole.tensors().items())
    assert not parts.exists()


def test_states_that_are_kept_survive_an_interruption(families_root, checkpoints_root, tiny_families, monkeypatch):
    write = Part.write_state

    def write_and_stop(part, *values):
        write(part, *values)
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(Part, "write_state", write_and_stop)
        assert run("time-family", "--only", "fit") == 130
    assert run("time-family", "--only", "fit", "--resume") == 0
    resumed, whole = family(checkpoints_root, "epoch"), family(families_root, "epoch")
    assert all(torch.equal(resumed.tensors()[name], tensor) for name, tensor in whole.tensors().items())


def test_processes_share_the_members_of_a_family(families_root, checkpoints_root, tiny_families, monkeypatch):
    for rank in (1, 0):  # the first one puts together what all have made
        group = processes.Processes(rank, 2)
        monkeypatch.setattr(processes, "start", lambda device, group=group: group)
        monkeypatch.setattr(processes.Processes, "wait", lambda self: None)
        assert run("beta-family", "--only", "fit", "--shard-roster") == 0
        made = {path.stem for path in (checkpoints_root / "digits").glob(".beta-family.parts/*.safetensors")}
        assert made == ({"d2-beta4", "d10-beta4"} if rank else set())
    assert (family(checkpoints_root, "beta").weights_digest()) == family(families_root, "beta").weights_digest()


def test_what_is_fitted_already_is_not_fitted_again_and_what_was_fitted_otherwise_is_said(
    own_families, tiny_families, capsys
):  # fmt: skip
    before = family(own_families, "class").fingerprint
    assert run("class-vae", "--resume") == 0
    assert "class-vae: is fitted already" in capsys.readouterr().out
    assert family(own_families, "class").fingerprint == before
    assert run("class-vae", "--resume", "--seed", "1") == 1
    assert (
        "was made otherwise (seed is 0, not 1). Fit it anew with: python train.py class-vae" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("config.json", b"{", "is truncated or not JSON"),
        ("config.json", b'{"family": {}}', "does not belong here: it lacks or misnames"),
        ("members.safetensors", b"short", "is truncated or not safetensors"),
        ("history.json", b"{}", "does not hold 2 whole epochs of vae"),
        ("history.json", b'{"vae": 1000000}', "does not hold 2 whole epochs of vae"),
        ("figures.json", b"{}", "belongs to other weights"),
        ("codes.safetensors", None, "is missing"),
    ],
)
def test_a_damaged_file_is_named_with_the_command_that_mends_it(own_families, file, content, reason):
    bundle = family(own_families, "class")
    path = bundle.folder / file
    path.unlink() if content is None else path.write_bytes(content)
    stage = " --only metrics" if file in families.STAGES["metrics"] else ""
    with pytest.raises(BundleError, match="Make it anew with: python train") as caught:
        for read in (bundle.config, bundle.load, bundle.history, bundle.figures, bundle.codes):
            read()
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)
    assert str(caught.value).endswith(f"--dataset digits{stage}")
    assert cards.families(own_families, "digits").count("class-vae") == 1  # and a family it stays


def test_families_run_where_their_images_are_and_nowhere_else(capsys):
    assert families.choose(["class-vae", "ffnn"], None) == {"fashion-mnist": ["ffnn", "class-vae"]}
    assert families.choose(["class-vae"], "mnist") == {"mnist": ["class-vae"]}
    assert not set(FAMILIES) & {name for names in families.choose([], None).values() for name in names}
    with pytest.raises(SystemExit) as caught:
        train.main(["beta-family", "--dataset", "celeba"])
    assert caught.value.code == 2
    assert "beta-family cannot run on celeba: it is made for images of 1 x 28 x 28" in capsys.readouterr().err
    assert families.choose([], "shapes") == {"shapes": [SHAPES]}
    assert families.choose(["beta-family", SHAPES], None) == {"fashion-mnist": ["beta-family"], "shapes": [SHAPES]}


def test_a_conditional_model_is_told_the_class_twice(generator):
    config = ConditionalConfig(channels=(4, 4), strides=(2, 2), code=3, variational=True, n_classes=5)
    torch.manual_seed(0)
    model = config.build()
    x, labels = torch.rand(2, 1, 28, 28, generator=generator), torch.tensor([1, 4])
    told, other = model.given(labels), model.given(torch.tensor([1, 2]))
    assert told(x).shape == x.shape
    assert torch.equal(told(x)[0], other(x)[0])
    assert not torch.equal(told.encode(x).mu[1], other.encode(x).mu[1])
    z = torch.randn(2, 3, generator=generator)
    assert not torch.equal(told.decode(z)[1], other.decode(z)[1])
    decoder, shape = model.networks()["decode"]
    assert torch.equal(decoder(torch.cat([z, told.one_hot], dim=1)), told.decode(z))
    assert shape == (8,)


def test_a_conditional_model_learns_from_labels(digits):
    config = ConditionalConfig(channels=(4, 4), strides=(2, 2), code=2, variational=True)
    fitting = Fitting(config.build(), digits["train"], digits["validation"], Recipe(epochs=1, batch_size=64), 0)
    [epoch] = fitting.epochs()
    assert epoch.train["kl"] > 0
    assert fitting.model.encoder[0].weight.grad[:, 1:].abs().sum() > 0  # the planes of the class


def test_pca_is_that_of_scikit_learn_on_all_training_images(digits, families_root):
    stored = family(families_root, "length").tensors()
    x = np.concatenate([to_float(digits[name].images).flatten(1).numpy() for name in ("train", "validation")])
    test = to_float(digits["test"].images).flatten(1).numpy()
    basis, mean = stored["pca/basis"].float(), stored["pca/mean"].float()
    errors = dials.pca_errors(basis, mean, digits["test"].images)
    for n in (1, 4):
        fitted = PCA(n, svd_solver="full").fit(x)
        rebuilt = fitted.inverse_transform(fitted.transform(test)).clip(0, 1)
        assert errors[n - 1] == pytest.approx(np.square(rebuilt - test).mean(), abs=2e-5)


def test_pca_on_fashion_mnist_has_the_known_errors(data_dir):
    bundle = FamilyBundle("fashion-mnist", "length-family", root_folder())
    basis, mean = (bundle.tensors()[f"pca/{part}"].float() for part in ("basis", "mean"))
    test = DATASETS["fashion-mnist"].load("test", data_dir).images
    errors = dials.pca_errors(basis[:128], mean, test)
    assert [errors[n - 1] for n in (2, 64, 128)] == pytest.approx([0.0456, 0.00984, 0.00591], abs=1e-4)
    assert bundle.figures()["pca"]["mse"][:128] == pytest.approx(errors, abs=1e-6)


@pytest.mark.parametrize("name", FAMILIES)
def test_committed_families_are_those_of_the_table(name):
    bundle = FamilyBundle(FAMILIES[name].home, name, root_folder())
    config = bundle.config()
    assert [families.describe_fit(fit) for fit in config["fits"]] == [
        families.describe_fit(fit) for fit in FAMILIES[name].fits
    ]
    assert sum(path.stat().st_size for path in bundle.folder.iterdir()) <= 12e6
    assert bundle.is_measured()


def test_equal_length_is_interpolated_and_says_where_pca_has_no_answer():
    errors = [0.08, 0.04, 0.02, 0.01]
    assert dials.equal_length(errors, 0.02) == 3
    assert dials.equal_length(errors, 0.02 * 2**0.5) == pytest.approx(2.5)
    assert dials.equal_length(errors, 0.009) is None
    assert dials.equal_length(errors, 0.1) == 0


@pytest.mark.parametrize("bits", dials.BITS)
def test_a_quantised_number_is_at_most_half_a_cell_off_and_takes_so_many_values(bits, generator):
    codes = torch.rand(2000, 2, generator=generator) * torch.tensor([1.0, 8.0]) - 0.5
    ends = torch.tensor([[-0.5, -0.5], [0.5, 7.5]])
    found = dials.quantise(codes, ends, bits)
    assert ((found - codes).abs() <= (ends[1] - ends[0]) / 2**bits / 2 + 1e-6).all()
    assert len(found[:, 0].unique()) == 2**bits
    assert torch.equal(dials.quantise(torch.tensor([[-9.0, 99.0]]), ends, bits)[0, 0], found[:, 0].min())


def test_a_codec_pays_for_every_file_and_less_for_a_sheet(digits):
    x = to_float(digits["test"].images[:120]).numpy()
    curve = dials.codec_curve("jpeg", x)
    for way in ("alone", "sheet"):
        bits, errors = zip(*curve[way], strict=True)
        assert list(bits) == sorted(bits)
        assert errors[-1] < errors[0] < 1e-2
    assert all(alone[0] > sheet[0] + 8 * 100 for alone, sheet in zip(curve["alone"], curve["sheet"], strict=True))


def test_a_map_that_was_turned_and_mirrored_is_turned_back(generator):
    target = torch.randn(50, 2, generator=generator) * torch.tensor([3.0, 1.0])
    turned = 5 * target @ torch.tensor([[0.6, 0.8], [0.8, -0.6]])
    assert torch.allclose(dials._aligned(turned, target), target, atol=1e-5)
