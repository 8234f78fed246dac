"""Kernel profiles: which kernel and firmware an image has. Data, one TOML a profile in ``profiles``.

Responsible for: the shape of a profile and what every image has whatever its kernel. Not for: where the archives are
(``mirrors``).
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
from msgspec import Struct

T = TypeVar("T", bound="Part")
FOLDER = Path(__file__).resolve().parent
SUITE = "trixie"
PYTHON = "3.13"


class Part(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of a profile: unknown keys are refused."""


class Source(Part, frozen=True, kw_only=True):
    """Packages of one suite of one archive: ``debian``, ``security`` or ``raspberrypi``."""

    archive: str
    suite: str
    components: tuple[str, ...]


class Kernel(Part, frozen=True, kw_only=True):
    """A kernel with its initramfs: where they are in the root file system, what they are called beside config.txt."""

    kernel: str
    initramfs: str
    name: str
    initramfs_name: str


class Boot(Part, frozen=True, kw_only=True):
    """What goes onto the FAT partitions, as patterns of paths in the root file system."""

    selector: tuple[str, ...]
    files: tuple[str, ...]
    overlays: tuple[str, ...]
    kernels: tuple[Kernel, ...]
    config: str


class Initramfs(Part, frozen=True, kw_only=True):
    """The modules that reach the card."""

    modules: tuple[str, ...]


class Profile(Part, frozen=True, kw_only=True):
    """A kernel profile. ``bundle`` is the format of its updates: one that its kernel and RAUC can open."""

    tried: str
    bundle: Literal["plain", "verity"]
    sources: tuple[Source, ...]
    packages: tuple[str, ...]
    boot: Boot
    initramfs: Initramfs


class Base(Part, frozen=True, kw_only=True):
    """What every image has: ``packages.toml``. ``building`` is in the chroot only that makes wheels."""

    sources: tuple[Source, ...]
    packages: tuple[str, ...]
    building: tuple[str, ...]


class ImageError(Exception):
    """The image cannot be built; the text says what happened, then the hint."""


def names() -> list[str]:
    """List the profiles."""
    return sorted(path.stem for path in (FOLDER / "profiles").glob("*.toml"))


def load(name: str) -> Profile:
    """Read a profile.

    Raises:
        ImageError: there is none of this name, or it is malformed.
    """
    if name not in names():
        raise ImageError(f"KERNEL={name}: no such kernel profile\nhint: one of {', '.join(names())}")
    return _read(FOLDER / "profiles" / f"{name}.toml", Profile)


def base() -> Base:
    """Read what every image has.

    Raises:
        ImageError: it is malformed.
    """
    return _read(FOLDER / "packages.toml", Base)


def _read(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), kind)
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: {error}\nhint: correct the file") from error
