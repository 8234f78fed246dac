"""The updater's units under a real systemd: what they may ask, what they may not, and who restarts the machine.

RAUC is the real service on the machine's own bus; its slots are files, and nothing is installed here (a container has
no loop devices): that is ``tests/update``.
"""

from __future__ import annotations

import json
import shutil

import pytest

from appliance.update import record
from appliance.update.record import Record
from tests.booted.machine import Machine
from tests.scenarios.home import ROOT
from tests.update.machine import SLOT, SYSTEM, autoboot

OVERLAY = ROOT / "image/overlay/update"
PLACE = "/srv/rauc"
STATE = "/var/lib/voice-appliance-update"
BACKEND = f"""#!/bin/sh
SELECTOR={PLACE} STATE={PLACE} RUN=/run TREE={PLACE}/tree FSTAB=/dev/null exec /usr/bin/sh {PLACE}/rauc-boot "$@"
"""
# Instead of reboot.target, which would end the container: the way there is the same.
STAND_IN = "[Unit]\nDescription=In place of a restart\n"
RESTART = (
    "[Service]\nExecStart=\nExecStart=/bin/systemctl start --no-block --job-mode=replace-irreversibly stand-in.target\n"
)
NOBODY = """[Service]
Type=oneshot
User=voice-appliance
ExecStart=/usr/bin/rauc status
"""


@pytest.fixture(scope="module")
def image(machine: Machine) -> Machine:
    """The machine, with what a card image has besides: a bus, RAUC, two slots."""
    place, etc = machine.root / PLACE.lstrip("/"), machine.root / "etc"
    (place / "tree").mkdir(parents=True)
    (place / "tree/partition").write_bytes(bytes((0, 0, 0, 2)))
    (place / "autoboot.txt").write_text(autoboot("A"))
    for number in (0, 1):
        for name in ("rootfs", "boot"):
            (place / f"{name}.{number}").write_bytes(bytes(1000))
    shutil.copy(OVERLAY / "usr/lib/voice-appliance/rauc-boot", place)
    (place / "backend").write_text(BACKEND)
    (place / "backend").chmod(0o755)
    (etc / "rauc").mkdir()
    shutil.copy(ROOT / "tests/booted/conftest.py", place / "keyring.pem")  # never read: nothing is installed
    text = SYSTEM.format(compatible="x", folder=PLACE, backend=f"{PLACE}/backend", keyring=f"{PLACE}/keyring.pem")
    for number, slot in enumerate("AB"):
        text += SLOT.format(name=f"rootfs.{number}", folder=PLACE, more=f"bootname={slot}")
        text += SLOT.format(name=f"boot.{number}", folder=PLACE, more=f"parent=rootfs.{number}")
    (etc / "rauc/system.conf").write_text(text)
    shutil.copytree(OVERLAY / "etc/dbus-1", etc / "dbus-1")
    units = etc / "systemd/system"
    (units / "dbus.socket").unlink()
    (units / "stand-in.target").write_text(STAND_IN)
    (units / "nobody.service").write_text(NOBODY)
    (units / "rauc.service.d").mkdir()
    (units / "rauc.service.d/slot.conf").write_text(
        "[Service]\nExecStart=\nExecStart=/usr/bin/rauc --override-boot-slot=A service\n"
    )
    (units / "voice-appliance-restart.service.d/stand-in.conf").write_text(RESTART)
    for name in ("update.timer", "restart.path"):
        shutil.copy(ROOT / f"systemd/voice-appliance-{name}", units)
    machine.run("systemd-sysusers", "/usr/lib/sysusers.d/dbus.conf", check=True)
    machine.run("systemctl", "daemon-reload", check=True)
    machine.run("systemctl", "start", "dbus.socket", "rauc.service", "voice-appliance-restart.path", check=True)
    return machine


def outcome(machine: Machine, unit: str) -> str:
    machine.run("systemctl", "start", unit)
    return machine.show(unit, "Result")


def waits(machine: Machine, kept: Record) -> None:
    """Put a record where the updater has it, as the updater's own."""
    directory = machine.root / STATE.lstrip("/")
    directory.mkdir(exist_ok=True)
    owner = machine.run("id", "-u", "voice-appliance-update", check=True).stdout.strip()
    group = machine.run("id", "-g", "voice-appliance-update", check=True).stdout.strip()
    record.save(directory, kept)
    machine.run("chown", "-R", f"{owner}:{group}", STATE, check=True)


def test_the_updater_asks_rauc_from_inside_its_sandbox(image: Machine) -> None:
    waits(image, record.installed(Record(), "9.0.0", "B"))
    assert outcome(image, "voice-appliance-confirm") == "success", image.journal("-u", "voice-appliance-confirm")
    assert "9.0.0 waits to be started" in image.journal("-u", "voice-appliance-confirm")


def test_the_daemons_user_may_not_command_rauc(image: Machine) -> None:
    assert outcome(image, "nobody") != "success"
    assert "AccessDenied" in image.journal("-u", "nobody") or "rejected" in image.journal("-u", "nobody").lower()
    assert image.run("rauc", "status").returncode == 0, "root may"


def test_the_updater_asks_the_appliance_who_it_is(image: Machine) -> None:
    waits(image, Record())
    config = image.root / "etc/voice-appliance/appliance.toml"
    config.write_text(config.read_text() + '\n[update]\nurl = "http://127.0.0.1:9/updates"\n')
    assert outcome(image, "voice-appliance-update") == "success"
    told = image.journal("-u", "voice-appliance-update")
    assert "127.0.0.1:9 refused the connection" in told
    kept = json.loads((image.root / STATE.lstrip("/") / record.FILE_NAME).read_text())
    assert "refused the connection" in kept["last"]


def test_a_wish_for_a_restart_is_granted_by_the_one_unit_that_may(image: Machine) -> None:
    assert image.show("stand-in.target", "ActiveState") == "inactive"
    image.run("install", "-d", "-o", "voice-appliance-update", "/run/voice-appliance-update", check=True)
    image.run("touch", "/run/voice-appliance-update/restart", user="voice-appliance-update", check=True)
    image.until(lambda: image.show("stand-in.target", "ActiveState") == "active", "the restart")
    assert image.show("voice-appliance-restart.service", "Result") == "success"
    shipped = (ROOT / "systemd/voice-appliance-restart.service").read_text()
    assert shipped.count("reboot.target") == 1
