"""Who may answer when: one response at a time into the conversation, others beside it.

Responsible for: starting, running and cancelling responses, the idle time-out after one, and rate limits.
Not for: the events inside a response (``responses``) or its words (``dialogue``).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from appliance.local.dialogue import reply
from appliance.local.items import Conversation, Item, turns
from appliance.local.responses import Emit, Order, Response
from appliance.local.schema import Refused
from appliance.local.speech import Talker, sentences
from appliance.local.usage import Piece, prompt
from appliance.local.utterances import Call, Say

# Nothing is limited here; the numbers have the service's shape so that clients can be tested with them.
_TOKENS_PER_MINUTE = 250_000


@dataclass(frozen=True)
class Surroundings:
    """What a session is given from outside."""

    talker: Talker
    now: Callable[[], datetime]
    emit: Emit
    flush: Callable[[], Awaitable[None]]
    spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
    think_delay_s: float = 0.0


class Responder:
    """The responses of one session."""

    def __init__(self, conversation: Conversation, around: Surroundings) -> None:
        self._conversation = conversation
        self._around = around
        self._running: dict[str, tuple[Response, asyncio.Task[None]]] = {}
        self._before: list[Piece] = []
        self._tokens = 0
        self.has_spoken = False
        self.on_spoken: Callable[[float], None] = lambda _spoken_ms: None

    @property
    def active(self) -> Response | None:
        """The response that is writing to the conversation."""
        return next((r for r, _ in self._running.values() if r.conversation is not None), None)

    def start(self, order: Order, *, items: list[Item] | None = None, in_band: bool = True) -> None:
        """Begin a response.

        Args:
            order: what it shall be.
            items: its input; None for the conversation.
            in_band: whether it writes to the conversation.

        Raises:
            Refused: ``conversation_already_has_active_response``.
        """
        active = self.active
        if in_band and active is not None:
            raise Refused(
                f"Conversation already has an active response in progress: {active.id}. "
                "Wait until the response is finished before creating a new one.",
                code="conversation_already_has_active_response",
            )
        source = list(self._conversation.items) if items is None else items
        pieces = prompt(order.instructions, order.tools, source)
        response = Response(order, self._conversation if in_band else None, pieces, self._around.emit)
        response.announce()
        self._emit_rate_limits()
        task = self._around.spawn(self._run(response, source))
        self._running[response.id] = (response, task)

    def cancel(self, response_id: str | None, reason: str) -> None:
        """End a response now, the conversation's own unless its id is given.

        Raises:
            Refused: ``response_cancel_not_active``.
        """
        active = self.active
        chosen = response_id or (active.id if active is not None else "")
        if chosen not in self._running:
            raise Refused("Cancellation failed: no active response found", code="response_cancel_not_active")
        response, task = self._running[chosen]
        task.cancel()
        self._finish(response, "cancelled", reason)

    async def _run(self, response: Response, items: list[Item]) -> None:
        if self._around.think_delay_s:
            await asyncio.sleep(self._around.think_delay_s)
        order = response.order
        functions = {tool["name"]: tool.get("parameters") or {} for tool in order.tools if tool["type"] == "function"}
        choice = order.tool_choice if isinstance(order.tool_choice, str) else order.tool_choice.get("name") or "auto"
        answer = reply(
            await turns(items),
            now=self._around.now(),
            tools=functions,
            tool_choice=choice,
            instructions=order.own_instructions,
        )
        whole = await self._write(response, answer)
        if whole:
            self._finish(response, "completed")
        else:
            self._finish(response, "incomplete", "max_output_tokens")

    async def _write(self, response: Response, answer: Say | Call) -> bool:
        """Send the answer; False if the token limit cut it short."""
        if isinstance(answer, Call):
            response.call(answer.name, _encoded(answer.arguments))
            return True
        response.open_message()
        for index, sentence in enumerate(sentences(answer.text)):
            if not await self._write_sentence(response, sentence if index == 0 else f" {sentence}"):
                return False
        response.close_message()
        return True

    async def _write_sentence(self, response: Response, sentence: str) -> bool:
        if not response.speaks:
            await self._around.flush()
            return all(response.say(word) for word in _words(sentence))
        sound = await self._around.talker.speak(sentence.strip(), speed=response.order.output["speed"])
        if not all(response.say(word) for word in _words(sentence)):
            return False
        for piece in response.deltas(sound):
            if not response.play(piece):
                return False
            self.has_spoken = True
            await self._around.flush()
            # Also when the socket takes everything at once, a cancel must get its turn between two deltas.
            await asyncio.sleep(0)
        return True

    def _finish(self, response: Response, status: str, reason: str | None = None) -> None:
        del self._running[response.id]
        usage = response.finish(status, reason=reason, before=self._before)
        self._tokens += int(usage["total_tokens"])
        if response.conversation is not None:
            self._before = response.pieces
            if status == "completed":
                self.on_spoken(response.spoken_ms)

    def _emit_rate_limits(self) -> None:
        remaining = max(0, _TOKENS_PER_MINUTE - self._tokens)
        limit = {"name": "tokens", "limit": _TOKENS_PER_MINUTE, "remaining": remaining, "reset_seconds": 60.0}
        self._around.emit("rate_limits.updated", rate_limits=[limit])


def _words(sentence: str) -> list[str]:
    """The sentence in pieces of one word, which joined are the sentence."""
    first, *others = sentence.lstrip().split(" ")
    lead = " " if sentence.startswith(" ") else ""
    return [lead + first, *(f" {word}" for word in others)]


def _encoded(arguments: Mapping[str, Any]) -> str:
    return json.dumps(dict(arguments))
