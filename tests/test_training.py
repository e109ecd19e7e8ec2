import dataclasses
import gc
import json
import math
import weakref

import numpy as np
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from explorer import celeba, cuda, training
from explorer.datasets import DATASETS
from explorer.images import to_float
from explorer.models import AutoencoderConfig
from explorer.noise import NOISES
from explorer.roster import ROSTER
from explorer.training import Diverged, Epoch, Fitting, Recipe, State, TooFew, augment, fit

PARTS = {
    "fc-ae": ["loss"],
    "conv-ae": ["loss"],
    "conv-ae-128": ["loss"],
    "conv-dae": ["loss"],
    "conv-vae": ["loss", "reconstruction", "kl"],
    "ffnn": ["loss", "accuracy"],
}


@pytest.fixture
def few(digits):
    return digits["train"][torch.arange(300)], digits["validation"]


def make(entry):
    torch.manual_seed(0)
    return entry.config.build()


def test_fitting_lowers_the_loss_and_keeps_the_best_epoch(digits_entry, few):
    train, validation = few
    model = make(digits_entry)
    recipe = dataclasses.replace(digits_entry.recipe, epochs=3, batch_size=32)
    before = training.evaluate(model, validation, recipe, seed=0)["loss"]
    epochs = list(fit(model, train, validation, recipe, seed=0))
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3]
    assert epochs[-1].train["loss"] < epochs[0].train["loss"]
    best = min(epoch.validation["loss"] for epoch in epochs)
    assert best < 0.95 * before
    assert training.evaluate(model, validation, recipe, seed=0)["loss"] == best
    assert not model.training


def test_the_same_seed_gives_the_same_weights(digits_entry, few):
    train, validation = few[0][torch.arange(96)], few[1]
    recipe = dataclasses.replace(digits_entry.recipe, epochs=1, batch_size=32)

    def weights(seed):
        torch.manual_seed(7)
        model = digits_entry.config.build()
        list(fit(model, train, validation, recipe, seed))
        return model.state_dict()

    first, second, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


@pytest.fixture
def dense():
    torch.manual_seed(0)
    return ROSTER["fc-ae"].config.build()


def test_an_epoch_is_yielded_as_soon_as_it_is_over(dense, few):
    epochs = fit(dense, *few, Recipe(epochs=1000), seed=0)
    first = next(epochs)
    assert (first.epoch, first.n_images) == (1, 300)
    assert first.seconds > 0
    epochs.close()


def test_the_weights_of_the_best_epoch_come_back_even_when_it_was_not_the_last(dense, few, monkeypatch):
    losses = iter([0.5, 0.2, math.nan, 0.3])
    monkeypatch.setattr(training, "evaluate", lambda *args: {"loss": next(losses)})
    states = []
    for _ in fit(dense, *few, Recipe(epochs=4), seed=0):
        states.append({key: value.clone() for key, value in dense.state_dict().items()})
    assert all(torch.equal(value, states[1][key]) for key, value in dense.state_dict().items())
    assert not torch.equal(states[3]["encoder.1.weight"], states[1]["encoder.1.weight"])


def test_the_training_loss_is_averaged_over_images_and_not_over_batches(dense, few):
    recipe = Recipe(epochs=1, batch_size=299, learning_rate=0.0, schedule="constant")
    [epoch] = fit(dense, *few, recipe, seed=0)
    x = to_float(few[0].images)
    assert epoch.train["loss"] == pytest.approx(F.mse_loss(dense(x), x).item(), rel=1e-5)


def test_progress_counts_every_image_once(dense, few):
    reports = []
    list(fit(dense, *few, Recipe(epochs=2, batch_size=7), 0, lambda n_images, loss: reports.append((n_images, loss))))
    assert sum(n_images for n_images, _ in reports) == 2 * 300
    assert len(reports) == 2 * 3  # after 20, 40 and the last of 43 batches
    assert all(math.isfinite(loss) for _, loss in reports)


def test_one_cycle_ends_near_zero_and_constant_does_not_move(dense, few):
    rates = {
        schedule: [e.learning_rate for e in fit(dense, *few, Recipe(3, 32, 1e-3, schedule), seed=0)]
        for schedule in ("one-cycle", "constant")
    }
    assert rates["constant"] == [1e-3] * 3
    assert 0 <= rates["one-cycle"][-1] < 1e-5 < rates["one-cycle"][0] <= 1e-3


