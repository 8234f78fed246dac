"""One Realtime session: client events in, server events out.

Responsible for: the protocol of a connection, its configuration, its input buffer and its conversation. A
malformed or forbidden event gets an ``error`` event and changes nothing. Not for: sockets (``server``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Any

import msgspec

from appliance.local import config
from appliance.local.client_events import checked, event_id_of, parsed
from appliance.local.items import Conversation, Item, check_item, new_id
from appliance.local.listening import Listening
from appliance.local.responder import Responder, Surroundings
from appliance.local.responses import Order
from appliance.local.schema import (
    Json,
    Refused,
    anything,
    record,
    text,
)
from appliance.local.speech import Listener, Talker

_ITEM_ID = text(512)


class Session:
    """The protocol of one connection. Give it messages with :meth:`run`; it sends with ``send``."""

    def __init__(
        self,
        settings: Json,
        *,
        listener: Listener,
        talker: Talker,
        send: Callable[[bytes], None],
        flush: Callable[[], Awaitable[None]],
        now: Callable[[], datetime],
        think_delay_s: float = 0.0,
    ) -> None:
        """Make a session.

        Args:
            settings: the effective configuration it starts with.
            listener: recognises speech.
            talker: speaks.
            send: queues one text message to the client.
            flush: waits until the client takes more.
            now: the local time, for the dialogue.
            think_delay_s: a wait before every answer, for tests of slow servers.
        """
        self._settings = settings
        self._send = send
        self._flush = flush
        self._conversation = Conversation()
        self._responder = Responder(
            self._conversation,
            Surroundings(talker, now, self._emit, flush, self._spawn, think_delay_s),
        )
        self._listening = Listening(
            settings["audio"]["input"],
            self._conversation,
            listener=listener,
            emit=self._emit,
            spawn=self._spawn,
            interrupt=self._interrupt,
            respond=self._respond_by_itself,
        )
        self._responder.on_spoken = self._listening.watch_idleness
        self._handlers: dict[str, Callable[[Json], None]] = {
            "session.update": self._update,
            "input_audio_buffer.append": lambda event: self._listening.append(event["audio"]),
            "input_audio_buffer.commit": lambda _event: self._listening.commit_by_client(),
            "input_audio_buffer.clear": lambda _event: self._listening.clear(),
            "conversation.item.create": self._create_item,
            "conversation.item.retrieve": self._retrieve,
            "conversation.item.delete": self._delete,
            "conversation.item.truncate": self._truncate,
            "response.create": lambda event: self._respond(event.get("response") or {}),
            "response.cancel": lambda event: self._responder.cancel(event.get("response_id"), "client_cancelled"),
        }
        self._tasks: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None

    # --- the connection ----------------------------------------------------------------------------------

    async def run(self, messages: AsyncIterable[str | bytes]) -> None:
        """Serve the client until its messages end."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._emit("session.created", session=self._settings)
            try:
                async for message in messages:
                    self._receive(message)
                    await self._flush()
            finally:
                self._listening.stop_idleness()
                for task in list(self._tasks):
                    task.cancel()

    def expire(self) -> None:
        """Tell the client that its hour is over; the server then closes the connection."""
        self._emit_error(Refused("Your session hit the maximum duration of 60 minutes.", code="session_expired"), None)

    def refuse_beta(self) -> None:
        """Tell a client of the beta protocol that it is gone; the server then closes the connection."""
        problem = "The Realtime Beta API is no longer supported. Please use the GA API."
        self._emit_error(Refused(problem, code="beta_api_shape_disabled"), None)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        assert self._group is not None
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _emit(self, kind: str, **fields: Any) -> None:
        self._send(msgspec.json.encode({"type": kind, "event_id": new_id("event"), **fields}))

    def _emit_error(self, problem: Refused, event_id: str | None) -> None:
        error = {
            "type": "invalid_request_error",
            "code": problem.code,
            "message": problem.message,
            "param": problem.param,
            "event_id": event_id,
        }
        self._emit("error", error=error)

    def _receive(self, message: str | bytes) -> None:
        event_id: str | None = None
        try:
            event = parsed(message)
            event_id = event_id_of(event)
            kind, fields = checked(event)
            self._handlers[kind](fields)
        except Refused as problem:
            self._emit_error(problem, event_id)

    def _retrieve(self, event: Json) -> None:
        item = self._conversation.get(event["item_id"], "retrieve")
        self._emit("conversation.item.retrieved", item=item.with_audio(self._input_format))

    def _delete(self, event: Json) -> None:
        self._conversation.delete(event["item_id"])
        self._emit("conversation.item.deleted", item_id=event["item_id"])

    def _truncate(self, event: Json) -> None:
        where = {name: event[name] for name in ("item_id", "content_index", "audio_end_ms")}
        self._conversation.truncate(**where)
        self._emit("conversation.item.truncated", **where)

    # --- configuration -----------------------------------------------------------------------------------

    @property
    def _input_format(self) -> Json:
        form: Json = self._settings["audio"]["input"]["format"]
        return form

    def _update(self, event: Json) -> None:
        before = self._settings
        wanted = config.check(event["session"], model=before["model"])
        self._settings = config.merged(before, wanted, voice_is_fixed=self._responder.has_spoken)
        self._listening.configure(self._settings["audio"]["input"])
        self._emit("session.updated", session=self._settings)
        self._report_mcp(before["tools"])

    def _report_mcp(self, before: list[Json]) -> None:
        """This backend reaches no network, hence no MCP server either."""
        for tool in self._settings["tools"]:
            if tool["type"] == "mcp" and tool not in before:
                item_id = new_id("mcpl")
                self._emit("mcp_list_tools.in_progress", item_id=item_id)
                self._emit("mcp_list_tools.failed", item_id=item_id)

    # --- items and responses -----------------------------------------------------------------------------

    def _create_item(self, event: Json) -> None:
        item = check_item(event["item"], "item", input_format=self._input_format)
        previous = self._conversation.insert(item, event.get("previous_item_id"))
        self._listening.announce(item, previous)

    def _respond(self, request: Json) -> None:
        in_band = request.get("conversation", "auto") == "auto"
        items: list[Item] | None = None
        if request.get("input") is not None:
            items = [self._input_item(value, index) for index, value in enumerate(request["input"])]
        self._listening.stop_idleness()
        self._responder.start(Order.of(self._settings, request), items=items, in_band=in_band)

    def _input_item(self, value: Any, index: int) -> Item:
        """An item of a response's own input: given, or a reference to one of the conversation."""
        path = f"response.input[{index}]"
        if isinstance(value, dict) and value.get("type") == "item_reference":
            reference = record({"type": anything, "id": _ITEM_ID}, required=["id"])(value, path)
            return self._conversation.get(reference["id"], "retrieve", param=f"{path}.id")
        item = check_item(value, path, input_format=self._input_format)
        self._listening.recognise(item, None)
        return item

    def _interrupt(self) -> None:
        if self._responder.active is not None:
            self._responder.cancel(None, "turn_detected")

    def _respond_by_itself(self) -> None:
        """After a turn of the detector: a refusal is nobody's request, so it names no event."""
        try:
            self._respond({})
        except Refused as problem:
            self._emit_error(problem, None)
