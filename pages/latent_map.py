"""Latent map: where does each image live?"""

from functools import partial

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from explorer import figures, projection
from explorer.projection import ProjectionUnavailable
from explorer.ui import chosen, loading, mapping, prior, widgets
from explorer.ui.colouring import Colour, pick_colour
from explorer.ui.components import hover_images
from explorer.ui.frame import BOUND, Page, View, begin, finish, fragment
from explorer.ui.pictures import SHEET_COLUMNS, Strip, show_strips

PAGE = Page(
    "Latent map", ":material/scatter_plot:", "Latent space", place=30,
    question="Where does each image live?",
    look_for=(
        "Kinds of images that share a region, and single images in the wrong one: what do they look like? Then "
        "change the method: what stays together in all of them is in the code, the rest is in the picture."
    ),
)  # fmt: skip

SHOWN = 24


def figures_beside(view: View, model: str, points: np.ndarray) -> None:
    """Show how well classes part in the whole code, and in the picture."""
    bundle, labels = view.bundle(model), view.gallery.labels
    code = loading.structure(bundle, labels, loading.codes(bundle)["codes"])
    picture = loading.structure(bundle, labels, points)
    if not code:
        return
    k = min(10, len(points) - 1)
    st.markdown(
        "| classes | code | picture |\n|---|---|---|\n"
        f"| silhouette | {code['silhouette']:.2f} | {picture['silhouette']:.2f} |\n"
        f"| {k}-NN accuracy | {code['knn_accuracy']:.0%} | {picture['knn_accuracy']:.0%} |\n",
        help=f"Silhouette: −1 to 1, 1 for tight, separate classes. {k}-NN accuracy: how often the most frequent class "
        f"among an image's {k} nearest neighbours is its own.",
    )


@fragment
def chart(view: View, points: np.ndarray, axis_name: str, colour: Colour, before: list[int]) -> None:
    """Draw the map, and under it the images of the chosen points.

    before: what was chosen when the map was drawn; with anything else it would be another figure, and drawn anew.
    """
    gallery = view.gallery
    figure = figures.latent_map(points, gallery.labels, gallery.classes, axis_name, colour.scores, colour.title, before)
    flat = points.shape[1] == 2
    st.plotly_chart(
        figure, key="map", on_select=partial(chosen.keep, "map") if flat else "ignore",
        selection_mode=("points", "lasso", "box"),
        config={"scrollZoom": True, "displayModeBar": True, "displaylogo": False},
    )  # fmt: skip
    titles = [gallery.label(i) for i in range(len(gallery))]
    hover_images(gallery.sheet, SHEET_COLUMNS, titles, "map", key="hover", on_clear=chosen.clear)
    now = chosen.read(len(gallery))
    if not now:
        hint = "Click a point, or draw a lasso or box around some," if flat else "In two dimensions, click points"
        st.markdown(f"{hint} to see their images here.")
        return
    shown = f", the first {SHOWN} shown" if len(now) > SHOWN else ""
    st.markdown(f"**{len(now)} chosen**{shown}. {'Double-click the map to let go of them.' if flat else ''}")
    for start in range(0, min(len(now), SHOWN), 12):
        part = now[start : min(start + 12, SHOWN)]
        show_strips([Strip("Chosen" if start == 0 else "", gallery.images[part], [gallery.label(i) for i in part])])


def show_map(view: View, model: str, columns: list[DeltaGenerator], methods: list[str]) -> None:
    """Draw the controls of the map, the map, and what goes with it."""
    codes = loading.codes(view.bundle(model))["codes"]
    first = "UMAP" if "UMAP" in methods else methods[0]
    method = columns[0].segmented_control("Method", methods, default=first, required=True, key="method", **BOUND)
    dimensions = 2
    if method in ("PCA", "UMAP") and not projection.obstacle(method, codes, 3):
        dimensions = columns[1].segmented_control(
            "Dimensions", [2, 3], default=2, required=True, key="dimensions", **BOUND
        )
    left, right = st.columns([3, 1])
    with right:
        try:
            points, how, python = mapping.coordinates(view, model, method, dimensions)
        except ProjectionUnavailable as error:
            st.error(str(error))
            return
        st.markdown(how + ".")
        if view.gallery.has_classes:
            figures_beside(view, model, points)
        colour = pick_colour(view, model)
    with left:
        before = chosen.read(len(view.gallery))
        chart(view, points, mapping.axis_name(method), colour, before)
    finish(
        f"Each point is one gallery image, {colour.caption}. Distances between far groups mean little in t-SNE and "
        "UMAP; in PCA they are projections of true ones.",
        f"""
from explorer import figures, projection
from explorer.cards import read_dataset
from explorer.checkpoints import Bundle, read_gallery, root_folder

bundle = Bundle("{view.dataset.name}", "{model}", root_folder())
stored = bundle.codes()
codes = stored["codes"].float().numpy()
labels = read_gallery(bundle.root, bundle.dataset).labels.numpy()
classes = read_dataset(bundle.root, bundle.dataset).classes
points = {python}
{colour.python}
axis_name, title, chosen = "{mapping.axis_name(method)}", "{colour.title}", {before}
figures.latent_map(points, labels, classes, axis_name, scores, title, chosen).write_html("map.html")
""",
    )


view = begin(PAGE)
chosen.of_dataset(view.dataset.name)
columns = st.columns([2, 2, 1])
with columns[0]:
    model = widgets.pick_model(view, view.models)
stored = loading.codes(view.bundle(model))
methods, reasons = mapping.offered(stored["codes"])
if methods:
    show_map(view, model, columns[1:], methods)
if reasons:
    st.info(f"Not offered: {'; '.join(reasons)}.")
if "log_var" in stored:
    prior.section(view, model)
