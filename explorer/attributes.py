"""Directions of attributes in latent space, read off labelled codes, and what else moves along them.

Everything is measured in standard deviations of each latent number: codes of a variational autoencoder
leave some numbers unused, and in plain lengths those would count as much as the rest. For each attribute

    score(z) = normal @ z + bias      0 is the boundary; one is a standard deviation among the codes fitted on
    z + t step                        t steps along the direction move its own score by t

"difference of means" goes from the mean code without the attribute to the mean code with it (Larsen et al.
2016, section 4.2) and puts the boundary halfway; "logistic regression" goes straight across the boundary
that tells the two apart best (Shen et al. 2020, section 3), with both classes weighing the same.

A score is a reading of codes by a line, not of pictures by a person: it follows whatever goes with a label in the
data it was fitted on. `side_effects` shows that; `edits` asks what came of it in the picture.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from explorer.language import choices, later

METHODS = choices("difference of means", "logistic regression")
HELD_OUT = 0.25  # share of the labelled codes that no direction is fitted on
FEWEST_LABELS = 20  # of either class; with fewer, five or less would be held out
FEW_LABELS = 100  # of either class: enough to fit, few enough to say so
TEST = 2  # among the parts of a data set, the one that no encoder was fitted to or chosen by
LEVEL = 0.05  # chance that any direction at all is shown that knows nothing
STRENGTH = 0.1  # inverse weight of the penalty on squared weights; with 1 it learns some of the codes by heart


@dataclass(frozen=True)
class Directions:
    """Directions of one method, one row an attribute; a row with a reason in `hidden` is not to be used.

    names: the attributes `(A,)`. scale: standard deviation of each latent number `(D,)`. steps, normals
    `(A, D)` and biases `(A,)`: see above; zero where nothing could be fitted. accuracy: balanced accuracy in [0, 1]
    on held-out codes `(A,)`, NaN where there is none. on_new: whether these are of images that the encoder was not
    fitted to either, bool `(A,)`; None where that is not known. n_positive, n_negative: labels behind each `(A,)`.
    hidden: why a direction is not to be used, empty where it is `(A,)`. apart: whether the held-out codes are of other
    people than those fitted on, which is known where it is known who is shown.
    """

    names: tuple[str, ...]
    scale: np.ndarray
    steps: np.ndarray
    normals: np.ndarray
    biases: np.ndarray
    accuracy: np.ndarray
    on_new: np.ndarray | None
    n_positive: np.ndarray
    n_negative: np.ndarray
    hidden: tuple[str, ...]
    apart: bool = False

    @property
    def usable(self) -> list[int]:
        """The rows that are to be used, in order."""
        return [k for k, reason in enumerate(self.hidden) if not reason]

    def scores(self, codes: np.ndarray) -> np.ndarray:
        """Score codes `(N, D)` for every attribute -> `(N, A)`."""
        return codes @ self.normals.T + self.biases


def fit_directions(
    codes: np.ndarray, attributes: np.ndarray, names: Sequence[str], seed: int = 0, split: np.ndarray | None = None,
    people: np.ndarray | None = None,
) -> dict[str, Directions]:  # fmt: skip
    """Find a direction for each attribute by each of `METHODS` from labelled codes.

    codes: `(L, D)`. attributes: `(L, A)` with 1 has it, 0 has it not, -1 unknown; a row counts for the attributes
    that it knows. split: which part each image is of `(L,)`, 0 training, 1 validation, 2 test; None where that is not
    known. people: who is shown `(L,)`, -1 unknown; None where nobody is known. A quarter of the codes is held out by
    `seed`: of test images where enough of these are labelled, since an encoder may know its training images by heart;
    and all codes of a person, or none, since a direction may know people by heart. A direction is hidden where a class
    is missing or has too few labels, or where it is not better than chance: Fisher's exact test of held-out predictions
    against labels, one-sided, which for the same predictions is the test by all permutations of the labels, at a level
    of 0.05 shared by all attributes and methods (Bonferroni).

    Raises:
        ValueError: rows, columns or values of `attributes` do not fit the codes and names; the message says how.
    """
    check(codes, attributes, names, split, people)
    scale = codes.std(axis=0, dtype=np.float64)
    scale = np.where(scale > 0, scale, 1.0)
    level, scaled = LEVEL / (len(names) * len(METHODS)), codes / scale
    new = np.zeros(len(codes), dtype=bool) if split is None else split == TEST
    who = _numbered(np.full(len(codes), -1) if people is None else people)
    fitted = {}
    for method in METHODS:
        rows = [_fit_one(scaled, attributes[:, k], new, who, method, level, seed) for k in range(len(names))]
        steps, normals, biases, accuracy, on_new, hidden = zip(*rows, strict=True)
        fitted[method] = Directions(
            tuple(names), scale, np.array(steps) * scale, np.array(normals) / scale, np.array(biases),
            np.array(accuracy), None if split is None else np.array(on_new),
            (attributes == 1).sum(axis=0), (attributes == 0).sum(axis=0), hidden, people is not None,
        )  # fmt: skip
    return fitted


def fit_stored(
    stored: Mapping[str, np.ndarray], names: Sequence[str], only: Sequence[str] = ()
) -> dict[str, Directions]:
    """Find directions from what a bundle has of labelled images, see `stages.labelled_codes`; `only` of some names."""
    labels, split, people = (stored.get(f"labelled_{name}") for name in ("attributes", "split", "people"))
    if only:
        labels = labels[:, [names.index(name) for name in only]]
    return fit_directions(stored["labelled_codes"], labels, only or names, split=split, people=people)


def own_step(directions: Directions, scorers: Directions, k: int) -> np.ndarray:
    """Scale the direction of attribute `k` so that a step `(D,)` moves its own score by one, by whichever method.

    So methods compare at the same effect; but a direction is never made more than twice as long for it.
    """
    return directions.steps[k] / max(0.5, scorers.normals[k] @ directions.steps[k])


def _numbered(people: np.ndarray) -> np.ndarray:
    """Count people `(L,)` from 0; each of those who are not known is somebody else."""
    who = np.where(people >= 0, people, -1 - np.arange(len(people)))
    return np.unique(who, return_inverse=True)[1]


def check(
    codes: np.ndarray, attributes: np.ndarray, names: Sequence[str], split: np.ndarray | None = None,
    people: np.ndarray | None = None,
) -> None:  # fmt: skip
    """Raise `ValueError` where labels `(L, A)`, parts and people `(L,)` do not fit codes `(L, D)` and names `(A,)`."""
    if codes.ndim != 2 or attributes.ndim != 2 or not names:
        raise ValueError(
            later(
                "codes {shape} and attributes {other} are no tables of numbers",
                shape=codes.shape,
                other=attributes.shape,
            )
        )
    if len(codes) != len(attributes):
        raise ValueError(
            later("{n:,} labelled codes, but {rows:,} rows of attributes", n=len(codes), rows=len(attributes))
        )
    if attributes.shape[1] != len(names):
        raise ValueError(
            later("{columns} columns of attributes, but {n} names", columns=attributes.shape[1], n=len(names))
        )
    if not np.isfinite(codes).all():
        raise ValueError(later("a labelled code is not finite"))
    if not np.isin(attributes, (-1, 0, 1)).all():
        raise ValueError(later("an attribute is neither 1 (has it), 0 (has it not) nor -1 (unknown)"))
    if split is not None and split.shape != (len(codes),):
        raise ValueError(later("{n:,} labelled codes, but parts of the shape {shape}", n=len(codes), shape=split.shape))
    if people is not None and people.shape != (len(codes),):
        raise ValueError(
            later("{n:,} labelled codes, but people of the shape {shape}", n=len(codes), shape=people.shape)
        )


def _fit_one(
    codes: np.ndarray, labels: np.ndarray, new: np.ndarray, who: np.ndarray, method: str, level: float, seed: int
) -> tuple[np.ndarray, np.ndarray, float, float, bool, str]:
    """Fit one direction to codes `(L, D)` in standard deviations; new `(L,)`: of images the encoder never saw.

    who: the number of the person shown `(L,)`.

    Returns step, normal, bias, accuracy, whether that is on new images, and the reason to hide it.
    """
    nothing = np.zeros(codes.shape[1])
    known = labels >= 0
    codes, labels, new, who = codes[known], labels[known].astype(int), new[known], who[known]
    if reason := _lack_of_labels(int((labels == 1).sum()), int((labels == 0).sum())):
        return nothing, nothing, 0.0, np.nan, False, reason
    held, fitted = _held_out(labels, new, who, seed)
    if min(len(np.unique(labels[part])) for part in (held, fitted)) < 2:
        return nothing, nothing, 0.0, np.nan, False, later("its labels are of too few people to hold some out")
    x, y = codes[fitted], labels[fitted]
    weights, bias = _fit_means(x, y) if method == METHODS[0] else _fit_logistic(x, y)
    spread = (x @ weights).std()
    if not spread > 0:
        return nothing, nothing, 0.0, np.nan, False, later("the codes with it and without it have the same mean")
    normal, bias = weights / spread, bias / spread
    accuracy, p = judge(codes[held] @ normal + bias > 0, labels[held] == 1)
    hidden = (
        ""
        if p < level
        else later("not better than chance on held-out codes (p = {p:.2g}, wanted {level:.1g})", p=p, level=level)
    )
    return normal / (normal @ normal), normal, float(bias), accuracy, bool(new[held].all()), hidden


def _held_out(labels: np.ndarray, new: np.ndarray, who: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose the codes to judge on and those to fit on, both bool `(L,)`; nobody is in both.

    To judge on is a quarter, of the new ones if there are enough, and then half of these at most. Those who have the
    attribute in a picture or more, and the others, are drawn from alike.
    """
    enough = np.bincount(labels[new], minlength=2).min() >= FEWEST_LABELS
    pool = new if enough else np.ones(len(labels), dtype=bool)
    share = min(HELD_OUT * len(labels) / pool.sum(), 0.5)
    drawn = np.random.default_rng(seed).permutation(who.max() + 1)
    pictures, having = (np.bincount(who[pool], weights=w, minlength=len(drawn)) for w in (None, labels[pool]))
    held = np.zeros(len(drawn), dtype=bool)
    for group in (having > 0, (having == 0) & (pictures > 0)):
        people = drawn[group[drawn]]
        held[people[pictures[people].cumsum() <= math.ceil(share * pictures[people].sum())]] = True
    return held[who] & pool, ~held[who]


