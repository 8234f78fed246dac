"""The conversation as this device remembers it, and what of it to tell a new session.

A session cannot be resumed, so a new one is told the conversation as text. Responsible for: an ordered, bounded
log of items and its replay, tool calls always in pairs. Not for: audio (``uplink`` keeps the unanswered turn).
Source: realtime-api reference §10.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from appliance.realtime import wire

KEPT = 64  # entries remembered
REPLAYED = 24  # entries told to a new session
UNTRANSCRIBED = "(spoken; no transcript was made)"


class Kind(Enum):
    """What an entry is."""

    USER = "user"
    ASSISTANT = "assistant"
    CALL = "call"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class Entry:
    """One remembered item. ``key`` is the server's item id (empty: of an earlier session), or the call id."""

    kind: Kind
    key: str
    text: str
    name: str = ""  # of a tool


class History:
    """An ordered log of what was said, heard and called. One thread (the event loop)."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def __len__(self) -> int:
        return len(self._entries)

    def user(self, key: str, text: str) -> None:
        """Remember what the person said; a later transcript replaces an earlier text of the same item."""
        self._put(Entry(Kind.USER, key, text))

    def close(self) -> None:
        """Begin a new session, whose item ids may repeat those of an earlier one: what is known stays as it is."""
        spoken = (Kind.USER, Kind.ASSISTANT)
        self._entries = [replace(e, key="") if e.kind in spoken else e for e in self._entries]

    def forget(self, key: str) -> None:
        """Forget what the person said in one item."""
        self._entries = [e for e in self._entries if e.kind is not Kind.USER or e.key != key]

    def assistant(self, key: str, more: str) -> None:
        """Remember more words of an answer."""
        known = self._find(Kind.ASSISTANT, key)
        self._put(replace(known, text=known.text + more) if known else Entry(Kind.ASSISTANT, key, more))

    def heard(self, key: str, fraction: float) -> None:
        """Keep only the words of an answer that were heard; none heard: forget it."""
        known = self._find(Kind.ASSISTANT, key)
        if known is None:
            return
        words = known.text.split()
        kept = " ".join(words[: round(len(words) * min(1.0, max(0.0, fraction)))])
        if kept:
            self._put(replace(known, text=f"{kept} …"))
        else:
            self._entries.remove(known)

    def called(self, call_id: str, name: str, arguments: str) -> None:
        """Remember that the model called a tool."""
        self._put(Entry(Kind.CALL, call_id, arguments, name))

    def returned(self, call_id: str, output: str) -> None:
        """Remember what the tool answered."""
        self._put(Entry(Kind.OUTPUT, call_id, output))

    def call_of(self, call_id: str) -> Entry | None:
        """Find the call that an output belongs to."""
        return self._find(Kind.CALL, call_id)

    def replay(self) -> list[wire.Json]:
        """Build the items that tell a new session what happened, oldest first, calls only with their outputs."""
        called = {e.key for e in self._entries if e.kind is Kind.CALL}
        returned = {e.key for e in self._entries if e.kind is Kind.OUTPUT}
        pairs = called & returned
        told = [e for e in self._entries if e.kind in (Kind.USER, Kind.ASSISTANT) or e.key in pairs]
        told = told[-REPLAYED:]
        calls_told = {e.key for e in told if e.kind is Kind.CALL}
        return [_item(e) for e in told if e.kind is not Kind.OUTPUT or e.key in calls_told]

    # --- a restart ---

    def dump(self) -> list[list[str]]:
        """Write the entries down."""
        return [[e.kind.value, e.key, e.text, e.name] for e in self._entries]

    def load(self, dumped: list[list[str]]) -> None:
        """Take up what an earlier process wrote down; its sessions are over.

        Raises:
            ValueError: it is not what :meth:`dump` writes.
        """
        entries = [Entry(Kind(kind), key, text, name) for kind, key, text, name in dumped]
        self._entries = entries[-KEPT:] + self._entries
        self.close()

    # --- the log ---

    def _find(self, kind: Kind, key: str) -> Entry | None:
        return next((e for e in reversed(self._entries) if e.kind is kind and e.key == key), None)

    def _put(self, entry: Entry) -> None:
        for index, known in enumerate(self._entries):
            if known.kind is entry.kind and known.key == entry.key:
                self._entries[index] = entry
                return
        self._entries.append(entry)
        del self._entries[:-KEPT]


def _item(entry: Entry) -> wire.Json:
    match entry.kind:
        case Kind.USER:
            return wire.user_text(entry.text or UNTRANSCRIBED)
        case Kind.ASSISTANT:
            return wire.assistant_text(entry.text)
        case Kind.CALL:
            return wire.function_call(entry.key, entry.name, entry.text)
        case Kind.OUTPUT:
            return wire.function_call_output(entry.key, entry.text)
