"""A run can be watched, ended and gone on with from outside, and learns the same whether it is watched or not."""

import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

import train
from explorer import watching
from explorer.checkpoints import Bundle
from explorer.roster import ROSTER
from explorer.ui import learning
from explorer.watching import CELLS, PICTURE, RUN, STATUS, Painter, Status, Watch

ROOT = Path(train.__file__).parent
DIGITS = ("--dataset", "digits", "--device", "cpu", "--threads", "1")


def fitted(root, *models, epochs="2"):
    return train.main([*models, *DIGITS, "--only", "fit", "--epochs", epochs, "--checkpoints", str(root)])


def weights(root, model):
    return (root / "digits" / model / "model.safetensors").read_bytes()


def test_a_model_learns_the_same_whether_it_is_watched_or_not(tmp_path, monkeypatch):
    models = ("ffnn",)  # dropout and batch norm would be the first to feel it
    seen = []
    show = Watch.show
    monkeypatch.setattr(watching, "SHARE", 1e9)
    monkeypatch.setattr(Watch, "show", lambda self, picture: (seen.append(picture.epoch), show(self, picture)))
    assert fitted(tmp_path / "watched", *models) == 0
    assert {0.0, 2.0} <= set(seen)
    monkeypatch.setattr(Painter, "paint", lambda *args, **options: None)
    assert fitted(tmp_path / "unseen", *models) == 0
    for model in models:
        assert weights(tmp_path / "watched", model) == weights(tmp_path / "unseen", model)
    assert not (tmp_path / "watched" / "digits" / RUN).exists()


@pytest.mark.parametrize("name", ["fc-ae", "conv-vae", "conv-ae", "ffnn"])
def test_a_picture_is_read_as_it_was_painted_and_keeps_its_side(tmp_path, digits, name):
    torch.manual_seed(0)
    model, before = ROSTER[name].config.build(), None
    with Watch(tmp_path / "digits") as watch:
        painter = Painter(watch, model, digits["validation"])
        for epoch in (0.0, 0.5):
            painter.paint(epoch, [], last=True)
            assert model.training
            [run] = watching.runs(tmp_path)
            found = watching.picture(run)
            assert found.epoch == epoch
            assert found.images.shape == (8, 1, 28, 28)
            if name == "ffnn":
                assert found.rebuilt is found.sheet is None
                assert found.guesses.shape == found.sure.shape == (8,)
            else:
                assert found.rebuilt.shape == found.images.shape
                assert found.sheet.shape == (CELLS**2, 1, 28, 28)
            if before:
                assert torch.allclose(found.points, before.points, atol=1e-3)
            before = found


def test_codes_that_span_no_plane_are_not_laid_on_one(tmp_path, digits):
    model = ROSTER["fc-ae"].config.build()
    torch.nn.init.constant_(model.encoder[-1].weight, float("nan"))
    with Watch(tmp_path / "digits") as watch:
        painter = Painter(watch, model, digits["validation"])
        painter.paint(0.0, [])
        assert watching.picture(watching.runs(tmp_path)[0]).points is None


def ask_to_stop(root):
    for _ in range(600):
        for run in watching.runs(root):
            status = watching.status(run)
            if status and status.done:
                watching.stop(run)
                return
        time.sleep(0.05)


def test_a_run_ends_when_it_is_asked_to_and_goes_on_after(tmp_path, capsys, monkeypatch):
    asking = threading.Thread(target=ask_to_stop, args=(tmp_path,))
    asking.start()
    with monkeypatch.context() as patch:  # an epoch takes as long as one of a large model
        patch.setattr(Painter, "paint", lambda *args, **options: time.sleep(0.2))
        assert fitted(tmp_path, "fc-ae", epochs="25") == 143
    asking.join()
    [run] = watching.runs(tmp_path)
    status = watching.status(run)
    assert (status.doing, status.model, status.total) == ("stopped", "fc-ae", 25)
    rest = ("--only", "fit", "--epochs", "25", "--resume", "--checkpoints", str(tmp_path))
    assert train.main(["fc-ae", *DIGITS, *rest]) == 0
    assert "fc-ae: 25 epochs" not in capsys.readouterr().out.rpartition("on cpu")[2]
    assert len(Bundle("digits", "fc-ae", tmp_path).history()["epoch"]) == 25
    assert watching.runs(tmp_path) == []


def told(root, status, name="7"):
    run = root / "mine" / RUN / name
    run.mkdir(parents=True)
    (run / STATUS).write_text(status if isinstance(status, str) else json.dumps(status), encoding="utf-8")
    return run


@pytest.mark.parametrize(
    "status", ["", "[]", "[" * 100_000, '{"title": 3}', '{"title": "a", "done": "b"}', '{"title": "a", "models": [1]}']
)
def test_a_status_that_makes_no_sense_is_none(tmp_path, status):
    assert watching.status(told(tmp_path, status)) is None


