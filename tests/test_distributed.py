"""Several processes on the CPU with gloo, started by torchrun or as it would start them."""

import contextlib
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

import train
from explorer import processes
from explorer.checkpoints import FITTED, Bundle
from explorer.datasets import DATASETS
from explorer.processes import Processes
from explorer.roster import ROSTER
from explorer.training import Fitting, Recipe, TooFew
from explorer.watching import RUN

ROOT = Path(train.__file__).parent
NAMES = ("fc-ae", "conv-dae", "ffnn")
SHORT = ("--epochs", "2", "--batch-size", "101")  # shares of 51 and 50 images
OPTIONS = ("--dataset", "digits", "--device", "cpu", "--threads", "1")


def torchrun(program, *arguments, count=2):
    launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}", "--standalone"]
    return subprocess.run(
        [*launcher, *program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300
    )  # fmt: skip


def side_by_side(program, *arguments):
    """Run two processes with what torchrun would tell them, without the time that it takes itself."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with contextlib.ExitStack() as open_files:
        outputs = [open_files.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8")) for _ in range(4)]
        running = [
            subprocess.Popen(
                [sys.executable, *program, *arguments], cwd=ROOT, stdout=outputs[rank], stderr=outputs[2 + rank],
                env={**os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in (0, 1)
        ]  # fmt: skip
        while all(process.poll() is None for process in running):
            time.sleep(0.05)
        for process in running:  # the other ends by itself, or waits for one that was killed
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20 if all(p.returncode in (None, 0, 1) for p in running) else 0.1)
            process.kill()
            process.wait()
        for file in outputs:
            file.seek(0)
        texts = [file.read() for file in outputs]
    code = max((abs(process.returncode) for process in running), default=0)
    return subprocess.CompletedProcess(program, code, texts[0] + texts[1], texts[2] + texts[3])


def fit_alone(root, *arguments):
    assert train.main([*arguments, "--only", "fit", "--checkpoints", str(root), *OPTIONS]) == 0


def losses_of(root, name):
    history = Bundle("digits", name, root).history()
    return history["train_loss"] + history["validation_loss"]


@pytest.fixture(scope="module")
def roots(several, tmp_path_factory):
    alone = tmp_path_factory.mktemp("alone")
    fit_alone(alone, *NAMES, *SHORT)
    return several[0] / "together", alone


# where only the order of images is drawn, the order of additions alone differs; noise is each process's own
@pytest.mark.parametrize(("name", "tolerance"), [("fc-ae", 1e-4), ("conv-dae", 0.05)])
def test_two_processes_give_the_losses_of_one(roots, name, tolerance):
    assert losses_of(roots[0], name) == pytest.approx(losses_of(roots[1], name), rel=tolerance)


def test_a_classifier_learns_in_two_processes_though_each_has_its_own_batch_statistics(roots):
    accuracy = Bundle("digits", "ffnn", roots[0]).history()["validation_accuracy"]
    assert accuracy[-1] > 0.6


def test_the_first_process_alone_prints_and_writes(several, roots):
    together, _ = roots
    printed, _, _ = several[1].stdout.partition("together: code 0")
    assert printed.count("fc-ae: 2 epochs") == 1
    assert "cpu (1 threads, 2 processes)" in printed
    files = {path.name for path in (together / "digits" / "fc-ae").iterdir()}
    assert files == set(FITTED)
    hidden = [path for path in (together / "digits").iterdir() if path.name.startswith(".")]
    assert {path.suffix for path in hidden} == {".lock"}


STOPPING = """
import os, signal, sys
from explorer.checkpoints import Bundle
import train

write_state = Bundle.write_state

def write_and_die(bundle, *values):
    write_state(bundle, *values)
    os.kill(os.getpid(), signal.SIGKILL)

Bundle.write_state = write_and_die
sys.exit(train.main())
"""

# runs one after another in processes that are started once and stay one group
SEVERAL = """
import dataclasses, functools, json, sys
from explorer import processes
from explorer.roster import ROSTER
import train

processes.start, processes.stop = functools.cache(processes.start), lambda: None
for name, arguments in json.loads(sys.argv[1]).items():
    if name == "diverging":
        recipe = dataclasses.replace(ROSTER["conv-ae"].recipe, learning_rate=1e30)
        ROSTER["conv-ae"] = dataclasses.replace(ROSTER["conv-ae"], recipe=recipe)
    code = train.main(arguments)
    sys.stdout = sys.__stdout__  # the first process alone has kept it
    print(f"{name}: code {code}", flush=True)
sys.exit(code)
"""


def run_program(folder, text, *arguments, start=side_by_side):
    program = folder / "program.py"
    program.write_text(f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{text}", encoding="utf-8")
    return start([str(program)], *arguments)


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """A run that was stopped after its first epoch, and four: all models, go on, shard, and shard one that diverges."""
    folder = tmp_path_factory.mktemp("several")
    together, stopped, sharded, diverging = (
        ["--checkpoints", str(folder / n)] for n in ("together", "stopped", "sharded", "diverging")
    )
    fit = ["conv-dae", *SHORT, "--only", "fit", *stopped, *OPTIONS]
    assert run_program(folder, STOPPING, *fit).returncode != 0
    bundle = Bundle("digits", "conv-dae", folder / "stopped")
    assert bundle.state_file.exists() and not bundle.folder.exists()
    runs = {
        "together": [*NAMES, *SHORT, "--only", "fit", *together, *OPTIONS],
        "resumed": [*fit, "--resume"],
        "sharded": [*NAMES, *SHORT, "--only", "fit", *sharded, *OPTIONS, "--shard-roster"],
        "diverging": ["conv-ae", "fc-ae", "--epochs", "1", "--only", "fit", *diverging, *OPTIONS, "--shard-roster"],
    }
    return folder, run_program(folder, SEVERAL, json.dumps(runs))


def test_processes_that_were_stopped_go_on_as_if_they_had_not_been(several, roots):
    folder, ended = several
    assert ended.stdout.count("resumed: code 0") == 2, ended.stderr
    assert ended.stdout.count("together: code 0") == 2
    assert "conv-dae: 1 epochs" in ended.stdout
    assert losses_of(folder / "stopped", "conv-dae") == losses_of(roots[0], "conv-dae")


FAILING = """
import os
import torch
import train
from explorer.training import Step

call = Step.__call__
calls = 0

def starved(step, *values):
    global calls
    calls += 1
    if os.environ["RANK"] == "1" and calls > 25:
        raise torch.OutOfMemoryError("tried to allocate 3 GiB")
    return call(step, *values)

Step.__call__ = starved
sys.exit(train.main())
"""


@pytest.mark.wide
def test_a_process_that_fails_ends_the_run_and_says_so_and_leaves_no_half_written_bundle(tmp_path):
    arguments = ("fc-ae", "ffnn", "--epochs", "3", "--checkpoints", str(tmp_path / "root"), *OPTIONS)
    ended = run_program(tmp_path, FAILING, *arguments, start=torchrun)
    assert ended.returncode != 0
    assert "process 2 of 2: fc-ae: failed: cpu is out of memory; try --batch-size 64" in ended.stderr
    assert not any(line.startswith("ffnn:") for line in ended.stdout.splitlines())
    assert not (tmp_path / "root" / "digits" / "fc-ae").exists()
    assert [p for p in (tmp_path / "root" / "digits").iterdir() if p.suffix == ".new"] == []


def test_a_sharded_roster_is_fitted_whole_with_each_model_in_one_process(several, roots):
    folder, ended = several
    assert ended.stdout.count("sharded: code 0") == 2, ended.stderr
    for name in NAMES:
        assert losses_of(folder / "sharded", name) == losses_of(roots[1], name)
        assert ended.stdout.partition("together: code 0")[2].count(f"{name}: 2 epochs") == 1
    with (folder / "sharded" / "digits" / "gallery.json").open(encoding="utf-8") as file:
        assert "indices" in file.read()


def test_a_sharded_model_that_fails_does_not_stop_the_others(several):
    folder, ended = several
    assert ended.returncode != 0
    assert "diverging: code 1" in ended.stdout and "diverging: code 0" in ended.stdout
    assert "conv-ae: failed: the loss became nan" in ended.stderr
    there = {path.name for path in (folder / "diverging" / "digits").iterdir() if path.suffix != ".lock"}
    assert there == {"fc-ae", "dataset.json", "gallery.json", RUN}


def test_too_few_images_for_so_many_processes_are_refused_before_training():
    few = DATASETS["digits"].load("validation")[torch.arange(5)]
    with pytest.raises(TooFew, match=r"3 processes need batches and splits of at least 6 images; .* 5 and 5"):
        Fitting(ROSTER["fc-ae"].config.build(), few, few, Recipe(), 0, Processes(0, 3))


@pytest.mark.parametrize("n", [6, 7, 8])
def test_shares_part_a_batch_and_differ_by_one_image_at_most(n):
    shares = [Processes(rank, 3).share(torch.arange(n)) for rank in range(3)]
    assert sorted(torch.cat(shares).tolist()) == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_process_alone_needs_no_group(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert processes.start(torch.device("cpu")) == processes.ALONE
    assert processes.ALONE.sums({"loss": 0.25}) == {"loss": 0.25}
    processes.ALONE.wait()
    assert not dist.is_initialized()


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"WORLD_SIZE": "2"}, "RANK, MASTER_ADDR, MASTER_PORT missing"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two'"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0'"),
        ({"LOCAL_WORLD_SIZE": "0"}, "LOCAL_WORLD_SIZE is '0'"),
        ({"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "::1", "MASTER_PORT": "9"}, "RANK is 2 of WORLD_SIZE 2"),
        ({"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "::1", "MASTER_PORT": "x"}, "do not find each other at ::1:x"),
    ],
)
def test_variables_of_no_group_are_said_with_how_processes_are_started(monkeypatch, capsys, variables, words, tmp_path):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert train.main(["fc-ae", "--checkpoints", str(tmp_path), *OPTIONS[:-2]]) == 1
    err = capsys.readouterr().err
    assert words in err
    assert "torchrun --nproc-per-node=N train.py" in err


SETTLED = """
import resource, torch
from explorer import processes
processes.settle(1)
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(5_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(torch.get_num_threads(), (torch.tensor(1e-39) * 1.0).item(), faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="memory is kept where glibc hands it out")
def test_a_settled_process_keeps_its_memory_and_takes_the_smallest_numbers_for_zero():
    ended = subprocess.run([sys.executable, "-c", SETTLED], cwd=ROOT, capture_output=True, text=True, check=True)
    threads, smallest, faults = ended.stdout.split()
    assert (int(threads), float(smallest)) == (1, 0.0)
    assert int(faults) < 1000  # of 4,883 pages for each of ten arrays, were they given back
