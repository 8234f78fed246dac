"""systemd's readiness protocol (sd_notify) and watchdog.

Responsible for: READY, STATUS, WATCHDOG, RELOADING, STOPPING. Without systemd every call does nothing.
``notify()`` of systemd-python blocks with the GIL held when nobody reads the socket, so the datagram is sent
here without waiting: a lost status is better than a deaf appliance. Source: sd_notify(3).
"""

from __future__ import annotations

import logging
import os
import socket
import time

log = logging.getLogger(__name__)


class Notifier:
    """Tells systemd how we are. One thread (the event loop)."""

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        env = dict(os.environ) if environment is None else environment
        self._address = env.get("NOTIFY_SOCKET", "")
        self.watchdog_s = _watchdog_s(env)
        self._socket: socket.socket | None = None
        self._status = ""
        self._complained = False
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    def ready(self) -> None:
        """We serve."""
        self._send("READY=1")

    def alive(self) -> None:
        """Feed the watchdog: only when audio frames move (or none are wanted) and the loop lives."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Show a line in ``systemctl status``."""
        text = " ".join(text.split())  # a newline would begin another message
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def reloading(self) -> None:
        """We take a new configuration into use; :meth:`ready` follows."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """We end on purpose."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if self._socket is None:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            self._socket.sendto(message.encode(errors="replace"), address)
            self._complained = False
        except BlockingIOError:
            pass  # nobody reads: better a lost line than a blocked appliance
        except OSError as error:  # it may be back in a moment, and restarts us if we fall silent for good
            if not self._complained:
                log.warning("cannot reach systemd: %s", error.strerror or error)
            self._complained = True

    def close(self) -> None:
        """Give the socket back."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _watchdog_s(env: dict[str, str]) -> float | None:
    """Read how often systemd wants to hear of us; ``None``: it does not."""
    usec = env.get("WATCHDOG_USEC", "")
    if not usec.isdecimal() or env.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(usec) / 1e6
