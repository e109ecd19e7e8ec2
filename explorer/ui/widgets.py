"""Controls that several pages share; each is bound to the address and returns plain values."""

from collections.abc import Sequence
from pathlib import PurePath

import numpy as np
import streamlit as st
from PIL import Image

from explorer.decoding import extensions
from explorer.images import MAX_UPLOAD_BYTES, ImageError, fit_picture, middle_square, read_picture
from explorer.language import later, say
from explorer.ui import address, screen
from explorer.ui.components import crop_square, picker
from explorer.ui.frame import BOUND, View, usable
from explorer.ui.loading import Gallery
from explorer.ui.naming import named, several_named
from explorer.ui.pictures import data_uri
from explorer.ui.text import as_text

ALL = later("All")
THUMBNAILS = 100
EYES = ((0.37, 0.51), (0.62, 0.51))  # where they lie in every image of the aligned faces, in shares of its side


def one_of(view: View, label: str, options: Sequence[str], key: str, default: int = 0) -> str:
    """Choose a model by its title; the address has its name."""
    return named(label, options, view.shown.title, key, options[default])


def pick_models(
    view: View, options: tuple[str, ...] = (), key: str = "models", default: Sequence[str] = ()
) -> list[str]:
    """Choose any of the models, by default the autoencoders, all at first; stop the page where none can be shown."""
    options = options or view.autoencoders
    with screen.more(say("Models"), ":material/layers:"):
        chosen = several_named(say("Models"), options, view.shown.title, key, list(default or options))
    good = usable(view, chosen)
    if not good:
        st.info(say("Choose at least one model that is fitted."))
        st.stop()
    return good


def pick_model(view: View, options: tuple[str, ...] = (), label: str = "", default: str | None = None) -> str:
    """Choose one model, by default the first of the autoencoders; stop the page where it cannot be shown."""
    options = options or view.autoencoders
    start = options.index(default) if default in options else 0
    name = one_of(view, label or say("Model"), options, "model", start)
    if not usable(view, [name]):
        st.stop()
    return name


def read_picks(gallery: Gallery, n: int) -> list[int]:
    """Read which gallery images are chosen from the address; what makes no sense there is passed over."""
    return completed(gallery, address.wholes("pick", len(gallery)), n)


def completed(gallery: Gallery, picks: Sequence[int], n: int) -> list[int]:
    """Take `n` images: those that are chosen, and after them some of classes that differ."""
    there = np.unique(gallery.labels)
    start = []
    for k in (9, 1, 8, 3):
        alike = np.flatnonzero(gallery.labels == there[k % len(there)])
        start.append(int(alike[k // len(there) % len(alike)]))
    return [*picks, *start[len(picks) :]][:n]


def pick_images(gallery: Gallery, n: int) -> list[int]:
    """Choose `n` gallery images by picture; their numbers are kept in the address as `pick`."""
    slots = "ABCD"[:n]
    picks = read_picks(gallery, n)
    title = say("Choose the images") if n > 1 else say("Choose the image")
    with screen.more(title, ":material/photo_library:"):
        left, right = st.columns([3, 2])
        pool = np.arange(len(gallery))
        if gallery.has_classes:
            shown = left.selectbox(say("Show"), [ALL, *gallery.classes], format_func=say, key="show", **BOUND)
            if shown != ALL:
                pool = np.flatnonzero(gallery.labels == gallery.classes.index(shown))
        column = right if gallery.has_classes else left
        shuffle = column.number_input(say("Shuffle"), 0, 999, 0, key="shuffle", **BOUND)
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
    """Upload a picture and turn it into an image `(1, C, H, W)`; None while there is none that can be read.

    A photo for a colour model is cropped by hand; a picture for a grey one is fitted whole.
    """
    left, right = st.columns([3, 1], vertical_alignment="center")
    file = left.file_uploader(
        say("A picture of your own"), type=extensions(), max_upload_size=MAX_UPLOAD_BYTES // 2**20
    )
    is_photo = view.dataset.image_shape[0] == 3
    invert = not is_photo and right.toggle(
        say("Invert (dark object on light ground)"), value=True, key="invert", **BOUND
    )  # fmt: skip
    st.session_state["upload_options"] = f", invert={invert}"
    if file is None:
        st.session_state.pop("upload", None)
        if not is_photo:
            st.info(say("Upload a picture: one thing on an even background."))
        else:
            st.info(say("Upload a photo of a face.") if view.dataset.has_faces else say("Upload a photo."))
        return None
    if st.session_state.get("upload", (None,))[0] != file.file_id:
        st.session_state["upload"] = (file.file_id, *_read(file.getvalue()))
    _, picture, problem = st.session_state["upload"]
    if picture is None:
        st.error(f"{as_text(PurePath(file.name).name)}: {say(problem)}")
        return None
    for note in picture.info["notes"]:
        st.caption(as_text(note))
    crop = None
    if is_photo:
        eyes = EYES if view.dataset.has_faces else ()
        crop = crop_square(picture, middle_square(picture), view.dataset.image_shape, eyes, key=f"crop-{file.file_id}")
        st.session_state["upload_options"] = f", crop={crop}"
    return fit_picture(picture, view.dataset.image_shape, invert, crop)[None]


def _read(data: bytes) -> tuple[Image.Image | None, str]:
    """Read an upload: the picture, which is small, or what is wrong with it."""
    try:
        return read_picture(data), ""
    except ImageError as error:
        return None, str(error)


def own_python(view: View) -> str:
    """Write the Python that makes the image of `own_picture`; it needs torch, `Path` and `read_upload`."""
    options = st.session_state.get("upload_options", "")
    return f'torch.from_numpy(read_upload(Path("mine.png").read_bytes(), {view.dataset.image_shape}{options}))[None]'
