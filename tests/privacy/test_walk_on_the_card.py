"""A random walk with the real daemon on a real sound card of alsa-lib: the card's own log is the witness.

What the daemon says of itself is used for one thing only: when it was in which phase, to hold the card's log against.
"""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from dataclasses import dataclass, field

import numpy as np

from tests.bench.report import say
from tests.fakes.card import Kind, Stream
from tests.fakes.realtime_server import Script
from tests.scenarios.conftest import MakeHome
from tests.scenarios.home import Home, tone
from tests.scenarios.voices import go_forward

RATE = 48_000
ACTIONS = 60
SLACK = RATE  # frames; a second: this is about what is open, not about how quickly it is closed
PRE_ROLL_S = 1.0


@dataclass
class Follower:
    """Phase and mute as the daemon tells them, with the card's frame at which each was heard of."""

    home: Home
    told: list[tuple[int, str, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._link = socket.socket(socket.AF_UNIX)
        self._link.connect(str(self.home.daemon.socket_path))
        self._link.sendall(b'{"cmd":"status","follow":true}\n')
        self._lines = self._link.makefile()
        self._note(json.loads(self._lines.readline()))
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def _follow(self) -> None:
        for line in self._lines:
            record = json.loads(line)
            if record.get("event") == "state":
                self._note(record)

    def _note(self, record: dict[str, object]) -> None:
        self.told.append((self.home.card.now(), str(record["phase"]), bool(record["muted"])))

    def close(self) -> None:
        self._link.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._lines.close()
        self._link.close()

    def spans(self, end: int) -> list[tuple[int, int, str, bool]]:
        """From when to when it was in which phase, muted or not."""
        stops = [at for at, _, _ in self.told[1:]] + [end]
        return [(at, stop, phase, muted) for (at, phase, muted), stop in zip(self.told, stops, strict=True)]


class Walk:
    """What a person, the network and a cable do, in any order."""

    def __init__(self, home: Home, seed: int) -> None:
        self.home, self.chance = home, random.Random(seed)
        self.muted, self.down, self.taken = False, False, 0

    def step(self) -> None:
        steps = [self.tap, self.tap, self.hold, self.edge, self.speak, self.speak, self.mute, self.say]
        self.chance.choice([*steps, self.cut, self.unplug])()
        self.taken += 1
        time.sleep(self.chance.choice([0.0, 0.05, 0.1, 0.2, 0.5]))

    def tap(self) -> None:
        self.home.daemon.command("tap")
        self.down = False

    def hold(self) -> None:
        self.home.hold(0.5)
        self.down = False

    def edge(self) -> None:
        self.down = not self.down
        self.home.daemon.command("press" if self.down else "release")

    def speak(self) -> None:
        self.home.card.say(go_forward(RATE))

    def mute(self) -> None:
        self.muted = not self.muted
        assert self.home.daemon.command("mute")["muted"] is self.muted

    def say(self) -> None:
        self.home.daemon.command("say", text="and now?")

    def cut(self) -> None:
        if self.home.server.connections:
            self.home.background.run(self.home.server.hang_up())

    def unplug(self) -> None:
        self.home.card.unplug()
        time.sleep(0.4)
        self.home.card.plug()

    def rest(self) -> None:
        """Leave it alone until it has come to rest, be it with a light that says that the service has had enough."""
        if self.down:
            self.edge()
        self.home.daemon.until(self._rests, "rest", timeout_s=30)

    def _rests(self) -> bool:
        return self.home.daemon.phase() in ("idle", "fault") and not self.home.card.capture_open


def test_the_cards_log_of_a_random_walk_has_nothing_to_hide(home: MakeHome) -> None:
    seed = random.randrange(1 << 32)
    say(f"seed {seed}")
    settings = "[conversation]\nfollow_up_s = 1\nend_of_turn_ms = 400\nlisten_s = 5\nthink_s = 5\n"
    at = home(Script(reply=tone(0.8, 24_000).tobytes()), settings, seconds=150)
    at.card.say(np.random.default_rng(seed).normal(0, 10, (140 * RATE, 1)).astype(np.int16), 0)
    follower, walk = Follower(at), Walk(at, seed)
    try:
        while walk.taken < ACTIONS:
            walk.step()
        walk.rest()
        quiet_from = len(at.server.audio)
        time.sleep(1.0)
        assert len(at.server.audio) == quiet_from, "nothing goes up at rest"
        end = at.card.now()
    finally:
        follower.close()
    spans = follower.spans(end)
    started = [event.frame for event in at.card.events(Stream.CAPTURE) if event.kind is Kind.STARTED]
    assert started, "there was something to see"
    for opened, closed in at.card.open_spans(Stream.CAPTURE):
        assert closed is not None
        looked_for = not any(opened <= frame <= closed for frame in started)
        assert_said(spans, opened, closed, looked_for=looked_for)
    listened_s = sum(stop - start for start, stop, phase, _ in spans if phase == "listening") / RATE
    turns = sum(phase == "listening" for _, _, phase, _ in spans)
    assert len(at.server.pcm) / 48_000 <= listened_s + turns * (PRE_ROLL_S + 0.1)


def assert_said(spans: list[tuple[int, int, str, bool]], opened: int, closed: int, *, looked_for: bool) -> None:
    """Every phase in which the card says that the microphone was open is one in which it may be.

    A phase is heard of a little late, and the microphone is closed a little later: the first and the last moment of
    each do not count. ``looked_for``: it was opened, not started, and closed, as a lost card is looked for.
    """
    for start, stop, phase, muted in spans:
        inside = min(stop, closed) - max(start, opened)
        if inside <= 0:
            continue
        if muted:
            assert opened < start, f"opened at {opened}, muted since {start}"
            assert closed < start + SLACK, f"open until {closed}, muted since {start}"
        elif phase in ("idle", "updating"):
            assert closed < start + SLACK or stop < opened + SLACK, f"open from {opened} to {closed}: {phase}"
        elif phase == "fault":
            assert looked_for or closed < start + SLACK or stop < opened + SLACK, f"open {opened} to {closed}: fault"
