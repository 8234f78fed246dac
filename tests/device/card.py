"""A sound card in virtual time with a record of its own: when each PCM was open, and what its microphone gave.

Responsible for: one microphone and one loudspeaker at the session's rate, so that what goes up can be told to the
sample from what was captured; the sounds of a room; a card that goes and comes back. Not for: who opens it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from appliance.audio.cards import Cards
from appliance.audio.format import SESSION_RATE, Samples
from appliance.errors import DeviceError
from tests.fakes.card import Kind, Stream
from tests.fakes.sound_card import Loudspeaker

RATE = SESSION_RATE
PERIOD = RATE // 100
NOISE_S = 600
NOISE_PEAK = 30  # -65 dBFS: a quiet room, no 20 ms of which sound like any other
FOUND_BY = PERIOD  # samples, of which a stretch of the record is found


@dataclass(frozen=True, slots=True)
class Logged:
    """One entry of the card's log."""

    at: float
    stream: Stream
    kind: Kind


@cache
def _noise() -> Samples:
    noise: Samples = np.random.default_rng(7).integers(-NOISE_PEAK, NOISE_PEAK + 1, NOISE_S * RATE, np.int16)
    return noise


class Card(Cards):
    """Opens itself, as ``audio.cards.Cards`` opens ALSA's. ``noted`` is told each entry of the log."""

    def __init__(self, time: Callable[[], float], *, keeps: bool = True, echo: float = 0.0) -> None:
        """``keeps`` whether what the microphone gave is kept for :meth:`frames_of`; ``echo`` is a factor."""
        self.time, self.zero = time, time()
        self.log: list[Logged] = []
        self.open: dict[Stream, int] = {Stream.CAPTURE: 0, Stream.PLAYBACK: 0}
        self.gone = self.deaf = self.frozen = False
        self.openings = 0
        self.sounded_at = float("-inf")  # when the loudspeaker was last known to run
        self.noted: Callable[[Logged], None] = lambda _: None
        self._keeps, self._echo = keeps, echo
        self._said: list[tuple[int, Samples]] = []
        self._tape = bytearray()
        self._found_to = 0
        self._runs: list[tuple[int, int]] = []  # (byte of the tape, frame of the card)
        self._loudspeaker: _Loudspeaker | None = None

    @property
    def frame(self) -> int:
        """The frame that passes now."""
        return int((self.time() - self.zero) * RATE + 1e-6)

    def at(self, frame: int) -> float:
        """When a frame passes."""
        return self.zero + frame / RATE

    # --- the room ---

    def say(self, samples: Samples) -> None:
        """Somebody speaks from now on."""
        now = self.frame
        self._said = [(at, sound) for at, sound in self._said if at + len(sound) > now - RATE]
        self._said.append((now, samples))

    def hush(self) -> None:
        """Whoever speaks stops in the middle of the word."""
        now = self.frame
        self._said = [(at, sound[: max(0, now - at)]) for at, sound in self._said]

    def heard(self, start: int, count: int) -> Samples:
        """What reaches the microphone in ``count`` frames from ``start`` on."""
        if self.deaf:
            return np.zeros(count, np.int16)
        first = start % (NOISE_S * RATE - count)
        sound = _noise()[first : first + count].astype(np.int32)
        for at, said in self._said:
            low, high = max(start, at), min(start + count, at + len(said))
            if low < high:
                sound[low - start : high - start] += said[low - at : high - at]
        speaker = self._loudspeaker
        if self._echo and speaker is not None:
            offset = round((speaker.zero - self.zero) * RATE) + PERIOD  # a period late
            sound += (speaker.between(start - offset, start - offset + count) * np.float32(self._echo)).astype(np.int32)
        out: Samples = np.clip(sound, -32768, 32767).astype(np.int16)
        return out

    # --- faults ---

    def check(self) -> None:
        """Fail if the card is gone."""
        if self.gone:
            raise DeviceError("the card is gone", hint="is it still plugged in?")

    # --- the record ---

    def note(self, stream: Stream, kind: Kind) -> None:
        """Enter something into the log."""
        entry = Logged(self.time(), stream, kind)
        if self._keeps:
            self.log.append(entry)
        self.open[stream] += (kind is Kind.OPENED) - (kind is Kind.CLOSED)
        self.openings += kind is Kind.OPENED
        self.noted(entry)

    def gave(self, frame: int, samples: Samples) -> None:
        """Keep what the microphone gave."""
        if self._keeps:
            if not self._runs or frame != self._runs[-1][1] + (len(self._tape) - self._runs[-1][0]) // 2:
                self._runs.append((len(self._tape), frame))
            self._tape += samples.astype("<i2").tobytes()

    def frames_of(self, pcm: bytes) -> tuple[int, int] | None:
        """Find when a stretch of sound was captured: its first frame and the one after its last.

        ``None``: this is nothing that the microphone gave in one piece.
        """
        key = pcm[: 2 * FOUND_BY]
        at = self._tape.find(key, self._found_to)  # what goes up follows what went up before
        at = self._tape.find(key) if at < 0 else at
        while at >= 0:
            run = self._runs[bisect_right(self._runs, (at, 1 << 62)) - 1]
            if at % 2 == 0 and self._tape[at : at + len(pcm)] == pcm:
                first, self._found_to = run[1] + (at - run[0]) // 2, at + len(pcm)
                return first, first + len(pcm) // 2
            at = self._tape.find(key, at + 1)
        return None

    # --- as the product opens it ---

    def open_capture(self) -> _Microphone:
        self.check()
        return _Microphone(self)

    def open_playback(self) -> _Loudspeaker:
        self.check()
        self._loudspeaker = _Loudspeaker(self)
        return self._loudspeaker

    def closed(self, loudspeaker: _Loudspeaker) -> None:
        """Forget a loudspeaker that was closed."""
        if self._loudspeaker is loudspeaker:
            self._loudspeaker = None
        self.note(Stream.PLAYBACK, Kind.CLOSED)


