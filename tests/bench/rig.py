"""What the two clients have in common, and the two clients: a card, a server, a button, a process to watch.

Responsible for: starting and ending them. Not for: what is said (``story``) or measured (``measure``, ``cost``).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tests.fakes.card import Kind, Stream, VirtualCard
from tests.fakes.realtime_server import RealtimeServer, Script
from tests.scenarios.home import ROOT, Background, Provisioning

START_S = 20.0


class Bench:
    """Card and server of one client. Times of the server are monotonic seconds, those of the card frames."""

    def __init__(self, directory: Path, seconds: float) -> None:
        self.directory = directory
        self.card = VirtualCard(directory / "card", rate=48_000, seconds=seconds)
        self.background = Background()
        self.server = RealtimeServer(Script())
        self.background.run(self.server.__aenter__())

    def close(self) -> None:
        self.background.run(self.server.__aexit__())
        self.background.close()


class Client(Protocol):
    """One of the two: both are driven and measured by the same code."""

    name: str
    bench: Bench
    pid: int

    def start(self) -> float:
        """Start the process; returns the seconds until it can be talked to."""

    def press(self) -> float:
        """Push the button; returns when, in monotonic seconds."""

    def release(self) -> None:
        """Let the button up."""

    def stop(self) -> None:
        """End the process."""

    def last_words(self) -> str:
        """What it had to say lately, for the case that it does not do as it should."""

    def close(self) -> None:
        """End everything."""


class Appliance:
    """The daemon, as systemd starts it, with the real provisioning service behind it."""

    name = ""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.pid = bench, 0
        directory = bench.directory
        self.provisioning = Provisioning(directory / "provisioning", bench.server.url)
        (directory / "token").write_text(self.provisioning.token)
        self.config, self.log = directory / "appliance.toml", directory / "daemon.log"
        self._status = ""
        self._socket, self._notify = directory / "control.sock", directory / "notify.sock"
        self.config.write_text(f"""
board = "virtual"
[provisioning]
url = "{self.provisioning.url}"
enrolment_token_file = "{directory / "token"}"
[panel]
backend = "none"
[control]
socket = "{self._socket}"
[state]
directory = "{directory / "state"}"
""")

    def start(self) -> float:
        self._notify.unlink(missing_ok=True)
        self._systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._systemd.bind(str(self._notify))
        self._systemd.settimeout(START_S)
        environment = {**os.environ, **self.bench.card.environment, "NOTIFY_SOCKET": str(self._notify)}
        command = [sys.executable, "-m", "appliance.cli", "run", "--config", str(self.config)]
        with self.log.open("ab") as log:
            began = time.monotonic()
            self._process = subprocess.Popen(command, env=environment, stderr=log, cwd=ROOT)
        while b"READY=1" not in self._systemd.recv(4096):
            pass
        ready = time.monotonic()
        self.pid = self._process.pid
        self._button = socket.socket(socket.AF_UNIX)
        self._button.connect(str(self._socket))
        return ready - began

    def press(self) -> float:
        at = time.monotonic()
        self._command("press")
        return at

    def release(self) -> None:
        self._command("release")

    def _command(self, cmd: str) -> None:
        self._button.sendall(json.dumps({"cmd": cmd}).encode() + b"\n")
        answer = json.loads(self._button.recv(4096))
        assert answer["ok"], answer

    def records(self) -> list[dict[str, float | None]]:
        """The turn records that the daemon wrote: a cross-check only."""
        lines = self.log.read_text().splitlines()
        return [json.loads(line.split("turn ", 1)[1]) for line in lines if "records: turn {" in line]

    def stop(self) -> None:
        with contextlib.suppress(OSError):  # it may be dead
            self._button.sendall(b'{"cmd":"status"}\n')
            self._status = self._button.recv(16_384).decode()
        self._button.close()
        _end(self._process)
        self._systemd.close()

    def last_words(self) -> str:
        return "".join(self.log.read_text().splitlines(keepends=True)[-5:]) + self._status

    def close(self) -> None:
        self.provisioning.close()
        self.bench.close()


class Minimal:
    """The minimal client, straight at the server."""

    name = "minimal_"

    def __init__(self, bench: Bench) -> None:
        self.bench, self.pid = bench, 0

    def start(self) -> float:
        card, server = self.bench.card, self.bench.server
        environment = {
            **os.environ,
            **card.environment,
            "OPENAI_API_KEY": "test-key-for-the-local-server",
            "OPENAI_BASE_URL": server.url.replace("ws://", "http://").removesuffix("/realtime"),
        }
        updates, logged = len(server.of("session.update")), len(card.events())
        began = time.monotonic()
        command = [sys.executable, "-m", "tests.bench.minimal_client"]
        self._process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, cwd=ROOT)
        self.pid = self._process.pid

        def is_up() -> bool:
            started = {event.stream for event in card.events()[logged:] if event.kind is Kind.STARTED}
            return len(started) == len(Stream) and len(server.of("session.update")) > updates

        if not wait(is_up, START_S):
            raise TimeoutError(f"the minimal client did not start within {START_S:g} s")
        starts = [event.frame for event in card.events()[logged:] if event.kind is Kind.STARTED]
        # The log holds what opening probed as well: the last two starts are the streams that stayed.
        streams_at = max(starts) - card.frame_at(began)
        return streams_at / card.rate

    def press(self) -> float:
        at = time.monotonic()
        self._say(b"press\n")
        return at

    def release(self) -> None:
        self._say(b"release\n")

    def _say(self, line: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        _end(self._process)

    def last_words(self) -> str:
        return ""  # it says nothing

    def close(self) -> None:
        self.bench.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
        return
    process.kill()
    process.wait()


def wait(true: Callable[[], bool], timeout_s: float) -> bool:
    """Wait for something, looking every 2 ms; returns whether it came."""
    deadline = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True
