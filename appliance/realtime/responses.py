"""The responses that are alive, their items, and what must be repaired when one is interrupted.

Responsible for: which response a delta belongs to, which may sound, how much audio each item brought, and the
truncations and deletions of an interruption. Not for: asking for responses (``protocol``).
Source: realtime-api reference §8 (barge-in).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from appliance.realtime.wire import Item

BYTES_PER_MS = 48  # 24 kHz mono s16le
FORGOTTEN = 64
UNNAMED = "unnamed_"  # begins the names that we give to responses which have none
ROUNDING_MS = 0.5  # a card's frames do not divide evenly into milliseconds


@dataclass(slots=True)
class AudioItem:
    """One item of a response as far as its audio matters."""

    received: int = 0  # bytes
    ended: bool = False  # the server sent all of it
    sounded: int = 0  # bytes that had sounded when the loudspeaker last ran dry: its account begins anew there
    odd: bytes = b""  # half a sample, whose other half comes with the next delta

    def take(self, pcm: bytes) -> bytes:
        """Take a delta in; returns the whole samples that can sound now."""
        pcm, self.odd = self.odd + pcm, b""
        if len(pcm) % 2:
            pcm, self.odd = pcm[:-1], pcm[-1:]
        self.received += len(pcm)
        return pcm

    @property
    def received_ms(self) -> int:
        """Whole milliseconds received."""
        return self.received // BYTES_PER_MS


@dataclass(slots=True)
class Response:
    """One response in flight or sounding."""

    id: str
    session: int = 0
    also: str = ""  # what the server calls it after all
    announced: bool = False
    admitted: bool = False
    finished: bool = False
    called: bool = False  # a tool: the turn is answered by a later response
    items: dict[str, AudioItem] = field(default_factory=dict)
    worded: set[str] = field(default_factory=set)  # items whose words are known
    remote: dict[str, Item] = field(default_factory=dict)  # calls that the server runs, and the response ends with
    silenced: set[str] = field(default_factory=set)  # of ``items``, those that an interruption accounts for

    @property
    def is_soundless(self) -> bool:
        """True while it brought no audio: it calls tools, or is only written."""
        return not any(item.received for item in self.items.values())


@dataclass(frozen=True, slots=True)
class Truncate:
    """The server is to forget what of ``item_id`` was not heard."""

    item_id: str
    audio_end_ms: int
    fraction: float  # of what was received
    session: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """The server is to forget ``item_id``: nothing of it was heard."""

    item_id: str
    session: int = 0


class Responses:
    """The book of responses. One thread (the event loop)."""

    def __init__(self) -> None:
        self.session = 0  # counts them: item ids are unique only within one
        self._alive: dict[str, Response] = {}
        self._former: list[Response] = []  # of earlier sessions, and still sounding
        self._dead: OrderedDict[str, None] = OrderedDict()
        self._silenced: list[tuple[int, dict[str, AudioItem]]] = []
        self._cancels: dict[str, str] = {}  # responses that are being cancelled, by the event of ours

    @property
    def active(self) -> Response | None:
        """The response that the server is generating."""
        return next((r for r in self._alive.values() if not r.finished), None)

    @property
    def sounding(self) -> bool:
        """True while something that was let through has not wholly sounded."""
        return bool(self._former) or any(r.admitted for r in self._alive.values())

    def is_dead(self, response_id: str) -> bool:
        """Say whether ``response_id`` is over and out: its late events are dropped."""
        return response_id in self._dead

    def get(self, response_id: str) -> Response | None:
        """Find a living response."""
        known = self._alive.get(response_id)
        return known or next((r for r in self._alive.values() if r.also and r.also == response_id), None)

    def announce(self, response_id: str) -> Response:
        """Enter a response, or find it; a name that comes late is that of the active one which had none."""
        if (known := self.get(response_id)) is not None:
            return known
        active = self.active
        if active is not None and active.id.startswith(UNNAMED) and not active.also:
            active.also = response_id
            return active
        return self._alive.setdefault(response_id, Response(response_id, self.session))

    def admit(self, response_id: str) -> None:
        """Let a response sound; audio of every other one is dropped."""
        if (response := self._alive.get(response_id)) is not None:
            response.admitted = True

    def cancelling(self, response_id: str, event_id: str) -> None:
        """Note that the server was asked, by an event of ours, to cancel a response."""
        self._cancels[event_id] = response_id

    def not_cancelled(self, event_id: str) -> Response | None:
        """Find the response, alive as far as we know, that the server says it could not cancel.

        Some servers do not name the event that they complain about: then it was the oldest.
        """
        response = self._alive.get(self._cancels.pop(event_id or next(iter(self._cancels), ""), ""))
        return None if response is None or response.finished else response

    def finish(self, response_id: str) -> None:
        """Note that the server is done with a response; one that has something to sound stays until it has."""
        self._cancels = {ours: of for ours, of in self._cancels.items() if of != response_id}
        response = self._alive.get(response_id)
        if response is None:
            return
        response.finished = True
        for item in response.items.values():
            item.ended = True
        if not response.admitted or response.is_soundless:
            self._bury(response_id)

    def played(self) -> None:
        """Everything that was there to sound has sounded: finished responses are over."""
        self._former.clear()
        for response in list(self._alive.values()):
            if response.finished:
                self._bury(response.id)
            for item in response.items.values():
                item.sounded = item.received

    def abandon(self) -> None:
        """The session is gone: nothing more comes, but what was let through may still sound and be interrupted."""
        for response in list(self._alive.values()):
            response.finished = True
            if not response.admitted:
                self._bury(response.id)

    def reset(self) -> None:
        """Begin a new session, whose ids may repeat those of an earlier one; what sounds of that may be interrupted."""
        self.session += 1
        self._former += [r for r in self._alive.values() if r.admitted]
        self._alive.clear()
        self._dead.clear()
        self._cancels.clear()

    def silence(self) -> None:
        """Let nothing more through; what was let through waits for :meth:`repairs`."""
        for response in [*self._former, *(r for r in self._alive.values() if r.admitted)]:
            response.admitted = False
            response.silenced.update(response.items)
            # As they are now: the server may end them meanwhile, with audio that is not let through any more.
            items = {item_id: replace(item) for item_id, item in response.items.items()}
            self._silenced.append((response.session, items))
            if response.finished and response.session == self.session:
                self._bury(response.id)
        self._former.clear()

    def repairs(self, heard_ms: Mapping[str, float]) -> list[Truncate | Delete]:
        """Say how silenced items are to be repaired, given what was heard of each in milliseconds."""
        silenced, self._silenced = self._silenced, []
        return [
            repair
            for session, items in silenced
            for item_id, item in items.items()
            for repair in _repair(session, item_id, item, heard_ms.get(item_id, 0.0))
        ]

    def latecomers(self, response: Response) -> list[Delete]:
        """Say which items of a response that nobody hears were announced after :meth:`silence`, if ever it sounded."""
        late = [] if response.admitted else [item_id for item_id in response.items if item_id not in response.silenced]
        return [Delete(item_id, response.session) for item_id in late]

    def _bury(self, response_id: str) -> None:
        buried = self._alive.pop(response_id, None)
        self._dead[response_id] = None
        if buried is not None and buried.also:
            self._dead[buried.also] = None
        while len(self._dead) > FORGOTTEN:
            self._dead.popitem(last=False)


def _repair(session: int, item_id: str, item: AudioItem, heard_ms: float) -> list[Truncate | Delete]:
    end_ms = min(int(item.sounded / BYTES_PER_MS + heard_ms + ROUNDING_MS), item.received_ms)
    if end_ms <= 0:
        return [Delete(item_id, session)]  # truncating at 0 fails
    if item.ended and end_ms >= item.received_ms:
        return []
    return [Truncate(item_id, end_ms, end_ms / max(1, item.received_ms), session)]
