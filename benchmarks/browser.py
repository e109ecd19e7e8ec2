"""Start the app and drive it in headless Chromium; for the latency benchmark and the browser tests."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from explorer.language import SOURCE, say, speaking
from explorer.ui.frame import PAGES

ROOT = Path(__file__).parent.parent
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
READY_SECONDS = 120

# A component lives in a shadow tree, which document.querySelectorAll does not enter.
HOSTS = """[...document.querySelectorAll('[data-testid^="stBidiComponent"]')]"""
COMPONENTS = f"""selector => {HOSTS}.flatMap(host =>
  [host, ...host.querySelectorAll('*')].flatMap(node => [...(node.shadowRoot?.querySelectorAll(selector) ?? [])]))"""

FINISHED = f"""title => {{
  const components = {COMPONENTS};
  const app = document.querySelector('[data-testid="stApp"]');
  return app?.dataset.testScriptState === 'notRunning'
    && document.querySelector('h1')?.textContent.trim() === title
    && document.querySelectorAll('[data-testid="stExpander"]').length > 0
    && document.querySelectorAll('[data-testid="stSkeleton"], [data-stale="true"]').length === 0
    && [...document.querySelectorAll('[data-testid="stPlotlyChart"]')].every(c => c.querySelector('.main-svg'))
    && [...document.querySelectorAll('[data-testid="stMain"] img')].every(i => i.complete && i.naturalWidth)
    && components('.stage, .live, .draw, .picker, .hover, .crop, .samples, .edit').length >= {HOSTS}.length
    && components('.live').every(plane => plane.dataset.painted === 'yes')
    && components('.draw').every(pad => pad.dataset.state !== 'loading');
}}"""


def chromium_path() -> str | None:
    """Find an installed Chromium or Chrome: the variable CHROMIUM, else the usual names; None if there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@contextlib.contextmanager
def serve(script: Path = ROOT / "app.py", environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a Streamlit script on a free port of this machine and yield its address; see `run_server`."""
    with run_server(script, environment) as (address, _):
        yield address


@contextlib.contextmanager
def run_stock_server() -> Iterator[tuple[str, subprocess.Popen]]:
    """Run the minimal app as Streamlit runs it by itself, without our settings; see `run_server`."""
    with tempfile.TemporaryDirectory() as empty:
        environment = {"EXPLORER_CHECKPOINTS": str(ROOT / "checkpoints")}
        with run_server(ROOT / "benchmarks" / "stock_app.py", environment, Path(empty)) as running:
            yield running


@contextlib.contextmanager
def serve_stock() -> Iterator[str]:
    """Run the minimal app and yield its address."""
    with run_stock_server() as (address, _):
        yield address


@contextlib.contextmanager
def run_server(
    script: Path = ROOT / "app.py", environment: Mapping[str, str] | None = None, folder: Path = ROOT
) -> Iterator[tuple[str, subprocess.Popen]]:
    """Run a Streamlit script on a free port of this machine and yield its address and process.

    folder: where it runs, whose `.streamlit/config.toml` holds.

    Raises:
        RuntimeError: the server stopped, or did not answer in time.
    """
    port = free_port()
    command = [
        sys.executable, "-m", "streamlit", "run", str(script), "--server.headless", "true",
        "--server.port", str(port), "--server.address", "127.0.0.1",
    ]  # fmt: skip
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    address = f"http://127.0.0.1:{port}"
    with running(command, address, folder, {**os.environ, "PYTHONPATH": paths, **(environment or {})}) as process:
        yield address, process


def free_port() -> int:
    """Find a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(
    command: Sequence[str], address: str, folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen]:
    """Start a server, yield its process once the app answers at the address, and end it.

    Raises:
        RuntimeError: the server stopped, or did not answer in time.
    """
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not _answers(address):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"no answer from: {' '.join(command)} (exit code {process.poll()})")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:  # a server that still computes may not listen
            process.kill()
            process.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5) as reply:
            return reply.status == 200
    except OSError:
        return False


@contextlib.contextmanager
def chromium() -> Iterator[object]:
    """Start headless Chromium and yield Playwright's browser.

    Raises:
        RuntimeError: there is no Chromium; the message says what to install.
    """
    from playwright.sync_api import sync_playwright

    path = chromium_path()
    if path is None:
        raise RuntimeError("no Chromium found: install your system's chromium package, or set CHROMIUM to its path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


def visit(page: object, address: str, key: str, query: str = "", language: str = SOURCE) -> None:
    """Open a page of the app by its key and wait until it is finished; language: what it will speak."""
    page.goto(f"{address}/{'' if key == 'overview' else key}{query}")
    with speaking(language):
        wait_until_finished(page, say(PAGES[key].title))


def wait_until_finished(page: object, title: str, seconds: float = 60) -> None:
    """Wait until a page of the app has its title, all pictures and charts, and its script has ended."""
    page.wait_for_function(FINISHED, arg=title, timeout=1000 * seconds, polling=50)
