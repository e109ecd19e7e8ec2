"""Open a page as a lesson shows it, without a browser, and say what is wrong with its address."""

import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from streamlit.testing.v1 import AppTest

from explorer.lessons.reading import Shown
from explorer.ui.paging import PAGES, ROOT

MOST_SECONDS = 120


def try_page(shown: Shown, dataset: str) -> list[str]:
    """List what is wrong with a view on a data set: its page, a parameter, a value, the control that stays, its run."""
    if shown.page not in PAGES:
        return [f"there is no page {shown.page!r}; there are: {', '.join(PAGES)}"]
    page, params = PAGES[shown.page], {"dataset": [dataset], **shown.params}
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=MOST_SECONDS)
    if page.section:
        app.switch_page(page.file)
    for name, values in params.items():
        app.query_params[name] = list(values)
    app.run()
    if problems := [*app.exception, *app.error]:
        return [f"the page {shown.page} says: {problems[0].value}"]
    if app.title[0].value != page.title or not app.code:
        return [f"the page {shown.page} makes no sense on {dataset}"]
    faults = []
    for name, values in params.items():
        if name not in app.session_state and not _is_read(name, page.file):
            faults.append(f"the page {shown.page} has no parameter {name!r}")
        elif not _has(app, name, values):
            faults.append(f"{name!r} of the page {shown.page} cannot be {'; '.join(values)!r}, or is it anyway")
    if shown.live not in app.session_state:
        faults.append(f"the page {shown.page} has no control {shown.live!r} as it is shown")
    elif shown.live in _folded(app.main):
        faults.append(
            f"the control {shown.live!r} of the page {shown.page} lies in a menu, which a lesson does not show"
        )
    return faults


def _folded(node: object, is_folded: bool = False) -> Iterator[str]:
    """List the keys of what lies in menus: an identity is a hash and the key that the page gave."""
    is_folded = is_folded or getattr(node, "type", "") == "popover"
    if is_folded:
        yield getattr(getattr(node, "proto", None), "id", "").split("-", 2)[-1]
    for child in getattr(node, "children", {}).values():
        yield from _folded(child, is_folded)


def _has(app: AppTest, name: str, values: Sequence[str]) -> bool:
    """Whether a control has these values, or the address where there is no such control."""
    now = app.session_state[name] if name in app.session_state else app.query_params.get(name, [])
    now = now if isinstance(now, list | tuple) else [now]
    return [_plain(value) for value in now] == [_plain(value) for value in values]


def _plain(value: object) -> str:
    try:
        return f"{float(str(value)):g}"
    except ValueError:
        return str(value).lower()


def _is_read(name: str, file: str) -> bool:
    """Whether the page, or what pages share, reads a parameter that no control has."""
    return bool(re.search(f'"{re.escape(name)}"', (ROOT / file).read_text(encoding="utf-8") + _shared()))


@functools.cache
def _shared() -> str:
    files = sorted(Path(__file__).parent.glob("*.py"))
    return "".join(path.read_text(encoding="utf-8") for path in files if path.name != Path(__file__).name)
