"""The card's layout, read back as the firmware, the kernel and RAUC read it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from appliance.first_boot.places import Places
from image import layout
from image.layout import BOOT, DATA, DISK, KEPT, PARTITIONS, ROOT, SELECTOR, Slot
from image.test import firmware
from tests.scenarios.home import ROOT as REPOSITORY

SLOTS: tuple[Slot, ...] = ("A", "B")


@pytest.mark.parametrize("slot", SLOTS)
def test_the_firmware_starts_the_chosen_slot_and_tries_the_other(slot: Slot) -> None:
    autoboot = layout.autoboot(slot)
    assert firmware.boot_partition(autoboot, tryboot=False) == BOOT[slot].number
    assert firmware.boot_partition(autoboot, tryboot=True) == BOOT[layout.other(slot)].number
    assert "tryboot_a_b=1" in autoboot


@pytest.mark.parametrize("slot", SLOTS)
def test_each_slot_names_its_own_root_and_itself(slot: Slot) -> None:
    words = layout.cmdline(slot).split()
    assert f"root=PARTUUID={DISK}-{ROOT[slot].number:02x}" in words
    assert f"rauc.slot={slot}" in words
    assert {"ro", "panic=10"} <= set(words)
    assert layout.cmdline(slot).count("\n") == 1, "the firmware reads one line only"


def test_both_slots_are_of_one_size_and_data_comes_last() -> None:
    assert BOOT["A"].mib == BOOT["B"].mib
    assert ROOT["A"].mib == ROOT["B"].mib
    assert PARTITIONS[-1] is DATA
    assert SELECTOR.number == 1, "the firmware looks for autoboot.txt there"
    numbers = [part.number for part in PARTITIONS]
    assert numbers == sorted(set(numbers))
    assert 4 not in numbers, "the extended partition"


def test_what_is_kept_is_on_data_and_nothing_else_is_written_to_the_card() -> None:
    rows = [line.split() for line in layout.fstab().splitlines() if not line.startswith("#")]
    sources = {row[1]: row[0] for row in rows}
    assert sources["/var"] == "tmpfs"
    assert sources["/data"] == f"PARTUUID={DISK}-07"
    for name, place in KEPT.items():
        assert sources[place] == f"/data/{name}"
    assert "/" not in sources, "the root is mounted by the kernel, and stays read-only"
    assert {"/var/lib/voice-appliance", "/etc/voice-appliance", "/var/log/journal"} <= set(KEPT.values())
    assert "/etc/NetworkManager/system-connections" in KEPT.values()


def test_genimage_makes_the_table_that_the_layout_says(tmp_path: Path) -> None:
    for folder in ("parts", "empty"):
        (tmp_path / folder).mkdir()
    for part in PARTITIONS:
        (tmp_path / "parts" / f"{part.name}.img").write_bytes(part.name.encode())
    (tmp_path / "genimage.cfg").write_text(layout.genimage())
    places = {
        "config": "genimage.cfg",
        "inputpath": "parts",
        "outputpath": "out",
        "tmppath": "tmp",
        "rootpath": "empty",
    }
    command = ["genimage", *(f"--{name}={tmp_path / place}" for name, place in places.items())]
    subprocess.run(command, check=True, capture_output=True)
    disk = tmp_path / "out/disk.img"
    table = firmware.partitions(disk)
    assert {number: length // layout.MIB for number, (_, length) in table.items()} == {
        part.number: part.mib for part in PARTITIONS
    }
    with disk.open("rb") as file:
        content = file.read(512)
        assert content[440:444] == bytes.fromhex(DISK)[::-1]
        for part in PARTITIONS:
            if part.type != "empty":
                file.seek(table[part.number][0])
                assert file.read(len(part.name)) == part.name.encode()
    assert all(start % (layout.ALIGN_MIB * layout.MIB) == 0 for start, _ in table.values())


def test_the_running_boot_partition_is_found_by_the_numbers_that_they_have() -> None:
    script = (REPOSITORY / "image/overlay/late/usr/lib/voice-appliance/board-lines").read_text()
    assert f"in *{DATA.number}) ;;" in script
    for slot in SLOTS:
        assert f'rauc.slot={slot} "*) echo "${{data%{DATA.number}}}{BOOT[slot].number}" ;;' in script
        assert f" rauc.slot={slot} " in f" {layout.cmdline(slot)} ".replace("\n", " ")
    assert f"BOOT:-/{Places().boot.relative_to('/')}}}" in script


def test_the_initramfs_mounts_data_by_the_number_that_it_has() -> None:
    script = (
        REPOSITORY / "image/overlay/initramfs/etc/initramfs-tools/scripts/init-bottom/voice-appliance"
    ).read_text()
    assert re.search(r"data=\$\{ROOT%\[0-9\]\}(\d+)", script)[1] == str(DATA.number)  # type: ignore[index]
    grow = (REPOSITORY / "image/overlay/late/usr/lib/voice-appliance/grow-data").read_text()
    assert f"for number in 4 {DATA.number}; do" in grow


def test_a_root_without_a_first_process_is_left_and_not_a_shell() -> None:
    script = (
        REPOSITORY / "image/overlay/initramfs/etc/initramfs-tools/scripts/init-bottom/voice-appliance"
    ).read_text()
    assert 'run-init -n "$rootmnt" "$init" || panic' in script
    assert " panic=10 " in layout.cmdline("A")
