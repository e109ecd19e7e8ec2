"""The server of the latent-space explorer, and its home page: what is here, and what each model costs and keeps.

Streamlit imports this file once for `app`, and runs it for every visit to the home page.
"""

import math
from functools import partial

import pandas as pd
import streamlit as st
from starlette.middleware import Middleware

from explorer import latent
from explorer.language import later, listed, number, say
from explorer.models import n_parameters
from explorer.ui import learning, live, loading, planes, screen, serving
from explorer.ui.frame import Page, View, begin, finish, usable
from explorer.ui.paging import pages_for
from explorer.ui.reconnecting import WholePageFirst
from explorer.ui.sidebar import shared_choices
from explorer.ui.text import as_text

PAGE = Page(
    "Overview", ":material/home:", "", place=0,
    question="What does an autoencoder learn, and what is here to see it with?",
    look_for="Move the pointer over the sheet: the picture beside it follows, and one kind of thing becomes another.",
    fits=lambda there: True,
    control=".front", picture=".st-key-picture",
)  # fmt: skip

REACH = 2.5
FORMS = {
    later("Parameters"): ",", later("Code"): ",.0f", later("Test MSE"): ".5f", "PSNR": ".2f", "SSIM": ".3f",
    "−ELBO": ".1f", later("Accuracy"): ".4f",
}  # fmt: skip


def roster_table(view: View, names: list[str]) -> pd.DataFrame:
    """List the models with their size, code length, compression and test figures beside the reported ones.

    A column that would be empty is left out.
    """
    pixels = math.prod(view.dataset.image_shape)
    rows = []
    for name in names:
        card, model, figures = view.card(name), loading.model(view.bundle(name)), view.bundle(name).metrics()
        is_coder = card.decodes
        rows.append(
            {
                say("Model"): view.shown.title(name),
                say("Parameters"): n_parameters(model),
                say("Code"): model.code_length if is_coder else None,
                say("Compression"): number(pixels / model.code_length, ".3g") + " : 1" if is_coder else None,
                say("Test MSE"): figures.get("mse"),
                "PSNR": figures.get("psnr"),
                "SSIM": figures.get("ssim"),
                "−ELBO": figures.get("negative_elbo"),
                say("Accuracy"): figures.get("accuracy"),
                say("Report"): next(
                    (
                        f"{key.upper() if key == 'mse' else say(key)} {number(v, 'g')}"
                        for key, v in card.reported.items()
                    ),
                    None,
                ),
            }
        )
    return pd.DataFrame(rows).dropna(axis=1, how="all")


def best_to_show(view: View) -> str | None:
    """Choose whose plane to show: that of two numbers, else of the variational model most like the images, else any."""
    whole = [name for name in view.autoencoders if not view.bundle(name).problem]
    if view.shown.native or not whole:
        return view.shown.native or next(iter(view.autoencoders), None)
    return max(whole, key=lambda name: (view.card(name).variational, view.bundle(name).metrics()["ssim"]))


def hero(view: View, model: str) -> None:
    """Draw the decoded plane of a model beside a welcome: its two numbers, or its two widest directions."""
    channels, height, width = view.dataset.image_shape
    native = view.card(model).is_native
    sheet = say("Here every picture is drawn from just **two** numbers.")
    if not native and not view.bundle(model).problem:
        sheet = say(
            "Here a sheet cuts through a code of **{n}** numbers along the two directions in which it varies most.",
            n=loading.model(view.bundle(model)).code_length,
        )
    with screen.picture():
        picture, text = st.columns([3, 1])
    size = {"height": height, "width": width, "channels": channels, "n": channels * height * width}
    if channels == 1:
        squeezed = say("An autoencoder squeezes an image of {height} × {width} pixels through a few numbers,", **size)
    else:
        squeezed = say(
            "An autoencoder squeezes an image of {height} × {width} pixels in {channels} colours, {n:,} numbers, "
            "through a few numbers,",
            **size,
        )
    text.markdown(
        f"{squeezed} {say('the **code**, and rebuilds it. Whatever survives is what those numbers hold.')} {sheet}\n\n"
        + say("Every view here is a link: set it up, copy the address, put it on a slide.")
    )
    if usable(view, [model]):
        with picture:
            reach = planes.cells(view, 15), REACH, "quantiles"
            laid = planes.native(*reach) if native else planes.principal(view, model, latent.axis(*reach))
            live.live_plane(view, model, *laid, ["sheet"], "hero")


