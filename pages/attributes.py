"""Attributes: can one thing be changed, and only that?"""

import streamlit as st

from explorer.attributes import METHODS, Directions
from explorer.language import choices, later, say
from explorer.sampling import Prior
from explorer.ui import address, besides, components, editing, labelling, live, loading, screen, taking, widgets
from explorer.ui.editing import Edit, Face
from explorer.ui.frame import BOUND, Page, View, begin, finish, fragment
from explorer.ui.text import as_text

PAGE = Page(
    "Attributes", ":material/face_retouching_natural:", "Latent space", place=70,
    question="Can one thing be changed, and only that?",
    look_for=(
        "The first slider is turned up: the bars show what came along, since it went together in the data. Choose one "
        "of those to hold still: less of the change is left."
    ),
    control=".sliders", picture=".faces",
    fits=lambda there: bool(there.images.attributes),
    needs="a list of what is in each image",
)  # fmt: skip

SOURCES = choices("gallery", "upload", "sample")
CAPTION = later(
    "One step moves the attribute's own score by one standard deviation of that score among the labelled faces; "
    "orthogonalised, by what is left. The meter reads every score by logistic regression, whichever method moves the "
    "code. Scores are linear, so the bars are exact for them; the marks show what of it arrives in the picture."
)
BIAS = later(
    "**What the meter is about.** A direction is no cause. {labels} Orthogonalising takes a score out of a direction, "
    "not the bias out of the data: what no label names stays in. Nothing here is fit for judging a person."
)
OF_FACES = later(
    "Labels were given by people to photographs of celebrities, and what goes together there (make-up with women, "
    "glasses with age) goes together in the direction. *Attractive* is the opinion of those who labelled, *Male* what "
    "they took for a person's sex."
)
OF_OTHERS = later("What goes together in the labelled images goes together in the direction.")


@fragment
def editor(view: View, model: str, source: str, method: str) -> None:
    """Show a face under sliders, with a meter of what else moves, and the table of all directions."""
    try:
        found = editing.fitted(view.bundle(model), view.dataset.attributes)
    except ValueError as error:
        st.error(
            say("The labelled codes of {title} cannot be used: {error}.", title=view.shown.title(model), error=error)
        )
        found = {}
    if not found:
        missing = say("There are no labelled codes for {title}.", title=view.shown.title(model))
        st.info(f"{missing} {labelling.how_to_label(view, model)}")
        finish(CAPTION, f"# {labelling.how_to_label(view, model)}")
        return
    with screen.control():
        edit = pick_edit(found, method)
        face = pick_face(view, model, source)
    with screen.picture():
        moves = show_editor(view, model, face, edit) if face else {}
    if face and len(view.autoencoders) > 1 and st.toggle(say("The same moves in every model"), key="every", **BOUND):
        besides.side_by_side(view, model, face, edit, moves)
    if face:
        own = source == SOURCES[1]
        taking.button(view, "attributes", model, face=face, edit=edit, moves=moves, own=own)
    st.markdown(say(BIAS, labels=OF_FACES if view.dataset.has_faces else OF_OTHERS))
    about = {"title": say(view.dataset.title), "licence": say(view.dataset.licence)}
    st.caption(as_text(say("Images of {title}: {licence}", **about) + "."))
    labelling.show_table(view, model, found, method)
    if face:
        finish(CAPTION, editing.python_for(view, model, face, edit, moves))


def pick_edit(found: dict[str, Directions], method: str) -> Edit:
    """Choose the attributes to move, and what to orthogonalise against."""
    usable = editing.offered(found)
    default = editing.first(usable)
    names = {"options": usable, "format_func": editing.label, **BOUND}
    chosen = st.multiselect(say("Attributes to move"), default=default, key="attributes", max_selections=6, **names)
    against = st.multiselect(
        say("Hold still (orthogonalise)"), key="against", placeholder=say("nothing"), **names,
        help=say("Take out of each direction what moves these scores. Its own score then moves less, too."),
    )  # fmt: skip
    return Edit(found, method, tuple(chosen), tuple(against))


def pick_face(view: View, model: str, source: str) -> Face | None:
    """Choose a face of the gallery, of one's own, or drawn from the prior; None while there is none."""
    bundle = view.bundle(model)
    if source == SOURCES[2]:
        length = loading.model(bundle).code_length
        seed = int(st.number_input(say("Seed"), 0, 9999, 0, key="seed", **BOUND))
        python = f"sampling.Prior({length}).sample(1, seed={seed})[0].numpy()"
        return Face(Prior(length).sample(1, seed=seed)[0].numpy(), python)
    if source == SOURCES[0]:
        i = widgets.pick_images(view.gallery, 1)[0]
        return Face(loading.codes(bundle)["codes"][i], f'stored["codes"][{i}]', view.gallery.images[i])
    picture = widgets.own_picture(view)
    if picture is None:
        return None
    python = f"model.embed({widgets.own_python(view)})[0].numpy()"
    return Face(loading.encode(bundle, picture)[0].numpy(), python, picture[0])


def show_editor(view: View, model: str, face: Face, edit: Edit) -> dict[str, float]:
    """Show the sliders of an edit and what they do, in the browser where it can be; return its moves."""
    bundle = view.bundle(model)
    key = f"editor-{model}"
    kept = (st.session_state.get(key) or {}).get("moves")  # of the run before this one
    texts = address.texts("move") if kept is None else editing.write_moves(kept)
    is_new = kept is None and not texts and not address.texts("attributes")
    moves = {name: editing.TELLING for name in edit.chosen[:1]} if is_new else editing.read_moves(texts, edit.chosen)
    editing.keep_moves(moves)
    if reason := live.unsupported(bundle):
        st.info(say("This model is decoded on the server, when a slider is let go: {reason}.", reason=reason))
        return besides.server_editor(view, model, face, edit, moves)
    data = editing.face_data(view, model, face, edit, moves)
    data["weights"] = live.weights(bundle)
    data["measured"] = besides.Change(bundle, edit, moves, face.code).described()
    components.face_editor(data, key=key)
    return moves


view = begin(PAGE)
with screen.settings(), screen.more():
    model = widgets.pick_model(view)
    sources = SOURCES if loading.model(view.bundle(model)).config.variational else SOURCES[:2]
    usual = {"required": True, "format_func": say, **BOUND}
    source = st.segmented_control(say("Face"), sources, default=sources[0], key="face", **usual)
    method = st.segmented_control(say("Direction by"), METHODS, default=METHODS[0], key="method", **usual)
editor(view, model, source, method)
