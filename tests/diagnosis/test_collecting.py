"""What a report is made of: the program's own words, or what is left where it has none. No secrets."""

from __future__ import annotations

import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from appliance.diagnosis import collecting, report, unit
from appliance.diagnosis.collecting import ask, collect

AT = datetime(2026, 11, 27, 13, 5, tzinfo=UTC)
TOKEN = "a-token-without-any-prefix"
DOCTOR = f"""echo "ok      disk: fine"; echo "trouble last error: {TOKEN} was refused; a press tries again"
echo 'trouble configuration: unknown key wlan = "hushhush"; correct it'
echo "note    enrolment: code 123-456-789 waits, psk=hushhush, vdt_hushhush"; echo "3 trouble(s)"
"""


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to collect into; a token of this machine; a journal in which secrets and words stand."""
    token = tmp_path / "enrolment-token"
    token.write_text(f"{TOKEN}\n")
    monkeypatch.setattr(collecting, "TOKEN", token)
    lines = [
        ("12:00 ModuleNotFoundError: No module named 'numpy.core'", 6),
        (f"12:01 {TOKEN} ek_hushhush", 6),
        ("12:02 timer 'saffron' rings", 6),
    ]
    monkeypatch.setattr(unit, "journal", lambda **_: iter(lines))
    made = tmp_path / "made"
    made.mkdir()
    return made


def program(tmp_path: Path, bundle: str, doctor: str = "exit 1") -> tuple[str, str]:
    """A program of ours that is in whatever state."""
    script = tmp_path / "program"
    script.write_text(f"case $1 in\nbundle)\n{bundle}\n;;\ndoctor)\n{doctor}\n;;\nesac\n")
    return ("/bin/sh", str(script))


def text_of(made: Path) -> str:
    return (made / report.TEXT).read_bytes().decode("utf-8-sig")


def test_the_real_program_with_a_broken_configuration(tmp_path: Path, machine: Path) -> None:
    path = tmp_path / "appliance.toml"
    path.write_text('wlan = "hushhush"\n')
    found = collect(machine, AT, config=path)
    assert not found.problem
    assert "1. configuration: " in text_of(machine)
    assert "Do: correct voice.toml on this card" in text_of(machine)
    assert "voice-appliance " in text_of(machine)
    with tarfile.open(machine / report.BUNDLE) as bundle:
        assert "voice-appliance/journal.txt" in bundle.getnames()
        parts = [file.read().decode() for entry in bundle if (file := bundle.extractfile(entry))]
    assert not [part for part in (*parts, text_of(machine)) if "hushhush" in part]


def test_a_program_that_cannot_be_loaded_leaves_its_log(tmp_path: Path, machine: Path) -> None:
    found = collect(machine, AT, program(tmp_path, f"echo ImportError: {TOKEN} >&2; exit 1"))
    assert found.problem == "it ended with 1 (ImportError: …)"
    text = text_of(machine)
    assert "Its program is broken" in text
    assert "12:00 ModuleNotFoundError: No module named numpy.core" in text
    assert not [word for word in (TOKEN, "hush", "saffron") if word in text]
    assert not (machine / report.BUNDLE).exists()


def test_where_there_is_no_bundle_doctor_is_asked_and_scrubbed(tmp_path: Path, machine: Path) -> None:
    collect(machine, AT, program(tmp_path, "kill -SEGV $$", DOCTOR))
    text = text_of(machine)
    assert "There is no voice-report.tar.xz: it ended with -11 ()." in text
    assert "2 things are wrong:" in text
    assert "1. last error: … was refused" in text
    assert "configuration: unknown key wlan = …" in text
    assert not [word for word in (TOKEN, "hush", "123-456-789", "trouble(s)") if word in text]


def test_one_that_hangs_is_left_and_what_it_said_before_counts(
    tmp_path: Path, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "BUNDLE_S", 0.3)
    monkeypatch.setattr(collecting, "DOCTOR_S", 0.3)
    found = collect(machine, AT, program(tmp_path, "exec sleep 60", 'echo "ok      disk: fine"; exec sleep 60'))
    assert found.problem == "it was not done within 0.3 s"
    assert "ok      disk: fine" in text_of(machine)


def test_a_bundle_that_is_damaged_is_none(tmp_path: Path, machine: Path) -> None:
    found = collect(machine, AT, program(tmp_path, 'echo nonsense >"$4"', DOCTOR))
    assert found.problem == "it is damaged"
    assert not (machine / report.BUNDLE).exists()


def test_one_that_is_not_there() -> None:
    assert ask(["/nowhere/program"], 1).problem == "it cannot be started (No such file or directory)"