def pages(view: View) -> None:
    """Draw a link to each page that makes sense here, with its question."""
    choices = shared_choices() | {"dataset": view.dataset.name}
    with st.container(horizontal=True, gap="xxsmall"):
        for page in pages_for(view.shown)[1:]:
            label = f"**{say(page.title)}** {say(page.question)}"
            st.page_link(page.file, label=label, icon=page.icon, query_params=choices, width=460)


def home() -> None:
    """Draw the page: a plane to move over, and what each model costs and keeps."""
    view = begin(PAGE, learning.first_images)
    learning.learning(view.root)
    best = best_to_show(view)
    if best:
        hero(view, best)
    if not view.models:
        families_alone(view)
        return
    pages(view)
    st.subheader(say("The models"))
    names = usable(view, list(view.models))
    table = roster_table(view, names)
    forms = {say(name): form for name, form in FORMS.items() if say(name) in table}
    shown = {name: partial(lambda form, value: number(value, form), form) for name, form in forms.items()}
    st.dataframe(table.style.format(shown, na_rep="–"), hide_index=True, placeholder="–")
    learning.own_images(view.root)
    pixels = math.prod(view.dataset.image_shape)
    longer = [view.shown.title(name) for name in names if loading.model(view.bundle(name)).code_length > pixels]
    elsewhere = listed(view.shown.title(name) for name in names if view.card(name).imported)
    told = [
        say("Figures are on the whole test split, which no model saw."),
        say("Of {names}, fitted elsewhere, nobody knows.", names=elsewhere) if elsewhere else "",
        say("Compression is the numbers of the image divided by those of the code."),
        *(say("{name} has more of them than the image: its small error is no compression.", name=n) for n in longer),
    ]
    finish(
        " ".join(filter(None, told)),
        python_for(view, best) if best else "",
    )


def families_alone(view: View) -> None:
    """Draw what is here where no model stands for itself: the families, and the pages with a dial that show them."""
    st.markdown(
        "\n".join(f"- **{as_text(card.title)}**: {as_text(card.summary)}" for card in view.shown.families.values())
    )
    pages(view)
    learning.own_images(view.root)
    names = list(view.shown.families)
    finish(
        say("Each family is one model over a list of values, fitted to these images."),
        f"""
from explorer.checkpoints import root_folder
from explorer.families import FamilyBundle

for name in {names}:
    family = FamilyBundle("{view.dataset.name}", name, root_folder())
    print(name, list(family.load()), family.figures())
""",
    )


def python_for(view: View, model: str) -> str:
    """Write the lines of Python that make the sheet and the figures of the table."""
    return f"""
from explorer import latent
from explorer.checkpoints import Bundle, root_folder
from explorer.images import grid, to_pil

bundle = Bundle("{view.dataset.name}", "{model}", root_folder())
codes = bundle.codes()["codes"].float()
plane = latent.Plane.{"native()" if view.card(model).is_native else "principal(codes)"}
axis = latent.axis({planes.cells(view, 15)}, reach={REACH}, spacing="quantiles")
x = bundle.load().decode(plane.codes(latent.plane(axis, axis)))
to_pil(grid(x.numpy(), columns=len(axis), gap=0), scale=3).save("plane.png")
for name in {list(view.models)}:
    bundle = Bundle("{view.dataset.name}", name, root_folder())
    print(name, bundle.load().code_length, bundle.metrics())
"""


if __name__ == "__main__":
    home()
else:
    app = st.App(__file__, routes=serving.routes(), lifespan=serving.ready, middleware=[Middleware(WholePageFirst)])
