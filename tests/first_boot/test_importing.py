"""Settings on the card, from the person's file to the machine's."""

from __future__ import annotations

import errno
import stat
from pathlib import Path
from unittest import mock

import pytest

from appliance import config
from appliance.errors import StateError
from appliance.first_boot import erasing, networks
from tests.first_boot.machine import Machine

TEMPLATE = Path(erasing.__file__).parent / "voice.toml"
FILE = """# Mine. The password is on the fridge.
name = "Küche 2"
time_zone = "Europe/Berlin"
country = "de"

[[wifi]]
name = "Home"
password = "correct horse"   # not: correct horse battery

[[wifi]]
name = "Office"
password = 'back\\slash#1'
hidden = true

[provisioning]
url = "http://192.168.1.10:8787"
enrolment_token = "vet_abcdefghijk"

[audio]
volume = 40
"""
CONNECTIONS = "etc/NetworkManager/system-connections"
HOME, OFFICE = (f"{CONNECTIONS}/{networks.file_name(name)}" for name in ("Home", "Office"))
SECRETS = (b"correct horse", b"back\\slash#1", b"vet_abcdefghijk")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_becomes_the_settings_of_the_machine(machine: Machine) -> None:
    machine.write(FILE)
    assert machine.boot().settings == "taken"
    found = machine.settings()
    assert found["etc/hostname"] == "kuche-2\n"
    assert found["etc/localtime"] == "/usr/share/zoneinfo/Europe/Berlin"
    assert found["etc/voice-appliance/enrolment-token"] == "vet_abcdefghijk\n"
    assert "psk=correct\\shorse\n" in found[HOME]
    assert "psk=back\\\\slash#1\n" in found[OFFICE]
    assert "hidden=true" in found[OFFICE]
    loaded = config.load(machine.places.config / "appliance.toml")
    assert loaded.config.provisioning.url == "http://192.168.1.10:8787"
    assert loaded.config.audio.volume == 40
    assert machine.places.kernel_hostname.read_text() == "kuche-2"
    assert machine.regulated == ["DE"]


def test_who_may_read_what(machine: Machine) -> None:
    machine.write(FILE)
    machine.boot()
    for private in (HOME, OFFICE, "etc/voice-appliance/enrolment-token", "etc/voice-appliance/first-boot.json"):
        assert mode(machine.root / private) == 0o600, private
    for public in (
        "etc/voice-appliance",
        "etc/voice-appliance/appliance.toml",
        "etc/hostname",
        "run/voice-appliance-setup/outcome.json",
    ):
        assert mode(machine.root / public) & 0o044 == 0o044, public


def test_secrets_are_erased_on_the_card_and_the_rest_stays(machine: Machine) -> None:
    machine.write(FILE)
    machine.boot()
    expected = FILE.replace("correct horse", "***").replace("back\\slash#1", "***").replace("vet_abcdefghijk", "***")
    assert machine.file.read_text() == expected
    assert {path.name for path in machine.card.iterdir()} == {"autoboot.txt", "voice.toml"}


