"""The person's turns on their way to the server: kept until they are answered, sent in order.

Responsible for: holding microphone audio while there is no session (at most 30 s), and holding a turn until its
answer is complete, so that a new session can be given it again. Not for: encoding or sockets (``protocol``,
``websocket``). Audio is 24 kHz mono s16le.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

BYTES_PER_MS = 48
KEPT_BYTES = 30_000 * BYTES_PER_MS
SHORTEST_BYTES = 100 * BYTES_PER_MS  # the server refuses to commit less
LONGEST_APPEND_BYTES = 100 * BYTES_PER_MS


@dataclass(slots=True)
class Turn:
    """One turn of the person. ``key`` is its name in the history."""

    key: str = ""
    chunks: deque[bytes] = field(default_factory=deque)
    times: deque[float] = field(default_factory=deque)
    unsent: int = 0  # index of the first chunk not sent
    sent: int = 0  # bytes given to the present session, also those that are not held any more
    size: int = 0  # bytes held
    total: int = 0  # bytes ever captured
    ending: bool = False  # the person is done; the last audio is still on its way from the microphone
    complete: bool = False
    committed: bool = False  # the present session was told, or decided by itself


class Uplink:
    """The queue of turns. One thread (the event loop)."""

    def __init__(self) -> None:
        self._turns: deque[Turn] = deque()
        self._unacknowledged: deque[str] = deque()  # commits of the present session, of turns kept or not any more
        self.dropped_bytes = 0

    @property
    def current(self) -> Turn | None:
        """The turn that is being spoken, if any."""
        last = self._turns[-1] if self._turns else None
        return last if last is not None and not last.complete else None

    @property
    def ending(self) -> bool:
        """True while a finished turn is not wholly committed: no response may be asked for yet."""
        return bool(self.ending_keys)

    @property
    def ending_keys(self) -> list[str]:
        """Name the finished turns that are not wholly committed."""
        return [t.key for t in self._turns if (t.ending or t.complete) and not t.committed]

    def is_quiet(self, *, but_for_current: bool) -> bool:
        """Say whether no turn waits for anything; one that is being spoken may count as quiet or not."""
        return all(not t.complete and not t.ending and (but_for_current or not t.total) for t in self._turns)

    def waits(self, keys: Collection[str]) -> bool:
        """Say whether one of these turns is still to be committed in the present session."""
        return any(t.key in keys and not t.committed for t in self._turns)

    def begin(self, key: str) -> None:
        """Begin a turn; an unfinished one is given up, but not one whose end was marked."""
        self.complete()
        self.clear()
        self._turns.append(Turn(key))

    def clear(self) -> bool:
        """Give up the unfinished turn; returns whether the server has audio of it."""
        turn = self.current
        if turn is None:
            return False
        self._turns.pop()
        return turn.sent > 0

    def append(self, pcm: bytes, captured_at: float) -> None:
        """Add microphone audio of the current turn; without one, or beyond 30 s held, audio is dropped and counted."""
        turn = self.current
        if turn is None:
            self.dropped_bytes += len(pcm)
            return
        turn.chunks.append(pcm)
        turn.times.append(captured_at)
        turn.size += len(pcm)
        turn.total += len(pcm)
        self._bound()

    def _bound(self) -> None:
        """Keep at most 30 s in all, giving up the oldest audio first."""
        while sum(t.size for t in self._turns) > KEPT_BYTES:
            oldest = next(t for t in self._turns if t.chunks)
            lost = oldest.chunks.popleft()
            oldest.times.popleft()
            oldest.size -= len(lost)
            if oldest.unsent:
                oldest.unsent -= 1
                continue
            self.dropped_bytes += len(lost)
            if oldest.complete and oldest.sent + oldest.size < SHORTEST_BYTES:
                self._turns.remove(oldest)  # what is left of it cannot be committed

    def end(self) -> str:
        """Mark that the person is done, returns of which turn; :meth:`complete` follows with the last audio."""
        turn = self.current
        if turn is None:
            return ""
        turn.ending = True
        return turn.key

    def complete(self) -> str:
        """Close the ending turn; returns its name when it was too short and is thrown away."""
        turn = self.current
        if turn is None or not turn.ending:
            return ""
        if turn.total < SHORTEST_BYTES:
            self._turns.pop()
            return turn.key
        turn.complete = True
        return ""

    def next_append(self) -> tuple[bytes, float] | None:
        """Take the next audio to send, at most 100 ms joined, with the capture time of its oldest sample."""
        for turn in self._turns:
            if turn.unsent < len(turn.chunks):
                return self._join(turn)
            if not turn.committed:
                return None  # a commit or more audio comes first
        return None

    def _join(self, turn: Turn) -> tuple[bytes, float]:
        taken: list[bytes] = []
        first, size = turn.unsent, 0
        while turn.unsent < len(turn.chunks):
            chunk = turn.chunks[turn.unsent]
            if taken and size + len(chunk) > LONGEST_APPEND_BYTES:
                break
            taken.append(chunk)
            size += len(chunk)
            turn.unsent += 1
        turn.sent += size
        return (taken[0] if len(taken) == 1 else b"".join(taken)), turn.times[first]

    def next_commit(self) -> str:
        """Name the turn that is to be committed now, if one is, and mark it so."""
        for turn in self._turns:
            if turn.committed:
                continue
            if turn.complete and turn.unsent == len(turn.chunks):
                turn.committed = True
                self._unacknowledged.append(turn.key)
                return turn.key
            break
        return ""

    def acknowledge(self) -> str:
        """The server made an item of a turn that was committed; returns which, if one waited for that."""
        return self._unacknowledged.popleft() if self._unacknowledged else ""

    def refused(self) -> str:
        """The server made no item of a turn that was committed: forget it; returns which."""
        key = self.acknowledge()
        self._turns = deque(t for t in self._turns if t.key != key)
        return key

    def server_ended(self, next_key: str) -> str:
        """The server ends a turn by itself: what it got is a turn, what comes next is another; returns which ended."""
        turn = self.current
        if turn is None or turn.ending or not turn.sent:
            return ""
        self._turns.pop()
        done, rest = Turn(turn.key, complete=True, committed=True), Turn(next_key)
        for index, (chunk, time) in enumerate(zip(turn.chunks, turn.times, strict=True)):
            part = done if index < turn.unsent else rest
            part.chunks.append(chunk)
            part.times.append(time)
            part.size += len(chunk)
            part.total += len(chunk)
        done.unsent, done.sent = len(done.chunks), turn.sent
        self._turns += [done, rest]
        self._unacknowledged.append(done.key)
        return done.key

    def answered(self) -> None:
        """Forget the committed turns: they have their answer."""
        self._turns = deque(t for t in self._turns if not t.committed)

    def reopened(self) -> bool:
        """Give every kept turn to a new session from its start; returns whether finished ones are among them."""
        self._turns = deque(t for t in self._turns if not t.complete or t.size >= SHORTEST_BYTES)
        self._unacknowledged.clear()
        for turn in self._turns:
            turn.unsent = turn.sent = 0
            turn.committed = False
        return any(t.complete or t.ending for t in self._turns)