def test_a_denoiser_is_measured_on_noisy_input_against_clean_images_and_the_same_draws(dense, few):
    recipe = Recipe(noise="gaussian", noise_levels=(0.2, 0.6), flip=True, shift=3)
    measured = training.evaluate(dense, few[1], recipe, seed=5)
    generator = torch.Generator().manual_seed(5)
    x = to_float(few[1].images)
    level = 0.2 + 0.4 * torch.rand(len(x), generator=generator)
    expected = F.mse_loss(dense(NOISES["gaussian"].corrupt(x, level, generator)), x)
    assert measured == {"loss": pytest.approx(expected.item(), rel=1e-5)}
    assert training.evaluate(dense, few[1], recipe, seed=5) == measured


def poison(model):
    next(model.parameters()).data[0, 0] = math.nan


@pytest.mark.parametrize(
    ("spoil", "recipe"),
    [(poison, Recipe()), (lambda model: None, Recipe(learning_rate=math.inf, schedule="constant"))],
    ids=["poisoned weight", "infinite learning rate"],
)
def test_a_loss_that_is_no_number_raises_and_says_when(dense, few, spoil, recipe):
    spoil(dense)
    with pytest.raises(Diverged, match=r"became nan in epoch 1, step 3; a learning rate below"):
        list(fit(dense, *few, recipe, seed=0))


def test_a_validation_loss_that_is_never_finite_raises(dense, few, monkeypatch):
    monkeypatch.setattr(training, "evaluate", lambda *args: {"loss": math.nan})
    with pytest.raises(Diverged, match="never finite in 2 epochs"):
        list(fit(dense, *few, Recipe(epochs=2), seed=0))


def test_a_last_batch_of_one_image_is_no_mistake(few):
    list(fit(ROSTER["ffnn"].config.build(), *few, Recipe(epochs=1, batch_size=299), seed=0))


def test_no_augmentation_gives_the_images_themselves(x, generator):
    assert augment(x, flip=False, shift=0, generator=generator) is x


def test_flips_mirror_about_half_of_the_images_and_leave_the_others(generator):
    x = torch.rand(400, 1, 6, 5, generator=generator)
    flipped = augment(x, flip=True, shift=0, generator=generator)
    mirrored = (flipped == x.flip(-1)).flatten(1).all(1)
    assert torch.equal(flipped[~mirrored], x[~mirrored])
    assert 150 < mirrored.sum() < 250  # five standard deviations


@pytest.mark.parametrize("shift", [1, 2])
def test_shifts_move_each_image_as_a_whole_over_black(generator, shift):
    x = torch.rand(600, 3, 6, 5, generator=generator)
    moved = augment(x, flip=False, shift=shift, generator=generator)
    padded = F.pad(x, (shift,) * 4)
    side = 2 * shift + 1
    windows = [padded[:, :, i : i + 6, j : j + 5] for i in range(side) for j in range(side)]
    fits = torch.stack([(moved == window).flatten(1).all(1) for window in windows])
    assert (fits.sum(0) == 1).all()
    assert fits.any(1).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "start at 1"),
        ({"batch_size": 1}, "at 2"),
        ({"noise": "rain"}, "unknown noise 'rain'; known: gaussian"),
    ],
)
def test_an_impossible_recipe_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**values)


def test_a_row_of_the_history_names_every_part(digits_entry, few):
    train = few[0][torch.arange(16)]
    [epoch] = fit(make(digits_entry), train, train, dataclasses.replace(digits_entry.recipe, epochs=1), seed=0)
    measured = [f"{split}_{part}" for split in ("train", "validation") for part in PARTS[digits_entry.name]]
    assert list(epoch.row()) == ["epoch", *measured, "learning_rate", "seconds"]


