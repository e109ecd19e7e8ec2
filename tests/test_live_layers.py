"""Each layer that can be described, in a real browser: what it computes there is what torch computes."""

import pytest
import torch
import torch.nn as nn
from torch.nn import Sequential

from explorer.blocks import Residual
from explorer.graph import Concat, Log, Permute, Scale, Sum
from tests.test_layers import randomise_statistics
from tests.test_live import errors_in_the_browser

IMAGE = (6, 7, 5)
CONVOLUTIONS = [
    {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0)},
    {"kernel_size": 3, "dilation": (2, 1), "padding": (2, 1), "bias": False},
    {"kernel_size": 3, "stride": 2, "groups": 2},
    {"kernel_size": (2, 3), "stride": (1, 2), "dilation": (1, 2), "padding": 1, "groups": 3},
    {"kernel_size": 1, "groups": 6},
]
POOLS = [
    nn.MaxPool2d(2), nn.MaxPool2d((3, 2), (2, 1), 1, ceil_mode=True), nn.MaxPool2d(3, 1, 1, dilation=2),
    nn.AvgPool2d(2), nn.AvgPool2d((2, 4), 3, (1, 2), ceil_mode=True), nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), nn.AdaptiveAvgPool2d(1),
    nn.AdaptiveAvgPool2d((3, None)),
]  # fmt: skip
SIZES = [
    nn.Upsample(scale_factor=2), nn.Upsample((9, 13)), nn.Upsample(scale_factor=(1.5, 2.3), mode="bilinear"),
    nn.Upsample((4, 11), mode="bilinear", align_corners=True), nn.Upsample(9, mode="bilinear"),
    nn.Upsample(scale_factor=1.7, mode="bilinear", recompute_scale_factor=True),
    nn.Upsample((9, 4), mode="nearest-exact"), nn.UpsamplingBilinear2d(scale_factor=2),
    nn.ZeroPad2d((1, 2, 0, 3)), nn.ZeroPad2d((-1, 0, 2, -2)),
]  # fmt: skip
ACTIVATIONS = [
    nn.ReLU(), nn.LeakyReLU(0.2), nn.ELU(), nn.ELU(0.5), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Sigmoid(), nn.Tanh(),
    nn.Softplus(), nn.Softplus(3, 1.5), Sequential(nn.Sigmoid(), Log()), Sequential(nn.ReLU(), Log()),
]  # fmt: skip
NORMS = [
    nn.BatchNorm2d(6), nn.BatchNorm2d(6, affine=False), Scale(torch.randn(6), torch.randn(6)), nn.InstanceNorm2d(6),
    nn.InstanceNorm2d(6, affine=True), nn.InstanceNorm2d(6, affine=True, track_running_stats=True),
    nn.GroupNorm(2, 6), nn.GroupNorm(3, 6, affine=False), nn.LayerNorm((6, 7, 5)), nn.LayerNorm(5),
]  # fmt: skip


def images():
    """Stacks for images of 6 channels, most of them short."""
    for options in CONVOLUTIONS:
        yield [nn.Conv2d(6, 12, **options), nn.BatchNorm2d(12), nn.ReLU()]
        extra = tuple(s - 1 for s in nn.Conv2d(6, 6, **options).stride)
        yield [nn.ConvTranspose2d(6, 9 if options.get("groups") == 3 else 12, **options, output_padding=extra)]
        yield [nn.ConvTranspose2d(6, 6, **options), nn.BatchNorm2d(6)]
    yield [nn.Conv2d(6, 5, (2, 4), padding="same", dilation=(2, 2)), nn.Conv2d(5, 3, 2, padding="valid")]
    yield [nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(6, 5, 3, 2)]  # what Keras calls "same"
    for module in (*POOLS, *SIZES, *ACTIVATIONS, *NORMS):
        yield [module]
        yield [nn.Conv2d(6, 6, 3), nn.ReLU(), module] if not isinstance(module, nn.LayerNorm) else []
    yield [nn.Conv2d(6, 8, 1), nn.PixelShuffle(2), nn.Conv2d(2, 3, 1)]
    yield [nn.Conv2d(6, 5, 1), Permute((1, 2, 0)), nn.LayerNorm(5), Permute((2, 0, 1)), nn.Conv2d(5, 2, 1)]
    yield [Permute((1, 2, 0)), nn.Flatten(), nn.Linear(210, 24), nn.Unflatten(1, (2, 3, 4)), Permute((2, 0, 1)),
           nn.ConvTranspose2d(4, 3, 3, 2), nn.Sigmoid()]  # fmt: skip
    yield [nn.Flatten(2), nn.LayerNorm(35), nn.InstanceNorm1d(6, affine=True), nn.Unflatten(2, (7, 5)),
           nn.Conv2d(6, 2, 1)]  # fmt: skip
    yield [nn.Flatten(), nn.Linear(210, 12), nn.Unflatten(1, (6, 2, 1)), nn.BatchNorm2d(6)]
    yield from branches()


def branches():
    """Branches that would change what others read, whose ends lie differently, and in one another."""
    yield [Sum([Sequential(nn.Tanh()), Sequential(), Sequential(nn.Sigmoid(), nn.Conv2d(6, 6, 1))]), nn.ReLU()]
    yield [Sum([Sequential(nn.BatchNorm2d(6)), Sequential(nn.Conv2d(6, 6, 1)), Sequential(nn.GroupNorm(2, 6))])]
    yield [nn.Conv2d(6, 6, 1), Sum([Sequential(nn.InstanceNorm2d(6)), Sequential()]), nn.Tanh(), Sum([Sequential()])]
    yield [nn.Conv2d(6, 6, 1), Residual([nn.ReLU(), Residual([nn.ELU()]), nn.Conv2d(6, 6, 1)]), nn.ReLU()]
    joined = Concat([Sequential(nn.Tanh()), Sequential(), Sequential(nn.Conv2d(6, 3, 1), nn.ReLU())])
    yield [joined, nn.Conv2d(15, 2, 1)]
    yield [nn.Flatten(), Concat([Sequential(nn.Linear(210, 5)), Sequential(nn.Linear(210, 6), nn.Softplus())])]
    yield [nn.MaxPool2d(2), Concat([Sequential(), Sequential(Concat([Sequential(nn.ReLU()), Sequential()]))])]


def vectors():
    """Stacks for vectors of 10 features."""
    for module in (*ACTIVATIONS, nn.BatchNorm1d(10), Scale(torch.randn(10), torch.randn(1)), nn.LayerNorm(10)):
        yield [module]
        yield [nn.Linear(10, 10), module, nn.Dropout(), nn.Identity(), Sequential(nn.Linear(10, 3, bias=False))]
    yield [nn.Linear(10, 7), nn.ReLU(), nn.BatchNorm1d(7), nn.GroupNorm(7, 7)]
    yield [Sum([Sequential(nn.Sigmoid()), Sequential(nn.Linear(10, 10)), Sequential()])]


def networks():
    torch.manual_seed(0)
    for shape, stacks in ((IMAGE, images()), ((10,), vectors())):
        for modules in filter(None, stacks):
            network = Sequential(*modules).eval()
            randomise_statistics(network)
            yield network, shape


@pytest.mark.parametrize("kind", ["webassembly", "javascript"])
def test_each_layer_computes_in_the_browser_what_it_computes_in_torch(page, kind):
    parts = {f"{i}: {network}": (network, shape) for i, (network, shape) in enumerate(networks())}
    errors = errors_in_the_browser(page, parts, kind, n=3)
    assert len(parts) > 100
    assert {name: error for name, error in errors.items() if not error <= 1e-4} == {}
