"""Beta: what does β buy?"""

import numpy as np
import streamlit as st
import torch

from explorer.images import grid, png
from explorer.language import choices, later, say
from explorer.latent import plane
from explorer.ui import components, dialling, screen
from explorer.ui.dialling import CELLS, N_SAMPLES
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
    "trades (Alemi et al. 2018). Rings are one and two standard deviations: grey of the prior, red of the Gaussian "
    "fitted to all codes with their spread. A longer code is shown along the two numbers with the largest KL, all "
    "others at 0."
)


def controls(family: OpenedFamily) -> tuple[int, bool, bool]:
    """Choose the length of the code, what the plane shows, and whether codes lie on it."""
    names = [str(length) for length in dialling.beta_names(family)]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        code = {"default": names[0], "required": True, "key": "code"}
        length = st.segmented_control(say("Numbers in the code"), names, **code, **BOUND)
        shown = st.segmented_control(
            say("The plane shows"), PLANES, format_func=say, default=PLANES[0], required=True, key="over", **BOUND
        )
        with_codes = st.toggle(say("Codes on the plane"), value=True, key="codes", **BOUND)
    return int(length), shown == PLANES[0], with_codes


@fragment
def bench(view: View) -> None:
    """Show the dial and what it changes; only this runs again when it rests."""
    family, top = view.family("beta"), screen.picture()
    length, on_prior, with_codes = controls(family)
    members = dialling.beta_names(family)[length]
    betas = [family.members[name]["beta"] for name in members]
    at = betas.index(dialling.kept(KEY, "beta", betas, min(betas, key=lambda beta: abs(beta - 1))))
    with top:
        before = dialling.first(KEY, "beta", at)
        components.dial("beta", dialling.beta_data(view, family, members, before, on_prior, with_codes), key=KEY)
    show_legend(view.gallery.classes if with_codes else ())
    name = members[at]
    st.download_button(
        say("PNG of plane and samples"), lambda: picture(view, family, name, on_prior), f"{name}.png", "image/png",
        on_click="ignore",
    )  # fmt: skip
    finish(say(CAPTION, n=family.config()["data"]["splits"]["test"]), python_for(family, name, on_prior))


@torch.inference_mode()
def picture(view: View, family: OpenedFamily, name: str, on_prior: bool) -> bytes:
    """Make a PNG of the plane of one model, with samples of the prior below."""
    member = dialling.beta_member(family, name, on_prior, dialling.dots(view))
    model, axis = family.load()[name], torch.tensor(dialling.cells()) * member["reach"]
    codes = torch.zeros(CELLS**2, model.code_length)
    codes[:, member["shown"]] = plane(axis, axis)
    noise = np.random.default_rng(0).standard_normal((N_SAMPLES, model.code_length))
    x = model.decode(torch.cat([codes, torch.from_numpy(noise).float()])).numpy()
    return png(grid(x, CELLS, gap=0), scale=4)


def python_for(family: OpenedFamily, name: str, on_prior: bool) -> str:
    """Write the lines of Python that make the plane of one model."""
    codes = f'family.codes()["{name}/codes"].float()'
    reach = dialling.PRIOR_REACH if on_prior else f"(codes.mean(0).abs() + 2.5 * codes.std(0)).max()  # of {codes}"
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


bench(begin(PAGE))
