"""How the card is laid out: a boot selector, two boot and two root partitions, and one for what is kept.

Responsible for: partitions, their ids and sizes, and the small text files that tie them together (autoboot.txt,
cmdline.txt, fstab, genimage's configuration). Not for: making them (``assembly``).

MBR, because the firmware of a Zero 2 W or 3 reads nothing else. autoboot.txt and its ``tryboot`` are described in
Raspberry Pi's documentation, "config.txt: autoboot.txt" and "tryboot_a_b".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Slot = Literal["A", "B"]

DISK = "70a1ce01"  # the MBR's signature: every PARTUUID begins with it
MIB = 2**20
ALIGN_MIB = 4


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition: its number in the MBR (5 and up are logical), its size in the image, and what is in it."""

    name: str
    number: int
    mib: int
    type: Literal["fat", "ext4", "empty"]
    uuid: str = ""

    @property
    def partuuid(self) -> str:
        """How the kernel finds it on any disk."""
        return f"{DISK}-{self.number:02x}"


SELECTOR = Partition("selector", 1, 16, "fat", f"{DISK[:7]}1")
BOOT: Mapping[Slot, Partition] = {
    "A": Partition("boot_a", 2, 192, "fat", f"{DISK[:7]}2"),
    "B": Partition("boot_b", 3, 192, "fat", f"{DISK[:7]}3"),
}
ROOT: Mapping[Slot, Partition] = {
    "A": Partition("root_a", 5, 1024, "ext4", "70a1ce00-0000-4000-8000-00000000000a"),
    "B": Partition("root_b", 6, 1024, "empty"),
}
DATA = Partition("data", 7, 64, "ext4", "70a1ce00-0000-4000-8000-00000000000d")
PARTITIONS = (SELECTOR, BOOT["A"], BOOT["B"], ROOT["A"], ROOT["B"], DATA)

# What outlives a change of slot: where it is on the data partition, and where programs look for it.
KEPT = {
    "config": "/etc/voice-appliance",
    "wifi": "/etc/NetworkManager/system-connections",
    "state": "/var/lib/voice-appliance",
    "update": "/var/lib/voice-appliance-update",
    "network": "/var/lib/NetworkManager",
    "systemd": "/var/lib/systemd",
    "sound": "/var/lib/alsa",
    "journal": "/var/log/journal",
}


def other(slot: Slot) -> Slot:
    """Name the slot that is not ``slot``."""
    return "B" if slot == "A" else "A"


def autoboot(slot: Slot) -> str:
    """Write autoboot.txt: ``slot`` is started, the other one once after ``reboot '0 tryboot'``."""
    return (
        f"[all]\ntryboot_a_b=1\nboot_partition={BOOT[slot].number}\n"
        f"[tryboot]\nboot_partition={BOOT[other(slot)].number}\n"
    )


def cmdline(slot: Slot) -> str:
    """Write the kernel's command line of a slot; ``rauc.slot`` is what RAUC knows the booted slot by."""
    words = [
        "console=serial0,115200",
        f"root=PARTUUID={ROOT[slot].partuuid}",
        "rootfstype=ext4",
        "ro",
        "rootwait",
        "fsck.mode=skip",  # the root is never written; data is checked by the initramfs before it is mounted
        "panic=10",
        "systemd.condition_needs_update=0",  # /var is new at each start, and nothing in it is made of /usr
        "quiet",
        f"rauc.slot={slot}",
    ]
    return " ".join(words) + "\n"


def fstab() -> str:
    """Write fstab: the root read-only, /var in memory, and over both what is kept."""
    rows = [
        f"PARTUUID={DATA.partuuid} /data ext4 noatime,nodev,nosuid,commit=5,nofail,x-systemd.growfs 0 0",
        "tmpfs /var tmpfs mode=0755,size=25%,nodev,nosuid 0 0",
        f"PARTUUID={SELECTOR.partuuid} /boot/selector vfat noauto,noatime,umask=0077 0 0",
        *(f"/data/{name} {place} none bind,nofail 0 0" for name, place in KEPT.items()),
    ]
    return "# Written by image/layout.py.\n" + "\n".join(rows) + "\n"


def genimage() -> str:
    """Write genimage's configuration: it only puts the parts, made before, one after the other."""
    types = {"fat": "0x0C", "ext4": "0x83", "empty": "0x83"}
    parts = []
    for part in PARTITIONS:
        content = "" if part.type == "empty" else f'    image = "{part.name}.img"\n'
        active = '    bootable = "true"\n' if part is SELECTOR else ""
        lines = f"    partition-type = {types[part.type]}\n    size = {part.mib}M\n{content}{active}"
        parts.append(f"  partition {part.name} {{\n{lines}  }}\n")
    table = f'    align = {ALIGN_MIB}M\n    partition-table-type = "mbr"\n    disk-signature = 0x{DISK}\n'
    head = f"  hdimage {{\n{table}  }}\n"
    return f"image disk.img {{\n{head}{''.join(parts)}}}\n"
