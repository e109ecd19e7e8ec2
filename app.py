"""Home page of the latent-space explorer: what is here, and what each model costs and keeps."""

import math

import pandas as pd
import streamlit as st
import torch

from explorer import latent
from explorer.models import n_parameters
from explorer.roster import ROSTER, models_for
from explorer.ui import live, loading
from explorer.ui.frame import PAGES, View, begin, finish, shared_choices, usable

HERO = "conv-vae"
HERO_SIDE, HERO_REACH = 15, 2.5


def roster_table(view: View, names: list[str]) -> pd.DataFrame:
    """List the models with their size, code length, compression and test figures beside the reported ones."""
    pixels = math.prod(view.dataset.image_shape)
    rows = []
    for name in names:
        entry, model, figures = ROSTER[name], loading.model(view.bundle(name)), view.bundle(name).metrics()
        reported = entry.reported if view.dataset.name == entry.home else {}
        is_coder = entry.is_autoencoder
        rows.append(
            {
                "Model": name,
                "Parameters": n_parameters(model),
                "Code": model.code_length if is_coder else None,
                "Compression": f"{pixels / model.code_length:.3g} : 1" if is_coder else "–",
                "Test MSE": figures.get("mse"),
                "PSNR": figures.get("psnr"),
                "SSIM": figures.get("ssim"),
                "−ELBO": figures.get("negative_elbo"),
                "Accuracy": figures.get("accuracy"),
                "Report": next((f"{key.upper() if key == 'mse' else key} {v:g}" for key, v in reported.items()), "–"),
            }
        )
    return pd.DataFrame(rows)


def hero(view: View) -> None:
    """Draw the decoded plane of the two-number model beside a welcome."""
    text, picture = st.columns([2, 3])
    text.markdown(
        f"An autoencoder squeezes an image of {math.prod(view.dataset.image_shape)} pixels through a few numbers, the "
        "**code**, and rebuilds it. Whatever survives is what those numbers hold. On the right, every "
        f"picture is drawn from just **two** numbers: move over the sheet and one thing becomes another.\n\n"
        "Every view here is a link: set it up, copy the address, put it on a slide."
    )
    choices = shared_choices() | {"dataset": view.dataset.name}
    with text:
        for page in list(PAGES.values())[1:]:
            st.page_link(page.file, label=f"**{page.title}** {page.question}", icon=page.icon, query_params=choices)
    if usable(view, [HERO]):
        with picture:
            axis = latent.axis(HERO_SIDE, HERO_REACH, "quantiles")
            live.live_plane(view, HERO, latent.Plane.native(), axis, ("z₁", "z₂"), ["sheet"], "hero")


torch.set_grad_enabled(False)
view = begin("overview")
hero(view)
st.subheader("The models")
names = usable(view, list(models_for(view.dataset.name)))
st.dataframe(
    roster_table(view, names), hide_index=True, placeholder="–",
    column_config={
        "Parameters": st.column_config.NumberColumn(format="localized"),
        "Code": st.column_config.NumberColumn(format="localized"),
        "Test MSE": st.column_config.NumberColumn(format="%.5f"),
        "PSNR": st.column_config.NumberColumn(format="%.2f"),
        "SSIM": st.column_config.NumberColumn(format="%.3f"),
        "−ELBO": st.column_config.NumberColumn(format="%.1f"),
        "Accuracy": st.column_config.NumberColumn(format="%.4f"),
    },
)  # fmt: skip
finish(
    "Figures are on the whole test split, which no model saw. Compression is pixels divided by numbers in the "
    "code: conv-ae has more numbers than pixels, so its small error is no compression; that is why conv-ae-128 exists.",
    f"""
from explorer import latent
from explorer.checkpoints import Bundle, root_folder
from explorer.images import grid, to_pil
from explorer.roster import ROSTER

axis = latent.axis({HERO_SIDE}, reach={HERO_REACH}, spacing="quantiles")
x = Bundle("{view.dataset.name}", "{HERO}", root_folder()).load().decode(latent.plane(axis, axis))
to_pil(grid(x.numpy(), columns=len(axis), gap=0), scale=3).save("plane.png")
for name in ROSTER:
    bundle = Bundle("{view.dataset.name}", name, root_folder())
    print(name, bundle.load().code_length, bundle.metrics())
""",
)
live.send_weights(view, [HERO], "hero")
