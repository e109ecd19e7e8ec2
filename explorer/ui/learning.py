"""Runs of `train.py` as they go on: what is being read, the loss as it falls, eight images and the plane as they form.

Whatever run writes to the checkpoints folder is shown. On a server that was started for one person it can be begun and
ended here, too: it is a process of its own either way, and no page trains.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st

from explorer import figures, imagefolder, latent, watching
from explorer.celeba.cache import cache_folder
from explorer.images import to_float
from explorer.language import later, say
from explorer.roster import ROSTER
from explorer.ui import screen, speaking
from explorer.ui.pictures import Strip, cell_places, show_plane, show_strips
from explorer.ui.text import as_text
from explorer.watching import CELLS, ENDED, REACH, Picture, Status

PROGRAM = Path(__file__).parent.parent.parent / "train.py"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
MOST_MEGABYTES = 4000  # of a zip that is uploaded
TICKS = [((i + 0.5) / CELLS, f"{v:.1f}") for i, v in enumerate(latent.axis(CELLS, REACH, "linear").tolist())]
VERBS = {"starting": later("Starting"), "measuring": later("Measuring"), "projecting": later("Mapping")}
ROWS = 4


@dataclass
class Started:
    """A run that was begun here: its process, the end of what it prints, and what it was begun with."""

    process: subprocess.Popen[bytes]
    log: Path
    source: Path


_started: dict[Path, Started] = {}  # by the data set's folder


def is_local() -> bool:
    """Whether this server is one person's: the variable EXPLORER_LOCAL is 1, or it listens to this machine alone."""
    return os.environ.get("EXPLORER_LOCAL") == "1" or st.get_option("server.address") in LOOPBACK


def start(source: Path, root: Path, anew: bool = False) -> Path:
    """Begin, or go on with, `train.py --images` on a folder or zip; give the folder of its data set.

    It leaves one core to the pages where there are several.
    """
    home = root.resolve() / imagefolder.name_of(source)
    log = cache_folder() / f"{home.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    arguments = ["--images", str(source), "--checkpoints", str(root), "--resume", *(["--force"] if anew else [])]
    arguments += ["--threads", str(max(1, (os.cpu_count() or 1) - 1))]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            start_new_session=True,
        )  # fmt: skip
    _started[home] = Started(process, log, source)
    return home


def failure(home: Path) -> str:
    """Give the last lines that a run begun here printed, where it ended with an error; else nothing."""
    begun = _started.get(home)
    if begun is None or begun.process.poll() in (None, 0, 130, 143):
        return ""
    lines = begun.log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").strip().splitlines()
    told = [line for line in lines if "failed" in line or line.startswith("train.py:")]
    return " ".join(told[-3:] or lines[-3:])


def is_begun(home: Path) -> bool:
    """Whether a run that was begun here has not ended."""
    return home in _started and _started[home].process.poll() is None


def shown_runs(root: Path) -> dict[Path, Status | None]:
    """Give what each run does that goes on or ended early, by its data set's folder; None of one that is only begun."""
    begun = (home for home in _started if home.parent == root.resolve())
    found: dict[Path, Status | None] = {home: None for home in begun if is_begun(home) or failure(home)}
    for run in watching.runs(root.resolve()):
        if status := watching.status(run):
            found[run.parent.parent] = status
    return found


def learning(root: Path) -> None:
    """Show every run below a folder of bundles, again and again for as long as one of them goes on."""
    if runs := shown_runs(root):
        alive = alive_of(runs)
        every = (0.5 if is_local() else 3.0) if alive else None
        st.fragment(_draw, run_every=every)(root, alive)


def alive_of(runs: dict[Path, Status | None]) -> set[str]:
    """Name the data sets of those that go on."""
    return {home.name for home, status in runs.items() if (status.doing not in ENDED if status else is_begun(home))}


def _draw(root: Path, alive: set[str]) -> None:
    speaking.again()
    runs = shown_runs(root)
    if alive_of(runs) != alive:
        st.rerun()  # one has ended: there may be bundles to show
    for home, status in runs.items():
        with st.container(border=True, key=f"run-{home.name}"):
            _draw_run(home, status)


def _draw_run(home: Path, status: Status | None) -> None:
    words, button = st.columns([5, 1], vertical_alignment="center")
    words.markdown(f"**{as_text(status.title if status else home.name)}** · {_doing(status, failure(home))}")
    run = next((run for run in reversed(watching.runs(home.parent)) if run.parent.parent == home), None)
    goes_on = home.name in alive_of({home: status})
    if is_local() and goes_on and run:
        button.button(say("Stop"), key=f"stop-{home.name}", width="stretch", on_click=watching.stop, args=(run,))
    elif is_local() and not goes_on and home in _started:
        again = _started[home].source, home.parent
        button.button(say("Go on"), key=f"on-{home.name}", type="primary", width="stretch", on_click=start, args=again)
    if status and status.total and status.doing in ("reading", "fitting"):
        words.progress(min(1.0, status.done / status.total))
    if status and run and (picture := watching.picture(run)):
        _draw_picture(status, picture, home.name)


