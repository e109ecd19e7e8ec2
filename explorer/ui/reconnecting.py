"""A page that comes back to a process which has never run it: one of several, or the only one after a restart.

Streamlit passes over a move of a control in a fragment that the process has not drawn, so that nothing would answer
any more. Until a connection has had a whole run, what a browser asks for is the whole page, with its controls as
they are.
"""

from google.protobuf.message import DecodeError
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

SHORT = 500  # bytes; the message that a run has ended has a tenth of them


class WholePageFirst:
    """ASGI middleware around Streamlit's websocket."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or connection."""
        if scope["type"] != "websocket":
            return await self.app(scope, receive, send)
        drawn = False

        async def receive_whole() -> Message:
            message = await receive()
            return message if drawn else whole(message)

        async def send_and_see(message: Message) -> None:
            nonlocal drawn
            drawn = drawn or ends_whole_run(message)
            await send(message)

        await self.app(scope, receive_whole, send_and_see)


def whole(message: Message) -> Message:
    """Turn a browser's request for a fragment into one for the page; anything else stays as it is."""
    asked = BackMsg()
    try:
        asked.ParseFromString(message.get("bytes") or b"")
    except DecodeError:  # Streamlit says what it thinks of it
        return message
    if not asked.rerun_script.fragment_id:
        return message
    asked.rerun_script.fragment_id = ""
    return message | {"bytes": asked.SerializeToString()}


def ends_whole_run(message: Message) -> bool:
    """Say whether this message to the browser ends a run of a whole page."""
    content = message.get("bytes") or b""
    if len(content) > SHORT:
        return False
    sent = ForwardMsg.FromString(content)
    return sent.WhichOneof("type") == "script_finished" and sent.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY
