"""An image followed to its end: where it lies on a plane, and the path that makes the classifier change its mind."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st
import torch

from explorer import latent
from explorer.images import grid, to_float
from explorer.language import later, number, say
from explorer.sampling import nearest
from explorer.ui import address, components, live, loading, planes
from explorer.ui.frame import View
from explorer.ui.opening import Opened
from explorer.ui.pictures import Strip, data_uri, show_strips
from explorer.ui.planes import Laid

STEPS = 97  # of a path, ends included: as many as are decoded at once
SHOWN = 9  # of them


def pictures_of(view: View, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Get images of test-split numbers `index` that can be shown: all with the data, else gallery stand-ins."""
    images = loading.test_images(view.dataset)
    if images is not None:
        return to_float(torch.from_numpy(images[index])).numpy(), index
    places = {int(t): i for i, t in enumerate(view.gallery.indices)}
    index = np.array([i for i in index if int(i) in places], dtype=int)
    return view.gallery.images[[places[int(i)] for i in index]], index


@dataclass(frozen=True)
class Followed:
    """One test image on a model's plane: its code, and that of the image it is on the way to, both `(D,)`.

    number: of the image in the test split. place: of it in the gallery, None where it is not there. neighbour: that of
    the other one. is_right: whether that one, rebuilt, is taken for what it is.
    """

    laid: Laid
    code: torch.Tensor
    target: torch.Tensor
    number: int
    place: int | None
    neighbour: int
    is_right: bool

    @property
    def pins(self) -> list[tuple[float, float]]:
        """Where both lie on the plane."""
        points, _ = self.laid.where.coordinates(torch.stack([self.code, self.target]))
        return [(round(u, 4), round(v, 4)) for u, v in points.tolist()]

    def python(self, view: View) -> str:
        """Write the Python that makes both images `x`."""
        if self.place is not None:
            return view.gallery.python([self.place, self.neighbour])
        both = [self.number, int(view.gallery.indices[self.neighbour])]
        return f'x = to_float(DATASETS["{view.dataset.name}"].load("test").images[{both}])'


def follow(view: View, model: str, judge: Opened, x: np.ndarray, number: int, true: int, predicted: int) -> Followed:
    """Place test image `number` `(C, H, W)` on a plane: a code of two numbers as it is, else the plane through it.

    The image it is on the way to is the nearest one of its true class in the gallery that the classifier, shown what
    the model rebuilds of it, takes for that; if there is none, the nearest one. The plane goes through it, too, and
    through the nearest image of the class that `x` is taken for.

    Raises:
        ValueError: there are no such images, or the three lie on one line.
    """
    bundle = view.bundle(model)
    codes = torch.from_numpy(loading.codes(bundle)["codes"])
    found = np.flatnonzero(view.gallery.indices == number)
    place = int(found[0]) if len(found) else None
    code = loading.encode(bundle, x[None])[0] if place is None else codes[place]
    alike = _by_distance(code, codes, view.gallery.labels == true, place)
    guesses = _judge(judge, loading.decode(bundle, codes[alike])).argmax(1)
    right = [i for i, guess in zip(alike, guesses.tolist(), strict=True) if guess == true]
    neighbour = (right or alike)[0]
    if view.card(model).is_native:
        laid = planes.native(12, 3.5)
    else:
        other = (view.gallery.labels == predicted) != (true == predicted)  # of one taken rightly, any other class
        third = codes[_by_distance(code, codes, other, place)[0]]
        names = ("A → B", later("A → the other class"))
        where = latent.Plane.through(code, codes[neighbour], third)
        laid = Laid(where, torch.linspace(-0.5, 1.5, planes.cells(view, 12)), names)
    return Followed(laid, code, codes[neighbour], number, place, neighbour, bool(right))


def _by_distance(code: torch.Tensor, codes: torch.Tensor, wanted: np.ndarray, but: int | None) -> list[int]:
    """List the gallery images that are wanted `(M,)`, other than `but`, from the nearest to a code to the farthest."""
    others = [i for i in np.flatnonzero(wanted).tolist() if i != but]
    if not others:
        raise ValueError(later("the gallery has no other image of its class"))
    return [others[k] for k in nearest(code, codes[others], len(others))[1].tolist()]


@torch.inference_mode()
def _judge(classifier: Opened, images: np.ndarray) -> torch.Tensor:
    """Ask the classifier for the probabilities `(N, K)` of images `(N, C, H, W)`."""
    return loading.model(classifier)(torch.from_numpy(images)).softmax(1)


