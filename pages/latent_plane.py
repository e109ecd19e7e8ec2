"""Latent plane: what does every point decode to?"""

import numpy as np
import streamlit as st
import torch

from explorer import latent
from explorer.ui import loading, widgets
from explorer.ui.frame import BOUND, View, begin, finish, usable
from explorer.ui.pictures import Strip, cell_places, show_legend, show_plane, show_strips

NATIVE = "conv-vae"
TABS = ("The 2-D code", "Through three images")
CAPTION = (
    "Each small picture is what the decoder makes of the point it stands on; dots are the codes of real images. "
    "Where dots are dense the decoder had practice, elsewhere it guesses."
)


@st.cache_data(max_entries=64, show_spinner=False)
def decoded(_view: View, dataset: str, model: str, fingerprint: object, z: np.ndarray) -> np.ndarray:
    """Decode codes `(N, D)`; kept, so that a slider moved back answers at once."""
    return loading.decode(_view.bundle(model), torch.from_numpy(z))


def sheet(
    view: View,
    model: str,
    axis: torch.Tensor,
    z: torch.Tensor,
    points: np.ndarray | None,
    names: tuple[str, str],
) -> None:
    """Draw the decoded grid of codes `z` `(n * n, D)` at `axis` `(n,)`, and gallery coordinates over it."""
    x = decoded(view, view.dataset.name, model, view.bundle(model).fingerprint, z.numpy())
    ticks = [(float(cell_places(axis.numpy(), v.numpy())), f"{v:.2f}") for v in axis[:: max(1, len(axis) // 6)]]
    over = None if points is None else cell_places(axis.numpy(), points)
    show_plane(x, len(axis), ticks, over, view.gallery.labels, names)


@st.fragment
def native_plane(view: View) -> None:
    """Draw the grid of the two latent numbers."""
    controls, picture = st.columns([1, 3])
    with controls:
        reach = st.slider("Range: ± standard deviations", 0.5, 5.0, 2.5, 0.25, key="reach", **BOUND)
        density = st.slider("Images per side", 6, 30, 12, key="density", **BOUND)
        spacing = st.segmented_control(
            "Spacing", ["linear", "quantiles"], default="linear", required=True, key="spacing", **BOUND,
            help="quantiles: equal shares of the prior between neighbours",
        )  # fmt: skip
        codes_on = st.toggle("Codes of the gallery", key="codes", **BOUND)
        if codes_on:
            show_legend(view.gallery.classes)
    axis = latent.axis(density, reach, spacing)
    points = loading.codes(view.bundle(NATIVE))["codes"] if codes_on else None
    with picture:
        sheet(view, NATIVE, axis, latent.plane(axis, axis), points, ("z₁", "z₂"))
    finish(
        CAPTION,
        f"""
from explorer import latent
from explorer.checkpoints import Bundle, root_folder
from explorer.images import grid, to_pil

model = Bundle("{view.dataset.name}", "{NATIVE}", root_folder()).load()
axis = latent.axis({density}, reach={reach}, spacing="{spacing}")
x = model.decode(latent.plane(axis, axis))
to_pil(grid(x.numpy(), columns=len(axis), gap=0), scale=3).save("plane.png")
""",
    )


def three_image_plane(view: View) -> None:
    """Draw the grid of the plane through the codes of three chosen images."""
    model = widgets.pick_model(view)
    picks = widgets.pick_images(view.gallery, 3)
    controls, picture = st.columns([1, 3])
    with controls:
        margin = st.slider("Beyond the images", 0.0, 1.5, 0.25, 0.05, key="margin", **BOUND)
        density = st.slider("Images per side", 5, 24, 10, key="density3", **BOUND)
        codes_on = st.toggle("Codes of the gallery", key="codes3", **BOUND, help="dropped on the plane")
        if codes_on:
            show_legend(view.gallery.classes)
    bundle = view.bundle(model)
    corner = loading.encode(bundle, view.gallery.images[picks])
    try:
        through = latent.PlaneThroughThree(*corner)
    except ValueError as error:
        st.info(str(error))
        return
    axis = torch.linspace(-margin, 1 + margin, density)
    codes = torch.from_numpy(loading.codes(bundle)["codes"])
    points, distance = through.coordinates(codes)
    with picture:
        shown = points.numpy() if codes_on else None
        sheet(view, model, axis, through.codes(latent.plane(axis, axis)), shown, ("A → B", "A → C"))
        show_strips([Strip("The three images", view.gallery.images[picks], ["A: (0, 0)", "B: (1, 0)", "C: (0, 1)"])])
        st.markdown(
            f"The plane misses most of the code: gallery codes lie {distance.median():.1f} away from it (median), "
            f"and {codes.norm(dim=1).median():.1f} from the origin."
        )
    finish(
        CAPTION,
        f"""
import torch
from explorer import latent
from explorer.checkpoints import Bundle, root_folder
from explorer.datasets import DATASETS
from explorer.images import grid, to_float, to_pil

model = Bundle("{view.dataset.name}", "{model}", root_folder()).load()
x = to_float(DATASETS["{view.dataset.name}"].load("test").images[{view.gallery.indices[picks].tolist()}])
through = latent.PlaneThroughThree(*model.embed(x))
axis = torch.linspace({-margin}, {1 + margin}, {density})
sheet = model.decode(through.codes(latent.plane(axis, axis)))
to_pil(grid(sheet.numpy(), columns=len(axis), gap=0), scale=3).save("plane.png")
""",
    )


view = begin("latent_plane")
first, second = st.tabs(TABS, key="plane", bind="query-params", on_change="rerun")
if first.open:
    with first:
        if usable(view, [NATIVE]):
            native_plane(view)
if second.open:
    with second:
        three_image_plane(view)
