"""The root file system: Debian's packages for arm64, by mmdebstrap through qemu-user. Kept by a hash of what goes in.

Responsible for: the packages, and what is not wanted of them. Not for: our program (``program``), our files (``tree``),
the initramfs (``initramfs``).
"""

from __future__ import annotations

import hashlib
import inspect
import shlex
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from image import mirrors
from image.profile import SUITE, Base, ImageError, Profile

UNWANTED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*", "/usr/share/bug/*",
            "/usr/share/lintian/*", "/usr/lib/modules/*/dtb/[!b]*")  # fmt: skip
WANTED = ("/usr/share/doc/*/copyright", "/usr/lib/modules/*/dtb/b*")


def key(profile: Profile, base: Base) -> str:
    """Hash everything of ours that the root file system is made of, but not the archive's state."""
    how = inspect.getsource(command) + inspect.getsource(build)
    made_of = (profile.packages, profile.sources, base.packages, base.sources, how)
    return hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]


def files(folder: Path) -> Iterator[Path]:
    """Every file under ``folder``, in a fixed order."""
    yield from sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def command(packages: Iterable[str], sources: Sequence[str], into: Path, *, variant: str = "minbase") -> list[str]:
    """Write the call of mmdebstrap, without what only the real root needs."""
    quiet = [
        "--aptopt=Acquire::Languages \"none\"", "--aptopt=APT::Install-Recommends \"false\"",
        "--dpkgopt=force-unsafe-io",
    ]  # fmt: skip
    return [
        "mmdebstrap", "--architectures=arm64", f"--variant={variant}", "--mode=root", "--format=tar",
        f"--include={','.join(packages)}", *quiet, SUITE, str(into), *sources,
    ]  # fmt: skip


def build(profile: Profile, base: Base, cache: Path, *, epoch: int, fresh: bool = False) -> Path:
    """Build the tree as a tar file in ``cache``, unless one of the same inputs is there; returns it.

    Raises:
        ImageError: mmdebstrap failed; its log is named.
    """
    made = cache / f"root-{key(profile, base)}.tar"
    if made.exists() and not fresh:
        return made
    sources = mirrors.lines((*base.sources, *profile.sources), mirrors.known())
    half = made.with_suffix(".half.tar")
    facts = shlex.quote(str(facts_of(half)))
    # No initramfs yet: it is made once, of the finished tree (``initramfs``).
    prepare = (
        'mkdir -p "$1/etc/initramfs-tools" && echo update_initramfs=no > "$1/etc/initramfs-tools/update-initramfs.conf"'
    )
    # What apt knows of each package, its hash among it, before apt's lists are cleared away.
    installed = "$(dpkg-query --admindir=\"$1/var/lib/dpkg\" -W -f '${Package}=${Version} ')"
    ask = f'APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-cache show {installed} > {facts}'
    # raspi-firmware copies kernel and initramfs there: we lay out the FAT partitions ourselves.
    empty = 'rm -rf "$1/boot/firmware" && mkdir -p "$1/boot/firmware"'
    hooks = [
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in UNWANTED),
        *(f"--dpkgopt=path-include={pattern}" for pattern in WANTED),
        "--dpkgopt=force-confold",  # the file that the next line writes stays
        f"--essential-hook={prepare}",
        f"--customize-hook={ask}",
        f"--customize-hook={empty}",
    ]
    call = command((*base.packages, *profile.packages), sources, half)
    call[-len(sources) - 2 : -len(sources) - 2] = hooks
    run(call, cache / "rootfs.log", epoch=epoch)
    facts_of(half).rename(facts_of(made))
    half.rename(made)
    return made


def facts_of(tar: Path) -> Path:
    """Name the file in which apt's own words about each package of ``tar`` are."""
    return tar.with_suffix(".apt")


def run(call: Sequence[str], log: Path, *, epoch: int) -> None:
    """Run a program with a fixed time and language; its output goes to ``log``.

    Raises:
        ImageError: it is not there, or failed.
    """
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC",
                   "SOURCE_DATE_EPOCH": str(epoch), "TMPDIR": str(log.parent)}  # fmt: skip
    with log.open("ab") as sink:
        try:
            done = subprocess.run(
                call, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL, env=environment, check=False
            )
        except FileNotFoundError as error:
            raise ImageError(f"{call[0]} is not installed\nhint: image/setup installs what the build needs") from error
    if done.returncode:
        tail = "\n".join(log.read_text("utf-8", "replace").splitlines()[-15:])
        raise ImageError(f"{call[0]} failed ({done.returncode}):\n{tail}\nhint: all of it is in {log}")
