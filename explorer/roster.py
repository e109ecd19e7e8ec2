"""The table `ROSTER`: every model's architecture, recipe and reported figure, by public name.

Architectures are those of the five student reports, so that figures compare; the recipes are ours.
The command line, the app and the tests are driven by this one table. A model belongs to the data sets
whose images have the shape it is made for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from explorer.datasets import DATASETS, Dataset
from explorer.language import later
from explorer.models import AutoencoderConfig, ClassifierConfig, DeepConfig, ModelConfig
from explorer.training import Recipe


@dataclass(frozen=True)
class Entry:
    """One model: its architecture and recipe, and what the report claims for it.

    reported: the report's test figures, by the name they have in `metrics.json`. home: the data set of the report.
    """

    name: str
    title: str
    summary: str
    config: ModelConfig
    recipe: Recipe
    reported: dict[str, float] = field(default_factory=dict)
    home: str = "fashion-mnist"

    @property
    def is_autoencoder(self) -> bool:
        """Whether the model has a decoder."""
        return self.config.decodes


IMAGES_SEEN = 30_000  # by a model in all its epochs: 50 s for photographs of 64 pixels on two cores
FEWEST_EPOCHS, MOST_EPOCHS = 10, 100

_CONV = AutoencoderConfig(channels=(16, 32, 64), strides=(2, 2, 2))
_FACE = AutoencoderConfig(
    (3, 64, 64), (32, 64, 128), (2, 2, 2), code=128, variational=True, likelihood="gaussian", sigma=0.1
)

ROSTER: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "fc-ae",
            later("Dense AE"),
            "784–256–64–256–784 with ReLU: every pixel talks to every other, 64 numbers in between.",
            AutoencoderConfig(hidden=(256,), code=64),
            Recipe(epochs=120, learning_rate=3e-3),
            {"mse": 0.0066},
        ),
        Entry(
            "conv-ae",
            later("Convolutional AE"),
            "Three strided convolutions, 1→16→32→64. Its code of 1,024 numbers is longer than the image.",
            _CONV,
            Recipe(epochs=80, learning_rate=5e-3),
            {"mse": 0.015},
        ),
        Entry(
            "conv-ae-128",
            later("Convolutional AE, 128 numbers"),
            "A fourth convolution narrows the code to 32×2×2 = 128 numbers: a real bottleneck.",
            AutoencoderConfig(channels=(16, 32, 64, 32), strides=(2, 2, 2, 2)),
            Recipe(epochs=60, learning_rate=5e-3),
        ),
        Entry(
            "conv-dae",
            later("Denoising AE"),
            "conv-ae, shown noisy images and asked for the clean ones (Vincent et al. 2008).",
            _CONV,
            Recipe(epochs=40, learning_rate=5e-3, noise="gaussian", noise_levels=(0.0, 0.7)),
        ),
        Entry(
            "conv-vae",
            later("Variational AE, 2 numbers"),
            "A code of two numbers that is a distribution, pulled towards a standard normal prior.",
            AutoencoderConfig(channels=(32, 64, 64), strides=(1, 2, 2), code=2, variational=True),
            # noise on its input keeps the encoder from learning the training images by heart (`losses.negative_elbo`)
            Recipe(epochs=60, learning_rate=2e-3, noise="speckle", noise_levels=(0.0, 0.6)),
        ),
        Entry(
            "ffnn",
            later("Classifier"),
            "784–512–256–128–10 with batch norm and dropout 0.2: what is in the picture?",
            ClassifierConfig(),
            Recipe(
                epochs=120,
                batch_size=256,
                learning_rate=4e-3,
                weight_decay=0.05,
                label_smoothing=0.1,
                flip=True,
                shift=1,
            ),
            {"accuracy": 0.9010},
        ),
        Entry(
            "face-vae",
            later("Face VAE"),
            "Three strided convolutions, 3→32→64→128, and a code of 128 numbers that is a distribution.",
            _FACE,
            Recipe(epochs=22, batch_size=64, learning_rate=2e-3, flip=True),
            home="celeba",
        ),
        Entry(
            "face-resvae",
            later("Residual face VAE"),
            "The same budget of parameters and multiply-adds, with batch norm and bottleneck blocks (He et al. 2016).",
            replace(_FACE, channels=(32, 56, 120), residual=(0, 1, 1)),
            # a step takes 1.54 times as long as one of face-vae: 14 epochs take no longer than its 22
            Recipe(epochs=14, batch_size=64, learning_rate=4e-3, flip=True),
            home="celeba",
        ),
        Entry(
            "face-best",
            later("Deep face VAE"),
            "Blocks that normalise first (He et al. 2016b), a sharper p(x|z) and an hour of training.",
            DeepConfig(
                (3, 64, 64),
                (32, 64, 128),
                (2, 2, 2),
                (0, 1, 1),
                code=128,
                variational=True,
                likelihood="gaussian",
                sigma=0.06,  # what the mean squared error asks for in the end: see the README
                decoder_channels=(128, 96, 48),
                decoder_residual=(1, 1, 0),
                norm="batch",
            ),
            Recipe(epochs=45, batch_size=64, learning_rate=2e-3, weight_decay=0.05, flip=True),
            home="celeba",
        ),
    )
}


def for_images(dataset: Dataset, n_train: int) -> dict[str, Entry]:
    """Make a roster for images of any shape: plain, variational, a plane, a denoiser, and a classifier of classes.

    The networks are those of the reports, with as many strided convolutions as it takes to come to 7 or 8 pixels. So
    many epochs that each image, or each of few images, is seen often enough.
    """
    shape, home = dataset.image_shape, dataset.name
    n = max(1, round(math.log2(min(shape[1:]) / 7.5)))
    coder = AutoencoderConfig(shape, (32, 64, 128, 128)[:n], (2,) * n, code=64 if shape[0] == 1 else 128)
    prior = {"variational": True} | ({} if shape[0] == 1 else {"likelihood": "gaussian", "sigma": 0.1})
    recipe = Recipe(
        epochs=min(MOST_EPOCHS, max(FEWEST_EPOCHS, IMAGES_SEEN // n_train)), batch_size=64, learning_rate=2e-3,
        flip=shape[0] == 3,
    )  # fmt: skip
    cleaning = replace(recipe, noise="gaussian", noise_levels=(0.0, 0.7 if shape[0] == 1 else 0.4))
    entries = [
        Entry("ae", later("Autoencoder"), f"{coder.code} numbers for each image.", coder, recipe),
        Entry(
            "vae",
            later("Variational AE"),
            "Its code is a distribution, near a normal.",
            replace(coder, **prior),
            recipe,
        ),
        Entry(
            "vae-2d",
            later("Variational AE, 2 numbers"),
            "A code that is a plane.",
            replace(coder, code=2, **prior),
            recipe,
        ),
        Entry("denoiser", later("Denoising AE"), "Shown noisy images and asked for the clean ones.", coder, cleaning),
    ]
    if len(dataset.classes) > 1:
        judge = ClassifierConfig(shape, n_classes=len(dataset.classes))
        training = replace(recipe, learning_rate=4e-3, weight_decay=0.05, label_smoothing=0.1, shift=2)
        entries.append(Entry("classifier", later("Classifier"), "What is in the picture?", judge, training))
    return {entry.name: replace(entry, home=home) for entry in entries}


def models_for(dataset: str) -> tuple[str, ...]:
    """Name the models of a data set: those made for images of its shape."""
    shape = DATASETS[dataset].image_shape
    return tuple(name for name, entry in ROSTER.items() if entry.config.image_shape == shape)


def autoencoders_for(dataset: str) -> tuple[str, ...]:
    """Name the models of a data set that have a decoder."""
    return tuple(name for name in models_for(dataset) if ROSTER[name].is_autoencoder)


def choose_models(names: Sequence[str], dataset: str | None) -> dict[str, list[str]]:
    """Say which models run on which data set: the named ones or all, on `dataset` or each on its home.

    Raises:
        ValueError: a named model is made for images of another shape, or no model for those of the data set.
    """
    if dataset is None:
        chosen = list(dict.fromkeys(names)) or list(ROSTER)
        homes = dict.fromkeys(ROSTER[name].home for name in chosen)
        return {home: [name for name in chosen if ROSTER[name].home == home] for home in homes}
    known = models_for(dataset)
    if not known:
        shape = " x ".join(map(str, DATASETS[dataset].image_shape))
        made_for = sorted({" x ".join(map(str, entry.config.image_shape)) for entry in ROSTER.values()})
        raise ValueError(
            f"no model of the roster takes images of {shape}, as {dataset} has them; they take {' or '.join(made_for)}"
        )
    if foreign := [name for name in names if name not in known]:
        raise ValueError(f"{', '.join(foreign)} cannot run on {dataset}; its models: {', '.join(known)}")
    return {dataset: list(dict.fromkeys(names)) or list(known)}
