"""Arrays in, Plotly figure out; one palette for classes and models.

Colours are legible on white and on near-black; the page's theme brings background, grid and text.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

PALETTE = (
    "#3f7fc1", "#f28e2b", "#d9485f", "#2aa89a", "#5da345",
    "#c9a70c", "#a26bb5", "#ff8fa3", "#9c6b4e", "#8d939c",
)  # fmt: skip
FONT = 16


def class_colour(k: int) -> str:
    """Give the colour of class `k`, of model `k` of the roster, or of line `k` of a chart."""
    return PALETTE[int(k) % len(PALETTE)]


def _finish(figure: go.Figure, height: int, **layout: object) -> go.Figure:
    figure.update_layout(
        height=height,
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        font={"size": FONT},
        legend={"font": {"size": FONT}, "itemsizing": "constant", "orientation": "h", "y": 1.02, "yanchor": "bottom"},
        hoverlabel={"font": {"size": FONT}},
        **layout,
    )
    figure.update_xaxes(title_font_size=FONT, tickfont_size=FONT - 2)
    figure.update_yaxes(title_font_size=FONT, tickfont_size=FONT - 2)
    return figure


def latent_map(points: np.ndarray, labels: np.ndarray, classes: Sequence[str], axis_name: str) -> go.Figure:
    """Scatter coordinates `(M, 2 or 3)` by class; `customdata` of each point is its place in the gallery."""
    figure = go.Figure()
    flat = points.shape[1] == 2
    for k, name in enumerate(classes):
        here = np.flatnonzero(labels == k)
        marker = {"color": class_colour(k), "size": 9 if flat else 4, "opacity": 0.85}
        common = {
            "name": name, "mode": "markers", "marker": marker, "customdata": here,
            "hovertemplate": f"{name}<extra></extra>",
        }  # fmt: skip
        if flat:
            figure.add_scattergl(x=points[here, 0], y=points[here, 1], **common)
        else:
            figure.add_scatter3d(x=points[here, 0], y=points[here, 1], z=points[here, 2], **common)
    titles = [f"{axis_name} {i + 1}" for i in range(points.shape[1])]
    if flat:
        figure.update_xaxes(title=titles[0], zeroline=False)
        figure.update_yaxes(title=titles[1], zeroline=False, scaleanchor="x")
    else:
        axes = ("xaxis", "yaxis", "zaxis")
        figure.update_scenes({axis: {"title": title} for axis, title in zip(axes, titles, strict=True)})
    return _finish(figure, 680, dragmode="pan" if flat else "orbit", uirevision="map", modebar={"orientation": "v"})


def psnr_curves(
    levels: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    unit: str,
    trained: tuple[float, float] | None,
    trained_label: str,
) -> go.Figure:
    """Draw mean PSNR (dB) over the noise level, one line a method, and shade the trained range."""
    figure = go.Figure()
    if trained:
        figure.add_vrect(
            *trained, fillcolor=PALETTE[4], opacity=0.18, line_width=0,
            annotation_text=trained_label, annotation_position="top left", annotation_font_size=FONT - 2,
        )  # fmt: skip
    for k, (name, values) in enumerate(curves.items()):
        shown = [min(v, 45.0) for v in values]  # an untouched image has no finite PSNR
        figure.add_scatter(
            x=list(levels), y=shown, name=name, mode="lines+markers",
            line={"color": class_colour(k), "width": 3}, marker={"size": 8},
            hovertemplate=f"{name}: %{{y:.1f}} dB at %{{x}}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title=unit)
    figure.update_yaxes(title="mean PSNR (dB)")
    return _finish(figure, 460, hovermode="closest")


def confusion(matrix: np.ndarray, classes: Sequence[str], percent: bool) -> go.Figure:
    """Draw a confusion matrix `(K, K)`; invisible markers over its cells take clicks: x is predicted, y true.

    Colour is the square root of a cell's share of its row, so that rare mistakes show beside the diagonal.
    """
    n = len(classes)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    true, predicted = np.divmod(np.arange(n * n), n)
    hover = [
        f"{classes[t]} taken for {classes[p]}: {matrix[t, p]} images, {100 * share[t, p]:.1f} % of the row"
        for t, p in zip(true, predicted, strict=True)
    ]
    figure = go.Figure(
        go.Heatmap(
            z=np.sqrt(share), zmin=0, zmax=1, colorscale="Cividis", showscale=False, hoverinfo="skip", xgap=2, ygap=2
        )
    )  # fmt: skip
    bright = np.sqrt(share).ravel() > 0.6
    figure.add_scatter(
        x=predicted, y=true, mode="markers+text",
        text=np.char.mod("%.1f", 100 * share).ravel() if percent else matrix.astype(str).ravel(),
        textfont={"size": FONT, "color": np.where(bright, "#101010", "#ffffff")},
        hovertext=hover, hoverinfo="text", marker={"symbol": "square", "size": 46, "opacity": 0},
    )  # fmt: skip
    ticks = {"tickvals": list(range(n)), "ticktext": list(classes), "showgrid": False, "zeroline": False}
    figure.update_xaxes(title="predicted", range=[-0.5, n - 0.5], side="top", **ticks)
    figure.update_yaxes(title="true", range=[n - 0.5, -0.5], **ticks)
    return _finish(figure, 640, dragmode=False)


def calibration(confidence: np.ndarray, accuracy: np.ndarray, count: np.ndarray) -> go.Figure:
    """Draw accuracy over confidence in bins `(B,)`, with the diagonal of a perfectly calibrated model."""
    figure = go.Figure()
    full = count > 0
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name="perfect", line={"dash": "dash", "color": PALETTE[9]})
    figure.add_scatter(
        x=confidence[full], y=accuracy[full], mode="lines+markers", name="model",
        line={"color": PALETTE[0], "width": 3}, marker={"size": 11}, customdata=count[full],
        hovertemplate="sure by %{x:.2f}, right in %{y:.2f} of %{customdata} images<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title="confidence", range=[0, 1.02])
    figure.update_yaxes(title="accuracy", range=[0, 1.02])
    return _finish(figure, 420)


def curves(lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], unit: str, log: bool) -> go.Figure:
    """Draw lines over the epochs, `name -> (epochs, values)`; a name's part before " · " sets its colour.

    Lines whose name ends in "validation" are dashed.
    """
    figure = go.Figure()
    owners = list(dict.fromkeys(name.split(" · ")[0] for name in lines))
    for name, (epochs, values) in lines.items():
        colour = class_colour(owners.index(name.split(" · ")[0]))
        dash = "dash" if name.endswith("validation") else "solid"
        figure.add_scatter(
            x=list(epochs), y=list(values), name=name, mode="lines",
            line={"color": colour, "width": 3, "dash": dash},
            hovertemplate=f"{name}, epoch %{{x}}: %{{y:.5g}}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title="epoch")
    figure.update_yaxes(title=unit, type="log" if log else "linear")
    return _finish(figure, 480)
