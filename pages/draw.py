"""Draw: what does it make of your own drawing?"""

import streamlit as st

from explorer.language import later, say
from explorer.ui import components, live, planes, screen, taking, widgets
from explorer.ui.frame import BOUND, Page, View, begin, finish, fragment
from explorer.ui.pad import BRUSH, GROUP, REACH, pad_data

PAGE = Page(
    "Draw", ":material/draw:", "Latent space", place=80,
    question="What does it make of your own drawing?",
    look_for=(
        "Draw a shirt: the model returns it smoother. Then draw a face: it is turned into the clothes that it is most "
        "like, and the classifier is as sure as before."
    ),
    control=".pad", picture=".rebuilt",
    fits=lambda there: there.images.image_shape[0] == 1 and there.autoencoders != (),
    needs="a model of shapes that can be drawn",
)  # fmt: skip

CAPTION = later(
    "Left the pad, which starts with an image of the gallery, beside it the reconstruction, and what the classifier "
    "takes the drawing for."
)
PLACE = later(
    "In the plane of the variational autoencoder the ring is where the drawing lands, the ellipse how sure the "
    "encoder is (2 standard deviations)."
)


@fragment
def pad(view: View, model: str) -> None:
    """Show the pad with what the model makes of it, and the plane in which it lands."""
    with screen.control():
        start = widgets.pick_images(view.gallery, 1)[0]
        erase = st.toggle(say("Erase"), key="erase")
        with screen.more():
            brush = st.slider(say("Brush: radius in pixels"), 0.5, 4.0, BRUSH, 0.1, key="brush", **BOUND)
            soft = st.toggle(say("Soft edge"), value=True, key="soft", **BOUND)
    bundle = view.bundle(model)
    if reason := live.unsupported(bundle):
        told = say("This model cannot run in the browser, so it cannot follow a drawing: {reason}.", reason=reason)
        st.info(told)
        finish(say("Choose another model to draw for."), python_for(view, model, start))
        return
    with screen.picture():
        left, right = st.columns([3, 2])
    with left:
        data = pad_data(view, model, start, brush, soft, erase)
        data["weights"] = live.weights(bundle, view.native, view.classifier)
        components.drawing_pad(data, key="pad")
    with right:
        if view.native:
            live.live_plane(view, view.native.model, *planes.native(12, REACH), ["codes"], "draw-plane", group=GROUP)
    taking.button(view, "draw", model, start=start, brush=brush, soft=soft)
    finish(f"{say(CAPTION)} {say(PLACE) if view.native else ''}", python_for(view, model, start))


def python_for(view: View, model: str, start: int) -> str:
    """Write the lines of Python that rebuild the image on the pad, or a drawing of one's own."""
    return f"""
import torch
from pathlib import Path
from explorer.checkpoints import Bundle, root_folder
from explorer.datasets import DATASETS
from explorer.images import grid, read_upload, to_float, to_pil

model = Bundle("{view.dataset.name}", "{model}", root_folder()).load()
{view.gallery.python([start])}
if Path("mine.png").exists():  # a drawing of your own, white on black
    x = torch.from_numpy(read_upload(Path("mine.png").read_bytes(), {view.dataset.image_shape}))[None]
to_pil(grid(torch.cat([x, model(x)]).numpy(), columns=2), scale=4).save("rebuilt.png")
"""


view = begin(PAGE)
with screen.settings():
    model = widgets.pick_model(view)
pad(view, model)
