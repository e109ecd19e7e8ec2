"""One visitor of a running Streamlit app, by the browser's own protocol: protobuf over the websocket."""

import asyncio
import re
import time
import urllib.request
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode

import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState

MOST_SECONDS = 60  # that a visitor waits for an answer
FILE = re.compile(r"files/(?:code|weights)/[^\"\s]+")
WIDGETS = ("slider", "number_input", "selectbox", "button_group")


class Failed(RuntimeError):
    """The app showed an exception, did not answer in time, or hung up."""


@dataclass
class Answer:
    """What one run of a script took and gave: seconds, bytes over the websocket, and addresses of files to fetch."""

    seconds: float = 0.0
    size: int = 0
    files: set[str] = field(default_factory=set)


@dataclass
class Visitor:
    """A browser tab: the websocket, the widgets on the page, and the messages that it has kept."""

    address: str
    socket: Any
    cookie: str = ""
    page: str = ""
    query: str = ""
    widgets: dict[str, tuple[str, Any, str]] = field(default_factory=dict)  # id -> kind, element, fragment
    states: dict[str, WidgetState] = field(default_factory=dict)
    pages: dict[str, str] = field(default_factory=dict)  # address -> hash of the script
    kept: dict[str, tuple[ForwardMsg, int]] = field(default_factory=dict)
    fetched: set[str] = field(default_factory=set)
    runs: int = 0
    longest_kept: int = 2

    @classmethod
    async def arrive(cls, address: str) -> Self:
        """Load the first document, whose cookie may say which of several servers to stay with, and connect."""
        reply = await asyncio.to_thread(urllib.request.urlopen, address, timeout=MOST_SECONDS)
        with reply:
            cookies = SimpleCookie("; ".join(reply.headers.get_all("Set-Cookie") or ()))
        cookie = "; ".join(f"{name}={morsel.value}" for name, morsel in cookies.items())
        socket = await websockets.connect(
            address.replace("http", "ws", 1) + "/_stcore/stream", subprotocols=["streamlit"], max_size=2**28,
            ping_interval=None, additional_headers={"Cookie": cookie} if cookie else None, open_timeout=MOST_SECONDS,
        )  # fmt: skip
        return cls(address, socket, cookie)

    async def open(self, page: str, query: str = "") -> Answer:
        """Open a page: of a new tab by its address, later as a click in the navigation does."""
        self.query, self.page = query, page
        self.widgets.clear()
        return await self._run(script=self.pages.get(page, ""))

    async def move(self, kind: str, label: str, part: float) -> Answer:
        """Give a control of one of the `WIDGETS` another value, as its own fragment where it is in one.

        part: where between its lowest and highest value, or its first and last option, from 0 to 1.
        """
        key, element, fragment = self._control(kind, label)
        state = self.states[key] = WidgetState(id=key)
        if kind in ("selectbox", "button_group"):
            option = element.options[round(part * (len(element.options) - 1))]
            text = option if kind == "selectbox" else option.content
        else:
            value = element.min + element.step * round(part * (element.max - element.min) / element.step)
            text = f"{value:g}"
        if kind == "selectbox":
            state.string_value = text
        elif kind == "button_group":
            state.string_array_value.data.append(text)
        elif kind == "number_input":
            state.double_value = value
        else:
            state.double_array_value.data.append(value)
        if element.query_param_key:
            self.query = urlencode(dict(parse_qsl(self.query)) | {element.query_param_key: text})
        return await self._run(fragment=fragment)

    def _control(self, kind: str, label: str) -> tuple[str, Any, str]:
        for key, (its, element, fragment) in self.widgets.items():
            if its == kind and element.label.startswith(label):
                return key, element, fragment
        raise Failed(f"no {kind} {label!r} on page {self.page!r}")

    async def fetch(self, files: set[str]) -> int:
        """Fetch what this browser has not yet, and give the number of bytes."""
        new = files - self.fetched
        self.fetched |= new
        return sum(await asyncio.gather(*(asyncio.to_thread(self._get, file) for file in new)))

    def _get(self, file: str) -> int:
        headers = {"Accept-Encoding": "gzip"} | ({"Cookie": self.cookie} if self.cookie else {})
        request = urllib.request.Request(f"{self.address}/{file}", headers=headers)
        with urllib.request.urlopen(request, timeout=MOST_SECONDS) as reply:
            return len(reply.read())

    async def leave(self) -> None:
        """Close the tab."""
        await self.socket.close()

    async def _run(self, script: str = "", fragment: str = "") -> Answer:
        message = BackMsg()
        client = message.rerun_script
        client.query_string, client.page_name, client.page_script_hash = self.query, self.page, script
        client.fragment_id = fragment
        client.widget_states.widgets.extend(state for key, state in self.states.items() if key in self.widgets)
        client.cached_message_hashes.extend(self.kept)
        start, answer = time.perf_counter(), Answer()
        try:
            async with asyncio.timeout(MOST_SECONDS):
                await self.socket.send(message.SerializeToString())
                while not self._read(await self.socket.recv(), answer):
                    pass
        except (TimeoutError, OSError, websockets.WebSocketException) as error:
            raise Failed(f"{type(error).__name__} on page {self.page!r}: {error}") from error
        answer.seconds = time.perf_counter() - start
        return answer

    def _read(self, data: bytes, answer: Answer) -> bool:
        """Take in one message, and say whether it is the last of a run."""
        answer.size += len(data)
        message = ForwardMsg.FromString(data)
        if message.WhichOneof("type") == "ref_hash":
            message, _ = self.kept[message.ref_hash]
        if message.metadata.cacheable:
            self.kept[message.hash] = (message, self.runs)
        kind = message.WhichOneof("type")
        if kind == "navigation":
            self.pages = {page.url_pathname: page.page_script_hash for page in message.navigation.app_pages}
        elif kind == "new_session":
            self.longest_kept = message.new_session.config.max_cached_message_age or self.longest_kept
        elif kind == "page_info_changed":
            self.query = message.page_info_changed.query_string
        elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
            self._see(message.delta.new_element, message.delta.fragment_id, answer)
        elif kind == "script_finished":
            return self._finish(message.script_finished)
        return False

    def _see(self, element: Any, fragment: str, answer: Answer) -> None:
        kind = element.WhichOneof("type")
        if kind == "exception":
            raise Failed(f"{element.exception.type} on page {self.page!r}: {element.exception.message}")
        if kind in WIDGETS:
            widget = getattr(element, kind)
            self.widgets[widget.id] = (kind, widget, fragment)
        elif kind == "bidi_component":
            component = element.bidi_component
            answer.files |= set(FILE.findall(component.js_content + component.mixed.json + component.json))

    def _finish(self, status: int) -> bool:
        if status == ForwardMsg.FINISHED_EARLY_FOR_RERUN:
            return False
        self.runs += 1
        self.kept = {key: (m, run) for key, (m, run) in self.kept.items() if self.runs - run <= self.longest_kept}
        return True
