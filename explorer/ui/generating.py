"""What the page Generate prepares: fitted sources, rows of samples, files of them; no widgets here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st
import torch

from explorer import elbo, ladder, latent, realism, sampling
from explorer.checkpoints import to_safetensors
from explorer.images import grid, png
from explorer.language import choices, number, passing, say
from explorer.sampling import SOURCES, Source
from explorer.ui import loading
from explorer.ui.frame import View
from explorer.ui.loading import BY_READING, Gallery
from explorer.ui.opening import Opened
from explorer.ui.pictures import Strip, data_uri, show_strips

COLUMNS = 8  # of the sheet
NOISES = choices("none", "as fitted", "calibrated")  # of pixels, that of a Gaussian p(x|z)
NEIGHBOURS = 7


@dataclass(frozen=True)
class Settings:
    """How codes are drawn; the same for every row, so that rows compare."""

    n: int
    temperature: float
    truncation: float
    components: int
    seed: int
    noise: str = NOISES[0]


@dataclass(frozen=True)
class Row:
    """Codes `(n, D)` that were drawn for one model from one source, and their images `(n, C, H, W)` in [0, 1]."""

    model: str
    title: str
    source: str
    codes: torch.Tensor
    images: np.ndarray
    note: str

    @property
    def key(self) -> str:
        """The row's name in the address and in files."""
        return f"{self.model}.{self.source.replace(' ', '-')}"


def sources_of(view: View, models: Sequence[str]) -> tuple[str, ...]:
    """List what codes of these models can be drawn from: a flow where one of them has it."""
    return (*SOURCES, *([ladder.FLOW] if any(view.bundle(name).has("ladder") for name in models) else []))


def fitted(bundle: Opened, source: str, components: int) -> Source:
    """Fit a source to the gallery's codes, or take the flow that is stored, once per reading of the bundle."""
    return _fitted(bundle, source, components if source == "mixture" else 1)


@st.cache_resource(max_entries=32, show_spinner=passing("Fitting a density to the codes"), **BY_READING)
def _fitted(bundle: Opened, source: str, components: int) -> Source:
    if source == ladder.FLOW:
        return ladder.flow_of(bundle.ladder())
    stored = {name: torch.from_numpy(loading.codes(bundle)[name]) for name in stored_names(bundle)}
    return sampling.fit(source, *stored.values(), n_components=components)


def stored_names(bundle: Opened) -> tuple[str, ...]:
    """Name what of a bundle's codes a source is fitted to."""
    return ("codes", "log_var") if bundle.load().config.variational else ("codes",)


def draw(view: View, model: str, source: str, settings: Settings) -> Row:
    """Draw codes of one model from one source, and decode them."""
    bundle = view.bundle(model)
    fit = fitted(bundle, source, settings.components)
    z = fit.sample(settings.n, settings.temperature, settings.truncation, settings.seed)
    there = np.median(np.linalg.norm(loading.codes(bundle)["codes"], axis=1))
    card = view.card(model)
    whence = name_source(card.variational, source, fit)
    norms = say("|z| {drawn:.1f}, of images {there:.1f}", drawn=z.norm(dim=1).median().item(), there=there)
    x, sigma, note = loading.decode(bundle, z), sigma_of(bundle, settings.noise), f"{whence}\n{norms}"
    if sigma:
        x = realism.noisy(torch.from_numpy(x), sigma, settings.seed).numpy()
        note = f"{whence}\n{say('with noise of σ = {sigma:.4f}', sigma=sigma)}"
    return Row(model, say(card.title), source, z, x, note)


def sigma_of(bundle: Opened, noise: str) -> float:
    """Give the sigma of one of `NOISES`, 0 for a model whose p(x|z) has none."""
    best = elbo.calibrated(bundle.load().config, bundle.metrics())
    if not best or noise == NOISES[0]:
        return 0.0
    return bundle.load().config.sigma if noise == NOISES[1] else best["sigma_calibrated"]


def name_source(variational: bool, source: str, fit: Source) -> str:
    """Say where codes come from: the standard normal is a prior only of a model that was trained with it."""
    if source == "prior":
        return say("prior N(0, 1)") if variational else say("N(0, 1), not its prior")
    if source == ladder.FLOW:
        return say("flow, fitted to training codes")
    return say("mixture of {n} normals", n=len(fit.weights)) if source == "mixture" else say("one Gaussian, fitted")


def rows_data(rows: Sequence[Row], chosen: tuple[Row, int] | None) -> dict[str, object]:
    """Describe rows for samples.js."""
    shown = [
        {
            "key": row.key,
            "label": row.title,
            "note": row.note,
            "sheet": data_uri(grid(row.images, COLUMNS, gap=0)),
            "n": len(row.images),
        }
        for row in rows
    ]
    return {"rows": shown, "columns": COLUMNS, "chosen": chosen and (chosen[0].key, chosen[1])}


