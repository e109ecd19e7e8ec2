import dataclasses
import json
import math

import pytest
import torch
import torch.nn as nn

from explorer import losses
from explorer.blocks import Dropout, Residual, conv_sizes
from explorer.checkpoints import parse
from explorer.models import AutoencoderConfig, ClassifierConfig, DeepConfig, Posterior, multiply_adds, n_parameters
from explorer.roster import ROSTER
from explorer.training import Recipe

CONV_ENCODER = "conv 1-16 /2, relu, conv 16-32 /2, relu, conv 32-64 /2"
CONV_DECODER = "up 64-32 x2, relu, up 32-16 x2, relu, up 16-1 x2"


def bottleneck(n, inner):
    return (
        f"x + (conv {n}-{inner} 1x1, norm {inner}, relu, conv {inner}-{inner} /1, norm {inner}, relu, "
        f"conv {inner}-{n} 1x1, norm {n})"
    )


def block(n):
    return f"x + (norm {n}, silu, conv {n}-{n} /1, norm {n}, silu, conv {n}-{n} /1)"


LAYERS = {
    "fc-ae": [
        "flatten, dense 784-256, relu, dense 256-64",
        "dense 64-256, relu, dense 256-784, unflatten 1x28x28",
    ],
    "conv-ae": [CONV_ENCODER, CONV_DECODER],
    "conv-ae-128": [f"{CONV_ENCODER}, relu, conv 64-32 /2", f"up 32-64 x2, relu, {CONV_DECODER}"],
    "conv-dae": [CONV_ENCODER, CONV_DECODER],
    "conv-vae": [
        "conv 1-32 /1, relu, conv 32-64 /2, relu, conv 64-64 /2, relu, flatten, dense 3136-4",
        "dense 2-3136, relu, unflatten 64x7x7, up 64-64 x2, relu, up 64-32 x2, relu, up 32-1 x1",
    ],
    "face-vae": [
        "conv 3-32 /2, relu, conv 32-64 /2, relu, conv 64-128 /2, relu, flatten, dense 8192-256",
        "dense 128-8192, relu, unflatten 128x8x8, up 128-64 x2, relu, up 64-32 x2, relu, up 32-3 x2",
    ],
    "face-resvae": [
        f"conv 3-32 /2, norm 32, relu, conv 32-56 /2, norm 56, relu, {bottleneck(56, 14)}, relu, "
        f"conv 56-120 /2, norm 120, relu, {bottleneck(120, 30)}, relu, flatten, dense 7680-256",
        f"dense 128-7680, relu, unflatten 120x8x8, {bottleneck(120, 30)}, relu, up 120-56 x2, norm 56, relu, "
        f"{bottleneck(56, 14)}, relu, up 56-32 x2, norm 32, relu, up 32-3 x2",
    ],
    "face-best": [
        f"conv 3-32 /2, norm 32, silu, conv 32-64 /2, {block(64)}, norm 64, silu, conv 64-128 /2, {block(128)}, "
        "norm 128, silu, flatten, dense 8192-256",
        f"dense 128-8192, unflatten 128x8x8, {block(128)}, norm 128, silu, up 128-96 x2, {block(96)}, "
        "norm 96, silu, up 96-48 x2, norm 48, silu, up 48-3 x2",
    ],
    "ffnn": [
        "flatten, dense 784-512, norm 512, relu, dropout 0.2, dense 512-256, norm 256, relu, dropout 0.2, "
        "dense 256-128, norm 128, relu, dropout 0.2",
        "dense 128-10",
    ],
}
# a dense layer has inputs x outputs weights, a 3x3 convolution nine times that, each output has a bias,
# and batch norm has a scale and an offset for each number
CONV_AE = (9 * 16 + 16) + (9 * 16 * 32 + 32) + (9 * 32 * 64 + 64) + (
    9 * 64 * 32 + 32) + (9 * 32 * 16 + 16) + (9 * 16 + 1)  # fmt: skip
