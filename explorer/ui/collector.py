"""Keep libraries out of the garbage collector's way.

torch, scikit-learn, umap and plotly leave half a million objects that never become garbage. A full collection walks
over all of them with Python's lock held, so that nobody is served in the meantime. Frozen, they are passed over.
"""

import gc
import sys
import threading

_lock = threading.Lock()
_n_frozen = 0  # modules that were there when all objects were frozen last


def settle() -> None:
    """Freeze the objects of modules that have come since the last call; a run that imports nothing costs nothing.

    What is garbage at that moment goes first, since a frozen circle is never found again. A frozen object that is no
    part of a circle goes as ever when nobody refers to it.
    """
    global _n_frozen
    with _lock:
        if len(sys.modules) != _n_frozen:
            gc.collect()
            gc.freeze()
            _n_frozen = len(sys.modules)
