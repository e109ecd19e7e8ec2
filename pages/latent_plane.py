"""Latent plane: what does every point decode to?"""

from dataclasses import replace

import streamlit as st
import torch

from explorer.language import choices, later, say
from explorer.ui import laying, live, loading, planes, screen, taking, widgets
from explorer.ui.frame import BOUND, PAGES, Page, View, begin, finish, fragment, point_elsewhere, usable
from explorer.ui.pictures import Strip, show_strips
from explorer.ui.planes import DIRECTIONS, OF_ANY_CODE, TABS, THROUGH, Laid

PAGE = Page(
    "Latent plane", ":material/grid_on:", "Latent space", place=40,
    question="What does every point decode to?",
    look_for=(
        "Move the pointer slowly from one kind of thing to another: it turns over without a break. In *The hole test* "
        "the plain model breaks where no image lives."
    ),
    control=".front",
)  # fmt: skip

SPACINGS = choices("linear", "quantiles")
OF_TWO_NUMBERS = replace(
    PAGES["latent_plane"],
    fits=lambda there: there.native is not None,
    needs=later("a variational model of two numbers"),
)
ALONG = later(
    "The image in the middle is the reconstruction; to both sides one thing changes and everything else is kept. "
    "A direction that changes one thing you can name is what people call disentangled."
)
TOGETHER = later(
    "Every plane goes through the codes of the same three images, A at (0, 0), B at (1, 0) and C at (0, 1), and they "
    "share the pointer: at the corners each model rebuilds what it saw, between them it shows how it gets there. At "
    "most {most} models fit."
)
HOLES = later(
    "Both planes are in standard deviations and share the pointer. Where no code lives, the plain autoencoder "
    "was never asked to make anything; the variational one was asked for something plausible all around the middle."
)


@fragment
def native_plane(view: View) -> None:
    """Show the plane of the two latent numbers."""
    model, ellipse = view.native.model, None
    stored = loading.codes(view.native)
    with screen.control():
        layers = laying.pick_layers(tuple(laying.LAYERS), "sheet", "layers")
        reach = st.slider(say("Range: ± standard deviations"), 0.5, 5.0, 2.5, 0.25, key="reach", **BOUND)
        if "posterior" in layers:
            i = widgets.pick_images(view.gallery, 1)[0]
            ellipse = [*stored["codes"][i].tolist(), *(2 * torch.from_numpy(stored["log_var"][i] / 2).exp()).tolist()]
        with screen.more():
            density = st.slider(say("Images per side"), 6, 30, 10, key="density", **BOUND)
            spacing = st.segmented_control(
                say("Spacing"), SPACINGS, format_func=say, default=SPACINGS[0], required=True, key="spacing",
                **BOUND, help=say("quantiles: equal shares of the prior between neighbours"),
            )  # fmt: skip
    laid = planes.native(density, reach, spacing)
    with screen.picture():
        pins = live.live_plane(view, model, *laid, layers, "native", ellipse=ellipse, pins=live.read_pins())
    laying.legend(view, layers)
    live.show_pins(view, model, laid.where, pins)
    taking.button(view, "latent_plane", model, laid={model: laid}, layers=layers, ellipse=ellipse, pins=pins)
    python = f"latent.axis({density}, {reach}, '{spacing}')"
    finish(laying.caption(view), laying.python_for(view, model, python, "latent.Plane.native()"))


def any_plane(view: View) -> None:
    """Show a plane through the longer code of any model: along its principal directions or through three images."""
    with screen.settings():
        model = widgets.pick_model(view)
        through = st.segmented_control(
            say("Plane"), THROUGH, format_func=say, default=THROUGH[0], required=True, key="through", **BOUND
        )  # fmt: skip
        picks = None if through == THROUGH[0] else widgets.pick_images(view.gallery, 3)
    if picks is None:
        laid, python = planes.principal(view, model), "latent.Plane.principal(codes)"
    else:
        try:
            laid, python = planes.through(view, model, picks), f"latent.Plane.through(*codes[{picks}])"
        except ValueError as error:
            st.info(say(str(error)))
            return
    live_any(view, model, laid, python)
    if picks is not None:
        images = view.gallery.images[picks]
        show_strips([Strip(say("The three images"), images, ["A: (0, 0)", "B: (1, 0)", "C: (0, 1)"])])


