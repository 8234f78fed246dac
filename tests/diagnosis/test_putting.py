"""A report is put onto the partition that the firmware starts from: whole or not at all, and with room left."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.diagnosis import putting
from appliance.diagnosis.putting import LARGEST_BUNDLE, put
from appliance.diagnosis.report import BUNDLE, TEXT
from appliance.errors import StateError
from tests.first_boot.machine import Power, PowerCut
from tests.scenarios.home import ROOT

SYSTEM = {"autoboot.txt": b"[all]\ntryboot_a_b=1\n", "bootcode.bin": bytes(5000), "voice.toml": b'name = "x"\n'}
OLD, NEW = {TEXT: b"old", BUNDLE: b"old bundle" * 99}, {TEXT: b"new report", BUNDLE: b"new bundle" * 999}
PLAIN = ROOT / "image/overlay/late/usr/lib/voice-appliance/plain-report"


class Card:
    """A card's first partition, and a folder in which a report was made."""

    def __init__(self, folder: Path, *wishes: str, old: bool = True) -> None:
        self.card, self.made = folder / "card", folder / "made"
        for place, files in ((self.card, SYSTEM | (OLD if old else {})), (self.made, NEW)):
            place.mkdir(parents=True)
            for name, content in files.items():
                (place / name).write_bytes(content)
        for wish in wishes:
            (self.card / wish).touch()

    def put(self) -> bool:
        return put(self.made, self.card)

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.card.iterdir() if path.is_file()}

    def tear(self) -> None:
        """Of a file that was not yet in its place only a part may have arrived."""
        for path in self.card.glob(".*.new"):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("wish", ["report", "report.txt", "REPORT", "Report.TXT"])
def test_a_wish_is_granted_and_gone(tmp_path: Path, wish: str) -> None:
    at = Card(tmp_path, wish)
    assert at.put()
    assert at.files() == SYSTEM | NEW
    assert not at.put()


def test_a_folder_is_as_good_a_wish_and_what_is_in_it_stays(tmp_path: Path) -> None:
    at = Card(tmp_path)
    (at.card / "report").mkdir()
    assert at.put()
    assert not (at.card / "report").exists()
    (at.card / "report").mkdir()
    (at.card / "report/mine").touch()
    assert at.put()
    assert (at.card / "report/mine").exists()


def test_without_a_wish_nothing_is_written(tmp_path: Path) -> None:
    at = Card(tmp_path, "reports", "my report.txt", "report.toml")
    before = at.files()
    assert not at.put()
    assert at.files() == before


def test_without_a_bundle_an_older_one_is_not_left_beside(tmp_path: Path) -> None:
    at = Card(tmp_path, "report")
    (at.made / BUNDLE).unlink()
    assert at.put()
    assert at.files() == SYSTEM | {TEXT: NEW[TEXT]}


def test_a_bundle_that_is_too_large_stays_away_and_that_is_told(tmp_path: Path) -> None:
    at = Card(tmp_path, "report")
    (at.made / BUNDLE).write_bytes(bytes(LARGEST_BUNDLE + 1))
    assert at.put()
    assert at.files() == SYSTEM | {TEXT: NEW[TEXT] + putting.NO_ROOM.format(name=BUNDLE).encode()}


def test_no_report_was_made(tmp_path: Path) -> None:
    at = Card(tmp_path, "report")
    (at.made / TEXT).unlink()
    with pytest.raises(StateError, match="No such file"):
        at.put()
    assert at.files() == SYSTEM | OLD | {"report": b""}


@pytest.mark.parametrize("torn", [False, True], ids=["whole", "torn"])
@pytest.mark.parametrize("old", [False, True], ids=["first", "again"])
def test_power_that_is_cut_at_each_step(tmp_path: Path, torn: bool, old: bool) -> None:
    counted, power = Card(tmp_path / "counted", "report", old=old), Power(0)
    with power.supply():
        counted.put()
    assert power.steps > 10
    open_, done = 0, 0
    for last in range(1, power.steps + 1):
        at = Card(tmp_path / str(last), "report", old=old)
        with Power(last).supply(), pytest.raises(PowerCut):
            at.put()
        if torn:
            at.tear()
        found = at.files()
        assert {name: found[name] for name in SYSTEM} == SYSTEM, last
        for name, content in NEW.items():
            assert found.get(name) in (content, OLD[name] if old else None), last
        if "report" in found:
            open_ += 1
        else:
            done += 1
            assert found == SYSTEM | NEW, last
        assert at.put() == ("report" in found), last
        assert at.files() == SYSTEM | NEW, last
    assert open_ > 5
    assert done > 0


