"""One machine for all tests in here; they tell one story in order."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.booted.machine import Machine

DATA = "/var/lib/voice-provisioning"
CONFIG = """
board = "virtual"
[provisioning]
url = "http://127.0.0.1:8787"
[panel]
backend = "none"
[conversation]
follow_up_s = 0
[audio]
cues = false
"""


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Booted, set up as docs/install.md says, with all services running."""
    if shutil.which("systemd-nspawn") is None or os.geteuid() != 0:
        pytest.skip("needs systemd-nspawn and root")
    made = Machine(tmp_path_factory.mktemp("machine"))
    try:
        made.boot()
        set_up(made)
        yield made
    finally:
        made.close()


def set_up(machine: Machine) -> None:
    key = machine.root / DATA.lstrip("/") / "openai.key"
    machine.run("voice-provisioning", "init", "--base-url", "http://127.0.0.1:8790", "--data", DATA, check=True)
    key.touch(mode=0o600)
    key.write_text("a-key-that-the-local-backend-takes\n")
    token = machine.run("voice-provisioning", "tokens", "create", "--quiet", "--data", DATA, check=True).stdout
    folder = machine.root / "etc/voice-appliance"
    folder.mkdir(exist_ok=True)
    (folder / "appliance.toml").write_text(CONFIG)
    secret = folder / "enrolment-token"
    secret.touch(mode=0o600)
    secret.write_text(token)
    machine.run("systemctl", "enable", "voice-appliance", check=True)
    machine.run("systemctl", "start", "voice-local", "voice-provisioning", "voice-appliance", check=True)
    machine.until(lambda: machine.journal().count("listening on http") == 2, "both services")
