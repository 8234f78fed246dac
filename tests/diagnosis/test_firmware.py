"""What doctor and `devices` say of the board's lines for the firmware."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance import config, plugged
from appliance.diagnosis import firmware
from appliance.diagnosis.finding import Finding, Mark
from appliance.first_boot.outcome import Lines, Outcome

RESPEAKER = ("dtparam=i2c_arm=on", "dtparam=spi=on", "dtoverlay=respeaker-2mic-v1")


def told(tmp_path: Path, board: str, lines: Lines | None, did: str = "") -> list[Finding]:
    path = tmp_path / "appliance.toml"
    path.write_text(f'board = "{board}"\n')
    return list(firmware.examine(config.load(path), Outcome(lines=lines), did))


@pytest.mark.parametrize(
    ("board", "lines", "did", "mark", "words"),
    [
        (
            "respeaker-2mic",
            Lines(state="in_use", board="respeaker-2mic", lines=RESPEAKER),
            "",
            Mark.OK,
            "dtoverlay=respeaker-2mic-v1",
        ),
        ("usb", Lines(state="in_use", board="usb"), "", Mark.OK, "none are needed"),
        (
            "respeaker-2mic",
            Lines(state="new", board="respeaker-2mic", lines=RESPEAKER),
            "not changed while a new version is on trial",
            Mark.TROUBLE,
            "not in use (dtparam=i2c_arm=on dtparam=spi=on dtoverlay=respeaker-2mic-v1): not changed while a new",
        ),
        ("usb", Lines(state="new", board="usb"), "", Mark.TROUBLE, "nobody wrote them"),
        (
            "usb",
            Lines(state="unusable", board="usb", problem="config.txt does not include board.txt"),
            "",
            Mark.TROUBLE,
            "they stay as they are: config.txt does not include board.txt",
        ),
        ("respeaker-2mic", Lines(state="auto"), "", Mark.TROUBLE, "was named since the machine was started"),
        (
            "i2s-mems",
            Lines(state="in_use", board="respeaker-2mic", lines=RESPEAKER),
            "",
            Mark.TROUBLE,
            "board i2s-mems was named since",
        ),
    ],
)
def test_a_named_board(tmp_path: Path, board: str, lines: Lines, did: str, mark: Mark, words: str) -> None:
    (found,) = told(tmp_path, board, lines, did)
    assert found.mark is mark
    assert words in found.what
    assert bool(found.remedy) == (mark is Mark.TROUBLE)


def test_an_overlay_that_is_not_on_the_card_is_named_with_the_driver(tmp_path: Path) -> None:
    lines = (*RESPEAKER[:2], "dtparam=audio=on", "dtoverlay=seeed-4mic-voicecard")
    found = told(
        tmp_path,
        "respeaker-4mic",
        Lines(state="in_use", board="respeaker-4mic", lines=lines, missing=("seeed-4mic-voicecard",)),
    )
    assert [finding.mark for finding in found] == [Mark.OK, Mark.TROUBLE]
    assert "the overlay seeed-4mic-voicecard is not on this card; driver of respeaker-4mic: " in found[1].what
    assert "which the card image does not have" in found[1].what


def test_auto_is_told_to_be_named_only_where_no_board_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugged, "ROOT", tmp_path)
    (found,) = told(tmp_path, "auto", Lines(state="auto"))
    assert found.mark is Mark.NOTE
    assert "must be named" in found.remedy
    eeprom = tmp_path / "proc/device-tree/hat"
    eeprom.mkdir(parents=True)
    for name, text in (("vendor", "Raspberry Pi Ltd."), ("product", "Raspberry Pi Codec Zero"), ("product_id", "1")):
        (eeprom / name).write_text(text)
    assert told(tmp_path, "auto", Lines(state="auto")) == []


def test_elsewhere_config_txt_is_its_owners(tmp_path: Path) -> None:
    assert told(tmp_path, "respeaker-2mic", None) == []
    assert list(firmware.examine(config.load(tmp_path / "appliance.toml"), None, "")) == []