# --- a real file system that is full, or cannot be written ---


def on_small(tmp_path: Path, kib: int, run: str, *, remount: str = "") -> subprocess.CompletedProcess[str]:
    """Put onto a file system of that size, with ``SYSTEM`` and a wish there; in a mount namespace of its own."""
    at = Card(tmp_path, "report", old=False)
    text = f"""mkdir mnt; mount -t tmpfs -o size={kib}k none mnt; cp card/* mnt
{f"mount -o remount,{remount} mnt" if remount else ""}
{run}
echo "exit $?"; ls -A mnt; tail -n 1 mnt/{TEXT} 2>/dev/null
df --output=avail -k mnt | tail -n 1"""
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", text]
    assert at.made.exists()
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)


PYTHON = f"PYTHONPATH={ROOT} {sys.executable} -P -m appliance.diagnosis.putting made mnt"
SHELL = f"{PLAIN} {{made}} mnt"


def test_with_room_it_is_there(tmp_path: Path) -> None:
    done = on_small(tmp_path, 4096, PYTHON)
    assert "exit 0" in done.stdout
    assert BUNDLE in done.stdout
    assert "the report is on the card" in done.stderr


def test_with_little_room_only_the_text_is(tmp_path: Path) -> None:
    done = on_small(tmp_path, 1100, PYTHON)
    assert "exit 0" in done.stdout
    assert f"no room on this partition for {BUNDLE}" in done.stdout
    assert int(done.stdout.split()[-1]) >= 1024, "kilobytes are left free"
    assert "\nreport\n" not in done.stdout


@pytest.mark.parametrize(("kib", "remount"), [(1024, ""), (4096, "ro")], ids=["full", "read-only"])
def test_a_card_that_takes_nothing_keeps_the_wish_and_is_logged(tmp_path: Path, kib: int, remount: str) -> None:
    for name, run in (("python", PYTHON), ("shell", SHELL.format(made="/nowhere"))):
        done = on_small(tmp_path / name, kib, run, remount=remount)
        assert "exit 1" in done.stdout or "exit 2" in done.stdout
        assert sorted(done.stdout.split()[2:-1]) == sorted([*SYSTEM, "report"])
        assert "full" in done.stderr or "Read-only file system" in done.stderr


# --- where Python does not start ---


def plain(at: Card, made: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PLAIN, made, at.card], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("wish", ["report", "REPORT.txt"])
def test_a_report_without_python(tmp_path: Path, wish: str) -> None:
    at = Card(tmp_path, wish)
    done = plain(at, tmp_path / "none")
    assert (done.returncode, done.stderr) == (0, "")
    found = at.files()
    text = found.pop(TEXT)
    assert found == SYSTEM | {BUNDLE: OLD[BUNDLE]}
    assert text.startswith(b"Voice appliance: report of 20")
    assert b"\r\nIts program is broken: it does not start at all.\r\n   Do: write the card again." in text
    assert text.count(b"\n") == text.count(b"\r\n")
    assert text.isascii()


def test_it_leaves_alone_what_python_did_and_fails_where_the_card_did_not_take_it(tmp_path: Path) -> None:
    at = Card(tmp_path, "report")
    done = plain(at, at.made)
    assert done.returncode == 1
    assert "the card did not take it" in done.stderr
    assert at.put()
    assert plain(at, at.made).returncode == 0
    assert at.files() == SYSTEM | NEW


def test_a_report_that_was_put_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = Card(tmp_path, "report")
    monkeypatch.setattr(sys, "argv", ["putting", str(at.made), str(at.card)])
    with caplog.at_level(logging.INFO):
        assert putting.main() == 0
        assert putting.main() == 0
    assert caplog.messages == ["the report is on the card", "nobody wishes for a report any more"]
    (at.card / "report").touch()
    (at.made / TEXT).unlink()
    assert putting.main() == 1
    assert "the next start tries again" in caplog.text.lower()
