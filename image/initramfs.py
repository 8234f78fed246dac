"""The initramfs: made in the tree by Debian's own tool, with the modules that the kernel profile names.

Responsible for: what is in it, and keeping it by a hash of that. Our own part is ``overlay/initramfs``.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from image.profile import FOLDER, ImageError, Profile
from image.rootfs import files, run

OVERLAY = FOLDER / "overlay" / "initramfs"


def build(root: Path, tar: Path, profile: Profile, cache: Path, *, epoch: int, fresh: bool = False) -> None:
    """Make one for every kernel in the tree ``root``, which is that of ``tar``, or take the one in ``cache``.

    Raises:
        ImageError: mkinitramfs failed, or there is no kernel.
    """
    shutil.copytree(OVERLAY, root, dirs_exist_ok=True)
    (root / "etc/initramfs-tools/modules").write_text("".join(f"{name}\n" for name in profile.initramfs.modules))
    kernels = sorted(path.name for path in (root / "usr/lib/modules").iterdir())
    if not kernels:
        raise ImageError("there is no kernel in the tree\nhint: correct packages in the kernel profile")
    for kernel in kernels:
        kept = cache / f"initrd-{key(tar, profile, kernel)}"
        made = root / f"boot/initrd.img-{kernel}"
        if fresh or not kept.exists():
            run(
                ["chroot", str(root), "mkinitramfs", "-o", f"/boot/initrd.img-{kernel}", kernel],
                cache / "tree.log",
                epoch=epoch,
            )
            shutil.copy(made, kept)
        shutil.copy(kept, made)


def key(tar: Path, profile: Profile, kernel: str) -> str:
    """Hash what it is made of; the tree by its archive's name, which is a hash itself, and by its time."""
    digest = hashlib.sha256(repr((tar.name, tar.stat().st_mtime_ns, profile.initramfs, kernel)).encode())
    for path in files(OVERLAY):
        digest.update(path.relative_to(OVERLAY).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]
