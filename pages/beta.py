"""Beta: what does β buy?"""

import numpy as np
import streamlit as st
import torch

from explorer.images import grid, png
from explorer.language import choices, later, say
from explorer.latent import plane
from explorer.ui import components, dialling, screen
from explorer.ui.dialling import BETA_CHARTS, CELLS, N_SAMPLES, STEPS, BetaShown
from explorer.ui.frame import BOUND, Page, View, begin, finish, fragment
from explorer.ui.opening import OpenedFamily
from explorer.ui.pictures import show_legend

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
    title, series = dialling.series(family)
    first = {"default": next(iter(series)), "required": True}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        said = {"required": True, "format_func": say, **BOUND}
        if dialling.knows_factors(family):
            loss = st.segmented_control(title, list(series), **first, key="loss", **BOUND)
            charts = list(BETA_CHARTS)
            chart = st.segmented_control(say("Chart"), charts, default=charts[0], key="chart", **said)
            last = dialling.n_codes(family) - 1
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
    shown, walking = controls(family), dialling.knows_factors(family)
    betas = [family.members[name]["beta"] for name in shown.members]
    at = betas.index(dialling.kept(KEY, "beta", betas, min(betas, key=lambda beta: abs(beta - 1))))
    with top:
        before = min(dialling.first(KEY, "beta", at), len(betas) - 1)
        components.dial("beta", dialling.beta_data(view, family, shown, before), key=KEY)
    show_legend(view.gallery.classes if shown.with_codes and not walking else ())
    name = shown.members[at]
    st.download_button(
        say("PNG of walks and samples") if walking else say("PNG of plane and samples"),
        lambda: picture(view, family, name, shown), f"{name}.png", "image/png", on_click="ignore",
    )  # fmt: skip
    caption = say(CAPTION, n=family.config()["data"]["splits"]["test"])
    finish(
        f"{caption} {say(OF_FACTORS if walking else OF_PLANE)}",
        walks_python(family, name, shown) if walking else plane_python(family, name, shown),
    )


@torch.inference_mode()
def picture(view: View, family: OpenedFamily, name: str, shown: BetaShown) -> bytes:
    """Make a PNG of the plane or the walks of one model, with samples of the prior below."""
    model = family.load()[name]
    if dialling.knows_factors(family):
        codes = dialling.walks(torch.from_numpy(family.arrays[f"{name}/codes"][shown.base])).flatten(0, 1)
    else:
        member = dialling.beta_member(family, name, shown, dialling.dots(view))
        axis = torch.tensor(dialling.cells()) * member["reach"]
        codes = torch.zeros(CELLS**2, model.code_length)
        codes[:, member["shown"]] = plane(axis, axis)
    noise = np.random.default_rng(0).standard_normal((N_SAMPLES, model.code_length))
    x = model.decode(torch.cat([codes, torch.from_numpy(noise).float()])).numpy()
    return png(grid(x, len(STEPS) if dialling.knows_factors(family) else CELLS, gap=0), scale=4)


def plane_python(family: OpenedFamily, name: str, shown: BetaShown) -> str:
    """Write the lines of Python that make the plane of one model."""
    codes = f'family.codes()["{name}/codes"].float()'
    reach = (
        dialling.PRIOR_REACH if shown.on_prior else f"(codes.mean(0).abs() + 2.5 * codes.std(0)).max()  # of {codes}"
    )
    return f"""
import torch
from explorer import latent
from explorer.checkpoints import root_folder
from explorer.families import FamilyBundle
from explorer.images import grid, to_pil

family = FamilyBundle("{family.dataset}", "{family.model}", root_folder())
model, figures = family.load()["{name}"], family.figures()["members"]["{name}"]
codes = {codes}
shown = sorted(torch.tensor(figures["kl_per_number"]).topk(2).indices.tolist())
axis = torch.linspace(-0.9, 0.9, {CELLS}) * {reach}
z = torch.zeros({CELLS**2}, model.code_length)
z[:, shown] = latent.plane(axis, axis)
to_pil(grid(model.decode(z).numpy(), columns={CELLS}, gap=0), scale=4).save("{name}.png")
print(figures)
"""


def walks_python(family: OpenedFamily, name: str, shown: BetaShown) -> str:
    """Write the lines of Python that make the walks along each number of one model."""
    return f"""
import torch
from explorer import disentanglement
from explorer.checkpoints import root_folder
from explorer.datasets import DATASETS
from explorer.families import FamilyBundle
from explorer.images import grid, to_float, to_pil

family = FamilyBundle("{family.dataset}", "{family.model}", root_folder())
model, steps = family.load()["{name}"], torch.tensor({STEPS})
code = family.codes()["{name}/codes"][{shown.base}].float()
z = code.repeat(len(code), len(steps), 1)  # (D, S, D)
z[range(len(code)), :, range(len(code))] = steps
to_pil(grid(model.decode(z.flatten(0, 1)).numpy(), columns=len(steps), gap=0), scale=4).save("{name}.png")
test = DATASETS["{family.dataset}"].load("test")
codes = model.embed(to_float(test.images[:2000]))
print(disentanglement.scores(codes.numpy(), test.factors[:2000].numpy()))  # of 2,000 images; of all:
print(family.figures()["apart"]["{name}"])
"""


bench(begin(PAGE))
