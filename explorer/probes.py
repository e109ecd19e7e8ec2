"""What codes are good for: classes read off them with few labels or many, and how well a score tells two sets apart.

Codes are float arrays `(N, D)`, labels whole numbers `(N,)`. Everything is scikit-learn's.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SIZES = (10, 100, 1000, 10_000)  # labels, and then all that there are
REPEATS = 5  # draws of the labels, where these are few
FEW = 1000
NEIGHBOURS = 5
STRENGTH = 1.0  # inverse weight of the penalty on squared weights, of codes with a variance of one
MOST_STEPS = 200  # of the linear probe; most end sooner

Reading = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # codes, labels, others -> labels of the others


def linear(codes: np.ndarray, labels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Label other codes by a linear probe: multinomial logistic regression on standardised codes."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(labels)) < 2:
        return np.full(len(others), labels[0])
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=MOST_STEPS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return probe.fit(codes, labels).predict(others)


def knn(codes: np.ndarray, labels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Label other codes by the majority of their `NEIGHBOURS` nearest; by the nearest of few."""
    from sklearn.neighbors import KNeighborsClassifier

    n = NEIGHBOURS if len(codes) >= 10 * NEIGHBOURS else 1
    return KNeighborsClassifier(n).fit(codes, labels).predict(others)


PROBES: dict[str, Reading] = {"linear": linear, "knn": knn}


def components(x: np.ndarray, others: np.ndarray, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Find up to `n` principal components of `x` `(N, P)`, and give those of both."""
    from sklearn.decomposition import PCA

    pca = PCA(min(n, *x.shape), svd_solver="randomized", random_state=seed).fit(x)
    return pca.transform(x), pca.transform(others)


def sizes(n: int) -> list[int]:
    """List how many labels are tried where there are `n`."""
    return [size for size in SIZES if size < n] + [n]


def balanced(labels: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Draw `n` places of labels, as even over the classes as they allow, in no order."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    turn = np.empty(len(labels), int)  # which one of its class each is
    for k in np.unique(labels):
        own = order[labels[order] == k]
        turn[own] = np.arange(len(own))
    return order[np.argsort(turn[order], kind="stable")][:n]


def curve(
    read: Reading, codes: np.ndarray, labels: np.ndarray, others: np.ndarray, truth: np.ndarray, seed: int = 0
) -> np.ndarray:
    """Measure accuracy over the number of labels, `sizes`: mean and standard deviation over draws of them `(S, 2)`."""
    rows = []
    for n in sizes(len(labels)):
        found = []
        for repeat in range(REPEATS if n <= FEW else 1):
            places = balanced(labels, n, seed + repeat)
            found.append(float((read(codes[places], labels[places], others) == truth).mean()))
        rows.append((np.mean(found), np.std(found)))
    return np.array(rows, np.float32)


@dataclass(frozen=True)
class Separation:
    """How well a score, high for strangers, tells them from the usual: rates of both in [0, 1] over all thresholds.

    false_alarms, hits, thresholds: `(T,)`. area: under hits over false alarms, 0.5 by
    chance; error: its standard error.
    """

    false_alarms: np.ndarray
    hits: np.ndarray
    thresholds: np.ndarray
    area: float
    error: float


def separation(usual: np.ndarray, strange: np.ndarray) -> Separation:
    """Compare scores of usual images `(N,)` and of strangers `(M,)`; the error is Hanley & McNeil's (1982)."""
    from sklearn.metrics import roc_auc_score, roc_curve

    truth = np.r_[np.zeros(len(usual)), np.ones(len(strange))]
    scores = np.r_[usual, strange]
    false_alarms, hits, thresholds = roc_curve(truth, scores)
    area = float(roc_auc_score(truth, scores))
    both = (len(strange) - 1) * (area / (2 - area) - area**2) + (len(usual) - 1) * (2 * area**2 / (1 + area) - area**2)
    error = np.sqrt(max(0.0, area * (1 - area) + both) / (len(usual) * len(strange)))
    return Separation(false_alarms, hits, thresholds, area, float(error))


def beside(scores: np.ndarray, threshold: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """List the places of the `n` highest scores below a threshold and of the `n` lowest from it on, both ascending."""
    order = np.argsort(scores, kind="stable")
    cut = int(np.searchsorted(scores[order], threshold))
    return order[max(0, cut - n) : cut], order[cut : cut + n]
