"""The check of a variational model's codes against its prior, below the latent map."""

import numpy as np
import streamlit as st
import torch

from explorer import figures, sampling
from explorer.language import later, listed, number, passing, say
from explorer.sampling import PriorCheck
from explorer.ui import loading, screen
from explorer.ui.frame import BOUND, View, finish, fragment
from explorer.ui.loading import BY_READING
from explorer.ui.opening import Opened

DRAWN, MEANS = later("codes drawn, μ + σε"), later("means μ alone")
EXPECTED = later("quantile of N(0, 1)")


def chi_square(kl: np.ndarray) -> str:
    """Say what the squared norms of codes are held to."""
    return say("quantile of χ² with {n} degrees of freedom", n=len(kl))


@st.cache_resource(max_entries=8, show_spinner=passing("Comparing codes with the prior"), **BY_READING)
def check(bundle: Opened) -> PriorCheck:
    """Compare the gallery's posteriors with the prior once per reading of the bundle."""
    stored = loading.codes(bundle)
    return sampling.check_prior(torch.from_numpy(stored["codes"]), torch.from_numpy(stored["log_var"]))


@fragment
def section(view: View, model: str) -> None:
    """Show how the aggregated posterior of a variational model lies beside N(0, I): one number, and all."""
    bundle = view.bundle(model)
    found, kl = check(bundle), np.array(bundle.metrics()["kl_per_dimension"])
    st.subheader(say("Does the code follow the prior?"))
    totals(found, kl)
    number = one_number(model, found, kl)
    all_numbers(found, kl)
    finish(
        say(
            "Blue are codes drawn from the posteriors of the gallery images, together the aggregated posterior; the "
            "decoder was trained on such codes of training images. KL, a mean over the test images, is how much a "
            "number tells about its image, not how far it is from the prior: a number can carry many nats and follow "
            "N(0, 1) over all images; a collapsed one follows it and says nothing."
        ),
        f"""
import numpy as np
from explorer import figures, sampling
from explorer.checkpoints import Bundle, root_folder

bundle = Bundle("{view.dataset.name}", "{model}", root_folder())
stored = bundle.codes()
found = sampling.check_prior(stored["codes"], stored["log_var"])
kl = np.array(bundle.metrics()["kl_per_dimension"])
print("off by", found.gaps, "active", found.active.sum(), "KL", kl.sum())
k = {number} - 1
drawn, means = "{DRAWN}", "{MEANS}"
figures.prior_histogram(found.draws[:, k], found.means[:, k], "z{number}").write_html("prior.html")
lines = {{drawn: found.draw_quantiles[:, k], means: found.mean_quantiles[:, k]}}
figures.quantiles(found.normal, lines, "{EXPECTED}", "quantile of z{number}").write_html("quantiles.html")
figures.kl_bars(kl, found.active).write_html("kl.html")
lines = {{drawn: found.draw_norms, means: found.mean_norms}}
figures.quantiles(found.chi_square, lines, "{chi_square(kl)}", "quantile of |z|²").write_html("norms.html")
""",
    )


def totals(found: PriorCheck, kl: np.ndarray) -> None:
    """Show the figures of the whole code."""
    length, norms = len(kl), (found.draws**2).sum(axis=1)
    norm, spread = number(norms.mean(), ".1f"), number(norms.std(), ".1f")
    shown = (
        (
            say("KL, all numbers"),
            say("{kl:.1f} nats", kl=kl.sum()),
            say("Mean over the test images of KL(q(z|x) ‖ N(0, I))."),
        ),
        (
            say("Active numbers"),
            say("{n} of {all}", n=found.active.sum(), all=length),
            say("Those whose mean μ has a variance above 0.01 over the gallery images (Burda et al. 2016)."),
        ),
        (
            say("Mean of |z|², prior: {n}", n=length),
            norm,
            say("Of drawn codes; each number of the prior adds 1."),
        ),
        (
            say("Spread of |z|², prior: {spread:.1f}", spread=(2 * length) ** 0.5),
            spread,
            say("Standard deviation over drawn codes; that of χ² is √(2D) for D numbers."),
        ),
    )
    for column, (label, value, explanation) in zip(st.columns(len(shown)), shown, strict=True):
        column.metric(label, value, help=explanation)


def one_number(model: str, found: PriorCheck, kl: np.ndarray) -> int:
    """Show histogram and quantiles of one latent number, at first the one furthest off; return which."""
    order = np.argsort(-found.gaps, kind="stable")
    worst = int(order[0]) + 1
    left, right = st.columns([1, 3], vertical_alignment="bottom")
    chosen = int(left.number_input(say("Latent number"), 1, len(kl), worst, key=f"number-{model}", **BOUND))
    k = chosen - 1
    place = int(np.flatnonzero(order == k)[0]) + 1
    right.markdown(
        say(
            "**z{k}**: its quantiles are {gap:.2f} off on average, place {place} of {n}. It carries {kl:.2f} nats. "
            "Furthest off: {others}.",
            k=chosen,
            gap=found.gaps[k],
            place=place,
            n=len(kl),
            kl=kl[k],
            others=listed(f"z{i + 1}" for i in order[:5]),
        )
    )
    left, right = st.columns(2)
    name = f"z{chosen}"
    with left:
        figure = figures.prior_histogram(found.draws[:, k], found.means[:, k], name)
        alt = say("Density of {name}, of codes drawn, of means and of the prior", name=name)
        screen.chart(figure, "prior_histogram", alt)
    lines = {say(DRAWN): found.draw_quantiles[:, k], say(MEANS): found.mean_quantiles[:, k]}
    with right:
        figure = figures.quantiles(found.normal, lines, say(EXPECTED), say("quantile of {name}", name=name))
        screen.chart(figure, "prior_quantiles", say("Quantiles of {name} over those of the prior", name=name))
    return chosen


def all_numbers(found: PriorCheck, kl: np.ndarray) -> None:
    """Show the KL of every number, and the squared norm of whole codes beside what it should be."""
    left, right = st.columns(2)
    with left:
        screen.chart(figures.kl_bars(kl, found.active), "kl_bars", say("KL of each number of the code, in nats"))
    lines = {say(DRAWN): found.draw_norms, say(MEANS): found.mean_norms}
    with right:
        figure = figures.quantiles(found.chi_square, lines, chi_square(kl), say("quantile of |z|²"))
        screen.chart(figure, "norm_quantiles", say("Quantiles of squared norms of codes over those of the prior"))
