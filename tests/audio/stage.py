"""A player on a loudspeaker in virtual time, and replies that come over a downlink. Not for: the thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from appliance.audio.bargein import BargeIn
from appliance.audio.drift import Drift
from appliance.audio.ears import Ears
from appliance.audio.endpoint import Endpointer
from appliance.audio.facts import AudioFact
from appliance.audio.format import SESSION_RATE
from appliance.audio.listener import Listener
from appliance.audio.player import Player
from appliance.audio.playout import Playout
from appliance.audio.processing import DETECTORS, Processor, Untouched
from tests.fakes.sound_card import Loudspeaker, Script, Time

Samples = NDArray[np.int16]
Fact = TypeVar("Fact")
Downlink = Sequence[tuple[float, float]]  # (ms after the first, ms of audio) of each delta


def listener(
    post: Callable[[AudioFact], None],
    *,
    detector: str = "earshot",
    end_of_turn_ms: int = 500,
    processor: Processor | None = None,
    duck: Callable[[bool], bool] = lambda _: False,
    hush: bool = False,
) -> Listener:
    """The chain behind a microphone, without an echo canceller unless one is given."""
    ears = Ears(processor or Untouched(), DETECTORS[detector]())
    return Listener(ears, BargeIn(), Endpointer(end_of_turn_ms), post, duck, hush=hush)


def loud(ms: float, seed: int = 1, rate: int = SESSION_RATE) -> Samples:
    """Noise without a zero sample: every one of them can be found again."""
    return np.random.default_rng(seed).integers(1000, 9000, int(ms * rate / 1000)).astype(np.int16)


def speechlike(ms: float, rate: int = SESSION_RATE) -> Samples:
    """A smooth sound that resamples well and has a different look everywhere."""
    t = np.arange(int(ms * rate / 1000)) / rate
    sweep = np.sin(2 * np.pi * (200 * t + 250 * t * t))
    return np.asarray(9000 * sweep + 500, np.int16)


def knowing(rise_ms: float) -> Playout:
    """A start-up rule that has seen a dozen replies, each late by ``rise_ms``."""
    playout = Playout()
    for k in range(12):
        playout.received(k * 10.0, 20)
        playout.received(k * 10.0 + 0.020 + rise_ms / 1000, 20)
        playout.finished()
    return playout


class Stage:
    """Player, loudspeaker and time."""

    def __init__(self, rate: int = SESSION_RATE, playout: Playout | None = None, gain: float = 1.0, **pcm: Any) -> None:
        self.time = Time()
        self.pcm = Loudspeaker(self.time, rate, **pcm)
        self.facts: list[AudioFact] = []
        self.player = Player(self.pcm, playout or knowing(0), Drift(), gain, self.facts.append)
        self.script = Script(self.time)
        self.pushes = 0

    def run(self, ms: float, late_s: Callable[[], float] = float) -> int:
        """Let time pass; returns the number of turns that the thread would have taken."""
        player, time = self.player, self.time
        return self.script.run(
            time.now + ms / 1000, lambda: player.pump(time.now), lambda: player.due_s(time.now), late_s
        )

    def push(self, item: str, samples: Samples) -> None:
        self.pushes += 1
        self.player.push(item, samples.tobytes(), self.time.now, self.pushes)

    def end(self, item: str) -> None:
        self.player.end_item(item)
        self.player.end_reply()

    def reply(self, item: str, samples: Samples, downlink: Downlink, after_ms: float = 0.0) -> float:
        """Schedule a reply; returns the seconds at which its first delta comes."""
        begin = self.time.now + after_ms / 1000
        at, sent = begin, 0
        for arrival_ms, audio_ms in downlink:
            count = int(audio_ms * SESSION_RATE / 1000)
            part, at = samples[sent : sent + count], begin + arrival_ms / 1000
            sent += count
            self.script.at(at, lambda part=part: self.push(item, part))  # type: ignore[misc]
        assert sent >= len(samples)
        self.script.at(at, lambda: self.end(item))
        return begin

    def told(self, kind: type[Fact]) -> list[Fact]:
        return [fact for fact in self.facts if isinstance(fact, kind)]


def first(sounded: Samples) -> int:
    return int(np.flatnonzero(sounded)[0])


def only(sounded: Samples) -> Samples:
    """From the first to the last sound."""
    at = np.flatnonzero(sounded)
    return sounded[at[0] : at[-1] + 1]
