"""What the page Beta shows: planes or walks of models under many beta, what they are worth, and a picture to take."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from explorer.datasets import DATASETS
from explorer.disentanglement import PUBLISHED
from explorer.images import grid, png
from explorer.language import choices, number, say
from explorer.latent import plane
from explorer.ui import dialling
from explorer.ui.dialling import CELLS, N_SAMPLES, PRIOR_REACH
from explorer.ui.frame import View
from explorer.ui.opening import OpenedFamily

STEPS = [-2.1, -1.5, -0.9, -0.3, 0.3, 0.9, 1.5, 2.1]  # standard deviations of the prior, along one number
TELLS = 0.05  # of a factor's entropy: a number that tells less is said to tell nothing
LOSSES = {"vae": "β-VAE", "tcvae": "β-TCVAE"}
SCORE_NAMES = {"mig": "MIG", "disentanglement": "DCI", "sap": "SAP"}
PARTING, PRICE, RATE = choices("scores over β", "MIG over distortion", "rate and distortion")


@dataclass(frozen=True)
class BetaShown:
    """What the page Beta shows beside its dial.

    members: by beta. on_prior: whether the plane shows the prior, else where codes lie. with_codes: whether codes lie
    on it. chart: one of `CHARTS`. base: the gallery image from whose code each number is walked along.
    """

    members: Sequence[str]
    on_prior: bool = True
    with_codes: bool = True
    chart: str = RATE
    base: int = 0


def data(view: View, family: OpenedFamily, shown: BetaShown, at: int) -> dict[str, Any]:
    """Describe the page Beta for beta.js."""
    members, some = shown.members, dialling.dots(view)
    n = len(family.figures()["members"][members[0]]["kl_per_number"])
    return {
        **dialling.packed(family),
        "image": view.dataset.image_shape,
        "betas": [f"{family.members[name]['beta']:g}" for name in members],
        "beta": at,
        "axis": dialling.cells(),
        "steps": STEPS if knows_factors(family) else [],
        "members": [member(family, name, shown, some) for name in members],
        "noise": np.random.default_rng(0).standard_normal((N_SAMPLES, n)).round(3).tolist(),
        **dialling.marks(view, some),
        "withCodes": shown.with_codes,
        "chart": CHARTS[shown.chart](family, members),
    }


def member(family: OpenedFamily, name: str, shown: BetaShown, some: np.ndarray) -> dict[str, Any]:
    """Describe what one model shows, with the Gaussian that is fitted to all its codes, their spread included."""
    figures = family.figures()["members"][name]
    codes, kl = family.arrays[f"{name}/codes"], figures["kl_per_number"]
    mean, root = fitted_density(codes, family.arrays[f"{name}/log_var"])
    axes = sorted(np.argsort(kl)[::-1][:2].tolist())
    covariance = (root @ root.T)[np.ix_(axes, axes)]
    flat = np.linalg.cholesky(covariance + 1e-9 * np.eye(2))
    spread = np.abs(mean[axes]) + 2.5 * np.sqrt(covariance.diagonal())
    reach = PRIOR_REACH if shown.on_prior else float(spread.max())
    return {
        "network": name, "kl": [round(nats, 4) for nats in kl], "rate": figures["kl"],
        "used": dialling.carrying(figures),
        "distortion": figures["reconstruction"], "shown": axes, "reach": round(reach, 4),
        "points": dialling.hundredths(codes[some][:, axes] / reach),
        "mean": dialling.rounded(mean), "root": dialling.rounded(root),
        "flat": dialling.rounded(np.concatenate([mean[axes], flat[np.tril_indices(2)]]) / reach),
        **(walked(family, name, shown.base) if knows_factors(family) else {}),
    }  # fmt: skip


def walked(family: OpenedFamily, name: str, base: int) -> dict[str, Any]:
    """Describe walks along each number from one code: which factor the number tells most of, and the model's scores."""
    apart = family.figures()["apart"][name]
    source = DATASETS.get(family.dataset)
    factors = source.factors if source else ()
    told = np.array(apart["told"])  # (D, F)
    tells = [
        f"{say(factors[j]) if j < len(factors) else j + 1} {100 * row[j]:.0f} %" if row[j] >= TELLS else "–"
        for row, j in zip(told, told.argmax(1), strict=True)
    ]
    published = PUBLISHED.get(family.members[name]["kind"], {}) if family.dataset == "shapes" else {}
    scores = " · ".join(
        f"{title} {number(apart[key], '.2f')}" + beside(published.get(key)) for key, title in SCORE_NAMES.items()
    )
    return {"base": dialling.rounded(family.arrays[f"{name}/codes"][base]), "tells": tells, "scores": scores}


