"""The training benchmark prints its figures, and the loops it compares do what they say."""

import contextlib
import io
import itertools
import json
from types import SimpleNamespace

import pytest
import torch
import torch.nn as nn

from benchmarks import training as benchmark
from explorer.datasets import DATASETS
from explorer.roster import ROSTER

CPU = torch.device("cpu")
FIGURES = {
    "model", "device", "images_per_second", "plain_images_per_second", "ratio", "ceiling_fraction",
    "seconds_to_reported",
}  # fmt: skip


@pytest.mark.wide
def test_a_model_has_one_json_line_with_every_figure():
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert benchmark.main(["fc-ae", "--dataset", "digits", "--device", "cpu", "--quick", "--json"]) == 0
    [line] = [json.loads(text) for text in out.getvalue().splitlines()]
    assert set(line) >= FIGURES
    assert line["ratio"] == pytest.approx(line["images_per_second"] / line["plain_images_per_second"], abs=0.01)
    assert line["plain_images_per_second"] == max(line["plain_by_workers"].values())
    assert line["seconds_to_reported"] is None  # the report's figure is on other images


def loops(name, digits):
    plain = benchmark.pictures(DATASETS["digits"], None)
    return {
        "ours": benchmark.our_loop(name, digits["train"], CPU),
        "ceiling": benchmark.ceiling_loop(name, digits["train"], CPU, update=True),
        "plain": benchmark.plain_loop(name, plain, CPU, workers=0),
    }


@pytest.mark.parametrize("name", ["fc-ae", "conv-vae", "ffnn"])
def test_every_loop_changes_the_weights_and_counts_its_images(name, digits, monkeypatch):
    built = []
    build = type(ROSTER[name].config).build
    monkeypatch.setattr(type(ROSTER[name].config), "build", lambda config: built.append(build(config)) or built[-1])
    for loop in loops(name, digits).values():
        steps = loop()
        assert next(steps) == ROSTER[name].recipe.batch_size
        before = [p.detach().clone() for p in built[-1].parameters()]
        assert next(steps) == ROSTER[name].recipe.batch_size
        assert not all(torch.equal(a, b) for a, b in zip(before, built[-1].parameters(), strict=True))
        steps.close()


def test_the_plain_loop_has_the_dropout_of_the_library():
    model = benchmark.as_written(ROSTER["ffnn"].config.build())
    assert [type(layer) for layer in model.body if isinstance(layer, nn.Dropout)] == [nn.Dropout] * 3


def test_loops_are_measured_in_turn_and_each_for_the_seconds_asked_for(monkeypatch):
    clock, seen = itertools.count(), []
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: next(clock) / 8)

    def loop(name, n):
        def steps():
            while True:
                seen.append(name)
                yield n

        return steps

    found = benchmark.rates({"a": loop("a", 1), "b": loop("b", 3)}, CPU, 0.5)
    assert found["b"] == pytest.approx(3 * found["a"])
    assert [name for name, _ in itertools.groupby(seen)] == ["a", "b"] * (1 + 2)


@pytest.mark.parametrize(("cores", "counts"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_counts_are_tried_in_powers_of_two_up_to_the_cores(cores, counts):
    assert benchmark.up_to(cores) == counts


def test_pictures_are_the_images_as_torchvision_would_give_them(digits):
    pictures = benchmark.pictures(DATASETS["digits"], None)
    x, label = pictures[7]
    assert torch.equal(x, digits["train"].images[7].float() / 255)
    assert (len(pictures), label) == (1300, digits["train"].labels[7].item())


@pytest.mark.parametrize(("goal", "reached"), [(0.9, True), (0.0, False)])
def test_the_time_to_a_figure_is_there_when_it_is_reached(digits, monkeypatch, goal, reached):
    entry = benchmark.dataclasses.replace(ROSTER["fc-ae"], reported={"mse": goal})
    monkeypatch.setitem(ROSTER, "fc-ae", entry)
    monkeypatch.setitem(benchmark.REACH, "fc-ae", 1)
    seconds = benchmark.seconds_to_reported("fc-ae", digits, CPU)
    assert (seconds is not None and seconds > 0) == reached


def test_formats_and_threads_are_compared_and_the_threads_put_back(digits):
    threads = torch.get_num_threads()
    made = benchmark.settings("fc-ae", digits["train"], SimpleNamespace(turns=1, seconds=0.01))
    assert len(made["images_per_second"]) == 2 * len({1, threads})
    assert made["best"] in made["images_per_second"]
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fc-xy"], "unknown model 'fc-xy'"),
        (["--device", "abacus"], "is not there"),
        (["--threads", "0"], "at least 1"),
    ],
)
def test_a_wrong_command_ends_with_code_2_and_says_why(capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        benchmark.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_missing_data_are_said_for_each_data_set(tmp_path, capsys):
    assert benchmark.main(["--device", "cpu", "--data-dir", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "FashionMNIST" in said and "celeba" in said