def _doing(status: Status | None, failed: str) -> str:
    """Say in a sentence what a run does, and which models are finished."""
    if failed:
        return as_text(failed)
    if status is None:
        return say("Starting…")
    models = " · ".join(f":material/check: {_title(m)}" for m in status.fitted)
    if status.doing == "stopped":
        return say("Stopped. What is finished is kept, and the same command with `--resume` goes on.")
    if status.doing == "failed":
        return say("Failed: {reason}", reason=as_text(status.reason))
    if status.doing == "fitting":
        told = say(
            "Fitting **{model}**, epoch {done:,} of {total:,}",
            model=_title(status.model), done=status.done, total=status.total,
        )  # fmt: skip
        if status.left is not None:
            told += say(", about {time} left", time=watching.duration(status.left))
        return f"{told} {models}"
    if status.doing == "reading":
        return say("Reading the pictures: {done:,} of {total:,}", done=status.done, total=status.total)
    return f"{say(VERBS.get(status.doing, as_text(status.doing)))} {_title(status.model)} {models}"


def _title(model: str) -> str:
    return as_text(ROSTER[model].title if model in ROSTER else model)


def _draw_picture(status: Status, picture: Picture, name: str) -> None:
    images = to_float(picture.images).numpy()
    if picture.curve is None:
        row = len(images) // ROWS or len(images)
        show_strips([Strip("", images[i : i + row]) for i in range(0, len(images), row)])
        return
    left, right = st.columns(2, gap="large")
    with left:
        show_strips(_strips(picture, images))
        st.caption(
            say(
                "Images that training does not see, and what it makes of them after {epoch:.1f} epochs.",
                epoch=picture.epoch,
            )
        )
        _draw_curve(picture, name)
    if picture.points is not None:
        with right:
            _draw_plane(picture)


def _strips(picture: Picture, images: np.ndarray) -> list[Strip]:
    if picture.rebuilt is not None:
        return [Strip("", images), Strip("", to_float(picture.rebuilt).numpy())]
    guesses = zip(picture.guesses.tolist(), picture.sure.tolist(), strict=True)
    return [Strip("", images, [say("class {guess}\n{sure:.0%}", guess=guess, sure=sure) for guess, sure in guesses])]


def _draw_curve(picture: Picture, name: str) -> None:
    epochs, train, validation = picture.curve.T.tolist()
    positive = bool(epochs) and min(*train, *validation) > 0
    lines = {"loss · train": (epochs, train), "loss · validation": (epochs, validation)}
    figure = figures.curves(lines, say("loss"), log=positive)
    figure.update_layout(height=280)
    screen.chart(figure, f"curve-{name}", say("Loss over epochs so far"), config={"displayModeBar": False})


def _draw_plane(picture: Picture) -> None:
    axis = latent.axis(CELLS, REACH, "linear").numpy()
    places = np.stack([cell_places(axis, column) for column in picture.points.T.numpy()], axis=1)
    if picture.sheet is None:
        blank = np.zeros((CELLS**2, 1, 1, 1), np.float32)
    sheet = blank if picture.sheet is None else to_float(picture.sheet).numpy()
    show_plane(sheet, CELLS, TICKS, places, picture.labels.numpy())


def own_images(root: Path) -> None:
    """Explain how one's own images become models, and begin it here where the server is one person's."""
    st.subheader(say("Your own images"))
    st.markdown(
        say(
            "One command fits a plain and a variational autoencoder, one of two numbers, a denoiser and, where "
            "subfolders are classes, a classifier to any folder of pictures. Every page then opens on them."
        )
        + "\n\n```sh\npython train.py --images FOLDER\n```"
    )
    if not is_local():
        st.caption(say("On a server of your own, `EXPLORER_LOCAL=1 streamlit run app.py`, it can be begun here."))
        return
    with st.form("own-images", border=True):
        left, right = st.columns(2)
        typed = left.text_input(
            say("A folder or zip on this computer"), key="own-folder", placeholder="/home/me/pictures"
        )
        file = right.file_uploader(say("or a zip"), type=["zip"], key="own-zip", max_upload_size=MOST_MEGABYTES)
        anew = left.toggle(say("Begin anew, where these pictures were fitted before"), key="own-anew")
        if st.form_submit_button(say("Fit models to them"), type="primary"):
            _begin(typed, file, root, anew)


def first_images(root: Path) -> None:
    """Draw what there is to do and to see where no model has been fitted."""
    learning(root)
    own_images(root)


def _begin(typed: str, file: object | None, root: Path, anew: bool) -> None:
    source = Path(typed.strip()).expanduser() if typed.strip() else None
    if source is None and file is not None:
        source = cache_folder() / "uploads" / Path(file.name).name
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_bytes(file.getvalue())
    if source is None or not source.exists():
        missing = say("There is no folder {name}.", name=as_text(typed))
        st.error(missing if typed.strip() else say("Name a folder, or choose a zip."))
        return
    home = root.resolve() / imagefolder.name_of(source)
    if home.name in alive_of(shown_runs(root)):
        st.info(say("A run is at work on {name} already.", name=as_text(home.name)))
        return
    start(source, root, anew)
    st.rerun()
