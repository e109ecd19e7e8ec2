"""Beta: what does β buy?"""

import streamlit as st

from explorer.language import choices, later, say
from explorer.ui import components, dialling, screen, weighing
from explorer.ui.frame import BOUND, Page, View, begin, finish, fragment
from explorer.ui.opening import OpenedFamily
from explorer.ui.pictures import show_legend
from explorer.ui.weighing import BetaShown

PAGE = Page(
    "Beta", ":material/balance:", "Dials", place=84,
    question="What does β buy?",
    look_for=(
        "Turn β up: the codes fill the prior, and its samples begin to look like data. Go on: numbers fall out of use, "
        "and all samples look the same."
    ),
    control=".dial",
    fits=lambda there: there.family("beta") is not None,
    needs="a family of variational models under many β",
)  # fmt: skip

KEY = "beta-dial"
PLANES = choices("the prior", "where codes lie")
CAPTION = later(
    "Each β is a model of its own, fitted by the same recipe from the same seed. Rate is the KL to the prior, "
    "distortion −log p(x|z), in nats an image on the {n:,} test images; β = 1 is the ELBO, and the curve is what β "
    "trades (Alemi et al. 2018)."
)
OF_PLANE = later(
    "Rings are one and two standard deviations: grey of the prior, red of the Gaussian "
    "fitted to all codes with their spread. A longer code is shown along the two numbers with the largest KL, all "
    "others at 0."
)
OF_FACTORS = later(
    "Every row walks along one number from the code of an image, from −2.1 to 2.1, all others as they are; beside it "
    "stands the factor that this number tells most of, with the share of its entropy. These images are drawn by five "
    "factors, so it can be measured how well a code parts them: by the mutual information gap (MIG; Chen et al. 2018), "
    "DCI's disentanglement (Eastwood & Williams 2018) and the separated attribute predictability (SAP; Kumar et al. "
    "2018), each 1 for a number of its own for every factor. In a β-TCVAE, β weighs only how far numbers depend on one "
    "another (Chen et al. 2018). In brackets: what is published for dSprites, which these images are like and no copy "
    "of, mean and deviation of ten seeds after 300,000 steps (Jung et al. 2024; its SAP classifies all factors)."
)


def controls(family: OpenedFamily) -> BetaShown:
    """Choose the models, and the chart and the image to walk from, or what the plane shows."""
    title, series = weighing.series(family)
    first = {"default": next(iter(series)), "required": True}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        said = {"required": True, "format_func": say, **BOUND}
        if weighing.knows_factors(family):
            loss = st.segmented_control(title, list(series), **first, key="loss", **BOUND)
            charts = list(weighing.CHARTS)
            chart = st.segmented_control(say("Chart"), charts, default=charts[0], key="chart", **said)
            last = weighing.n_codes(family) - 1
            base = st.number_input(say("Walk from image"), 0, last, 0, key="base", width=160, **BOUND)
            return BetaShown(series[loss], chart=chart, base=base)
        code = st.segmented_control(title, list(series), **first, key="code", **BOUND)
        shown = st.segmented_control(say("The plane shows"), PLANES, default=PLANES[0], key="over", **said)
        with_codes = st.toggle(say("Codes on the plane"), value=True, key="codes", **BOUND)
    return BetaShown(series[code], shown == PLANES[0], with_codes)


@fragment
def bench(view: View) -> None:
    """Show the dial and what it changes; only this runs again when it rests."""
    family, top = view.family("beta"), screen.picture()
    shown, walking = controls(family), weighing.knows_factors(family)
    betas = [family.members[name]["beta"] for name in shown.members]
    at = betas.index(dialling.kept(KEY, "beta", betas, min(betas, key=lambda beta: abs(beta - 1))))
    with top:
        before = min(dialling.first(KEY, "beta", at), len(betas) - 1)
        components.dial("beta", weighing.data(view, family, shown, before), key=KEY)
    show_legend(view.gallery.classes if shown.with_codes and not walking else ())
    name = shown.members[at]
    st.download_button(
        say("PNG of walks and samples") if walking else say("PNG of plane and samples"),
        lambda: weighing.picture(view, family, name, shown), f"{name}.png", "image/png", on_click="ignore",
    )  # fmt: skip
    caption = say(CAPTION, n=family.config()["data"]["splits"]["test"])
    finish(
        f"{caption} {say(OF_FACTORS if walking else OF_PLANE)}",
        weighing.walks_python(family, name, shown) if walking else weighing.plane_python(family, name, shown),
    )


bench(begin(PAGE))
