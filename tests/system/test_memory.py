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


def test_what_was_large_once_is_given_back_each_time() -> None:
    """By itself glibc keeps up to twice of what was the largest: here it would be 8 MB."""
    program = """
import sys
import numpy as np
from appliance.system import memory
def anonymous_kb():
    return int(next(l for l in open("/proc/self/status") if l.startswith("RssAnon")).split()[1])
if "frugal" in sys.argv:
    memory.be_frugal()
before = anonymous_kb()
for count in (2_000_000, 1_900_000, 1_800_000):
    large = np.ones(count, np.float32)
    small = [bytes(1000) for _ in range(100)]
    del large
print(anonymous_kb() - before)
"""
    command = [sys.executable, "-c", program]
    kept, frugal = (
        int(subprocess.run([*command, *more], capture_output=True, text=True, check=True).stdout)
        for more in ([], ["frugal"])
    )
    assert frugal < 1000
    assert kept > 4000  # else this test shows nothing


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
