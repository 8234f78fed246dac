"""The part of a Raspberry Pi's firmware that decides what is started, played for QEMU.

Responsible for: reading the card's own MBR, autoboot.txt, config.txt and cmdline.txt, and a device tree like the
firmware's (which partition it was, a Pi's revision). Not for: running anything (``guest``). The card is only read.
"""

from __future__ import annotations

import re
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

SECTOR = 512
EXTENDED = (0x05, 0x0F)
PI_3B = "a02082"  # gpiozero refuses a machine that is no Pi


@dataclass(frozen=True)
class Start:
    """What the firmware hands over: the partition, and its kernel, initramfs and command line."""

    partition: int
    kernel: bytes
    initramfs: bytes
    cmdline: str


def partitions(card: Path) -> dict[int, tuple[int, int]]:
    """Read the partition table: number -> where it begins and how long it is, in bytes."""
    found: dict[int, tuple[int, int]] = {}
    with card.open("rb") as file:

        def entries(sector: int) -> list[tuple[int, int, int]]:
            file.seek(sector * SECTOR + 446)
            return [struct.unpack_from("<4xB3xII", file.read(16)) for _ in range(4)]

        extended = 0
        for number, (kind, start, length) in enumerate(entries(0), 1):
            if kind in EXTENDED:
                extended = start
            elif kind:
                found[number] = (start * SECTOR, length * SECTOR)
        number, table = 5, extended
        while table:
            (_, start, length), (kind, ahead, _), *_ = entries(table)
            found[number] = ((table + start) * SECTOR, length * SECTOR)
            number, table = number + 1, extended + ahead if kind else 0
    return found


def read(card: Path, offset: int, name: str) -> bytes:
    """Read a file of the FAT partition at ``offset``.

    Raises:
        FileNotFoundError: it is not there.
    """
    done = subprocess.run(["mcopy", "-i", f"{card}@@{offset}", f"::{name}", "-"], capture_output=True, check=False)
    if done.returncode:
        raise FileNotFoundError(f"{name} of the partition at {offset}: {done.stderr.decode().strip()}")
    return done.stdout


def boot_partition(autoboot: str, *, tryboot: bool) -> int:
    """Choose the boot partition as the firmware does: later sections that apply overrule."""
    section, chosen = "all", 1
    for line in autoboot.split():
        if line.startswith("["):
            section = line.strip("[]")
        elif line.startswith("boot_partition=") and (section == "all" or (section == "tryboot" and tryboot)):
            chosen = int(line.partition("=")[2])
    return chosen


def start(card: Path, *, tryboot: bool = False) -> Start:
    """Do as the firmware does up to the kernel."""
    table = partitions(card)
    number = boot_partition(read(card, table[1][0], "autoboot.txt").decode(), tryboot=tryboot)
    offset = table[number][0]
    config = read(card, offset, "config.txt").decode()
    kernel, initramfs = re.search(r"(?m)^kernel=(\S+)", config), re.search(r"(?m)^initramfs (\S+)", config)
    if kernel is None or initramfs is None:
        raise ValueError(f"config.txt of partition {number} names no kernel or no initramfs")
    cmdline = read(card, offset, "cmdline.txt").decode().strip()
    return Start(number, read(card, offset, kernel[1]), read(card, offset, initramfs[1]), cmdline)


def device_tree(machine: list[str], path: Path, *, partition: int, tryboot: bool) -> None:
    """Write QEMU's device tree with what a Pi's firmware adds, and without QEMU's GPIO chip: ours is the first then."""
    dump = [*machine]
    dump[dump.index("-M") + 1] += f",dumpdtb={path}"
    subprocess.run(dump, check=True, capture_output=True)
    for node in ("/gpio-keys", "/pl061@9030000"):
        subprocess.run(["fdtput", "-r", str(path), node], check=True)
    for key, value in (("partition", partition), ("tryboot", int(tryboot))):
        subprocess.run(["fdtput", "-p", "-t", "u", str(path), "/chosen/bootloader", key, str(value)], check=True)
    subprocess.run(["fdtput", "-p", "-t", "x", str(path), "/system", "linux,revision", PI_3B], check=True)