@fragment
def live_any(view: View, model: str, laid: Laid, python: str) -> None:
    """Show the chosen plane; only this part runs again when a pin moves."""
    with screen.control():
        layers = laying.pick_layers(OF_ANY_CODE, "sheet", "layers-any")
    key = f"any-{model}-{laid.names[0]}"
    with screen.picture():
        pins = live.live_plane(view, model, *laid, layers, key, pins=live.read_pins())
    laying.legend(view, layers)
    live.show_pins(view, model, laid.where, pins)
    taking.button(view, "latent_plane", model, laid={model: laid}, layers=layers, pins=pins)
    finish(laying.caption(view), laying.python_for(view, model, laying.ends_of(laid), python))


def traversal(view: View) -> None:
    """Show a strip along one latent number or one principal direction, through the code of an image."""
    with screen.control():
        model = widgets.pick_model(view)
        kind = st.segmented_control(
            say("Direction"), DIRECTIONS, format_func=say, default=DIRECTIONS[0], required=True, key="direction",
            **BOUND,
        )  # fmt: skip
        most = planes.n_directions(view, model, kind)
        number = int(st.number_input(say("Which"), 1, most, 1, key="which", width=140, **BOUND)) - 1
        i = widgets.pick_images(view.gallery, 1)[0]
    if kind == DIRECTIONS[0]:
        python = f"latent.principal_directions(codes, {number + 1})[{number}]"
    else:
        python = f"torch.eye(codes.shape[1])[{number}] * codes.std(dim=0)[{number}]"
    laid = planes.line(view, model, kind, number, i)
    with screen.picture():
        live.live_plane(view, model, *laid, ["sheet"], f"line-{model}", flat=True)
    taking.button(view, "latent_plane", model, laid={model: laid}, layers=["sheet"], flat=True)
    ends = f"torch.linspace(-3, 3, {len(laid.axis)})"
    code = laying.python_for(view, model, ends, f"latent.Plane.line(codes[{i}], {python})")
    finish(ALONG, code.replace("latent.plane(axis, axis)", "latent.plane(axis, torch.zeros(1))"))


def hole_test(view: View) -> None:
    """Show a plain autoencoder's plane and the variational one's side by side under one pointer."""
    native = view.native.model
    plain = [name for name in view.autoencoders if name != native]
    with screen.control():
        name = widgets.one_of(view, say("Plain autoencoder"), plain, "plain")
        layers = laying.pick_layers(OF_ANY_CODE, "density", "layers-holes")
    if name not in usable(view, [name]):
        return
    laid = {model: planes.principal(view, model, planes.OF_HOLES) for model in (name, native)}
    laying.abreast(view, laid, layers, "hole")
    taking.button(view, "latent_plane", name, laid=laid, layers=layers, group="hole")
    ends = "torch.linspace(-3, 3, 12)"
    sheets = [laying.sheet_of(view, model, ends, "latent.Plane.principal(codes)", model) for model in (name, native)]
    finish(HOLES, laying.IMPORTS + "".join(sheets))


def side_by_side(view: View) -> None:
    """Show the planes of several models through the same three images, under one pointer."""
    with screen.control():
        models = widgets.pick_models(view, key="planes", default=view.autoencoders[: planes.AT_ONCE])[: planes.AT_ONCE]
        picks = widgets.pick_images(view.gallery, 3)
        layers = laying.pick_layers(OF_ANY_CODE, "sheet", "layers-together")
    try:
        laid = {model: planes.through(view, model, picks) for model in models}
    except ValueError as error:
        st.info(say(str(error)))
        return
    laying.abreast(view, laid, layers, "together", small=True)
    where = f"latent.Plane.through(*codes[{picks}])"
    sheets = [laying.sheet_of(view, model, laying.ends_of(laid[model]), where, model) for model in laid]
    finish(say(TOGETHER, most=planes.AT_ONCE), laying.IMPORTS + "".join(sheets))


view = begin(PAGE)
native = view.shown.native
usual = TABS[0] if native else TABS[1]
tabs = screen.tabs(TABS, "plane", usual)
for tab, draw in zip(tabs, (native_plane, any_plane, traversal, hole_test, side_by_side), strict=True):
    if tab.open:
        with tab:
            if draw in (native_plane, hole_test) and not native:
                point_elsewhere(OF_TWO_NUMBERS, view.shown, view.root)
            elif draw in (any_plane, traversal, side_by_side) or usable(view, [native]):
                draw(view)
