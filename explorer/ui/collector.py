"""Garbage collection where it does not hold a class up, and memory that goes back when a class has gone.

torch, scikit-learn, umap and plotly leave half a million objects that never become garbage. A full collection walks
over all of them with Python's lock held, so that nobody is served in the meantime: 0.1 s when the server starts, 0.2 s
with all libraries in. Streamlit makes one after every run (`runner.postScriptGC`). Frozen, they are passed over, and
one now and then is enough for what sessions leave behind.
"""

import ctypes
import gc
import sys
import threading
import time

EVERY_SECONDS = 2.0  # it takes 1 to 20 ms, and as long again to give memory back, with 40 sessions there

_lock = threading.Lock()
_n_frozen = 0  # modules that were there when all objects were frozen last
_collected = 0.0  # when, in monotonic seconds


def settle() -> None:
    """Collect what is garbage, if that was not done just now, and freeze the objects of modules that have come.

    Garbage goes first, since a circle of frozen objects is never found again. A frozen object that is in no circle goes
    as ever when nobody refers to it.
    """
    global _n_frozen, _collected
    with _lock:
        has_new = len(sys.modules) != _n_frozen
        if not has_new and time.monotonic() - _collected < EVERY_SECONDS:
            return
        gc.collect()
        if has_new:
            gc.freeze()
            _n_frozen = len(sys.modules)
        _trim()
        _collected = time.monotonic()


def _trim() -> None:
    """Give free memory back to the system: GNU's allocator keeps it for each thread, and every run has a thread."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
