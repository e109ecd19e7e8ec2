"""Interpolate: what lies between two images?"""

from html import escape

import streamlit as st
import torch

from explorer import latent
from explorer.images import grid, png
from explorer.language import choices, say
from explorer.ui import loading, screen, taking, walking, widgets
from explorer.ui.frame import BOUND, Page, View, begin, finish, fragment
from explorer.ui.pictures import Strip, data_uri, show_strips

PAGE = Page(
    "Interpolate", ":material/linear_scale:", "Latent space", place=50,
    question="What lies between two images?",
    look_for=(
        "Read each strip from left to right: the pixel fade shows two ghosts, a short code turns one thing into the "
        "other, by line and by arc past other things. Then choose a model with a longer code: ghosts again."
    ),
)  # fmt: skip

TABS = choices("Between two", "Between four", "Every model")
WALKS = dict(zip(choices("linear", "spherical"), (latent.lerp, latent.slerp), strict=True))
IMPORTS = """\
from explorer.checkpoints import Bundle, root_folder
from explorer.datasets import DATASETS
from explorer.images import grid, to_float, to_pil

"""
SETUP = (
    IMPORTS
    + """\
model = Bundle("{dataset}", "{model}", root_folder()).load()
{images}"""
)


@fragment
def two(view: View, model: str, picks: list[int]) -> None:
    """Draw the number of steps and the strips it moves."""
    with screen.control():
        n = st.slider(say("Steps"), 3, 16, 9, key="steps", **BOUND)
    strips = walking.walks(view, model, picks, n)
    with screen.picture():
        show_strips(strips)
    walking.downloads(strips)
    taking.button(view, "interpolate", model, picks=picks, n=n)
    finish(
        say(
            "Of the two decoded walks, left and right are reconstructions of the two images, and what is between was "
            "never in the data. In a high-dimensional normal almost all codes have nearly the same norm; the straight "
            "line cuts through the empty middle, the arc does not."
        ),
        f"""
import torch
from explorer import latent
{SETUP.format(dataset=view.dataset.name, model=model, images=view.gallery.python(picks))}
a, b = model.embed(x)
t = torch.linspace(0, 1, {n})
fade = latent.lerp(*x.flatten(1), t).view(-1, *x.shape[1:])
walks = [model.decode(walk(a, b, t)) for walk in (latent.lerp, latent.slerp)]
to_pil(grid(torch.cat([fade, *walks]).numpy(), columns=len(t)), scale=4).save("interpolation.png")
""",
    )


@fragment
def four(view: View, model: str, picks: list[int]) -> None:
    """Draw the bilinear sheet between four images."""
    with screen.control():
        n = st.slider(say("Images per side"), 3, 16, 9, key="side", **BOUND)
    codes = loading.encode(view.bundle(model), view.gallery.images[picks])
    x = loading.decode(view.bundle(model), latent.bilinear(codes, n).flatten(0, 1))
    picture = png(grid(x, n, gap=1), walking.STILL // x.shape[-1])
    with screen.picture():
        alt = escape(say("{n} by {n} images between four", n=n))
        st.html(f'<img class="lx-whole" src="{data_uri(grid(x, n, gap=2))}" alt="{alt}">')
    st.markdown(say("A top left, B top right, C bottom left, D bottom right."))
    st.download_button(say("PNG of the sheet"), picture, "sheet.png", "image/png", on_click="ignore")
    taking.button(view, "interpolate", model, picks=picks, n=n)
    finish(
        say("The corners are reconstructions of the four images; every row and every column is a straight walk."),
        f"""
from explorer import latent
{SETUP.format(dataset=view.dataset.name, model=model, images=view.gallery.python(picks))}
sheet = model.decode(latent.bilinear(model.embed(x), {n}).flatten(0, 1))
to_pil(grid(sheet.numpy(), columns={n}, gap=1), scale=4).save("sheet.png")
""",
    )


@fragment
def every(view: View, models: list[str], picks: list[int]) -> None:
    """Draw the same walk between the same two images in every model."""
    with screen.control():
        n = st.slider(say("Steps"), 3, 16, 9, key="steps-every", **BOUND)
        walk = st.segmented_control(
            say("Walk"), list(WALKS), default=next(iter(WALKS)), format_func=say, required=True, key="walk", **BOUND
        )
    ends, t = view.gallery.images[picks], torch.linspace(0, 1, n)
    strips = [walking.fade(ends, t)]
    for name in models:
        z = WALKS[walk](*loading.encode(view.bundle(name), ends), t)
        strips.append(Strip(view.shown.title(name), loading.decode(view.bundle(name), z)))
    with screen.picture():
        show_strips(strips)
    finish(
        say("Left and right is what each model makes of the two images; between them each goes its own way."),
        f"""
import torch
from explorer import latent
{IMPORTS}{view.gallery.python(picks)}
t = torch.linspace(0, 1, {n})
rows = [latent.lerp(*x.flatten(1), t).view(-1, *x.shape[1:])]
for name in {models}:
    model = Bundle("{view.dataset.name}", name, root_folder()).load()
    rows.append(model.decode(latent.{WALKS[walk].__name__}(*model.embed(x), t)))
to_pil(grid(torch.cat(rows).numpy(), columns=len(t)), scale=4).save("every.png")
""",
    )


view = begin(PAGE)
tabs = screen.tabs(TABS, "between")
for tab, draw, n_ends in zip(tabs, (two, four, every), (2, 4, 2), strict=True):
    if tab.open:
        with tab:
            with screen.settings():
                several = draw is every
                model = widgets.pick_models(view) if several else widgets.pick_model(view, default=view.shown.native)
                picks = widgets.pick_images(view.gallery, n_ends)
            draw(view, model, picks)
