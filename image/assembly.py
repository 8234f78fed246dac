"""From a tree to a card: FAT and ext4 file systems, put together by genimage. No loop device, no mount.

Responsible for: the bytes being the same for the same tree (fixed ids, times and order). Not for: what is in the
tree (``tree``), or where on the card it is (``layout``).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from appliance.first_boot import lines
from appliance.first_boot import places as files
from image import layout
from image.layout import DATA, ROOT, SELECTOR, Partition, Slot
from image.profile import FOLDER, Boot, ImageError
from image.rootfs import run

SETTINGS = FOLDER.parent / "appliance/first_boot/voice.toml"
OVERLAYS = FOLDER.parent / "hardware/overlays"


def assemble(root: Path, boot: Boot, out: Path, work: Path, *, epoch: int) -> None:
    """Write the image of the tree ``root`` to ``out``; ``work`` is an empty folder for what is in between.

    Raises:
        ImageError: a tool failed, or the kernel is not where the profile says.
    """
    log = work / "assembly.log"
    parts = work / "parts"
    for folder in (parts, work / "empty", work / "data"):
        folder.mkdir()
    selector = work / "selector"
    _gather(root, boot.selector, selector)
    (selector / "autoboot.txt").write_text(layout.autoboot("A"))
    (selector / "config.txt").touch()
    shutil.copyfile(SETTINGS, selector / "voice.toml")
    _fat(selector, SELECTOR, parts, log, epoch)
    for slot in ("A", "B"):
        folder = boot_folder(root, boot, slot, work / f"boot_{slot}", log, epoch=epoch)
        _fat(folder, layout.BOOT[slot], parts, log, epoch)
    _ext4(root, ROOT["A"], parts, log, epoch, "^has_journal")
    for name in layout.KEPT:
        (work / "data" / name).mkdir()
    for path in (*(work / "data").iterdir(), work / "data"):
        os.utime(path, (epoch, epoch))
    _ext4(work / "data", DATA, parts, log, epoch, "has_journal,resize_inode")
    (work / "genimage.cfg").write_text(layout.genimage())
    places = {"config": work / "genimage.cfg", "inputpath": parts, "outputpath": work / "out", "tmppath": work / "tmp"}
    call = [f"--{name}={place}" for name, place in {**places, "rootpath": work / "empty"}.items()]
    run(["genimage", *call], log, epoch=epoch)
    (work / "out/disk.img").rename(out)


def boot_folder(root: Path, boot: Boot, slot: Slot, folder: Path, log: Path, *, epoch: int) -> Path:
    """Lay out a boot partition: firmware, kernel, config.txt, the slot's own cmdline.txt, which is all of B at first.

    Raises:
        ImageError: something that the profile names is not in the tree, or an overlay of ours does not compile.
    """
    folder.mkdir()
    (folder / "cmdline.txt").write_text(layout.cmdline(slot))
    if slot == "B":
        return folder
    _gather(root, boot.files, folder)
    _gather(root, boot.overlays, folder / "overlays")
    overlays(folder / "overlays", log, epoch=epoch)
    for kernel in boot.kernels:
        shutil.copy(_newest(root, kernel.kernel), folder / kernel.name)
        shutil.copy(_newest(root, kernel.initramfs), folder / kernel.initramfs_name)
    (folder / "config.txt").write_text(boot.config.lstrip())
    (folder / files.LINES).write_text(lines.text(()))
    return folder


def overlays(into: Path, log: Path, *, epoch: int) -> None:
    """Compile our own device tree overlays, of the boards that Raspberry Pi's kernel has none for.

    Raises:
        ImageError: one does not compile.
    """
    for source in sorted(OVERLAYS.glob("*.dts")):
        made = into / f"{source.stem}.dtbo"
        run(["dtc", "-@", "-I", "dts", "-O", "dtb", "-o", str(made), str(source)], log, epoch=epoch)


def _gather(root: Path, patterns: tuple[str, ...], into: Path) -> None:
    into.mkdir(exist_ok=True)
    for pattern in patterns:
        found = sorted(root.glob(pattern))
        if not found:
            raise ImageError(f"nothing in the tree is called {pattern}\nhint: correct boot in the kernel profile")
        for path in found:
            shutil.copy(path, into / path.name)


def _newest(root: Path, pattern: str) -> Path:
    found = sorted(root.glob(pattern))
    if len(found) != 1:
        raise ImageError(
            f"{len(found)} files in the tree are called {pattern}, not one\nhint: correct the kernel profile"
        )
    return found[0]


def _fat(folder: Path, part: Partition, parts: Path, log: Path, epoch: int) -> None:
    """Make a FAT file system of a folder; mcopy keeps times with -m and goes in our order."""
    image = parts / f"{part.name}.img"
    with image.open("wb") as file:
        file.truncate(part.mib * layout.MIB)
    label = part.name.upper().replace("_", "-")[:11]
    run(["mkfs.vfat", "--invariant", "-i", part.uuid, "-n", label, str(image)], log, epoch=epoch)
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (epoch, epoch))
    for path in sorted(folder.iterdir()):
        run(["mcopy", "-s", "-p", "-m", "-Q", "-i", str(image), str(path), "::/"], log, epoch=epoch)


def _ext4(folder: Path, part: Partition, parts: Path, log: Path, epoch: int, features: str) -> None:
    """Make an ext4 file system of a folder, owners and all."""
    extended = f"hash_seed={part.uuid},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0,nodiscard"
    if part is DATA:
        extended += ",resize=67108864"  # blocks: it may grow to 256 GiB
    call = ["mke2fs", "-q", "-F", "-t", "ext4", "-d", str(folder), "-L", part.name, "-U", part.uuid, "-E", extended]
    sizes = ["-O", features, "-b", "4096", "-i", "16384", "-m", "0", str(parts / f"{part.name}.img"), f"{part.mib}M"]
    run(["env", f"E2FSPROGS_FAKE_TIME={epoch}", *call, *sizes], log, epoch=epoch)
    _date(parts / f"{part.name}.img", log, epoch)


def _date(image: Path, log: Path, epoch: int) -> None:
    """Overwrite the two times that mke2fs takes from the build's own disk, where nobody can set them."""
    told = subprocess.run(["dumpe2fs", "-h", str(image)], capture_output=True, text=True, check=True).stdout
    counts = {name: int(count) for name, count in re.findall(r"(?m)^(Inode count|Free inodes): +(\d+)$", told)}
    used = counts["Inode count"] - counts["Free inodes"]  # a new file system numbers its files in one go
    script = image.with_suffix(".times")
    lines = [f"sif <{inode}> {time} @{epoch}\n" for inode in (2, *range(11, used + 1)) for time in ("ctime", "atime")]
    script.write_text("".join(lines))
    run(["env", f"E2FSPROGS_FAKE_TIME={epoch}", "debugfs", "-w", "-f", str(script), str(image)], log, epoch=epoch)
