"""Latent plane: what does every point decode to?"""

import streamlit as st
import torch

from explorer import latent
from explorer.ui import live, loading, widgets
from explorer.ui.frame import BOUND, View, begin, finish, fragment, usable
from explorer.ui.pictures import Strip, show_legend, show_strips

NATIVE = "conv-vae"
THROUGH = ("principal directions", "three images")
DIRECTIONS = ("principal direction", "latent number")
LAYERS = {
    "sheet": "decoded images",
    "codes": "where gallery images lie, by class",
    "density": "how many of them",
    "prior": "one, two and three standard deviations",
    "posterior": "two standard deviations of one image",
}
OF_ANY_CODE = ("sheet", "codes", "density")
IMPORTS = """
import torch
from explorer import latent
from explorer.checkpoints import Bundle, root_folder
from explorer.images import grid, to_pil
"""
CAPTION = (
    "The picture beside the plane is what the decoder makes of the point under the pointer{guess}. "
    "Click to pin a point, drag it, nudge it with the arrow keys; Escape lets it go."
)
GUESS = ", with what the classifier takes it for"
ALONG = (
    "The image in the middle is the reconstruction; to both sides one thing changes and everything else is kept. "
    "A direction that changes one thing you can name is what people call disentangled."
)
HOLES = (
    "Both planes are in standard deviations and share the pointer. Where no code lives, the plain autoencoder "
    "was never asked to make anything; the variational one was asked for something plausible all around the middle."
)


def pick_layers(view: View, offered: tuple[str, ...], default: str, key: str) -> list[str]:
    """Choose what lies on the plane."""
    chosen = st.pills(
        "Layers", offered, selection_mode="multi", default=[default], key=key, **BOUND,
        help=" ".join(f"{name}: {LAYERS[name]}." for name in offered),
    )  # fmt: skip
    if "codes" in chosen:
        show_legend(view.gallery.classes)
    return chosen


def caption(view: View) -> str:
    """Say how to read a plane."""
    return CAPTION.format(guess=GUESS if live.CLASSIFIER in view.models else "")


