"""What the pages with a dial send to the browser: all positions at once, so that the hand waits for no server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

from explorer import dials
from explorer.families import PCA, Fit
from explorer.images import grid
from explorer.language import choices, later, number, say, say_many
from explorer.palette import class_colour, class_outline
from explorer.ui import address
from explorer.ui.frame import View
from explorer.ui.opening import OpenedFamily
from explorer.ui.pictures import SHEET_COLUMNS, data_uri
from explorer.ui.serving import weights_address

N_IMAGES = 8
CELLS, TIME_CELLS = 10, 8  # of a plane's side; the decoder of the page Time takes six times as long
PRIOR_REACH = 3.0  # standard deviations of the prior from the middle of a plane to its side
N_DOTS = 500  # codes on a plane
N_SAMPLES = 8
CARRIES = 0.1  # nats, of a number that is in use
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
OVER_NUMBERS, OVER_BITS, IN_USE = choices("error over numbers", "error over bits", "numbers in use")
NAMES = {"ae": later("Autoencoder"), "vae": later("Variational AE"), PCA: "PCA"}
MARKED = "#d9485f"
CODECS = {"jpeg": "JPEG", "webp": "WebP"}
WAYS = {"alone": later("a file each"), "sheet": later("100 to a file")}


def called(kind: str) -> str:
    """Name a kind of model in the current language."""
    return say(NAMES.get(kind, kind))


@dataclass(frozen=True)
class Turned:
    """Where the dials of the page Length are: numbers in the code, and bits a number, 0 for codes as they are."""

    length: int
    bits: int


def packed(family: OpenedFamily) -> dict[str, Any]:
    """Say which decoders a component needs, and where they are."""
    return {"model": family.identity, "weights": {family.identity: weights_address(family)}}


def kept(key: str, name: str, offered: Sequence[Any], default: Any) -> Any:
    """Give the position of a dial: of the component `key` since its last rest, else of the address, else the default.

    It is kept in the address as `name`; one that is not offered is passed over.
    """
    state = (st.session_state.get(key) or {}).get("turned") or {}
    texts = [f"{value:g}" for value in offered]
    wanted = f"{state[name]:g}" if isinstance(state.get(name), int | float) else next(iter(address.texts(name)), "")
    value = offered[texts.index(wanted)] if wanted in texts else default
    address.keep(name, [] if value == default else [f"{value:g}"])
    return value


def first(key: str, name: str, now: Any) -> Any:
    """Give the position that a dial had before it was moved: the component knows where it went since then.

    So what travels stays the same while it moves, and Streamlit sends it but once.
    """
    own = f"{key}-{name}"
    if not (st.session_state.get(key) or {}).get("turned"):
        st.session_state[own] = now
    return st.session_state.get(own, now)


def pick(view: View, n: int = N_IMAGES) -> list[int]:
    """Take the gallery images that the address names as `pick`, and after them some of every class."""
    picks = address.wholes("pick", len(view.gallery))
    order = np.random.default_rng(int(st.session_state.get("shuffle", 0))).permutation(len(view.gallery))
    labels = view.gallery.labels[order]
    rank = np.zeros(len(order), dtype=int)
    for k in np.unique(labels):
        rank[labels == k] = np.arange((labels == k).sum())
    spread = order[np.lexsort((labels, rank))]  # one of each class, then a second one of each
    return list(dict.fromkeys([*picks, *map(int, spread)]))[:n]


def lengths(family: OpenedFamily) -> tuple[int, ...]:
    """List the lengths of code that a family has, ascending."""
    return tuple(sorted({int(fit.values["length"]) for fit in family.config()["fits"]}))


def names_of(family: OpenedFamily) -> dict[str, list[str]]:
    """Name the members of each kind, by length."""
    found: dict[str, dict[int, str]] = {}
    for fit in family.config()["fits"]:
        found.setdefault(str(fit.values["kind"]), {})[int(fit.values["length"])] = fit.name
    return {kind: [own[length] for length in lengths(family)] for kind, own in found.items()}


def length_data(view: View, family: OpenedFamily, picks: Sequence[int], chart: str, at: Turned) -> dict[str, Any]:
    """Describe the page Length for length.js."""
    all_lengths, codes = lengths(family), family.arrays
    rows = []
    for i, (kind, members) in enumerate(names_of(family).items()):
        errors = [family.figures()["members"][name]["mse"] for name in members]
        rows.append(
            {
                "name": called(kind), "colour": class_colour(i), "networks": members, "errors": errors,
                "codes": [rounded(codes[f"{name}/codes"][picks]) for name in members],
                "ranges": [rounded(codes[f"{name}/range"]) for name in members],
                "rounded": [family.figures()["quantised"][name] for name in members],
            }
        )  # fmt: skip
    pca = family.figures()[PCA]["mse"]
    of_pca = {
        "name": NAMES[PCA], "colour": class_colour(len(rows)), "networks": [PCA] * len(all_lengths), "inputs": len(pca),
        "errors": [pca[length - 1] for length in all_lengths],
        "codes": [rounded(codes[f"{PCA}/codes"][picks, :length]) for length in all_lengths],
        "ranges": [rounded(codes[f"{PCA}/range"][:, :length]) for length in all_lengths],
        "rounded": [family.figures()["quantised"][f"{PCA}-{length}"] for length in all_lengths],
    }  # fmt: skip
    return {
        **packed(family),
        "image": view.dataset.image_shape,
        "sheet": data_uri(grid(view.gallery.images[picks], len(picks), gap=0)),
        "lengths": all_lengths,
        "length": at.length,
        "bits": at.bits,
        "rows": [*rows, of_pca],
        "sentences": [sentence(family, i) for i in range(len(all_lengths))],
        "chart": CHARTS[chart](family),
    }


def rounded(values: np.ndarray) -> list[Any]:
    """Write numbers, which are stored with three digits, with no more of them than it takes."""
    return values.astype(float).round(3).tolist()


def sentence(family: OpenedFamily, i: int) -> str:
    """Say how many numbers PCA needs for what the models of one length do, by interpolation."""
    length, pca = lengths(family)[i], family.figures()[PCA]["mse"]
    found = {
        called(kind): amount(dials.equal_length(pca, family.figures()["members"][members[i]]["mse"]), len(pca))
        for kind, members in names_of(family).items()
    }
    (name, amount_of_first), *others = found.items()
    told = [
        say_many(
            "The one number of the {name} does what PCA does with {amount}",
            "The {n} numbers of the {name} do what PCA does with {amount}",
            length, name=name, amount=amount_of_first,
        ),
        *(say("those of the {name}, with {amount}", name=other, amount=m) for other, m in others),
    ]  # fmt: skip
    return "; ".join(told) + "."


def amount(n: float | None, most: int) -> str:
    """Write a number of numbers as `dials.equal_length` gives it, of at most `most`."""
    if n is None:
        return say("more than {n}", n=most)
    return say("less than {n}", n=1) if not n else number(n, ".1f" if n < 10 else ".0f")


def errors_chart(family: OpenedFamily) -> dict[str, Any]:
    """Draw errors over the length of the code, those of PCA at every length."""
    figures, all_lengths, kinds = family.figures(), lengths(family), names_of(family)
    errors = [[figures["members"][name]["mse"] for name in members] for members in kinds.values()]
    lines = [line(called(kind), i, zip(all_lengths, errors[i], strict=True), dots=True) for i, kind in enumerate(kinds)]
    pca = figures[PCA]["mse"]
    lines.append(line(NAMES[PCA], len(lines), enumerate(pca, start=1)))
    marked = [*errors, [pca[length - 1] for length in all_lengths]]
    y = {"label": say("mean squared error"), "log": True}
    return {"x": over_lengths(all_lengths), "y": y, "lines": lines, "marked": marked}


def bits_chart(family: OpenedFamily) -> dict[str, Any]:
    """Draw errors over bits: JPEG and WebP, beside which the component draws the codes of the chosen length."""
    lines = [
        line(f"{CODECS.get(kind, kind)}, {say(WAYS.get(way, way))}", 7 + k, points, dashed=way == "alone")
        for k, (kind, ways) in enumerate(family.figures()["codecs"].items())
        for way, points in ways.items()
    ]
    x, y = ({"label": label, "log": True} for label in (say("bits for an image"), say("mean squared error")))
    return {"x": x, "y": y, "lines": lines, "bits": True}


def use_chart(family: OpenedFamily) -> dict[str, Any]:
    """Draw how many numbers of a variational model's code are in use, over its length."""
    figures, all_lengths = family.figures()["members"], lengths(family)
    variational = [own for own in names_of(family).values() if all("active" in figures[name] for name in own)]
    marked = [[count(figures[name]) for name in own] for own in variational[:1] for count in (carrying, active)]
    names = (say("carry more than {n:g} nats", n=CARRIES), say("have a mean that varies"), say("all there are"))
    lines = [
        line(name, 3 * i, zip(all_lengths, values, strict=True), dots=i < 2, dashed=i == 2)
        for i, (name, values) in enumerate(zip(names, [*marked, all_lengths], strict=False))
    ]
    y = {"label": say("numbers of the VAE's code"), "log": True, "ticks": all_lengths}
    return {"x": over_lengths(all_lengths), "y": y, "lines": lines, "marked": marked}


