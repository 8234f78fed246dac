"""Tools: declared to the model, run when it calls, answered in words whatever happens.

Responsible for: the declaration, decoding arguments, running, turning failures into words. Not for: what the
tools do (``builtin``). One thread (the event loop).
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import msgspec

from appliance.conversation.events import ToolCall, ToolFinished
from appliance.errors import ToolError

log = logging.getLogger(__name__)
Arguments = dict[str, Any]
STOPPED = '{"error":"stopped by the person"}'


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as the model sees it (``parameters`` is a JSON schema) and what it does."""

    name: str
    description: str
    parameters: dict[str, Any]
    run: Callable[[Arguments], Awaitable[Arguments]]

    def declaration(self) -> dict[str, Any]:
        """Build the entry of ``session.tools``."""
        return {
            "type": "function",
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
        }


class Toolbox:
    """The tools of this device."""

    def __init__(
        self,
        tools: list[Tool],
        spawn: Callable[[Coroutine[Any, Any, str]], asyncio.Task[str]],
        finished: Callable[[ToolFinished], None],
    ) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._spawn = spawn
        self._finished = finished
        self._running: set[asyncio.Task[str]] = set()

    def declarations(self) -> tuple[dict[str, Any], ...]:
        """Build ``session.tools``, in a stable order: the prompt cache depends on it."""
        return tuple(self._tools[name].declaration() for name in sorted(self._tools))

    def run(self, call: ToolCall) -> None:
        """Run a call; it ends in exactly one :class:`ToolFinished`, also when it is stopped before it began."""
        task = self._spawn(self._answer(call))
        self._running.add(task)
        task.add_done_callback(functools.partial(self._ended, call.call_id))

    def stop(self) -> None:
        """Stop what runs: each call is answered with a word about that."""
        for task in self._running:
            task.cancel()

    def _ended(self, call_id: str, task: asyncio.Task[str]) -> None:
        self._running.discard(task)
        self._finished(ToolFinished(call_id, STOPPED if task.cancelled() else task.result()))

    async def _answer(self, call: ToolCall) -> str:
        tool = self._tools.get(call.name)
        if tool is None:
            return _error(f"there is no tool {call.name!r} on this device")
        try:
            arguments = msgspec.json.decode(call.arguments or "{}", type=Arguments)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            return _error(f"the arguments are not a JSON object: {error}")
        try:
            return msgspec.json.encode(await tool.run(arguments)).decode()
        except ToolError as error:
            return _error(str(error))
        except Exception:  # the one place: a tool's bug must not silence the conversation
            log.exception("tool %s failed", call.name)
            return _error("the tool failed inside this device")


def _error(text: str) -> str:
    return msgspec.json.encode({"error": text}).decode()
