"""A room around the virtual card: the loudspeaker's echo, hiss, and people who talk from where they stand.

Responsible for: putting a development room of ``tests.acoustic`` on a card, at levels as they are met. The card is
linear and has one clock: distortion and drift are met in ``tests.acoustic`` only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr

from tests.acoustic import rooms
from tests.acoustic.voices import RATE, Sound, _active, active_level, levelled, reply
from tests.fakes.card import VirtualCard
from tests.scenarios.home import Samples
from tests.scenarios.voices import go_forward

ECHO_DBFS = -26.0  # of a reply at the microphone, with the volume at which an appliance begins
HISS_DBFS = -72.0
VOLUME = 0.8**2


@dataclass(frozen=True, slots=True)
class Talk:
    """What somebody said, as the microphone gets it."""

    at: int  # frame of its first sound
    sound: Samples  # 16 kHz
    stop: int  # frame after its last word; the room goes on a little


class Place:
    """A card at 16 kHz that stands in a development room."""

    def __init__(self, card: VirtualCard, number: int) -> None:
        assert card.rate == RATE, "the rooms are drawn at 16 kHz, and a card at that rate convolves the fastest"
        self.card, self.room = card, rooms.draw("development", number)
        response = self.room.echo[0]
        sample = reply("development", 3)[: 5 * RATE] * np.float32(VOLUME)
        gain = 10 ** (ECHO_DBFS / 20) / active_level(rooms.convolved(sample, response))
        card.set_echo(delay=int(self.room.latency_ms * RATE / 1000), gain=gain, response=response)
        self._rng = np.random.default_rng(number)

    def hiss(self, seconds: float) -> None:
        """The microphone's own noise, from the card's beginning on: no converter gives zeros."""
        count = int(seconds * RATE)
        self.card.say((self._rng.normal(0, 10 ** (HISS_DBFS / 20), count) * 32767).astype(np.int16), 0)

    def talk(self, sound: Sound, at: int, *, below_echo_db: float) -> Talk:
        """Somebody says ``sound``, its first sound at frame ``at``, by so much below the echo of a reply."""
        wet = rooms.convolved(sound, self.room.talker[0])
        begin = int(np.flatnonzero(np.abs(self.room.talker[0]) > 0.1 * np.abs(self.room.talker[0]).max())[0])
        wet = levelled(wet[begin:], ECHO_DBFS - below_echo_db)
        samples = (np.clip(wet, -1, 1) * 32767).astype(np.int16)
        self.card.say(samples, at, mix=True)
        return Talk(at, samples, at + len(sound))


def spoken_reply(sentences: int) -> bytes:
    """Sentences of the appliance's own voice, 24 kHz mono s16le."""
    sound = soxr.resample(reply("development", sentences), RATE, 24_000)
    return bytes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())


def insisting_voice() -> Sound:
    """The same words twice, as people say them who talk into a reply: what they say over its full echo is damaged."""
    return np.concatenate((voice(), np.zeros(RATE // 5, np.float32), voice()))


def voice() -> Sound:
    """The words "go forward ten meters", from their first sound to their last."""
    return levelled(_active(np.asarray(go_forward(RATE) / 32768, np.float32)))
