"""What calibration found survives a restart, and a damaged file survives nothing but costs only a warning."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec
import pytest

from appliance import calibrated, config
from appliance.audio.loop import Loop
from appliance.calibrated import FILE_NAME, Entry, Key
from tests.audio.test_loop import GOOD, MICROPHONE, UNHEARD

KEY = Key("usb", "plughw:CARD=Device", "plughw:CARD=Device", (0,))


def entry(key: Key = KEY, loop: Loop = GOOD) -> Entry:
    return Entry(key=key, loop=loop, volume_percent=80, at="2026-11-27T10:00:00+00:00", version="0.1.0")


@pytest.mark.parametrize("loop", [GOOD, UNHEARD], ids=["heard", "not heard"])
def test_a_loop_survives(tmp_path: Path, loop: Loop) -> None:
    assert calibrated.load(tmp_path, KEY) is None
    assert calibrated.save(tmp_path, entry(loop=loop))
    assert calibrated.load(tmp_path, KEY) == entry(loop=loop)
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_another_board_card_or_microphone_is_another_loop(tmp_path: Path) -> None:
    calibrated.save(tmp_path, entry())
    others = [Key("any", *msgspec.structs.astuple(KEY)[1:]), Key("usb", "hw:1", KEY.playback, (0,))]
    others += [Key("usb", KEY.capture, "hw:1", (0,)), Key("usb", KEY.capture, KEY.playback, (0, 1))]
    for number, other in enumerate(others):
        assert calibrated.load(tmp_path, other) is None
        calibrated.save(tmp_path, entry(other, msgspec.structs.replace(GOOD, delay_ms=float(number))))
    found = [calibrated.load(tmp_path, key) for key in (KEY, *others)]
    assert [one.loop.delay_ms for one in found if one] == [40.0, 0.0, 1.0, 2.0, 3.0]


def test_a_new_finding_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    for delay_ms in (10.0, 20.0):
        calibrated.save(tmp_path, entry(loop=msgspec.structs.replace(GOOD, delay_ms=delay_ms)))
    assert (tmp_path / FILE_NAME).read_text().count('"delay_ms"') == 1
    found = calibrated.load(tmp_path, KEY)
    assert found is not None
    assert found.loop.delay_ms == 20.0


def test_the_file_stays_small_and_forgets_the_oldest(tmp_path: Path) -> None:
    array = msgspec.structs.replace(GOOD, microphones=(MICROPHONE,) * 16)
    for number in range(30):
        assert calibrated.save(tmp_path, entry(Key(f"board-{number}", "a", "b", (0,)), array))
    assert (tmp_path / FILE_NAME).stat().st_size < 16_384
    assert calibrated.load(tmp_path, key := Key("board-29", "a", "b", (0,))) == entry(key, array)
    assert calibrated.load(tmp_path, Key("board-0", "a", "b", (0,))) is None


def test_torn_at_every_byte_it_is_as_if_never_measured(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    calibrated.save(tmp_path, entry())
    whole = (tmp_path / FILE_NAME).read_bytes().rstrip()
    for length in range(len(whole)):
        (tmp_path / FILE_NAME).write_bytes(whole[:length])
        caplog.clear()
        assert calibrated.load(tmp_path, KEY) is None, length
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert FILE_NAME in caplog.text


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"null",
        b'{"loops": 3}',
        b'{"loops": [{"key": {}}]}',
        b"\xff\xfe",
        b"[" * 10_000,
        b" " * 20_000,
        b'{"loops": [{"key": {"board": "usb"}, "delay_ms": 1e300}]}',
    ],
    ids=range(8),
)
def test_a_foreign_file_costs_a_warning_and_is_replaced(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    assert calibrated.load(tmp_path, KEY) is None
    assert FILE_NAME in caplog.text
    assert calibrated.save(tmp_path, entry())
    assert calibrated.load(tmp_path, KEY) == entry()


@pytest.mark.parametrize(("field", "value"), [("delay_ms", "1e9"), ("gain_db", '"loud"'), ("microphones", "[7]")])
def test_values_that_no_measurement_gives_are_refused(tmp_path: Path, field: str, value: str) -> None:
    calibrated.save(tmp_path, entry())
    path = tmp_path / FILE_NAME
    tree = msgspec.json.decode(path.read_bytes())
    tree["loops"][0]["loop"][field] = msgspec.Raw(value.encode())
    path.write_bytes(msgspec.json.encode(tree))
    assert calibrated.load(tmp_path, KEY) is None


def test_a_newer_version_may_have_written_more(tmp_path: Path) -> None:
    calibrated.save(tmp_path, entry())
    path = tmp_path / FILE_NAME
    path.write_text(path.read_text().replace('"whole":', '"rt60_s":0.4,"whole":'))
    assert calibrated.load(tmp_path, KEY) == entry()


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "state").write_text("a file")
    assert not calibrated.save(tmp_path / "state", entry())
    assert "not kept" in caplog.text
    assert "choose another" in caplog.text


def test_the_key_is_what_is_configured(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('board = "respeaker-2mic"\n[audio]\nplayback = "hw:3"\n')
    assert calibrated.key_of(config.load(path)) == Key(
        "respeaker-2mic", "plughw:CARD=seeed2micvoicec,DEV=0", "hw:3", (0, 1)
    )
