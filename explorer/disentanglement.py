"""How well the numbers of a code stand for the factors that images were drawn by: MIG, DCI and SAP.

Codes are `(N, D)`, factors `(N, F)` of whole numbers, of which the first is a kind and the others have an order, as
those of `explorer.shapes`. All scores are in [0, 1], and 1 is a number of its own for each factor.

    mig    mutual information gap (Chen et al. 2018, equation 6): for each factor, how much more the number that tells
           most of it tells than the second one, as a share of all there is to tell; a mean over factors. Codes are cut
           into 20 bins of equal width (as in Locatello et al. 2019).
    dci    (Eastwood & Williams 2018): importances of numbers for predicting each factor, by gradient boosted trees (as
           in Locatello et al. 2019), classes of the kind and values of the others. "disentanglement": how little each
           number serves several factors; "completeness": how little each factor is spread over several numbers;
           "informativeness": how well factors are predicted, accuracy of the kind and R^2 of the others.
    sap    separated attribute predictability (Kumar et al. 2018): for each factor the gap between the two numbers that
           predict it best on their own: R^2 of a line for a factor with an order, balanced accuracy of thresholds for
           the kind. Locatello et al. classify all factors instead, which gives lower scores.

Predictors are fitted to the first half of the rows and judged on the second.
"""

import numpy as np

# Of dSprites, mean and deviation over ten seeds after 300,000 steps in batches of 64: Jung, Jeong & Kim, "CFASL:
# Composite Factor-Aligned Symmetry Learning for Disentanglement in Variational AutoEncoder", TMLR 2024, as its
# repository has them. Its SAP classifies every factor.
PUBLISHED = {
    "vae": {"mig": (0.132, 0.045), "disentanglement": (0.215, 0.063), "sap": (0.057, 0.020)},
    "tcvae": {"mig": (0.240, 0.101), "disentanglement": (0.353, 0.091), "sap": (0.072, 0.007)},
}
SCORES = ("mig", "sap", "disentanglement", "completeness", "informativeness")
BINS = 20
TREES = 50  # for each factor; twice as many gave the same scores to a hundredth, in twice the time
SEED = 0


def scores(codes: np.ndarray, factors: np.ndarray) -> dict[str, float]:
    """Measure all there is: "mig", "sap", and the three parts of DCI by their names."""
    return {"mig": mig(codes, factors), "sap": sap(codes, factors), **dci(codes, factors)}


def told(codes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Measure what share of each factor's entropy each number tells, the mutual information over it: `(D, F)`."""
    from sklearn.metrics import mutual_info_score

    bins = np.stack([np.digitize(z, np.histogram_bin_edges(z, BINS)[:-1]) for z in codes.T])
    information = np.array([[mutual_info_score(z, factor) for factor in factors.T] for z in bins])
    return information / np.array([mutual_info_score(factor, factor) for factor in factors.T])


def mig(codes: np.ndarray, factors: np.ndarray) -> float:
    """Measure the mutual information gap; a code of one number has none beside it."""
    return _gap(told(codes, factors))


def sap(codes: np.ndarray, factors: np.ndarray) -> float:
    """Measure the separated attribute predictability; a number that does not vary predicts nothing."""
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.tree import DecisionTreeClassifier

    half = len(codes) // 2
    kind, ordered = factors[:, 0], factors[:, 1:].astype(float)
    predicted = np.zeros((codes.shape[1], factors.shape[1]))
    for i, z in enumerate(codes.T.astype(float)):
        if z.std() < 1e-6:
            continue
        thresholds = DecisionTreeClassifier(max_leaf_nodes=kind.max() + 1, class_weight="balanced")
        found = thresholds.fit(z[:half, None], kind[:half]).predict(z[half:, None])
        predicted[i, 0] = balanced_accuracy_score(kind[half:], found)
        predicted[i, 1:] = [np.corrcoef(z, factor)[0, 1] ** 2 for factor in ordered.T]
    return _gap(predicted)


def dci(codes: np.ndarray, factors: np.ndarray) -> dict[str, float]:
    """Measure disentanglement, completeness and informativeness."""
    from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor

    half, importances, right = len(codes) // 2, [], []
    for j, factor in enumerate(factors.T):
        kind = GradientBoostingRegressor if j else GradientBoostingClassifier
        model = kind(n_estimators=TREES, random_state=SEED).fit(codes[:half], factor[:half])
        importances.append(model.feature_importances_)
        right.append(model.score(codes[half:], factor[half:]))
    weights = np.stack(importances, axis=1)  # (D, F)
    return {
        "disentanglement": float(np.average(_focus(weights), weights=weights.sum(1))),
        "completeness": float(_focus(weights.T).mean()),
        "informativeness": float(np.clip(right, 0, 1).mean()),
    }


def _gap(values: np.ndarray) -> float:
    """Average over columns how much the largest of a column `(D, F)` is above the second."""
    ordered = np.sort(np.concatenate([np.zeros((1, values.shape[1])), values]), axis=0)
    return float((ordered[-1] - ordered[-2]).mean())


def _focus(weights: np.ndarray) -> np.ndarray:
    """Say how far each row `(R, K)` is from even: 1 minus its entropy over that of an even one; 0 for one of zeros."""
    shares = (weights + 1e-12) / (weights + 1e-12).sum(1, keepdims=True)
    return 1 + (shares * np.log(shares)).sum(1) / np.log(shares.shape[1])
