"""Use it: what is a code good for?"""

import streamlit as st

from explorer import anomalies, figures, uses
from explorer.language import choices, later, number, say
from explorer.ui import address, components, screen, using, widgets
from explorer.ui.frame import BOUND, Page, View, begin, finish
from explorer.ui.naming import named
from explorer.uses import LEFT_OUT_EPOCHS, PROBE_TEST

PAGE = Page(
    "Use it", ":material/handyman:", "Scores and curves", place=94,
    question="What is a code good for?",
    look_for=(
        "Read the chart from the left: with ten labels a code is ahead of the pixels, with all of them it hardly is. "
        "Then open *Strangers* and drag the threshold: wherever it is, some strangers pass."
    ),
)  # fmt: skip

TABS = choices("Few labels", "Strangers")
SHORT = {"error": later("error"), "elbo": "−ELBO", "distance": later("distance")}
PROBES = {"linear": later("linear probe"), "knn": later("nearest neighbours")}
OF_LABELS = later(
    "Accuracy on {n:,} test images of a classifier fitted to nothing but codes and labels: multinomial logistic "
    "regression, or the majority of five neighbours (of few labels the nearest). The shade is a standard deviation "
    "over five draws of the labels. An autoencoder was fitted without any; a classifier's own code saw them all."
)
OF_STRANGERS = later(
    "The area under each ROC curve, {chance:.1f} by chance, of {n} images of each set. Error: of the reconstruction. "
    "−ELBO: a likelihood should be the best score, and is not: simple images may be likelier than those that a model "
    "was fitted to (Nalisnick et al. 2019). Distance: from the code to the nearest of 10,000 training images. The "
    "class left out is scored by the same network fitted without it for {epochs} epochs."
)


def labels(view: View) -> None:
    """Draw accuracy over the number of labels."""
    with screen.control():
        chosen = st.segmented_control(
            say("Read the class by"), list(PROBES), format_func=lambda probe: say(PROBES[probe]), default="linear",
            required=True, key="probe", **BOUND,
        )  # fmt: skip
        models = widgets.pick_models(view, view.models)
    found = using.used(view, models)
    titles = {name: view.shown.title(name) for name in found}
    curves = using.accuracies({titles[name]: of_one for name, of_one in found.items()}, chosen)
    if not curves:
        one = say("These images are of one class: there is nothing to read off.")
        told = say("Strangers are told without labels.")
        st.info(f"{one} {told}" if len(view.gallery.classes) < 2 else told)
    else:
        with screen.picture():
            name = say("Accuracy over the number of labels, a line for each code")
            screen.chart(figures.accuracies(curves), "accuracies", name, is_picture=True)
    finish(
        say(OF_LABELS, n=PROBE_TEST),
        f"""
import numpy as np
from explorer import figures
from explorer.checkpoints import Bundle, root_folder

curves = {{}}
for name, title in {titles}.items():
    uses = Bundle("{view.dataset.name}", name, root_folder()).uses()
    curves[title] = np.vstack([uses["labels"], uses["{chosen}/code"].T])
for key, title in {uses.BASELINES}.items():
    curves[title] = np.vstack([uses["labels"], uses[f"{chosen}/{{key}}"].T])
figures.accuracies(curves).write_html("accuracies.html")
""" if curves else "# nothing was measured yet",
    )  # fmt: skip


def strangers(view: View) -> None:
    """Show a score of usual images and of strangers around a threshold, and how all scores fare."""
    caption = say(OF_STRANGERS, chance=0.5, n=anomalies.NUMBER, epochs=LEFT_OUT_EPOCHS)
    row = screen.control()
    with row:
        model = widgets.pick_model(view, view.models)
    found = using.used(view, [model])
    if not found:
        finish(caption, "# nothing was measured yet")
        return
    found = found[model]
    score = row.segmented_control(
        say("Score"), uses.scores_of(found), format_func=lambda score: say(SHORT[score]),
        default=uses.scores_of(found)[0], required=True, key="score", **BOUND,
    )  # fmt: skip
    with row:
        sets = uses.sets_of(found)
        who = named(say("Strangers"), sets, using.called, "who", sets[0])
    whose = f"{model} {score} {who}"
    kept = [value for name, text in address.pairs("at") if name == whose and (value := address.number(text, 1e9))]
    at = kept[0] if kept else using.first_threshold(found, score, who)
    with screen.picture():
        moved = components.threshold(using.threshold_data(view, found, score, who, at), key=f"at {whose}")
    address.keep("at", [f"{whose},{at if moved is None else moved:g}"] if kept or moved is not None else [])
    table = using.areas(found)
    st.markdown(using.failures(table) or say("No score takes strangers for more usual than the images themselves."))
    st.dataframe(
        table.style.format(lambda area: number(area, ".3f")).map(
            lambda area: "font-weight: 700; color: #d9485f" if area < 0.5 else ""
        )
    )
    finish(
        caption,
        f"""
from explorer import probes
from explorer.checkpoints import Bundle, root_folder

uses = Bundle("{view.dataset.name}", "{model}", root_folder()).uses()
usual, strange = uses["{score}/{uses.usual_for(who)}"].numpy(), uses["{score}/{who}"].numpy()
found = probes.separation(usual, strange)
print(f"AUC {{found.area:.3f}} ± {{found.error:.3f}}")
""",
    )


view = begin(PAGE)
first, second = screen.tabs(TABS, "use", TABS[0] if view.gallery.has_classes else TABS[1])
if first.open:
    with first:
        labels(view)
if second.open:
    with second:
        strangers(view)