def _lack_of_labels(n_positive: int, n_negative: int) -> str:
    if not n_positive + n_negative:
        return later("no label is known")
    if not n_positive or not n_negative:
        return later("every label says no") if not n_positive else later("every label says yes")
    if min(n_positive, n_negative) < FEWEST_LABELS:
        which = "with" if n_positive < n_negative else "without"
        return f"only {min(n_positive, n_negative)} labels {which} it: at least {FEWEST_LABELS} are needed"
    return ""


def _fit_means(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    with_it, without = x[y == 1].mean(axis=0), x[y == 0].mean(axis=0)
    weights = with_it - without
    return weights, float(-weights @ (with_it + without) / 2)


def _fit_logistic(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    from sklearn.linear_model import LogisticRegression

    centre = x.mean(axis=0)  # the penalty then leaves the boundary where it is
    fitted = LogisticRegression(C=STRENGTH, class_weight="balanced", solver="newton-cholesky").fit(x - centre, y)
    weights = fitted.coef_[0]
    return weights, float(fitted.intercept_[0] - weights @ centre)


def judge(predicted: np.ndarray, actual: np.ndarray) -> tuple[float, float]:
    """Compute the balanced accuracy of predictions, and how probable one so high is by chance; both bool `(N,)`.

    Fisher's exact test, one-sided: the number of hits given how many are predicted and how many there are.
    """
    from scipy.stats import hypergeom

    hits = int((predicted & actual).sum())
    accuracy = (predicted[actual].mean() + (~predicted[~actual]).mean()) / 2
    p = hypergeom.sf(hits - 1, len(actual), int(actual.sum()), int(predicted.sum()))
    return float(accuracy), float(p)


def orthogonalise(step: np.ndarray, normals: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Take out of a step `(D,)` what moves the scores with these normals `(K, D)`, changing it as little as possible.

    Least squares in standard deviations of the latent numbers, `scale` `(D,)`. To first order, which for a linear
    score is exactly, the scores then stay. The step is not made longer again: what is left of it is what the
    attribute does not share with the others, and where that is little its own score hardly moves.
    """
    across = (normals * scale).T  # (D, K)
    shares = np.linalg.lstsq(across, step / scale, rcond=None)[0]
    return (step / scale - across @ shares) * scale


def side_effects(step: np.ndarray, scorers: Directions) -> np.ndarray:
    """Compute how far one step `(D,)` moves the score of every attribute, in standard deviations `(A,)`."""
    return scorers.normals @ step
