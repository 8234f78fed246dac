"""The systemd units: nothing in them is unknown to systemd, and the process is shut in."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.diagnosis import collecting, putting
from appliance.diagnosis import unit as unit_of
from appliance.update import commands, health, trial, updater
from image import layout, tree
from tests.scenarios.home import ROOT

UNITS = sorted((ROOT / "systemd").glob("*.service"))
TRIGGERS = [unit for kind in ("timer", "path", "mount") for unit in sorted((ROOT / "systemd").glob(f"*.{kind}"))]
SYSTEM = Path("/lib/systemd/system")
GENERATOR = Path("/lib/systemd/system-generators/systemd-fstab-generator")
MOST_EXPOSED = 1.5  # of 10
# Two change the machine's settings, as root; the one process of them that listens gives its rights away first. The
# third may read what is root's.
ROOTS = {
    "voice-appliance-import.service": 1.7,
    "voice-appliance-setup.service": 2.5,
    "voice-appliance-report.service": 1.7,
}
PAGE = (ROOT / "docs/decisions/sandbox.md").read_text()  # says how exposed each unit is, and what for

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")


def directives(unit: Path) -> list[tuple[str, str]]:
    lines = [line.partition("=") for line in unit.read_text().splitlines() if re.match("[A-Z][A-Za-z]*=", line)]
    return [(key, value) for key, _, value in lines]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root file system with the units, the programs that they start, and the targets that they name."""
    installed = tmp_path / "etc/systemd/system"
    installed.mkdir(parents=True)
    known = tmp_path / "lib/systemd/system"
    known.mkdir(parents=True)
    for kind in ("target", "slice", "socket"):
        for unit in SYSTEM.glob(f"*.{kind}"):
            shutil.copy(unit, known, follow_symlinks=unit.exists())
    for unit in (*UNITS, *TRIGGERS):
        shutil.copy(unit, installed)
        for key, value in directives(unit):
            if key.startswith("Exec"):
                program = tmp_path / value.split()[0].lstrip("/-+!")
                program.parent.mkdir(parents=True, exist_ok=True)
                program.write_text("#!/bin/sh\n")
                program.chmod(0o755)
    return tmp_path


def verify(root: Path, unit: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "verify", "--man=no", f"--root={root}", unit]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("unit", [*UNITS, *TRIGGERS], ids=lambda unit: unit.name)
def test_systemd_accepts_the_unit_without_a_word(unit: Path, root: Path) -> None:
    done = verify(root, unit.name)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_this_check_can_fail(root: Path) -> None:
    unit = root / "etc/systemd/system/voice-appliance.service"
    unit.write_text(unit.read_text().replace("NoNewPrivileges=", "NoNewPrivilege="))
    assert "NoNewPrivilege" in verify(root, unit.name).stderr
    shutil.rmtree(root / "opt")
    assert verify(root, unit.name).returncode != 0


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_service_is_shut_in(unit: Path, record_property: Callable[[str, object], None]) -> None:
    command = ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    record_property("exposure", found[1])
    documented = re.search(rf"\| `{re.escape(unit.name)}` \| ([\d.]+) \|", PAGE)
    assert documented, "every unit has its line in the page"
    assert float(found[1]) <= float(documented[1]) <= ROOTS.get(unit.name, MOST_EXPOSED)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_nothing_but_an_update_reboots_the_machine(unit: Path) -> None:
    """A board that was named does, once, on the card image: a unit of the image's own, image/overlay/late."""
    names = {name for name, _ in directives(unit)}
    assert not {name for name in names if name.endswith("Action")}, "StartLimitAction, FailureAction, SuccessAction"
    assert ("reboot" in dict(directives(unit))["ExecStart"]) == (unit.name == "voice-appliance-restart.service")


def test_the_updates_units_fit_each_other() -> None:
    """They agree on who is who, where the record is, and where the wish for a restart is left."""
    path = dict(directives(ROOT / "systemd/voice-appliance-restart.path"))
    policy = (ROOT / "image/overlay/update/etc/dbus-1/system.d/voice-appliance-update.conf").read_text()
    sysusers = (ROOT / "systemd/voice-appliance.sysusers").read_text()
    for name, command in (("update", "auto"), ("confirm", "confirm")):
        unit = dict(directives(ROOT / f"systemd/voice-appliance-{name}.service"))
        assert unit["ExecStart"].split()[1:3] == ["update", command]
        assert unit["StateDirectory"] == commands.STATE.name
        assert path["PathChanged"] == str(commands.RUN / updater.RESTART)
        assert unit["RuntimeDirectory"] == commands.RUN.name
        assert unit["RuntimeDirectoryPreserve"] == "yes"
        assert f'<policy user="{unit["User"]}">' in policy
        assert f"u {unit['User']} " in sysusers
        assert f"m {unit['User']} {unit['SupplementaryGroups']}" in sysusers
    confirm = dict(directives(ROOT / "systemd/voice-appliance-confirm.service"))
    assert confirm["TimeoutStartSec"] == "30min"
    assert health.LIMIT_S + trial.PATIENCE_S < 30 * 60


