"""Settings on the card and the set-up page under a real systemd: the shipped units, shut in as they are.

NetworkManager is played by a recording program, and the address of our own Wi-Fi is put on the loopback.
"""

from __future__ import annotations

import json
import re
import urllib.parse

import pytest

from appliance.first_boot import networks
from appliance.first_boot.networks import file_name
from tests.booted.machine import BIN, Machine
from tests.booted.talking import status
from tests.fakes.nmcli import FakeNmcli
from tests.scenarios.home import ROOT

FILE = """name = "Kitchen"
time_zone = "Europe/Berlin"
[[wifi]]
name = "Home"
password = "correct horse"
[audio]
volume = 35
"""
INSIDE = "/srv/nmcli"
PLACES = f"[Service]\nEnvironment=PATH={INSIDE}:/usr/bin:/bin\nReadWritePaths={INSIDE}\n"
PAGE = "http://10.42.0.1/"
CARD = "boot/firmware/voice.toml"
SECRETS = ("correct horse", "right horse")


@pytest.fixture(scope="module")
def nmcli(machine: Machine) -> FakeNmcli:
    """The program, the units that wait for a wish, and the address that a Wi-Fi of ours would have."""
    fake = FakeNmcli(machine.root / INSIDE.lstrip("/"), inside=INSIDE, device="lo")
    units = machine.root / "etc/systemd/system"
    (units / "voice-appliance-setup.path").write_text((ROOT / "systemd/voice-appliance-setup.path").read_text())
    for unit in ("import", "setup"):
        (units / f"voice-appliance-{unit}.service.d/nmcli.conf").write_text(PLACES)
    for folder in ("boot/firmware", "etc/NetworkManager/system-connections"):
        (machine.root / folder).mkdir(parents=True)
    machine.run("mkdir", "-p", "/run/NetworkManager", check=True)
    machine.run("ip", "address", "add", "10.42.0.1/24", "dev", "lo", check=True)
    machine.run("systemctl", "daemon-reload", check=True)
    machine.run("systemctl", "start", "voice-appliance-setup.path", check=True)
    return fake


def take_over(machine: Machine, content: str) -> dict[str, object]:
    (machine.root / CARD).write_text(content)
    machine.run("systemctl", "restart", "voice-appliance-import", check=True)
    found: dict[str, object] = json.loads(machine.run("cat", "/run/voice-appliance-setup/outcome.json").stdout)
    return found


def python(machine: Machine, code: str) -> str:
    return machine.run(f"{BIN}/python", "-c", code, check=True).stdout


def test_settings_are_taken_over_by_the_unit_as_it_is(machine: Machine, nmcli: FakeNmcli) -> None:
    assert nmcli.calls() == []
    found = take_over(machine, FILE)
    assert (found["settings"], found["wifi_known"], found["page"]) == ("taken", True, True)
    etc = machine.root / "etc"
    assert (etc / "hostname").read_text() == "kitchen\n"
    assert (etc / "localtime").readlink().name == "Berlin"
    keyfile = etc / "NetworkManager/system-connections" / file_name("Home")
    assert (keyfile.stat().st_mode & 0o777, keyfile.stat().st_uid) == (0o600, 0)
    assert (machine.root / CARD).read_text() == FILE.replace("correct horse", "***")


def test_bad_settings_are_no_failed_unit(machine: Machine, nmcli: FakeNmcli) -> None:
    del nmcli
    found = take_over(machine, FILE.replace("Europe/Berlin", "Berlin"))
    assert found["settings"] == "refused"
    assert machine.show("voice-appliance-import", "Result") == "success"
    assert "time_zone" in (machine.root / "boot/firmware/voice.toml.problem.txt").read_text("utf-8-sig")
    assert take_over(machine, FILE)["settings"] == "taken"


def test_the_button_opens_the_page_which_nobody_serves_and_root_judges(machine: Machine, nmcli: FakeNmcli) -> None:
    machine.run("systemctl", "stop", "voice-provisioning", check=True)
    machine.run("systemctl", "restart", "voice-appliance", check=True)
    machine.until(lambda: status(machine)["phase"] == "idle", "the appliance")
    machine.run("voice-appliance", "ctl", "press", check=True)
    machine.until(lambda: status(machine)["phase"] == "setup", "the set-up page")
    machine.run("voice-appliance", "ctl", "release", check=True)
    fetch = f"import urllib.request as r; print(r.urlopen({PAGE!r}, timeout=5).read().decode())"
    machine.until(lambda: "Your Wi-Fi" in machine.run(f"{BIN}/python", "-c", fetch).stdout, "the page")
    listening = machine.run("ps", "-eo", "user:20,group:20,args").stdout
    assert re.search(r"^nobody +nogroup .*appliance\.hotspot\.web", listening, re.MULTILINE), listening
    mark = re.search('name="csrf" value="([^"]+)"', python(machine, fetch))
    assert mark
    form = urllib.parse.urlencode({"csrf": mark[1], "wifi": "Holiday", "password": "right horse"})
    post = f"import urllib.request as r; print(r.urlopen({PAGE!r}, {form.encode()!r}, timeout=10).status)"
    assert python(machine, post) == "200\n"
    machine.until(lambda: machine.show("voice-appliance-setup", "ActiveState") == "inactive", "its end")
    assert machine.show("voice-appliance-setup", "Result") == "success"
    assert nmcli.up()[-1] == networks.number("Holiday")
    folder = machine.root / "etc/NetworkManager/system-connections"
    assert {path.name for path in folder.iterdir()} == {file_name("Home"), file_name("Holiday")}


def test_afterwards_it_is_at_work_again_and_nothing_secret_was_told(machine: Machine, nmcli: FakeNmcli) -> None:
    machine.run("systemctl", "start", "voice-provisioning", check=True)
    machine.until(lambda: status(machine)["phase"] in ("idle", "fault"), "the appliance")
    assert not (machine.root / "run/voice-appliance/setup-wanted").exists()
    assert machine.run("ls", "/run/voice-appliance/setup-wanted").returncode != 0
    told = machine.journal() + "\n".join(nmcli.calls())
    assert not [secret for secret in SECRETS if secret in told]
    assert not re.search(r"psk|password is|\b\d{12}\b", "\n".join(nmcli.calls()))


def test_everything_is_forgotten_and_it_starts_as_new(machine: Machine, nmcli: FakeNmcli) -> None:
    state = machine.root / "var/lib/voice-appliance"
    before = {path.name: path.read_bytes() for path in state.iterdir() if path.name.startswith("identity")}
    assert before
    life = machine.show("voice-appliance", "InvocationID")
    wish = "from appliance.hotspot import request; request.ask(Path('/run/voice-appliance'), 'forget')"
    python(machine, f"from pathlib import Path; {wish}")
    machine.until(lambda: machine.show("voice-appliance", "InvocationID") not in ("", life), "the next life")
    machine.until(lambda: machine.show("voice-appliance-setup", "ActiveState") == "inactive", "the end of forgetting")
    assert machine.show("voice-appliance-setup", "Result") == "success"
    machine.until(lambda: status(machine)["phase"] == "idle", "the appliance")
    after = {path.name: path.read_bytes() for path in state.iterdir() if path.name.startswith("identity")}
    assert after.keys() == before.keys()
    assert after != before
    assert not (machine.root / "etc/voice-appliance/enrolment-token").exists()
    assert list((machine.root / "etc/NetworkManager/system-connections").iterdir()) == []
    assert nmcli.calls()[-1] == "connection reload"
    assert take_over(machine, (machine.root / CARD).read_text())["settings"] == "unchanged"
