"""Several processes of the app behind nginx, on the loopback, by the configuration that compose.yaml runs."""

import contextlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.browser import ROOT, free_port, run_server, running

CONFIGURATION = ROOT / "nginx.conf"
SERVER, OWN, LISTEN = r"server app:8501( .*)", r'"~\^10.*?\$"', r"listen 8080;"  # its lines that name addresses


def configuration(addresses: Sequence[str], listen: str) -> str:
    """Write nginx's configuration for replicas at these addresses, `HOST:PORT`, instead of those of compose.yaml."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    own = "|".join(map(re.escape, addresses))
    text = re.sub(SERVER, lambda line: "\n".join(f"server {address}{line[1]}" for address in addresses), text)
    text = re.sub(OWN, lambda _: f'"~^({own})$"', text)
    return re.sub(LISTEN, f"listen {listen};", text)


def nginx() -> str | None:
    """Find nginx, which Debian puts where only root looks; None if it is not installed."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


@contextlib.contextmanager
def replicas(n: int) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """Run the app n times behind nginx; yield nginx's address and the processes of the app.

    Raises:
        RuntimeError: nginx is not installed or refuses its configuration; a server stopped or did not answer in time.
    """
    program = nginx()
    if program is None:
        raise RuntimeError("nginx is not installed: apt install nginx-light")
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(run_server()) for _ in range(n)]
        listen = f"127.0.0.1:{free_port()}"
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)  # where root starts nginx, its workers are nobody
        file = folder / "nginx.conf"
        file.write_text(configuration([a.removeprefix("http://") for a, _ in servers], listen), encoding="utf-8")
        command = [program, "-p", str(folder), "-c", str(file), "-g", "daemon off;"]
        check = subprocess.run([*command, "-t"], capture_output=True, encoding="utf-8", check=False)
        if check.returncode:
            raise RuntimeError(f"nginx refuses its configuration: {check.stderr.strip()}")
        stack.enter_context(running(command, f"http://{listen}", folder))
        yield f"http://{listen}", [process for _, process in servers]
