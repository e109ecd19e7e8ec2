"""Check lessons and mark worksheets: `python -m explorer.lessons check FILE`, `grade FILE`, `worksheet`."""

import argparse
import functools
import sys
from collections.abc import Callable, Sequence

from explorer import arguments
from explorer.checkpoints import BundleError, root_folder
from explorer.lessons import checking, exercises
from explorer.lessons.exercises import Mark, WorksheetError
from explorer.lessons.material import Material, material
from explorer.ui.trying import try_page


def main(given: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 1 where a file is at fault, 2 where the arguments are."""
    arguments.speak_any_encoding()
    args = _parser().parse_args(given)
    there = functools.cache(lambda dataset: material(dataset, root_folder()))
    try:
        return {"check": _check, "grade": _grade, "worksheet": _write}[args.command](args, there)
    except (OSError, BundleError) as error:
        name = getattr(error, "filename", None)
        print(f"{name}: {error.strerror}" if name else error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m explorer.lessons", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="say what is wrong with lessons, by file and line")
    check.add_argument("file", type=arguments.path, nargs="+")
    check.add_argument("--no-pages", action="store_true", help="do not open the pages, half a second each")
    grade = commands.add_parser("grade", help="mark worksheets and notebooks that were filled in")
    grade.add_argument("file", type=arguments.path, nargs="+")
    write = commands.add_parser("worksheet", help="write the worksheet of a seed, or its notebook")
    write.add_argument("seed", type=arguments.at_least(0))
    write.add_argument("--language", choices=exercises.languages(), default="en")
    write.add_argument("--notebook", action="store_true")
    return parser


def _check(args: argparse.Namespace, there: Callable[[str], Material]) -> int:
    opener = None if args.no_pages else try_page
    faults = [fault for path in args.file for fault in checking.check(path, there, opener)]
    print("\n".join(faults) if faults else f"{len(args.file)} lessons: nothing is wrong")
    return 1 if faults else 0


def _grade(args: argparse.Namespace, there: Callable[[str], Material]) -> int:
    failed = 0
    for path in args.file:
        try:
            marks = exercises.mark(path.read_bytes(), there)
        except WorksheetError as error:
            print(f"{path}: {error}", file=sys.stderr)
            failed = 1
            continue
        print(f"{path}: {sum(mark.right for mark in marks)} of {len(marks)} right")
        for number, mark in enumerate(marks, 1):
            print(f"  {number:2} {_said(mark)}")
    return failed


def _said(mark: Mark) -> str:
    if mark.right:
        return f"right: {mark.given:g}"
    given = "no answer" if mark.given is None else f"wrong: {mark.given:g}"
    return f"{given}; it is {mark.answer:.5g}"


def _write(args: argparse.Namespace, there: Callable[[str], Material]) -> int:
    make = exercises.notebook if args.notebook else exercises.worksheet
    sys.stdout.write(make(there(exercises.DATASET), args.seed, args.language))
    return 0
