"""The report that an owner finds on the card: what is wrong first, for whoever has only a card reader and Notepad."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from appliance.diagnosis import report
from appliance.diagnosis.report import Collected

AT = datetime(2026, 11, 27, 13, 5, tzinfo=UTC)
DOCTOR = (
    "ok      configuration: /etc/voice-appliance/appliance.toml, board virtual",
    "trouble enrolment: this device is not enrolled; press the button, or run `voice-appliance enrol`",
    "note    setup: nobody asked",
    "trouble moon: it is full; wait a fortnight",
)


def told(found: Collected) -> list[str]:
    return report.write(found, AT).splitlines()


def test_the_first_lines_say_what_is_wrong_and_what_to_do() -> None:
    assert told(Collected(doctor=DOCTOR))[:8] == [
        "Voice appliance: report of 2026-11-27 13:05 UTC, by its own clock",
        "",
        "2 things are wrong:",
        "",
        "1. enrolment: this device is not enrolled",
        "   Do: press its button, and type the code that it says on your service's page.",
        "",
        "2. moon: it is full",
    ]
    assert "   Do: wait a fortnight." in told(Collected(doctor=DOCTOR))


def test_all_is_well_and_nothing_is_known() -> None:
    assert told(Collected(doctor=DOCTOR[:1]))[2] == "It finds nothing wrong with itself."
    broken = told(Collected(problem="it ended with 1 (no numpy)", journal=["12:00 ImportError"]))
    assert broken[2].startswith("Its program is broken")
    assert "   Do: write the card again" in broken[3]
    assert "There is no voice-report.tar.xz: it ended with 1 (no numpy)." in broken
    assert broken[-1] == "12:00 ImportError"


def test_the_status_in_words() -> None:
    status: dict[str, object] = {"phase": "idle", "muted": False, "last_error": None, "counters": {"turns": 3, "x": 0}}
    text = report.write(Collected(doctor=DOCTOR, status=status), AT)
    assert "phase            idle\nmuted            no\nlast error       -\ncounters         turns 3\n" in text
    assert "it does not run, or does not answer" in report.write(Collected(doctor=DOCTOR, status={}), AT)


def test_notepad_shows_it() -> None:
    data = report.encode(report.write(Collected(doctor=[*DOCTOR, "note    x: " + "word " * 100]), AT))
    assert data.startswith(b"\xef\xbb\xbfVoice appliance")
    assert data.count(b"\n") == data.count(b"\r\n") > 10
    assert max(map(len, data.decode("utf-8-sig").split("\r\n"))) <= report.WIDTH


def test_it_is_never_longer_than_the_card_bears() -> None:
    data = report.encode("ü" * report.LARGEST_TEXT)
    assert report.LARGEST_TEXT - 1 <= len(data) <= report.LARGEST_TEXT
    assert data.decode("utf-8-sig").strip("ü") == ""


def test_whatever_doctor_can_find_has_a_remedy_for_whoever_cannot_log_in() -> None:
    folder = Path(report.__file__).parent
    found = set()
    for path in folder.glob("*.py"):
        found |= set(re.findall(r'\b(?:trouble|failed)\(\s*"([a-z. ]+)"', path.read_text()))
    assert len(found) > 12
    assert found <= set(report.DO)
    assert not re.search("sudo|journalctl|systemctl|dmesg|`", " ".join(report.DO.values()))
