"""Readiness and watchdog, against a real datagram socket."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.system.notify import Notifier


class Systemd:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(2)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.environment = {"NOTIFY_SOCKET": address}

    def heard(self) -> str:
        return self.socket.recv(4096).decode()

    def silent(self) -> bool:
        self.socket.setblocking(False)
        try:
            self.socket.recv(4096)
        except BlockingIOError:
            return True
        return False


@pytest.fixture(params=["file", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    address = str(tmp_path / "notify") if request.param == "file" else f"@voice-appliance-test-{os.getpid()}"
    made = Systemd(address)
    yield made
    made.socket.close()


def test_everything_is_told(systemd: Systemd) -> None:
    notifier = Notifier(systemd.environment)
    notifier.ready()
    notifier.alive()
    notifier.status("listening")
    notifier.stopping()
    assert [systemd.heard() for _ in range(4)] == ["READY=1", "WATCHDOG=1", "STATUS=listening", "STOPPING=1"]
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    reloading, at = systemd.heard().splitlines()
    assert reloading == "RELOADING=1"
    assert before <= int(at.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    notifier.close()
    notifier.ready()
    assert systemd.silent()


def test_a_status_is_told_when_it_changes_and_cannot_say_anything_else(systemd: Systemd) -> None:
    notifier = Notifier(systemd.environment)
    for text in ("a", "a", "b\nWATCHDOG=1\r\n", "a", "\udc80"):
        notifier.status(text)
    assert [systemd.heard() for _ in range(4)] == ["STATUS=a", "STATUS=b WATCHDOG=1", "STATUS=a", "STATUS=?"]
    assert systemd.silent()
    notifier.close()


def test_a_socket_that_nobody_reads_blocks_nobody(systemd: Systemd) -> None:
    notifier = Notifier(systemd.environment)
    began = time.monotonic()
    for _ in range(20_000):
        notifier.alive()
    assert time.monotonic() - began < 2.0
    assert systemd.heard() == "WATCHDOG=1"
    notifier.close()


def test_without_systemd_nothing_happens() -> None:
    notifier = Notifier({})
    assert notifier.watchdog_s is None
    notifier.ready()
    notifier.alive()
    notifier.status("x")
    notifier.stopping()
    notifier.close()


def test_systemd_that_is_away_for_a_moment_is_told_again_and_complained_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    path = tmp_path / "notify"
    notifier = Notifier({"NOTIFY_SOCKET": str(path)})
    for _ in range(3):
        notifier.alive()
    assert len(caplog.records) == 1
    back = Systemd(str(path))
    notifier.alive()
    assert back.heard() == "WATCHDOG=1"
    back.socket.close()
    notifier.alive()
    assert len(caplog.records) == 2, "a new failure is a new line"
    notifier.close()


def test_an_address_that_is_none_is_told(caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": "/" + "x" * 200})
    notifier.ready()
    assert "cannot reach systemd" in caplog.text
    notifier.close()


@pytest.mark.parametrize(
    ("environment", "watchdog_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "10000000"}, 10.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}, 10.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}, None),  # meant for another process
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "²"}, None),
    ],
)
def test_the_watchdogs_period(environment: dict[str, str], watchdog_s: float | None) -> None:
    assert Notifier(environment).watchdog_s == watchdog_s


def test_the_socket_is_not_inherited_by_children(systemd: Systemd) -> None:
    notifier = Notifier(systemd.environment)
    assert notifier._socket is not None
    assert not notifier._socket.get_inheritable()
    notifier.close()
