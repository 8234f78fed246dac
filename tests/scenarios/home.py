"""A home for one appliance: sound card, provisioning service, Realtime server, daemon, and a hand on the button.

Responsible for: starting and ending them, and for reading what came of it. The server runs in a thread of the
test, so that a story reads from top to bottom.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from appliance.provisioning import cli
from tests.fakes.card import VirtualCard
from tests.fakes.realtime_server import RealtimeServer, Script

T = TypeVar("T")
Samples = NDArray[np.int16]
ROOT = Path(__file__).resolve().parents[2]


class Background:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float = 30.0) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout_s)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()


class Provisioning:
    """The real service, with a static upstream."""

    def __init__(self, directory: Path, upstream_url: str, issuer: str = "", more: str = "") -> None:
        """``more`` is added to its server.toml."""
        self.directory = directory
        key = directory / "key"
        directory.mkdir(parents=True, exist_ok=True)
        key.write_text("test-key-for-the-local-server\n")
        self.command(
            "init",
            "--upstream",
            "static",
            "--url",
            upstream_url,
            "--key-file",
            str(key),
            *(("--issuer", issuer) if issuer else ()),
        )
        with (directory / "server.toml").open("a") as file:
            file.write(more)
        self.token = self.command("tokens", "create", "--uses", "100", "--quiet").strip()
        command = [sys.executable, "-m", "appliance.provisioning.cli", "serve", "--data", str(directory), "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self.process.stdout is not None
        self.url = self.address = self.process.stdout.readline().split()[-1]
        assert self.url.startswith("http://"), self.url

    def command(self, *arguments: str) -> str:
        """Do what its owner does at the command line: in this process, which is two seconds quicker each time."""
        out, err, umask = io.StringIO(), io.StringIO(), os.umask(0o077)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = cli.main([*arguments, "--data", str(self.directory)])
        finally:
            os.umask(umask)
        assert code == 0, out.getvalue() + err.getvalue()
        return out.getvalue()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


class Daemon:
    """The real daemon in a process of its own."""

    def __init__(self, directory: Path, config: str, environment: dict[str, str]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.socket_path = directory / "control.sock"
        self.log_path = directory / "daemon.log"
        self.config_path = directory / "appliance.toml"
        self.config_path.write_text(config)
        command = [sys.executable, "-m", "appliance.cli", "run", "--config", str(self.config_path), "--debug"]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=log, cwd=ROOT)
        self.until(self._answers, "the control socket", timeout_s=30.0)

    def _answers(self) -> bool:
        """Whether somebody is behind the socket: one that died may have left it there."""
        with socket.socket(socket.AF_UNIX) as link:
            try:
                link.connect(str(self.socket_path))
            except OSError:
                return False
        return True

    def until(self, true: Callable[[], bool], what: str, timeout_s: float = 15.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not true():
            assert self.process.poll() is None, f"the daemon ended while waiting for {what}:\n{self.log()}"
            assert time.monotonic() < deadline, f"no {what}:\n{self.log()}"
            time.sleep(0.005)

    def log(self) -> str:
        return self.log_path.read_text()

    def command(self, cmd: str, **more: object) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(self.socket_path))
            link.sendall(json.dumps({"cmd": cmd, **more}).encode() + b"\n")
            line = link.makefile().readline()
        answer: dict[str, Any] = json.loads(line)
        assert answer["ok"], answer
        return answer

    def phase(self) -> str:
        return str(self.command("status")["phase"])

    def until_phase(self, phase: str, timeout_s: float = 15.0) -> None:
        self.until(lambda: self.phase() == phase, f"phase {phase}", timeout_s)

    def turns(self) -> list[dict[str, Any]]:
        """The turn records in the log."""
        lines = [line.split("turn ", 1)[1] for line in self.log().splitlines() if "records: turn {" in line]
        return [json.loads(line) for line in lines]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)


class Town:
    """What several homes share: the Realtime server and the provisioning service, which take a while to start."""

    def __init__(self, directory: Path) -> None:
        self.background = Background()
        self.server = RealtimeServer()
        self.background.run(self.server.__aenter__())
        self.provisioning = Provisioning(directory, self.server.url)

    def close(self) -> None:
        self.provisioning.close()
        self.background.run(self.server.__aexit__())
        self.background.close()


class Home:
    """One appliance in town: its sound card, its daemon, and a hand on the button."""

    def __init__(
        self,
        town: Town,
        directory: Path,
        card: VirtualCard,
        script: Script,
        settings: str = "",
        *,
        url: str = "",
        with_token: bool = True,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.card, self.background, self.server = card, town.background, town.server
        self.server.begin(script)
        token = directory / "token"
        if with_token:
            token.write_text(town.provisioning.token)
        named = f'enrolment_token_file = "{token}"' if with_token else ""
        config = f"""
board = "virtual"
[provisioning]
url = "{url or town.provisioning.url}"
{named}
[panel]
backend = "none"
[control]
socket = "{directory / "daemon" / "control.sock"}"
[state]
directory = "{directory / "state"}"
"""
        self.daemon = Daemon(directory / "daemon", config + settings, {**card.environment, **(environment or {})})

    def hold(self, seconds: float) -> None:
        """Hold the button: so long from when it listens, which on a busy machine takes a while, if it does at all."""
        self.daemon.command("press")
        deadline = time.monotonic() + 1.0
        while not self.card.capture_open and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(seconds)
        self.daemon.command("release")

    def heard(self, kind: str, count: int = 1, timeout_s: float = 15.0) -> dict[str, Any]:
        """Wait until the server got an event."""
        return self.background.run(self.server.until(kind, count, timeout_s), timeout_s + 5)

    def replies(self) -> Samples:
        """What the loudspeaker played so far."""
        return np.asarray(self.card.spoken(0, self.card.now()), np.int16).reshape(-1)

    def close(self) -> None:
        self.daemon.close()


def spans_of_sound(samples: Samples, rate: int, gap_ms: int = 20) -> Iterator[tuple[int, int]]:
    """Find the stretches that are not silent, joined across gaps below ``gap_ms``."""
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > 8)
    if not len(loud):
        return
    breaks = np.flatnonzero(np.diff(loud) > rate * gap_ms // 1000)
    starts = np.concatenate(([loud[0]], loud[breaks + 1]))
    stops = np.concatenate((loud[breaks], [loud[-1]])) + 1
    yield from zip(starts.tolist(), stops.tolist(), strict=True)


def tone(seconds: float, rate: int, frequency: float = 440.0, level: float = 0.3) -> Samples:
    """A sine that begins and ends without a click."""
    t = np.arange(int(seconds * rate)) / rate
    out: Samples = (level * 32767 * np.sin(2 * np.pi * frequency * t)).astype(np.int16)
    return out


def correlation(one: Samples, other: Samples) -> float:
    """Normalised correlation of two equally long stretches."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    return float(np.dot(a, b) / max(1e-9, np.sqrt(np.dot(a, a) * np.dot(b, b))))


def best_lag(signal: Samples, pattern: Samples) -> int:
    """Where ``pattern`` lies in ``signal``: the lag of the best correlation."""
    size = 1 << (len(signal) + len(pattern) - 1).bit_length()
    spectrum = np.fft.rfft(signal.astype(float), size) * np.conj(np.fft.rfft(pattern.astype(float), size))
    return int(np.argmax(np.fft.irfft(spectrum, size)[: len(signal)]))
