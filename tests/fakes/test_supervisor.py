"""The supervisor does what the unit says, to processes that are anything but ours."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.supervisor import Supervisor, Unit
from tests.scenarios.home import ROOT

UNIT = ROOT / "systemd" / "voice-appliance.service"
READY = """
import os, socket, sys, time
out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
say = lambda text: out.sendto(text, os.environ["NOTIFY_SOCKET"])
print("here I am", file=sys.stderr, flush=True)
say(b"READY=1")
"""
FEEDS = READY + "while True: say(b'WATCHDOG=1'); time.sleep(0.05)\n"
HANGS = READY + "time.sleep(60)\n"
GROWS = READY + "hoard = b'x' * 200_000_000\n" + "while True: say(b'WATCHDOG=1'); time.sleep(0.05)\n"


class Made:
    def __init__(self, directory: Path) -> None:
        self.directory, self.lines = directory, list[str]()
        self.running: Supervisor | None = None

    def __call__(self, program: str, **changes: float | frozenset[int]) -> Supervisor:
        quick = {"restart_s": 0.05, "watchdog_s": 0.5, "start_s": 5.0, "stop_s": 2.0, **changes}
        unit = dataclasses.replace(Unit.read(UNIT), **quick)  # type: ignore[arg-type]
        command = [sys.executable, "-c", program]
        self.running = Supervisor(command, unit, self.directory, {}, self.lines.append)
        return self.running


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Made]:
    made = Made(tmp_path)
    yield made
    if made.running is not None:
        made.running.stop()


def test_the_unit_is_read_as_it_stands() -> None:
    unit = Unit.read(UNIT)
    assert (unit.restart, unit.restart_s, unit.watchdog_s, unit.prevent) == ("always", 1.0, 10.0, frozenset({78}))
    assert (unit.limit_s, unit.limit_burst, unit.memory_bytes) == (300.0, 6, 256 << 20)


def test_who_dies_is_started_again_and_who_is_stopped_is_not(supervised: Made) -> None:
    at = supervised(FEEDS)
    at.start()
    os.kill(at.pid, signal.SIGKILL)
    at.until("ready", 2, 5)
    assert [entry.code for entry in at.diary if entry.what == "exited"] == [-signal.SIGKILL]
    at.stop()
    assert at.count("started") == 2
    assert supervised.lines == ["here I am\n"] * 2


def test_who_does_not_feed_the_watchdog_is_aborted_and_started_again(supervised: Made) -> None:
    at = supervised(HANGS)
    at.start()
    at.until("ready", 2, 5)
    assert at.count("watchdog") == 1
    assert [entry.code for entry in at.diary if entry.what == "exited"] == [-signal.SIGABRT]


def test_an_exit_that_no_restart_helps_ends_it(supervised: Made) -> None:
    at = supervised(READY + "sys.exit(78)")
    at.start()
    at.until("exited", 1, 5)
    at.stop()
    assert at.count("started") == 1


def test_it_gives_up_at_the_start_limit(supervised: Made) -> None:
    at = supervised(READY, limit_burst=3, restart_s=0.0)
    at.start()
    with pytest.raises(AssertionError, match="gave up"):
        at.until("started", 4, 5)
    assert at.count("started") == 3


def test_who_takes_more_memory_than_allowed_is_killed(supervised: Made) -> None:
    at = supervised(GROWS, memory_bytes=100_000_000)
    at.start()
    at.until("ready", 2, 10)
    assert at.count("memory") >= 1