def cells(view: View, n: int) -> int:
    """Give the number of cells beside each other: `n` of 28 pixels, fewer of larger images."""
    return max(7, n * 28 // view.dataset.image_shape[-1])


@fragment
def native_plane(view: View) -> None:
    """Show the plane of the two latent numbers."""
    columns = st.columns(3)
    reach = columns[0].slider("Range: ± standard deviations", 0.5, 5.0, 2.5, 0.25, key="reach", **BOUND)
    density = columns[1].slider("Images per side", 6, 30, 10, key="density", **BOUND)
    spacing = columns[2].segmented_control(
        "Spacing", ["linear", "quantiles"], default="linear", required=True, key="spacing", **BOUND,
        help="quantiles: equal shares of the prior between neighbours",
    )  # fmt: skip
    layers = pick_layers(view, tuple(LAYERS), "sheet", "layers")
    stored = loading.codes(view.bundle(NATIVE))
    ellipse = None
    if "posterior" in layers:
        i = widgets.pick_images(view.gallery, 1, expanded=False)[0]
        ellipse = [*stored["codes"][i].tolist(), *(2 * torch.from_numpy(stored["log_var"][i] / 2).exp()).tolist()]
    where, axis = latent.Plane.native(), latent.axis(density, reach, spacing)
    pins = live.live_plane(
        view, NATIVE, where, axis, ("z₁", "z₂"), layers, "native", ellipse=ellipse, pins=live.read_pins()
    )
    live.show_pins(view, NATIVE, where, pins)
    python = f"latent.axis({density}, {reach}, '{spacing}')"
    finish(caption(view), python_for(view, NATIVE, python, "latent.Plane.native()"))


def any_plane(view: View) -> None:
    """Show a plane through the longer code of any model: along its principal directions or through three images."""
    left, right = st.columns(2)
    with left:
        model = widgets.pick_model(view)
    through = right.segmented_control(
        "Plane", THROUGH, default=THROUGH[0], required=True, key="through", **BOUND
    )  # fmt: skip
    codes = torch.from_numpy(loading.codes(view.bundle(model))["codes"])
    if through == THROUGH[0]:
        where, axis, names = (
            latent.Plane.principal(codes),
            torch.linspace(-2.5, 2.5, cells(view, 12)),
            ("direction 1", "direction 2"),
        )
        python = "latent.Plane.principal(codes)"
    else:
        picks = widgets.pick_images(view.gallery, 3)
        images = view.gallery.images[picks]
        show_strips([Strip("The three images", images, ["A: (0, 0)", "B: (1, 0)", "C: (0, 1)"])])
        try:
            where = latent.Plane.through(*codes[picks])
        except ValueError as error:
            st.info(str(error))
            return
        axis, names = torch.linspace(-0.25, 1.25, cells(view, 12)), ("A → B", "A → C")
        python = f"latent.Plane.through(*codes[{picks}])"
    live_any(view, model, where, axis, names, python)


@fragment
def live_any(
    view: View, model: str, where: latent.Plane, axis: torch.Tensor, names: tuple[str, str], python: str
) -> None:
    """Show the chosen plane; only this part runs again when a pin moves."""
    layers = pick_layers(view, OF_ANY_CODE, "sheet", "layers-any")
    key = f"any-{model}-{names[0]}"
    pins = live.live_plane(view, model, where, axis, names, layers, key, pins=live.read_pins())
    live.show_pins(view, model, where, pins)
    ends = f"torch.linspace({axis[0]:.2f}, {axis[-1]:.2f}, {len(axis)})"
    finish(caption(view), python_for(view, model, ends, python))


def traversal(view: View) -> None:
    """Show a strip along one latent number or one principal direction, through the code of an image."""
    columns = st.columns(3)
    with columns[0]:
        model = widgets.pick_model(view)
    stored = torch.from_numpy(loading.codes(view.bundle(model))["codes"])
    kind = columns[1].segmented_control(
        "Direction", DIRECTIONS, default=DIRECTIONS[0], required=True, key="direction", **BOUND
    )  # fmt: skip
    most = min(stored.shape[1], 20) if kind == DIRECTIONS[0] else stored.shape[1]
    number = int(columns[2].number_input("Which", 1, most, 1, key="which", **BOUND)) - 1
    if kind == DIRECTIONS[0]:
        python = f"latent.principal_directions(codes, {number + 1})[{number}]"
        direction = latent.principal_directions(stored, number + 1)[number]
    else:
        python = f"torch.eye(codes.shape[1])[{number}] * codes.std(dim=0)[{number}]"
        direction = torch.eye(stored.shape[1])[number] * stored.std(dim=0)[number]
    i = widgets.pick_images(view.gallery, 1, expanded=False)[0]
    n = cells(view, 13) | 1  # odd, so that the image itself stands in the middle
    where, axis = latent.Plane.line(stored[i], direction), torch.linspace(-3, 3, n)
    names = (f"{kind} {number + 1}, standard deviations from the image", "")
    live.live_plane(view, model, where, axis, names, ["sheet"], f"line-{model}", flat=True)
    code = python_for(view, model, f"torch.linspace(-3, 3, {n})", f"latent.Plane.line(codes[{i}], {python})")
    finish(ALONG, code.replace("latent.plane(axis, axis)", "latent.plane(axis, torch.zeros(1))"))


def hole_test(view: View) -> None:
    """Show a plain autoencoder's plane and the variational one's side by side under one pointer."""
    left, right = st.columns(2)
    plain = [name for name in view.autoencoders if name != NATIVE]
    name = left.selectbox("Plain autoencoder", plain, key="plain", **BOUND)
    with right:
        layers = pick_layers(view, OF_ANY_CODE, "density", "layers-holes")
    if name not in usable(view, [name]):
        return
    axis = torch.linspace(-3, 3, 12)
    for column, model in zip(st.columns(2), (name, NATIVE), strict=True):
        with column:
            st.markdown(f"**{widgets.title_of(model)}**")
            where = latent.Plane.principal(torch.from_numpy(loading.codes(view.bundle(model))["codes"]))
            live.live_plane(
                view, model, where, axis, ("direction 1", "direction 2"), layers, f"hole-{model}", group="hole"
            )
    ends = "torch.linspace(-3, 3, 12)"
    sheets = [sheet_of(view, model, ends, "latent.Plane.principal(codes)", model) for model in (name, NATIVE)]
    finish(HOLES, IMPORTS + "".join(sheets))


def python_for(view: View, model: str, axis: str, where: str) -> str:
    """Write the lines of Python that make the decoded sheet of a plane."""
    return IMPORTS + sheet_of(view, model, axis, where, "plane")


def sheet_of(view: View, model: str, axis: str, where: str, file: str) -> str:
    """Write the lines that decode one sheet; they need `IMPORTS`."""
    return f"""
bundle = Bundle("{view.dataset.name}", "{model}", root_folder())
codes = bundle.codes()["codes"].float()
axis = {axis}
x = bundle.load().decode({where}.codes(latent.plane(axis, axis)))
to_pil(grid(x.numpy(), columns=len(axis), gap=0), scale=3).save("{file}.png")
"""


view = begin("latent_plane")
views = {"Any model": any_plane, "Along one direction": traversal}
if NATIVE in view.autoencoders:
    views = {"The 2-D code": native_plane, **views, "The hole test": hole_test}
for tab, draw in zip(st.tabs(list(views), key="plane", on_change="rerun", **BOUND), views.values(), strict=True):
    if tab.open:
        with tab:
            if draw in (any_plane, traversal) or usable(view, [NATIVE]):
                draw(view)
