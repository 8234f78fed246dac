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
