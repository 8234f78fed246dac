"""A running audio thread on the virtual card, and what it told. Not for: the tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import pytest

from appliance.audio.cards import Cards
from appliance.audio.chain import Chain
from appliance.audio.duplex import Duplex
from appliance.audio.facts import (
    AudioFact,
)
from appliance.audio.processing import DETECTORS, Untouched
from appliance.board import Board, Capture, Playback
from appliance.config import Audio
from tests.audio.stage import Samples
from tests.fakes.card import VirtualCard
from tests.fakes.card.session import CardFactory

Fact = TypeVar("Fact")
SLACK_S = 0.25  # by how much this machine may be late


class Rig:
    """A running audio thread and what it told, with the card's frame at which it did."""

    def __init__(
        self,
        card: VirtualCard,
        *,
        capture: str = "vhw",
        playback: str = "vhw",
        microphones: tuple[int, ...] = (0,),
        gain: float = 1.0,
        rate: int | None = None,
    ) -> None:
        self.card = card
        self.told: list[tuple[int, AudioFact]] = []
        self._news = threading.Condition()
        audio = Audio(capture=capture, playback=playback, microphones=microphones)
        wish = rate or card.rate
        board = Board(name="test", capture=Capture(rate=wish), playback=Playback(rate=wish))
        chain = Chain(Untouched(), DETECTORS["earshot"](), microphones, 700)
        self.duplex = Duplex(Cards(audio, board, time.monotonic), chain, gain, time.monotonic, self._post)
        self.duplex.start()

    def _post(self, fact: AudioFact) -> None:
        with self._news:
            self.told.append((self.card.now(), fact))
            self._news.notify_all()

    def all(self, kind: type[Fact]) -> list[Fact]:
        with self._news:
            return [fact for _, fact in self.told if isinstance(fact, kind)]

    def wait(self, kind: type[Fact], count: int = 1, timeout_s: float = 8.0) -> Fact:
        """The ``count``-th fact of a kind."""
        with self._news:
            assert self._news.wait_for(
                lambda: sum(isinstance(fact, kind) for _, fact in self.told) >= count, timeout_s
            ), f"no {kind.__name__} in {self.told[-3:]}"
        return self.all(kind)[count - 1]

    def frame_of(self, fact: AudioFact) -> int:
        with self._news:
            return next(frame for frame, told in self.told if told is fact)

    def answered(self) -> None:
        """Wait until the thread has done all that it was told."""
        done = threading.Event()
        self.duplex.ping(done.set)
        assert done.wait(5)

    def until(self, true: Callable[[], bool], timeout_s: float = 5.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not true():
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.002)

    def pass_frames(self, seconds: float) -> None:
        end = self.card.now() + int(seconds * self.card.rate)
        self.until(lambda: self.card.now() >= end, seconds + 5)

    def say(self, item: str, samples: Samples) -> None:
        self.duplex.push(item, samples.tobytes())
        self.duplex.end_item(item)
        self.duplex.end_reply()

    def spoken(self) -> Samples:
        """What has sounded so far."""
        return self.card.spoken(0, self.card.now())[:, 0]


Start = Callable[..., Rig]


@pytest.fixture
def start(virtual_card: CardFactory) -> Iterator[Start]:
    rigs: list[Rig] = []

    def make(card: VirtualCard | None = None, **options: object) -> Rig:
        rigs.append(Rig(card or virtual_card(rate=24_000, seconds=60), **options))  # type: ignore[arg-type]
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.duplex.stop()
        assert not rig.duplex.alive
        assert not rig.card.capture_open
        assert not rig.card.playback_open


def only(sounded: Samples) -> Samples:
    at = np.flatnonzero(sounded)
    return sounded[at[0] : at[-1] + 1]


def resting(rig: Rig, seconds: float = 0.3) -> int:
    """Turns that the thread takes while nothing is asked of it."""
    rig.answered()
    before = rig.duplex.beats
    time.sleep(seconds)
    return rig.duplex.beats - before
