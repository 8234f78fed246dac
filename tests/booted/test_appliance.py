"""The shipped units under a real systemd: the daemon talks, is killed and comes back, gives up aloud, and is shut in.

One machine for the whole story, told in order: what is proven later needs what was set up before.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable

import numpy as np
import pytest

from appliance.audio.speech import join
from tests.booted.conftest import DATA
from tests.booted.machine import ALSA_MAJOR, BIN, GPIO_MAJOR, OTHER_MAJOR, Machine
from tests.booted.talking import status, talk
from tests.scenarios.home import ROOT, best_lag, correlation, spans_of_sound

PROBE = ROOT / "tests/booted/probe.py"
MOST_EXPOSED = 1.5  # of 10
UNITS = ("voice-appliance", "voice-appliance-last-word", "voice-provisioning")


def said(machine: Machine) -> list[str]:
    told = machine.run("cat", "/run/voice-appliance/conversation/history.json").stdout
    return [entry[2] for entry in json.loads(told or '{"entries":[]}')["entries"]]


def sounded_s(machine: Machine, start: int) -> float:
    played = np.asarray(machine.card.spoken(start, machine.card.now()), np.int16).reshape(-1)
    return sum(stop - begin for begin, stop in spans_of_sound(played, 48_000)) / 48_000


def test_a_press_is_answered_by_the_loudspeaker(machine: Machine) -> None:
    released, record = talk(machine)
    assert float(record["heard_ms"] or 0) > 500
    assert sounded_s(machine, released) > 0.5
    assert status(machine)["mic_open"] is False
    assert not machine.card.capture_open


def test_a_killed_daemon_is_back_with_its_identity_and_talks(machine: Machine) -> None:
    identity = machine.root / "var/lib/voice-appliance/identity.json"
    kept = {path.name: path.read_bytes() for path in identity.parent.iterdir() if path.name.startswith("identity")}
    assert kept
    machine.run("voice-appliance", "ctl", "mute", check=True)
    machine.until(lambda: '"muted":true' in "".join(p.read_text() for p in identity.parent.glob("*.json")), "kept mute")
    before, words = machine.show("voice-appliance", "MainPID"), said(machine)
    machine.run("systemctl", "kill", "--signal=KILL", "voice-appliance", check=True)
    machine.until(lambda: machine.show("voice-appliance", "NRestarts") == "1", "restart")
    machine.until(lambda: machine.show("voice-appliance", "SubState") == "running", "daemon")
    assert machine.show("voice-appliance", "MainPID") not in ("0", before)
    assert {name: (identity.parent / name).read_bytes() for name in kept} == kept
    assert status(machine)["muted"] is True
    assert said(machine) == words != [], "what was said is in memory still"
    machine.run("voice-appliance", "ctl", "mute", check=True)
    released, record = talk(machine)
    assert float(record["heard_ms"] or 0) > 500
    assert sounded_s(machine, released) > 0.5
    devices = machine.run("voice-provisioning", "devices", "list", "--data", DATA, check=True).stdout
    assert devices.count("active") == 1, "it did not enrol again"


def test_a_reload_is_taken_in_the_sandbox(machine: Machine) -> None:
    pid = machine.show("voice-appliance", "MainPID")
    machine.run("systemctl", "reload", "voice-appliance", check=True)
    machine.until(lambda: machine.journal("-u", "voice-appliance").count("ready: board") == 3, "a fresh start in place")
    assert machine.show("voice-appliance", "MainPID") == pid
    assert machine.show("voice-appliance", "NRestarts") == "1"


@pytest.mark.slow
def test_a_daemon_that_hangs_is_noticed_and_started_again(machine: Machine) -> None:
    before = machine.show("voice-appliance", "NRestarts")
    machine.run("systemctl", "kill", "--signal=STOP", "voice-appliance", check=True)
    machine.until(lambda: machine.show("voice-appliance", "NRestarts") != before, "watchdog")
    machine.until(lambda: machine.show("voice-appliance", "SubState") == "running", "daemon")
    assert "Watchdog timeout" in machine.journal("-u", "voice-appliance")
    assert status(machine)["phase"] == "idle"


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_itself_calls_it_safe(
    unit: str, machine: Machine, record_property: Callable[[str, object], None]
) -> None:
    told = machine.run("systemd-analyze", "security", "--no-pager", f"{unit}.service").stdout
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", told)
    assert found, told
    record_property("exposure", found[1])
    assert float(found[1]) <= MOST_EXPOSED


# --- what the sandbox lets through, seen from inside ---


def probed(machine: Machine, unit: str, place: str) -> dict[str, object]:
    """Run the probe under the very sandbox of ``unit``: its file with another program and no restarts."""
    text = (ROOT / "systemd" / f"{unit}.service").read_text()
    text = re.sub(r"(?m)^(Restart|Watchdog|ExecReload|OnFailure|Conflicts|Notify|RuntimeDir|Start).*\n", "", text)
    text = re.sub(r"(?m)^Type=.*", "Type=oneshot", text)
    text = re.sub(r"(?m)^ExecStart=.*", f"ExecStart={BIN}/python /opt/probe.py {place}/found.json", text)
    shutil.copy(PROBE, machine.root / "opt/probe.py")
    (machine.root / "etc/systemd/system/probe.service").write_text(text)
    folder = machine.root / "etc/systemd/system/probe.service.d"
    folder.mkdir(exist_ok=True)
    (folder / "places.conf").write_text("[Service]\nEnvironment=LD_LIBRARY_PATH=/opt/python/lib\n")
    machine.run("systemctl", "daemon-reload", check=True)
    machine.run("systemctl", "start", "probe", check=True)
    found: dict[str, object] = json.loads((machine.root / place.lstrip("/") / "found.json").read_text())
    return found


def test_the_appliances_sandbox_lets_through_what_it_needs_and_no_more(machine: Machine) -> None:
    found = probed(machine, "voice-appliance", "/var/lib/voice-appliance")
    assert {ALSA_MAJOR, GPIO_MAJOR}.isdisjoint({OTHER_MAJOR})
    nodes = {name: found[name] for name in ("sound", "gpio", "spi", "other", "null")}
    # ENXIO: let through, and no driver behind it here. EPERM: the device rule, before file modes are looked at.
    assert nodes == {"sound": "ENXIO", "gpio": "ENXIO", "spi": "ENXIO", "other": "EPERM", "null": "ok"}
    needed = ("inet", "unix", "name", "state", "cpuinfo", "callback", "gpio_library", "sound_libraries")
    assert {name: found[name] for name in needed} == dict.fromkeys(needed, "ok")
    refused = {
        "netlink": "EAFNOSUPPORT",
        "packet": "EAFNOSUPPORT",
        "etc": "EACCES",
        "opt": "EROFS",
        "foreign_secret": "EACCES",
        "foreign_state": "EACCES",
        "process_1": "ENOENT",
        "namespace": "EPERM",
        "realtime": "EPERM",
        "clock": "EPERM",
        "written_code": "EPERM",
    }
    assert {name: found[name] for name in refused} == refused
    assert found["core"] == 0


# --- giving up ---


def test_it_gives_up_aloud_and_is_quiet_when_it_is_started_again(machine: Machine) -> None:
    begun = machine.card.now()

    def given_up() -> bool:
        if machine.show("voice-appliance", "SubState") == "running":
            machine.run("systemctl", "kill", "--signal=KILL", "voice-appliance")
        return machine.show("voice-appliance", "ActiveState") == "failed"

    machine.until(given_up, "the start limit", 60)
    machine.until(lambda: "said: " in machine.journal("-u", "voice-appliance-last-word"), "last word")
    assert machine.show("voice-appliance-last-word", "SubState") == "running", "it blinks"
    played = np.asarray(machine.card.spoken(begun, machine.card.now()), np.int16).reshape(-1)
    words = join(("gives-up",), 48_000)
    at = best_lag(played, words)
    assert correlation(played[at : at + len(words)], words) > 0.95
    assert "voice-appliance doctor" in machine.journal("-u", "voice-appliance-last-word")
    machine.run("systemctl", "reset-failed", "voice-appliance", check=True)
    machine.run("systemctl", "start", "voice-appliance", check=True)
    assert machine.show("voice-appliance-last-word", "ActiveState") == "inactive"
    assert status(machine)["phase"] == "idle"


def test_nothing_of_the_story_left_a_secret_in_the_journal(machine: Machine) -> None:
    told = machine.journal()
    token = (machine.root / "etc/voice-appliance/enrolment-token").read_text().strip()
    assert "ready: board" in told
    assert token not in told
    assert not re.search(r"\b(ek|vdt|vet)_[A-Za-z0-9]{4,}", told)
