"""Write a page of the app as one HTML file that needs no server: `python -m explorer.export draw -o draw.html`."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from explorer import arguments, language, storage
from explorer.attributes import METHODS
from explorer.checkpoints import BundleError, root_folder
from explorer.export.contents import PAGES, samples
from explorer.export.document import document
from explorer.layers import Unsupported
from explorer.ui import catalog, editing, frame, loading, planes, widgets
from explorer.ui.catalog import Collection
from explorer.ui.editing import Edit, Face
from explorer.ui.frame import View

TABS: dict[str, Sequence[str]] = {"latent_plane": planes.TABS[:-1], "interpolate": ("Between two", "Between four")}


class Unfit(ValueError):
    """What was asked for does not go together; the message says why."""


def main(given: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 1 where files are at fault, 2 where the arguments are."""
    arguments.speak_any_encoding()
    parser = _parser()
    args = parser.parse_args(given)
    try:
        view, model = _view(args)
        choices = CHOICES[args.page](view, model, args)
        if args.classifier is not None and args.page in ("latent_plane", "draw"):
            choices["classifier"] = args.classifier
        with language.speaking(args.language):
            content = document(view, PAGES[args.page](view, model, **choices))
    except Unfit as error:
        parser.error(str(error))
    except (BundleError, Unsupported) as error:
        return _fail(str(error))
    path = args.output or Path(f"{args.page.replace('_', '-')}-{model}.html")
    try:
        storage.replace_file(path, content)  # without its lock, which would stay beside the page
    except OSError as error:
        return _fail(f"{path} cannot be written: {error.strerror or error}")
    print(f"{path}: {len(content) / 1e6:.2f} MB")
    return 0


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m explorer.export", description=__doc__)
    parser.add_argument("page", type=arguments.one_of(PAGES, "page"), help=", ".join(PAGES))
    parser.add_argument("-o", "--output", type=arguments.path, help="file to write; by default page-model.html here")
    parser.add_argument("--model", help="by default the first that fits")
    parser.add_argument("--dataset", help="by default the first that has the model, or one that fits")
    titles = "; ".join(f"{page}: {', '.join(names)}" for page, names in TABS.items())
    parser.add_argument("--tab", help=f"tab of the page, or a word of its title, by default the first ({titles})")
    parser.add_argument(
        "--image", type=arguments.at_least(0), action="append", default=[], metavar="N",
        help="a gallery image by its number from 0; once for each image that the tab shows",
    )  # fmt: skip
    parser.add_argument(
        "--classifier", action=argparse.BooleanOptionalAction,
        help="with what the classifier takes pictures for, 1.3 MB more; by default on the page draw alone",
    )  # fmt: skip
    parser.add_argument(
        "--language", type=arguments.one_of(language.offered(), "language"), default=language.SOURCE,
        help=f"of the page: {', '.join(language.offered())}",
    )  # fmt: skip
    return parser


def _view(args: argparse.Namespace) -> tuple[View, str]:
    """Open the data set and the model that are asked for, or the first that go together, and check the rest."""
    page, root = frame.PAGES[args.page], root_folder()
    there = catalog.collections(root)
    fitting = [name for name, house in there.items() if page.fits(house)]
    having = [name for name, house in there.items() if args.model in house.models] or fitting
    name = args.dataset or next(iter(having), "")
    if name not in there:
        raise Unfit(f"there are no models for {name or args.page}; there are some for {', '.join(there) or 'none'}")
    house = there[name]
    if name not in fitting:
        raise Unfit(f"{args.page} needs {page.needs}; {name} has none, but {', '.join(fitting)}")
    if not house.autoencoders:
        raise Unfit(f"{name} has no model with a decoder")
    args.tab = _tab(args, house)
    model = _model(args, house, name)
    if args.classifier and house.classifier is None:
        raise Unfit(f"there is no classifier of {name}")
    view = View(house, root, loading.gallery(house, root))
    if beyond := [i for i in args.image if i >= len(view.gallery)]:
        raise Unfit(f"the gallery has {len(view.gallery)} images, counted from 0, so there is no {beyond[0]}")
    return view, model