BLOCK = {n: 2 * (9 * n * n + n) + 4 * n for n in (64, 96, 128)}
PARAMETERS = {
    "fc-ae": (784 * 256 + 256) + (256 * 64 + 64) + (64 * 256 + 256) + (256 * 784 + 784),
    "conv-ae": CONV_AE,
    "conv-ae-128": CONV_AE + (9 * 64 * 32 + 32) + (9 * 32 * 64 + 64),
    "conv-dae": CONV_AE,
    "conv-vae": (9 * 32 + 32) + (9 * 32 * 64 + 64) + (9 * 64 * 64 + 64) + (3136 * 4 + 4)
    + (2 * 3136 + 3136) + (9 * 64 * 64 + 64) + (9 * 64 * 32 + 32) + (9 * 32 + 1),
    "face-vae": (9 * 3 * 32 + 32) + (9 * 32 * 64 + 64) + (9 * 64 * 128 + 128) + (8192 * 256 + 256)
    + (128 * 8192 + 8192) + (9 * 128 * 64 + 64) + (9 * 64 * 32 + 32) + (9 * 32 * 3 + 3),
    "face-resvae": (9 * 3 * 32 + 3 * 32) + (9 * 32 * 56 + 3 * 56) + (9 * 56 * 120 + 3 * 120) + (7680 * 256 + 256)
    + (128 * 7680 + 7680) + (9 * 120 * 56 + 3 * 56) + (9 * 56 * 32 + 3 * 32) + (9 * 32 * 3 + 3)
    + 2 * (2 * 56 * 14 + 9 * 14 * 14 + 2 * (14 + 14 + 56)) + 2 * (2 * 120 * 30 + 9 * 30 * 30 + 2 * (30 + 30 + 120)),
    "face-best": (9 * 3 * 32 + 3 * 32) + (9 * 32 * 64 + 3 * 64) + (9 * 64 * 128 + 3 * 128) + (8192 * 256 + 256)
    + (128 * 8192 + 8192 + 2 * 128) + (9 * 128 * 96 + 3 * 96) + (9 * 96 * 48 + 3 * 48) + (9 * 48 * 3 + 3)
    + BLOCK[64] + 2 * BLOCK[128] + BLOCK[96],
    "ffnn": (784 * 512 + 512) + (512 * 256 + 256) + (256 * 128 + 128) + (128 * 10 + 10)
    + 2 * (512 + 256 + 128),
}  # fmt: skip
LATENT_SHAPES = {
    "fc-ae": (64,),
    "conv-ae": (64, 4, 4),
    "conv-ae-128": (32, 2, 2),
    "conv-dae": (64, 4, 4),
    "conv-vae": (2,),
    "face-vae": (128,),
    "face-resvae": (128,),
    "face-best": (128,),
}


def describe(layer):
    match layer:
        case nn.Linear():
            return f"dense {layer.in_features}-{layer.out_features}"
        case nn.Conv2d() | nn.ConvTranspose2d():
            if layer.kernel_size == (1, 1):
                return f"conv {layer.in_channels}-{layer.out_channels} 1x1"
            assert layer.kernel_size == (3, 3)
            word, sign = ("up", "x") if isinstance(layer, nn.ConvTranspose2d) else ("conv", "/")
            return f"{word} {layer.in_channels}-{layer.out_channels} {sign}{layer.stride[0]}"
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            return f"norm {layer.num_features}"
        case nn.GroupNorm():
            return f"norm {layer.num_groups}x{layer.num_channels // layer.num_groups}"
        case Residual():
            return f"x + ({', '.join(map(describe, layer.body))})"
        case nn.Dropout():
            return f"dropout {layer.p}"
        case nn.Unflatten():
            return "unflatten " + "x".join(map(str, layer.unflattened_size))
    return {nn.ReLU: "relu", nn.SiLU: "silu", nn.Flatten: "flatten"}[type(layer)]


def test_layers_are_those_of_the_reports(entry, model):
    halves = (model.encoder, model.decoder) if entry.is_autoencoder else (model.body, [model.head])
    assert [", ".join(map(describe, half)) for half in halves] == LAYERS[entry.name]


def test_parameters_are_as_many_as_the_layers_say(entry, model):
    assert n_parameters(model) == PARAMETERS[entry.name]


def test_only_models_with_batch_norm_have_numbers_that_are_not_trained(entry, model):
    assert (sum(b.numel() for b in model.buffers()) > 0) == (entry.name in ("ffnn", "face-resvae", "face-best"))


def test_the_two_face_models_have_the_same_budget():
    plain, residual = (ROSTER[name].config.build() for name in ("face-vae", "face-resvae"))
    assert n_parameters(residual) == pytest.approx(n_parameters(plain), rel=0.06)
    assert multiply_adds(residual) == pytest.approx(multiply_adds(plain), rel=0.05)
    assert residual.latent_shape == plain.latent_shape


def test_multiply_adds_are_those_of_the_layers():
    dense = 784 * 256 + 256 * 64 + 64 * 256 + 256 * 784
    assert multiply_adds(ROSTER["fc-ae"].config.build()) == dense
    one = 14 * 14 * 9 * 16 + 7 * 7 * 9 * 16 * 32 + 4 * 4 * 9 * 32 * 64
    back = 4 * 4 * 9 * 64 * 32 + 7 * 7 * 9 * 32 * 16 + 14 * 14 * 9 * 16
    assert multiply_adds(ROSTER["conv-ae"].config.build()) == one + back