def picture(rows: Sequence[Row]) -> bytes:
    """Lay all rows out under each other as one PNG."""
    x = np.concatenate([row.images for row in rows])
    return png(grid(x, COLUMNS, gap=2), max(1, 128 // x.shape[-1]))


def codes_file(rows: Sequence[Row], settings: Settings) -> bytes:
    """Keep the codes of all rows, each under its key, with how they were drawn, as safetensors."""
    tensors = {row.key: row.codes for row in rows}
    return to_safetensors(tensors, {name: str(value) for name, value in vars(settings).items()})


def nearest_strips(view: View, row: Row, i: int) -> list[Strip]:
    """Find the gallery images nearest to one sample, in pixels and by code, with what is usual among these."""
    gallery, bundle = view.gallery, view.bundle(row.model)
    pixels = torch.from_numpy(gallery.images).flatten(1)
    by_pixel = sampling.nearest(torch.from_numpy(row.images[i]).flatten(), pixels, NEIGHBOURS)
    by_code = sampling.nearest(row.codes[i], torch.from_numpy(loading.codes(bundle)["codes"]), NEIGHBOURS)
    usual = loading.usual_distance(bundle)
    return [
        _nearest_strip(
            say("In pixels"), gallery, row.images[i], by_pixel, usual_pixel_distance(gallery), pixels.shape[1]
        ),
        _nearest_strip(say("By code"), gallery, row.images[i], by_code, usual),
    ]


def _nearest_strip(
    label: str,
    gallery: Gallery,
    image: np.ndarray,
    found: tuple[torch.Tensor, torch.Tensor],
    usual: float,
    n_averaged: int = 1,
) -> Strip:
    distances, places = (found[0] / math.sqrt(n_averaged)).tolist(), found[1].tolist()
    captions = [
        say("sample"),
        *(f"{gallery.label(k)}\n{number(d, '.3f')}" for k, d in zip(places, distances, strict=True)),
    ]
    images = np.concatenate([image[None], gallery.images[places]])
    return Strip(label, images, captions, say("{usual:.3f} is usual among {noun}", usual=usual, noun=gallery.noun))


@st.cache_resource(max_entries=8, show_spinner=False, **BY_READING)
def usual_pixel_distance(gallery: Gallery) -> float:
    """Compute the median root mean squared difference of a gallery image to the nearest other one."""
    flat = torch.from_numpy(gallery.images).flatten(1)
    return latent.usual_distance(flat) / math.sqrt(flat.shape[1])


def neighbours(view: View, row: Row, i: int) -> None:
    """Show the gallery images nearest to one sample."""
    st.subheader(say("Nearest to sample {i} of {title}, {source}", i=i + 1, title=row.title, source=say(row.source)))
    show_strips(nearest_strips(view, row, i))
    st.markdown(
        say(
            "**Did it memorise?** In pixels: root mean squared difference; by code: distance. A smooth picture is "
            "near to every other, so look before you believe the number. The gallery is test images, which no model "
            "was trained on: what was learned by heart from training images does not show here. But densities *are* "
            "fitted to the gallery's codes, and a mixture of many components can give some of them back."
        )
    )


def python_for(view: View, models: list[str], sources: list[str], settings: Settings) -> str:
    """Write the lines of Python that make the sheet."""
    draws = f"{settings.n}, {settings.temperature}, truncation={settings.truncation}, seed={settings.seed}"
    x = f"model.decode(source.sample({draws}))"
    if settings.noise != NOISES[0]:
        sigma = "model.config.sigma" if settings.noise == NOISES[1] else 'best["sigma_calibrated"]'
        x = f"realism.noisy({x}, {sigma}, {settings.seed}) if best else {x}"
    return f"""
import torch
from explorer import elbo, ladder, realism, sampling
from explorer.checkpoints import Bundle, root_folder
from explorer.images import grid, to_pil

rows = []
for name in {models}:
    bundle = Bundle("{view.dataset.name}", name, root_folder())
    model, stored = bundle.load(), bundle.codes()
    best = elbo.calibrated(model.config, bundle.metrics())  # of a Gaussian p(x|z)
    for kind in {sources}:
        if kind == "flow":
            source = ladder.flow_of(bundle.ladder())
        else:
            source = sampling.fit(kind, stored["codes"], stored.get("log_var"), n_components={settings.components})
        rows.append({x})
to_pil(grid(torch.cat(rows).numpy(), columns={COLUMNS}), scale=4).save("samples.png")
"""
