import itertools
import threading
from contextlib import contextmanager

import pytest

import train
from explorer import checkpoints, stages
from explorer.checkpoints import Bundle
from explorer.roster import ROSTER
from tests.test_train_cli import contents, run

FIGURES = dict.fromkeys(checkpoints.required_figures(ROSTER["fc-ae"].config), 0.1)


@pytest.fixture
def fitted(checkpoints_root):
    assert run("fc-ae", "--only", "fit", "--epochs", "2") == 0
    return checkpoints_root


@contextmanager
def stopped(after):
    """Interrupt a run after so many states were kept, as Ctrl-C does."""
    write_state, calls = Bundle.write_state, itertools.count(1)

    def write_and_stop(bundle, *values):
        write_state(bundle, *values)
        if next(calls) == after:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bundle, "write_state", write_and_stop)
        yield


def test_a_run_that_goes_on_says_what_was_made_otherwise_and_does_no_stage_twice(fitted, capsys, monkeypatch):
    before = contents(fitted)
    goes_on = ("fc-ae", "--only", "fit", "metrics", "--resume", "--epochs")
    assert run(*goes_on, "4") == 1
    reason = "was made otherwise (recipe.epochs is 2, not 4). Fit it anew with: python train.py fc-ae --dataset digits"
    assert reason in capsys.readouterr().err
    measured = []
    monkeypatch.setattr(stages, "measure", lambda bundle, *_: measured.append(bundle.write_metrics(FIGURES)))
    for _ in range(2):
        assert run(*goes_on, "2") == 0
    assert len(measured) == 1
    assert run(*goes_on, "2", "--only", "metrics", "--force") == 0
    assert len(measured) == 2
    assert before.items() <= contents(fitted).items()


def test_what_was_made_otherwise_is_made_anew_by_force(fitted):
    assert run("fc-ae", "--only", "fit", "--resume", "--force", "--epochs", "1") == 0
    assert Bundle("digits", "fc-ae", fitted).config()["recipe"].epochs == 1


def test_a_second_run_waits_for_the_first_and_says_so(fitted, capsys, monkeypatch):
    monkeypatch.setattr(stages, "measure", lambda bundle, *_: bundle.write_metrics(FIGURES))
    bundle = Bundle("digits", "fc-ae", fitted)
    held, release = threading.Event(), threading.Event()

    def first():
        with bundle.lock():
            held.set()
            release.wait(30)

    said = train.say_busy

    def waiting(bundle):
        said(bundle)
        release.set()

    monkeypatch.setattr(train, "say_busy", waiting)
    thread = threading.Thread(target=first)
    thread.start()
    assert held.wait(30)
    assert run("fc-ae", "--only", "metrics") == 0
    thread.join()
    assert f"fc-ae: another run is at work on {bundle.folder}; waiting for it" in capsys.readouterr().err


def test_a_run_that_is_resumed_with_a_test_curve_and_was_begun_without_is_refused_at_once(checkpoints_root, capsys):
    bundle = Bundle("digits", "fc-ae", checkpoints_root)
    with stopped(after=1):
        run("fc-ae", "--only", "fit", "--epochs", "3")
    assert bundle.state_file.exists()
    assert run("fc-ae", "--only", "fit", "--epochs", "3", "--resume", "--test-curve") == 1
    assert "test_curve is False, not True" in capsys.readouterr().err
    assert run("fc-ae", "--only", "fit", "--epochs", "3", "--resume") == 0