CHARTS = {OVER_NUMBERS: errors_chart, OVER_BITS: bits_chart, IN_USE: use_chart}


def over_lengths(all_lengths: Sequence[int]) -> dict[str, Any]:
    """Describe an axis of lengths of the code."""
    return {"label": say("numbers in the code"), "log": True, "ticks": all_lengths}


def carrying(figures: Mapping[str, Any]) -> int:
    """Count the numbers of a code that carry more than `CARRIES` nats about an image."""
    return sum(nats > CARRIES for nats in figures["kl_per_number"])


def active(figures: Mapping[str, Any]) -> int:
    """Count the numbers of a code whose mean varies; see `dials`."""
    return figures["active"]


def line(name: str, colour: int, points: Any, **style: bool) -> dict[str, Any]:
    """Describe one line of a chart for chart.js."""
    return {"name": name, "colour": class_colour(colour), "points": [list(point) for point in points], **style}


def mark(x: float, y: float) -> dict[str, Any]:
    """Describe a mark on a chart for chart.js."""
    return {"x": x, "y": y, "colour": MARKED}


def cells(n: int = CELLS) -> list[float]:
    """Place the cells of a plane from -1 to 1."""
    return rounded((2 * np.arange(n) + 1) / n - 1)


def dots(view: View) -> np.ndarray:
    """Choose the gallery images whose codes are drawn: evenly among all `(N,)`."""
    n = len(view.gallery)
    return np.unique(np.linspace(0, n - 1, min(N_DOTS, n)).astype(int))


