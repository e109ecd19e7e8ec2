"""Planes of codes that decode under the pointer, in the browser; on the server where that cannot be."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import streamlit as st
import torch

from explorer.language import later, number, say
from explorer.latent import Plane, lerp, plane
from explorer.layers import Unsupported
from explorer.palette import class_colour, class_outline
from explorer.sampling import nearest
from explorer.ui import address, components, loading
from explorer.ui.frame import View
from explorer.ui.opening import Opened
from explorer.ui.pictures import Strip, cell_places, show_plane, show_strips
from explorer.ui.serving import weights_address

NEIGHBOURS = 8
STEPS = 9
MAX_PINS = 2
PIN = later("Click to pin a point and see the {noun} nearest to it; pin a second one to walk between.")
FARTHEST = 100.0  # from the middle, in coordinates of a plane; no code lies near


def weights(*bundles: Opened | None) -> dict[str, str]:
    """Say where the browser finds these models, of those that there are and that it can run."""
    usable = (bundle for bundle in bundles if bundle and not bundle.problem and not unsupported(bundle))
    return {bundle.identity: weights_address(bundle) for bundle in usable}


def unsupported(bundle: Opened) -> str:
    """Say why a model cannot run in the browser, or return an empty string."""
    try:
        loading.packed(bundle)
    except Unsupported as error:
        return str(error)
    return ""


def live_plane(
    view: View,
    model: str,
    where: Plane,
    axis: torch.Tensor,
    names: tuple[str, str],
    layers: Sequence[str],
    key: str,
    **more: Any,
) -> list[tuple[float, float]]:
    """Show a plane of codes with an image of the point under the pointer, and return its pins.

    axis, layers, more: as in `plane_data`.
    """
    bundle = view.bundle(model)
    if reason := unsupported(bundle):
        st.info(
            say("This model is decoded on the server and does not answer the pointer: {reason}.", reason=say(reason))
        )
        points, _ = where.coordinates(torch.from_numpy(loading.codes(bundle)["codes"]))
        server_plane(view, bundle, where, axis, points.numpy() if "codes" in layers else None, names)
        return []
    data = plane_data(view, model, where, axis, names, layers, **more)
    data["weights"] = weights(bundle, view.classifier)
    pins = components.plane(data, key=key)
    return [tuple(pin) for pin in (data["pins"] if pins is None else pins)]


def plane_data(
    view: View,
    model: str,
    where: Plane,
    axis: torch.Tensor,
    names: tuple[str, str],
    layers: Sequence[str],
    **more: Any,
) -> dict[str, Any]:
    """Describe a plane of codes for plane.js, but for the addresses of weights.

    axis: coordinates `(n,)` of the cells of the decoded sheet, ascending, for both directions. layers: any of
    "sheet", "regions", "codes", "density", "prior", "posterior". more: "flat", "bare", "small", "ellipse", "group"
    and "pins" as plane.js says.
    """
    bundle = view.bundle(model)
    points, away = where.coordinates(torch.from_numpy(loading.codes(bundle)["codes"]))
    return {
        "model": bundle.identity,
        **classifier_data(view),
        "outlines": [class_outline(k) for k in range(len(view.gallery.classes))],
        "flat": False,
        "origin": where.origin.tolist(),
        "right": where.basis[0].tolist(),
        "up": where.basis[1].tolist(),
        "twist": None,
        "axis": axis.tolist(),
        "names": [say(name) for name in names],
        "points": [
            [round(u, 4), round(v, 4), int(k), round(d * d, 4)]
            for (u, v), k, d in zip(points.tolist(), view.gallery.labels, away.tolist(), strict=True)
        ],
        "typical": loading.usual_distance(bundle),
        "layers": list(layers),
        "ellipse": None,
        "group": None,
        "pins": [],
        **more,
    }


def classifier_data(view: View) -> dict[str, Any]:
    """Name the classifier, if there is one, its classes and their colours."""
    return {
        "classifier": view.classifier and view.classifier.identity,
        "classes": view.gallery.class_names,
        "colours": [class_colour(k) for k in range(len(view.gallery.classes))],
        "image": view.dataset.image_shape,
    }


def server_plane(
    view: View, bundle: Opened, where: Plane, axis: torch.Tensor, points: np.ndarray | None, names: tuple[str, str]
) -> None:
    """Draw the decoded sheet of a plane, and gallery coordinates over it, as one picture from the server."""
    x = loading.decode(bundle, where.codes(plane(axis, axis)))
    ticks = [(float(cell_places(axis.numpy(), v.numpy())), number(v, ".2f")) for v in axis[:: max(1, len(axis) // 6)]]
    over = None if points is None else cell_places(axis.numpy(), points)
    show_plane(x, len(axis), ticks, over, view.gallery.labels, [say(name) for name in names])


def read_pins() -> list[tuple[float, float]]:
    """Read the pins from the address, `u,v` each; what is no point near any code is passed over."""
    points = [tuple(address.number(half, FARTHEST) for half in pair) for pair in address.pairs("pin")]
    return [point for point in points if None not in point][:MAX_PINS]


def show_pins(view: View, model: str, where: Plane, pins: Sequence[tuple[float, float]]) -> None:
    """Keep the pins in the address, and show what is real near each, and the walk between two."""
    address.keep("pin", [f"{u:g},{v:g}" for u, v in pins])
    if not pins:
        st.markdown(say(PIN, noun=view.gallery.noun))
        return
    bundle = view.bundle(model)
    codes = where.codes(torch.tensor(pins))
    decoded = loading.decode(bundle, codes)
    gallery = torch.from_numpy(loading.codes(bundle)["codes"])
    strips = []
    for name, code, image in zip("AB", codes, decoded, strict=False):
        distances, places = (found.tolist() for found in nearest(code, gallery, NEIGHBOURS))
        labels = (f"{view.gallery.label(i)}\n{number(d, '.2f')}" for d, i in zip(distances, places, strict=True))
        captions = [say("decoded"), *labels]
        images = np.concatenate([image[None], view.gallery.images[places]])
        note = say("and the {noun} nearest to it, with their distance", noun=view.gallery.noun)
        strips.append(Strip(say("Pin {name}", name=name), images, captions, note))
    if len(pins) == 2:
        t = torch.linspace(0, 1, STEPS)
        strips.append(
            Strip(say("From A to B"), loading.decode(bundle, lerp(codes[0], codes[1], t)), note=say("straight line"))
        )
    show_strips(strips)
