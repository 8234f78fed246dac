"""A process elsewhere: its wall clock and its names are as told, its monotonic clock and addresses as ever."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.fakes.shim import Elsewhere

LOOK = """
import datetime, json, socket, sys, time
def known(name):
    try:
        return socket.getaddrinfo(name, 80)[0][4][0]
    except socket.gaierror as error:
        return error.args[0] == socket.EAI_AGAIN
now = datetime.datetime.now(datetime.timezone.utc).timestamp()
print(json.dumps([time.time(), now, time.monotonic(), known("a.local"), known("127.0.0.1")]))
"""


def look(at: Elsewhere) -> list[Any]:
    env = {**os.environ, **at.environment}
    done = subprocess.run([sys.executable, "-c", LOOK], env=env, capture_output=True, text=True, check=True)
    found: list[Any] = json.loads(done.stdout)
    return found


def test_clock_and_names(tmp_path: Path) -> None:
    at = Elsewhere(tmp_path)
    wall, same, monotonic, name, digits = look(at)
    assert abs(wall - time.time()) < 5
    assert abs(monotonic - time.monotonic()) < 5
    assert (name, digits) == ("127.0.0.1", "127.0.0.1")
    at.set_clock(-time.time())
    at.set_nameless(True)
    wall, same, monotonic, name, digits = look(at)
    assert 0 <= wall < 5
    assert 0 <= same < 5
    assert abs(monotonic - time.monotonic()) < 5
    assert (name, digits) == (True, "127.0.0.1")
    at.close()