def marks(view: View, some: np.ndarray) -> dict[str, Any]:
    """Give the class of some gallery images `(N,)`, and by what each class is told apart."""
    n = range(len(view.gallery.classes))
    return {
        "labels": view.gallery.labels[some].tolist(),
        "colours": [class_colour(k) for k in n],
        "outlines": [class_outline(k) for k in n],
    }


def hundredths(points: np.ndarray) -> list[list[int]]:
    """Write points `(N, 2)` in hundredths, and far ones at ten times the side."""
    return np.clip(100 * points, -1000, 1000).round().astype(int).tolist()


def time_data(view: View, family: OpenedFamily, at: int) -> dict[str, Any]:
    """Describe the page Time for time.js."""
    fits = family.config()["fits"]
    decoding = next(fit for fit in fits if fit.config.decodes and fit.config.code == 2)
    epochs, some = list(decoding.keep), dots(view)
    of_maps = [decoding, *(fit for fit in fits if fit is not decoding)]
    reach = [PRIOR_REACH if fit is decoding else 2.5 for fit in of_maps]
    titles = [
        say("Codes of the variational AE") if fit is decoding else say("Features of the classifier") for fit in of_maps
    ]
    states = [
        {
            "network": list(decoding.members)[i],
            "maps": [
                hundredths(family.arrays[f"{list(fit.members)[i]}/map"][some] / r)
                for fit, r in zip(of_maps, reach, strict=True)
            ],
            "says": [says(family, list(fit.members)[i]) for fit in of_maps],
        }
        for i in range(len(epochs))
    ]
    return {
        **packed(family),
        "image": view.dataset.image_shape,
        "epochs": epochs,
        "epoch": at,
        "axis": cells(TIME_CELLS),
        "reach": reach[0],
        "states": states,
        "maps": titles,
        **marks(view, some),
        "sheet": view.gallery.sheet,
        "columns": SHEET_COLUMNS,
        "names": [view.gallery.label(i) for i in some],
        "places": some.tolist(),
        "charts": [time_chart(family, fit, epochs) for fit in of_maps],
    }


