"""Tools that the provider runs itself (MCP): calls of them, and requests for leave to call one.

To the conversation such a call is one like any other, whose answer the server has already: it begins when the response
that ends with it is over, and it is finished when the server says so, whichever comes first. Requests for leave are
denied: nobody can be asked through one button.
Responsible for: which facts these events are. Not for: what follows from a call's end (``conversation``).
Source: realtime-api reference §8 (MCP).
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from appliance.conversation import events as ev
from appliance.realtime import wire
from appliance.realtime.facts import Fact
from appliance.realtime.responses import Response

if TYPE_CHECKING:
    from appliance.realtime.protocol import Protocol

log = logging.getLogger(__name__)
Facts = Iterator[Fact]
REMEMBERED = 64  # of each kind
LONGEST_NAME = 64


class Remote:
    """Turns the events of tools that the server runs into facts for one :class:`Protocol`."""

    def __init__(self, protocol: Protocol) -> None:
        self._p = protocol
        self._ended: OrderedDict[str, None] = OrderedDict()  # calls whose end came before that of their response
        self._denied: OrderedDict[str, None] = OrderedDict()

    def begin(self) -> None:
        """Begin a new session."""
        self._ended.clear()
        self._denied.clear()

    def item(self, response: Response, item: wire.Item | None) -> Facts:
        """Take an item of a response that is done; the end of the response may tell it once more."""
        if item is None or not item.id or item.status == "incomplete":
            return
        match item.type:
            case "message":
                response.remote.clear()  # the model has gone on with what it got
            case "mcp_call":
                response.remote[item.id] = item
            case "mcp_approval_request" if item.id not in self._denied:
                _remember(self._denied, item.id)
                response.called = True
                _tell_denied(item)
                yield from self._call(item, is_request=True)
                yield from self._finish(item.id)

    def over(self, response: Response) -> Facts:
        """A response is complete: the conversation waits for the calls that it ends with."""
        for item_id, item in response.remote.items():
            response.called = True
            yield from self._call(item, is_request=False)
            if item_id in self._ended or item.output is not None or item.error is not None:
                yield from self._finish(item_id)

    def ended(self, event: wire.Received) -> Facts:
        """The server has run a call, or failed to: the model has the outcome."""
        if event.item_id in self._p.remote_calls:
            yield from self._finish(event.item_id)
        elif event.item_id:
            _remember(self._ended, event.item_id)

    def lost(self) -> Facts:
        """A new session is open: nobody will tell of calls in the one before, and what they were for is asked again."""
        for call_id in list(self._p.remote_calls):
            yield from self._finish(call_id)

    def not_listed(self, _: wire.Received) -> Facts:
        """The provider did not get the list of a server's tools: the model goes without them."""
        log.warning("the provider cannot list an MCP server's tools: check its address and key in the profile")
        yield from ()

    def _call(self, item: wire.Item, *, is_request: bool) -> Facts:
        call_id = item.id or ""
        self._p.remote_calls[call_id] = is_request
        yield ev.ToolRequested(ev.ToolCall(call_id, item.name or "", item.arguments or "{}", remote=True))

    def _finish(self, call_id: str) -> Facts:
        if call_id in self._p.remote_calls:  # else it was declined: the person had gone on
            yield ev.ToolFinished(call_id, "")


def _tell_denied(item: wire.Item) -> None:
    log.warning(
        "denied: the model asked for leave to use %r of %r, and nobody can be asked here; for tools that may run "
        'unasked the profile says require_approval = "never"',
        (item.name or "")[:LONGEST_NAME],
        (item.server_label or "")[:LONGEST_NAME],
    )


def _remember(known: OrderedDict[str, None], name: str) -> None:
    known[name] = None
    while len(known) > REMEMBERED:
        known.popitem(last=False)