def beside(published: tuple[float, float] | None) -> str:
    """Write a published score behind one's own: its mean and deviation in brackets."""
    return f" ({number(published[0], '.2f')} ± {number(published[1], '.2f')})" if published else ""


def walks(code: torch.Tensor) -> torch.Tensor:
    """Walk along each number of a code `(D,)` by `STEPS`, all others as they are: codes `(D, S, D)`."""
    n = len(code)
    made = code.repeat(n, len(STEPS), 1)
    made[range(n), :, range(n)] = torch.tensor(STEPS)
    return made


def knows_factors(family: OpenedFamily) -> bool:
    """Whether it was measured how well codes part the factors that images were drawn by."""
    return "apart" in family.figures()


def n_codes(family: OpenedFamily) -> int:
    """Count the gallery images whose codes there are."""
    return len(next(iter(family.arrays.values())))


def rate_chart(family: OpenedFamily, members: Sequence[str]) -> dict[str, Any]:
    """Draw rate against distortion."""
    figures = [family.figures()["members"][name] for name in members]
    points = [[own["kl"], own["reconstruction"]] for own in figures]
    return {
        "x": {"label": say("rate: KL, nats"), "log": True}, "y": {"label": say("distortion: −log p(x|z), nats")},
        "lines": [dialling.line("", 0, points, dots=True)], "marks": [[dialling.mark(*point)] for point in points],
    }  # fmt: skip


def scores_chart(family: OpenedFamily, members: Sequence[str]) -> dict[str, Any]:
    """Draw how well a code parts the factors, over beta; dashed, the MIG of the other losses."""
    betas = {name: family.members[name]["beta"] for name in family.members}
    apart = family.figures()["apart"]
    lines = [
        dialling.line(title, i, [[betas[name], apart[name][key]] for name in members], dots=True)
        for i, (key, title) in enumerate(SCORE_NAMES.items())
    ]
    for title, names in series(family)[1].items():
        if names != list(members):
            lines.append(
                dialling.line(f"MIG, {title}", 0, [[betas[name], apart[name]["mig"]] for name in names], dashed=True)
            )
    found = [[dialling.mark(betas[name], apart[name][key]) for key in SCORE_NAMES] for name in members]
    return {
        "x": {"label": "β", "log": True, "ticks": sorted(set(betas.values()))},
        "y": {"label": say("score, from 0 to 1")}, "lines": lines, "marks": found,
    }  # fmt: skip


def price_chart(family: OpenedFamily, members: Sequence[str]) -> dict[str, Any]:
    """Draw MIG against distortion, of every loss: what parting factors costs."""

    def point(name: str) -> list[float]:
        return [family.figures()["members"][name]["reconstruction"], family.figures()["apart"][name]["mig"]]

    lines = [
        dialling.line(title, i, sorted(map(point, names)), dots=True)
        for i, (title, names) in enumerate(series(family)[1].items())
    ]
    return {
        "x": {"label": say("distortion: −log p(x|z), nats")}, "y": {"label": "MIG"}, "lines": lines,
        "marks": [[dialling.mark(*point(name))] for name in members],
    }  # fmt: skip


CHARTS = {PARTING: scores_chart, PRICE: price_chart, RATE: rate_chart}


