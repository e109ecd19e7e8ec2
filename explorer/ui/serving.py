"""The server around the app: what a browser keeps, at addresses that name their content, and what is loaded once.

Component code and weights travel over HTTP, once for each browser, not over each visit's websocket. Addresses are
relative to the app's own, so that they hold behind any proxy, and any process of several answers for all of them.
"""

import asyncio
import contextlib
import gzip
import webbrowser
from collections.abc import AsyncIterator

import torch
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from streamlit import config
from streamlit.url_util import make_url_path
from streamlit.web.server.server_util import get_url

from explorer.checkpoints import Bundle, BundleError, root_folder
from explorer.families import FamilyBundle
from explorer.layers import Unsupported
from explorer.ui import catalog, collector, loading, rooming
from explorer.ui.loading import Compressed
from explorer.ui.opening import Opened, OpenedFamily, opened, opened_family

FILES = "files"
FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}

_code: dict[str, Compressed] = {}


def code_address(name: str, source: str) -> str:
    """Give the address under which this process, and every other with the same code, serves a script."""
    small = Compressed.of(source.encode())
    path = f"{small.digest}/{name}.js"
    _code[path] = small
    return f"{FILES}/code/{path}"


def weights_address(bundle: Opened | OpenedFamily) -> str:
    """Give the address of a model or family packed for the browser; raises `BundleError` and `Unsupported`."""
    return f"{FILES}/weights/{_packed(bundle).digest}/{bundle.dataset}/{bundle.model}.bin"


def _packed(bundle: Opened | OpenedFamily) -> Compressed:
    return loading.packed_family(bundle) if isinstance(bundle, OpenedFamily) else loading.packed(bundle)


def _send_code(request: Request) -> Response:
    small = _code.get(request.path_params["path"])
    return _missing() if small is None else _kept(request, small, "text/javascript")


def _send_weights(request: Request) -> Response:
    dataset, model, digest = (request.path_params[name] for name in ("dataset", "model", "digest"))
    root = root_folder()
    if dataset not in catalog.datasets(root):
        return _missing()
    try:
        there = catalog.collection(root, dataset)
        n_gallery = len(loading.gallery_index(there.images, root).labels)
        if model in there.models:
            packed = _packed(opened(Bundle(dataset, model, root), there.images, n_gallery))
        elif model in there.families:
            packed = _packed(opened_family(FamilyBundle(dataset, model, root), there.images, n_gallery))
        else:
            return _missing()
    except (BundleError, Unsupported):
        return _missing()
    return _kept(request, packed, "application/octet-stream") if packed.digest == digest else _missing()


def _missing() -> Response:
    return PlainTextResponse("There is no such file, or no longer. Reload the page.", 404)


def _kept(request: Request, small: Compressed, kind: str) -> Response:
    """Answer with what the browser may keep for ever; compressed once, where Streamlit would do it for each request."""
    headers = FOR_EVER | {"Vary": "Accept-Encoding", "X-Content-Type-Options": "nosniff"}
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        return Response(small.content, media_type=kind, headers=headers | {"Content-Encoding": "gzip"})
    return Response(gzip.decompress(small.content), media_type=kind, headers=headers)


def routes() -> list[Route]:
    """List the routes that the app adds to Streamlit's own, below the same base path."""
    base = config.get_option("server.baseUrlPath") or ""
    return [
        Route(make_url_path(base, f"{FILES}/code/{{path:path}}"), _send_code),
        Route(make_url_path(base, f"{FILES}/weights/{{digest}}/{{dataset}}/{{model}}.bin"), _send_weights),
    ]


@contextlib.asynccontextmanager
async def ready(app: object) -> AsyncIterator[None]:
    """Make a server ready for its first visitor, and open a browser where Streamlit does for a plain script.

    One thread for what a visitor's page computes: it is small, and two threads take 2.7 times the processor time for
    it, most of that to wait for each other (`benchmarks.classroom` on two cores: 0.069 s a move against 0.026 s).
    """
    torch.set_num_threads(1)
    collector.settle()
    forgetting = asyncio.create_task(rooming.forgetting())
    if not config.get_option("server.headless"):
        asyncio.get_running_loop().run_in_executor(None, webbrowser.open, get_url("localhost"))
    yield
    forgetting.cancel()
