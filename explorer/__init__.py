"""The latent-space explorer: models, bundles and pictures of what an autoencoder learns.

    images -> model -> bundle -> page -> figure

`train.py` walks the left half and writes bundles; `app.py` and `pages/` read them. `explorer.save` makes a bundle of a
model that was made elsewhere.
"""

from typing import Any

__all__ = ["save"]


def __getattr__(name: str) -> Any:
    """Give `save`, which keeps a model of yours as a bundle; what it needs is imported when it is asked for."""
    if name != "save":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from explorer.importing import save

    return save
