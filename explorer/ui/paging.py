"""The table PAGES: what every page says of itself in its file, `PAGE = Page(...)`."""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from explorer.language import later
from explorer.ui.catalog import Collection

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Page:
    """One page: what it is called, what it asks and what to look for. Its file is named like its title.

    place: its order among all. fits: whether it makes sense for images and models that there are; needs: what it
    takes, in words. control, picture: the main control and the picture that it changes, as CSS selectors, for tests;
    also of parts of components.
    """

    title: str
    icon: str
    section: str
    place: int
    question: str
    look_for: str
    fits: Callable[[Collection], bool] = lambda there: bool(there.models)
    needs: str = later("a model that stands for itself")
    control: str = ".st-key-control"
    picture: str = ".st-key-picture"

    @property
    def key(self) -> str:
        """The name by which links and tests know it."""
        return self.title.lower().replace(" ", "_")

    @property
    def file(self) -> str:
        """The path of its file in the project."""
        return f"pages/{self.key}.py" if self.section else "app.py"


def _described(path: Path) -> Page:
    """Read what a page says of itself, `PAGE = Page(...)` in its file, without running the file."""
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "PAGE":
            return eval(compile(ast.Expression(statement.value), path, "eval"), {"Page": Page})
    raise ValueError(f"{path} has no PAGE = Page(...), which says what it asks and where it stands")


def _pages() -> dict[str, Page]:
    found = [_described(path) for path in (ROOT / "app.py", *(ROOT / "pages").glob("*.py"))]
    return {page.key: page for page in sorted(found, key=lambda page: page.place)}


PAGES = _pages()


def pages_for(there: Collection) -> list[Page]:
    """List the pages that make sense on a data set and its models."""
    return [page for page in PAGES.values() if page.fits(there)]
