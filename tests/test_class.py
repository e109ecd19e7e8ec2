"""A class on one server, by the browser's own protocol: what one visitor does, the others do not feel."""

import asyncio
import functools
import gc
import io
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import requests
import websockets
from PIL import Image
from streamlit.proto.BackMsg_pb2 import BackMsg

from benchmarks.browser import run_server
from benchmarks.classroom import LESSON, Watch
from benchmarks.sessions import Visitor, run
from explorer import projection
from explorer.cards import DataCard
from explorer.checkpoints import Bundle, root_folder
from explorer.datasets import DATASETS
from explorer.ui import collector, loading, serving
from explorer.ui.opening import opened

LEVEL = ("slider", "Level")
OWN = "?dataset=fashion-mnist&way=your+own"


def picture(seed, side=32):
    """A PNG that nobody has seen before, stored without compression."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    stored = io.BytesIO()
    Image.fromarray(pixels).save(stored, "PNG", compress_level=0)
    return stored.getvalue()


async def denoised(address, part=0.3):
    """What a new visitor of the page Denoise gets: the strips after a move."""
    visitor = await Visitor.arrive(address)
    await visitor.open("denoise")
    await visitor.move(*LEVEL, part)
    await visitor.leave()
    return visitor.shown


def test_a_move_sends_its_fragment_and_what_the_browser_has_is_named_by_its_hash(address):
    async def sizes():
        visitor = await Visitor.arrive(address)
        answers = [await visitor.open("denoise"), *[await visitor.move(*LEVEL, part) for part in (0.5, 0.6, 0.5)]]
        await visitor.leave()
        return [answer.size for answer in answers], visitor.query

    (opened, first, _, again), query = run(sizes())
    assert again < 0.3 * first < 0.3 * opened
    assert "level-gaussian=0.5" in query


class CountedForward:
    """A method that counts its calls."""

    def __init__(self, method):
        self.method, self.calls = method, 0

    def __get__(self, instance, owner):
        return functools.partial(self, instance)

    def __call__(self, *args):
        self.calls += 1
        return self.method(*args)


def test_visitors_see_nothing_of_each_others_choices_and_uploads(address):
    async def go():
        one, other = await Visitor.arrive(address), await Visitor.arrive(address)
        for visitor in (one, other):
            await visitor.open("reconstruct", OWN)
        nothing = list(other.shown)
        await one.upload("", "mine.png", picture(1))
        mine = [html for html in one.shown if "lx-strip" in html]
        assert mine
        for _ in range(2):
            await other.open("reconstruct", OWN)
            assert other.shown == nothing
        await other.upload("", "mine.png", picture(2))
        assert [html for html in other.shown if "lx-strip" in html] not in ([], mine)
        stolen = requests.get(f"{address}/_stcore/upload_file/{one.session}/mine.png", timeout=20)
        assert stolen.status_code >= 400 or "lx-strip" not in stolen.text
        for visitor in (one, other):
            await visitor.open("denoise")
        usual = list(other.shown)
        await one.move(*LEVEL, 1.0)
        await other.open("denoise")
        assert other.shown == usual != one.shown
        for visitor in (one, other):
            await visitor.leave()

    run(go())


async def garbage(address):
    """Send what is no message, a message that is empty, and one that is text."""
    for content in (os.urandom(5000), b"", b"\xff" * 10, "rerun!", BackMsg(load_git_info=True).SerializeToString()):
        visitor = await Visitor.arrive(address)
        await visitor.socket.send(content)
        await asyncio.sleep(0.05)
        await visitor.socket.close()


async def gone_in_the_middle(address):
    """Ask for a page and be gone before it is there, without a word of farewell."""
    for _ in range(5):
        visitor = await Visitor.arrive(address)
        opening = asyncio.ensure_future(visitor.open("generate"))
        await asyncio.sleep(0.02)
        visitor.socket.transport.abort()
        with pytest.raises(Exception, match="page 'generate'"):
            await opening


async def a_thousand_at_once(address):
    """Move one control a thousand times without waiting for any answer."""
    visitor = await Visitor.arrive(address)
    await visitor.open("denoise")
    _, element, fragment = visitor._control(*LEVEL)
    for i in range(1000):
        message = BackMsg()
        message.rerun_script.page_name, message.rerun_script.fragment_id = "denoise", fragment
        state = message.rerun_script.widget_states.widgets.add(id=element.id)
        state.double_array_value.data.append(i % 20 / 20)
        await visitor.socket.send(message.SerializeToString())
    answer = await visitor.move(*LEVEL, 0.5)
    assert answer.size > 0
    await visitor.leave()


async def one_who_does_not_read(address):
    """Ask again and again, and read nothing of what comes."""
    stuck = await websockets.connect(
        address.replace("http", "ws", 1) + "/_stcore/stream",
        subprotocols=["streamlit"],
        max_queue=1,
        ping_interval=None,
    )
    stuck.transport.pause_reading()
    for i in range(40):
        message = BackMsg()
        message.rerun_script.page_name, message.rerun_script.query_string = "latent_map", f"pick={i}"
        await stuck.send(message.SerializeToString())
        await asyncio.sleep(0.02)
    await denoised(address)
    stuck.transport.abort()


@pytest.mark.parametrize("nuisance", [garbage, gone_in_the_middle, a_thousand_at_once, one_who_does_not_read])
def test_the_server_goes_on_for_the_others(address, nuisance):
    async def go():
        expected = await denoised(address)
        assert any("lx-strip" in html for html in expected)
        _, *during = await asyncio.gather(nuisance(address), *(denoised(address) for _ in range(3)))
        assert during == [expected] * 3
        assert await denoised(address) == expected

    run(go())
    assert requests.get(f"{address}/_stcore/health", timeout=20).text == "ok"


def test_what_many_ask_for_at_once_is_computed_once(monkeypatch):
    bundle = opened(Bundle("fashion-mnist", "conv-vae", root_folder()), DataCard.of(DATASETS["fashion-mnist"]), 1000)
    calls = []

    def slow_umap(codes, n_components, n_neighbors):
        calls.append(n_neighbors)
        time.sleep(0.3)
        return codes[:, :n_components]

    monkeypatch.setattr(projection, "umap", slow_umap)
    monkeypatch.setattr(type(bundle.load()), "forward", counted := CountedForward(type(bundle.load()).forward))
    x = np.random.default_rng(0).random((3, 1, 28, 28), dtype=np.float32)
    with ThreadPoolExecutor(8) as pool:
        maps = list(pool.map(lambda n: loading.projected(bundle, "UMAP", 2, n), [5, 5, 5, 5, 6, 5]))
        rebuilt = list(pool.map(lambda _: loading.reconstruct(bundle, x.copy()), range(8)))
    assert sorted(calls) == [5, 6]
    assert all(np.array_equal(maps[0], m) for m in maps)
    assert counted.calls == 1
    assert all(np.array_equal(rebuilt[0], r) for r in rebuilt)


def test_a_long_computation_holds_no_other_page_up(address):
    async def go():
        visitor = await Visitor.arrive(address)
        await visitor.open("latent_map")
        await visitor.move("button_group", "Method", 0.5)  # t-SNE
        long = asyncio.ensure_future(visitor.move("slider", "Perplexity", 0.77))
        await asyncio.sleep(0.05)
        first, _ = await asyncio.wait({long, asyncio.ensure_future(denoised(address))}, return_when="FIRST_COMPLETED")
        assert long not in first
        await long
        await visitor.leave()

    run(go())


@pytest.mark.wide
def test_the_memory_of_a_closed_session_comes_back():
    n, side = 8, 1700

    async def upload(address, seed):
        visitor = await Visitor.arrive(address)
        await visitor.open("reconstruct", OWN)
        await visitor.upload("", "mine.png", picture(seed, side))
        return visitor

    async def nobody(address):
        """Let time pass, then come twice: who comes makes the server look who is gone, then what is garbage."""
        for _ in range(2):
            await asyncio.sleep(collector.EVERY_SECONDS + 0.2)
            await denoised(address)

    async def go(address, watch):
        await (await upload(address, 0)).leave()
        await nobody(address)
        before = watch.rss_mb()
        visitors = [await upload(address, seed) for seed in range(1, n + 1)]
        held = watch.rss_mb() - before
        for visitor in visitors:
            await visitor.leave()
        await nobody(address)
        return held, watch.rss_mb() - before

    with run_server(environment={"STREAMLIT_SERVER_DISCONNECTED_SESSION_TTL": "1"}) as (address, process):
        held, left = run(go(address, Watch([process])))
    assert held > 0.5 * n * 3 * side**2 / 1e6
    assert left < 0.3 * held


def test_an_address_names_its_content_and_may_be_kept_for_ever(address):
    async def files():
        visitor = await Visitor.arrive(address)
        answer = await visitor.open("draw")
        await visitor.leave()
        return sorted(answer.files)

    for file in run(files()):
        reply = requests.get(f"{address}/{file}", timeout=20)
        plain = requests.get(f"{address}/{file}", headers={"Accept-Encoding": "identity"}, timeout=20)
        assert reply.headers["Content-Encoding"] == "gzip"
        assert reply.content == plain.content
        assert reply.headers["Cache-Control"] == serving.FOR_EVER["Cache-Control"]
        other = file.replace(file.split("/")[2], "0" * 16)
        assert requests.get(f"{address}/{other}", timeout=20).status_code == 404
    assert requests.get(f"{address}/{serving.FILES}/weights/0/nowhere/nothing.bin", timeout=20).status_code == 404


def test_what_is_imported_once_is_out_of_the_collectors_way():
    collector.settle()
    frozen = gc.get_freeze_count()
    assert frozen > 100_000
    collector.settle()
    assert gc.get_freeze_count() == frozen


def test_the_lesson_of_the_benchmark_moves_controls_that_there_are(address):
    async def go():
        visitor = await Visitor.arrive(address)
        for page, control in LESSON.items():
            await visitor.open(page)
            assert (await visitor.move(*control, 0.7)).size > 0
        await visitor.leave()

    run(go())