@dataclass(frozen=True)
class Path:
    """The pictures decoded on the way from one code to another `(S, C, H, W)`, and what they are taken for `(S, K)`.

    change: the first of them that is taken for something else than the first, or None.
    """

    images: np.ndarray
    probabilities: torch.Tensor
    change: int | None

    @property
    def guesses(self) -> list[int]:
        """The most probable class of each."""
        return self.probabilities.argmax(1).tolist()

    def strip(self, true: int) -> Strip:
        """Lay out some of the pictures with the probability of the true class, the one that changes among them."""
        steps = {round(i * (STEPS - 1) / (SHOWN - 1)) for i in range(SHOWN)} | {
            *([self.change] * (self.change is not None))
        }
        captions = [
            number(100 * self.probabilities[i, true].item(), ".0f")
            + " %"
            + (say("\n▲ here") if i == self.change else "")
            for i in sorted(steps)
        ]
        return Strip("", self.images[sorted(steps)], captions)

    def told(self, classes: Sequence[str], taken_for: int) -> str:
        """Say where the classifier changes its mind, and whether it did before the path began."""
        first = self.guesses[0]
        before = "" if first == taken_for else say("Rebuilt, it is already taken for {name}. ", name=classes[first])
        if self.change is None:
            return before + say("The classifier never changes its mind on the way: {name}.", name=classes[first])
        share, after = 100 * self.change / (STEPS - 1), classes[self.guesses[self.change]]
        return before + say(
            "After {share:.0f} % of the way the classifier changes its mind: {name} → **{after}**.",
            share=share,
            name=classes[first],
            after=after,
        )


def path(bundle: Opened, classifier: Opened, start: torch.Tensor, end: torch.Tensor) -> Path:
    """Decode the straight line between two codes `(D,)`, and ask the classifier."""
    images = loading.decode(bundle, latent.lerp(start, end, torch.linspace(0, 1, STEPS)))
    probabilities = _judge(classifier, images)
    return Path(images, probabilities, first_change(probabilities.argmax(1).tolist()))


def first_change(guesses: Sequence[int]) -> int | None:
    """Find the first of some guesses that is another than the first, or None."""
    return next((i for i, guess in enumerate(guesses) if guess != guesses[0]), None)


def forget(*names: str) -> None:
    """Take what belongs to another image out of the address."""
    for name in names:
        address.keep(name, [])


def pick(x: np.ndarray, index: np.ndarray, cell: str) -> int:
    """Choose one of some images by clicking it, the first to begin with; kept in the address as `image`."""
    clicked = (st.session_state.get("images") or {}).get("chosen")
    if clicked and clicked[0] == cell and clicked != st.session_state.get("followed") and 0 <= clicked[1] < len(index):
        address.keep("image", [str(index[clicked[1]])])
        forget("pin")
    st.session_state["followed"] = clicked
    wanted = [*address.wholes("image", 10**9), index[0]]
    chosen = next((list(index).index(i) for i in wanted if i in index), 0)
    row = {"key": cell, "label": "", "note": "", "sheet": data_uri(grid(x, len(x), gap=0)), "n": len(x)}
    components.sample_rows({"rows": [row], "columns": len(x), "chosen": [cell, chosen]}, key="images")
    return chosen


def show(view: View, model: str, judge: Opened, x: np.ndarray, number: int, true: int, predicted: int) -> str:
    """Show an image among the classifier's regions, and the way to one that is taken rightly; return the Python."""
    classes = view.gallery.class_names
    is_drawn = (
        view.classifier is not None and judge.identity == view.classifier.identity and not live.unsupported(judge)
    )
    layers = ["regions" if is_drawn else "sheet"]
    try:
        found = follow(view, model, judge, x, number, true, predicted)
    except ValueError as error:
        st.info(say("It cannot be followed: {reason}.", reason=say(str(error))))
        return ""
    kept = live.read_pins()
    where = {"pins": kept if len(kept) == 2 else found.pins, "small": True}
    pins = live.live_plane(view, model, *found.laid, layers, f"follow-{model}-{number}-{true}", **where)
    is_moved = len(pins) == 2 and pins != found.pins
    address.keep("pin", [f"{u:g},{v:g}" for u, v in pins] if is_moved else [])
    ends = found.laid.where.codes(torch.tensor(pins)) if is_moved else (found.code, found.target)
    way = path(view.bundle(model), judge, *ends)
    show_strips([way.strip(true)])
    if found.is_right:
        below = say(
            "Under each picture the probability of {name}, from A, the image, to B, the nearest {name} of the gallery, "
            "one that is taken rightly.",
            name=classes[true],
        )
    else:
        below = say(
            "Under each picture the probability of {name}, from A, the image, to B, the nearest {name} of the gallery, "
            "though none is taken rightly.",
            name=classes[true],
        )
    st.markdown(f"{way.told(classes, predicted)} {below}")
    return f"""
model = Bundle("{view.dataset.name}", "{model}", root_folder()).load()
{found.python(view)}
a, b = model.embed(x)
way = model.decode(latent.lerp(a, b, torch.linspace(0, 1, {STEPS})))
guesses = judge(way).argmax(1).tolist()
change = next((i for i, guess in enumerate(guesses) if guess != guesses[0]), None)
to_pil(grid(way[sorted({{*range(0, {STEPS}, 12), change or 0}})].numpy(), 10), scale=3).save("way.png")
"""
