"""Several processes of the app behind nginx."""

from contextlib import contextmanager


@contextmanager
def replicas(n):
    raise RuntimeError("todo")
    yield
