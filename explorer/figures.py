"""Arrays in, Plotly figure out.

What a colour says is said a second time, by a shape, a dash, a pattern or a number; colours are those of
`explorer.palette`, legible on white and on near-black. The page's theme brings background, grid and text.
"""

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from explorer.language import decimal_marks, number, say
from explorer.palette import BLUE, DASHES, GREEN, GREY, ORANGE, RED, class_colour, class_shape, readable_on

FONT = 16
ROUND = "circle-open"  # for "x" in three dimensions, where shapes are letters and that one is in few fonts
MOST_MARKERS = 12  # on a line, which tell it from others
HIGHEST_PSNR = 45  # dB; at noise level 0 the untouched image has 100
SETTLED = 2  # epochs whose losses, where a scale cannot be logarithmic, would leave no room for those after them
MOST_BARS = 500  # of a histogram: ten a unit as far as 25 standard deviations of the prior, wider ones beyond
EXACT = 99  # dB; an image without any error has 100, see `metrics.psnr`


def _finish(figure: go.Figure, height: int, margin: dict[str, int] | None = None, **layout: object) -> go.Figure:
    figure.update_layout(
        height=height,
        margin={"l": 10, "r": 10, "t": 30, "b": 10} | (margin or {}),
        font={"size": FONT},
        legend={"font": {"size": FONT}, "itemsizing": "constant", "orientation": "h", "y": 1.02, "yanchor": "bottom"},
        hoverlabel={"font": {"size": FONT}},
        separators="".join(decimal_marks()),
        **layout,
    )
    figure.update_xaxes(title_font_size=FONT, tickfont_size=FONT - 2)
    figure.update_yaxes(title_font_size=FONT, tickfont_size=FONT - 2)
    return figure


def latent_map(
    points: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    axis_name: str,
    scores: np.ndarray | None = None,
    score_name: str = "",
    chosen: Sequence[int] = (),
) -> go.Figure:
    """Scatter coordinates `(M, 2 or 3)` by class, or by a score `(M,)` whose boundary is 0.

    `customdata` of each point is its place in the gallery. Where places are chosen, these points stand out.
    """
    figure = go.Figure()
    flat = points.shape[1] == 2
    if scores is None:
        groups = [(say(name), np.flatnonzero(labels == k), _marker(k)) for k, name in enumerate(classes)]
    else:
        groups = [(score_name, np.arange(len(points)), _score_marker(scores, score_name))]
    for name, here, look in groups:
        is_chosen = np.isin(here, chosen)
        size = 9 if flat else np.where(is_chosen, 8, 2) if len(chosen) else 4  # a 3-D scatter knows no selection
        common = {
            "name": name, "mode": "markers", "marker": {"size": size, "opacity": 1, **look}, "customdata": here,
            "hovertemplate": f"{name}{'' if scores is None else ' %{marker.color:+.2f}'}<extra></extra>",
        }  # fmt: skip
        if flat:
            picked = {"selectedpoints": np.flatnonzero(is_chosen).tolist()} if len(chosen) else {}
            figure.add_scattergl(x=points[here, 0], y=points[here, 1], **common, **picked)
        else:
            figure.add_scatter3d(x=points[here, 0], y=points[here, 1], z=points[here, 2], **common)
    titles = [f"{axis_name} {i + 1}" for i in range(points.shape[1])]
    if flat:
        figure.update_xaxes(title=titles[0], zeroline=False)
        figure.update_yaxes(title=titles[1], zeroline=False, scaleanchor="x")
    else:
        figure.update_traces(marker_symbol=ROUND, selector={"marker.symbol": "x"})
        axes = ("xaxis", "yaxis", "zaxis")
        figure.update_scenes({axis: {"title": title} for axis, title in zip(axes, titles, strict=True)})
    return _finish(
        figure,
        680,
        dragmode="pan" if flat else "orbit",
        uirevision="map",
        margin={"r": 50},
        modebar={"orientation": "v"},
    )


def _marker(k: int) -> dict[str, object]:
    return {"color": class_colour(k), "symbol": class_shape(k)}


