"""The sampling ladder: ever better guesses of where codes lie, and what images each of them decodes to.

    prior           the standard normal
    one Gaussian    fitted to the codes of training images, as the next two
    mixture         of ten normals (Ghosh et al. 2020)
    flow            a second stage, see `flows`
    reconstructions codes of test images: the best that a decoder can give

The file `ladder.safetensors` of a bundle holds float tensors by name, L levels of the Laplacian pyramid:

    flow/...        the flow, see `Flow.tensors`
    swd/RUNG        sliced Wasserstein distance to test images, finest level first `(L,)`; see `realism.swd`
    figures/RUNG    `FIGURES` `(4,)`
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import torch

from explorer import flows, metrics, realism, sampling
from explorer.datasets import ImageSet
from explorer.flows import Flow
from explorer.images import to_float
from explorer.language import later
from explorer.metrics import BATCH
from explorer.models import Autoencoder, Model
from explorer.sampling import SOURCES

FLOW = later("flow")
RUNGS = (*SOURCES, FLOW, later("reconstructions"))
FIGURES = ("diversity", "nearest", "precision", "recall")


def flow_of(found: Mapping[str, torch.Tensor]) -> Flow:
    """Make the flow again of what is stored."""
    return Flow.of({name.removeprefix("flow/"): value for name, value in found.items() if name.startswith("flow/")})


def makes_sense(model: Model, test: ImageSet) -> bool:
    """Whether a model makes images that are large enough to be measured."""
    return isinstance(model, Autoencoder) and realism.measurable(test.images)


@dataclass(frozen=True)
class Codes:
    """Codes of training images `(M, D)`, their log-variances where there are any, and codes of test images `(N, D)`."""

    train: torch.Tensor
    log_var: torch.Tensor | None
    test: torch.Tensor

    @classmethod
    def of(cls, model: Autoencoder, train: torch.Tensor, test: torch.Tensor) -> Self:
        """Encode images, uint8."""
        log_var = metrics.log_variances(model, train) if model.config.variational else None
        return cls(metrics.embed(model, train), log_var, metrics.embed(model, test))


def samples(model: Autoencoder, codes: Codes, flow: Flow, seed: int = 0) -> Iterator[tuple[str, torch.Tensor]]:
    """Give for each rung as many images as there are test images, pixels `(N, C, H, W)`; all have the same seed."""
    for rung in RUNGS:
        if rung == RUNGS[-1]:
            z = codes.test
        else:
            source = flow if rung == FLOW else sampling.fit(rung, codes.train, codes.log_var, seed=seed)
            z = source.sample(len(codes.test), seed=seed)
        yield rung, torch.cat([model.decode(batch) for batch in z.split(BATCH)])


@torch.inference_mode()
def measure(
    model: Autoencoder, splits: Mapping[str, ImageSet], epochs: int = flows.EPOCHS, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Fit each rung to the codes of the training images, and measure what it decodes to; on the CPU."""
    model = model.cpu().eval()
    train, n = splits["train"].images, min(len(splits["test"]), len(splits["train"]), realism.MAX_IMAGES)
    test = splits["test"].images[:n]
    codes = Codes.of(model, train, test)
    with torch.inference_mode(False):
        log_var = None if codes.log_var is None else codes.log_var.clone()
        flow = flows.fit(codes.train.clone(), log_var, epochs, seed)
    tensors = {f"flow/{name}": value for name, value in flow.tensors().items()}
    return tensors | compare(model, codes, flow_of(tensors), train, test, seed)


@torch.inference_mode()
def compare(
    model: Autoencoder, codes: Codes, flow: Flow, train: torch.Tensor, test: torch.Tensor, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Measure what each rung decodes to beside test images, uint8; all but the flow of what `measure` gives."""
    tensors = {}
    for rung, made in samples(model, codes, flow, seed):
        distances = realism.swd(made, to_float(test), seed)
        again = torch.cat([model.embed(batch) for batch in made.split(BATCH)])
        figures = (
            realism.diversity(made, seed),
            realism.nearest_distances(made, train)[0].median().item(),
            *realism.precision_recall(codes.test, again),
        )
        tensors[f"swd/{rung}"] = torch.tensor([value for size, value in distances.items() if size != "mean"])
        tensors[f"figures/{rung}"] = torch.tensor(figures)
    return tensors
