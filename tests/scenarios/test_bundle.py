"""``voice-appliance bundle``: what goes in helps, and nothing secret, said or heard goes in, wherever it was."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest

from tests.command import call, failed, run
from tests.fakes.realtime_server import Script
from tests.scenarios.conftest import MakeHome
from tests.scenarios.home import Home, Town, tone

WIFI = "correct horse battery"
PARTS = {"board.json", "calibration.json", "config.txt", "doctor.txt", "journal.txt", "sound.txt"}
PARTS |= {"status.json", "unit.txt", "versions.txt"}


def bundled(at: Home, file: Path, **environment: str) -> dict[str, str]:
    done = run("bundle", "--config", str(at.daemon.config_path), str(file), **at.card.environment, **environment)
    assert done.returncode == 0, done.stderr
    assert str(file) in done.stdout
    return unpacked(file)


def unpacked(file: Path) -> dict[str, str]:
    with tarfile.open(file, "r:xz") as bundle:
        opened = {entry.name: bundle.extractfile(entry) for entry in bundle.getmembers()}
        return {name.removeprefix("voice-appliance/"): part.read().decode() for name, part in opened.items() if part}


def test_what_helps_is_in_it_and_what_is_nobodys_business_is_not(home: MakeHome, town: Town, tmp_path: Path) -> None:
    instructions = f"You live at Max's. The Wi-Fi password is {WIFI}, the key sk-proj-hushhush."
    at = home(
        Script(reply=tone(0.3, 24_000).tobytes(), words="The recipe takes saffron."),
        f'[audio]\ncues = false\n[realtime]\ninstructions = "{instructions}"\n',
        environment={"HUSH": "ek_hushhush"},
    )
    at.hold(0.5)
    at.daemon.until(lambda: len(at.daemon.turns()) == 1, "a turn")
    at.daemon.command("say", text="My recipe takes cardamom.")
    at.daemon.until(lambda: len(at.daemon.turns()) == 2, "a turn")
    state = tmp_path / "state"
    kept = [json.loads((state / name).read_text()) for name in ("identity.jwk", "enrolment.json")]
    parts = bundled(at, tmp_path / "b.tar.xz", HUSH="ek_hushhush")
    everything = "\n".join([*parts, *parts.values()])
    secrets = [kept[0]["d"], kept[1]["token"], town.provisioning.token, WIFI, "hushhush"]
    for word in (*secrets, "saffron", "cardamom", "recipe", "Max", "ek_", "vdt_", "vet_", "sk-"):
        assert word not in everything, word
    assert set(parts) == PARTS
    status = json.loads(parts["status.json"])
    assert (status["phase"], status["enrolment"]) == ("idle", "enrolled")
    assert status["counters"]
    assert f"realtime.instructions = ({len(instructions)} characters)" in parts["config.txt"]
    assert "ok      daemon: idle" in parts["doctor.txt"]
    assert json.loads(parts["board.json"])["name"] == "Virtual card"
    assert "\npython 3" in parts["versions.txt"]
    assert "msgspec 0" in parts["versions.txt"]


def test_a_code_that_waits_is_not_in_it(home: MakeHome, tmp_path: Path) -> None:
    at = home(with_token=False)
    at.hold(0.5)
    at.daemon.until(lambda: at.daemon.command("status")["enrolment"]["state"] == "waiting", "a code")
    code = str(at.daemon.command("status")["enrolment"]["code"])
    parts = bundled(at, tmp_path / "b.tar.xz")
    assert json.loads(parts["status.json"])["enrolment"] == "waiting"
    assert "waits to be approved" in parts["doctor.txt"]
    assert not any(code in text or code.replace("-", "") in text for text in parts.values())


def test_it_is_made_of_a_broken_configuration_too_without_what_stands_there(tmp_path: Path) -> None:
    path, file = tmp_path / "appliance.toml", tmp_path / "b.tar.xz"
    path.write_text('wlan = "hushhush"\n')
    done = call("bundle", "--config", str(path), str(file))
    assert done.returncode == 0, done.stderr
    parts = unpacked(file)
    assert "unknown key wlan = …" in parts["config.txt"]
    assert "unknown key wlan = …" in parts["doctor.txt"]
    assert not any("hushhush" in text for text in parts.values())


def test_it_is_for_its_owner_only_and_goes_to_whoever_asked_with_sudo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, file = tmp_path / "none.toml", tmp_path / "b.tar.xz"
    monkeypatch.setenv("SUDO_UID", "12345")
    monkeypatch.setenv("SUDO_GID", "12345")
    assert call("bundle", "--config", str(path), str(file)).returncode == 0
    found = file.stat()
    assert found.st_mode & 0o777 == 0o600
    assert (found.st_uid, found.st_gid) == ((12345, 12345) if os.geteuid() == 0 else (os.geteuid(), os.getegid()))


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "mine"
    file.write_text("mine")
    failed(call("bundle", str(file)), 1, "is there already", "name another file")
    assert file.read_text() == "mine"
    failed(call("bundle", str(tmp_path / "no" / "b")), 1, "cannot write", "No such file")
    failed(call("bundle", "/dev/full"), 1, "is there already")
