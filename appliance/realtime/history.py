"""The conversation as this device remembers it, and what of it to tell a new session.

A session cannot be resumed, so a new one is told the conversation as text. Responsible for: an ordered, bounded
log of items, its replay with tool calls always in pairs, and a digest of what is older. Not for: audio (``uplink``
keeps the unanswered turn, :class:`Replay` leaves room for it), or for what else of it to keep (``remembered``).
Source: realtime-api reference §10.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import Enum

from appliance.realtime import wire
from appliance.realtime.digest import digest

KEPT = 256  # entries remembered
REPLAYED = 24  # entries told to a new session as they are; older ones shortened
PICTURES_KEPT = 4  # that no answer has followed yet: they are large
UNTRANSCRIBED = "(spoken; no transcript was made)"
SEEN = "(showed a picture)"  # told again it would be billed again with every turn


class Kind(Enum):
    """What an entry is."""

    USER = "user"
    ASSISTANT = "assistant"
    CALL = "call"
    OUTPUT = "output"
    PICTURE = "picture"


@dataclass(frozen=True, slots=True)
class Entry:
    """One remembered item. ``key`` is unique among its kind for as long as we run."""

    kind: Kind
    key: str
    text: str
    name: str = ""  # of a tool


@dataclass(frozen=True, slots=True)
class Replay:
    """What to tell a new session: ``before`` and ``after`` the turns that it is told as audio."""

    before: list[wire.Json]
    after: list[wire.Json]

    @property
    def calls(self) -> set[str]:
        """Ids of the tool calls among them."""
        return {item["call_id"] for item in self.before + self.after if item["type"] == "function_call"}


class History:
    """An ordered log of what was said, shown, heard and called. One thread (the event loop)."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._turns: dict[str, str] = {}  # the present session's item ids of spoken turns, and our keys of these
        self._asked_about: set[str] = set()  # pictures
        self.version = 0  # grows with every change

    def __len__(self) -> int:
        return len(self._entries)

    # --- the person ---

    def user(self, key: str, text: str) -> None:
        """Remember what the person typed."""
        self._put(Entry(Kind.USER, key, text))

    def spoken(self, key: str, item_id: str = "") -> None:
        """Remember that the person spoke a turn; the session calls it ``item_id``, as far as is known."""
        if item_id:
            self._turns[item_id] = key
        if self._find(Kind.USER, key) is None:
            self._put(Entry(Kind.USER, key, ""))

    def knows(self, item_id: str) -> bool:
        """Say whether ``item_id`` is a spoken turn of the present session."""
        return item_id in self._turns

    def caption(self, item_id: str, text: str) -> None:
        """Remember what was said in a turn of the present session, transcribed by it."""
        key = self._turns.get(item_id)
        if key is not None and self._find(Kind.USER, key) is not None:
            self._put(Entry(Kind.USER, key, text))

    def forget(self, key: str) -> None:
        """Forget a turn that was none."""
        self._entries = [e for e in self._entries if e.kind is not Kind.USER or e.key != key]
        self.version += 1

    def picture(self, key: str, image_url: str) -> None:
        """Remember a picture until an answer has followed it, then that there was one."""
        self._put(Entry(Kind.PICTURE, key, image_url))
        fresh = [e for e in self._entries if e.kind is Kind.PICTURE and e.text]
        for old in fresh[:-PICTURES_KEPT]:
            self._put(replace(old, text=""))

    # --- the model ---

    def asked(self) -> None:
        """An answer begins: it is about what was shown so far."""
        self._asked_about = {e.key for e in self._entries if e.kind is Kind.PICTURE}

    def answered(self) -> None:
        """The answer is complete: the pictures that it is about need not be told again."""
        for seen in [e for e in self._entries if e.kind is Kind.PICTURE and e.text and e.key in self._asked_about]:
            self._put(replace(seen, text=""))

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
            self.version += 1

    def called(self, call_id: str, name: str, arguments: str) -> None:
        """Remember that the model called a tool."""
        self._put(Entry(Kind.CALL, call_id, arguments, name))

    def returned(self, call_id: str, output: str) -> None:
        """Remember what the tool answered."""
        self._put(Entry(Kind.OUTPUT, call_id, output))

    def call_of(self, call_id: str) -> Entry | None:
        """Find the call that an output belongs to."""
        return self._find(Kind.CALL, call_id)

    # --- a new session ---

    def replay(self, as_audio: Collection[str] = ()) -> Replay:
        """Build the items that tell a new session what happened, oldest first, calls only with their outputs.

        Turns whose keys are in ``as_audio`` are left out: they are told as sound, between the two parts.
        """
        self._turns.clear()
        told, older = self._paired(), []
        if len(told) > REPLAYED:
            older, told = told[:-REPLAYED], told[-REPLAYED:]
        calls = {e.key for e in told if e.kind is Kind.CALL}
        older += [e for e in told if e.kind is Kind.OUTPUT and e.key not in calls]
        told = [e for e in told if e.kind is not Kind.OUTPUT or e.key in calls]
        waits = [e.kind is Kind.USER and e.key in as_audio for e in told]
        at = waits.index(True) if True in waits else len(told)
        before = [wire.system_text(summary)] if (summary := digest(_line(e) for e in older)) else []
        before += [_item(e) for e in told[:at]]
        return Replay(before, [_item(e) for e, waiting in zip(told[at:], waits[at:], strict=True) if not waiting])

    def _paired(self) -> list[Entry]:
        called = {e.key for e in self._entries if e.kind is Kind.CALL}
        returned = {e.key for e in self._entries if e.kind is Kind.OUTPUT}
        pairs = called & returned
        return [e for e in self._entries if e.kind not in (Kind.CALL, Kind.OUTPUT) or e.key in pairs]

    # --- a restart ---

    def dump(self) -> list[list[str]]:
        """Write the entries down, without the sight of pictures."""
        return [[e.kind.value, e.key, "" if e.kind is Kind.PICTURE else e.text, e.name] for e in self._entries]

    def load(self, dumped: list[list[str]]) -> None:
        """Take up what an earlier process wrote down, before anything else; its calls that never returned are dropped.

        Raises:
            ValueError: it is not what :meth:`dump` writes.
        """
        entries = [Entry(Kind(kind), key, text, name) for kind, key, text, name in dumped][-KEPT:]
        known = (Kind.CALL, Kind.OUTPUT)  # by a name of the model's; ours begin anew with each process
        self._entries = [e if e.kind in known else replace(e, key=f"before {n}") for n, e in enumerate(entries)]
        self._entries = self._paired()

    # --- the log ---

    def _find(self, kind: Kind, key: str) -> Entry | None:
        return next((e for e in reversed(self._entries) if e.kind is kind and e.key == key), None)

    def _put(self, entry: Entry) -> None:
        self.version += 1
        for index in range(len(self._entries) - 1, -1, -1):
            known = self._entries[index]
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
        case Kind.PICTURE:
            return wire.user_image(entry.text) if entry.text else wire.user_text(SEEN)


def _line(entry: Entry) -> str:
    """Tell an entry in a line of the digest; a tool only by its answer."""
    match entry.kind:
        case Kind.USER:
            return f"Person: {entry.text or UNTRANSCRIBED}"
        case Kind.ASSISTANT:
            return f"You: {entry.text}"
        case Kind.CALL:
            return f"You used {entry.name}."
        case Kind.PICTURE:
            return f"Person: {SEEN}"
        case Kind.OUTPUT:
            return ""
