"""The boot partition that runs is the one that is mounted, read-only until something is written; real mounts.

The file systems are ext4 in loop devices, numbered as a card's partitions are: this machine's kernel may know no FAT.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.first_boot import lines
from tests.first_boot.card import CONFIG, SCRIPT

# In a mount namespace of its own: what the script finds, and what the machine is left with.
WITHIN = """
set -eu
mount /dev/loop{base}7 data
{script} mount
touch boot/probe 2>/dev/null && echo writable
cat boot/slot
{script} apply
! mountpoint -q boot || echo mounted
mount -o ro /dev/loop{base}{boot} boot
cat boot/board.txt
"""


@dataclass
class Disk:
    """A card's data and boot partitions as loop devices: /dev/loop<base>7, …2 and …3."""

    folder: Path
    base: int

    def start(self, slot: str, *, wanted: str | None) -> subprocess.CompletedProcess[str]:
        """What the unit does at a start from this slot; ``wanted`` is what the program left in /run."""
        for name in ("boot", "data", "run"):
            (self.folder / name).mkdir(exist_ok=True)
        (self.folder / "run/board.txt").unlink(missing_ok=True)
        if wanted is not None:
            (self.folder / "run/board.txt").write_text(wanted)
        (self.folder / "cmdline").write_text(f"console=serial0 root=PARTUUID=x ro rauc.slot={slot} panic=10\n")
        environment = {
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
            "BOOT": str(self.folder / "boot"),
            "DATA": str(self.folder / "data"),
            "RUN": str(self.folder / "run"),
            "CMDLINE": str(self.folder / "cmdline"),
            "BACKEND": "/nonexistent",
            "RESTART": "echo restart",
        }
        text = WITHIN.format(base=self.base, script=SCRIPT, boot={"A": 2, "B": 3}[slot])
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", text]
        return subprocess.run(command, env=environment, cwd=self.folder, capture_output=True, text=True, check=False)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if os.geteuid() != 0:
        pytest.skip("needs root and loop devices")
    for number, name in ((7, "data"), (2, "A"), (3, "B")):
        content = tmp_path / f"content-{name}"
        content.mkdir()
        if number != 7:
            (content / "config.txt").write_text(CONFIG)
            (content / "board.txt").write_text(lines.text(()))
            (content / "slot").write_text(f"slot {name}\n")
        image = tmp_path / f"{number}.img"
        image.write_bytes(bytes(4 * 2**20))
        subprocess.run(["mke2fs", "-q", "-F", "-d", content, image], check=True)
    attached: list[str] = []
    base = 10
    try:
        while len(attached) < 3:
            device = f"/dev/loop{base}{(7, 2, 3)[len(attached)]}"
            done = subprocess.run(["losetup", device, tmp_path / f"{device[-1]}.img"], check=False, capture_output=True)
            if done.returncode == 0:
                attached.append(device)
            else:  # somebody else's
                detach(attached)
                base += 1
                assert base < 20, done.stderr
        yield Disk(tmp_path, base)
    finally:
        detach(attached)


def detach(devices: list[str]) -> None:
    for device in devices:
        subprocess.run(["losetup", "--detach", device], check=True)
    devices.clear()


@pytest.mark.parametrize("slot", ["A", "B"])
def test_the_partition_of_the_running_slot_is_written_and_left_unmounted(disk: Disk, slot: str) -> None:
    new = lines.text(("dtoverlay=one",))
    done = disk.start(slot, wanted=new)
    before, _, after = done.stdout.partition(f"slot {slot}\n")
    assert before == "", f"read-only: {done.stdout} {done.stderr}"
    assert after.startswith("board-lines: written: restarting, so that they are in use\nrestart\n# What")
    assert after.endswith(new)
    other = "B" if slot == "A" else "A"
    assert disk.start(other, wanted=None).stdout.endswith(lines.text(())), "the other slot's is as it was"


def test_where_nothing_is_wanted_nothing_is_written(disk: Disk) -> None:
    def sectors() -> bytes:
        return (disk.folder / "2.img").read_bytes()

    disk.start("A", wanted=None)
    before = sectors()
    assert disk.start("A", wanted=None).stdout == f"slot A\n{lines.text(())}"
    assert sectors() == before


def test_without_a_data_partition_nothing_is_mounted(tmp_path: Path) -> None:
    """Data that could not be mounted is memory: a machine that cannot remember must not restart for this."""
    for name in ("boot", "run"):
        (tmp_path / name).mkdir()
    environment = {
        "PATH": "/usr/bin:/bin",
        "BOOT": str(tmp_path / "boot"),
        "RUN": str(tmp_path / "run"),
        "DATA": "/proc",
    }
    done = subprocess.run([SCRIPT, "mount"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "not on a card of ours" in done.stderr
