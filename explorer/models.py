"""Autoencoder, variational autoencoder and classifier, each built from a frozen config.

    x -> encode -> Posterior(mu, log_var) -> sample -> z -> decode -> x_hat in [0, 1]

A plain autoencoder is the case `log_var is None`: its posterior is a point. Shapes use B images,
C channels, H x W pixels, D latent numbers, K classes.
"""

import itertools
import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

import torch
import torch.nn as nn
import torch.nn.functional as F

from explorer import blocks, graph

Likelihood = Literal["bernoulli", "gaussian"]
Weighed = Literal["kl", "total correlation"]


@dataclass(frozen=True)
class Posterior:
    """q(z|x): a diagonal normal, or the point `mu` where `log_var` is None; both `(B, *latent_shape)`."""

    mu: torch.Tensor
    log_var: torch.Tensor | None = None

    def sample(self, generator: torch.Generator | None = None) -> torch.Tensor:
        """Draw z = mu + sigma * eps, eps ~ N(0, 1) (Kingma & Welling 2014, section 2.4)."""
        if self.log_var is None:
            return self.mu
        eps = torch.randn(self.mu.shape, generator=generator, device=self.mu.device, dtype=self.mu.dtype)
        return self.mu + torch.exp(0.5 * self.log_var) * eps


@dataclass(frozen=True)
class AutoencoderConfig:
    """Architecture of an autoencoder: a convolutional stage, then a dense stage; either may be empty.

    channels, strides: output channels and stride of each 3x3 convolution.
    residual: number of residual blocks after each convolution, which then has batch norm; empty for none.
    hidden: widths of dense layers between the (flattened) features and the code.
    code: length of a dense code; None leaves the last feature map as the code.
    variational: the code is the mean of q(z|x), and a log-variance of the same length is computed.
    likelihood: p(x|z) of a variational model: "bernoulli" (BCE) or "gaussian" with fixed `sigma`.
    beta: weight of the KL term (Higgins et al. 2017); 1 is the ELBO.
    weighs: what beta is the weight of: the whole "kl", or the "total correlation" of the code alone, the part of the KL
    that says how far its numbers depend on one another (Chen et al. 2018).
    """

    image_shape: tuple[int, int, int] = (1, 28, 28)
    channels: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    residual: tuple[int, ...] = ()
    hidden: tuple[int, ...] = ()
    code: int | None = None
    variational: bool = False
    likelihood: Likelihood = "bernoulli"
    sigma: float = 0.1
    beta: float = 1.0
    weighs: Weighed = "kl"

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.strides):
            raise ValueError(f"channels {self.channels} and strides {self.strides} differ in length")
        if self.residual and len(self.residual) != len(self.channels):
            raise ValueError(f"residual {self.residual} and channels {self.channels} differ in length")
        if self.code is None and (self.hidden or self.variational or not self.channels):
            raise ValueError("a dense or variational autoencoder needs the length of its code")
        if self.likelihood not in ("bernoulli", "gaussian"):
            raise ValueError(f"likelihood {self.likelihood!r} is neither 'bernoulli' nor 'gaussian'")
        if self.weighs not in get_args(Weighed):
            raise ValueError(f"beta weighs {self.weighs!r}, which is neither 'kl' nor 'total correlation'")

    decodes: ClassVar[bool] = True
    logits: ClassVar[bool] = True

    @property
    def n_given(self) -> int:
        """Number of values that encoder and decoder are told beside image and code."""
        return 0

    def build(self) -> "Autoencoder":
        """Make the model with freshly initialised weights."""
        return Autoencoder(self, *self._networks())

    def _networks(self) -> tuple[nn.Sequential, nn.Sequential, tuple[int, ...]]:
        """Make encoder and decoder, and say what shape the code between them has."""
        n_channels, height, width = self.image_shape
        channels = (n_channels, *self.channels)
        feature_shape = (
            channels[-1],
            blocks.conv_sizes(height, self.strides)[-1],
            blocks.conv_sizes(width, self.strides)[-1],
        )
        seen = (n_channels + self.n_given, *self.channels)
        encoder = blocks.conv_encoder(seen, self.strides, self.code is not None, self.residual)
        decoder = blocks.conv_decoder(channels, self.strides, (height, width), self.residual)
        latent_shape: tuple[int, ...] = feature_shape
        if self.code is not None:
            latent_shape = (self.code,)
            widths = (math.prod(feature_shape), *self.hidden)
            n_out = self.code * (2 if self.variational else 1)
            encoder += [nn.Flatten(), *blocks.dense((*widths, n_out), last_relu=False)]
            decoder = [
                *blocks.dense((self.code + self.n_given, *reversed(widths)), last_relu=bool(self.channels)),
                nn.Unflatten(1, feature_shape),
                *decoder,
            ]
        if self.residual:  # behind batch norm, the first codes would be far out: thousands of nats of KL
            nn.init.normal_(encoder[-1].weight, std=0.1 / math.sqrt(encoder[-1].in_features))
        return nn.Sequential(*encoder), nn.Sequential(*decoder), latent_shape


