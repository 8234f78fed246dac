"""A board that is named gets its lines onto the card, the machine is started again once; whatever fails, it starts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

import pytest

from appliance.board import LONGEST_LINES
from appliance.first_boot import lines
from appliance.first_boot.outcome import Lines
from tests.first_boot.card import CONFIG, Card
from tests.first_boot.machine import Machine
from tests.first_boot.test_importing import FILE

ALL = 1000  # more commands than there are: they are counted
RESPEAKER = ["dtparam=i2c_arm=on", "dtparam=spi=on", "dtoverlay=respeaker-2mic-v1"]
MEMS = ["dtparam=i2s=on", "dtparam=audio=off", "dtoverlay=googlevoicehat-soundcard"]


@pytest.fixture
def card(tmp_path: Path) -> Card:
    return Card(tmp_path / "machine")


def test_what_somebody_names_in_voice_toml_is_in_use_after_one_restart(card: Card) -> None:
    card.write(f'board = "respeaker-2mic"\n{FILE}')
    assert card.start()
    assert card.lines == RESPEAKER
    assert card.told[1] == "written: restarting, so that they are in use"
    assert not card.start()
    assert card.told == (Lines(state="in_use", board="respeaker-2mic", lines=tuple(RESPEAKER)), "")
    assert card.kept == (card.partition / "board.txt").read_text()
    assert card.settle() == 0
    assert (card.partition / "config.txt").read_text() == CONFIG


def test_what_is_said_after_new_settings_is_said_after_that_restart(card: Card) -> None:
    """The start before it was over before the appliance had said anything."""
    card.write(f'board = "respeaker-2mic"\n{FILE}')
    assert card.boot().settings == "taken"
    assert card.apply()
    assert card.boot().settings == "taken"
    assert not card.apply()
    assert card.boot().settings == "unchanged"


def test_what_config_txt_has_on_and_a_board_wants_gone_is_switched_off_after_it(card: Card) -> None:
    assert "dtparam=audio=on" in CONFIG.split("include")[0]
    card.name_board("i2s-mems")
    assert card.settle() == 1
    assert card.lines == MEMS


def test_another_board_gets_other_lines_and_one_without_gets_none(card: Card) -> None:
    for name, expected in (
        ("respeaker-2mic", RESPEAKER),
        ("i2s-mems", MEMS),
        ("usb", []),
        ("respeaker-2mic", RESPEAKER),
    ):
        card.name_board(name)
        assert card.settle() == 1, name
        assert card.lines == expected, name
        assert card.kept == (card.partition / "board.txt").read_text()


def test_auto_changes_nothing_and_what_is_there_is_kept_for_updates(card: Card) -> None:
    by_hand = "dtoverlay=hifiberry-dac\n"
    (card.partition / "board.txt").write_text(by_hand)
    for content in ("", 'board = "auto"\n', "[audio]\nvolume = 7\n"):
        (card.places.config / "appliance.toml").write_text(content)
        assert card.settle() == 0
        assert card.told == (Lines(state="auto"), "")
        assert (card.partition / "board.txt").read_text() == card.kept == by_hand


def test_a_file_that_somebody_wrote_or_deleted_is_replaced_whole(card: Card) -> None:
    card.name_board("respeaker-2mic")
    (card.partition / "board.txt").write_text("dtoverlay=mine\n" * 100)
    assert card.settle() == 1
    assert card.lines == RESPEAKER
    (card.partition / "board.txt").unlink()
    assert card.settle() == 1
    assert card.lines == RESPEAKER
    assert sorted(path.name for path in card.partition.iterdir()) == ["board.txt", "config.txt", "overlays"]


def test_it_is_written_in_place_within_its_sector(card: Card) -> None:
    before = (card.partition / "board.txt").stat()
    card.name_board("respeaker-2mic")
    card.settle()
    after = (card.partition / "board.txt").stat()
    assert (before.st_ino, before.st_size) == (after.st_ino, after.st_size) == (before.st_ino, lines.SECTOR)
    longest = tuple("dtoverlay=" + "x" * 89 for _ in range(4))
    assert sum(len(line) + 1 for line in longest) == LONGEST_LINES
    assert len(lines.text(longest)) == lines.SECTOR


# --- updates ---


def test_during_a_trial_nothing_is_changed_and_afterwards_it_is(card: Card) -> None:
    card.name_board("respeaker-2mic")
    card.trial("B", "A")
    assert not card.start()
    assert (card.lines, card.kept) == ([], "")
    assert "while a new version is on trial" in card.told[1]
    card.trial("B", "B")
    assert card.settle() == 1
    assert card.lines == RESPEAKER


def test_a_trial_without_the_lines_does_not_lose_them(card: Card) -> None:
    """A version whose bundle did not carry them over: the next one shall get them all the same."""
    card.name_board("respeaker-2mic")
    card.settle()
    kept = card.kept
    card.name_board("auto")
    (card.partition / "board.txt").write_text(lines.text(()))
    card.trial("B", "A")
    assert card.settle() == 0
    assert card.kept == kept


def test_a_backend_that_fails_counts_as_a_trial(card: Card) -> None:
    card.name_board("respeaker-2mic")
    card.backend.write_text("#!/bin/sh\nexit 1\n")
    card.backend.chmod(0o755)
    assert not card.start()
    assert card.lines == []


# --- what cannot be ---


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("kernel=vmlinuz\n", "config.txt does not include board.txt"),
        ("kernel=vmlinuz\n#include board.txt\n", "config.txt does not include board.txt"),
    ],
)
def test_a_config_txt_that_does_not_include_it_is_left_alone(card: Card, config: str, words: str) -> None:
    (card.partition / "config.txt").write_text(config)
    card.name_board("respeaker-2mic")
    assert card.settle() == 0
    found, _ = card.told
    assert found is not None
    assert (found.state, found.problem) == ("unusable", words)


def test_a_partition_that_cannot_be_mounted_changes_nothing(card: Card) -> None:
    shutil.rmtree(card.partition)
    card.partition.mkdir()
    card.name_board("respeaker-2mic")
    assert card.settle() == 0
    found, _ = card.told
    assert found is not None
    assert (found.state, "config.txt" in found.problem) == ("unusable", True)


@pytest.mark.parametrize("board", ["nonesuch", "mine"])
def test_a_board_that_cannot_be_used_keeps_the_lines_there_are(
    card: Card, board: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICE_APPLIANCE_HARDWARE", str(tmp_path))
    (tmp_path / "mine.toml").write_text('name = "Mine"\nconfig_txt = ["kernel=mine"]\n')
    card.name_board("respeaker-2mic")
    card.settle()
    card.name_board(board)
    assert card.settle() == 0
    assert card.lines == RESPEAKER
    found, _ = card.told
    assert found is not None
    assert found.state == "unusable"
    assert board in found.problem


def test_lines_of_an_own_profile_are_as_good(card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICE_APPLIANCE_HARDWARE", str(tmp_path))
    (tmp_path / "mine.toml").write_text('name = "Mine"\nconfig_txt = ["dtoverlay=odd,level=3", "dtparam=spi=on"]\n')
    card.name_board("mine")
    assert card.settle() == 1
    assert card.lines == ["dtoverlay=odd,level=3", "dtparam=spi=on"]
    assert card.told[0] == Lines(state="in_use", board="mine", lines=tuple(card.lines), missing=("odd",))


def test_where_the_image_is_not_ours_nobody_touches_config_txt(machine: Machine) -> None:
    (machine.root / "boot/firmware").mkdir()
    (machine.root / "boot/firmware/config.txt").write_text("include board.txt\n")
    machine.write('board = "respeaker-2mic"\n')
    assert machine.boot().lines is None
    assert [path.name for path in (machine.root / "boot/firmware").iterdir()] == ["config.txt"]
    assert [path.name for path in machine.places.run.iterdir()] == ["outcome.json"]


# --- power cuts, and commands that fail ---


def prepared(root: Path, *, by_hand: bool) -> tuple[Card, str]:
    """A card with a board named that is not written yet; and its board.txt."""
    card = Card(root)
    old = "dtoverlay=mine\n" if by_hand else lines.text(())
    (card.partition / "board.txt").write_text(old)
    card.write('board = "respeaker-2mic"\n')
    return card, old


@pytest.mark.parametrize("by_hand", [False, True], ids=["in place", "replaced"])
@pytest.mark.parametrize("how", ["cut", "fail"])
def test_at_each_command(tmp_path: Path, how: Literal["cut", "fail"], by_hand: bool) -> None:
    whole, _ = prepared(tmp_path / "whole", by_hand=by_hand)
    assert whole.start(at=ALL)
    new, count = (whole.partition / "board.txt").read_text(), whole.commands
    assert count > 8
    seen = set()
    for at in range(1, count + 1):
        card, old = prepared(tmp_path / str(at), by_hand=by_hand)
        card.start(at, how)
        now = (card.partition / "board.txt").read_text()
        assert now in (old, new), at
        assert (card.partition / "config.txt").read_text() == CONFIG
        assert card.kept in ("", new), at
        seen.add(now == new)
        assert card.settle() <= 1, at
        assert (card.partition / "board.txt").read_text() == card.kept == new, at
    assert seen == {False, True}


def test_a_command_that_fails_is_told_and_the_machine_goes_on(tmp_path: Path) -> None:
    whole, _ = prepared(tmp_path / "whole", by_hand=False)
    whole.start(at=ALL)
    told = set()
    for at in range(1, whole.commands + 1):
        card, _ = prepared(tmp_path / str(at), by_hand=False)
        if not card.start(at, "fail"):
            told.add(card.told[1].partition(",")[0].partition(" (")[0].partition(":")[0])
    assert told >= {"they could not be written to the card", "written"}, told


def test_a_card_that_forgets_what_is_written_is_no_reason_to_go_on_restarting(card: Card) -> None:
    before = card.forget_writes()
    card.name_board("respeaker-2mic")
    assert card.start()
    for _ in range(3):
        shutil.rmtree(card.partition)
        shutil.copytree(before, card.partition)
        assert not card.start()
        assert "the card had lost them" in card.told[1]
