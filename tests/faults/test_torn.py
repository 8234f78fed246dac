"""Every file of the state directory, torn at every byte and with every byte wrong: nothing is raised but what is told.

Our own writes replace a file as a whole (``tests/credentials/test_storage.py``), but a bad card can do anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance import calibrated, kept
from appliance.credentials import enrolment
from appliance.credentials.enrolment import Enrolment
from appliance.credentials.identity import Identity
from appliance.errors import Secret, StateError
from appliance.kept import Clocks, Kept
from appliance.reports import Report, Reports
from tests.audio.test_loop import GOOD

KEY = calibrated.Key("virtual", "vhw", "vhw", (0,))
WRONG = (0x00, 0x22, 0xFF)


def _identity(directory: Path) -> None:
    Identity.load_or_create(directory)


def _enrolment(directory: Path) -> None:
    enrolment.save(Enrolment("https://voice.example", "d_x", Secret("vdt_x")), directory)


def _kept(directory: Path) -> None:
    kept.save(directory, Kept(muted=True, volume=40, volume_over=80, clocks=Clocks("vhw", "vhw", 31.5)))


def _reports(directory: Path) -> None:
    made = Reports()
    made.waiting.append(Report("s1", 2.0, "idle", "m", {"audio_in": 3}))
    made.save(directory)


def _calibration(directory: Path) -> None:
    entry = calibrated.Entry(key=KEY, loop=GOOD, volume_percent=80, at="2026-11-27", version="0")
    assert calibrated.save(directory, entry)


def _load_reports(directory: Path) -> object:
    made = Reports()
    made.load(directory)
    return list(made.waiting)


# file: how it is made, how it is read, whether damage must be told (else it is as if the file were not there)
FILES: dict[str, tuple[Callable[[Path], None], Callable[[Path], object], bool]] = {
    "identity.jwk": (_identity, lambda at: Identity.load_or_create(at).thumbprint, True),
    "enrolment.json": (_enrolment, enrolment.load, True),
    "kept.json": (_kept, kept.load, False),
    "reports.json": (_reports, _load_reports, False),
    "calibration.json": (_calibration, lambda at: calibrated.load(at, KEY), False),
}


def damaged(whole: bytes) -> Iterator[bytes]:
    for length in range(len(whole)):
        yield whole[:length]
    for place in range(len(whole)):
        for value in WRONG:
            yield whole[:place] + bytes([value]) + whole[place + 1 :]
    yield b"\xff" * 300
    yield b"[" * 3000


def complaint(load: Callable[[Path], object], directory: Path) -> str:
    try:
        load(directory)
    except StateError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_told_or_as_if_it_were_not_there(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, load, is_told = FILES[name]
    monkeypatch.setattr("os.fsync", lambda _: None)  # thousands of them prove nothing here
    tmp_path.chmod(0o700)
    make(tmp_path)
    path = tmp_path / name
    whole = path.read_bytes()
    right = load(tmp_path)
    path.write_bytes(whole)
    told = 0
    for content in damaged(whole):
        path.write_bytes(content)
        path.chmod(0o600)
        if words := complaint(load, tmp_path):
            told += 1
            assert str(path) in words
            assert "; " in words, "what to do"
            assert path.read_bytes() == content, "it is left alone: its owner decides"
    assert (told > len(whole) // 2) is is_told
    path.write_bytes(whole)
    assert load(tmp_path) == right


def test_all_of_them_are_here(tmp_path: Path) -> None:
    for make, _, _ in FILES.values():
        make(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(FILES)
    assert json.loads((tmp_path / "kept.json").read_bytes())["volume"] == 40
