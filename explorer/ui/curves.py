"""What the page of training draws: a chart for each part of each kind of loss, and what has to be said about them."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from explorer import figures
from explorer.cards import ModelCard
from explorer.language import choices, later, listed, number, say
from explorer.noise import NOISES
from explorer.ui import screen
from explorer.ui.frame import View

UNITS = {
    "loss": later("loss"),
    "accuracy": later("share that is right"),
    "reconstruction": later("reconstruction (nats per image)"),
    "kl": later("KL divergence (nats per image)"),
}
HEADINGS = SQUARED, ELBO, DENSITY, CLASSIFIER = choices(
    "Squared error per pixel",
    "Negative ELBO and its parts, nats per image",
    "Negative ELBO of a Gaussian likelihood and its parts, nats per image",
    "Classifier: cross-entropy (nats) and accuracy",
)
BELOW_ZERO = later(
    "This likelihood is a density of pixels, and a density may exceed one: the better the model, the further its "
    "nats fall below zero. A scale with values there is linear, since they have no logarithm, and the losses of the "
    "first two epochs may lie above it."
)

Curve = Mapping[str, Sequence[float]]  # "steps", "minutes" and "psnr"; see `Bundle.test_curve`


def family(card: ModelCard) -> str:
    """Say whose losses compare with those of a model."""
    if card.classifies:
        return CLASSIFIER
    if not card.variational:
        return SQUARED
    return DENSITY if card.likelihood == "gaussian" else ELBO


def comparable(view: View, models: list[str], heading: str) -> list[ModelCard]:
    """Give the cards of those models that were fitted here and whose losses are of one kind."""
    return [card for card in map(view.card, models) if family(card) == heading and not card.imported]


@dataclass(frozen=True)
class Panel:
    """One chart: the lines of one part of the loss, `name -> (epochs, values)`, of models that compare.

    models: their titles, by name.
    """

    heading: str
    models: dict[str, str]
    part: str
    lines: dict[str, tuple[list[float], list[float]]]
    log: bool

    @property
    def python(self) -> str:
        """Write what it shows as Python."""
        return f'dict(models={self.models}, part="{self.part}", unit="{UNITS[self.part]}", log={self.log}),'


def panels(view: View, models: list[str], sets: list[str], log: bool) -> list[Panel]:
    """Make a chart for each part of each kind of loss; what falls below zero is drawn on a linear scale."""
    made = []
    for heading in HEADINGS:
        histories = {card.name: view.bundle(card.name).history() for card in comparable(view, models, heading)}
        for part in UNITS:
            if not any(f"train_{part}" in history for history in histories.values()):
                continue
            lines = {
                f"{view.shown.title(name)} · {which}": (history["epoch"], history[f"{which}_{part}"])
                for name, history in histories.items()
                for which in sets
                if f"{which}_{part}" in history
            }
            positive = all(value > 0 for _, values in lines.values() for value in values)
            made.append(
                Panel(
                    heading,
                    {name: view.shown.title(name) for name in histories},
                    part,
                    lines,
                    log and part != "accuracy" and positive,
                )
            )
    return made


def draw(heading: str, panels_of_it: Sequence[Panel], is_picture: bool) -> None:
    """Draw the charts of one kind of loss side by side."""
    if not is_picture:
        st.subheader(say(heading))
    for column, panel in zip(st.columns(len(panels_of_it)), panels_of_it, strict=True):
        unit = say(UNITS[panel.part])
        figure, alt = figures.curves(panel.lines, unit, panel.log), say("{what} over epochs", what=unit)
        with column:
            screen.chart(figure, f"{heading}-{panel.part}", f"{say(heading)}: {alt}", is_picture)


def spreads(view: View, models: list[str]) -> str:
    """Say where Gaussian likelihoods have different sigmas, since their nats do not compare then."""
    cards = comparable(view, models, DENSITY)
    if len({card.config.sigma for card in cards}) < 2:
        return ""
    each = [f"{view.shown.title(card.name)} {number(card.config.sigma)}" for card in cards]
    return say(
        "The likelihoods differ in σ: {each}. Nats under one σ do not compare with nats under another; follow each "
        "line by itself, and compare models by their sharpness.",
        each=listed(each),
    )


def noisy(view: View, models: list[str]) -> str:
    """Say which models saw corrupted images, since their losses and their choice of an epoch are on such."""
    recipes = {name: recipe for name in models if (recipe := view.bundle(name).config()["recipe"])}
    noises = {view.shown.title(name): recipe.noise for name, recipe in recipes.items() if recipe.noise}
    kinds = [f"{title} ({say(NOISES[noise].title).lower()})" for title, noise in noises.items()]
    if not kinds:
        return ""
    return say(
        "Noise was added to what these encoders see, also in validation: {kinds}. So their losses, and with them the "
        "choice of the epoch, are of noisy images; the Overview's figures are of clean ones.",
        kinds=listed(kinds),
    )


def verdicts(measured: Mapping[str, Curve]) -> str:
    """Say of each two models after how many steps and minutes one is as sharp as the other at its end."""
    return " ".join(_verdict(*pair) for pair in itertools.pairwise(measured.items()))


def _verdict(first: tuple[str, Curve], second: tuple[str, Curve]) -> str:
    (slow, goal), (fast, curve) = sorted((first, second), key=lambda model: model[1]["psnr"][-1])
    i = next(i for i, psnr in enumerate(curve["psnr"]) if psnr >= goal["psnr"][-1])
    return say(
        "**{fast}** ends at {high:.2f} dB, **{slow}** at {low:.2f} dB. What {slow} reaches after {slow_steps:,.0f} "
        "steps and {slow_minutes:.0f} minutes, {fast} reaches after {fast_steps:,.0f} steps and {fast_minutes:.0f} "
        "minutes.",
        fast=fast, slow=slow, high=curve["psnr"][-1], low=goal["psnr"][-1],
        slow_steps=goal["steps"][-1], slow_minutes=goal["minutes"][-1],
        fast_steps=curve["steps"][i], fast_minutes=curve["minutes"][i],
    )  # fmt: skip
