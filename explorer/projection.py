"""Flatten codes to two or three dimensions: PCA, t-SNE, UMAP; and say how much structure they keep.

Codes are float arrays `(M, D)`; coordinates come back as float32 `(M, 2 or 3)`. Every method takes a seed
and gives the same picture again on the same machine.
"""

from collections.abc import Mapping

import numpy as np

PERPLEXITY = 30.0
N_NEIGHBORS = 15


class ProjectionUnavailable(ImportError):
    """umap-learn is not installed; the message says how to get it."""


def pca(codes: np.ndarray, n_components: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Project on the directions of largest variance.

    Returns coordinates `(M, n_components)` and the share of the whole variance that each explains.
    """
    from sklearn.decomposition import PCA

    fitted = PCA(n_components, random_state=seed)
    return fitted.fit_transform(codes).astype(np.float32), fitted.explained_variance_ratio_


def tsne(codes: np.ndarray, perplexity: float = PERPLEXITY, seed: int = 0) -> np.ndarray:
    """Embed in the plane by t-SNE (van der Maaten & Hinton 2008), started from PCA.

    Raises:
        ValueError: the perplexity is not below the number of codes.
    """
    from sklearn.manifold import TSNE

    return TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(codes)


def umap(codes: np.ndarray, n_components: int, n_neighbors: int = N_NEIGHBORS, seed: int = 0) -> np.ndarray:
    """Embed by UMAP (McInnes et al. 2018).

    Raises:
        ProjectionUnavailable: umap-learn is not installed.
    """
    try:
        from umap import UMAP
    except ImportError as error:
        raise ProjectionUnavailable(
            f"UMAP needs umap-learn ({error}); install it with: pip install umap-learn"
        ) from error
    n_neighbors = min(n_neighbors, len(codes) - 1)
    fitted = UMAP(n_components=n_components, n_neighbors=n_neighbors, random_state=seed, n_jobs=1)
    return fitted.fit_transform(codes).astype(np.float32)


def project(codes: np.ndarray, seed: int = 0) -> tuple[dict[str, np.ndarray], list[str]]:
    """Make every stored projection of codes `(M, D)`.

    Returns "pca_2d", "pca_3d", "pca_explained", "tsne_2d", "umap_2d", "umap_3d" — those that exist for
    D numbers — and a sentence for each that had to be left out.
    """
    made: dict[str, np.ndarray] = {}
    left_out: list[str] = []
    for n_components in (2, 3):
        if n_components <= codes.shape[1]:
            coordinates, explained = pca(codes, n_components, seed)
            made[f"pca_{n_components}d"] = coordinates
            made["pca_explained"] = explained.astype(np.float32)
    made["tsne_2d"] = tsne(codes, min(PERPLEXITY, (len(codes) - 1) / 3), seed)
    try:
        for n_components in (2, 3):
            made[f"umap_{n_components}d"] = umap(codes, n_components, seed=seed)
    except ProjectionUnavailable as error:
        left_out.append(str(error))
    return made, left_out


def class_structure(codes: np.ndarray, labels: np.ndarray, k: int = 10) -> Mapping[str, float]:
    """Measure how well classes part in a space `(M, D)` of codes or coordinates.

    "silhouette" in [-1, 1] (Rousseeuw 1987), and "knn_accuracy" in [0, 1]: how often the majority of an
    image's k nearest neighbours, itself left out, has its class.
    """
    from sklearn.metrics import silhouette_score
    from sklearn.neighbors import NearestNeighbors

    neighbours = NearestNeighbors(n_neighbors=min(k, len(codes) - 1)).fit(codes).kneighbors(return_distance=False)
    votes = np.apply_along_axis(np.bincount, 1, labels[neighbours], minlength=labels.max() + 1)
    return {
        "silhouette": float(silhouette_score(codes, labels)),
        "knn_accuracy": float((votes.argmax(1) == labels).mean()),
    }
