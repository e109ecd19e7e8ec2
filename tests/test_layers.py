import json
import struct

import numpy as np
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn import Sequential

from explorer.blocks import Residual
from explorer.graph import Concat
from explorer.layers import Unsupported, pack
from explorer.models import AutoencoderConfig

IMAGE = (2, 5, 5)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.GroupNorm, nn.LayerNorm)
FACES = AutoencoderConfig(
    image_shape=(3, 64, 64), channels=(32, 64, 128), strides=(2, 2, 2), code=128, variational=True,
    likelihood="gaussian",
)  # fmt: skip


def unpack(data):
    [length] = struct.unpack("<I", data[:4])
    header = json.loads(data[4 : 4 + length])
    stored = np.frombuffer(data, {"float32": "<f4", "float16": "<f2"}[header["dtype"]], offset=4 + length)
    numbers = torch.from_numpy(stored.astype(np.float32))
    runs = header.get("rest", [])
    weights, rest = numbers.split([len(numbers) - sum(n for _, n in runs), sum(n for _, n in runs)])
    for (start, n), part in zip(runs, rest.split([n for _, n in runs]), strict=True):
        weights[start : start + n] += part
    return header["model"], header["networks"], weights


def interpret(layers, weights, x):
    for layer in layers:
        if layer["op"] in ("dense", "conv"):
            n_in, n_out = (layer[k] if layer["op"] == "dense" else layer[k][0] for k in ("in", "out"))
            n_taps = 1 if layer["op"] == "dense" else layer["kernel"][0] * layer["kernel"][1]
            width = -(-n_out // 4) * 4
            taps = weights[layer["weight"] :][: n_taps * n_in * width].view(n_taps, n_in, width)
            bias = weights[layer["bias"] :][:width]
            assert not taps[..., n_out:].any() and not bias[n_out:].any()
            x = apply(layer, taps[..., :n_out], bias[:n_out], x)
            x = x.relu() if layer["relu"] else x
        elif layer["op"] == "sum":
            x = sum(interpret(branch, weights, x) for branch in layer["branches"])
            x = x.relu() if layer["relu"] else x
        elif layer["op"] == "to_channels_last":
            x = x.reshape(-1, *layer["shape"]).permute(0, 2, 3, 1)
        elif layer["op"] == "to_channels_first":
            x = x.permute(0, 3, 1, 2).flatten(1)
        elif layer["op"] == "normalise":
            x = F.layer_norm(x.unflatten(1, (-1, layer["size"])), (layer["size"],), eps=layer["eps"]).flatten(1)
        elif layer["op"] == "scale":
            scale, shift = (weights[layer[part] :][: layer["size"], None] for part in ("weight", "bias"))
            channels = x.flatten(1).unflatten(1, (-1, layer["size"], layer["repeat"]))
            x = (channels * scale + shift).view(x.shape)
        else:
            x = getattr(F, layer["op"])(x)
    return x


def apply(layer, taps, bias, x):
    if layer["op"] == "dense":
        return x.flatten(1) @ taps[0] + bias
    kernel = taps.unflatten(0, layer["kernel"])  # (kh, kw, in, out)
    x = x.permute(0, 3, 1, 2)
    if layer["transposed"]:
        size = [(o - 1) * s - 2 * p + k for o, s, p, k in zip(x.shape[2:], layer["stride"], layer["padding"],
                                                             layer["kernel"], strict=True)]  # fmt: skip
        extra = [wanted - got for wanted, got in zip(layer["out"][1:], size, strict=True)]
        y = F.conv_transpose2d(x, kernel.permute(2, 3, 0, 1), bias, layer["stride"], layer["padding"], extra)
    else:
        y = F.conv2d(x, kernel.permute(3, 2, 0, 1), bias, layer["stride"], layer["padding"])
    return y.permute(0, 2, 3, 1)


def randomise_statistics(model):
    for module in model.modules():
        if isinstance(module, NORMS):
            for name, tensor in module.state_dict().items():
                if tensor.is_floating_point():
                    nn.init.uniform_(tensor, *((0.5, 2) if name in ("weight", "running_var") else (-1, 1)))


def test_every_network_of_the_roster_is_described_exactly(model, generator):
    randomise_statistics(model)
    name, networks, weights = unpack(pack("a/b", model.networks()))
    assert name == "a/b"
    assert set(networks) == set(model.networks())
    for part, (network, shape) in model.networks().items():
        x = torch.randn(3, *shape, generator=generator)
        with torch.inference_mode():
            expected = network(x).flatten(1)
            torch.testing.assert_close(interpret(networks[part], weights, x), expected, rtol=1e-4, atol=1e-5)


def test_the_parts_of_a_model_do_what_the_model_does(autoencoder, x):
    parts = {name: network for name, (network, _) in autoencoder.networks().items()}
    with torch.inference_mode():
        code = parts["encode"](x).flatten(1)
        assert torch.equal(code[:, : autoencoder.code_length], autoencoder.embed(x))
        z = autoencoder.embed(x)
        assert torch.equal(parts["decode"](z.view(-1, *autoencoder.latent_shape)), autoencoder.decode(z))


def test_a_model_travels_in_under_three_megabytes_or_its_decoder_alone_in_little_more(model):
    networks = model.networks()
    decoder = {name: networks[name] for name in ("decode",) if name in networks}
    assert len(pack("a/b", networks)) < 3e6 or 0 < len(pack("a/b", decoder, half=True)) < 3.5e6


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Sigmoid(), nn.Tanh()])
def test_batch_norm_activations_and_odd_shapes_are_described(activation, generator):
    network = nn.Sequential(
        nn.Conv2d(3, 5, (3, 2), (2, 1), (1, 0)), nn.BatchNorm2d(5), activation, nn.Dropout(),
        nn.ConvTranspose2d(5, 2, 3, 2, 1, output_padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(60, 7, bias=False),
        nn.BatchNorm1d(7), nn.Unflatten(1, (7, 1, 1)),
    ).eval()  # fmt: skip
    randomise_statistics(network)
    shape = (3, 5, 6)
    with torch.inference_mode():
        n = network[:7](torch.zeros(1, *shape)).shape[1]
    network[7] = nn.Linear(n, 7, bias=False)
    _, networks, weights = unpack(pack("a/b", {"it": (network, shape)}))
    x = torch.randn(4, *shape, generator=generator)
    with torch.inference_mode():
        torch.testing.assert_close(interpret(networks["it"], weights, x), network(x).flatten(1), rtol=1e-4, atol=1e-5)


def residual_network():
    """Blocks as the face models have them, and one that begins with what works in place."""
    norm = nn.BatchNorm2d
    body = [nn.Conv2d(6, 6, 3, 1, 1), norm(6), nn.ReLU(), nn.Conv2d(6, 6, 3, 1, 1), norm(6)]
    inner = Residual([nn.Linear(24, 24), nn.Tanh(), Residual([nn.Linear(24, 24)])])
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), norm(6), nn.ReLU(), Residual(body), nn.ReLU(),
        Residual([nn.ReLU(), nn.Conv2d(6, 6, 1), nn.Sigmoid()]), nn.Tanh(), Residual([nn.Tanh()]),
        nn.ConvTranspose2d(6, 5, 3, 2, 1, output_padding=1), norm(5), nn.ReLU(),
        Residual([nn.ConvTranspose2d(5, 5, 3, 1, 1, bias=False), norm(5), nn.ReLU()]), nn.Conv2d(5, 6, 3, 4, 1),
        nn.Flatten(), inner, nn.ReLU(),
    ).eval()  # fmt: skip
    randomise_statistics(network)
    return network, (3, 8, 8)


