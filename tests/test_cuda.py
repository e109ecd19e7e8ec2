"""What only a GPU can show; `tests/test_training.py` holds the same steps to a graph's rules on the CPU."""

import dataclasses
import gc

import pytest
import torch

import train
from explorer import cuda, devices, training
from explorer.checkpoints import Bundle
from explorer.datasets import ImageSet
from explorer.roster import ROSTER
from explorer.training import Fitting

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU: its graphs, streams and memory")
STEPS = 40


@pytest.fixture(autouse=True)
def gpu():
    yield devices.choose_device("cuda:0")
    devices.choose_device("cuda:0")


def random_images(shape, n):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (n, *shape), generator=generator, dtype=torch.uint8)
    return ImageSet(images, torch.randint(10, (n,), generator=generator), tuple("0123456789"))


def fitting(entry, device, n_images, epochs=1, **options):
    torch.manual_seed(0)
    data = random_images(entry.config.image_shape, n_images)
    recipe = dataclasses.replace(entry.recipe, epochs=epochs, batch_size=16)
    model = entry.config.build().to(device, memory_format=torch.channels_last)
    return Fitting(model, data, data[torch.arange(32)], recipe, 0, **options)


def losses_and_weights(made):
    return [{**epoch.row(), "seconds": 0.0} for epoch in made.epochs()], made.model.state_dict()


def assert_the_same(made, expected):
    (losses, weights), (wanted_losses, wanted_weights) = map(losses_and_weights, (made, expected))
    for got, wanted in zip(losses, wanted_losses, strict=True):
        assert got == pytest.approx(wanted, rel=1e-3, abs=1e-4)
    for key, value in wanted_weights.items():
        torch.testing.assert_close(weights[key], value, rtol=1e-2, atol=1e-3)


def test_recorded_steps_are_those_as_written(entry, gpu):
    recorded, written = (fitting(entry, gpu, 16 * STEPS, graph=g, precision="float32") for g in (True, False))
    assert_the_same(recorded, written)
    assert (recorded.step.graph.calls, written.step.graph) == (STEPS, None)


@pytest.mark.parametrize("name", ["fc-ae", "conv-vae", "ffnn"])
def test_a_smaller_last_batch_runs_as_written_between_replays(name, gpu):
    options = {"n_images": 16 * 4 + 7, "epochs": 5, "precision": "float32"}
    recorded, written = (fitting(ROSTER[name], gpu, graph=g, **options) for g in (True, False))
    assert_the_same(recorded, written)
    assert recorded.step.graph.calls == 20


@pytest.mark.parametrize("graph", [True, False])
@pytest.mark.parametrize("name", ["conv-dae", "ffnn"])
def test_streamed_images_give_the_numbers_of_resident_ones(name, graph, gpu):
    options = {"n_images": 16 * STEPS, "graph": graph, "precision": "float32"}
    streamed, resident = (fitting(ROSTER[name], gpu, room=room, **options) for room in (0, None))
    assert (streamed.step.resident, resident.step.resident) == (False, True)
    assert_the_same(streamed, resident)


@pytest.mark.parametrize("chosen", [True, False])
def test_weights_change_on_the_last_device_also_where_another_is_the_current_one(chosen):
    name = f"cuda:{torch.cuda.device_count() - 1}"
    device = devices.choose_device(name) if chosen else torch.device(name)
    made = fitting(ROSTER["fc-ae"], device, 16 * STEPS)
    steps = made.steps()
    for _ in range(cuda.WARM_UP + 2):
        next(steps)
    before = [parameter.detach().clone() for parameter in made.model.parameters()]
    next(steps)  # a replay
    assert not any(torch.equal(a, b) for a, b in zip(before, made.model.parameters(), strict=True))


def test_a_model_leaves_its_memory_to_the_next(gpu):
    gc.collect()
    torch.cuda.empty_cache()
    before, peaks = torch.cuda.memory_allocated(gpu), []
    gc.disable()
    try:
        for _ in range(2):
            torch.cuda.reset_peak_memory_stats(gpu)
            made = fitting(ROSTER["face-vae"], gpu, 16 * 8)
            training.expected_seconds(made, n_steps=5)
            list(made.epochs())
            del made
            peaks.append(torch.cuda.max_memory_allocated(gpu))
            assert torch.cuda.memory_allocated(gpu) <= before + 2**20
    finally:
        gc.enable()
    assert peaks[1] <= 1.1 * peaks[0]


def test_a_state_goes_on_where_it_stopped_and_on_the_cpu_with_fresh_draws(gpu):
    options = {"n_images": 16 * 4, "epochs": 3, "precision": "float32"}
    whole, stopped, resumed = (fitting(ROSTER["conv-dae"], gpu, **options) for _ in range(3))
    next(stopped.epochs())
    assert resumed.restore(stopped.state()) == ""
    for got, wanted in zip(resumed.epochs(), list(whole.epochs())[1:], strict=True):
        assert got.train == pytest.approx(wanted.train, rel=0.01)
    moved = fitting(ROSTER["conv-dae"], torch.device("cpu"), **options)
    assert "fresh ones are drawn" in moved.restore(stopped.state())
    assert [epoch.epoch for epoch in moved.epochs()] == [2, 3]


def test_half_precision_is_within_a_percent_of_single(gpu):
    losses = {}
    for precision in ("bfloat16", "float32"):
        made = fitting(ROSTER["conv-ae"], gpu, 16 * STEPS, precision=precision)
        losses[precision] = losses_and_weights(made)[0][0]["train_loss"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.01)


@pytest.mark.parametrize("options", [(), ("--no-graph", "--precision", "float32")])
def test_the_command_line_fits_measures_and_says_what_it_computes_in(tmp_path, capsys, options):
    arguments = ("fc-ae", "conv-vae", "--dataset", "digits", "--device", "cuda:0", "--epochs", "2")
    stages = ("--only", "fit", "metrics", "--checkpoints", str(tmp_path))
    assert train.main([*arguments, *stages, *options]) == 0
    said = "float32" if options else devices.default_precision(torch.device("cuda:0"))
    assert f"on cuda:0 ({said}" in capsys.readouterr().out
    for name in ("fc-ae", "conv-vae"):
        assert Bundle("digits", name, tmp_path).metrics()["mse"] < 0.15
