"""Walks from one image to another: as strips, and taken home as pictures."""

from functools import partial

import numpy as np
import streamlit as st
import torch

from explorer import latent
from explorer.images import gif, grid, png
from explorer.language import number, say
from explorer.ui import loading
from explorer.ui.frame import View
from explorer.ui.pictures import Strip

STILL, FRAME = 128, 224  # pixels of one image, at most, in a PNG and in an animation


def fade(ends: np.ndarray, t: torch.Tensor) -> Strip:
    """Mix the pixels of two images `(2, C, H, W)` at the shares `t` `(n,)` of the second."""
    mixed = latent.lerp(*torch.from_numpy(ends).flatten(1), t).view(len(t), *ends.shape[1:]).numpy()
    return Strip(say("Pixel fade"), mixed, [number(v, ".2f") for v in t.tolist()], say("pixels mixed; t under each"))


def walks(view: View, model: str, picks: list[int], n: int) -> list[Strip]:
    """Make the three strips from the first image to the second, with the norm of the code under each."""
    bundle = view.bundle(model)
    ends = view.gallery.images[picks]
    t = torch.linspace(0, 1, n)
    codes = loading.encode(bundle, ends)
    strips = [fade(ends, t)]
    for name, walk in ((say("Linear"), latent.lerp), (say("Spherical"), latent.slerp)):
        z = walk(codes[0], codes[1], t)
        norms = [number(v, ".2f") for v in z.norm(dim=1).tolist()]
        note = say("decoded; |z|, the norm of the code, under each")
        strips.append(Strip(name, loading.decode(bundle, z), norms, note))
    return strips


def downloads(strips: list[Strip]) -> None:
    """Offer the strips as one PNG, and each walk as an animated GIF."""
    columns = st.columns(4)
    n = len(strips[0].images)
    together = grid(np.concatenate([s.images for s in strips]), n, gap=2)
    still = partial(png, together, STILL // strips[0].images.shape[-1])
    columns[0].download_button(say("PNG of the strips"), still, "interpolation.png", "image/png", on_click="ignore")
    for column, strip, name in zip(columns[1:], strips, ("pixel-fade", "linear", "spherical"), strict=True):
        animation = partial(gif, strip.images, FRAME // strip.images.shape[-1])  # made when it is asked for
        column.download_button(
            say("GIF: {walk}", walk=strip.label.lower()), animation, f"{name}.gif", "image/gif", on_click="ignore"
        )
