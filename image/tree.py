"""The whole root file system as a folder: Debian's packages, our files, our program, what starts and what does not.

Responsible for: putting them together, and for refusing a tree in which somebody could log in. Not for: making the
parts (``rootfs``, ``program``) or file systems of it (``assembly``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from image import initramfs, layout, program
from image.profile import FOLDER, ImageError, Profile
from image.rootfs import run

LATE = FOLDER / "overlay" / "late"
REPOSITORY = FOLDER.parent
SHIPPED = (
    "voice-appliance.service", "voice-appliance-last-word.service",
    "voice-appliance-import.service", "voice-appliance-setup.path", "voice-appliance-setup.service",
    "voice-appliance-report.timer", "voice-appliance-report.service", "run-voice_report.mount",
)  # fmt: skip
ENABLED = (
    "voice-appliance.service", "voice-appliance-import.service", "voice-appliance-setup.path",
    "voice-appliance-report.timer", "voice-grow-data.service", "voice-board-look.service", "voice-board-lines.service",
    "voice-wifi-again.timer",
    "systemd-timesyncd.service", "NetworkManager.service",
)  # fmt: skip
# The root is read-only: what may be changed of these is with the configuration, on the data partition.
ELSEWHERE = ("hostname", "localtime")
# Nobody can log in, nothing is installed at run time, and /var is new at each start.
MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
    "fstrim.timer", "getty.target", "getty@.service", "serial-getty@.service", "container-getty@.service",
    "NetworkManager-wait-online.service", "systemd-networkd.service", "systemd-networkd.socket",
    "systemd-firstboot.service", "systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount",
    "systemd-coredump.socket", "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
)  # fmt: skip
REMOVED = (
    "var/cache/apt", "var/lib/apt/lists", "var/log", "var/lib/dbus/machine-id", "etc/resolv.conf", "etc/machine-id",
    "var/cache/ldconfig", "var/lib/systemd/catalog", "etc/.pwd.lock", "etc/passwd-", "etc/shadow-",
    "etc/group-", "etc/gshadow-", "etc/apt/sources.list",
    "boot/initrd.img.old", "boot/vmlinuz.old", "tmp/*", "root/.*", "etc/systemd/system/getty.target.wants",
)  # fmt: skip


def build(
    root: Path,
    tar: Path,
    modules: Path,
    profile: Profile,
    cache: Path,
    *,
    version: str,
    tools: Path,
    epoch: int,
    fresh: bool,
    equip: Callable[[Path], Sequence[str]],
) -> None:
    """Make the tree in the empty folder ``root``. Needs to be root: files keep their owners.

    ``equip`` adds what not every image has, and returns the units of it that are to start.

    Raises:
        ImageError: a step failed, or somebody could log in.
    """
    log = cache / "tree.log"
    run(
        ["tar", "--extract", "--numeric-owner", "--xattrs", "--file", str(tar), "--directory", str(root)],
        log,
        epoch=epoch,
    )
    initramfs.build(root, tar, profile, cache, epoch=epoch, fresh=fresh)
    _remove(root, REMOVED)
    shutil.copytree(LATE, root, dirs_exist_ok=True, symlinks=True)
    _write(root, version, epoch)
    _units(root, equip(root), log, epoch)
    program.ours(tools, program.environment(root, modules), cache, epoch=epoch)
    refuse_logins((root / "etc/shadow").read_text())
    settle(root, epoch)


def _write(root: Path, version: str, epoch: int) -> None:
    ours = root / "usr/lib/voice-appliance"
    (ours / "kept").write_text("".join(f"{name}\n" for name in layout.KEPT))
    (ours / "version").write_text(f"{version}\n")
    (root / "etc/fstab").write_text(layout.fstab())
    for name in ELSEWHERE:
        (root / "etc" / name).unlink(missing_ok=True)
        (root / "etc" / name).symlink_to(f"/etc/voice-appliance/{name}")
    with (root / "usr/lib/os-release").open("a") as file:
        file.write("DEFAULT_HOSTNAME=voice-appliance\n")
    (root / "etc/machine-id").touch(mode=0o444)
    (root / "etc/resolv.conf").symlink_to("/run/NetworkManager/resolv.conf")
    # The first process never lets the clock be earlier than this file.
    (root / "usr/lib/clock-epoch").touch()
    os.utime(root / "usr/lib/clock-epoch", (epoch, epoch))
    for place in ("data", "boot/selector", "boot/running", *(path.lstrip("/") for path in layout.KEPT.values())):
        (root / place).mkdir(parents=True, exist_ok=True)


def _units(root: Path, more: Sequence[str], log: Path, epoch: int) -> None:
    units = root / "etc/systemd/system"
    for unit in SHIPPED:
        shutil.copy(REPOSITORY / "systemd" / unit, units)
    drop_in = units / "voice-appliance.service.d"
    drop_in.mkdir(exist_ok=True)
    shutil.copy(REPOSITORY / "systemd" / "voice-appliance-backoff.conf", drop_in / "backoff.conf")
    shared = root / "etc/NetworkManager/dnsmasq-shared.d"
    shared.mkdir(parents=True, exist_ok=True)
    shutil.copy(REPOSITORY / "systemd" / "voice-appliance-dnsmasq.conf", shared / "voice-appliance.conf")
    run(["systemd-sysusers", f"--root={root}"], log, epoch=epoch)
    run(["systemctl", f"--root={root}", "enable", *ENABLED, *more], log, epoch=epoch)
    run(["systemctl", f"--root={root}", "mask", *MASKED], log, epoch=epoch)
    (units / "default.target").unlink(missing_ok=True)
    (units / "default.target").symlink_to("/usr/lib/systemd/system/multi-user.target")


def _remove(root: Path, patterns: Sequence[str]) -> None:
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    (root / "var/log").mkdir()


def refuse_logins(shadow: str) -> None:
    """Check that no account has a password, an empty one included.

    Raises:
        ImageError: one has.
    """
    for line in shadow.splitlines():
        name, password, *_ = line.split(":")
        if not password.startswith(("*", "!")):
            raise ImageError(f"the account {name} has a password\nhint: lock it; nobody logs in to the appliance")


def settle(root: Path, epoch: int) -> None:
    """Give every file that the build touched the one time of the build, so that two builds agree."""
    for folder, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = os.path.join(folder, name)  # noqa: PTH118  # two hundred thousand of them
            before = os.lstat(path).st_mtime
            when = min(int(before), epoch)
            os.utime(path, (when, when), follow_symlinks=False)
    os.utime(root, (epoch, epoch))


def size_mib(root: Path) -> int:
    """Measure what the tree takes."""
    done = subprocess.run(["du", "-sm", "--apparent-size", str(root)], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])
