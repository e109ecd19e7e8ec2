"""The rooms of this server, who is looking at them, and how phones get in.

A browser is known by the random number that Streamlit gives it for its session (the cookie against forged requests,
which ends with the browser), so that a phone that reloads, or opens the address a second time, still has one vote, and
a lecturer who reloads still leads. No cookie of our own, no name. A browser without cookies is known until it reloads.
"""

import asyncio
import base64
import binascii
import contextlib
import functools
import secrets
import time
from collections.abc import Iterator
from html import escape
from urllib.parse import urlencode, urlsplit, urlunsplit

import segno
import streamlit as st
from sqlalchemy.exc import SQLAlchemyError
from streamlit.net_util import get_internal_ip

from explorer.language import later, say
from explorer.lessons import rooms
from explorer.lessons.rooms import Guesses, Room, Rooms
from explorer.ui.text import as_text

COOKIE = "_streamlit_xsrf"
SWEEP_SECONDS = 3600
LOCAL = ("localhost", "127.0.0.1", "::1", "0.0.0.0")
UNREACHABLE = later(
    "The rooms cannot be reached: {reason}. EXPLORER_DATABASE names their database; without it they are in a file of "
    "the user who runs the server. A lesson by oneself needs none."
)
guesses = Guesses()


def all_rooms() -> Rooms:
    """Give the rooms of this server."""
    return _rooms(rooms.address())


@functools.lru_cache(maxsize=4)
def _rooms(where: str) -> Rooms:
    return Rooms(where)


@contextlib.contextmanager
def reaching() -> Iterator[None]:
    """Say where the database does not answer, and stop the page."""
    try:
        yield
    except (OSError, SQLAlchemyError) as error:
        words = str(getattr(error, "orig", None) or error).splitlines()[0]
        st.error(say(UNREACHABLE, reason=as_text(words)))
        st.stop()


async def forgetting() -> None:
    """Forget what is to be forgotten, every hour, once there is a database."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        if _rooms.cache_info().currsize:
            with contextlib.suppress(SQLAlchemyError):  # who uses a room is told
                await asyncio.to_thread(all_rooms().sweep)


def browser(of: str = "") -> str:
    """Give the number by which this browser is known, in a room another than in the next."""
    secret = browser_secret(st.context.cookies.get(COOKIE, "")) or st.session_state.setdefault(
        "browser", secrets.token_hex(16)
    )
    return rooms.number_of(f"{of} {secret}")


def browser_secret(cookie: str) -> str:
    """Take the random number out of Streamlit's cookie, `2|mask|masked|time`, whose mask changes."""
    parts = cookie.strip("\"'").split("|")
    if len(parts) != 4:
        return ""
    try:
        mask, masked = (binascii.a2b_hex(part) for part in parts[1:3])
    except (binascii.Error, ValueError):
        return ""
    if len(mask) != 4 or len(masked) < 16:
        return ""
    return bytes(byte ^ mask[i % 4] for i, byte in enumerate(masked)).hex()


def from_where() -> str:
    """Give the network address that guesses are counted by; all browsers behind one proxy have one."""
    return st.context.ip_address or "here"


def find(code: str) -> Room | None:
    """Look a code up that somebody typed or scanned, after a while where many were wrong lately."""
    who, now = from_where(), time.monotonic()
    time.sleep(guesses.wait(who, now))
    found = all_rooms().find(code)
    if found is None:
        guesses.was_wrong(who, now)
    return found


def take_over(code: str, key: str) -> bool:
    """Lead a room by its key, which is guessed as slowly as a code."""
    who, now = from_where(), time.monotonic()
    time.sleep(guesses.wait(who, now))
    right = all_rooms().take_over(code, key, browser())
    if not right:
        guesses.was_wrong(who, now)
    return right


def phones_address(code: str) -> str:
    """Give the address of a room that phones can reach: this page's, with this machine's number for its own name."""
    parts = urlsplit(st.context.url or "http://localhost:8501/lesson")
    host = parts.hostname or "localhost"
    if host in LOCAL:
        host = get_internal_ip() or host
    host = f"[{host}]" if ":" in host else host
    place = host if parts.port is None else f"{host}:{parts.port}"
    return urlunsplit((parts.scheme, place, parts.path, urlencode({"room": code}), ""))


def qr_picture(address: str) -> str:
    """Draw an address as a QR code, an HTML picture of our own: dark on white in every theme."""
    rows = [[bool(module) for module in row] for row in segno.make(address, error="m", micro=False).matrix]
    n, path = (
        len(rows),
        "".join(f"M{x} {y}h1v1h-1z" for y, row in enumerate(rows) for x, dark in enumerate(row) if dark),
    )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-4 -4 {n + 8} {n + 8}" shape-rendering="crispEdges">'
        f'<rect x="-4" y="-4" width="{n + 8}" height="{n + 8}" fill="#fff"/><path d="{path}"/></svg>'
    )
    uri = "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
    return f'<img class="lx-qr" src="{uri}" alt="{escape(say("QR code of {address}", address=address))}">'
