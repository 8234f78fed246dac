"""The services that the guest talks to: provisioning and the local Realtime backend, on this machine's loopback.

Responsible for: starting, ending, and the secrets that they hold, which must be found nowhere else. QEMU's user network
shows this machine's loopback to the guest at 10.0.2.2.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

HOST = "10.0.2.2"
READY_S = 90.0


class Home:
    """Both services, as processes. Use as a context."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._processes: list[subprocess.Popen[bytes]] = []
        self.key = secrets.token_urlsafe(24)
        key = work / "provider-key"
        key.touch(mode=0o600)
        key.write_text(self.key)
        backend, provisioning = _free_port(), _free_port()
        self.url = f"http://{HOST}:{provisioning}"
        self._serve("local", "serve", "--port", str(backend), "--api-key-file", str(key))
        data = ["--data", str(work / "provisioning")]
        session = f"ws://{HOST}:{backend}/v1/realtime"
        self._call(
            "init", "--issuer", self.url, "--upstream", "static", "--url", session, "--key-file", str(key), *data
        )
        self.token = self._call("tokens", "create", "--quiet", *data).strip()
        self._serve("provisioning", "serve", "--host", "127.0.0.1", "--port", str(provisioning), *data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.terminate()
            process.wait(10)

    def devices(self) -> str:
        """List the devices that the service knows."""
        return self._call("devices", "list", "--data", str(self._work / "provisioning"))

    def _call(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "appliance.provisioning.cli", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def _serve(self, name: str, *arguments: str) -> None:
        log = self._work / f"{name}.log"
        with log.open("wb") as sink:
            command = [sys.executable, "-m", f"appliance.{name}.cli", *arguments]
            self._processes.append(
                subprocess.Popen(command, stdout=sink, stderr=sink, env={**os.environ, "PYTHONUNBUFFERED": "1"})
            )
        deadline = time.monotonic() + READY_S
        while "listening on http" not in log.read_text("utf-8", "replace"):
            if self._processes[-1].poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not start:\n{log.read_text('utf-8', 'replace')[-500:]}")
            time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
