"""The daemon with a hand inside it: runs ``voice-appliance`` and obeys what a bench says on a datagram socket.

Responsible for: what no fault from outside can do alone: block the event loop, block or kill the audio thread, raise
a bug in a callback or a task, hoard memory, occupy the pool of threads, drive gpiozero's mock pins. Everything else
about the process is as ever. Not for: anything that a signal, the card, a wire or a file can do.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import threading
import time
from typing import Any

HAND = "FAULT_HAND"  # where the datagrams come
JOURNAL = "FAULT_JOURNAL"  # set: say that stderr is the journal, as systemd does
_daemons: list[Any] = []
_hoard: list[bytearray] = []


class Broken(Exception):
    """What a bug would raise."""


def _fail() -> None:
    raise Broken("a bug, on purpose")


async def _fail_later() -> None:
    _fail()


def _obey(verb: str, value: float) -> None:
    daemon = _daemons[-1]
    loop: asyncio.AbstractEventLoop = daemon._loop
    match verb:
        case "block the loop":
            loop.call_soon_threadsafe(time.sleep, value)
        case "block the audio thread":
            daemon.duplex._do(lambda: time.sleep(value))
        case "kill the audio thread":
            daemon.duplex._do(_fail)
        case "fail in a callback":
            loop.call_soon_threadsafe(_fail)
        case "fail in a task":
            loop.call_soon_threadsafe(lambda: daemon.session._spawn(_fail_later()))
        case "forget the link":
            loop.call_soon_threadsafe(daemon.session.close)
        case "hoard memory":
            _hoard.append(bytearray(b"x" * int(value * 1e6)))
        case "occupy the pool":
            for _ in range(64):
                loop.call_soon_threadsafe(loop.run_in_executor, None, time.sleep, value)
        case _:
            _drive(verb, value)


def _drive(verb: str, value: float) -> None:
    from gpiozero import Device

    pin = Device.pin_factory.pin(int(value))
    (pin.drive_low if verb == "pin low" else pin.drive_high)()


def _listen(ear: socket.socket) -> None:
    while True:
        order = json.loads(ear.recv(4096))
        _obey(order["verb"], order.get("value", 0.0))


def main() -> int:
    """Run the command with the hand in it."""
    # As appliance.cli does for `run`, before anything is imported that would look.
    from appliance import cli

    address = os.environ.get(HAND)
    if os.environ.get(JOURNAL):
        seen = os.fstat(sys.stderr.fileno())
        os.environ["JOURNAL_STREAM"] = f"{seen.st_dev}:{seen.st_ino}"
    if address:
        if os.path.exists(address):  # noqa: PTH110  # a process before us, which was killed
            os.unlink(address)  # noqa: PTH108
        ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ear.bind(address)
        sys.modules.setdefault("typing_extensions", None)  # type: ignore[arg-type]  # as cli does
        from appliance import daemon

        begin = daemon.Daemon._build

        def build(self: daemon.Daemon, group: asyncio.TaskGroup) -> None:
            begin(self, group)
            _daemons.append(self)
            threading.Thread(target=_listen, args=(ear,), name="hand", daemon=True).start()

        daemon.Daemon._build = build  # type: ignore[method-assign]
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
