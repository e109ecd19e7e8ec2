"""Controls that several pages share; each is bound to the address and returns plain values."""

import numpy as np
import streamlit as st

from explorer.images import ImageError, read_upload
from explorer.roster import ROSTER, autoencoders_for
from explorer.ui.components import picker
from explorer.ui.frame import BOUND, View, carry, usable
from explorer.ui.loading import Gallery
from explorer.ui.pictures import data_uri

UPLOAD_TYPES = ["png", "jpg", "jpeg", "gif", "bmp", "tif", "tiff", "webp"]
THUMBNAILS = 100


AUTOENCODERS = autoencoders_for("fashion-mnist")


def title_of(model: str) -> str:
    """Give a model's name for people."""
    return ROSTER[model].title


def pick_models(view: View, options: tuple[str, ...] = AUTOENCODERS) -> list[str]:
    """Choose any of the models, all at first; stop the page where none can be shown."""
    carry("models", list(options), list(options))
    chosen = st.multiselect("Models", options, default=list(options), key="models", **BOUND)
    st.session_state["kept_models"] = chosen
    good = usable(view, chosen)
    if not good:
        st.info("Choose at least one model that is fitted.")
        st.stop()
    return good


def pick_model(view: View, options: tuple[str, ...] = AUTOENCODERS, label: str = "Model") -> str:
    """Choose one model; stop the page where it cannot be shown."""
    carry("model", list(options), options[0])
    name = st.selectbox(label, options, key="model", **BOUND)
    st.session_state["kept_model"] = name
    if not usable(view, [name]):
        st.stop()
    return name


def read_picks(gallery: Gallery, n: int) -> list[int]:
    """Read which gallery images are chosen from the address; what makes no sense there is passed over."""
    picks = [int(p) for p in st.query_params.get_all("pick") if p.isdecimal() and int(p) < len(gallery)]
    start = [int(np.flatnonzero(gallery.labels == k % len(gallery.classes))[0]) for k in (9, 1, 8, 3)]
    return (picks + start[len(picks) :])[:n]


def pick_images(gallery: Gallery, n: int, expanded: bool = True) -> list[int]:
    """Choose `n` gallery images by picture; their numbers are kept in the address as `pick`."""
    slots = "ABCD"[:n]
    picks = read_picks(gallery, n)
    title = "Choose the images" if n > 1 else "Choose the image"
    with st.expander(title, expanded=expanded, icon=":material/photo_library:"):
        left, right = st.columns([3, 1])
        choices = ["All", *gallery.classes]
        shown = left.selectbox("Show", choices, key="show", **BOUND)
        shuffle = right.number_input("Shuffle", 0, 999, 0, key="shuffle", **BOUND)
        pool = np.arange(len(gallery))
        if shown != "All":
            pool = np.flatnonzero(gallery.labels == gallery.classes.index(shown))
        offered = np.random.default_rng(shuffle).permutation(pool)[:THUMBNAILS]
        clicked = picker(
            gallery.images[offered],
            [gallery.label(i) for i in offered],
            slots,
            [data_uri(gallery.images[i]) for i in picks],
            key=f"picker{n}",
        )
    if clicked:
        slot, image = clicked
        picks[slot] = int(offered[image])
        st.query_params["pick"] = [str(p) for p in picks]
        st.rerun()
    return picks


def own_picture(view: View) -> np.ndarray | None:
    """Upload a picture and turn it into an image `(1, C, H, W)`; None while there is none that can be read."""
    left, right = st.columns([3, 1], vertical_alignment="center")
    file = left.file_uploader("A picture of your own", type=UPLOAD_TYPES, max_upload_size=10)
    invert = right.toggle("Invert (dark object on light ground)", value=True, key="invert", **BOUND)
    if file is None:
        st.info("Upload a picture: one garment on an even background works best.")
        return None
    try:
        return read_upload(file.getvalue(), view.dataset.image_shape, invert)[None]
    except ImageError as error:
        st.error(f"{file.name}: {error}")
        return None
