"""What an exported page holds, by page: the data of its components, the networks that they run, images and codes.

Images travel only where their licence allows it (`Dataset.shareable`), or where they are the visitor's own; codes are
numbers, and always may.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from explorer.images import grid, to_pil
from explorer.language import choices, later, say
from explorer.latent import Plane
from explorer.ui import editing, generating, live, loading, pad, planes
from explorer.ui.editing import Edit, Face
from explorer.ui.frame import View
from explorer.ui.pictures import SHEET_COLUMNS, data_uri, jpeg_uri
from explorer.ui.planes import Laid

THUMBNAILS = 60  # to choose from: conv-ae has 245 kB of codes for so many
SAMPLES = 24  # in place of faces, which may not travel: 20 kB of codes
COMPONENTS, TEMPERATURE = 10, 0.7  # few of the mixture's samples are no face then
AROUND_PINS = later(
    "Move over the plane and the picture follows. Click or tap to pin a point, drag it, nudge it with the arrow keys; "
    "Delete lets it go."
)
HINTS = {
    "plane": AROUND_PINS,
    "line": later(
        "Move along the strip: the image in the middle is the reconstruction, to both sides one thing changes."
    ),
    "holes": later("Both planes are in standard deviations and share the pointer. The shade says where codes lie."),
    "draw": later("Draw on the pad at the left: beside it is what the model makes of it, in the plane where it lands."),
    "attributes": later(
        "A double click brings a slider back. A direction is no cause: what goes together in the labels goes "
        "together in it. Nothing here is fit for judging a person."
    ),
    "two": later("Left and right are reconstructions of the two images; move t to go from one to the other."),
    "four": later("The corners are reconstructions of the four images; every row and column is a straight walk."),
}


@dataclass(frozen=True)
class Contents:
    """What an exported page holds.

    scene: as offline.js describes it. networks: which ones of which models. hint: how to use the page. look: a class of
    the page's layout. codes: one `(n, D)` of each image that can be chosen, or None.
    """

    scene: dict[str, Any]
    networks: Mapping[str, Sequence[str]]
    hint: str
    look: str = ""
    codes: np.ndarray | None = field(default=None, repr=False)


def latent_plane(
    view: View, model: str, *, laid: Mapping[str, Laid], layers: Sequence[str], classifier: bool = False, **more: Any
) -> Contents:
    """Take planes, one of each model, under one pointer; around the pins of a single one is what is real near them.

    layers, more: as in `live.plane_data`. classifier: say what it takes pictures for; it weighs more than most models.
    """
    parts = []
    for name, plane in laid.items():
        data = live.plane_data(view, name, *plane, layers, **more)
        title = say(view.card(name).title) if len(laid) > 1 else ""
        parts.append(_part("plane", data if classifier else data | {"classifier": None}, title))
    is_line, is_single = more.get("flat", False), len(laid) == 1
    switches = [] if is_line else planes.layers_for(view, model, more.get("ellipse"))
    near = is_single and not is_line
    sheet = _whole_sheet(view) if near and view.dataset.shareable else None
    return Contents(
        _scene("latent_plane", parts, switches=switches, sheet=sheet, noun=view.gallery.noun),
        dict.fromkeys(laid, ("decode",)) | _classifier(view, classifier),
        HINTS["line" if is_line else "plane" if is_single else "holes"],
        "near-by" if near else "" if is_single else "two",
    )


def draw(
    view: View, model: str, *, start: int, brush: float = pad.BRUSH, soft: bool = True, classifier: bool = True
) -> Contents:
    """Take the pad, the models that answer it, and the plane on which a drawing lands."""
    data = pad.pad_data(view, model, start, brush, soft)
    parts = [_part("draw", data if classifier else data | {"classifier": None})]
    networks = {model: ("encode", "decode")} | _classifier(view, classifier)
    if data["placed"]:
        plane = live.plane_data(view, view.native.model, *planes.native(12, pad.REACH), ["codes"], group=pad.GROUP)
        parts.append(_part("plane", plane | {"classifier": None}))
        networks[view.native.model] = ("encode", "decode")
    _, sheet = _offered(view, [start])
    scene = _scene("draw", parts, switches=planes.OF_ANY_CODE, sheet=sheet, picks=[0] if sheet else [])
    return Contents(scene, networks, HINTS["draw"], "draw-page")


def attributes(
    view: View, model: str, *, face: Face, edit: Edit, moves: Mapping[str, float], own: bool = False
) -> Contents:
    """Take a face under sliders with its meter; own: the picture behind it is the visitor's."""
    data = editing.face_data(view, model, face, edit, moves)
    if not (own or view.dataset.shareable):
        data["original"] = ""
    scene = _scene("attributes", [_part("edit", data)], samples=_samples(view, model))
    return Contents(scene, {model: ("decode",)}, HINTS["attributes"])