@dataclass(frozen=True)
class DeepConfig(AutoencoderConfig):
    """Architecture of a deep autoencoder: halvings with residual blocks between them, and a decoder of its own widths.

    channels, residual: output channels of each 3x3 convolution of stride 2, and blocks behind it.
    decoder_channels, decoder_residual: channels before each doubling, and blocks before it.
    norm, upsampling: see `blocks.before_activation` and `blocks.deep_decoder`.
    """

    decoder_channels: tuple[int, ...] = ()
    decoder_residual: tuple[int, ...] = ()
    norm: blocks.Norm = "group"
    upsampling: blocks.Upsampling = "transposed"

    def __post_init__(self) -> None:
        super().__post_init__()
        n = len(self.channels)
        if self.code is None or set(self.strides) != {2} or any(side % 2**n for side in self.image_shape[1:]):
            raise ValueError("a deep autoencoder halves a side that stays whole, and needs the length of its code")
        if {len(self.residual), len(self.decoder_channels), len(self.decoder_residual)} != {n}:
            raise ValueError(f"a deep autoencoder with {n} halvings needs {n} numbers of blocks, and {n} doublings")
        for name, kinds in (("norm", blocks.Norm), ("upsampling", blocks.Upsampling)):
            if getattr(self, name) not in get_args(kinds):
                raise ValueError(f"{name} {getattr(self, name)!r} is none of {', '.join(get_args(kinds))}")
        if self.norm == "group" and any(c % blocks.GROUP for c in (*self.channels, *self.decoder_channels)):
            raise ValueError(
                f"channels {self.channels} and {self.decoder_channels} are to be multiples of {blocks.GROUP}"
            )

    def _networks(self) -> tuple[nn.Sequential, nn.Sequential, tuple[int, ...]]:
        n_channels, *sides = self.image_shape
        height, width = (side // 2 ** len(self.channels) for side in sides)
        last = nn.Linear(self.channels[-1] * height * width, self.code * (2 if self.variational else 1))
        nn.init.normal_(last.weight, std=0.1 / math.sqrt(last.in_features))  # as behind batch norm
        encoder = blocks.deep_encoder((n_channels, *self.channels), self.residual, self.norm)
        first = self.decoder_channels[0]
        decoder = blocks.deep_decoder(
            (*self.decoder_channels, n_channels), self.decoder_residual, self.norm, self.upsampling
        )
        return (
            nn.Sequential(*encoder, nn.Flatten(), last),
            nn.Sequential(
                nn.Linear(self.code, first * height * width), nn.Unflatten(1, (first, height, width)), *decoder
            ),
            (self.code,),
        )


@dataclass(frozen=True)
class ImportedAutoencoderConfig:
    """An autoencoder that was made elsewhere: its layers as `graph.build` takes them.

    encoder: from pixels `(C, H, W)` in [0, 1] to `code` numbers, or to twice as many where the model is variational,
    the log-variances last. decoder: from the code to pixels in [0, 1], or to what a sigmoid makes pixels of where
    `logits` says so. likelihood, sigma, beta: as in `AutoencoderConfig`; what the ELBO is measured with.
    """

    image_shape: tuple[int, int, int]
    encoder: graph.Description = field(hash=False)
    decoder: graph.Description = field(hash=False)
    code: int
    variational: bool = False
    logits: bool = True
    likelihood: Likelihood = "bernoulli"
    sigma: float = 0.1
    beta: float = 1.0
    weighs: ClassVar[Weighed] = "kl"
    decodes: ClassVar[bool] = True

    def build(self) -> "Autoencoder":
        """Make the model with weights as they begin.

        Raises:
            ValueError: there is no such layer, or they do not fit one another, the images or the code.
        """
        if self.likelihood not in get_args(Likelihood):
            raise ValueError(f"the likelihood {self.likelihood!r} is none of {', '.join(get_args(Likelihood))}")
        n_out = self.code * (2 if self.variational else 1)
        encoder = _stack(self.encoder, self.image_shape, (n_out,))
        decoder = _stack(self.decoder, (self.code,), self.image_shape)
        return Autoencoder(self, encoder, decoder, (self.code,))


class Autoencoder(nn.Module):
    """Encoder and decoder around a code; variational where the config says so."""

    def __init__(
        self,
        config: "AutoencoderConfig | ImportedAutoencoderConfig",
        encoder: nn.Sequential,
        decoder: nn.Sequential,
        latent_shape: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder, self.latent_shape = encoder, decoder, latent_shape

    @property
    def code_length(self) -> int:
        """Number of latent numbers D."""
        return math.prod(self.latent_shape)

    def encode(self, x: torch.Tensor) -> Posterior:
        """Map pixels `(B, C, H, W)` in [0, 1] to q(z|x)."""
        out = self.encoder(x).float()  # (B, *latent_shape), or (B, 2 D); autocast leaves it in half precision
        return Posterior(*out.chunk(2, dim=1)) if self.config.variational else Posterior(out)

    def _decode(self, z: torch.Tensor) -> torch.Tensor:
        return self.decoder(z.reshape(-1, *self.latent_shape)).float()  # a sigmoid of bfloat16 has a grid of 1/256

    def decode_logits(self, z: torch.Tensor) -> torch.Tensor:
        """Map codes, flat `(B, D)` or `(B, *latent_shape)`, to logits of the pixels `(B, C, H, W)`, in float32."""
        return self._decode(z) if self.config.logits else torch.logit(self._decode(z), eps=1e-6)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Map codes, flat `(B, D)` or `(B, *latent_shape)`, to pixels `(B, C, H, W)` in [0, 1]."""
        return torch.sigmoid(self._decode(z)) if self.config.logits else self._decode(z)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Map pixels `(B, C, H, W)` to the codes `(B, D)` that a map shows: mu, never a random draw."""
        return self.encode(x).mu.flatten(1)

    def networks(self) -> dict[str, tuple[nn.Sequential, tuple[int, ...]]]:
        """List the parts as plain stacks of layers, each with the shape of its input.

        "encode" gives mu, and log_var after it where the model is variational; "decode" gives pixels.
        """
        decoder = nn.Sequential(*self.decoder, nn.Sigmoid()) if self.config.logits else self.decoder
        return {"encode": (self.encoder, self.config.image_shape), "decode": (decoder, self.latent_shape)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Reconstruct pixels `(B, C, H, W)` through the mean code."""
        return self.decode(self.encode(x).mu)


@dataclass(frozen=True)
class ConditionalConfig(AutoencoderConfig):
    """Architecture of a conditional autoencoder: encoder and decoder are told the class (Sohn et al. 2015).

    n_classes: length of the one-hot class. It is that many constant planes beside the channels of the image, and that
    many numbers beside the code.
    """

    n_classes: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.code is None or not self.channels:
            raise ValueError("a conditional autoencoder needs convolutions and the length of its code")

    @property
    def n_given(self) -> int:
        """Number of values that encoder and decoder are told beside image and code."""
        return self.n_classes

    def build(self) -> "ConditionalAutoencoder":
        """Make the model with freshly initialised weights."""
        return ConditionalAutoencoder(self, *self._networks())


class ConditionalAutoencoder(Autoencoder):
    """An autoencoder whose encoder and decoder are told the class; with `given` it is one like any other."""

    def given(self, labels: torch.Tensor) -> "Given":
        """Tell it the classes of the images or codes to come, int64 `(B,)`."""
        weight = next(self.parameters())
        return Given(self, F.one_hot(labels, self.config.n_classes).to(weight.device, weight.dtype))

    def _decode(self, z: torch.Tensor) -> torch.Tensor:
        return self.decoder(z).float()

    def networks(self) -> dict[str, tuple[nn.Sequential, tuple[int, ...]]]:
        """List the parts as plain stacks of layers, each with the shape of its input.

        The one-hot class is K planes after the channels of the image, and K numbers after the code.
        """
        (encoder, (channels, *size)), (decoder, _) = super().networks().values()
        given = self.config.n_given
        return {"encode": (encoder, (channels + given, *size)), "decode": (decoder, (self.code_length + given,))}


@dataclass(frozen=True)
class Given:
    """A conditional autoencoder for images of known classes: one-hot `(B, K)`."""

    model: ConditionalAutoencoder
    one_hot: torch.Tensor

    @property
    def config(self) -> ConditionalConfig:
        """The model's architecture."""
        return self.model.config

    def encode(self, x: torch.Tensor) -> Posterior:
        """Map pixels `(B, C, H, W)` in [0, 1] to q(z|x, class)."""
        planes = self.one_hot[:, :, None, None].expand(-1, -1, *x.shape[2:])
        return self.model.encode(torch.cat([x, planes], dim=1))

    def decode_logits(self, z: torch.Tensor) -> torch.Tensor:
        """Map codes `(B, D)` to logits of the pixels `(B, C, H, W)`."""
        return self.model.decode_logits(torch.cat([z, self.one_hot], dim=1))

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Map codes `(B, D)` to pixels `(B, C, H, W)` in [0, 1]."""
        return torch.sigmoid(self.decode_logits(z))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Reconstruct pixels `(B, C, H, W)` through the mean code."""
        return self.decode(self.encode(x).mu)


@dataclass(frozen=True)
class ClassifierConfig:
    """Architecture of the feed-forward classifier: dense layers with batch norm and dropout."""

    image_shape: tuple[int, int, int] = (1, 28, 28)
    hidden: tuple[int, ...] = (512, 256, 128)
    n_classes: int = 10
    dropout: float = 0.2

    decodes: ClassVar[bool] = False
    variational: ClassVar[bool] = False

    def build(self) -> "Classifier":
        """Make the model with freshly initialised weights."""
        widths = (math.prod(self.image_shape), *self.hidden)
        layers: list[nn.Module] = [nn.Flatten()]
        for n_in, n_out in itertools.pairwise(widths):
            layers += [nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out), nn.ReLU(), blocks.Dropout(self.dropout)]
        return Classifier(self, nn.Sequential(*layers), nn.Linear(widths[-1], self.n_classes), widths[-1])


@dataclass(frozen=True)
class ImportedClassifierConfig:
    """A classifier that was made elsewhere: its layers as `graph.build` takes them, from pixels to logits.

    body: from pixels `(C, H, W)` in [0, 1] to the features that a map shows. head: from these to the logits.
    """

    image_shape: tuple[int, int, int]
    body: graph.Description = field(hash=False)
    head: graph.Description = field(hash=False)
    n_classes: int = 10
    decodes: ClassVar[bool] = False
    variational: ClassVar[bool] = False

    def build(self) -> "Classifier":
        """Make the model with weights as they begin; raises `ValueError` as `ImportedAutoencoderConfig.build`."""
        with torch.device("meta"):
            features = graph.shape_after(graph.build(self.body), self.image_shape)
        if len(features) != 1:
            raise ValueError(f"its features have the shape {features}, and are to be a list of numbers")
        body = _stack(self.body, self.image_shape, features)
        return Classifier(self, body, _stack(self.head, features, (self.n_classes,)), *features)


def _stack(description: graph.Description, shape: tuple[int, ...], result: tuple[int, ...]) -> nn.Sequential:
    """Make a stack of layers, after it was seen without memory that it maps one shape to the other."""
    with torch.device("meta"):
        found = graph.shape_after(graph.build(description), shape)
    if found != tuple(result):
        raise ValueError(f"its layers make {found} of {tuple(shape)}, and are to make {tuple(result)}")
    return graph.build(description)


class Classifier(nn.Module):
    """A body whose last hidden layer has `code_length` features, and a read-out."""

    def __init__(
        self,
        config: ClassifierConfig | ImportedClassifierConfig,
        body: nn.Sequential,
        head: nn.Linear | nn.Sequential,
        code_length: int,
    ) -> None:
        super().__init__()
        self.config = config
        self.body, self.head, self.code_length = body, head, code_length

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Map pixels `(B, C, H, W)` to the last hidden layer `(B, code_length)`."""
        return self.body(x)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Map pixels `(B, C, H, W)` to the features that a map shows `(B, code_length)`."""
        return self.features(x)

    def networks(self) -> dict[str, tuple[nn.Sequential, tuple[int, ...]]]:
        """List the model as one plain stack of layers, "classify", with the shape of its input."""
        return {"classify": (nn.Sequential(*self.body, *graph.plain(self.head)), self.config.image_shape)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map pixels `(B, C, H, W)` in [0, 1] to logits `(B, n_classes)`."""
        return self.head(self.body(x))


ModelConfig = AutoencoderConfig | ClassifierConfig | ImportedAutoencoderConfig | ImportedClassifierConfig
Model = Autoencoder | Classifier


def n_parameters(model: nn.Module) -> int:
    """Count the numbers that training fits."""
    foreign = sum(layer.n_parameters for layer in model.modules() if isinstance(layer, graph.Foreign))
    return foreign + sum(p.numel() for p in model.parameters())


def device_of(model: nn.Module) -> torch.device:
    """Say where the numbers of a model are; one without any computes on the CPU."""
    first = next(itertools.chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if first is None else first.device


@torch.inference_mode()
def multiply_adds(model: Model) -> int:
    """Count the multiplications of weights and values for one image: encoder and decoder, or classifier.

    Counted where the layers are dense or convolutions; the others are a hundredth of it.
    """
    total = 0

    def count(layer: nn.Module, x: tuple[torch.Tensor], y: torch.Tensor) -> None:
        nonlocal total
        total += graph.multiplications(layer, x[0], y)

    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    was_training = model.training
    model.eval()(torch.zeros(1, *model.config.image_shape))
    model.train(was_training)
    for hook in hooks:
        hook.remove()
    return total
