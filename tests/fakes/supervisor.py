"""A supervisor that does to one process what systemd would do by our unit file: start, watch, end, start again.

Responsible for: readiness, the watchdog, Restart, RestartSec, RestartPreventExitStatus, the start limit and MemoryMax,
all read from the unit, and a diary of what happened when. Not for: users, sandbox, credentials or the journal (those
need a real systemd). Source: systemd.service(5), systemd.unit(5).
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

UNITS = {"": 1.0, "s": 1.0, "ms": 0.001, "min": 60.0}
SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
LOOK_S = 0.05


@dataclass(frozen=True)
class Unit:
    """What of a unit file this supervisor does."""

    restart: str
    restart_s: float
    prevent: frozenset[int]
    watchdog_s: float
    start_s: float
    stop_s: float
    limit_s: float
    limit_burst: int
    memory_bytes: int

    @classmethod
    def read(cls, path: Path) -> Unit:
        """Read a unit file; later lines of a key win, as for systemd."""
        keys = dict(re.findall(r"^(\w+)=(.*)$", path.read_text(), re.MULTILINE))
        return cls(
            restart=keys.get("Restart", "no"),
            restart_s=_seconds(keys.get("RestartSec", "100ms")),
            prevent=frozenset(int(code) for code in keys.get("RestartPreventExitStatus", "").split()),
            watchdog_s=_seconds(keys.get("WatchdogSec", "0")),
            start_s=_seconds(keys.get("TimeoutStartSec", "90")),
            stop_s=_seconds(keys.get("TimeoutStopSec", "90")),
            limit_s=_seconds(keys.get("StartLimitIntervalSec", "10")),
            limit_burst=int(keys.get("StartLimitBurst", "5")),
            memory_bytes=_bytes(keys.get("MemoryMax", "infinity")),
        )


def _seconds(text: str) -> float:
    found = re.fullmatch(r"([0-9.]+) ?(ms|s|min|)", text.strip())
    assert found is not None, text
    return float(found[1]) * UNITS[found[2]]


def _bytes(text: str) -> int:
    found = re.fullmatch(r"([0-9]+)([KMG]?)", text.strip())
    return int(found[1]) * SIZES[found[2]] if found else sys.maxsize


@dataclass(frozen=True)
class Entry:
    """One line of the diary: when (monotonic), what, and of which process."""

    at: float
    what: str  # started, ready, watchdog, memory, exited, gave up
    pid: int
    code: int | None = None  # of an exit; negative: the signal


class Supervisor:
    """Runs ``command`` by ``unit`` from :meth:`start` to :meth:`stop`; the process's stderr goes to ``log``."""

    def __init__(
        self, command: list[str], unit: Unit, directory: Path, environment: dict[str, str], log: Callable[[str], None]
    ) -> None:
        self._command, self.unit, self._environment, self._log = command, unit, environment, log
        self._address = directory / "notify"
        self.diary: list[Entry] = []
        self.process: subprocess.Popen[str] | None = None
        self._ready = threading.Event()
        self._stopping = threading.Event()
        self._paused_until = 0.0
        self._fed_at = 0.0
        self._thread = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def start(self) -> None:
        """Start the process, and wait until it is ready or its start has failed for good."""
        self._listener.bind(os.fspath(self._address))
        self._listener.settimeout(LOOK_S)
        self._thread.start()
        self.until("ready", 1, self.unit.start_s + 5)

    def stop(self) -> None:
        """End the process as ``systemctl stop`` does, and the supervision with it."""
        self._stopping.set()
        self._thread.join(self.unit.stop_s + 10)
        self._listener.close()

    @property
    def pid(self) -> int:
        """The process that runs now, or ran last."""
        return self.diary[-1].pid if self.process is None else self.process.pid

    def pause(self, seconds: float) -> None:
        """Take no datagrams for so long, as a supervisor that is swapped out; the watchdog waits as well."""
        self._paused_until = self._fed_at = time.monotonic() + seconds

    def count(self, what: str) -> int:
        """How often something happened."""
        return sum(entry.what == what for entry in self.diary)

    def until(self, what: str, count: int, timeout_s: float) -> Entry:
        """Wait until something happened for the ``count``-th time."""
        deadline = time.monotonic() + timeout_s
        while self.count(what) < count:
            assert time.monotonic() < deadline, f"not {what} x {count} within {timeout_s:g} s: {self.diary[-6:]}"
            assert not self.count("gave up"), f"gave up: {self.diary[-6:]}"
            time.sleep(0.01)
        return [entry for entry in self.diary if entry.what == what][count - 1]

    # --- the thread ---

    def _note(self, what: str, code: int | None = None) -> None:
        assert self.process is not None
        self.diary.append(Entry(time.monotonic(), what, self.process.pid, code))

    def _supervise(self) -> None:
        starts: deque[float] = deque()
        while True:
            starts.append(time.monotonic())
            self._begin()
            code = self._watch()
            self._note("exited", code)
            if self._stopping.is_set() or not self._restarts(code):
                return
            if self._stopping.wait(self.unit.restart_s):
                return
            while starts and starts[0] < time.monotonic() - self.unit.limit_s:
                starts.popleft()
            if len(starts) >= self.unit.limit_burst:
                self._note("gave up")
                return

    def _restarts(self, code: int) -> bool:
        return self.unit.restart == "always" and code not in self.unit.prevent

    def _begin(self) -> None:
        environment = {**os.environ, **self._environment, "NOTIFY_SOCKET": os.fspath(self._address)}
        if self.unit.watchdog_s:
            environment["WATCHDOG_USEC"] = str(int(self.unit.watchdog_s * 1e6))
        self._ready.clear()
        self.process = subprocess.Popen(self._command, env=environment, stderr=subprocess.PIPE, text=True)
        self._fed_at = time.monotonic()
        self._note("started")
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                self._log(line)

    def _watch(self) -> int:
        """Follow one process to its end; returns its code."""
        process = self.process
        assert process is not None
        while process.poll() is None:
            self._listen()
            if self._stopping.is_set():
                return self._end(process, signal.SIGTERM)
            patience_s = self.unit.watchdog_s if self._ready.is_set() else self.unit.start_s
            if patience_s and time.monotonic() - self._fed_at > patience_s:
                self._note("watchdog")
                return self._end(process, signal.SIGABRT)
            if _resident(process.pid) > self.unit.memory_bytes:
                self._note("memory")
                process.kill()  # the kernel does it, not systemd: there is no good-bye
        return process.wait()

    def _listen(self) -> None:
        if time.monotonic() < self._paused_until:
            time.sleep(LOOK_S)
            return
        try:
            message = self._listener.recv(4096).decode(errors="replace")
        except TimeoutError:
            return
        for line in message.splitlines():
            if line == "READY=1":
                self._fed_at = time.monotonic()
                self._ready.set()
                self._note("ready")
            elif line == "WATCHDOG=1":
                self._fed_at = time.monotonic()

    def _end(self, process: subprocess.Popen[str], number: int) -> int:
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(self.unit.stop_s)
        process.kill()
        return process.wait()


def _resident(pid: int) -> int:
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
