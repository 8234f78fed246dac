"""`make image`: the image and what lies beside it.

`KERNEL=debian|rpi`, `DRY_RUN=1`, `FRESH=1`, `MIRROR=`, `KEYS=`, `URL=, IMAGE_VERSION=`.

Responsible for: the order of the steps, their times, and what is printed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.update import versions
from image import assembly, mirrors, papers, profile, program, rootfs, tree, updates
from image.profile import FOLDER, ImageError

CACHE, OUT = FOLDER / "cache", FOLDER / "out"
EPOCH = 1_790_000_000  # when nobody says otherwise: the same in every build


def main() -> int:
    """Build, or say what would be fetched; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m image", description=__doc__)
    parser.add_argument("--kernel", default="debian", help=f"kernel profile: {', '.join(profile.names())}")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be fetched, and from where")
    parser.add_argument("--fresh", action="store_true", help="take nothing from the cache")
    arguments = parser.parse_args()
    try:
        if arguments.dry_run:
            print(plan(arguments.kernel), end="")
        else:
            build(arguments.kernel, fresh=arguments.fresh, epoch=int(os.environ.get("SOURCE_DATE_EPOCH", EPOCH)))
    except ImageError as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    return 0


def plan(kernel: str) -> str:
    """Say what an image of this kernel is made of: its sources and packages, and what goes onto its boot partition."""
    chosen, base = profile.load(kernel), profile.base()
    sources = mirrors.lines((*base.sources, *chosen.sources), mirrors.known(), dry=True)
    kernels = [f"{entry.kernel} as {entry.name}" for entry in chosen.boot.kernels]
    boot = [*chosen.boot.selector, *chosen.boot.files, *chosen.boot.overlays, *kernels]
    lines = [f"kernel {kernel}: {chosen.tried}"]
    for title, entries in (
        ("source", sources),
        ("package", sorted(base.packages)),
        ("package of this kernel", sorted(chosen.packages)),
        ("python", [f"{p.name} {p.version}" for p in papers.from_lock(program.LOCK.read_text("utf-8"))]),
        ("boot file of this kernel", boot),
        ("config.txt of this kernel", chosen.boot.config.strip().splitlines()),
        ("module of this kernel's initramfs", list(chosen.initramfs.modules)),
        ("bundle format of this kernel", [chosen.bundle]),
    ):
        lines += [f"{title}: {entry}" for entry in entries]
    return "\n".join(lines) + "\n"


def build(kernel: str, *, fresh: bool, epoch: int) -> Path:
    """Build the image into ``image/out``; returns it.

    Raises:
        ImageError: something failed.
    """
    if os.geteuid() != 0:
        raise ImageError("a root file system needs root: files in it belong to others\nhint: sudo make image")
    chosen, base, keys = profile.load(kernel), profile.base(), updates.keys()
    if keys is None:
        print(f"no keys: this image will take no updates. For those, first: image/update/make-keys {updates.USUAL}")
    CACHE.mkdir(exist_ok=True)
    OUT.mkdir(exist_ok=True)
    version = version_of_image()
    name = f"voice-appliance-{version}-{kernel}-arm64"
    with _step("Debian's packages"):
        tar = rootfs.build(chosen, base, CACHE, epoch=epoch, fresh=fresh)
    with _step("Python packages"):
        modules = program.packages(base, CACHE, epoch=epoch, fresh=fresh)
    raw = OUT / f"{name}.img"
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="assembly-") as folder:
        work = Path(folder)
        root = work / "root"
        root.mkdir(mode=0o755)
        with _step("the tree"):
            tools = program.chroot(base, CACHE, epoch=epoch)
            tree.build(
                root,
                tar,
                modules,
                chosen,
                CACHE,
                version=version,
                tools=tools,
                epoch=epoch,
                fresh=fresh,
                equip=lambda root: () if keys is None else updates.equip(root, keys, kernel),
            )
        print(f"root_mb: {tree.size_mib(root)} MB", flush=True)
        (work / "parts").mkdir()
        with _step("the card"):
            assembly.assemble(root, chosen.boot, raw, work / "parts", epoch=epoch)
        if keys is not None and (keys / "signer.key").exists():
            with _step("the bundle"):
                signed, log = OUT / f"{name}.raucb", CACHE / "bundle.log"
                updates.bundle(work / "parts/parts", keys, kernel, version, signed, log, epoch=epoch)
    with _step("compression"):
        packed = pack(raw)
    describe(name, version, raw, packed, rootfs.facts_of(tar), epoch=epoch)
    print(f"image: {packed.relative_to(FOLDER.parent)}\nimage_mb: {packed.stat().st_size / 1e6:.0f} MB", flush=True)
    print(f"on {machine()}; once")
    return packed


def version_of_image() -> str:
    """Return the version of the image: the program's, or what ``IMAGE_VERSION=`` says, such as 0.2.0.1.

    Raises:
        ImageError: that is no version, and no device could compare it.
    """
    named = os.environ.get("IMAGE_VERSION", "")
    if not named:
        return str(tomllib.loads((FOLDER.parent / "pyproject.toml").read_text("utf-8"))["project"]["version"])
    try:
        versions.key(named)
    except ValueError as error:
        raise ImageError(f"IMAGE_VERSION={named}: {error}") from error
    return named


def machine() -> str:
    """Say on what it ran."""
    about = os.uname()
    return f"{about.machine}, {os.cpu_count()} cores, kernel {about.release}, load {os.getloadavg()[0]:.1f}"


def pack(raw: Path) -> Path:
    """Compress the image, the same way each time."""
    packed = raw.with_name(raw.name + ".xz")
    with packed.open("wb") as sink:
        subprocess.run(["xz", "-3", "--threads=2", "--block-size=32MiB", "--stdout", str(raw)], stdout=sink, check=True)
    return packed


def describe(name: str, version: str, raw: Path, packed: Path, facts: Path, *, epoch: int) -> None:
    """Write the papers beside the image."""
    raw_hash, packed_hash = _sha256(raw), _sha256(packed)
    packages = [*papers.from_apt(facts.read_text("utf-8")), *papers.from_lock(program.LOCK.read_text("utf-8"))]
    (OUT / f"{name}.packages.txt").write_text(papers.listing(packages))
    (OUT / f"{name}.spdx.json").write_bytes(papers.bill(name, version, packages, epoch=epoch, sha256=raw_hash))
    (OUT / f"{name}.imager.json").write_bytes(
        papers.manifest(
            f"Voice appliance {version} ({name.split('-')[-2]})",
            version,
            raw_bytes=raw.stat().st_size,
            raw_sha256=raw_hash,
            packed_bytes=packed.stat().st_size,
            packed_sha256=packed_hash,
            url=published(packed),
            epoch=epoch,
        )
    )
    (OUT / f"{packed.name}.sha256").write_text(f"{packed_hash}  {packed.name}\n{raw_hash}  {raw.name}\n")


def published(packed: Path) -> str:
    """Say where Imager finds the image: in the folder that `URL=` names, else on this machine."""
    folder = os.environ.get("URL", "")
    return f"{folder.rstrip('/')}/{packed.name}" if folder else packed.absolute().as_uri()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _step(what: str) -> Iterator[None]:
    began = time.monotonic()
    print(f"==> {what}", flush=True)
    yield
    print(f"    {what}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
