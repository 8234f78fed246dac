"""A home for the soak: the virtual card, a scripted server, the real provisioning service, the observed daemon.

Responsible for: starting and ending them, and for what can be seen of the daemon from outside.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes.card import VirtualCard
from tests.fakes.realtime_server import RealtimeServer
from tests.scenarios.home import ROOT, Background, Daemon, Provisioning
from tests.soak.front import Front

RATE = 48_000
EVERY_S = 2.0
OWNED_UP = ("cue_error", "cue_offline", "cue_too-short", "cue_muted", "cue_code")  # sounds that say: no answer
LIMITS = "\n[profiles.default.limits]\nper_minute = 0\nper_day = 0\nseconds_per_day = 0\n"
SETTINGS = """
[audio]
volume = 60
[conversation]
follow_up_s = 2
end_of_turn_ms = 400
listen_s = 8
think_s = 6
[realtime]
keep_warm_s = 6
open_timeout_s = 3
ping_interval_s = 2
ping_timeout_s = 3
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the process holds, as its system sees it. Kilobytes."""

    at: float
    rss_kb: int  # without the card's file, which is the test's
    anonymous_kb: int
    fds: int
    threads: int


class ObservedDaemon(Daemon):
    """The daemon that writes down its gauges."""

    def __init__(self, directory: Path, config: str, environment: dict[str, str]) -> None:
        self.socket_path = directory / "control.sock"
        self.log_path, self.gauges_path = directory / "daemon.log", directory / "gauges"
        self.config_path = directory / "appliance.toml"
        self.config_path.write_text(config)
        command = [sys.executable, "-m", "tests.soak.observed", str(self.config_path), str(self.gauges_path)]
        environment = {**os.environ, **environment, "OPENBLAS_NUM_THREADS": "1"}
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, stderr=log, cwd=ROOT)
        self.until(self.socket_path.exists, "the control socket")

    def gauges(self) -> list[dict[str, Any]]:
        """What it wrote; a line with ``born`` begins each life."""
        return [json.loads(line) for line in self.gauges_path.read_text().splitlines()]

    def sample(self, card: Path) -> Sample:
        """Look at it from outside."""
        folder = Path(f"/proc/{self.process.pid}")
        rss = anonymous = 0
        counts = True
        for line in (folder / "smaps").read_text().splitlines():
            name = line.split(maxsplit=1)[0]
            if not name.endswith(":"):
                counts = not line.endswith(str(card))
            elif counts and name == "Rss:":
                rss += int(line.split()[1])
            elif counts and name == "Anonymous:":
                anonymous += int(line.split()[1])
        status = (folder / "status").read_text()
        threads = int(status.split("Threads:")[1].split()[0])
        return Sample(time.monotonic(), rss, anonymous, sum(1 for _ in (folder / "fd").iterdir()), threads)


class SoakHome:
    """Everything; use as a context. ``heard`` and ``phases`` count what the followers were told."""

    def __init__(self, directory: Path, minutes: float) -> None:
        self.background = Background()
        self.server, self.front = RealtimeServer(), Front()
        self.background.run(self.server.__aenter__())
        address = self.background.run(self.front.open())
        self.provisioning = Provisioning(directory / "provisioning", self.server.url, address)
        with (directory / "provisioning" / "server.toml").open("a") as settings:
            settings.write(LIMITS)  # it is read again within seconds
        self.front.stand_before(self.provisioning.url)
        self.card = VirtualCard(directory / "card", rate=RATE, seconds=60 * minutes + 240)
        (directory / "token").write_text(self.provisioning.token)
        self.config = f"""
board = "virtual"
[provisioning]
url = "{address}"
enrolment_token_file = "{directory / "token"}"
[panel]
backend = "none"
[control]
socket = "{directory / "control.sock"}"
[state]
directory = "{directory / "state"}"
{SETTINGS}"""
        self.daemon = ObservedDaemon(directory, self.config, self.card.environment)
        self.samples: list[Sample] = []
        self.told: Counter[str] = Counter()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._sample), threading.Thread(target=self._follow)]
        for thread in self._threads:
            thread.start()

    def _sample(self) -> None:
        while not self._ended.wait(EVERY_S):
            with contextlib.suppress(OSError, IndexError):  # between two lives there is little to see
                self.samples.append(self.daemon.sample(self.card.path))

    def _follow(self) -> None:
        """Count replies that sounded and states, over every life of the daemon."""
        while not self._ended.is_set():
            with contextlib.suppress(OSError, ValueError), socket.socket(socket.AF_UNIX) as link:
                link.settimeout(1.0)
                link.connect(str(self.daemon.socket_path))
                link.sendall(b'{"cmd":"status","follow":true}\n')
                self._read(link)
            self._ended.wait(0.1)

    def _read(self, link: socket.socket) -> None:
        pending = b""
        while not self._ended.is_set():
            try:
                data = link.recv(65_536)
            except TimeoutError:
                continue
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                record = json.loads(line)
                self.told["turn" if record.get("event") == "turn" else f"phase {record.get('phase')}"] += 1
                if record.get("event") == "turn" and record["heard_ms"]:
                    self.told["heard"] += 1

    def owned_up(self) -> int:
        """How often it has said that there will be no answer, in this life."""
        counters = self.daemon.command("status")["counters"]
        return sum(int(counters.get(name, 0)) for name in OWNED_UP)

    def reload(self, *, good: bool) -> None:
        """Hand it a new configuration, or a broken one."""
        self.daemon.config_path.write_text(self.config if good else self.config + "\nbroken")
        self.daemon.process.send_signal(signal.SIGHUP)

    def close(self) -> None:
        """End everything."""
        self._ended.set()
        for thread in self._threads:
            thread.join(5)
        self.daemon.close()
        self.background.run(self.server.__aexit__())
        self.background.run(self.front.close())
        self.provisioning.close()
        self.background.close()
