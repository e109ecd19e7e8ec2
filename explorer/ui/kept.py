"""Values that are read from files, kept between runs for as long as these files stay as they are.

Only what reads files is kept by their stamp, and only where they were the same before and after; whatever is made
of such a value is kept by the value itself (see `loading.BY_READING`). So nothing can outlive what it was made of.
"""

import functools
import os
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import streamlit as st

from explorer.checkpoints import BundleError
from explorer.language import later

TRIES = 5  # a file is replaced at once and seldom; who replaces it faster than it can be read has to stop first

P = ParamSpec("P")
T = TypeVar("T")


class _Changed(Exception):
    """Files were replaced while they were read."""


def stamp(paths: Iterable[str]) -> Hashable:
    """Tell which of some files and folders there are, and as which file, how long and when changed.

    An older file that is put back, with its time or not, is another file or has another time of its entry.
    """
    return tuple((path, _state(path)) for path in paths)


def _state(path: str) -> tuple[int, ...] | None:
    try:
        stat = os.stat(path)
    except (OSError, ValueError):  # ValueError: no name that a file can have
        return None
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def from_files(stamp_of: Callable[P, Hashable], **options: Any) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a function that reads files, to read them again only where they have changed.

    stamp_of: sums up the state of the files that the function reads, from its own arguments. options: those of
    `st.cache_resource`.

    Raises:
        BundleError: the files are replaced faster than they can be read.
    """

    def decorate(read: Callable[P, T]) -> Callable[P, T]:
        def stored(before: int, *args: P.args) -> T:
            try:
                return read(*args)
            finally:
                if hash(stamp_of(*args)) != before:
                    raise _Changed  # in place of an error, too: half of what was read was older

        stored.__module__, stored.__qualname__ = read.__module__, read.__qualname__  # by which caches are told apart
        hashes = {type(Path()): os.fsencode} | options.pop("hash_funcs", {})
        cached = st.cache_resource(**{"show_spinner": False} | options, hash_funcs=hashes)(stored)

        @functools.wraps(read)
        def latest(*args: P.args) -> T:
            for _ in range(TRIES):
                try:
                    return cached(hash(stamp_of(*args)), *args)  # Streamlit takes longer over 2,000 files than stat()
                except _Changed:
                    continue
            raise BundleError(
                later("The files are being replaced faster than they can be read. Reload the page in a while.")
            )

        return latest

    return decorate