DEEP = DeepConfig(
    (3, 32, 16), (8, 16), (2, 2), (0, 1), code=5, variational=True, decoder_channels=(24, 8), decoder_residual=(1, 0)
)


@pytest.mark.parametrize("upsampling", ["transposed", "nearest", "shuffle"])
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_a_deep_autoencoder_ends_where_it_began_with_any_norm_and_step_up(norm, upsampling, generator):
    model = dataclasses.replace(DEEP, norm=norm, upsampling=upsampling).build().eval()
    x = torch.rand(4, 3, 32, 16, generator=generator)
    posterior = model.encode(x)
    assert posterior.mu.shape == posterior.log_var.shape == (4, 5)
    assert model(x).shape == x.shape
    blocks = [m for m in model.modules() if isinstance(m, Residual)]
    assert len(blocks) == 2
    features = torch.rand(2, 16, 8, 4, generator=generator)
    bias = blocks[0].body[-1].bias.view(-1, 1, 1)
    torch.testing.assert_close(blocks[0](features), features + bias)  # as it begins


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image_shape": (3, 30, 16)}, "stays whole"),
        ({"strides": (2, 1)}, "stays whole"),
        ({"code": None, "variational": False}, "length of its code"),
        ({"decoder_channels": (24,)}, "2 halvings needs 2 numbers"),
        ({"residual": ()}, "2 halvings needs 2 numbers"),
        ({"norm": "layer"}, "norm 'layer' is none of group, batch"),
        ({"upsampling": "bilinear"}, "upsampling 'bilinear' is none of transposed, nearest, shuffle"),
        ({"channels": (8, 12)}, "multiples of 8"),
    ],
)
def test_a_deep_autoencoder_that_cannot_be_is_refused(changes, reason):
    with pytest.raises(ValueError, match=reason):
        dataclasses.replace(DEEP, **changes)


def test_convolutions_halve_28_to_14_to_7_to_4():
    assert conv_sizes(28, (2, 2, 2)) == [28, 14, 7, 4]


def test_latent_shapes_are_those_of_the_reports(autoencoder_entry, autoencoder):
    assert autoencoder.latent_shape == LATENT_SHAPES[autoencoder_entry.name]
    assert autoencoder.code_length == math.prod(autoencoder.latent_shape)


def test_encode_gives_a_point_or_a_normal_of_the_latent_shape(autoencoder, x):
    posterior = autoencoder.encode(x)
    assert posterior.mu.shape == (5, *autoencoder.latent_shape)
    if autoencoder.config.variational:
        assert posterior.log_var.shape == posterior.mu.shape
    else:
        assert posterior.log_var is None
        assert posterior.sample() is posterior.mu


def test_decode_gives_pixels_between_0_and_1(autoencoder, x, generator):
    x_hat = autoencoder.decode(30 * torch.randn(5, autoencoder.code_length, generator=generator))
    assert x_hat.shape == x.shape
    assert 0 <= x_hat.min() < x_hat.max() <= 1


def test_decode_accepts_flat_and_shaped_codes_alike(autoencoder, x):
    z = autoencoder.encode(x).mu
    assert torch.equal(autoencoder.decode(z), autoencoder.decode(z.flatten(1)))
    assert autoencoder.decode(z[0].flatten()).shape == (1, *x.shape[1:])


def test_decode_is_the_sigmoid_of_the_logits(autoencoder, x):
    z = autoencoder.embed(x)
    assert torch.equal(autoencoder.decode(z), torch.sigmoid(autoencoder.decode_logits(z)))


def test_forward_reconstructs_through_the_mean_code(autoencoder, x):
    assert torch.equal(autoencoder(x), autoencoder.decode(autoencoder.embed(x)))


def test_classifier_gives_one_logit_per_class_from_its_features(x):
    model = ROSTER["ffnn"].config.build().eval()
    assert model.features(x).shape == (5, 128)
    assert torch.equal(model(x), model.head(model.features(x)))
    assert model(x).shape == (5, 10)


def test_embed_is_flat_and_as_long_as_the_code(model, x):
    assert model.embed(x).shape == (5, model.code_length)


def test_embed_is_the_same_twice(model, x):
    assert torch.equal(model.embed(x), model.embed(x))


def test_embed_treats_each_image_on_its_own(model, x):
    torch.testing.assert_close(model.embed(x)[2:3], model.embed(x[2:3]))