def _score_marker(scores: np.ndarray, name: str) -> dict[str, object]:
    """Colour by a score: dark blue below the boundary, light orange above; the ends are cut off at the outer 2 %."""
    reach = float(np.quantile(np.abs(scores), 0.98)) or 1.0
    bar = {"title": {"text": name, "side": "right"}, "thickness": 16}
    scale = [[0.0, BLUE], [0.5, GREY], [1.0, ORANGE]]
    return {"color": scores, "colorscale": scale, "cmin": -reach, "cmax": reach, "colorbar": bar}


def psnr_curves(
    levels: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    unit: str,
    trained: tuple[float, float] | None,
    trained_label: str,
) -> go.Figure:
    """Draw mean PSNR (dB) over the noise level, one line a method, and shade the trained range.

    What is above `HIGHEST_PSNR` is drawn there, so that the rest is seen, and named as it is under the pointer.
    """
    figure = go.Figure()
    if trained:
        figure.add_vrect(
            *trained, fillcolor=GREEN, opacity=0.18, line_width=0, layer="below",
            annotation_text=trained_label, annotation_position="top left", annotation_font_size=FONT - 2,
        )  # fmt: skip
    for k, (name, values) in enumerate(curves.items()):
        said = [say("exact") if v >= EXACT else say("{v:.1f} dB", v=v) for v in values]
        figure.add_scatter(
            x=list(levels), y=np.minimum(values, HIGHEST_PSNR), name=name, mode="lines+markers",
            line={"color": class_colour(k), "width": 3}, marker={"size": 9, **_marker(k)}, customdata=said,
            hovertemplate=f"{name}: %{{customdata}}, %{{x}}<extra></extra>",
        )  # fmt: skip
    is_cut = any(max(values) > HIGHEST_PSNR for values in curves.values())
    figure.update_xaxes(title=unit)
    cut = say("mean PSNR (dB, cut off at {highest})", highest=HIGHEST_PSNR)
    figure.update_yaxes(title=cut if is_cut else say("mean PSNR (dB)"))
    return _finish(figure, 460, hovermode="closest")


def confusion(matrix: np.ndarray, classes: Sequence[str], percent: bool) -> go.Figure:
    """Draw a confusion matrix `(K, K)`; an invisible marker amid each cell takes clicks: x is predicted, y true.

    Colour is the square root of a cell's share of its row, so that rare mistakes show beside the diagonal.
    """
    n, classes = len(classes), [say(name) for name in classes]
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    true, predicted = np.divmod(np.arange(n * n), n)
    hover = [
        say(
            "{true} taken for {predicted}: {n} images, {share:.1f} % of the row",
            true=classes[t],
            predicted=classes[p],
            n=matrix[t, p],
            share=100 * share[t, p],
        )
        for t, p in zip(true, predicted, strict=True)
    ]
    figure = go.Figure(
        go.Heatmap(
            z=np.sqrt(share), zmin=0, zmax=1, colorscale="Cividis", showscale=False, hoverinfo="skip", xgap=2, ygap=2
        )
    )  # fmt: skip
    cells = sample_colorscale("Cividis", np.sqrt(share).ravel(), colortype="tuple")
    texts = [readable_on("#" + "".join(f"{round(255 * level):02x}" for level in cell)) for cell in cells]
    figure.add_scatter(
        x=predicted, y=true, mode="markers+text",
        text=[number(s, ".1f") for s in 100 * share.ravel()] if percent else matrix.astype(str).ravel(),
        textfont={"size": FONT, "color": texts},
        hovertext=hover, hoverinfo="text", marker={"symbol": "square", "size": 2, "opacity": 0},
    )  # fmt: skip
    ticks = {"tickvals": list(range(n)), "ticktext": list(classes), "showgrid": False, "zeroline": False}
    figure.update_xaxes(title=say("predicted"), range=[-0.5, n - 0.5], side="top", **ticks)
    figure.update_yaxes(title=say("true"), range=[n - 0.5, -0.5], **ticks)
    return _finish(figure, 520, dragmode=False, hovermode="closest", hoverdistance=-1)