def says(family: OpenedFamily, member: str) -> str:
    """Say how good a state is on the test images, in a few words."""
    figures = family.figures()["members"][member]
    if "accuracy" in figures:
        return say("{share:.1f} % of test images right", share=100 * figures["accuracy"])
    return say("{nats:.1f} nats a test image", nats=figures["reconstruction"] + figures["kl"])


def time_chart(family: OpenedFamily, fit: Fit, epochs: Sequence[int]) -> dict[str, Any]:
    """Describe the curve of one fitting: its loss on training and validation images after each epoch."""
    rows = family.history()[fit.name]
    lines = [
        line(name, k, [[row["epoch"], row[f"{part}_loss"]] for row in rows if f"{part}_loss" in row], dashed=k == 1)
        for k, (name, part) in enumerate(((say("validation"), "validation"), (say("training"), "train")))
    ]
    values = {row["epoch"]: row["validation_loss"] for row in rows}
    label = say("−ELBO, nats") if fit.config.decodes else say("cross-entropy")
    x = {"label": say("epoch"), "ticks": list(epochs)}
    return {"x": x, "y": {"label": label}, "lines": lines, "values": [values[epoch] for epoch in epochs]}


def style_data(view: View, family: OpenedFamily, picks: Sequence[int], style: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the page Class x style for style.js."""
    [member] = family.members
    codes, figures = family.arrays[f"{member}/codes"], family.figures()
    shown = style_axes(family)
    some, reach = dots(view), PRIOR_REACH
    shares = figures.get("recognised", {}).get("by_class", [])
    return {
        **packed(family),
        "image": view.dataset.image_shape,
        "classes": view.gallery.class_names,
        "shares": [f"{100 * share:.0f} %" for share in shares],
        "sheet": data_uri(grid(view.gallery.images[picks], len(picks), gap=0)),
        "sources": [{"code": rounded(codes[i]), "label": view.gallery.label(i)} for i in picks],
        "shown": shown,
        "reach": reach,
        "points": hundredths(codes[some][:, shown] / reach),
        **marks(view, some),
        "strengths": STRENGTHS,
        "style": dict(style),
    }


def style_axes(family: OpenedFamily) -> list[int]:
    """Name the two numbers of a style that carry most."""
    [member] = family.members
    kl = family.figures()["members"][member]["kl_per_number"]
    return sorted(np.argsort(kl)[::-1][:2].tolist())


def kept_style(key: str) -> dict[str, float | None]:
    """Give where the pad of styles rests, from the component, else the address; None: where its first image is."""
    state = (st.session_state.get(key) or {}).get("turned") or {}
    style: dict[str, float | None] = {}
    for name in ("u", "v"):
        text = next(iter(address.texts(name)), "")
        there = state.get(name) if isinstance(state.get(name), int | float) else address.number(text, PRIOR_REACH)
        style[name] = None if there is None else float(np.clip(there, -PRIOR_REACH, PRIOR_REACH))
        address.keep(name, [] if there is None else [f"{style[name]:g}"])
    return style | {"strength": kept(key, "strength", STRENGTHS, 1.0)}
