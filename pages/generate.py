"""Generate: what does it dream up?"""

import streamlit as st

from explorer.language import later, say
from explorer.ui import address, components, generating, ladders, screen, widgets
from explorer.ui.frame import BOUND, Page, View, begin, finish, fragment
from explorer.ui.generating import NOISES, Row, Settings

PAGE = Page(
    "Generate", ":material/auto_awesome:", "Latent space", place=60,
    question="What does it dream up?",
    look_for=(
        "Compare the two rows of one model: where the prior gives rubbish and the mixture does not, the codes are not "
        "where the prior says. Then click a sample: the real images nearest to it appear."
    ),
)  # fmt: skip

FEW = 3  # models: all of them are shown at first
CAPTION = later(
    "All rows have the same seed. |z| is the median norm of the drawn codes, and of the gallery images' own. A "
    "variational model was trained so that draws from its prior decode to images; a plain one was not, and only a "
    "density fitted to its codes afterwards (ex-post density estimation, Ghosh et al. 2020) finds where they lie."
)


def pick_rows(view: View) -> tuple[list[str], list[str]]:
    """Choose models and sources; at first one of each kind, or all of few, from the prior and the best other one."""
    kinds = {view.card(name).variational: name for name in reversed(view.autoencoders)}
    few = len(view.autoencoders) <= FEW
    first = [name for name in view.autoencoders if few or name in kinds.values()]
    models = widgets.pick_models(view, key="makers", default=first)
    offered = generating.sources_of(view, models)
    sources = st.segmented_control(
        say("Codes from"), offered, format_func=say, selection_mode="multi", default=["prior", offered[-1]],
        key="sources", **BOUND, help=say(
            "The prior is the standard normal N(0, 1). One Gaussian and the mixture are fitted to the codes of the "
            "gallery, for a variational model with the spread of its posteriors. The flow, a second stage, was fitted "
            "to the codes of the training images."
        ),
    )  # fmt: skip
    return models, [source for source in offered if source in sources]


def pick_settings(view: View, models: list[str]) -> Settings:
    """Choose how codes are drawn."""
    temperature = st.slider(
        say("Temperature"), 0.0, 2.0, 1.0, 0.05, key="temperature", **BOUND,
        help=say("Factor on every standard deviation: 0 gives the means, over 1 is more daring than the data."),
    )  # fmt: skip
    with screen.more():
        truncation = st.slider(
            say("Truncation"), 0.5, 5.0, 5.0, 0.25, key="truncation", **BOUND,
            help=say(
                "Numbers further from the mean than this many standard deviations are drawn anew; at 5 hardly any is."
            ),
        )  # fmt: skip
        n = st.slider(say("Samples each"), 8, 48, 8, 8, key="samples", **BOUND)
        mixed = st.slider(say("Components of the mixture"), 1, 30, 10, key="components", **BOUND)
        seed = int(st.number_input(say("Seed"), 0, 9999, 0, key="seed", **BOUND))
        noise = NOISES[0]
        if any(generating.sigma_of(view.bundle(model), NOISES[-1]) for model in models):
            noise = st.segmented_control(
                say("Noise of pixels"), NOISES, default=noise, format_func=say, required=True, key="noise", **BOUND,
                help=say(
                    "A model with a Gaussian p(x|z) gives means. A sample of it has noise of σ in each pixel: the σ "
                    "that it was fitted with, or the calibrated one, whose square is the mean squared error."
                ),
            )  # fmt: skip
    return Settings(n, temperature, truncation, mixed, seed, noise)


def read_chosen(rows: list[Row]) -> tuple[Row, int] | None:
    """Tell which sample was clicked, or is named in the address as `sample`, counted from 1, and keep it there."""
    clicked = (st.session_state.get("sheet") or {}).get("chosen")
    if clicked:
        st.query_params["sample"] = f"{clicked[0]},{int(clicked[1]) + 1}"
    key, number = next(iter(address.pairs("sample")), ("", ""))
    row = {row.key: row for row in rows}.get(key)
    i = address.whole(number, len(row.images) + 1) if row else None
    return (row, i - 1) if i else None


@fragment
def bench(view: View, models: list[str], sources: list[str]) -> None:
    """Draw the controls of the sampling, the sheet, and what is near a chosen sample; only this runs again."""
    with screen.control():
        settings = pick_settings(view, models)
    rows = [
        generating.draw(view, model, source, settings)
        for model in models
        for source in sources
        if source in generating.sources_of(view, [model])
    ]
    chosen = read_chosen(rows)
    with screen.picture():
        components.sample_rows(generating.rows_data(rows, chosen), key="sheet")
    left, right, text = st.columns([1, 1, 3], vertical_alignment="center")
    left.download_button(
        say("PNG of the sheet"), lambda: generating.picture(rows), "samples.png", "image/png", on_click="ignore"
    )
    right.download_button(
        say("Codes (safetensors)"),
        lambda: generating.codes_file(rows, settings),
        "samples.safetensors",
        on_click="ignore",
    )
    if chosen:
        generating.neighbours(view, *chosen)
    else:
        text.markdown(say("Click a sample to see the {noun} nearest to it.", noun=view.gallery.noun))
    finish(CAPTION, generating.python_for(view, models, sources, settings))


view = begin(PAGE)
with screen.settings():
    models, sources = pick_rows(view)
if sources:
    bench(view, models, sources)
else:
    st.info(say("Choose where codes come from."))
ladders.show(view)
