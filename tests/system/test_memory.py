"""Frugality: the calls exist where they exist, and do no harm."""

from __future__ import annotations

import gc
import subprocess
import sys

from appliance.system import memory


def test_both_calls_work_and_may_be_repeated() -> None:
    program = "from appliance.system import memory as m; m.be_frugal(); m.give_back(); m.give_back(); print('alive')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "alive\n"


def test_what_is_alive_is_not_collected_again() -> None:
    before = gc.get_freeze_count()
    try:
        memory.give_back()
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()


def test_pages_of_libraries_are_given_back_and_come_back_when_needed() -> None:
    """A process that imported numpy and cryptography is smaller afterwards, and both still work."""
    program = """
import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from appliance.system import memory
def file_kb():
    return int(next(l for l in open("/proc/self/status") if l.startswith("RssFile")).split()[1])
before = file_kb()
memory.give_back()
after = file_kb()
assert ec.generate_private_key(ec.SECP256R1()).key_size == 256
assert np.correlate(np.ones(480, np.float32), np.ones(80, np.float32), "valid").sum() == 80 * 401
print(before, after)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after < before * 0.8