def fitted_density(codes: np.ndarray, log_var: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit a Gaussian to posteriors `(M, D)`: its mean `(D,)` and a lower root `(D, D)` of its covariance.

    The covariance of the means, and the mean of the variances (the law of total variance).
    """
    mean = codes.mean(0)
    covariance = np.cov(codes.T).reshape(codes.shape[1], -1) + np.diag(np.exp(log_var).mean(0))
    return mean, np.linalg.cholesky(covariance + 1e-9 * np.eye(len(mean)))


def series(family: OpenedFamily) -> tuple[str, dict[str, list[str]]]:
    """Part the members of a family of beta by what else they differ in: what that is, and each by beta."""
    members = sorted(family.members.items(), key=lambda pair: (pair[1]["length"], pair[1]["beta"]))
    of_losses = len({values.get("kind") for _, values in members}) > 1
    found: dict[str, list[str]] = {}
    for name, values in members:
        title = LOSSES.get(values["kind"], str(values["kind"])) if of_losses else str(int(values["length"]))
        found.setdefault(title, []).append(name)
    return say("Loss") if of_losses else say("Numbers in the code"), found


@torch.inference_mode()
def picture(view: View, family: OpenedFamily, name: str, shown: BetaShown) -> bytes:
    """Make a PNG of the plane or the walks of one model, with samples of the prior below."""
    model = family.load()[name]
    if knows_factors(family):
        codes = walks(torch.from_numpy(family.arrays[f"{name}/codes"][shown.base])).flatten(0, 1)
    else:
        described = member(family, name, shown, dialling.dots(view))
        axis = torch.tensor(dialling.cells()) * described["reach"]
        codes = torch.zeros(CELLS**2, model.code_length)
        codes[:, described["shown"]] = plane(axis, axis)
    noise = np.random.default_rng(0).standard_normal((N_SAMPLES, model.code_length))
    x = model.decode(torch.cat([codes, torch.from_numpy(noise).float()])).numpy()
    return png(grid(x, len(STEPS) if knows_factors(family) else CELLS, gap=0), scale=4)


def plane_python(family: OpenedFamily, name: str, shown: BetaShown) -> str:
    """Write the lines of Python that make the plane of one model."""
    codes = f'family.codes()["{name}/codes"].float()'
    reach = PRIOR_REACH if shown.on_prior else f"(codes.mean(0).abs() + 2.5 * codes.std(0)).max()  # of {codes}"
    return f"""
import torch
from explorer import latent
from explorer.checkpoints import root_folder
from explorer.families import FamilyBundle
from explorer.images import grid, to_pil

family = FamilyBundle("{family.dataset}", "{family.model}", root_folder())
model, figures = family.load()["{name}"], family.figures()["members"]["{name}"]
codes = {codes}
shown = sorted(torch.tensor(figures["kl_per_number"]).topk(2).indices.tolist())
axis = torch.linspace(-0.9, 0.9, {CELLS}) * {reach}
z = torch.zeros({CELLS**2}, model.code_length)
z[:, shown] = latent.plane(axis, axis)
to_pil(grid(model.decode(z).numpy(), columns={CELLS}, gap=0), scale=4).save("{name}.png")
print(figures)
"""


def walks_python(family: OpenedFamily, name: str, shown: BetaShown) -> str:
    """Write the lines of Python that make the walks along each number of one model."""
    return f"""
import torch
from explorer import disentanglement
from explorer.checkpoints import root_folder
from explorer.datasets import DATASETS
from explorer.families import FamilyBundle
from explorer.images import grid, to_float, to_pil

family = FamilyBundle("{family.dataset}", "{family.model}", root_folder())
model, steps = family.load()["{name}"], torch.tensor({STEPS})
code = family.codes()["{name}/codes"][{shown.base}].float()
z = code.repeat(len(code), len(steps), 1)  # (D, S, D)
z[range(len(code)), :, range(len(code))] = steps
to_pil(grid(model.decode(z.flatten(0, 1)).numpy(), columns=len(steps), gap=0), scale=4).save("{name}.png")
test = DATASETS["{family.dataset}"].load("test")
codes = model.embed(to_float(test.images[:2000]))
print(disentanglement.scores(codes.numpy(), test.factors[:2000].numpy()))  # of 2,000 images; of all:
print(family.figures()["apart"]["{name}"])
"""