def test_a_row_of_the_history_holds_the_values_of_its_epoch():
    epoch = Epoch(3, {"loss": 0.5}, {"loss": 0.7}, 1e-3, seconds=9.0, n_images=10, test={"psnr": 21.0})
    values = {"epoch": 3, "train_loss": 0.5, "validation_loss": 0.7, "test_psnr": 21.0}
    values |= {"learning_rate": 1e-3, "seconds": 9.0}
    assert epoch.row() == values


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", ["fc-ae", "conv-vae", "conv-dae", "ffnn"])
def test_a_fitting_that_was_stopped_goes_on_as_if_it_had_not_been(name, layout, few):
    entry = ROSTER[name]
    recipe = dataclasses.replace(entry.recipe, epochs=4, batch_size=32)
    fewer = [part[torch.arange(80)] for part in few]

    def fitting(seed):
        torch.manual_seed(seed)
        return Fitting(entry.config.build().to(memory_format=layout), *fewer, recipe, seed=0)

    whole = fitting(0)
    expected = list(whole.epochs())
    stopped = fitting(0)
    epochs = stopped.epochs()
    got = [next(epochs), next(epochs)]
    state = stopped.state()
    next(epochs)  # must not change the state that was taken
    resumed = fitting(1)
    stored = {key: value.contiguous() for key, value in state.tensors.items()}  # as a file holds them
    resumed.restore(State(stored, json.loads(json.dumps(state.values))))
    got += resumed.epochs()
    for a, b in zip(got, expected, strict=True):
        assert dataclasses.replace(a, seconds=0) == dataclasses.replace(b, seconds=0)
    for key, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[key], value)


def plain_loop(model, train, recipe, seed):
    """Fit with the simplest code that means the same: one loop, indexing, the default optimiser in float32."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    n_steps = recipe.epochs * math.ceil(len(train) / recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, n_steps)
    means = []
    for _ in range(recipe.epochs):
        total = 0.0
        for index in torch.randperm(len(train), generator=generator).split(recipe.batch_size):
            x, labels = train.images[index].float() / 255, train.labels[index]
            x = augment(x, recipe.flip, recipe.shift, generator)
            batch = (x, x, labels)
            if recipe.noise:
                low, high = recipe.noise_levels
                level = low + (high - low) * torch.rand(len(x), generator=generator)
                batch = (NOISES[recipe.noise].corrupt(x, level, generator), x, labels)
            loss = training.batch_loss(model, batch, recipe, generator)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(index)
        means.append(total / len(train))
    return means


def test_the_numbers_are_those_of_the_plain_loop(digits_entry, few):
    recipe = dataclasses.replace(digits_entry.recipe, epochs=2, batch_size=60)
    expected = plain_loop(make(digits_entry).train(), few[0], recipe, seed=0)
    model = make(digits_entry).to(memory_format=torch.channels_last)
    got = [epoch.train["loss"] for epoch in fit(model, *few, recipe, seed=0)]
    assert got == pytest.approx(expected, rel=1e-4)


def records(model, few, recipe, room=None):
    return [dataclasses.replace(e, seconds=0) for e in Fitting(model, *few, recipe, 0, room=room).epochs()]


def test_images_that_do_not_fit_the_device_are_streamed_and_the_numbers_are_the_same(
    digits_entry, few, tmp_path, monkeypatch
):
    recipe = dataclasses.replace(digits_entry.recipe, epochs=2, batch_size=64)
    path = tmp_path / "images.uint8"
    path.write_bytes(few[0].images.numpy().tobytes())
    mapped = np.memmap(path, np.uint8, "c", shape=tuple(few[0].images.shape))
    streamed = dataclasses.replace(few[0], images=torch.from_numpy(mapped))
    resident = records(make(digits_entry), few, recipe)
    monkeypatch.setattr(training, "on_device", lambda images, device: False)  # as if the device were another
    assert records(make(digits_entry), (streamed, few[1]), recipe, room=1000) == resident


@pytest.mark.parametrize(("room", "moved"), [(1000, False), (10**9, True), (None, True)])
def test_images_move_to_a_device_that_has_room_for_them(few, room, moved):
    placed = training.place(few[0], torch.device("meta"), room)
    assert (placed.images.device.type == "meta") == moved
    assert placed.labels.device.type == "meta"


class Tape(TorchDispatchMode):
    """A CUDA graph on the CPU: operations on tensors are written down with their memory, and no Python beside them.

    What Python computed in between, such as a learning rate, is in all replays as it was when it was recorded.
    """

    def __init__(self):
        super().__init__()
        self.calls, self.has_run = [], True

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func is not torch.ops.aten._local_scalar_dense.default, "a value is read from the device"
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def replay(self):
        calls = [] if self.has_run else self.calls  # unlike CUDA, it has run while it was recorded
        self.has_run = False
        for func, args, kwargs, result in calls:
            for there, new in zip(tree_leaves(result), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(there, torch.Tensor) and there.data_ptr() != new.data_ptr():
                    there.copy_(new)


@pytest.fixture
def recorded(monkeypatch):
    def record(run, generator):
        with Tape() as tape:
            result = run()
        return tape.replay, result

    def fitting(*arguments, **options):
        made = Fitting(*arguments, **options)
        made.step.graph = cuda.Graph()
        return made

    monkeypatch.setattr(cuda, "record", record)
    monkeypatch.setattr(cuda, "on_side_stream", lambda run: run())
    return fitting


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("name", ["fc-ae", "conv-vae", "conv-dae", "ffnn"])
def test_a_step_that_was_recorded_and_is_replayed_gives_the_same_numbers(name, streamed, few, recorded, monkeypatch):
    recipe = dataclasses.replace(ROSTER[name].recipe, epochs=2, batch_size=30, flip=True)
    part = few[0][torch.arange(160)], few[1]  # the last batch is smaller and is not replayed
    expected = list(fit(make(ROSTER[name]), *part, recipe, 0))
    if streamed:
        monkeypatch.setattr(training, "on_device", lambda images, device: False)
    fitting = recorded(make(ROSTER[name]), *part, recipe, 0)
    for got, wanted in zip(fitting.epochs(), expected, strict=True):
        assert got.train == pytest.approx(wanted.train, rel=1e-4, abs=5e-5)
        assert got.validation == pytest.approx(wanted.validation, rel=1e-4, abs=5e-5)
    assert fitting.step.graph.calls == 10


def test_a_recorded_fitting_is_freed_with_its_last_name_and_not_when_the_collector_runs(few, recorded):
    gc.collect()
    gc.disable()
    try:
        fitting = recorded(make(ROSTER["fc-ae"]), *few, Recipe(epochs=1, batch_size=50), 0)
        list(fitting.epochs())
        training.expected_seconds(fitting, n_steps=5)
        kept = [weakref.ref(part) for part in (fitting, fitting.step, fitting.step.graph, fitting.model)]
        del fitting
        assert [ref() for ref in kept] == [None] * 4
    finally:
        gc.enable()


def of_another_device(state):
    """What CUDA leaves where a CPU keeps 5,056 bytes: its generators' states have 16."""
    random = {f"random.{name}": torch.zeros(16, dtype=torch.uint8) for name in ("batches", "device")}
    return State(state.tensors | random, state.values)