def test_gradients_reach_every_parameter(entry, model, x, generator):
    for block in filter(lambda m: isinstance(m, Residual), model.modules()):
        nn.init.ones_(block.body[-1].weight)  # begins at zero, so that the block begins as the identity
    if entry.is_autoencoder:
        losses.autoencoder_loss(model, x, x, generator)["loss"].backward()
    else:
        losses.classifier_loss(model, x, torch.arange(5), 0.0)["loss"].backward()
    untouched = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert untouched == []


@pytest.mark.parametrize("image_shape", [(3, 64, 64), (1, 32, 20)])
def test_other_image_shapes_are_rebuilt(autoencoder_entry, image_shape, generator):
    if isinstance(autoencoder_entry.config, DeepConfig):
        image_shape = (image_shape[0], 48, 32)
    model = dataclasses.replace(autoencoder_entry.config, image_shape=image_shape).build()
    x = torch.rand(2, *image_shape, generator=generator)
    assert model(x).shape == x.shape
    assert model.embed(x).shape == (2, model.code_length)


def test_configs_survive_json(entry):
    for config in (entry.config, entry.recipe):
        text = json.dumps(dataclasses.asdict(config))
        assert parse(type(config), json.loads(text)) == config


@pytest.mark.parametrize("cls", [AutoencoderConfig, ClassifierConfig, Recipe])
def test_an_unknown_field_is_an_error(cls):
    with pytest.raises(ValueError, match=f"unknown fields latent_dim; {cls.__name__} has"):
        parse(cls, {"latent_dim": 3})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"channels": (16, 32), "strides": (2,), "code": 2}, "differ in length"),
        ({}, "needs the length of its code"),
        ({"channels": (16,), "strides": (2,), "variational": True}, "needs the length of its code"),
        ({"channels": (16,), "strides": (2,), "hidden": (9,)}, "needs the length of its code"),
        ({"code": 2, "likelihood": "laplace"}, "'laplace' is neither"),
    ],
)
def test_an_impossible_architecture_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        AutoencoderConfig(**values)


def test_samples_have_the_mean_and_spread_of_the_posterior(generator):
    mu, log_var = torch.tensor([[-1.5, 0.7]]), torch.tensor([[0.8, -2.0]])
    z = Posterior(mu.expand(100_000, 2), log_var.expand(100_000, 2)).sample(generator)
    sigma = (0.5 * log_var[0]).exp()
    torch.testing.assert_close(z.mean(0), mu[0], atol=0.015, rtol=0)  # three standard errors
    torch.testing.assert_close(z.std(0), sigma, rtol=0.01, atol=0)


def test_samples_pass_the_gradient_to_mean_and_log_variance(generator):
    mu = torch.randn(4, 3, generator=generator, requires_grad=True)
    log_var = torch.randn(4, 3, generator=generator, requires_grad=True)
    z = Posterior(mu, log_var).sample(generator)
    z.sum().backward()
    torch.testing.assert_close(mu.grad, torch.ones(4, 3))
    torch.testing.assert_close(log_var.grad, (z - mu).detach() / 2)


def test_samples_repeat_with_their_generator(generator):
    posterior = Posterior(torch.zeros(4, 3), torch.zeros(4, 3))
    first, second = posterior.sample(generator), posterior.sample(generator)
    assert torch.equal(posterior.sample(generator.manual_seed(0)), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 0.9])
def test_dropout_keeps_its_share_and_the_mean_and_passes_the_same_elements_back(p):
    torch.manual_seed(0)
    x = torch.ones(300, 1001, requires_grad=True)
    y = Dropout(p)(x)
    assert (y == 0).float().mean().item() == pytest.approx(p, abs=0.003)
    torch.testing.assert_close(y[y != 0], torch.full_like(y[y != 0], 1 / (1 - p)))
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_dropout_draws_neighbours_independently_and_repeats_with_its_seed():
    def kept():
        torch.manual_seed(3)
        return (Dropout(0.2)(torch.ones(100_000)) != 0).float()

    first = kept()
    assert torch.equal(first, kept())
    for distance in (1, 2, 3, 4):
        pairs = torch.stack([first[:-distance], first[distance:]])
        assert torch.corrcoef(pairs)[0, 1].abs() < 0.02  # six standard errors


@pytest.mark.parametrize(("p", "kept"), [(0.0, 1.0), (1.0, 0.0)])
def test_dropout_of_nothing_or_everything_and_in_use(p, kept):
    x = torch.rand(7, 5)
    assert torch.equal(Dropout(p)(x), kept * x)
    assert torch.equal(Dropout(p).eval()(x), x)
