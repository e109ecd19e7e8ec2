"""Fréchet and kernel Inception distance of the sampling ladder: what others publish, for those with the weights.

    pip install torch-fidelity
    python -m benchmarks.fidelity --dataset celeba --weights pt_inception-2015-12-05-6726825d.pth --json

The weights of Inception (92 MB, from torch-fidelity's releases on GitHub) are not here, and nothing fetches them; the
file is a pickle, to be trusted. For each model with a ladder (`train.py --only ladder`) and each of its rungs, against
as many test images:

    fid     Fréchet distance of two normals fitted to features (Heusel et al. 2017)
    kid     1,000 times the unbiased squared maximum mean discrepancy of features under the kernel (a.b / F + 1)^3
            (Binkowski et al. 2018)

FID falls with the number of images: figures of other numbers are not comparable. Exit codes: 0 all were measured, 1
data, weights or ladders are missing, 2 the command is wrong.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from explorer import arguments, ladder
from explorer.arguments import speak_any_encoding
from explorer.checkpoints import Bundle, BundleError, root_folder
from explorer.datasets import DATASETS, DataError
from explorer.images import to_float
from explorer.metrics import BATCH
from explorer.roster import autoencoders_for

Features = Callable[[torch.Tensor], torch.Tensor]  # images `(N, C, H, W)` in [0, 1] -> `(N, F)`


def fid(a: torch.Tensor, b: torch.Tensor) -> float:
    """Compute the Fréchet distance of the normals fitted to features `(N, F)` and `(M, F)`."""
    a, b = a.double().numpy(), b.double().numpy()
    cov_a, cov_b = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    roots = np.sqrt(np.linalg.eigvalsh(root @ cov_b @ root).clip(0))  # of the product of both
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * roots.sum())


def kid(a: torch.Tensor, b: torch.Tensor) -> float:
    """Compute 1,000 times the unbiased squared discrepancy of features `(N, F)` and `(M, F)`."""
    a, b = a.double(), b.double()
    within = []
    for x in (a, b):
        k = (x @ x.T / x.shape[1] + 1) ** 3
        within.append((k.sum() - k.trace()) / (len(x) * (len(x) - 1)))
    across = ((a @ b.T / a.shape[1] + 1) ** 3).mean()
    return 1e3 * (sum(within) - 2 * across).item()


def inception(weights: Path) -> Features:
    """Load the network of the published figures.

    Raises:
        DataError: torch-fidelity or its weights are missing.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise DataError("torch-fidelity is missing. Install it with: pip install torch-fidelity") from error
    if not weights.is_file():
        raise DataError(f"{weights} is missing: the weights of Inception, from torch-fidelity's releases")
    network = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(weights))

    return lambda images: network((255 * images + 0.5).to(torch.uint8).expand(-1, 3, -1, -1))[0]


@torch.inference_mode()
def measure(bundle: Bundle, train: torch.Tensor, test: torch.Tensor, features: Features) -> Iterator[dict[str, Any]]:
    """Compare samples of each rung with test images, both uint8 `(N, C, H, W)`; one row for each rung.

    Raises:
        BundleError: the bundle has no ladder.
    """
    model, flow = bundle.load(), ladder.flow_of(bundle.ladder())
    describe = lambda images: torch.cat([features(batch) for batch in images.split(BATCH)])  # noqa: E731
    real = describe(to_float(test))
    for rung, made in ladder.samples(model, ladder.Codes.of(model, train, test), flow):
        found = describe(made)
        yield {
            "dataset": bundle.dataset, "model": bundle.model, "rung": rung, "n": len(test),
            "fid": round(fid(found, real), 2), "kid": round(kid(found, real), 3),
        }  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    speak_any_encoding()
    parser = argparse.ArgumentParser(description="Measure FID and KID of samples.")
    parser.add_argument("models", nargs="*", help="default: all autoencoders that have a ladder")
    parser.add_argument("--dataset", default="celeba", choices=DATASETS)
    parser.add_argument("--weights", type=Path, required=True, help="Inception's, as torch-fidelity takes them")
    parser.add_argument("--data-dir", type=arguments.path)
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    args = parser.parse_args(argv)
    try:
        features = inception(args.weights)
        train, test = (DATASETS[args.dataset].load(split, args.data_dir).images for split in ("train", "test"))
        bundles = [Bundle(args.dataset, name, root_folder()) for name in args.models or autoencoders_for(args.dataset)]
        for bundle in bundles:
            if args.models or bundle.has("ladder"):
                for row in measure(bundle, train, test, features):
                    text = "{model:<14} {rung:<16} FID {fid:8.2f}   KID {kid:8.3f}   n = {n}"
                    print(json.dumps(row) if args.json else text.format(**row), flush=True)
    except (DataError, BundleError) as error:
        print(f"benchmarks.fidelity: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