def test_a_run_that_fell_silent_is_told_as_stopped_and_forgotten_by_the_next(tmp_path):
    run = told(tmp_path, {"title": "Mine", "doing": "fitting", "model": "ae"})
    assert watching.status(run) == Status("Mine", "fitting", "ae")
    long_ago = time.time() - 100
    os.utime(run / STATUS, (long_ago, long_ago))
    assert watching.status(run).doing == "stopped"
    with Watch(tmp_path / "mine"):
        assert not run.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"images": torch.zeros(8, 2, 4, 4, dtype=torch.uint8)},
        {"images": torch.zeros(8, 1, 4, 4)},
        {"images": torch.zeros(8, 1, 4, 4, dtype=torch.uint8), "points": torch.zeros(3, 2)},
        {"sheet": torch.zeros(3, 1, 4, 4, dtype=torch.uint8)},
        {"curve": torch.zeros(3)},
    ],
)
def test_a_picture_of_other_shapes_is_none(tmp_path, wrong):
    run = told(tmp_path, {"title": "Mine"})
    (run / PICTURE).write_bytes(watching.to_safetensors({"epoch": torch.tensor(0.0), **wrong}))
    assert watching.picture(run) is None
    (run / PICTURE).write_bytes(b"\xff" * 100)
    assert watching.picture(run) is None


def overview(monkeypatch, root, local):
    monkeypatch.setenv("EXPLORER_CHECKPOINTS", str(root))
    monkeypatch.setenv("EXPLORER_LOCAL", str(int(local)))
    app = AppTest.from_file(ROOT / "app.py", default_timeout=60).run()
    assert not app.exception
    return app


def text(app):
    return "\n".join(element.value for kind in ("markdown", "error", "caption") for element in app.get(kind))


@pytest.mark.parametrize("local", [False, True])
def test_the_overview_shows_every_run_and_begins_one_on_a_server_of_ones_own(tmp_path, monkeypatch, digits, local):
    asked = []
    monkeypatch.setattr(watching, "stop", asked.append)
    with Watch(tmp_path / "mine") as watch:
        watch.say(title="Mine *and* yours", doing="fitting", model="ae", done=3, total=9, left=100.0)
        Painter(watch, ROSTER["conv-vae"].config.build(), digits["validation"]).paint(2.5, [])
        watch._tell()
        app = overview(monkeypatch, tmp_path, local)
        assert r"**Mine \*and\* yours** · Fitting **ae**, epoch 3 of 9, about 2 min left" in text(app)
        assert "after 2.5 epochs" in text(app)
        assert {b.label for b in app.button} == ({"Stop", "Fit models to them"} if local else set())
        if local:
            app.button(key="stop-mine").click().run()
            assert asked == [watch.folder]
    if local:
        app.text_input(key="own-folder").set_value(str(tmp_path / "nowhere"))
        app.button(key="FormSubmitter:own-images-Fit models to them").click().run()
        assert "There is no folder" in app.error[0].value


def test_a_run_is_begun_and_its_failure_is_told_in_its_own_words(tmp_path, monkeypatch):
    root, pictures = tmp_path / "checkpoints", tmp_path / "few"
    pictures.mkdir()
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(pictures / "one.png")
    app = overview(monkeypatch, root, True)
    app.text_input(key="own-folder").set_value(str(pictures))
    app.button(key="FormSubmitter:own-images-Fit models to them").click().run()
    home = root.resolve() / "few"
    learning._started[home].process.wait()
    app.run()
    assert "holds 1 pictures, and at least 30 are needed" in text(app)
    assert app.button(key="on-few").label == "Go on"


def until(found):
    for _ in range(1200):
        if result := found():
            return result
        time.sleep(0.05)
    raise AssertionError("nothing came")


def test_a_run_is_begun_ended_and_gone_on_with_on_the_overview(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path / "cache"))
    root, pictures = tmp_path / "checkpoints", tmp_path / "noise"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for i in range(600):  # so many that it is not done before it is ended
        Image.fromarray(rng.integers(0, 256, (28, 28), np.uint8)).save(pictures / f"{i}.png")
    app = overview(monkeypatch, root, True)
    app.text_input(key="own-folder").set_value(str(pictures))
    app.button(key="FormSubmitter:own-images-Fit models to them").click().run()
    home = root.resolve() / "noise"

    def status():
        return next(filter(None, map(watching.status, watching.runs(root))), None)

    for button in ("stop-noise", "on-noise", "stop-noise"):
        if button == "stop-noise":
            until(lambda: status() and status().doing not in watching.ENDED)
            app.run()
        app.button(key=button).click().run()
        assert not app.exception
        if button == "stop-noise":
            assert learning._started[home].process.wait() == 143
            app.run()
            assert "Stopped. What is finished is kept" in text(app)
    assert learning.failure(home) == ""
