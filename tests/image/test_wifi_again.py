"""The Wi-Fis that NetworkManager gave up are tried again.

A stand-in for nmcli records. What the real one does was seen with NetworkManager 1.42, without a Wi-Fi: "re-enabling
autoconnect for all connections (only clear no-secrets flag)".
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from image import tree

SCRIPT = tree.LATE / "usr/lib/voice-appliance/wifi-again"
NMCLI = """#!/bin/sh
case "$*" in
  *"STATE general") echo {state} ;;
  "agent secret") echo somebody came >>{log}; {then} ;;
  *) exit 2 ;;
esac
"""


def run(folder: Path, state: str, then: str = "exec sleep 60") -> tuple[int, bool]:
    """Run it; returns its exit code, and whether somebody came who could be asked."""
    log, fake = folder / "log", folder / "nmcli"
    fake.write_text(NMCLI.format(state=state, log=log, then=then))
    fake.chmod(0o755)
    done = subprocess.run([SCRIPT], env={"PATH": f"{folder}:/usr/bin:/bin"}, check=False, timeout=30)
    return done.returncode, log.exists()


def test_without_a_network_somebody_comes_for_a_moment(tmp_path: Path) -> None:
    assert run(tmp_path, "disconnected") == (0, True)


@pytest.mark.parametrize("state", ["connected", "connecting", "'connected (local only)'", ""])
def test_a_network_and_the_set_up_page_are_left_alone(tmp_path: Path, state: str) -> None:
    assert run(tmp_path, state) == (0, False)


def test_networkmanager_that_takes_nobody_is_a_failure(tmp_path: Path) -> None:
    assert run(tmp_path, "disconnected", "exit 8") == (1, True)


def test_it_goes_on_for_as_long_as_the_machine_runs() -> None:
    timer = (tree.LATE / "etc/systemd/system/voice-wifi-again.timer").read_text()
    assert "voice-wifi-again.timer" in tree.ENABLED
    assert "\nOnBootSec=" in timer
    assert "\nOnUnitInactiveSec=" in timer
