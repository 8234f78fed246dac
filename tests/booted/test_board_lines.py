"""The board's lines under a real systemd: the import unit, shut in as it is, looks; another one writes.

The boot partition is a folder (a container mounts nothing), and instead of reboot.target another one is started.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from appliance.first_boot import lines
from tests.booted.machine import Machine
from tests.scenarios.home import ROOT

SCRIPT = "/srv/board-lines"
STAND_IN = "[Unit]\nDescription=In place of a restart\n"
OVERLAY = ROOT / "image/overlay/late"
PLACES = f"""[Service]
ExecStart=
ExecStart={SCRIPT} apply
Environment="RESTART=/bin/systemctl start --no-block --job-mode=replace-irreversibly board-stand-in.target"
"""
UNIT, WRITER = "voice-appliance-import", "voice-board-lines"


@pytest.fixture(scope="module")
def image(machine: Machine) -> Iterator[Machine]:
    """The machine, with what the card image has besides; a ReSpeaker is named that its configuration did not name."""
    units, boot = machine.root / "etc/systemd/system", machine.root / "boot"
    config = machine.root / "etc/voice-appliance/appliance.toml"
    before = config.read_text()
    shutil.copy(OVERLAY / "usr/lib/voice-appliance/board-lines", machine.root / SCRIPT.lstrip("/"))
    shutil.copy(OVERLAY / f"etc/systemd/system/{WRITER}.service", units)
    (units / f"{WRITER}.service.d").mkdir()
    (units / f"{WRITER}.service.d/places.conf").write_text(PLACES)
    (units / "board-stand-in.target").write_text(STAND_IN)
    (boot / "running").mkdir(parents=True)
    (machine.root / "data").mkdir()
    (boot / "running/config.txt").write_text("[all]\ninclude board.txt\n")
    (boot / "running/board.txt").write_text(lines.text(()))
    config.write_text(before.replace('"virtual"', '"respeaker-2mic"'))
    machine.run("systemctl", "daemon-reload", check=True)
    yield machine
    config.write_text(before)
    shutil.rmtree(boot)
    machine.run("systemctl", "stop", UNIT, WRITER, check=True)
    machine.run("rm", "-r", "/run/voice-appliance-setup", check=True)


def start(machine: Machine) -> dict[str, object]:
    machine.run("systemctl", "stop", UNIT, WRITER, check=True)
    for unit in (UNIT, WRITER):
        machine.run("systemctl", "start", unit, check=True)
    found: dict[str, object] = json.loads(machine.run("cat", "/run/voice-appliance-setup/outcome.json").stdout)
    told = found["lines"]
    assert isinstance(told, dict)
    return told


def active(machine: Machine) -> str:
    return machine.show("board-stand-in.target", "ActiveState")


def test_named_written_restarted_once(image: Machine) -> None:
    assert active(image) == "inactive"
    assert start(image)["state"] == "new"
    image.until(lambda: active(image) == "active", "the restart")
    written = image.root / "boot/running/board.txt"
    assert "dtoverlay=respeaker-2mic-v1\n" in written.read_text()
    assert (image.root / "data/board.txt").read_text() == written.read_text()
    assert "restarting, so that they are in use" in image.journal("-u", WRITER)
    image.run("systemctl", "stop", "board-stand-in.target", check=True)
    assert start(image)["state"] == "in_use"
    assert active(image) == "inactive"
    assert sorted(path.name for path in (image.root / "data").iterdir()) == ["board.txt"]


def test_everybody_may_read_how_it_is(image: Machine) -> None:
    told = image.run("voice-appliance", "devices", user="voice-appliance")
    assert "firmware:      ok      board lines: dtparam=i2c_arm=on dtparam=spi=on" in told.stdout, told.stderr
    assert "the overlay respeaker-2mic-v1 is not on this card" in told.stdout


def test_the_program_itself_may_not_write_there(image: Machine) -> None:
    """A probe under the very settings of its unit, but for what runs before and after it."""
    text = (ROOT / f"systemd/{UNIT}.service").read_text()
    rules = "\n".join(line for line in text.splitlines() if not line.startswith("Exec"))
    for name, before in (("within", rules), ("without", "[Service]\nType=oneshot\n")):
        unit = before.replace("[Service]", "[Service]\nExecStart=/usr/bin/touch /boot/running/board.txt")
        (image.root / f"etc/systemd/system/board-{name}.service").write_text(unit)
    image.run("systemctl", "daemon-reload", check=True)
    assert image.run("systemctl", "start", "board-within").returncode != 0
    assert "Read-only file system" in image.journal("-u", "board-within")
    image.run("systemctl", "start", "board-without", check=True)
