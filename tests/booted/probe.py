"""What a sandbox lets through, tried from inside; ``machine`` copies this file in and a unit's own settings run it.

Responsible for: trying, and writing ``name: "ok"`` or the errno's name as JSON into the file named by the argument.
Needs nothing but the standard library and what is tried.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import json
import mmap
import os
import resource
import socket
import sys
from collections.abc import Callable
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
NEW_USER_NAMESPACE = 0x10000000  # CLONE_NEWUSER of <sched.h>


def tried(work: Callable[[], object]) -> str:
    try:
        work()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error.errno))
    except Exception as error:  # noqa: BLE001  # whatever it is, its name is the finding
        return type(error).__name__
    return "ok"


def called(result: int) -> None:
    if result == -1:
        raise OSError(ctypes.get_errno(), "")


def opened(path: str) -> Callable[[], object]:
    return lambda: os.open(path, os.O_RDWR)


def written(path: Path) -> None:
    path.write_text("x")
    path.unlink()


def called_back() -> None:
    """Libffi makes code at run time for this, unless it was built not to."""
    add = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda number: number + 1)
    assert add(1) == 2


def libraries(*names: str) -> Callable[[], object]:
    return lambda: [importlib.import_module(name) for name in names]


def main(place: Path) -> None:
    read_write_run = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    tries: dict[str, Callable[[], object]] = {
        "sound": opened("/dev/snd/pcmC0D0p"),
        "gpio": opened("/dev/gpiochip0"),
        "spi": opened("/dev/spidev0.0"),
        "other": opened("/dev/other"),
        "null": opened("/dev/null"),
        "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "packet": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
        "inet": lambda: socket.create_connection(("127.0.0.1", 8787), 3).close(),
        "unix": lambda: socket.socket(socket.AF_UNIX),
        "name": lambda: socket.getaddrinfo("provisioning.test", 80, type=socket.SOCK_STREAM),
        "state": lambda: written(place.parent / "probe"),
        "etc": lambda: written(Path("/etc/voice-appliance/x")),
        "opt": lambda: written(Path("/opt/x")),
        "foreign_secret": lambda: Path("/etc/voice-appliance/enrolment-token").read_text(),
        "foreign_state": lambda: os.listdir("/var/lib/private"),  # noqa: PTH208  # errors of the call itself are wanted
        "process_1": lambda: os.listdir("/proc/1"),  # noqa: PTH208
        "cpuinfo": lambda: Path("/proc/cpuinfo").read_text(),
        "namespace": lambda: called(LIBC.unshare(NEW_USER_NAMESPACE)),
        "realtime": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
        "clock": lambda: called(LIBC.clock_settime(0, ctypes.byref((ctypes.c_long * 2)(1, 0)))),
        "written_code": lambda: mmap.mmap(-1, 4096, prot=read_write_run),
        "callback": called_back,
        "gpio_library": libraries("gpiozero", "lgpio"),
        "sound_libraries": libraries("numpy", "soxr", "alsaaudio", "pywebrtc_audio", "earshot", "webrtcvad"),
    }
    found: dict[str, object] = {name: tried(work) for name, work in tries.items()}
    found["core"] = resource.getrlimit(resource.RLIMIT_CORE)[0]
    place.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