def test_a_state_of_another_device_goes_on_with_fresh_draws_and_says_so(few):
    def fitting():
        return Fitting(make(ROSTER["conv-dae"]), *few, Recipe(epochs=3, noise="gaussian", noise_levels=(0, 0.5)), 0)

    stopped = fitting()
    next(stopped.epochs())
    assert fitting().restore(stopped.state()) == ""
    resumed, again = fitting(), fitting()
    said = resumed.restore(of_another_device(stopped.state()))
    assert "another kind of device than cpu" in said and "fresh ones are drawn" in said
    for key, value in stopped.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[key], value)
    assert [epoch.epoch for epoch in resumed.epochs()] == [2, 3]
    again.restore(of_another_device(stopped.state()))
    list(again.epochs())
    for key, value in again.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[key], value)


def test_draws_after_a_change_of_device_are_not_those_of_the_first_epoch(few):
    made = [Fitting(make(ROSTER["fc-ae"]), *few, Recipe(epochs=2), 0) for _ in range(2)]
    first = torch.randperm(300, generator=made[0].generator)
    next(made[1].epochs())
    made[0].restore(of_another_device(made[1].state()))
    assert not torch.equal(torch.randperm(300, generator=made[0].generator), first)


@pytest.mark.parametrize(("n_train", "n_validation", "enough"), [(1, 5, False), (5, 0, False), (2, 1, True)])
def test_a_fitting_needs_two_images_and_one_to_validate_on(few, n_train, n_validation, enough):
    def begin():
        parts = few[0][torch.arange(n_train)], few[1][torch.arange(n_validation)]
        return Fitting(make(ROSTER["ffnn"]), *parts, Recipe(epochs=1), 0)

    if enough:
        assert len(list(begin().epochs())) == 1
        return
    with pytest.raises(TooFew, match=f"at least 2 images; .* have {n_train} and {n_validation}"):
        begin()


