"""``make bench-privacy``: how long a mute, and the end of a turn, take to close the microphone in mid-speech.

The real daemon on the virtual card; the closing is the card's own record. Printed, never asserted: time on a shared
machine is what the machine makes of it. That a mute closes the microphone at all, and that nothing captured after it
goes up, is asserted in virtual time.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.report import machine, median, say
from tests.fakes.card import Stream, VirtualCard
from tests.fakes.realtime_server import Script
from tests.scenarios.home import Home, Town, tone
from tests.scenarios.voices import go_forward

RATE = 48_000
SPEAKS_S = 0.5  # longer than a tap


def closing_ms(home: Home, end: Callable[[], object]) -> float:
    """Speak into the room with the button down; returns how long after ``end`` the microphone was closed."""
    card = home.card
    home.daemon.command("press")
    home.daemon.until(lambda: card.capture_open, "the microphone")
    card.say(go_forward(RATE))
    time.sleep(SPEAKS_S)
    ended_at = card.frame_at(time.monotonic())
    end()
    home.daemon.until(lambda: not card.capture_open, "the microphone to close")
    closed = card.open_spans(Stream.CAPTURE)[-1][1]
    assert closed is not None
    return (closed - ended_at) * 1000 / RATE


def muted_ms(home: Home) -> float:
    """Mute in mid-speech."""
    took = closing_ms(home, lambda: home.daemon.command("mute"))
    home.daemon.command("release")
    home.daemon.command("mute")
    return took


def released_ms(home: Home) -> float:
    """Let the button up in mid-speech."""
    took = closing_ms(home, lambda: home.daemon.command("release"))
    home.daemon.until_phase("idle")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=60)
    repeats, load = parser.parse_args().repeats, os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        card = VirtualCard(directory / "card", rate=RATE, seconds=60 + 10 * repeats)
        town = Town(directory / "town")
        home = Home(town, directory, card, Script(reply=tone(0.2, 24_000).tobytes()), "[audio]\ncues = false\n")
        try:
            for prefix, measure in (("mute", muted_ms), ("release", released_ms)):
                took = [measure(home) for _ in range(repeats)]
                say(f"{prefix}_to_closed_median_ms: {median(took):.1f} ms")
                say(f"{prefix}_to_closed_worst_ms: {max(took):.1f} ms")
        finally:
            home.close()
            town.close()
    say(machine(f"{repeats} repeats each", load))


if __name__ == "__main__":
    main()
