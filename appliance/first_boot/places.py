"""Where the settings of the machine are kept, all under one root, so that a test has a machine of its own.

Responsible for: names, and for how a file is replaced as a whole. Not for: what is in the files.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

RUN = "run/voice-appliance-setup"
SELECTOR = "boot/selector"  # of the card image: the card's first partition, which is never empty
CANDIDATES = (f"{SELECTOR}/voice.toml", "boot/firmware/voice.toml")  # our image; Raspberry Pi OS
LINES = "board.txt"  # of the boot partition that runs; config.txt there includes it
ALSO = ".txt"  # Windows hides the ending of a name, and its Notepad adds one


@dataclass(frozen=True, slots=True)
class Places:
    """The machine's files."""

    root: Path = Path("/")

    @property
    def config(self) -> Path:
        """Our own folder; in the image it is on the data partition."""
        return self.root / "etc/voice-appliance"

    @property
    def connections(self) -> Path:
        """NetworkManager's keyfiles."""
        return self.root / "etc/NetworkManager/system-connections"

    @property
    def zones(self) -> Path:
        """The time zones that this system knows."""
        return self.root / "usr/share/zoneinfo"

    @property
    def run(self) -> Path:
        """Where others may read how it went; gone at power-off."""
        return self.root / RUN

    @property
    def ssh_server(self) -> Path:
        """The program that an SSH key is for."""
        return self.root / "usr/sbin/sshd"

    @property
    def has_page(self) -> bool:
        """Say whether the unit is installed that opens a set-up page."""
        unit = "systemd/system/voice-appliance-setup.path"
        return any((self.root / folder / unit).is_file() for folder in ("etc", "usr/lib", "lib"))

    @property
    def boot(self) -> Path:
        """The boot partition that the machine was started from, mounted while this runs; only the card image has it."""
        return self.root / "boot/running"

    @property
    def restarted(self) -> Path:
        """What is there after a restart for the sake of the board's lines: the lines."""
        return self.root / "data/board-restarted"

    @property
    def kernel_hostname(self) -> Path:
        """The kernel's idea of our name."""
        return self.root / "proc/sys/kernel/hostname"

    def kept(self, path: str) -> Path:
        """Name the file behind ``path``: on a read-only root it is a link into our own folder, which is not."""
        place = self.root / path
        with contextlib.suppress(OSError):
            target = Path(os.readlink(place))  # noqa: PTH115  # of links in links only the first counts
            if target.is_relative_to("/etc/voice-appliance"):
                return self.root / target.relative_to("/")
        return place


def is_unmounted(places: Places) -> bool:
    """Say whether the card image's first partition is not where its settings would be read from."""
    place = places.root / SELECTOR
    try:
        return place.is_dir() and next(place.iterdir(), None) is None
    except OSError:  # it is there, and cannot be read
        return True


def found(places: Places) -> list[Path]:
    """List the settings file on the card; two where an editor made another one, with an ending, beside the first."""
    for name in CANDIDATES:
        if there := [path for path in (places.root / name, places.root / f"{name}{ALSO}") if path.is_file()]:
            return there
    return []


def replace(path: Path, data: bytes, mode: int) -> None:
    """Replace a file as a whole; on the disk when this returns.

    Raises:
        OSError: it cannot be; the old content is untouched.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        new.unlink(missing_ok=True)
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        with os.fdopen(handle, "wb") as file:
            with contextlib.suppress(PermissionError):  # FAT has no modes
                os.fchmod(handle, mode)  # whatever the umask is: others have to read some of them
            file.write(data)
            file.flush()
            os.fsync(handle)
        new.replace(path)
        sync_folder(path.parent)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise


def make_folder(folder: Path, mode: int) -> None:
    """Make a folder that is not there yet, with its parents.

    Raises:
        OSError: it cannot be.
    """
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)


def link(path: Path, target: str) -> None:
    """Replace a symbolic link as a whole.

    Raises:
        OSError: it cannot be.
    """
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(path)
    sync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove a file if it is there.

    Raises:
        OSError: it cannot be.
    """
    path.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Return when the names in ``folder`` are on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