def test_residual_blocks_and_batch_norm_in_them_are_described(generator):
    network, shape = residual_network()
    _, networks, weights = unpack(pack("a/b", {"it": (network, shape)}))
    assert [layer["relu"] for layer in networks["it"] if layer["op"] == "sum"] == [True, False, False, False, True]
    x = torch.randn(4, *shape, generator=generator)
    with torch.inference_mode():
        torch.testing.assert_close(interpret(networks["it"], weights, x), network(x), rtol=1e-4, atol=1e-5)


def test_packing_leaves_the_model_as_it_was(generator):
    network, shape = residual_network()
    x = torch.randn(2, *shape, generator=generator)
    with torch.inference_mode():
        before = network(x)
        pack("a/b", {"it": (network, shape)}, half=True)
        assert torch.equal(network(x), before)


def test_half_precision_halves_what_travels_and_keeps_three_digits(generator):
    parts = {"decode": FACES.build().eval().networks()["decode"]}
    whole, half = pack("a/b", parts), pack("a/b", parts, half=True)
    assert len(half) < 0.51 * len(whole)
    (_, _, exact), (_, layers, weights) = unpack(whole), unpack(half)
    torch.testing.assert_close(weights, exact, rtol=1e-3, atol=1e-7)
    network, shape = parts["decode"]
    x = torch.randn(3, *shape, generator=generator)
    with torch.inference_mode():
        got = interpret(layers["decode"], weights, x)
        torch.testing.assert_close(got, network(x).flatten(1), rtol=0, atol=2e-3)


