"""What an edit changes besides what was asked for: pixels where the attribute is not, and who it is.

`attributes` moves codes and reads their scores; here pictures are looked at, before the edit and after it.

    mask     of an attribute: the quarter of the pixels where photographs with it and without it differ most, all other
             labels being equal: the largest coefficients of a linear regression of pixels on all attributes, over the
             spread that is left, mirrored and smoothed. No model and no edit has a say in it.
    outside  share of an edit's squared change of pixels that lies outside the mask, 0 to 1; 0.75 if evenly spread.
             (Collins et al. 2020 compare squared changes inside and outside of a region, too.)
    same     identity, by what stands in for a network of faces, which is not here: how far codes lie apart along the
             axes that tell people apart best (Fisher's discriminant, as in Belhumeur et al. 1997), fitted to the
             training images. Of all pairs of test images of one person, the share that lie further apart than the
             pictures before and after: 1 for the same picture, 0.5 for a usual pair. `JUDGED` says how good that is.

The file `edits.safetensors` of a bundle holds

    masks           packed bits of each attribute, uint8 `(A, P)`
    effects/METHOD  `EFFECTS` of two steps in each attribute, means over faces, zero where it is hidden `(A, 5)`
    axes            a code `(D,)` times these is what distances are taken of `(D, R)`; this and the next two only where
                    it is known who is shown
    pairs           101 quantiles of the distances of two test images of one person, and of two people `(2, 101)`
    judged          `JUDGED` `(3,)`
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from explorer import attributes, metrics, stages
from explorer.attributes import METHODS, Directions
from explorer.datasets import ImageSet
from explorer.images import to_float
from explorer.metrics import BATCH
from explorer.models import Autoencoder, Model, device_of

EFFECTS = ("accuracy", "own", "side", "outside", "same")
# how well pairs are told apart, how often the nearest image is of the same person, and how often by chance
JUDGED = ("auc", "first", "chance")
SHARE = 0.25  # of the pixels that a mask has
WINDOW = 5  # pixels over which a mask is smoothed
STEPS = 2.0
N_FACES = 100
N_AXES = 32
N_JUDGED = 2500  # test images at most: a distance for each two of them
PENALTY = 0.1  # of the mean variance within people, added to each
METER = METHODS[1]


def makes_sense(model: Model, splits: Mapping[str, ImageSet]) -> bool:
    """Whether there is something to edit: a decoder, and labels."""
    return isinstance(model, Autoencoder) and len(stages.labelled(splits)[0]) > 0


def masks(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Find where attributes are, from uint8 images `(L, C, H, W)` and labels `(L, A)`, -1 unknown: bool `(A, H, W)`."""
    shape, labels = images.shape[1:], labels.double()
    known = labels >= 0
    mean = (labels * known).sum(0) / known.sum(0).clamp(min=1)
    x = torch.where(known, labels - mean, 0.0)
    products, squares = torch.zeros(x.shape[1], shape.numel()).double(), torch.zeros(shape.numel()).double()
    centre = to_float(images[:: max(1, len(images) // BATCH)]).mean(0)
    for rows, batch in zip(x.split(BATCH), images.split(BATCH), strict=True):
        pixels = to_float(batch) - centre
        pixels = ((pixels + pixels.flip(-1)) / 2).flatten(1).double()
        products += rows.T @ pixels
        squares += pixels.square().sum(0)
    effects = torch.linalg.pinv(x.T @ x) @ products  # (A, C H W)
    left = (squares - (effects * products).sum(0)).clamp(min=1e-9) / len(images)
    maps = (effects.square() / left).view(-1, *shape).mean(1, keepdim=True)
    smooth = F.avg_pool2d(maps, WINDOW, 1, WINDOW // 2, count_include_pad=False).flatten(1)
    order = smooth.argsort(1, descending=True)
    inside = torch.zeros_like(smooth, dtype=torch.bool)
    inside.scatter_(1, order[:, : round(SHARE * smooth.shape[1])], True)
    return inside.view(-1, *shape[1:])


def unpacked(found: Mapping[str, np.ndarray], shape: Sequence[int]) -> np.ndarray:
    """Read the masks of images of a shape: bool `(A, H, W)`."""
    height, width = shape[-2:]
    return np.unpackbits(found["masks"], axis=1, count=height * width).astype(bool).reshape(-1, height, width)


def outside(before: np.ndarray, after: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Compute the share of the squared change of images `(N, C, H, W)` outside a mask `(H, W)`: `(N,)`, 0 of none."""
    change = np.square(after - before).sum(1)
    total = change.sum((1, 2))
    return np.divide((change * ~mask).sum((1, 2)), total, out=np.zeros_like(total), where=total > 0)


def axes(codes: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Find the axes `(D, R)` that tell people `(N,)` apart by codes `(N, D)`, in units of the spread within people.

    Those who are shown but once say nothing, and are left out. The longer an axis is, the more it tells.
    """
    from scipy.linalg import eigh

    who, counts = np.unique(people, return_inverse=True, return_counts=True)[1:]
    several = counts[who] > 1
    x, who = codes[several].astype(np.float64), np.unique(who[several], return_inverse=True)[1]
    counts = np.bincount(who)
    means = np.stack([np.bincount(who, weights=column) for column in x.T], axis=1) / counts[:, None]
    apart = x - means[who]
    within = apart.T @ apart / max(1, len(x) - len(counts))
    between = np.cov(x.T) - within
    values, vectors = eigh(between, within + PENALTY * np.trace(within) / len(within) * np.eye(len(within)))
    best = values.argsort()[::-1][:N_AXES]
    return vectors[:, best] * np.sqrt(values[best].clip(0))


def distances(a: np.ndarray, b: np.ndarray, found: Mapping[str, np.ndarray]) -> np.ndarray:
    """Measure how far apart the people of codes `(N, D)` and `(N, D)` are taken to be `(N,)`."""
    return np.linalg.norm((a - b) @ found["axes"].astype(np.float64), axis=1)


def further(distance: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Compute the share of pairs, by their 101 quantiles, that are further apart than distances `(N,)`: `(N,)`."""
    return 1 - np.interp(distance, quantiles, np.linspace(0, 1, len(quantiles)))


def identity(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> dict[str, torch.Tensor]:
    """Fit the stand-in for identity to codes `(N, D)` and people `(N,)`, and judge it on others; empty of no pairs."""
    new = np.flatnonzero((test[1] >= 0) & ~np.isin(test[1], train[1]))[:N_JUDGED]
    codes, people = test[0][new], test[1][new]
    known = train[1] >= 0
    if len(np.unique(train[1][known])) >= known.sum() or len(np.unique(people)) >= len(people):
        return {}
    found = axes(train[0][known], train[1][known])
    z = codes @ found
    apart = np.sqrt((np.square(z).sum(1)[:, None] + np.square(z).sum(1) - 2 * z @ z.T).clip(0))
    alike = people[:, None] == people
    above = np.triu_indices(len(z), 1)
    same, others = (np.sort(apart[above][alike[above] == one]) for one in (True, False))
    np.fill_diagonal(apart, np.inf)
    shown_again = alike.sum(1) > 1
    judged = (
        1 - np.searchsorted(others, same).mean() / len(others),
        (people[apart.argmin(1)] == people)[shown_again].mean(),
        (alike.sum(1) - 1)[shown_again].mean() / (len(z) - 1),
    )
    pairs = [np.quantile(values, np.linspace(0, 1, 101)) for values in (same, others)]
    return {
        "axes": torch.from_numpy(found).half(),
        "pairs": torch.from_numpy(np.stack(pairs)).float(),
        "judged": torch.tensor(judged).float(),
    }


def effects(
    model: Autoencoder, codes: torch.Tensor, moves: Directions, meter: Directions, found: Mapping[str, np.ndarray]
) -> torch.Tensor:
    """Measure two steps in each attribute from codes `(N, D)`, in the pictures: see `EFFECTS` `(A, 5)`."""

    def seen(z: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        x = [model.decode(part) for part in z.split(BATCH)]
        return torch.cat(x).cpu().numpy(), torch.cat([model.embed(part) for part in x]).cpu().numpy()

    rows = torch.zeros(len(moves.names), len(EFFECTS))
    before, start = seen(codes)
    for k, mask in enumerate(unpacked(found, model.config.image_shape)):
        if k not in moves.usable or k not in meter.usable:
            continue
        step = torch.from_numpy(STEPS * attributes.own_step(moves, meter, k)).to(codes)
        after, end = seen(codes + step)
        moved = (meter.scores(end) - meter.scores(start)).mean(0)
        others = [m for m in meter.usable if m != k]
        same = further(distances(start, end, found), found["pairs"][0]).mean() if "axes" in found else 0.0
        away = outside(before, after, mask).mean()
        rows[k] = torch.tensor([moves.accuracy[k], moved[k], np.abs(moved[others]).mean(), away, same])
    return rows


@torch.inference_mode()
def measure(model: Autoencoder, splits: Mapping[str, ImageSet], names: Sequence[str]) -> dict[str, torch.Tensor]:
    """Make all of the above for attributes of these names, on the model's device."""
    known, _ = stages.labelled(splits)
    inside = masks(known.images, known.attributes)
    tensors = {"masks": torch.from_numpy(np.packbits(inside.flatten(1).numpy(), axis=1))}
    train, test = splits["train"], splits["test"]
    faces = metrics.embed(model, test.images)
    if train.people is not None and test.people is not None:
        seen = metrics.embed(model, train.images).numpy()
        tensors |= identity((seen, train.people.numpy()), (faces.numpy(), test.people.numpy()))
    stored = {name: tensor.float().numpy() for name, tensor in stages.labelled_codes(model, splits).items()}
    directions = attributes.fit_stored(stored, names)
    found = {name: tensor.numpy() for name, tensor in tensors.items()}
    some = faces[:N_FACES].to(device_of(model))
    for method in METHODS:
        tensors[f"effects/{method}"] = effects(model, some, directions[method], directions[METER], found)
    return tensors
