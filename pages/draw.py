"""Draw: what does it make of your own drawing?"""

import numpy as np
import streamlit as st
import torch

from explorer import latent
from explorer.ui import components, live, loading, widgets
from explorer.ui.frame import BOUND, View, begin, finish, fragment

PLACED_BY = "conv-vae"
GROUP = "draw"


CAPTION = (
    "Left the pad, which starts with an image of the gallery, beside it the reconstruction, and what the classifier "
    "takes the drawing for."
)
PLACE = (
    " In the plane of the variational autoencoder the ring is where the drawing lands, the ellipse how sure the "
    "encoder is (2 standard deviations)."
)


@fragment
def pad(view: View, model: str) -> None:
    """Show the pad with what the model makes of it, and the plane in which it lands."""
    start = widgets.pick_images(view.gallery, 1, expanded=False)[0]
    columns = st.columns(3, vertical_alignment="bottom")
    brush = columns[0].slider("Brush: radius in pixels", 0.5, 4.0, 1.2, 0.1, key="brush", **BOUND)
    soft = columns[1].toggle("Soft edge", value=True, key="soft", **BOUND)
    erase = columns[2].toggle("Erase", key="erase")
    bundle = view.bundle(model)
    if reason := live.unsupported(bundle):
        st.info(f"This model cannot run in the browser, so it cannot follow a drawing: {reason}.")
        finish("Choose another model to draw for.", python_for(view, model, start))
        return
    placed_by = view.bundle(PLACED_BY)
    can_place = not placed_by.problem
    left, right = st.columns([3, 2])
    with left:
        components.drawing_pad(
            {
                "model": bundle.identity,
                "weights": live.weights(bundle, placed_by, view.bundle(live.CLASSIFIER)),
                "variational": loading.model(bundle).config.variational,
                "placed": placed_by.identity if can_place else None,
                "group": GROUP,
                **live.classifier_data(view),
                "noun": view.gallery.noun,
                "errors": np.sort(loading.gallery_errors(bundle, view.gallery)).round(6).tolist(),
                "brush": brush,
                "soft": soft,
                "erase": erase,
                "start": view.gallery.images[start].ravel().round(4).tolist(),
                "version": f"{view.dataset.name}-{start}",
            },
            key="pad",
        )
    with right:
        if can_place:
            axis = torch.linspace(-3.5, 3.5, 12)
            live.live_plane(
                view, PLACED_BY, latent.Plane.native(), axis, ("z₁", "z₂"), ["codes"], "draw-plane", group=GROUP
            )
    finish(CAPTION + PLACE * can_place, python_for(view, model, start))


def python_for(view: View, model: str, start: int) -> str:
    """Write the lines of Python that rebuild the image on the pad, or a drawing of one's own."""
    return f"""
import torch
from pathlib import Path
from explorer.checkpoints import Bundle, root_folder
from explorer.datasets import DATASETS
from explorer.images import grid, read_upload, to_float, to_pil

model = Bundle("{view.dataset.name}", "{model}", root_folder()).load()
{view.gallery.python([start])}
if Path("mine.png").exists():  # a drawing of your own, white on black
    x = torch.from_numpy(read_upload(Path("mine.png").read_bytes(), {view.dataset.image_shape}))[None]
to_pil(grid(torch.cat([x, model(x)]).numpy(), columns=2), scale=4).save("rebuilt.png")
"""


view = begin("draw")
model = widgets.pick_model(view)
pad(view, model)