def test_small_layers_in_half_precision_keep_six_digits_where_that_is_asked_for(generator):
    network = nn.Sequential(nn.Linear(50, 20), nn.Linear(20, 300))
    parts = {"it": (network, (50,))}
    rough, near, exact = (unpack(pack("a/b", parts, **how))[2] for how in
                          ({"half": True}, {"half": True, "exact_below": 2000}, {}))  # fmt: skip
    small = 50 * 20 + 20
    torch.testing.assert_close(near[:small], exact[:small], rtol=1e-6, atol=1e-7)
    assert torch.equal(near[small:-300], rough[small:-300])
    assert not torch.equal(rough[:small], near[:small])


class Backwards(nn.Sequential):
    """A layer of a kind that has a description, and of its own mind."""

    def forward(self, x):
        for module in reversed(self):
            x = module(x)
        return x


@pytest.mark.parametrize(
    ("module", "shape", "name"),
    [
        (nn.Linear(2, 3), (4, 2), "Linear"),
        (nn.Hardswish(), (2,), "Hardswish"),
        (Sequential(nn.Identity(), Backwards(nn.Tanh(), nn.Linear(2, 2))), (2,), "Backwards"),
        (nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), IMAGE, "reflect"),
        (nn.Conv2d(2, 2, 3), (5, 5), "Conv2d"),
        (nn.BatchNorm1d(2, track_running_stats=False), (2,), "BatchNorm1d"),
        (nn.BatchNorm2d(3), IMAGE, "BatchNorm2d"),
        (nn.InstanceNorm2d(5), (5, 5), "InstanceNorm2d"),
        (nn.Upsample(scale_factor=2, mode="bicubic"), IMAGE, "Upsample.*bicubic"),
        (nn.MaxPool2d(2, return_indices=True), IMAGE, "MaxPool2d"),
        (nn.AvgPool2d(2, divisor_override=3), IMAGE, "AvgPool2d.*divisor"),
        (nn.ZeroPad2d(1), (1, 5000, 1), "ZeroPad2d"),
        (nn.Flatten(0), IMAGE, "Flatten"),
        (Residual([nn.Conv2d(2, 1, 1)]), IMAGE, "Residual"),
        (Residual([nn.GRU(2, 2)]), (2,), "GRU"),
        (Concat([Sequential(), Sequential(nn.MaxPool2d(2))]), IMAGE, "Concat"),
    ],
)
def test_what_cannot_be_described_is_named(module, shape, name):
    with pytest.raises(Unsupported, match=name):
        pack("a/b", {"it": (Sequential(module).eval(), shape)})


@pytest.mark.parametrize(("weight", "half"), [(1e5, True), (torch.nan, False)])
def test_a_weight_that_cannot_be_stored_is_said(weight, half):
    network = nn.Sequential(nn.Linear(2, 2))
    nn.init.constant_(network[0].weight, weight)
    with pytest.raises(Unsupported, match="finite"):
        pack("a/b", {"it": (network, (2,))}, half)