def _model(args: argparse.Namespace, house: Collection, dataset: str) -> str:
    """Take the model that is asked for, else the first that fits the page and its tab."""
    native = house.native
    if args.tab == planes.TABS[0]:
        fits = (native,) if native else ()
    elif args.tab == planes.TABS[3]:
        fits = tuple(name for name in house.autoencoders if native and name != native)
    else:
        fits = house.autoencoders
    model = args.model or next(iter(fits), None)
    if model not in fits:
        what = f"{model} on {dataset}" if model else dataset
        raise Unfit(f"{what} does not fit {args.tab or args.page}, but {', '.join(fits) or 'no model of it does'}")
    return model


def _tab(args: argparse.Namespace, house: Collection) -> str:
    """Find the tab that is asked for; the first one where the model has the code for it, if none is."""
    names = TABS.get(args.page, ())
    if args.tab is None:
        is_native = house.native is not None and args.model in (None, house.native)
        return names[1] if args.page == "latent_plane" and not is_native else next(iter(names), "")
    found = [name for name in names if args.tab.casefold() in name.casefold()]
    if len(found) != 1:
        raise Unfit(f"{args.page} has no tab {args.tab!r}; it has {', '.join(names) or 'none'}")
    return found[0]


def _picks(view: View, args: argparse.Namespace, n: int) -> list[int]:
    if len(args.image) > n:
        shows = f"shows {n} image{'s' * (n > 1)}, so give --image no more often" if n else "shows no image of its own"
        raise Unfit(f"{args.tab or args.page} {shows}")
    return widgets.completed(view.gallery, args.image, n)


def _latent_plane(view: View, model: str, args: argparse.Namespace) -> dict[str, Any]:
    tab = planes.TABS.index(args.tab)
    if tab == 0:
        _picks(view, args, 0)
        return {"laid": {model: planes.native()}, "layers": ["sheet"]}
    if tab == 1 and not args.image:
        return {"laid": {model: planes.principal(view, model)}, "layers": ["sheet"]}
    if tab == 1:
        try:
            return {"laid": {model: planes.through(view, model, _picks(view, args, 3))}, "layers": ["sheet"]}
        except ValueError as error:
            raise Unfit(str(error)) from error
    if tab == 2:
        laid = planes.line(view, model, planes.DIRECTIONS[0], 0, *_picks(view, args, 1))
        return {"laid": {model: laid}, "layers": ["sheet"], "flat": True}
    _picks(view, args, 0)
    laid = {name: planes.principal(view, name, planes.OF_HOLES) for name in (model, view.shown.native)}
    return {"laid": laid, "layers": ["density"], "group": "hole"}


def _draw(view: View, model: str, args: argparse.Namespace) -> dict[str, Any]:
    return {"start": _picks(view, args, 1)[0]}


def _attributes(view: View, model: str, args: argparse.Namespace) -> dict[str, Any]:
    bundle = view.bundle(model)
    try:
        found = editing.fitted(bundle, view.dataset.attributes)
    except ValueError as error:
        raise BundleError(f"The labelled codes of {model} cannot be used: {error}.") from error
    if not found:
        raise BundleError(f"There are no labelled codes for {model}. Make them with: {bundle.command('projections')}")
    edit = Edit(found, METHODS[0], tuple(editing.first(editing.offered(found))), ())
    if not args.image and not view.dataset.shareable:
        return {"face": Face(samples(view, model)[0].numpy(), ""), "edit": edit, "moves": {}}
    [i] = _picks(view, args, 1)
    return {"face": Face(loading.codes(bundle)["codes"][i], "", view.gallery.images[i]), "edit": edit, "moves": {}}


def _interpolate(view: View, model: str, args: argparse.Namespace) -> dict[str, Any]:
    return {"picks": _picks(view, args, 2 + 2 * TABS["interpolate"].index(args.tab))}


CHOICES: Mapping[str, Callable[[View, str, argparse.Namespace], dict[str, Any]]] = {
    "latent_plane": _latent_plane, "draw": _draw, "attributes": _attributes, "interpolate": _interpolate,
}  # fmt: skip
