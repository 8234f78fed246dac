"""What an image has besides, so that it can be updated: who may sign, the units; and the bundle of that image.

Responsible for: `KEYS=`, the folder that image/update/make-keys made. Without one an image takes no updates: there
would be nobody whose signature it could trust. Not for: what an update does (``appliance.update``).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from image import profile
from image.profile import FOLDER, ImageError
from image.rootfs import run

USUAL = Path("~/.config/voice-appliance/keys")
OVERLAY = FOLDER / "overlay" / "update"
UNITS = FOLDER.parent / "systemd"
SHIPPED = (
    "voice-appliance-update.service",
    "voice-appliance-update.timer",
    "voice-appliance-confirm.service",
    "voice-appliance-restart.path",
    "voice-appliance-restart.service",
)
ENABLED = (
    "voice-appliance-update.timer",
    "voice-appliance-confirm.service",
    "voice-appliance-restart.path",
    "voice-appliance-leave-trial.timer",
)
# From this kernel on, RAUC before that version does not understand what dm-verity says (rauc/rauc#1842).
NEW_KERNEL, NEW_RAUC = (6, 19), (1, 15, 1)
# A device with "plain" takes the other one, too: a later version of it may be able to open it.
FORMATS = {"plain": "plain verity", "verity": "-plain"}


def keys() -> Path | None:
    """Return the folder that `KEYS=` names; without it the usual one, if it is there.

    Raises:
        ImageError: there is no keyring in it.
    """
    named = os.environ.get("KEYS", "")
    if not named and not USUAL.expanduser().is_dir():
        return None
    named = named or str(USUAL)
    folder = Path(named).expanduser()
    if not (folder / "keyring.pem").is_file():
        raise ImageError(f"KEYS={named}: no keyring.pem is in there\nhint: image/update/make-keys {named}")
    return folder


def compatible(kernel: str) -> str:
    """Name the kind of images that fit each other: one kernel's are no other's."""
    return f"voice-appliance-arm64-{kernel}"


def equip(root: Path, keys: Path, kernel: str) -> Sequence[str]:
    """Put settings, keyring and units into the tree ``root``; returns the units to be enabled.

    Raises:
        ImageError: it could open no bundle of its own.
    """
    _refuse_unopenable(root, profile.load(kernel).bundle)
    shutil.copytree(OVERLAY, root, dirs_exist_ok=True, symlinks=True)
    settings = root / "etc/rauc/system.conf"
    text = settings.read_text("utf-8").replace("voice-appliance-arm64-@KERNEL@", compatible(kernel))
    settings.write_text(text.replace("@FORMATS@", FORMATS[profile.load(kernel).bundle]))
    shutil.copyfile(keys / "keyring.pem", root / "etc/rauc/keyring.pem")
    for name in SHIPPED:
        shutil.copy(UNITS / name, root / "etc/systemd/system")
    return ENABLED


def bundle(parts: Path, keys: Path, kernel: str, version: str, out: Path, log: Path, *, epoch: int) -> None:
    """Sign the image's own root and boot file systems as an update.

    Raises:
        ImageError: rauc is not here or fails.
    """
    out.unlink(missing_ok=True)
    call = [str(FOLDER / "update/make-bundle"), "--version", version, "--compatible", compatible(kernel)]
    call += ["--format", profile.load(kernel).bundle]
    files = ["--root", str(parts / "root_a.img"), "--boot", str(parts / "boot_a.img")]
    run([*call, *files, "--keys", str(keys), "--out", str(out)], log, epoch=epoch)


def _refuse_unopenable(root: Path, form: str) -> None:
    """Check that RAUC and the kernel in the tree can open the format of their own updates."""
    kernels = [name for name in (path.name for path in root.glob("usr/lib/modules/*")) if _numbers(name) >= NEW_KERNEL]
    if form == "plain" or not kernels:
        return
    told = (root / "var/lib/dpkg/status").read_text("utf-8")
    found = re.search(r"(?m)^Package: rauc\n(?:\S.*\n| .*\n)*?Version: (\S+)", told)
    if found is None or _numbers(found[1]) < NEW_RAUC:
        raise ImageError(
            f"RAUC {found[1] if found else '(none)'} with kernel {kernels[0]} opens no verity bundle (rauc/rauc#1842)\n"
            'hint: bundle = "plain" in the kernel profile, or a newer rauc'
        )


def _numbers(version: str) -> tuple[int, ...]:
    """Read what a version begins with: ``6.19.2-v8+`` is (6, 19, 2)."""
    begin = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in begin[0].split(".")) if begin else ()
