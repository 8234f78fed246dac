"""``doctor`` and ``bundle`` where they are needed: on a machine with systemd, a journal, users and groups."""

from __future__ import annotations

import tarfile
from io import BytesIO

import pytest

from appliance.errors import EXIT_FAILURE
from tests.booted.machine import Machine
from tests.booted.talking import talk, turns

WIFI = "staple and battery"  # test_voice_toml searches the same journal for other ones
PLANTED = (
    (6, "mint: granted ek_hushhush for vdt_hushhush by vet_hushhush and sk-proj-hushhush"),
    (6, f"the network asks for {WIFI}"),
    (6, "psk=hushhush and password: hushhush"),
    (6, "daemon: timer 'the saffron cake' rings"),
    (7, "idle + TextSaid(text=how much saffron) -> thinking"),  # of a daemon that logs all, on somebody's request
)


@pytest.fixture(autouse=True)
def enrolled(machine: Machine) -> None:
    """It enrols at its first turn, which another test may have had."""
    if not turns(machine):
        talk(machine)


def findings(machine: Machine, user: str = "") -> tuple[int, dict[str, str]]:
    done = machine.run("voice-appliance", "doctor", user=user)
    assert done.stderr == ""
    lines = done.stdout.splitlines()[:-1]
    return done.returncode, {line[8:].partition(":")[0]: line for line in lines}


def test_a_healthy_machine_is_healthy(machine: Machine) -> None:
    code, found = findings(machine)
    assert [line for line in found.values() if line.startswith("trouble")] == []
    assert code == 0
    for name in ("configuration", "service", "daemon", "microphone", "user", "disk", "state", "provisioning", "clock"):
        assert found[name].startswith("ok "), found[name]
    assert found["enrolment"].startswith("ok      enrolment: known as d_")
    assert found["state"].endswith("belongs to voice-appliance")
    assert found["user"].endswith("voice-appliance is in audio, and may use their devices")


def test_whoever_may_not_look_is_told_how_to_and_not_that_something_is_wrong(machine: Machine) -> None:
    code, found = findings(machine, user="nobody")
    assert [line for line in found.values() if line.startswith("trouble")] == []
    assert code == 0
    for name in ("daemon", "state", "enrolment", "journal"):
        assert found[name].startswith("note "), found[name]
        assert "sudo" in found[name]


def test_a_broken_configuration_is_given_up_at_once_and_told(machine: Machine) -> None:
    path = machine.root / "etc/voice-appliance/appliance.toml"
    whole = path.read_text()
    path.write_text(whole + "[audio.]\n")
    machine.run("systemctl", "reset-failed", "voice-appliance")
    machine.run("systemctl", "restart", "voice-appliance")
    code, found = findings(machine)
    assert code == EXIT_FAILURE
    assert machine.show("voice-appliance", "NRestarts") == "0"
    given_up = "the appliance has given up: /etc/voice-appliance"
    machine.until(lambda: given_up in machine.journal("-u", "voice-appliance-last-word"), "last word")
    assert found["configuration"].startswith("trouble ")
    assert "its configuration cannot be used; correct it, then sudo systemctl restart" in found["service"]
    assert "last errors of this boot: " in found["journal"]
    path.write_text(whole)
    machine.run("systemctl", "restart", "voice-appliance", check=True)
    assert findings(machine)[0] == 0


def test_the_bundle_has_the_journal_and_no_secret_of_it(machine: Machine) -> None:
    for priority, words in PLANTED:
        entry = f"MESSAGE={words}\nPRIORITY={priority}\nOBJECT_SYSTEMD_UNIT=voice-appliance.service\n"
        machine.run("logger", "--journald", stdin=entry, check=True)
    supplicant = machine.root / "etc/wpa_supplicant/wpa_supplicant.conf"
    supplicant.parent.mkdir()
    supplicant.write_text(f'network={{\n psk="{WIFI}"\n}}\n')
    machine.until(lambda: "saffron cake" in machine.journal("-u", "voice-appliance"), "the planted lines")
    machine.run("voice-appliance", "bundle", "/opt/bundle.tar.xz", check=True)
    with tarfile.open(fileobj=BytesIO((machine.root / "opt/bundle.tar.xz").read_bytes()), mode="r:xz") as bundle:
        opened = {entry.name: bundle.extractfile(entry) for entry in bundle.getmembers()}
        parts = {name: part.read().decode() for name, part in opened.items() if part}
    journal = parts["voice-appliance/journal.txt"]
    assert "ready: board virtual" in journal
    assert 'records: turn {"event":"turn"' in journal
    assert "Started voice-appliance.service" in journal
    assert "mint: granted ek_… for vdt_… by vet_… and sk-…" in journal
    assert "ActiveState=active" in parts["voice-appliance/unit.txt"]
    token = (machine.root / "etc/voice-appliance/enrolment-token").read_text().strip()
    for word in (token, WIFI, "hush", "saffron"):
        assert not [name for name, text in parts.items() if word in text], word
