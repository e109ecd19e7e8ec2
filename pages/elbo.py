"""ELBO: where do the nats go?"""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st
import torch

from explorer import elbo, figures
from explorer.elbo import BOUNDS
from explorer.language import choices, decimal_marks, later, say
from explorer.ui import address, components, ledger, live, loading, screen, widgets
from explorer.ui.frame import BOUND, Page, View, begin, finish, fragment
from explorer.ui.ledger import Priced
from explorer.ui.opening import Opened
from explorer.ui.text import as_text

PAGE = Page(
    "ELBO", ":material/receipt_long:", "Scores and curves", place=92,
    question="Where do the nats go?",
    look_for=(
        "Move over the plane: the sum follows. Near the ring, where the encoder puts the image, it is lowest; further "
        "out the picture costs more, or the code does."
    ),
    control=".front",
    fits=lambda there: any(card.variational for card in there.models.values()),
    needs="a variational model",
)  # fmt: skip

CAPTION = later(
    "The sum is the negative ELBO of a q around z, as wide as the encoder makes it: a mean over {draws} draws. Grey "
    "pixels of a Bernoulli decoder, and any of a Gaussian one, have a price even if perfect; the map shows what is "
    "paid on top. Bits are nats / log 2; where p(x|z) is a density, 8 bits a number are added for its 256 steps. "
    "Numbers of equations are those of Kingma & Welling 2014, and of Burda et al. 2016 where it says so."
)
LAYERS = choices("sheet", "codes", "density", "posterior")


@fragment
def sum_of(view: View, model: str, i: int, layers: list[str]) -> None:
    """Show the plane, the sum that follows its pointer, and what sampling says about the rest."""
    bundle, x = view.bundle(model), view.gallery.images[i]
    config, key = loading.model(bundle).config, f"ledger-{model}-{i}"
    sigma = ledger.read_sigma(key, config.sigma if view.card(model).likelihood == "gaussian" else None)
    priced = ledger.price(bundle, x, sigma)
    laid, ellipse = ledger.laid(view, model, priced.posterior)
    best = elbo.calibrated(config, bundle.metrics())
    with screen.picture():
        left, right = st.columns([4, 7])
    with left:
        more = {"ellipse": ellipse, "group": ledger.GROUP, "bare": True, "pins": live.read_pins()[:1]}
        pins = live.live_plane(view, model, *laid, layers, f"elbo-{model}-{i}", **more)
    address.keep("pin", [f"{u:g},{v:g}" for u, v in pins])
    code = laid.where.codes(torch.tensor(pins[:1]))[0] if pins else priced.posterior.mu[0]
    if not live.unsupported(bundle):
        with right:
            components.ledger(ledger.ledger_data(view, model, priced, code, best.get("sigma_calibrated")), key=key)
    if best:
        calibrated(bundle.metrics() | best, config.sigma)
    below(bundle, priced)
    finish(
        say(CAPTION, draws=ledger.EPS[view.dataset.image_shape[0] == 3]),
        f"""
from explorer import elbo, figures
from explorer.checkpoints import Bundle, root_folder
from explorer.datasets import DATASETS
from explorer.images import to_float

model = Bundle("{view.dataset.name}", "{model}", root_folder()).load()
{view.gallery.python([i])}
draws = elbo.draw(model, x[0], {BOUNDS[-1]})
found = [elbo.bound(draws.log_weights({sigma}), k) for k in elbo.BOUNDS]
values, errors = [-value for value, _ in found], [error for _, error in found]
figures.bounds(elbo.BOUNDS, values, errors).write_html("bounds.html")
""",
    )


def calibrated(figures: Mapping[str, Any], sigma: float) -> None:
    """Show what the calibrated sigma is worth, and what either does to samples."""
    kinds = ("swd", "swd_reconstructions")
    names = ("", "σ", say("−ELBO, nats"), say("bits per dimension"), say("SWD of samples with its noise"),
             say("… of reconstructions"))  # fmt: skip
    rows = []
    for name, value, ending in (
        (say("as fitted"), sigma, ""), (say("calibrated"), figures["sigma_calibrated"], "_calibrated"),
    ):  # fmt: skip
        noisy = (figures.get(f"{kind}_noisy", {}).get(f"{value:.4f}", {}).get("mean") for kind in kinds)
        rows.append((name, value, *(figures[f"{kind}{ending}"] for kind in ("negative_elbo", "bits_per_dim")), *noisy))
    decimal, thousands = decimal_marks()
    digits = dict(zip(names[1:], ("{:.4f}", "{:,.0f}", "{:.3f}", "{:.1f}", "{:.1f}"), strict=True))
    table = pd.DataFrame(rows, columns=names).style
    st.subheader(say("A calibrated σ"))
    st.dataframe(table.format(digits, na_rep="–", decimal=decimal, thousands=thousands), hide_index=True)
    without = (figures[kind]["mean"] if kind in figures else math.nan for kind in kinds)
    st.markdown(
        say(
            "σ² is then the mean squared error of the test images (Rybkin et al. 2021); the weights are the same, and "
            "so is every mean. A sample of p(x|z) is the mean with noise of σ in each pixel. Shown everywhere else are "
            "means, at a sliced Wasserstein distance of {samples:.1f}, and {rebuilt:.1f} for reconstructions.",
            **dict(zip(("samples", "rebuilt"), without, strict=True)),
        )
    )


def below(bundle: Opened, priced: Priced) -> None:
    """Show the bounds over their draws, and the equations with their numbers."""
    st.subheader(say("How far is it to the likelihood?"))
    left, right = st.columns([5, 7])
    values, errors = zip(*priced.bounds, strict=True)
    with left:
        screen.chart(
            figures.bounds(BOUNDS, values, errors), "bounds", say("Bounds on −log p(x) over the draws in each")
        )
    carried = elbo.effective(priced.draws.log_weights(priced.sigma))
    left.markdown(
        say(
            "The weight lies on {few:,.1f} of {all:,} draws. Where these are few, the last bounds are still on their "
            "way, and their error bars are too short.",
            few=carried,
            all=BOUNDS[-1],
        )
    )
    left.markdown(as_text(ledger.over_test_images(bundle)))
    right.latex(ledger.equations(priced))


view = begin(PAGE)
with screen.settings():
    model = widgets.pick_model(view, tuple(name for name in view.autoencoders if view.card(name).variational))
    layers = st.pills(
        say("Layers"), LAYERS, format_func=say, selection_mode="multi", default=["sheet", "posterior"], key="layers",
        **BOUND,
    )  # fmt: skip
    i = widgets.pick_images(view.gallery, 1)[0]
sum_of(view, model, i, layers)
