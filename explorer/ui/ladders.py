"""The sampling ladder: how realistic and how diverse samples are on the whole, as it was measured for each bundle."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st
import torch

from explorer import ladder
from explorer.language import decimal_marks, say
from explorer.ui.frame import View


def show(view: View) -> None:
    """List how realistic and how diverse samples are on the whole, where it was measured."""
    table, n = measured(view)
    if table.empty:
        return
    st.subheader(say("The sampling ladder: how realistic, how diverse, learned by heart?"))
    decimal, thousands = decimal_marks()
    st.dataframe(table.style.format(precision=3, na_rep="–", decimal=decimal, thousands=thousands), hide_index=True)
    st.caption(
        say(
            "Of {n:,} samples, and of as many real images: training images for SWD, else test images. Each rung is a "
            "better guess of where codes lie, fitted to those of the training images (the rows above: of the "
            "gallery); the last is the codes of test images themselves, the best that this decoder can give. SWD: "
            "sliced Wasserstein distance to {n:,} test images at each scale of a Laplacian pyramid (Karras et al. "
            "2018), times 1,000; the scale that is furthest above real images is where the samples are wrong, the "
            "finest means blur. MS-SSIM of pairs: lower is more diverse. Nearest training image: median root mean "
            "squared difference of pixels; blurred pictures are nearer to everything. Precision: the share of samples "
            "whose code lies among those of test images; recall: the other way round (Kynkäänniemi et al. 2019, three "
            "neighbours, in the model's own codes, which do not see blur).",
            n=n,
        )
    )


def measured(view: View) -> tuple[pd.DataFrame, int]:
    """List the stored figures of samples of the data set's models, and of real images; empty where there are none.

    Of a model that has a ladder each rung has a row, see `ladder`; of another one the prior. Returns also how many
    samples each was measured on.
    """
    rows, real, n = [], {}, 0
    for name in view.autoencoders:
        bundle = view.bundle(name)
        figures = {} if bundle.problem else bundle.metrics()
        if "swd" in figures:
            title, found = view.shown.title(name), bundle.ladder() if bundle.has("ladder") else {}
            rows += (
                [_rung(title, figures, rung, found) for rung in ladder.RUNGS] if found else [_row(title, figures, "")]
            )
            real, n = _row(say("real images"), figures, "_floor"), figures["n_generative"]
    return pd.DataFrame([*rows, real] if rows else []), n


def _row(title: str, figures: Mapping[str, Any], suffix: str) -> dict[str, Any]:
    distances = figures[f"swd{suffix}"]
    return {
        "": title,
        say("Codes from"): "" if suffix else say("prior"),
        "SWD": distances["mean"],
        **{f"SWD {size} px": value for size, value in distances.items() if size != "mean"},
        **({} if suffix else _with_noise(figures, "swd")),
        say("MS-SSIM of pairs"): figures[f"diversity{suffix}"],
        say("Nearest training image"): figures[f"nearest_train_distance{suffix}"],
    }


def _with_noise(figures: Mapping[str, Any], name: str) -> dict[str, float]:
    """List the distances of images with the noise of either sigma, where they were measured."""
    found = figures.get(f"{name}_noisy", {})
    best = f"{figures.get('sigma_calibrated', 0.0):.4f}"
    fitted = next((sigma for sigma in found if sigma != best), best)
    names = {say("SWD with noise"): fitted, say("… of calibrated σ"): best}
    return {title: found[sigma]["mean"] for title, sigma in names.items() if sigma in found}


def _rung(title: str, figures: Mapping[str, Any], rung: str, found: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    levels = sorted((size for size in figures["swd"] if size != "mean"), key=int, reverse=True)  # the finest first
    diversity, nearest, precision, recall = found[f"figures/{rung}"].tolist()
    return {
        "": title,
        say("Codes from"): say(rung),
        "SWD": found[f"swd/{rung}"].mean().item(),
        **{f"SWD {size} px": v for size, v in zip(levels, found[f"swd/{rung}"].tolist(), strict=True)},
        **_with_noise(figures, {ladder.RUNGS[0]: "swd", ladder.RUNGS[-1]: "swd_reconstructions"}.get(rung, "")),
        say("MS-SSIM of pairs"): diversity,
        say("Nearest training image"): nearest,
        say("Precision"): precision,
        say("Recall"): recall,
    }