def interpolate(view: View, model: str, *, picks: Sequence[int], n: int = 9) -> Contents:
    """Take the walks between two images, or the sheet between four, with others to choose; without images, samples."""
    bundle = view.bundle(model)
    offered, sheet = _offered(view, picks)
    codes = loading.encode(bundle, view.gallery.images[offered]).numpy()
    if len(picks) == 2:
        data = {"model": bundle.identity, "image": view.dataset.image_shape, "steps": n, "t": 0.5}
        part = _part("walk", data)
    else:
        corners = torch.from_numpy(codes[:4])
        where = Plane(corners[2], torch.stack([corners[3] - corners[2], corners[0] - corners[2]]))
        names = choices("from left to right", "from below")
        data = live.plane_data(view, model, where, torch.linspace(0, 1, n), names, ["sheet"], points=[])
        part = _part("plane", data | {"classifier": None})
    scene = _scene(
        "interpolate", [part], sheet=sheet, picks=list(range(len(picks))), nCodes=len(codes),
        samples=_samples(view, model),
    )  # fmt: skip
    return Contents(scene, {model: ("decode",)}, HINTS["two" if len(picks) == 2 else "four"], "", codes)


PAGES = {"latent_plane": latent_plane, "draw": draw, "attributes": attributes, "interpolate": interpolate}


def _part(kind: str, data: Mapping[str, Any], title: str = "") -> dict[str, Any]:
    return {"kind": kind, "data": data, "title": title}


def _scene(page: str, parts: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    if switches := more.get("switches"):
        more["switches"] = [[name, say(name)] for name in switches]
    usual = {"switches": [], "sheet": None, "picks": [], "samples": [], "noun": ""}
    return {"page": page, "parts": parts, **usual, **more}


def _classifier(view: View, wanted: bool) -> dict[str, Sequence[str]]:
    return {view.classifier.model: ("classify",)} if wanted and view.classifier else {}


def _samples(view: View, model: str) -> list[list[float]]:
    return [] if view.dataset.shareable else samples(view, model).round(decimals=4).tolist()


def samples(view: View, model: str) -> torch.Tensor:
    """Draw codes `(SAMPLES, D)` from a mixture fitted to a model's codes, so that most of them are plausible."""
    mixture = generating.fitted(view.bundle(model), "mixture", COMPONENTS)
    return mixture.sample(SAMPLES, temperature=TEMPERATURE)


def _whole_sheet(view: View) -> dict[str, Any]:
    """Lay all gallery images out in one picture, as a photograph: exact pixels would weigh half as much again."""
    picture = to_pil(grid(view.gallery.images, SHEET_COLUMNS, gap=0))
    return {"address": jpeg_uri(picture), "columns": SHEET_COLUMNS, "titles": []}


def _offered(view: View, picks: Sequence[int]) -> tuple[list[int], dict[str, Any] | None]:
    """Choose images to choose from, first those that are chosen, and lay them out in a row where they may travel."""
    if not view.dataset.shareable:
        return list(picks), None
    others = [i for i in np.random.default_rng(0).permutation(len(view.gallery)).tolist() if i not in picks]
    offered = [*picks, *others[: THUMBNAILS - len(picks)]]
    images = view.gallery.images[offered]
    titles = [view.gallery.label(i) for i in offered]
    return offered, {"address": data_uri(grid(images, len(images), gap=0)), "columns": len(images), "titles": titles}
