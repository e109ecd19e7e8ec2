"""Latent map: where does each image live?"""

import numpy as np
import streamlit as st

from explorer import figures
from explorer.projection import N_NEIGHBORS, PERPLEXITY, ProjectionUnavailable
from explorer.ui import address, loading, prior, widgets
from explorer.ui.colouring import Colour, pick_colour
from explorer.ui.components import hover_images
from explorer.ui.frame import BOUND, View, begin, finish, fragment
from explorer.ui.pictures import SHEET_COLUMNS, Strip, show_strips

SHOWN = 24
METHODS = ("PCA", "t-SNE", "UMAP", "native plane")


def coordinates(view: View, model: str, method: str, dimensions: int) -> tuple[np.ndarray, str, str]:
    """Take the stored coordinates `(M, 2 or 3)`, or compute them with one's own setting.

    Returns them with how they were made, in words and as a line of Python on `codes`.
    """
    bundle = view.bundle(model)
    stored = loading.codes(bundle)
    if method == "native plane":
        return stored["codes"], "the two latent numbers themselves", "codes"
    if method == "PCA":
        share = stored["pca_explained"][:dimensions]
        parts = " + ".join(f"{100 * s:.1f} %" for s in share)
        words = f"PCA explains {100 * share.sum():.1f} % of the variance ({parts})"
        return stored[f"pca_{dimensions}d"], words, f"projection.pca(codes, {dimensions})[0]"
    if method == "t-SNE":
        top = min(100, (len(view.gallery) - 1) // 3)
        setting = st.slider("Perplexity", 5, top, int(PERPLEXITY), key="perplexity", **BOUND)
        key, default, what = "tsne_2d", PERPLEXITY, "perplexity"
        python = f"projection.tsne(codes, {setting})"
    else:
        setting = st.slider("Neighbours", 2, 100, N_NEIGHBORS, key="neighbors", **BOUND)
        key, default, what = f"umap_{dimensions}d", N_NEIGHBORS, "neighbours"
        python = f"projection.umap(codes, {dimensions}, {setting})"
    if setting == default and key in stored:
        return stored[key], f"{method} with {what} {setting}, stored with the model", python
    points = loading.projected(bundle, method, dimensions, setting)
    return points, f"{method} with {what} {setting}, computed just now", python


def figures_beside(view: View, model: str, points: np.ndarray) -> None:
    """Show how well classes part in the whole code, and in the picture."""
    bundle = view.bundle(model)
    code = loading.structure(bundle, view.gallery.labels, loading.codes(bundle)["codes"])
    picture = loading.structure(bundle, view.gallery.labels, points)
    st.markdown(
        "| classes | code | picture |\n|---|---|---|\n"
        f"| silhouette | {code['silhouette']:.2f} | {picture['silhouette']:.2f} |\n"
        f"| 10-NN accuracy | {code['knn_accuracy']:.0%} | {picture['knn_accuracy']:.0%} |\n",
        help="Silhouette: −1 to 1, 1 for tight, separate classes. 10-NN accuracy: how often the majority of an "
        "image's ten nearest neighbours has its class.",
    )


def selection(event: dict, n: int) -> list[int]:
    """List the gallery numbers of the points that were clicked or lassoed, kept in the address as `chosen`."""
    chosen = [i for point in event["selection"]["points"] if (i := point["customdata"]) < n]  # of an older gallery
    if chosen:
        st.query_params["chosen"] = [str(i) for i in chosen[:SHOWN]]
        st.session_state["has_selected"] = True
    elif st.session_state.pop("has_selected", False):  # a selection of this visit was cleared
        st.query_params.pop("chosen", None)
    else:
        chosen = address.wholes("chosen", n)[:SHOWN]
    return chosen


@fragment
def chart(view: View, points: np.ndarray, method: str, colour: Colour) -> None:
    """Draw the map, and under it the images of the chosen points."""
    gallery = view.gallery
    axis_name = "z" if method == "native plane" else method
    figure = figures.latent_map(points, gallery.labels, gallery.classes, axis_name, colour.scores, colour.title)
    flat = points.shape[1] == 2
    event = st.plotly_chart(
        figure, key="map", on_select="rerun" if flat else "ignore", selection_mode=("points", "lasso", "box"),
        config={"scrollZoom": True, "displayModeBar": True, "displaylogo": False},
    )  # fmt: skip
    titles = [gallery.label(i) for i in range(len(gallery))]
    hover_images(gallery.sheet, SHEET_COLUMNS, titles, "map", key="hover")
    chosen = selection(event, len(gallery)) if flat else []
    if not chosen:
        hint = (
            "Click a point, or draw a lasso or box around some,"
            if flat
            else "Switch to two dimensions and click points"
        )
        st.markdown(f"{hint} to see their images here.")
        return
    st.markdown(f"**{len(chosen)} chosen**" + (f", the first {SHOWN} shown" if len(chosen) > SHOWN else ""))
    for start in range(0, min(len(chosen), SHOWN), 12):
        part = chosen[start : min(start + 12, SHOWN)]
        show_strips([Strip("Chosen" if start == 0 else "", gallery.images[part], [gallery.label(i) for i in part])])


view = begin("latent_map")
columns = st.columns([2, 2, 1])
with columns[0]:
    model = widgets.pick_model(view, view.models)
native = loading.model(view.bundle(model)).code_length == 2
methods = [m for m in METHODS if native or m != "native plane"]
method = columns[1].segmented_control("Method", methods, default="UMAP", required=True, key="method", **BOUND)
can_3d = method in ("PCA", "UMAP") and f"{method.lower()}_3d" in loading.codes(view.bundle(model))
dimensions = 2
if can_3d:
    dimensions = columns[2].segmented_control("Dimensions", [2, 3], default=2, required=True, key="dimensions", **BOUND)
left, right = st.columns([3, 1])
with right:
    try:
        points, how, python = coordinates(view, model, method, dimensions)
    except ProjectionUnavailable as error:
        st.error(str(error))
        st.stop()
    st.markdown(how + ".")
    if view.gallery.has_classes:
        figures_beside(view, model, points)
    colour = pick_colour(view, model)
with left:
    chart(view, points, method, colour)
finish(
    f"Each point is one gallery image, {colour.caption}. Distances between far groups mean little in t-SNE and UMAP; "
    "in PCA they are projections of true ones.",
    f"""
from explorer import figures, projection
from explorer.checkpoints import Bundle, read_gallery, root_folder
from explorer.datasets import DATASETS

bundle = Bundle("{view.dataset.name}", "{model}", root_folder())
codes = bundle.codes()["codes"].float().numpy()
labels = read_gallery(bundle.root, bundle.dataset).labels.numpy()
classes = DATASETS[bundle.dataset].classes
points = {python}
{colour.python}
figures.latent_map(points, labels, classes, "{method}", scores, "{colour.title}").write_html("map.html")
""",
)
if "log_var" in loading.codes(view.bundle(model)):
    prior.section(view, model)