def test_half_precision_is_for_products_and_not_for_pixels_codes_and_losses(autoencoder_entry):
    model = make(autoencoder_entry)
    x = torch.rand(4, *autoencoder_entry.config.image_shape, generator=torch.Generator().manual_seed(0))
    errors = {}
    for precision in ("bfloat16", "float32"):
        loss = training.Loss(model, Recipe(), torch.Generator().manual_seed(1), precision)
        errors[precision] = loss(x, x, torch.zeros(4))["loss"].detach()
        assert errors[precision].dtype == torch.float32
    assert errors["bfloat16"].item() == pytest.approx(errors["float32"].item(), rel=1e-2)
    assert not torch.equal(*errors.values())
    with torch.autocast("cpu", torch.bfloat16):
        code = model.encode(x).mu
        x_hat = model.decode(code)
    assert (code.dtype, x_hat.dtype) == (torch.float32, torch.float32)
    assert not torch.equal(x_hat, x_hat.bfloat16().float())  # a sigmoid in bfloat16 would be on its grid


def test_the_recorded_update_is_that_of_the_library():
    weights = [[nn.Parameter(torch.linspace(-1, 1, n)) for n in (40, 7)] for _ in range(2)]
    library, recorded = (torch.optim.AdamW(w, weight_decay=0.05, fused=True) for w in weights)
    for i in range(40):
        for optimizer in (library, recorded):
            for w in optimizer.param_groups[0]["params"]:
                w.grad = torch.randn(len(w), generator=torch.Generator().manual_seed(i))
            optimizer.param_groups[0] |= {"lr": 1e-2 / (i + 1), "betas": (0.85 + 0.002 * i, 0.999)}
        library.step()
        if i < 3:
            recorded.step()  # makes the state
        else:
            group = recorded.param_groups[0]
            cuda.adamw_(recorded, torch.tensor(group["lr"]), torch.tensor(group["betas"][0]))
    for a, b in zip(*weights, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
        for key, value in library.state[a].items():
            torch.testing.assert_close(value, recorded.state[b][key], rtol=1e-5, atol=1e-8)


def test_a_batch_larger_than_the_set_is_the_set(dense, few):
    [epoch] = fit(dense, *few, Recipe(epochs=1, batch_size=10_000, learning_rate=0.0, schedule="constant"), seed=0)
    x = to_float(few[0].images)
    assert epoch.train["loss"] == pytest.approx(F.mse_loss(dense(x), x).item(), rel=1e-5)


def test_seconds_are_right_when_the_time_of_day_jumps(dense, few, monkeypatch):
    day = iter(range(10**9, 0, -3600))
    monkeypatch.setattr(training.time, "time", lambda: next(day))
    epochs = list(fit(dense, *few, Recipe(epochs=3), seed=0))
    assert all(0 < epoch.seconds < 60 for epoch in epochs)


@pytest.mark.parametrize(("partition", "mapped"), [([0, 0, 0, 1, 2], True), ([0, 1, 0, 0, 2], False)])
def test_faces_that_are_neighbours_stay_in_the_mapped_file(tmp_path, monkeypatch, partition, mapped):
    path = tmp_path / "faces.uint8"
    path.write_bytes(bytes(range(5 * 12)))
    images = np.memmap(path, np.uint8, "c", shape=(5, 3, 2, 2))
    attributes, numbers = np.zeros((5, 40), np.int8), np.zeros(5, np.int64)
    faces = celeba.Faces(images, tuple("abcde"), np.array(partition), attributes, numbers, ())
    monkeypatch.setattr(celeba, "read", lambda data_dir, seed: faces)
    data = DATASETS["celeba"].load("train", tmp_path)
    assert np.array_equal(data.images.numpy(), images[np.array(partition) == 0])
    assert np.shares_memory(data.images.numpy(), images) == mapped


@pytest.mark.parametrize(("weighs", "own"), [("kl", 4.0), ("total correlation", 1.0)])
def test_the_weight_of_the_kl_comes_to_its_own_and_is_where_it_was_after_a_restart(few, weighs, own):
    recipe = Recipe(epochs=2, batch_size=100, kl_from=100.0)
    config = AutoencoderConfig(channels=(2,), strides=(4,), code=2, variational=True, beta=4.0, weighs=weighs)
    fitting = Fitting(config.build(), *few, recipe, 0)

    def weights():
        for _ in fitting.steps():
            yield float(fitting.step.kl_weight)
            fitting.schedule.step()

    done = [min(1, step / (0.7 * 6)) for step in range(6)]
    expected = [100 ** (1 - part) * own**part for part in done]
    assert list(weights()) == pytest.approx(expected[:3])
    state = fitting.state()
    fitting = Fitting(config.build(), *few, recipe, 0)
    fitting.restore(state)
    assert list(weights()) == pytest.approx(expected[3:])
