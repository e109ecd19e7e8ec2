"""Flatten codes to two or three dimensions: PCA, t-SNE, UMAP; and say how much structure they keep.

Codes are float arrays `(M, D)`; coordinates come back as float32 `(M, 2 or 3)`. Every method takes a seed
and gives the same picture again on the same machine.
"""

import threading
from collections.abc import Callable, Mapping

import numpy as np

from explorer.language import later

PERPLEXITY = 30
N_NEIGHBORS = 15
HIGHEST = 100  # perplexity or neighbours that are offered
LEAST_SPREAD = 1e-18  # of codes that t-SNE can tell apart: its square is still a float32
# Of a class that asks for many maps each is made by itself, so that none holds the pages of the others up; and numba's
# plainest threading layer, which a Mac has, ends a process that enters it twice.
_one_at_a_time = threading.Lock()


class ProjectionUnavailable(ImportError):
    """umap-learn cannot be used; the message says how that is mended."""


def perplexities(n_codes: int) -> tuple[int, int, int]:
    """Give the lowest, the usual and the highest perplexity for so many codes; the highest is below their number.

    The usual one is below a third of it, since t-SNE looks at three times as many neighbours; 0 is none.
    """
    usual = min(PERPLEXITY, (n_codes - 1) // 3)
    return min(5, usual), usual, min(HIGHEST, n_codes - 1)


def neighbor_counts(n_codes: int) -> tuple[int, int, int]:
    """Give the lowest, the usual and the highest number of neighbours that UMAP takes for so many codes."""
    return 2, min(N_NEIGHBORS, n_codes - 1), min(HIGHEST, n_codes - 1)


def obstacle(method: str, codes: np.ndarray, n_components: int = 2) -> str:
    """Say why "PCA", "t-SNE" or "UMAP" makes no map of codes `(M, D)` in so many dimensions; empty where it does."""
    fewest = {"PCA": n_components if n_components > 2 else 1, "t-SNE": 4, "UMAP": 3}[method]
    if len(codes) < fewest:
        return later("{method} needs at least {fewest} images, not {n}", method=method, fewest=fewest, n=len(codes))
    if method == "PCA" and n_components > max(2, codes.shape[1]):
        return later(
            "{method} finds no {n} directions among {numbers} numbers",
            method=method, n=n_components, numbers=codes.shape[1],
        )  # fmt: skip
    if method == "t-SNE" and np.ptp(codes, axis=0).max() < LEAST_SPREAD:
        return later("{method} needs codes that differ, and all are the same", method=method)
    return ""


def pca(codes: np.ndarray, n_components: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Project on the directions of largest variance.

    Returns coordinates `(M, n_components)` and the share of the whole variance that each explains. Directions that
    so few codes or numbers do not have explain nothing, and all coordinates are 0 there.

    Raises:
        ValueError: a code is not finite.
    """
    from sklearn.decomposition import PCA

    fitted = PCA(min(n_components, *codes.shape), random_state=seed)
    with np.errstate(divide="ignore", invalid="ignore"):  # codes that are all the same have no variance to share
        coordinates = fitted.fit_transform(codes)
    missing = n_components - coordinates.shape[1]
    explained = np.nan_to_num(fitted.explained_variance_ratio_)
    return np.pad(coordinates, ((0, 0), (0, missing))).astype(np.float32), np.pad(explained, (0, missing))


def tsne(codes: np.ndarray, perplexity: float = PERPLEXITY, seed: int = 0) -> np.ndarray:
    """Embed in the plane by t-SNE (van der Maaten & Hinton 2008), started from PCA; of several threads one by one.

    On one core: for 1,000 codes two take 1.8 times the processor time, and 4 times once UMAP has been there, and are no
    sooner done. So the picture is also the same on any number of cores.

    Raises:
        ValueError: the perplexity is not from 1 to below the number of codes; or codes are not finite, or all the same.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if not 1 <= perplexity < len(codes):
        raise ValueError(
            later(
                "a perplexity of {perplexity:g} is not from 1 to below the number of codes, {n}",
                perplexity=perplexity,
                n=len(codes),
            )
        )
    if np.ptp(codes, axis=0).max() < LEAST_SPREAD:  # scikit-learn's start would be 0 / 0, and its tree would crash
        raise ValueError(later("the codes are all the same"))
    if codes.shape[1] == 1:  # the start has two numbers; a second one of 0 changes no distance
        codes = np.pad(codes, ((0, 0), (0, 1)))
    with _one_at_a_time, threadpool_limits(1):
        return TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(codes)


def umap(codes: np.ndarray, n_components: int, n_neighbors: int = N_NEIGHBORS, seed: int = 0) -> np.ndarray:
    """Embed by UMAP (McInnes et al. 2018); of several threads one by one.

    Raises:
        ProjectionUnavailable: umap-learn is not installed, or cannot keep what it compiles.
        ValueError: there are less than three codes, or one is not finite.
    """
    with _one_at_a_time:
        UMAP = _import_umap()
        # the spectral start is made of one eigenvector more than components, and less of them than codes
        init = "spectral" if len(codes) > n_components + 1 else "random"
        neighbors = min(n_neighbors, len(codes) - 1)
        fitted = UMAP(n_components=n_components, n_neighbors=neighbors, init=init, random_state=seed, n_jobs=1)
        return fitted.fit_transform(codes).astype(np.float32)


def _import_umap() -> type:
    try:
        from umap import UMAP
    except ImportError as error:
        raise ProjectionUnavailable(
            later("UMAP needs umap-learn ({error}); install it with: pip install umap-learn", error=error)
        ) from error
    except (RuntimeError, OSError) as error:  # neither its own folder nor the home folder can be written
        raise ProjectionUnavailable(
            later(
                "UMAP cannot keep what it compiles ({error}); set the variable NUMBA_CACHE_DIR to a folder that can be "
                "written",
                error=error,
            )
        ) from error
    return UMAP


def project(codes: np.ndarray, seed: int = 0) -> tuple[dict[str, np.ndarray], list[str]]:
    """Make every stored projection of codes `(M, D)`, M and D from 1.

    Returns "pca_2d", "pca_3d" (where D is above 2), "pca_explained", "tsne_2d", "umap_2d", "umap_3d", and a sentence
    for each method that these codes or this machine leave out.
    """
    made: dict[str, np.ndarray] = {}
    left_out: list[str] = []

    def make(title: str, method: Callable[[], dict[str, np.ndarray]]) -> None:
        try:
            made.update(method())
        except ProjectionUnavailable as error:
            left_out.append(f"{error}, then make the projections again: --only projections")
        except (ArithmeticError, OSError, RuntimeError, TypeError, ValueError) as error:  # the libraries' own checks
            left_out.append(f"{title} of {len(codes):,} codes of {codes.shape[1]:,} numbers: {_first_line(error)}")

    def both_pca() -> dict[str, np.ndarray]:
        maps = {n: pca(codes, n, seed) for n in (2, 3) if n <= max(codes.shape[1], 2)}
        explained = maps[max(maps)][1].astype(np.float32)
        return {f"pca_{n}d": coordinates for n, (coordinates, _) in maps.items()} | {"pca_explained": explained}

    make("PCA", both_pca)
    make("t-SNE", lambda: {"tsne_2d": tsne(codes, perplexities(len(codes))[1], seed)})
    make("UMAP", lambda: {f"umap_{n}d": umap(codes, n, seed=seed) for n in (2, 3)})
    return made, left_out


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def class_structure(codes: np.ndarray, labels: np.ndarray, k: int = 10) -> Mapping[str, float]:
    """Measure how well classes part in a space `(M, D)` of codes or coordinates.

    "silhouette" in [-1, 1] (Rousseeuw 1987), and "knn_accuracy" in [0, 1]: how often the majority of an
    image's k nearest neighbours, itself left out, has its class. Empty where there is nothing to part: one class,
    or a class for each image.
    """
    if not 1 < len(np.unique(labels)) < len(codes):
        return {}
    from sklearn.metrics import silhouette_score
    from sklearn.neighbors import NearestNeighbors

    neighbours = NearestNeighbors(n_neighbors=min(k, len(codes) - 1)).fit(codes).kneighbors(return_distance=False)
    votes = np.apply_along_axis(np.bincount, 1, labels[neighbours], minlength=labels.max() + 1)
    return {
        "silhouette": float(silhouette_score(codes, labels)),
        "knn_accuracy": float((votes.argmax(1) == labels).mean()),
    }
