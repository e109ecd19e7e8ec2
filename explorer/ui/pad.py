"""What the pad of the page Draw is made of, for the page and for what is taken home of it."""

from typing import Any

import numpy as np

from explorer.ui import live, loading
from explorer.ui.frame import View

GROUP = "draw"
REACH = 3.5  # of the plane that a drawing lands on, in standard deviations of the prior
BRUSH = 1.2  # its radius at first, in pixels of the image


def pad_data(
    view: View, model: str, start: int, brush: float = BRUSH, soft: bool = True, erase: bool = False
) -> dict[str, Any]:
    """Describe a pad that starts with gallery image `start` for draw.js, but for the addresses of weights."""
    bundle = view.bundle(model)
    return {
        "model": bundle.identity,
        "variational": loading.model(bundle).config.variational,
        "placed": view.native and view.native.identity,
        "group": GROUP,
        **live.classifier_data(view),
        "noun": view.gallery.noun,
        "errors": np.sort(loading.gallery_errors(bundle, view.gallery)).round(6).tolist(),
        "brush": brush,
        "soft": soft,
        "erase": erase,
        "start": view.gallery.images[start].ravel().round(4).tolist(),
        "version": f"{view.dataset.name}-{start}",
    }
