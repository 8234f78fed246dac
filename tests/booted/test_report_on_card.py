"""A report on the card under a real systemd: the wish is seen at the start, granted by the shipped units, and gone.

The card's first partition is a folder that the shipped mount unit binds; the two minutes are one second.
"""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Iterator
from io import BytesIO

import pytest

from appliance.diagnosis.report import BUNDLE, TEXT
from tests.booted.machine import BIN, Machine
from tests.booted.talking import talk, turns
from tests.booted.test_appliance import probed
from tests.scenarios.home import ROOT

UNIT, TIMER, MOUNT = "voice-appliance-report", "voice-appliance-report.timer", "run-voice_report.mount"
CARD, PLAIN = "boot/selector", "/srv/plain-report"
BOUND = f"[Mount]\nWhat=/{CARD}\nType=none\nOptions=bind"
SOON = "[Timer]\nOnActiveSec=\nOnActiveSec=1s\n"
# A container's boot has an id of its own, mounted over a file of the /proc that the sandbox replaces.
BOOT_ID = "/proc/sys/kernel/random/boot_id"
JOURNALCTL = """#!/bin/sh
for given; do
  shift
  [ "$given" != -b ] || given=--boot={boot}
  set -- "$@" "$given"
done
exec /usr/bin/journalctl "$@"
"""
WIFI = "a donkey of battery"
SYSTEM = {"autoboot.txt": "[all]\nboot_partition=2\n", "voice.toml": 'name = "Kitchen"\n'}
STEPS = [line for line in (ROOT / f"systemd/{UNIT}.service").read_text().splitlines() if line.startswith("ExecStart=")]


@pytest.fixture(scope="module")
def image(machine: Machine) -> Iterator[Machine]:
    """The machine, with what a card image has besides: the card's first partition, the timer, a bus."""
    if not turns(machine):
        talk(machine)
    units = machine.root / "etc/systemd/system"
    for name in (TIMER, MOUNT):
        shutil.copy(ROOT / "systemd" / name, units)
        (units / f"{name}.d").mkdir()
    (units / f"{TIMER}.d/soon.conf").write_text(SOON)
    shutil.copy(ROOT / "image/overlay/late/usr/lib/voice-appliance/plain-report", machine.root / PLAIN.lstrip("/"))
    keyfile = machine.root / "etc/NetworkManager/system-connections/home.nmconnection"
    keyfile.parent.mkdir(parents=True)
    keyfile.touch(mode=0o600)
    keyfile.write_text(f"[wifi-security]\npsk={WIFI}\n")
    (machine.root / CARD).mkdir(parents=True)
    shim = machine.root / "srv/shim/journalctl"
    shim.parent.mkdir()
    shim.write_text(JOURNALCTL.format(boot=machine.run("cat", BOOT_ID, check=True).stdout.strip().replace("-", "")))
    shim.chmod(0o755)
    arrange(machine)
    (units / "dbus.socket").unlink()
    machine.run("systemd-sysusers", "/usr/lib/sysusers.d/dbus.conf", check=True)
    machine.run("systemctl", "daemon-reload", check=True)
    machine.run("systemctl", "start", "dbus.socket", check=True)
    yield machine
    machine.run("systemctl", "stop", "dbus.socket", "dbus.service", UNIT, TIMER)
    machine.run("systemctl", "reset-failed", UNIT)
    (units / "dbus.socket").symlink_to("/dev/null")
    shutil.rmtree(keyfile.parent)
    shutil.rmtree(machine.root / "boot")
    machine.run("systemctl", "daemon-reload", check=True)


def arrange(machine: Machine, *, python: str = f"{BIN}/python3", more: str = "", bound: str = BOUND) -> None:
    """Name the places where the units find things here; and what is broken."""
    units = machine.root / "etc/systemd/system"
    steps = "\n".join(STEPS).replace(f"{BIN}/python3", python).replace("/usr/lib/voice-appliance/plain-report", PLAIN)
    assert steps.count(PLAIN) == 1
    (units / f"{UNIT}.service.d/steps.conf").write_text(
        f"[Service]\nExecStart=\n{steps}\nEnvironment=PATH=/srv/shim:/usr/bin\n{more}\n"
    )
    (units / f"{MOUNT}.d/places.conf").write_text(f"{bound}\n")
    machine.run("systemctl", "daemon-reload")


def wish(machine: Machine, *names: str) -> None:
    """Put a card in, with wishes on it or none, and start the machine: what waits for a wish looks for one."""
    card = machine.root / CARD
    for path in card.iterdir():
        path.unlink()
    for name, text in SYSTEM.items():
        (card / name).write_text(text)
    for name in names:
        (card / name).touch()
    machine.run("chown", "-R", "voice-appliance:", f"/{CARD}", check=True)  # as the unit's uid= says; FAT has no owners
    machine.run("chmod", "700", f"/{CARD}", check=True)
    machine.run("systemctl", "stop", TIMER, UNIT, check=True)
    machine.run("systemctl", "reset-failed", f"{UNIT}.service")
    machine.run("systemctl", "start", TIMER, check=True)


def granted(machine: Machine, name: str = "report") -> str:
    """The text, when the wish is gone and the partition is not mounted any more."""
    card = machine.root / CARD
    machine.until(lambda: not (card / name).exists(), "report", 60)
    machine.until(lambda: machine.show(UNIT, "ActiveState") == "inactive", "the unit's end")
    assert machine.show(UNIT, "Result") == "success"
    assert machine.show(MOUNT, "ActiveState") == "inactive"
    assert {file: (card / file).read_text() for file in SYSTEM} == SYSTEM
    return (card / TEXT).read_bytes().decode("utf-8-sig")