def test_nothing_secret_is_told(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    machine.write(FILE)
    machine.boot()
    machine.write(FILE.replace("Europe/Berlin", "Europe/Nowhere"))
    assert machine.boot().settings == "refused"
    told = caplog.text.encode() + machine.everything_but("etc", "boot/selector/voice.toml")
    assert not [secret for secret in SECRETS if secret in told]


def test_the_same_file_again_changes_nothing(machine: Machine) -> None:
    machine.write(FILE)
    machine.boot()
    token = machine.places.config / "enrolment-token"
    token.unlink()  # used, and taken away
    before = machine.settings()
    assert machine.boot().settings == "unchanged"
    assert machine.settings() == before


def test_an_edited_file_keeps_the_secrets_that_were_erased(machine: Machine) -> None:
    machine.write(FILE)
    machine.boot()
    before = machine.settings()
    machine.write(machine.file.read_text().replace("volume = 40", "volume = 55"))
    assert machine.boot().settings == "taken"
    after = machine.settings()
    assert "volume = 55" in after.pop("etc/voice-appliance/appliance.toml")
    del before["etc/voice-appliance/appliance.toml"]
    assert after == before


def test_a_wifi_that_is_not_named_any_more_is_forgotten_and_without_any_all_stay(machine: Machine) -> None:
    machine.write(FILE)
    machine.boot()
    machine.write('[[wifi]]\nname = "New"\npassword = "12345678"\n')
    machine.boot()
    assert [path for path in machine.settings() if path.startswith(CONNECTIONS)] == [
        f"{CONNECTIONS}/{networks.file_name('New')}"
    ]
    machine.write('name = "Hall"\n')
    machine.boot()
    assert f"{CONNECTIONS}/{networks.file_name('New')}" in machine.settings()


def test_asterisks_for_a_password_that_is_not_here_are_refused(machine: Machine) -> None:
    machine.write('[[wifi]]\nname = "Home"\npassword = "***"\n')
    found = machine.boot()
    assert found.settings == "refused"
    assert "was erased, and this device does not have it; write the password again" in found.problem


def test_what_the_file_does_not_name_stays_in_the_configuration(machine: Machine) -> None:
    mine = '# by hand\nboard = "any"\n[audio]\nvolume = 10\ncues = false\n'
    machine.places.config.mkdir()
    (machine.places.config / "appliance.toml").write_text(mine)
    machine.write("[audio]\nvolume = 40\n")
    machine.boot()
    loaded = config.load(machine.places.config / "appliance.toml").config
    assert (loaded.board, loaded.audio.volume, loaded.audio.cues) == ("any", 40, False)
    assert (machine.places.config / "appliance.toml.before").read_text() == mine


def test_the_template_as_it_comes_changes_nothing(machine: Machine) -> None:
    machine.write(TEMPLATE.read_bytes())
    assert machine.boot().settings == "taken"
    assert machine.settings() == {}
    assert machine.file.read_bytes() == TEMPLATE.read_bytes()


def test_the_template_filled_in_is_taken(machine: Machine) -> None:
    text = TEMPLATE.read_text().replace('name = ""', 'name = "Home"').replace('password = "" ', 'password = "12345678"')
    machine.write(text)
    found = machine.boot()
    assert (found.settings, found.wifi_known) == ("taken", True)


def test_a_bad_file_changes_nothing_and_a_note_says_what_is_wrong(machine: Machine) -> None:
    machine.write(FILE)
    machine.boot()
    before = machine.settings()
    bad = FILE.replace("Europe/Berlin", "Europe/Berlni").replace("correct horse", "another pass")
    machine.write(bad)
    found = machine.boot()
    assert found.problem == "voice.toml: time_zone = 'Europe/Berlni'; did you mean \"Europe/Berlin\"?"
    assert machine.settings() == before
    assert machine.file.read_text() == bad
    note = (machine.card / "voice.toml.problem.txt").read_bytes()
    assert note.startswith(b"\xef\xbb\xbf")
    assert found.problem.encode() in note
    assert b"\n" not in note.replace(b"\r\n", b"")
    machine.write(FILE)
    machine.boot()
    assert {path.name for path in machine.card.iterdir()} == {"autoboot.txt", "voice.toml"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_of_windows_stay_files_of_windows(machine: Machine, encoding: str) -> None:
    text = FILE.replace("\n", "\r\n")
    machine.write(text.encode(encoding))
    machine.file.rename(machine.card / "voice.toml.txt")
    assert machine.boot().settings == "taken"
    after = (machine.card / "voice.toml.txt").read_bytes()
    expected = text.replace("correct horse", "***").replace("back\\slash#1", "***").replace("vet_abcdefghijk", "***")
    assert after == expected.encode(encoding)
    assert machine.boot().settings == "unchanged"


def test_a_file_that_notepad_saved_under_another_name_beside_the_template_counts(machine: Machine) -> None:
    machine.write(TEMPLATE.read_bytes())
    beside = machine.card / "voice.toml.txt"
    beside.write_text(FILE)
    assert machine.boot().settings == "taken"
    assert not any(secret in beside.read_bytes() for secret in SECRETS)
    assert machine.settings()["etc/hostname"] == "kuche-2\n"
    assert machine.boot().settings == "unchanged"
    assert machine.file.read_bytes() == TEMPLATE.read_bytes()


@pytest.mark.parametrize("first", [FILE, FILE.encode("latin-1")])
def test_of_two_files_neither_is_passed_over_in_silence(machine: Machine, first: str | bytes) -> None:
    """As when a file that was taken over, or whose encoding was refused, is saved anew: Notepad may add an ending."""
    machine.write(first)
    machine.boot()
    before = machine.settings()
    beside = machine.card / "voice.toml.txt"
    beside.write_text(FILE.replace("Küche", "Hall"))
    found = machine.boot()
    assert found.settings == "refused"
    assert "voice.toml and voice.toml.txt are both on the card; delete the one" in found.problem
    assert "voice.toml.txt" in (machine.card / "voice.toml.problem.txt").read_text("utf-8-sig")
    assert machine.settings() == before
    machine.file.unlink()
    assert machine.boot().settings == "taken"
    assert machine.settings()["etc/hostname"] == "hall-2\n"


def test_on_a_read_only_root_what_links_into_our_folder_is_written_there(machine: Machine) -> None:
    (machine.root / "etc/localtime").symlink_to("/etc/voice-appliance/localtime")
    (machine.root / "etc/hostname").symlink_to("/etc/voice-appliance/hostname")
    machine.write(FILE)
    machine.boot()
    found = machine.settings()
    assert found["etc/localtime"] == "/etc/voice-appliance/localtime"
    assert found["etc/voice-appliance/localtime"] == "/usr/share/zoneinfo/Europe/Berlin"
    assert found["etc/voice-appliance/hostname"] == "kuche-2\n"


def test_without_a_file_the_name_and_the_country_hold(machine: Machine) -> None:
    machine.write(FILE)
    machine.boot()
    machine.file.unlink()
    machine.places.kernel_hostname.write_text("voice-appliance\n")
    assert machine.boot().settings == "none"
    assert machine.places.kernel_hostname.read_text() == "kuche-2"
    assert machine.regulated == ["DE", "DE"]


def test_a_card_that_does_not_come_is_told_and_taken_when_it_does(machine: Machine) -> None:
    machine.write(FILE)
    away = machine.card.rename(machine.root / "away")
    machine.card.mkdir()  # where the partition would be
    found = machine.boot()
    assert found.settings == "out_of_reach"
    assert "first partition" in found.problem
    assert machine.settings() == {}
    machine.card.rmdir()
    away.rename(machine.card)
    assert machine.boot().settings == "taken"


def test_other_systems_have_no_such_partition(machine: Machine) -> None:
    machine.card.rename(machine.root / "away")
    assert machine.boot().settings == "none"


def test_a_card_that_cannot_be_written_is_used_and_erased_when_it_can(machine: Machine) -> None:
    machine.write(FILE)
    refused = OSError(errno.EROFS, "Read-only file system")
    real = Path.open

    def opening(path: Path, mode: str = "r", *rest: int, **named: int) -> object:
        if mode == "r+b":
            raise refused
        return real(path, mode, *rest, **named)  # type: ignore[call-overload]  # passed on as they came

    with mock.patch("pathlib.Path.open", opening):
        assert machine.boot().settings == "taken"
    assert machine.file.read_text() == FILE
    before = machine.settings()
    machine.boot()
    assert machine.settings() == before
    assert not [secret for secret in SECRETS if secret in machine.file.read_bytes()]


def test_a_full_data_partition_changes_nothing_and_says_so(machine: Machine) -> None:
    machine.write(FILE)

    def full(*_: object) -> None:
        raise StateError("cannot write (No space left on device)", hint="is the card full?")

    with mock.patch("appliance.first_boot.record.save", full):
        found = machine.boot()
    assert (found.settings, machine.settings(), machine.file.read_text()) == ("refused", {}, FILE)
    assert machine.boot().settings == "taken"


def test_a_damaged_record_is_as_none(machine: Machine) -> None:
    machine.write(FILE)
    machine.boot()
    (machine.places.config / "first-boot.json").write_text("{")
    machine.write(FILE)
    assert machine.boot().settings == "taken"
