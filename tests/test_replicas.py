import asyncio
import io
import ipaddress
import re
import socket
import urllib.error
import urllib.request

import pytest
import websockets
import yaml
from PIL import Image

from benchmarks import replicas
from benchmarks.browser import ROOT, visit, wait_until_finished
from benchmarks.sessions import Visitor, run
from explorer.ui.frame import PAGES

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
NGINX = replicas.CONFIGURATION.read_text(encoding="utf-8")
COPIED = {source for line in re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE) for source in line.split()}


def test_the_image_has_what_the_app_needs_and_nothing_else_is_sent_to_its_builder():
    assert {"app.py", "pages", "explorer", "checkpoints", ".streamlit", "requirements.txt"} <= COPIED
    assert all((ROOT / source).exists() for source in COPIED)
    everything, *rules = [
        line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    ]
    assert everything == "*" and {rule[1:] for rule in rules if rule.startswith("!")} == COPIED


def test_the_app_runs_in_its_image_as_a_user_who_is_not_root_and_is_asked_for_its_health():
    [user] = re.findall(r"^USER (\w+)$", DOCKERFILE, re.MULTILINE)
    assert re.search(rf"useradd --uid [1-9]\d* --no-create-home {user}\b", DOCKERFILE, re.MULTILINE)
    assert "/_stcore/health" in re.search(r"^HEALTHCHECK .*\n.*$", DOCKERFILE, re.MULTILINE).group()
    assert re.search(r"^torch", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert "https://download.pytorch.org/whl/cpu" in DOCKERFILE


def test_the_course_server_has_replicas_that_cannot_write_and_nginx_that_waits_for_them():
    app, nginx = COMPOSE["services"]["app"], COMPOSE["services"]["nginx"]
    assert app["build"] == "." and app["deploy"]["replicas"] == "${REPLICAS:-2}"
    assert "./checkpoints:/app/checkpoints:ro" in app["volumes"]
    assert "./nginx.conf:/etc/nginx/nginx.conf:ro" in nginx["volumes"]
    writable = [v for service in (app, nginx) for v in service["volumes"] if not v.endswith(":ro")]
    assert writable == ["rooms:/rooms"] and "rooms" in COMPOSE["volumes"]  # votes, which all replicas count
    assert "EXPLORER_DATABASE=sqlite:////rooms/" in DOCKERFILE and "chown explorer /rooms" in DOCKERFILE
    assert app["read_only"] and nginx["read_only"]
    assert nginx["depends_on"] == {"app": {"condition": "service_healthy"}}
    assert nginx["ports"] == ["${PORT:-8080}:8080"] and "listen 8080;" in NGINX
    assert "app:8501" in NGINX and "--server.port=8501" in DOCKERFILE


def test_nginx_obeys_a_cookie_that_names_a_replica_of_the_course_server_and_no_other_machine():
    [pattern] = re.findall(replicas.OWN, NGINX)
    obeyed = re.compile(pattern.strip('"~'))
    [network] = COMPOSE["networks"]["default"]["ipam"]["config"]
    subnet = ipaddress.ip_network(network["subnet"])
    assert all(obeyed.search(f"{host}:8501") for host in subnet.hosts())
    for other in ("10.85.2.1:8501", "10.85.1.3:80", "110.85.1.3:8501", "10.85.1.3:8501.example.org", "127.0.0.1:8501"):
        assert not obeyed.search(other)


@pytest.fixture(scope="module")
def hall():
    if replicas.nginx() is None:
        pytest.skip("nginx is not installed")
    with replicas.replicas(2) as (address, processes):
        addresses = [f"127.0.0.1:{process.args[process.args.index('--server.port') + 1]}" for process in processes]
        yield address, dict(zip(addresses, processes, strict=True))


def get(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as reply:
        assert reply.status == 200
        return reply.headers, reply.read()


def sessions_on(replica):
    """Ask a replica itself how many sessions it has."""
    _, text = get(f"http://{replica}/_stcore/metrics?families=active_sessions")
    return int(re.search(r"^active_sessions (\d+)$", text.decode(), re.MULTILINE)[1])


async def sessions(hall, total):
    """Count the sessions of each replica as soon as there are so many in all."""
    async with asyncio.timeout(20):
        while sum((found := {replica: sessions_on(replica) for replica in hall}).values()) != total:
            await asyncio.sleep(0.02)
    return found


async def connect(address, n, replica=None):
    """Open n websockets, with the cookie of a replica or without any."""
    url = address.replace("http", "ws", 1) + "/_stcore/stream"
    headers = {"Cookie": f"lx_replica={replica}"} if replica else None
    coming = [
        websockets.connect(url, subprotocols=["streamlit"], additional_headers=headers, max_size=2**28)
        for _ in range(n)
    ]
    return await asyncio.gather(*coming)


async def close(sockets):
    await asyncio.gather(*(socket.close() for socket in sockets))


def test_twenty_sessions_are_spread_over_the_replicas_and_each_comes_back_to_its_own(hall):
    address, servers = hall
    first, second = servers

    async def come_and_come_back():
        await sessions(servers, 0)
        visitors = await asyncio.gather(*(Visitor.arrive(address) for _ in range(20)))
        assert await sessions(servers, 20) == {first: 10, second: 10}
        await close(visitor.socket for visitor in visitors)
        await sessions(servers, 0)
        assert sum(visitor.http.cookies["lx_replica"] == first for visitor in visitors) == 10
        again = await connect(address, 10, first)
        assert await sessions(servers, 10) == {first: 10, second: 0}
        await close(again)

    run(come_and_come_back())


def test_an_app_in_a_frame_that_gets_no_cookies_stays_on_one_replica(hall):
    address, servers = hall

    async def come():
        await sessions(servers, 0)
        sockets = await connect(address, 6)
        assert sorted((await sessions(servers, 6)).values()) == [0, 6]
        await close(sockets)

    run(come())


def test_a_cookie_that_names_another_machine_is_replaced_and_that_machine_is_not_asked(hall):
    address, servers = hall
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.setblocking(False)
        headers, _ = get(address, Cookie=f"lx_replica=127.0.0.1:{other.getsockname()[1]}")
        cookies = "; ".join(headers.get_all("Set-Cookie"))
        assert re.search(r"lx_replica=([^;]+)", cookies)[1] in servers
        with pytest.raises(BlockingIOError):
            other.accept()


def test_weights_and_component_code_are_asked_for_once_whichever_replica_a_visitor_is_on(hall):
    address, servers = hall

    async def see():
        visitor = await Visitor.arrive(address)
        files = (await visitor.open("latent_plane")).files
        await visitor.leave()
        return files

    files = run(see())
    assert {file.split("/")[1] for file in files} == {"code", "weights"}
    for file in files:
        answers = [get(f"{address}/{file}", Cookie=f"lx_replica={replica}") for replica in servers]
        assert [headers["X-Cache"] for headers, _ in answers] == ["MISS", "HIT"]
        assert all("immutable" in headers["Cache-Control"] for headers, _ in answers)
        assert answers[0][1] == answers[1][1] == get(f"http://{next(iter(servers))}/{file}")[1]


def test_streamlits_own_code_travels_compressed(hall):
    address, _ = hall
    script = re.search(r"static/js/index[^\"]+", get(address)[1].decode())[0]
    headers, packed = get(f"{address}/{script}", **{"Accept-Encoding": "gzip"})
    assert headers["Content-Encoding"] == "gzip" and len(packed) < len(get(f"{address}/{script}")[1]) / 2


def test_a_page_that_comes_back_to_a_process_which_has_not_run_it_goes_on_where_it_was(hall):
    address, servers = hall

    async def strips(elsewhere):
        visitor = await Visitor.arrive(address)
        await visitor.open("denoise")
        await visitor.move("slider", "Level", 0.5)
        if elsewhere:
            [other] = set(servers) - {visitor.http.cookies["lx_replica"]}
            await visitor.leave()
            [visitor.socket] = await connect(address, 1, other)
        await visitor.move("number_input", "Noise seed", 0.1)
        await visitor.leave()
        return [html for html in visitor.shown if html.startswith('<div class="lx-rows"')], visitor.query

    stayed, moved = run(strips(elsewhere=False)), run(strips(elsewhere=True))
    assert stayed == moved and stayed[0]


def test_an_upload_arrives_and_pictures_and_downloads_come_back(hall, page):
    address, _ = hall
    visit(page, address, "reconstruct", "?way=your+own")
    buffer = io.BytesIO()
    Image.new("L", (40, 40), 90).save(buffer, "PNG")
    file = {"name": "p.png", "mimeType": "image/png", "buffer": buffer.getvalue()}
    page.locator("input[type=file]").set_input_files(file)
    page.locator(".lx-strip img").first.wait_for(timeout=15_000)
    assert page.get_by_test_id("stException").count() == 0
    visit(page, address, "interpolate")
    with page.expect_download() as download:
        page.get_by_role("button", name="PNG of the strips").click()
    with open(download.value.path(), "rb") as file:
        assert Image.open(file).format == "PNG"


def test_when_a_replica_is_killed_its_page_says_that_it_reconnects_and_goes_on_at_another(hall, page):
    address, servers = hall
    visit(page, address, "denoise")
    level = page.get_by_test_id("stSlider").filter(has_text="Level").get_by_role("slider")
    level.press("ArrowRight")
    page.wait_for_function("location.search.includes('level-gaussian=0.45')")
    wait_until_finished(page, PAGES["denoise"].title)
    killed = own(page)
    servers[killed].kill()
    page.get_by_test_id("stConnectionStatus").filter(has_text=re.compile("connecting", re.IGNORECASE)).wait_for()
    page.get_by_test_id("stConnectionStatus").wait_for(state="detached")
    [other] = set(servers) - {killed}
    assert own(page) == other
    assert level.get_attribute("aria-valuetext") == "0.45" and "level-gaussian=0.45" in page.url
    before = page.locator(".lx-strip img").evaluate_all("images => images.map(image => image.src).join()")
    level.press("ArrowRight")
    page.wait_for_function(
        "before => [...document.querySelectorAll('.lx-strip img')].map(image => image.src).join() !== before",
        arg=before,
    )
    run(lesson_of_new_visitors(address, other))


def own(page):
    [value] = [cookie["value"] for cookie in page.context.cookies() if cookie["name"] == "lx_replica"]
    return value


async def lesson_of_new_visitors(address, other):
    visitors = await asyncio.gather(*(Visitor.arrive(address) for _ in range(6)))
    for visitor in visitors:
        assert visitor.http.cookies["lx_replica"] == other
        await visitor.open("denoise")
        await visitor.move("slider", "Level", 0.5)
        await visitor.leave()


def test_where_no_replica_is_left_a_visitor_is_told_to_try_again(hall):
    address, servers = hall
    for process in servers.values():
        process.kill()
        process.wait()
    for cookie in ("", f"lx_replica={next(iter(servers))}"):
        with pytest.raises(urllib.error.HTTPError, match="503") as refused:
            get(address, Cookie=cookie)
        assert b"Try again in a minute" in refused.value.read()