def test_the_reports_units_fit_each_other_the_card_and_the_program() -> None:
    mount = dict(directives(ROOT / "systemd/run-voice_report.mount"))
    assert mount["What"] == f"/dev/disk/by-partuuid/{layout.SELECTOR.partuuid}"
    assert {"umask=0077", "uid=voice-appliance", "nosuid", "nodev", "noexec"} <= set(mount["Options"].split(","))
    unit = directives(ROOT / "systemd/voice-appliance-report.service")
    steps = [value for key, value in unit if key == "ExecStart"]
    made = f"/run/{dict(unit)['RuntimeDirectory']}"
    assert [step.split()[-1] for step in steps] == [made, "run-voice_report.mount", mount["Where"], mount["Where"]]
    assert steps[0].split()[3] == collecting.__name__
    assert steps[2].split()[3] == putting.__name__
    assert f"-{mount['Where']}" in dict(unit)["ReadWritePaths"].split()
    at_most_s = collecting.BUNDLE_S + collecting.DOCTOR_S + 2 * unit_of.PATIENCE_S
    assert at_most_s <= 60 * int(dict(unit)["TimeoutStartSec"].removesuffix("min"))
    conditions = [value for key, value in directives(ROOT / "systemd/voice-appliance-report.timer") if "Path" in key]
    assert conditions == [f"|/boot/selector/{name}" for name in putting.WISHES]


@pytest.mark.parametrize("circle", [False, True], ids=["as it is", "this check can fail"])
def test_the_wish_for_a_report_is_looked_for_before_the_partition_is_let_go(root: Path, circle: bool) -> None:
    """The image's units and fstab in one start: in order, and nothing waits in a circle."""
    units, fstab = root / "etc/systemd/system", root / "fstab"
    fstab.write_text(layout.fstab())
    (root / "lib/systemd/systemd-growfs").touch(mode=0o755)
    environment = {"SYSTEMD_FSTAB": str(fstab), "SYSTEMD_SYSROOT_FSTAB": "/dev/null"}
    subprocess.run([GENERATOR, units, units, units], env=environment, check=True, capture_output=True)
    for unit in tree.ENABLED:
        if (units / unit).exists():
            target = dict(directives(units / unit))["WantedBy"]
            (units / f"{target}.wants").mkdir(exist_ok=True)
            (units / f"{target}.wants" / unit).symlink_to(f"../{unit}")
    timer = units / "voice-appliance-report.timer"
    order = dict(directives(timer))
    assert (order["After"], order["Before"]) == ("boot-selector.mount", "voice-appliance-import.service")
    assert (
        order["Wants"] == dict(directives(units / "voice-appliance-import.service"))["After"] == "boot-selector.mount"
    )
    if circle:
        timer.write_text(timer.read_text().replace("Before=", "After="))
        text = (units / "voice-appliance-import.service").read_text()
        (units / "voice-appliance-import.service").write_text(text.replace("[Unit]\n", f"[Unit]\nAfter={timer.name}\n"))
    done = verify(root, "multi-user.target")
    assert ("ordering cycle" in done.stderr) is circle, done.stderr


def test_the_appliances_unit_fits_the_program() -> None:
    unit = dict(directives(ROOT / "systemd/voice-appliance.service"))
    assert unit["Type"] == "notify"
    assert unit["RestartPreventExitStatus"] == "78", "errors.EXIT_CONFIG"
    assert unit["LoadCredential"].startswith("enrolment-token:"), "tickets.CREDENTIAL"
    assert unit["StateDirectory"] == unit["RuntimeDirectory"] == "voice-appliance"
    assert float(unit["TimeoutStopSec"]) > 2, "the daemon fades and closes within two seconds"
    assert int(unit["WatchdogSec"]) >= 5
    assert dict(directives(ROOT / "systemd/voice-appliance-last-word.service"))["RuntimeDirectory"] in unit["OnFailure"]


def test_what_devices_are_let_through_by_is_known_before_the_appliance_starts() -> None:
    """systemd.resource-control(5): a group of devices whose module is not loaded yet is let through by nothing."""
    unit = directives(ROOT / "systemd/voice-appliance.service")
    allowed = {value.split()[0] for key, value in unit if key == "DeviceAllow"}
    brought = {"char-alsa": "snd", "char-spi": "spidev", "char-gpiochip": ""}  # the last one is part of the kernel
    assert allowed == set(brought)
    for when in ("Wants", "After"):
        units = " ".join(value for key, value in unit if key == when).split()
        assert {f"modprobe@{module}.service" for module in brought.values() if module} <= set(units)


def test_six_failures_in_a_row_are_noticed_however_slow_they_are() -> None:
    unit = {key: value for key, value in directives(ROOT / "systemd/voice-appliance.service") if value}
    backoff = dict(directives(ROOT / "systemd/voice-appliance-backoff.conf"))
    assert set(backoff) == {"RestartSteps", "RestartMaxDelaySec", "RestartMode"}
    assert backoff["RestartMode"] == "direct", "from systemd 254 on OnFailure= would answer each restart"
    times = int(unit["StartLimitBurst"])
    hung_s = max(int(unit["TimeoutStartSec"]), int(unit["WatchdogSec"])) + int(unit["TimeoutStopSec"])
    longest_s = times * (hung_s + int(backoff["RestartMaxDelaySec"]))
    assert longest_s <= int(unit["StartLimitIntervalSec"])
