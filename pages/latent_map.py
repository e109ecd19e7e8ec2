"""Latent map: where does each image live?"""

from functools import partial

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from explorer import figures, projection
from explorer.language import say
from explorer.projection import ProjectionUnavailable
from explorer.ui import chosen, loading, mapping, prior, screen, widgets
from explorer.ui.colouring import Colour, pick_colour
from explorer.ui.components import hover_images
from explorer.ui.frame import BOUND, Page, View, begin, finish, fragment
from explorer.ui.pictures import SHEET_COLUMNS

PAGE = Page(
    "Latent map", ":material/scatter_plot:", "Latent space", place=30,
    question="Where does each image live?",
    look_for=(
        "Point at a mark among those of another class: its image looks like theirs. Then choose a model that was told "
        "no classes: shirts, coats and pullovers run together."
    ),
)  # fmt: skip


@fragment
def chart(view: View, points: np.ndarray, axis_name: str, colour: Colour, before: list[int]) -> None:
    """Draw the map, and beside it the images of the chosen points.

    before: what was chosen when the map was drawn; with anything else it would be another figure, and drawn anew.
    """
    gallery = view.gallery
    figure = figures.latent_map(points, gallery.labels, gallery.classes, axis_name, colour.scores, colour.title, before)
    flat = points.shape[1] == 2
    with screen.picture():
        left, right = st.columns([7, 3])
    with left:
        screen.chart(
            figure, "map", say("Map of the codes of {n} {noun}, a mark for each", n=len(gallery), noun=gallery.noun),
            is_picture=True,
            on_select=partial(chosen.keep, "map") if flat else "ignore", selection_mode=("points", "lasso", "box"),
            config={"scrollZoom": True, "displayModeBar": True, "displaylogo": False},
        )  # fmt: skip
    with right, screen.beside():
        chosen.show(gallery, flat)
        titles = [gallery.label(i) for i in range(len(gallery))]
        hover_images(gallery.sheet, SHEET_COLUMNS, titles, "map", key="hover", on_clear=chosen.clear)


def show_map(view: View, model: str, method: str, dimensions: int, seldom: DeltaGenerator) -> None:
    """Draw the map by one method, with what is seldom touched, and what goes with it."""
    with seldom, screen.more():
        try:
            points, how, python = mapping.coordinates(view, model, method, dimensions)
        except ProjectionUnavailable as error:
            points, how = None, str(error)
        colour = pick_colour(view, model)
    if points is None:
        st.error(say(how))
        return
    before = chosen.read(len(view.gallery))
    chart(view, points, mapping.axis_name(method), colour, before)
    st.markdown(how + ".")
    if view.gallery.has_classes:
        mapping.figures_beside(view, model, points)
    finish(
        say(
            "Each point is one gallery image, {coloured}. Distances between far groups mean little in t-SNE and UMAP; "
            "in PCA they are projections of true ones.",
            coloured=colour.caption,
        ),
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


def pick_method(view: View, model: str, methods: list[str]) -> tuple[str, int]:
    """Choose the method, and in how many dimensions where it offers two and three."""
    first = "UMAP" if "UMAP" in methods else methods[0]
    method = st.segmented_control(
        say("Method"), methods, format_func=say, default=first, required=True, key="method", **BOUND
    )
    codes = loading.codes(view.bundle(model))["codes"]
    if method not in ("PCA", "UMAP") or projection.obstacle(method, codes, 3):
        return method, 2
    return method, st.segmented_control(say("Dimensions"), [2, 3], default=2, required=True, key="dimensions", **BOUND)


view = begin(PAGE)
chosen.of_dataset(view.dataset.name)
with screen.control():
    model = widgets.pick_model(view, view.models, default=view.shown.classifier)
    stored = loading.codes(view.bundle(model))
    methods, reasons = mapping.offered(stored["codes"])
    found = pick_method(view, model, methods) if methods else None
    seldom = st.container(width="content")
if found:
    show_map(view, model, *found, seldom)
if reasons:
    st.info(say("Not offered: {reasons}.", reasons="; ".join(map(say, reasons))))
if "log_var" in stored:
    prior.section(view, model)