def calibration(confidence: np.ndarray, accuracy: np.ndarray, count: np.ndarray) -> go.Figure:
    """Draw accuracy over confidence in bins `(B,)`, with the diagonal of a perfectly calibrated model."""
    figure = go.Figure()
    full = count > 0
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name=say("perfect"), line={"dash": "dash", "color": GREY})
    figure.add_scatter(
        x=confidence[full], y=accuracy[full], mode="lines+markers", name=say("model"),
        line={"color": BLUE, "width": 3}, marker={"size": 11}, customdata=count[full],
        hovertemplate=say("sure by %{x:.2f}, right in %{y:.2f} of %{customdata} images") + "<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title=say("confidence"), range=[0, 1.02])
    figure.update_yaxes(title=say("accuracy"), range=[0, 1.02])
    return _finish(figure, 420)


def curves(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], unit: str, log: bool, over: str = "epoch"
) -> go.Figure:
    """Draw lines `name -> (x, values)` over epochs or what `over` says; a name's part before " · " sets its look.

    Colour and shape of the markers, a few on each line, are those of the owner, whom the legend names once; lines whose
    name ends in "validation" are dashed. Where values fall below zero, the scale begins with those after `SETTLED`.
    """
    figure = go.Figure()
    owners = list(dict.fromkeys(name.split(" · ")[0] for name in lines))
    for name, (epochs, values) in lines.items():
        owner = name.split(" · ")[0]
        look, is_first = _marker(owners.index(owner)), owner not in {line.legendgroup for line in figure.data}
        dash = "dash" if name.endswith("validation") else "solid"
        shown = " · ".join(say(part) for part in name.split(" · "))
        figure.add_scatter(
            x=list(epochs), y=list(values), name=say(owner), legendgroup=owner, showlegend=is_first,
            mode="lines+markers",
            line={"color": look["color"], "width": 3, "dash": dash},
            marker={"size": 10, "maxdisplayed": MOST_MARKERS, **look},
            hovertemplate=f"{shown}, {say(over)} %{{x:.5g}}: %{{y:.5g}}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title=say(over))
    figure.update_yaxes(title=unit, type="log" if log else "linear", range=_range_below_zero(lines.values()))
    return _finish(figure, 480)


def _range_below_zero(lines: Collection[tuple[Sequence[float], Sequence[float]]]) -> list[float] | None:
    """Give the range that lines fill once they have settled, where they fall below zero; None where it is all."""
    lowest = min((min(values, default=0.0) for _, values in lines), default=0.0)
    highest = max((max(values[SETTLED:], default=-math.inf) for _, values in lines), default=-math.inf)
    margin = (highest - lowest) / 20
    return [lowest - margin, highest + margin] if lowest < 0 and math.isfinite(margin) else None


def prior_histogram(draws: np.ndarray, means: np.ndarray, name: str) -> go.Figure:
    """Compare one latent number of drawn codes `(N,)` and of mean codes `(M,)` with the standard normal density.

    Means that all lie in one place, as those of a collapsed number do, are cut off at the top.
    """
    reach = max(4.0, float(np.abs(draws).max()))
    edges = np.linspace(-reach, reach, min(round(10 * reach), MOST_BARS) + 1)
    centres = (edges[1:] + edges[:-1]) / 2
    density, of_means = (np.histogram(values, edges, density=True)[0] for values in (draws, means))
    z = np.linspace(-reach, reach, 241)
    normal = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    hover = {"hovertemplate": "%{x:.1f}: %{y:.3f}<extra>%{fullData.name}</extra>"}
    figure = go.Figure()
    figure.add_bar(x=centres, y=density, name=say("codes drawn, μ + σε"), marker={"color": BLUE}, **hover)
    steps = {"color": ORANGE, "width": 3, "shape": "hvh"}
    figure.add_scatter(x=centres, y=of_means, name=say("means μ alone"), mode="lines", line=steps, **hover)
    figure.add_scatter(
        x=z,
        y=normal,
        name=say("prior N(0, 1)"),
        mode="lines",
        line={"color": RED, "width": 3, "dash": "dash"},
        **hover,
    )
    figure.update_xaxes(title=name)
    figure.update_yaxes(title=say("density"), range=[0, 1.2 * max(density.max(), normal.max())])
    return _finish(figure, 420, bargap=0)


def quantiles(theory: np.ndarray, observed: Mapping[str, np.ndarray], expected: str, found: str) -> go.Figure:
    """Draw observed quantiles `(Q,)` over those in theory `(Q,)`, one line a sample, with the diagonal of equal ones.

    expected, found: titles of the axes.
    """
    figure = go.Figure()
    ends = [float(theory[0]), float(theory[-1])]
    figure.add_scatter(
        x=ends, y=ends, mode="lines", name=say("as expected"), line={"dash": "dash", "color": RED, "width": 3}
    )
    for k, (name, values) in enumerate(observed.items()):
        figure.add_scatter(
            x=theory, y=values, mode="lines", name=name,
            line={"color": class_colour(k), "width": 3 if k else 6, "dash": DASHES[k % len(DASHES)]},
            hovertemplate=f"{name}: {say('%{y:.2f} where %{x:.2f} is expected')}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title=expected)
    figure.update_yaxes(title=found)
    return _finish(figure, 420)


def kl_bars(kl: np.ndarray, active: np.ndarray) -> go.Figure:
    """Draw the KL divergence (nats) of every latent number `(D,)`, largest first; those not `active` `(D,)` hatched."""
    order = np.argsort(-kl, kind="stable")
    figure = go.Figure()
    for name, colour, pattern, chosen in ((say("active"), BLUE, "", active), (say("collapsed"), GREY, "/", ~active)):
        here = np.flatnonzero(chosen[order])
        figure.add_bar(
            x=here + 1, y=kl[order][here], name=f"{name} ({len(here)})",
            marker={"color": colour, "line": {"width": 0}, "pattern": {"shape": pattern}},
            customdata=order[here] + 1,
            hovertemplate=f"{say('latent number %{customdata}: %{y:.3f} nats')}, {name}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title=say("latent numbers, most informative first"), dtick=1 if len(kl) <= 16 else None)
    figure.update_yaxes(title=say("KL (nats)"))
    return _finish(figure, 420, bargap=0.1, showlegend=True)


def bounds(draws: Sequence[int], values: Sequence[float], errors: Sequence[float]) -> go.Figure:
    """Draw bounds on -log p(x) in nats over the draws in each, with their standard errors."""
    figure = go.Figure()
    figure.add_scatter(
        x=list(draws), y=np.round(values, 1), mode="lines+markers", line={"color": BLUE, "width": 3},
        marker={"size": 10}, error_y={"array": np.nan_to_num(np.round(errors, 1)), "thickness": 2, "width": 8},
        customdata=[number(error, ".2f") for error in errors],
        hovertemplate="K = %{x:,}: %{y:,.2f} ± %{customdata} nats<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(
        title=say("draws K in one bound"), type="log", tickvals=list(draws), ticktext=[number(k, ",") for k in draws]
    )
    figure.update_yaxes(title=say("−L<sub>K</sub>(x), nats"), tickformat=",")
    return _finish(figure, 330, showlegend=False)


def accuracies(curves: Mapping[str, np.ndarray]) -> go.Figure:
    """Draw accuracy over the number of labels: `name -> (3, S)`, labels, mean and standard deviation."""
    figure = go.Figure()
    for k, (name, (labels, mean, deviation)) in enumerate(curves.items()):
        colour = class_colour(k)
        figure.add_scatter(
            x=np.r_[labels, labels[::-1]], y=np.r_[mean + deviation, (mean - deviation)[::-1]], fill="toself",
            mode="lines",
            fillcolor=colour, opacity=0.15, line={"width": 0}, hoverinfo="skip", showlegend=False, legendgroup=name,
        )  # fmt: skip
        figure.add_scatter(
            x=labels, y=mean, name=name, legendgroup=name, mode="lines+markers", marker={"size": 8},
            line={"color": colour, "width": 3}, customdata=deviation,
            hovertemplate=f"{name}, {say('%{x:,} labels')}: %{{y:.3f}} ± %{{customdata:.3f}}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title=say("labels"), type="log", dtick=1)
    figure.update_yaxes(title=say("accuracy"))
    return _finish(figure, 400)