def parts_of(machine: Machine) -> dict[str, str]:
    with tarfile.open(fileobj=BytesIO((machine.root / CARD / BUNDLE).read_bytes()), mode="r:xz") as bundle:
        opened = {entry.name: bundle.extractfile(entry) for entry in bundle.getmembers()}
        return {name.rpartition("/")[2]: part.read().decode() for name, part in opened.items() if part}


def test_without_a_wish_nothing_waits(image: Machine) -> None:
    wish(image, "reports")
    assert image.show(TIMER, "ActiveState") == "inactive"
    assert image.show(TIMER, "ConditionResult") == "no"


def test_a_wish_is_granted_with_what_the_appliance_says_of_itself_and_no_secret(image: Machine) -> None:
    for words in (f"the network asks for {WIFI}", f"{'word ' * 20_000}", "mint: granted ek_hushhush"):
        entry = f"MESSAGE={words}\nPRIORITY=6\nOBJECT_SYSTEMD_UNIT=voice-appliance.service\n"
        image.run("logger", "--journald", stdin=entry, check=True)
    wish(image, "report.txt")
    text, parts = granted(image, "report.txt"), parts_of(image)
    lines = text.split("\r\n")
    assert lines[2] == "It finds nothing wrong with itself.", text
    for name in ("configuration", "service", "daemon", "microphone", "user", "disk", "state", "provisioning"):
        assert f"\r\nok      {name}: " in text, text
    assert "\r\nok      enrolment: known as d_" in text
    assert "\r\nphase            idle\r\n" in text
    assert "ready: board virtual" in parts["journal.txt"]
    assert "network asks for …" in parts["journal.txt"]
    assert max(map(len, parts["journal.txt"].splitlines())) < 2100
    state = image.root / "var/lib/voice-appliance"
    secrets = [(image.root / "etc/voice-appliance/enrolment-token").read_text().strip(), WIFI, "hush"]
    everything = "\n".join([text, *parts.values(), image.journal("-u", UNIT)])
    assert not [word for word in secrets if word in everything]
    assert {path.stat().st_uid for path in state.iterdir()} == {state.stat().st_uid}
    assert image.run("ls", "/run/voice-appliance-report").returncode != 0, "what was made is gone"


def test_a_broken_configuration_comes_first(image: Machine) -> None:
    path = image.root / "etc/voice-appliance/appliance.toml"
    whole = path.read_text()
    path.write_text(whole + "[audio.]\n")
    image.run("systemctl", "restart", "voice-appliance")
    wish(image, "report")
    text = granted(image)
    path.write_text(whole)
    image.run("systemctl", "reset-failed", "voice-appliance")
    image.run("systemctl", "restart", "voice-appliance", check=True)
    assert "wrong:" in text.split("\r\n")[2]
    assert "\r\n1. configuration: " in text
    assert "\r\n   Do: correct voice.toml on this card" in text
    assert "unit.txt" in parts_of(image)


def test_a_program_that_cannot_be_loaded(image: Machine) -> None:
    (image.root / "srv/broken").mkdir()
    (image.root / "srv/broken/msgspec.py").write_text("raise ImportError('no library for vdt_hushhush')\n")
    arrange(image, more="Environment=PYTHONPATH=/srv/broken")
    wish(image, "report")
    text = granted(image)
    assert "Its program is broken" in text
    assert f"There is no {BUNDLE}: it ended with 1 (ImportError: " in text
    assert "LoadState=loaded" in text
    assert "ready: board virtual" in text
    assert "hush" not in text
    assert not (image.root / CARD / BUNDLE).exists()


def test_python_itself_does_not_start(image: Machine) -> None:
    arrange(image, python="/srv/broken/python3")
    wish(image, "report")
    text = granted(image)
    assert "it does not start at all." in text
    assert "\r\nvoice-appliance\r\nNRestarts=" in text or "ActiveState=active\r\n" in text


def test_a_card_that_cannot_be_written_keeps_the_wish_and_nothing_hangs(image: Machine) -> None:
    arrange(image, bound=f"{BOUND},ro")
    wish(image, "report")
    told = "no report on the card (Read-only file system)"
    image.until(lambda: told in image.journal("-u", UNIT), "word of it", 60)
    image.until(lambda: image.show(UNIT, "SubState") == "auto-restart", "another try")
    assert image.show(MOUNT, "ActiveState") == "inactive"
    assert (image.root / CARD / "report").exists()
    arrange(image)
    assert granted(image).startswith("Voice appliance: report of")


def test_the_sandbox(image: Machine) -> None:
    found = probed(image, UNIT, "/var/lib/voice-appliance")
    allowed = ("unix", "inet", "name", "state", "cpuinfo", "foreign_secret", "sound_libraries")
    assert {name: found[name] for name in allowed} == dict.fromkeys(allowed, "ok")
    nodes = {name: found[name] for name in ("sound", "gpio", "spi", "other")}
    assert nodes == {"sound": "ENXIO", "gpio": "ENXIO", "spi": "ENXIO", "other": "EPERM"}
    refused = {
        name: found[name] for name in ("etc", "opt", "netlink", "namespace", "realtime", "clock", "written_code")
    }
    assert set(refused.values()) <= {"EROFS", "EACCES", "EAFNOSUPPORT", "EPERM"}, refused
