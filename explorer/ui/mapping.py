"""What the map is made of: the methods that can map a model's codes, their settings, and the coordinates."""

import numpy as np
import streamlit as st

from explorer import projection
from explorer.language import later, number, say
from explorer.ui import loading
from explorer.ui.frame import BOUND, View

METHODS = ("PCA", "t-SNE", "UMAP")
NATIVE = later("native plane")


def axis_name(method: str) -> str:
    """Name what the axes count."""
    return "z" if method == NATIVE else method


def offered(codes: np.ndarray) -> tuple[list[str], list[str]]:
    """List the methods that can map codes `(M, D)` in two dimensions, and for each other one a sentence why not."""
    reasons = {method: projection.obstacle(method, codes) for method in METHODS}
    methods = [method for method, reason in reasons.items() if not reason]
    return methods + [NATIVE] * (codes.shape[1] == 2), [reason for reason in reasons.values() if reason]


def coordinates(view: View, model: str, method: str, dimensions: int) -> tuple[np.ndarray, str, str]:
    """Take the stored coordinates `(M, 2 or 3)`, or compute them with one's own setting.

    Returns them with how they were made, in words and as a line of Python on `codes` or `stored`.
    """
    bundle = view.bundle(model)
    stored = loading.codes(bundle)
    if method == NATIVE:
        return stored["codes"], say("the two latent numbers themselves"), "codes"
    key = f"{method.lower().replace('-', '')}_{dimensions}d"
    from_bundle = f'stored["{key}"].numpy()  # made by projection.'
    if method == "PCA":
        python = f"pca(codes, {dimensions})[0]"
        if is_stored := key in stored and "pca_explained" in stored:
            points, share = stored[key], stored["pca_explained"][:dimensions]
        else:
            points, share = projection.pca(stored["codes"], dimensions)
        parts = " + ".join(f"{number(100 * s, '.1f')} %" for s in share)
        words = say("PCA explains {share:.1f} % of the variance ({parts})", share=100 * share.sum(), parts=parts)
        return points, words, from_bundle + python if is_stored else f"projection.{python}"
    if method == "t-SNE":
        setting, usual = pick_setting(say("Perplexity"), "perplexity", projection.perplexities(len(stored["codes"])))
        words, python = say("t-SNE with perplexity {setting}", setting=setting), f"tsne(codes, {setting})"
    else:
        setting, usual = pick_setting(say("Neighbours"), "neighbors", projection.neighbor_counts(len(stored["codes"])))
        words, python = say("UMAP with {setting} neighbours", setting=setting), f"umap(codes, {dimensions}, {setting})"
    if setting == usual and key in stored:
        return stored[key], say("{words}, stored with the model", words=words), from_bundle + python
    points = loading.projected(bundle, method, dimensions, setting)
    return points, say("{words}, computed just now", words=words), f"projection.{python}"


def pick_setting(label: str, key: str, choices: tuple[int, int, int]) -> tuple[int, int]:
    """Choose from the lowest to the highest, at first the usual one; return the choice and the usual one."""
    lowest, usual, highest = choices
    if lowest == highest:
        return usual, usual
    return st.slider(label, lowest, highest, usual, key=key, **BOUND), usual


def figures_beside(view: View, model: str, points: np.ndarray) -> None:
    """Show how well classes part in the whole code, and in the picture."""
    bundle, labels = view.bundle(model), view.gallery.labels
    code = loading.structure(bundle, labels, loading.codes(bundle)["codes"])
    picture = loading.structure(bundle, labels, points)
    if not code:
        return
    k = min(10, len(points) - 1)
    st.markdown(
        f"| {say('classes')} | {say('code')} | {say('picture')} |\n|---|---|---|\n"
        f"| {say('silhouette')} | {number(code['silhouette'], '.2f')} | {number(picture['silhouette'], '.2f')} |\n"
        f"| {say('{k}-NN accuracy', k=k)} | {code['knn_accuracy']:.0%} | {picture['knn_accuracy']:.0%} |\n",
        help=say(
            "Silhouette: −1 to 1, 1 for tight, separate classes. {k}-NN accuracy: how often the most "
            "frequent class among an image's {k} nearest neighbours is its own.",
            k=k,
        ),
    )
