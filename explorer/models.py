"""Autoencoder, variational autoencoder and classifier, each built from a frozen config.

    x -> encode -> Posterior(mu, log_var) -> sample -> z -> decode -> x_hat in [0, 1]

A plain autoencoder is the case `log_var is None`: its posterior is a point. Shapes use B images,
C channels, H x W pixels, D latent numbers, K classes.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn as nn
import torch.nn.functional as F

from explorer import blocks

Likelihood = Literal["bernoulli", "gaussian"]


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

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.strides):
            raise ValueError(f"channels {self.channels} and strides {self.strides} differ in length")
        if self.residual and len(self.residual) != len(self.channels):
            raise ValueError(f"residual {self.residual} and channels {self.channels} differ in length")
        if self.code is None and (self.hidden or self.variational or not self.channels):
            raise ValueError("a dense or variational autoencoder needs the length of its code")
        if self.likelihood not in ("bernoulli", "gaussian"):
            raise ValueError(f"likelihood {self.likelihood!r} is neither 'bernoulli' nor 'gaussian'")

    @property
    def n_given(self) -> int:
        """Number of values that encoder and decoder are told beside image and code."""
        return 0

    def build(self) -> "Autoencoder":
        """Make the model with freshly initialised weights."""
        return Autoencoder(self)


class Autoencoder(nn.Module):
    """Encoder and decoder around a code; variational where the config says so."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        n_channels, height, width = config.image_shape
        channels = (n_channels, *config.channels)
        feature_shape = (
            channels[-1],
            blocks.conv_sizes(height, config.strides)[-1],
            blocks.conv_sizes(width, config.strides)[-1],
        )
        seen = (n_channels + config.n_given, *config.channels)
        encoder = blocks.conv_encoder(seen, config.strides, config.code is not None, config.residual)
        decoder = blocks.conv_decoder(channels, config.strides, (height, width), config.residual)
        if config.code is None:
            self.latent_shape: tuple[int, ...] = feature_shape
        else:
            self.latent_shape = (config.code,)
            widths = (math.prod(feature_shape), *config.hidden)
            n_out = config.code * (2 if config.variational else 1)
            encoder += [nn.Flatten(), *blocks.dense((*widths, n_out), last_relu=False)]
            decoder = [
                *blocks.dense((config.code + config.n_given, *reversed(widths)), last_relu=bool(config.channels)),
                nn.Unflatten(1, feature_shape),
                *decoder,
            ]
        if config.residual:  # behind batch norm, the first codes would be far out: thousands of nats of KL
            nn.init.normal_(encoder[-1].weight, std=0.1 / math.sqrt(encoder[-1].in_features))
        self.encoder = nn.Sequential(*encoder)
        self.decoder = nn.Sequential(*decoder)

    @property
    def code_length(self) -> int:
        """Number of latent numbers D."""
        return math.prod(self.latent_shape)

    def encode(self, x: torch.Tensor) -> Posterior:
        """Map pixels `(B, C, H, W)` in [0, 1] to q(z|x)."""
        out = self.encoder(x).float()  # (B, *latent_shape), or (B, 2 D); autocast leaves it in half precision
        return Posterior(*out.chunk(2, dim=1)) if self.config.variational else Posterior(out)

    def decode_logits(self, z: torch.Tensor) -> torch.Tensor:
        """Map codes, flat `(B, D)` or `(B, *latent_shape)`, to logits of the pixels `(B, C, H, W)`, in float32."""
        z = z if self.config.n_given else z.reshape(-1, *self.latent_shape)
        return self.decoder(z).float()  # a sigmoid of bfloat16 has a grid of 1/256

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Map codes, flat `(B, D)` or `(B, *latent_shape)`, to pixels `(B, C, H, W)` in [0, 1]."""
        return torch.sigmoid(self.decode_logits(z))

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Map pixels `(B, C, H, W)` to the codes `(B, D)` that a map shows: mu, never a random draw."""
        return self.encode(x).mu.flatten(1)

    def networks(self) -> dict[str, tuple[nn.Sequential, tuple[int, ...]]]:
        """List the parts as plain stacks of layers, each with the shape of its input.

        "encode" gives mu, and log_var after it where the model is variational; "decode" gives pixels.
        """
        return {
            "encode": (self.encoder, self.config.image_shape),
            "decode": (nn.Sequential(*self.decoder, nn.Sigmoid()), self.latent_shape),
        }

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
        return ConditionalAutoencoder(self)


class ConditionalAutoencoder(Autoencoder):
    """An autoencoder whose encoder and decoder are told the class; with `given` it is one like any other."""

    def given(self, labels: torch.Tensor) -> "Given":
        """Tell it the classes of the images or codes to come, int64 `(B,)`."""
        weight = next(self.parameters())
        return Given(self, F.one_hot(labels, self.config.n_classes).to(weight.device, weight.dtype))

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

    def build(self) -> "Classifier":
        """Make the model with freshly initialised weights."""
        return Classifier(self)


class Classifier(nn.Module):
    """Dense layers, each with batch norm, ReLU and dropout, and a linear read-out."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        widths = (math.prod(config.image_shape), *config.hidden)
        layers: list[nn.Module] = [nn.Flatten()]
        for n_in, n_out in itertools.pairwise(widths):
            layers += [nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out), nn.ReLU(), blocks.Dropout(config.dropout)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], config.n_classes)

    @property
    def code_length(self) -> int:
        """Number of features in the last hidden layer."""
        return self.config.hidden[-1]

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Map pixels `(B, C, H, W)` to the last hidden layer `(B, hidden[-1])`."""
        return self.body(x)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Map pixels `(B, C, H, W)` to the features that a map shows `(B, hidden[-1])`."""
        return self.features(x)

    def networks(self) -> dict[str, tuple[nn.Sequential, tuple[int, ...]]]:
        """List the model as one plain stack of layers, "classify", with the shape of its input."""
        return {"classify": (nn.Sequential(*self.body, self.head), self.config.image_shape)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map pixels `(B, C, H, W)` in [0, 1] to logits `(B, n_classes)`."""
        return self.head(self.body(x))


ModelConfig = AutoencoderConfig | ClassifierConfig
Model = Autoencoder | Classifier


def n_parameters(model: nn.Module) -> int:
    """Count the numbers that training fits."""
    return sum(p.numel() for p in model.parameters())


@torch.inference_mode()
def multiply_adds(model: Model) -> int:
    """Count the multiplications of weights and values for one image: encoder and decoder, or classifier.

    Counted where the layers are dense or convolutions; the others are a hundredth of it.
    """
    total = 0

    def count(layer: nn.Module, x: tuple[torch.Tensor], y: torch.Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Linear):
            total += layer.weight.numel()
        else:  # every place of a transposed convolution's input meets every weight, of a convolution's output
            places = x[0] if isinstance(layer, nn.ConvTranspose2d) else y
            total += layer.weight.numel() * math.prod(places.shape[2:])

    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    was_training = model.training
    model.eval()(torch.zeros(1, *model.config.image_shape))
    model.train(was_training)
    for hook in hooks:
        hook.remove()
    return total