class _Microphone:
    """A capture PCM; it runs from the first reading on."""

    format, rate, channels, frame_bytes, buffer_frames = "S16_LE", RATE, 1, 2, RATE * 24 // 100

    def __init__(self, card: Card) -> None:
        self._card = card
        self._at: int | None = None  # the frame that is read next
        self._stopped_at = 0
        card.note(Stream.CAPTURE, Kind.OPENED)

    def read(self) -> bytes | None:
        self._card.check()
        if self._at is None:
            self._at = self._stopped_at = self._card.frame
            self._card.note(Stream.CAPTURE, Kind.STARTED)
        count = min(self.waiting(), PERIOD)
        samples = self._card.heard(self._at, count)
        self._card.gave(self._at, samples)
        self._at += count
        return samples.astype("<i2").tobytes()

    def waiting(self) -> int:
        if self._at is None:
            return 0
        if not self._card.frozen:
            self._stopped_at = self._card.frame
        return max(0, self._stopped_at - self._at)

    def close(self) -> None:
        self._card.note(Stream.CAPTURE, Kind.CLOSED)


class _Loudspeaker(Loudspeaker):
    """The loudspeaker of the fakes, on this card's log. What has sounded is forgotten."""

    def __init__(self, card: Card) -> None:
        super().__init__(card.time, RATE, buffer_frames=RATE * 24 // 100)
        self._card = card
        card.note(Stream.PLAYBACK, Kind.OPENED)

    def write(self, data: bytes) -> int | None:
        self.gone = self._card.gone
        return super().write(data)

    def drop(self) -> None:
        self.gone = self._card.gone
        super().drop()

    def delay(self) -> int | None:
        self.gone = self._card.gone
        if self._card.frozen != self.frozen:
            self.freeze() if self._card.frozen else self._thaw()
        if self._running:
            self._card.sounded_at = self._card.time()
        return super().delay()

    def _thaw(self) -> None:
        self.zero += (int((self._time() - self.zero) * self.rate) - self._frozen_at) / self.rate
        self.frozen = False

    def _settle(self, frames: int) -> None:
        super()._settle(frames)
        del self._tape[:-4]

    def close(self) -> None:
        self.gone = self._card.gone
        super().close()
        self._card.closed(self)
