"""One visitor of a running Streamlit app, by the browser's own protocol: protobuf over the websocket."""

import asyncio
import re
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar
from urllib.parse import parse_qsl, urlencode

import requests
import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState

MOST_SECONDS = 60  # that a visitor waits for an answer
FILE = re.compile(r"files/(?:code|weights)/[^\"\s]+")
WIDGETS = ("slider", "number_input", "selectbox", "button_group", "file_uploader", "button")
Result = TypeVar("Result")
SHOWN = {"html": "body", "markdown": "body", "alert": "body"}  # elements with words or pictures, and where these are


class Failed(RuntimeError):
    """The app showed an exception, did not answer in time, or hung up."""


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run it to its end in a thread of its own: a thread in which Playwright was started has a loop already."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


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
    http: requests.Session
    socket: Any
    page: str = ""
    query: str = ""
    session: str = ""
    widgets: dict[str, tuple[str, Any, str]] = field(default_factory=dict)  # id -> kind, element, fragment
    states: dict[str, WidgetState] = field(default_factory=dict)
    pages: dict[str, str] = field(default_factory=dict)  # address -> hash of the script
    shown: list[str] = field(default_factory=list)  # what the last run drew, as HTML or Markdown
    following: dict[str, float] = field(default_factory=dict)  # fragments that ask to be run again, with their seconds
    kept: dict[str, tuple[ForwardMsg, int]] = field(default_factory=dict)
    fetched: set[str] = field(default_factory=set)
    is_new: bool = False
    runs: int = 0
    longest_kept: int = 2

    @classmethod
    async def arrive(cls, address: str) -> Self:
        """Load the first document, ask for the server's health as the browser does, and connect with their cookies."""
        http = requests.Session()
        for path in ("", "/_stcore/health"):
            (await asyncio.to_thread(http.get, address + path, timeout=MOST_SECONDS)).raise_for_status()
        cookies = "; ".join(f"{name}={value}" for name, value in http.cookies.items())
        socket = await websockets.connect(
            address.replace("http", "ws", 1) + "/_stcore/stream", subprotocols=["streamlit"], max_size=2**28,
            ping_interval=None, additional_headers={"Cookie": cookies}, open_timeout=MOST_SECONDS,
        )  # fmt: skip
        return cls(address, http, socket)

    async def open(self, page: str, query: str = "") -> Answer:
        """Open a page: of a new tab by its address, later as a click in the navigation does."""
        self.query, self.page = query, page
        self.widgets.clear()
        self.following.clear()
        return await self._run(script=self.pages.get(page, ""))

    async def press(self, label: str) -> Answer:
        """Press a button."""
        key, _, fragment = self._control("button", label)
        self.states[key] = WidgetState(id=key, trigger_value=True)
        answer = await self._run(fragment=fragment)
        del self.states[key]
        return answer

    async def follow(self) -> Answer:
        """Run the fragment again that asked for it, as the browser does when its time has come."""
        return await self._run(fragment=next(iter(self.following)))

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
        reply = self.http.get(f"{self.address}/{file}", timeout=MOST_SECONDS)
        reply.raise_for_status()
        return len(reply.content)

    async def upload(self, label: str, name: str, content: bytes) -> Answer:
        """Give a file to a file uploader."""
        message = BackMsg()
        message.file_urls_request.request_id = name
        message.file_urls_request.file_names.append(name)
        message.file_urls_request.session_id = self.session
        await self.socket.send(message.SerializeToString())
        reply = ForwardMsg()
        while reply.WhichOneof("type") != "file_urls_response":
            reply = ForwardMsg.FromString(await self.socket.recv())
        urls = reply.file_urls_response.file_urls[0]
        token = self.http.cookies["_streamlit_xsrf"]
        sent = await asyncio.to_thread(
            self.http.put, self.address + urls.upload_url, files={"file": (name, content)},
            headers={"X-Xsrftoken": token}, timeout=MOST_SECONDS,
        )  # fmt: skip
        sent.raise_for_status()
        key, _, fragment = self._control("file_uploader", label)
        state = self.states[key] = WidgetState(id=key)
        state.file_uploader_state_value.uploaded_file_info.add(
            name=name, size=len(content), file_id=urls.file_id, file_urls=urls
        )
        return await self._run(fragment=fragment)

    async def leave(self) -> None:
        """Close the tab."""
        await self.socket.close()

    async def _run(self, script: str = "", fragment: str = "") -> Answer:
        message = BackMsg()
        client = message.rerun_script
        client.query_string, client.page_name = self.query, self.page
        client.page_script_hash = script or self.pages.get(self.page, "")
        client.fragment_id = fragment
        client.widget_states.widgets.extend(state for key, state in self.states.items() if key in self.widgets)
        client.cached_message_hashes.extend(self.kept)
        self.shown.clear()
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
            self.session = message.new_session.initialize.session_id
            self.is_new = True
            self.longest_kept = message.new_session.config.max_cached_message_age or self.longest_kept
        elif kind == "auto_rerun":
            self.following[message.auto_rerun.fragment_id] = message.auto_rerun.interval
        elif kind == "page_info_changed":
            self.query = message.page_info_changed.query_string
        elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
            if self.is_new and not message.delta.fragment_id:  # the whole page is drawn anew, and its fragments say so
                self.following.clear()
            self.is_new = False
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
        elif kind in SHOWN:
            self.shown.append(getattr(getattr(element, kind), SHOWN[kind]))
        elif kind == "bidi_component":
            component = element.bidi_component
            answer.files |= set(FILE.findall(component.js_content + component.mixed.json + component.json))

    def _finish(self, status: int) -> bool:
        if status == ForwardMsg.FINISHED_EARLY_FOR_RERUN:
            return False
        self.runs += 1
        self.kept = {key: (m, run) for key, (m, run) in self.kept.items() if self.runs - run <= self.longest_kept}
        return True
