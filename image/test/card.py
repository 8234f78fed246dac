"""What can be learned of a card from outside: file systems, secrets, what changed.

Responsible for: looking at the image's bytes on this machine. Not for: what the guest says of itself.
"""

from __future__ import annotations

import hashlib
import mmap
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from image import layout
from image.test import firmware

# Tokens as they are made, not their prefixes, which the program's own text has.
PREFIXES = (b"ek_", b"vdt_", b"vet_", b"sk-", b"-----BEGIN ")
PATTERN = re.compile(
    rb"(?<![A-Za-z0-9_-])(?:(?:ek|vdt|vet)_[A-Za-z0-9_-]{24,}|sk-[A-Za-z0-9_-]{32,})"
    rb"|-----BEGIN (?:EC |RSA |OPENSSH )?PRIVATE KEY-----\r?\n[A-Za-z0-9+/=]{16}"
)


def inserted(image: Path, card: Path, *, gib: int) -> Path:
    """Write the image onto a card of this size."""
    subprocess.run(["cp", "--sparse=always", str(image), str(card)], check=True)
    with card.open("r+b") as file:
        file.truncate(gib * 2**30)
    return card


def secrets_in(image: Path, also: Iterable[str] = (), published: bytes = b"") -> list[str]:
    """Find what looks like a secret in the image's bytes, and the secrets ``also``; never the secrets themselves.

    What ``published`` holds, too, does not count.
    """
    with image.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = [
            f"{prefix.decode()}… at byte {at}"
            for prefix in PREFIXES
            for at in _places(content, prefix)
            if PATTERN.match(content, at) and content[at : at + 120] not in published
        ]
        return found + [
            f"a secret of this run at byte {at}" for secret in also for at in _places(content, secret.encode())
        ]


def library_with_keys(image: Path, work: Path) -> bytes:
    """Read the library of the image that carries private keys of its own, for its self-tests: GnuTLS."""
    copy, library = partition(image, work, layout.ROOT["A"].number), work / "library"
    place = "/usr/lib/aarch64-linux-gnu/"
    listed = subprocess.run(
        ["debugfs", "-R", f"ls -p {place}", str(copy)], capture_output=True, text=True, check=True
    ).stdout
    names = re.findall(r"/(libgnutls[.]so[.]\d+[.][^/]+)/", listed)
    subprocess.run(["debugfs", "-R", f"dump {place}{names[0]} {library}", str(copy)], capture_output=True, check=True)
    copy.unlink()
    return library.read_bytes()


def _places(content: mmap.mmap, wanted: bytes) -> Iterator[int]:
    """Every place of ``wanted``: gigabytes are searched for words first, which is quick."""
    at = content.find(wanted)
    while at >= 0:
        yield at
        at = content.find(wanted, at + 1)


def digest(card: Path, number: int) -> str:
    """Hash a partition."""
    offset, length = firmware.partitions(card)[number]
    digest = hashlib.sha256()
    with card.open("rb") as file:
        file.seek(offset)
        while length:
            block = file.read(min(length, 2**22))
            digest.update(block)
            length -= len(block)
    return digest.hexdigest()


def faults_of_data(card: Path, work: Path) -> str:
    """Check the data partition as the next start would, on a copy: replay its journal, then look; empty if clean."""
    copy = _data(card, work)
    try:
        replayed = subprocess.run(["e2fsck", "-p", str(copy)], capture_output=True, text=True, check=False)
        looked = subprocess.run(["e2fsck", "-f", "-n", str(copy)], capture_output=True, text=True, check=False)
    finally:
        copy.unlink()
    if replayed.returncode > 1 or looked.returncode != 0:
        return f"{replayed.stdout}{replayed.stderr}{looked.stdout}".strip()
    return ""


def kit(folder: Path, files: Iterable[tuple[str, bytes]], own: Path) -> Path:
    """Write a FAT image with the test's files: a folder of them, and some more."""
    image, gathered = own / "kit.img", own / "kit"
    shutil.copytree(folder, gathered, dirs_exist_ok=True)
    for name, content in files:
        (gathered / name).write_bytes(content)
    with image.open("wb") as file:
        file.truncate(32 * 2**20)
    subprocess.run(["mkfs.vfat", "-n", "KIT", str(image)], check=True, capture_output=True)
    for path in sorted(gathered.iterdir()):
        subprocess.run(["mcopy", "-i", str(image), str(path), "::/"], check=True)
    return image


def from_kit(image: Path, name: str) -> bytes:
    """Read a file that the guest wrote."""
    return firmware.read(image, 0, name)


# Where secrets belong: read by the appliance alone.
PLACES = re.compile("config/enrolment-token|state/[a-z.-]+")


def strays(card: Path, work: Path, known: Iterable[str]) -> list[str]:
    """Find secrets on the data partition outside of their files, the journal's own text included."""
    copy, tree = _data(card, work), work / "data"
    tree.mkdir(exist_ok=True)
    subprocess.run(["e2fsck", "-p", str(copy)], capture_output=True, check=False)
    subprocess.run(["debugfs", "-R", f"rdump / {tree}", str(copy)], capture_output=True, check=True)
    copy.unlink()
    journal = subprocess.run(
        ["journalctl", "--directory", str(next((tree / "journal").iterdir())), "--output=export"],
        capture_output=True,
        check=True,
    ).stdout
    if journal.count(b"MESSAGE=") < 100:
        raise ValueError(
            f"the journal on the card has {journal.count(b'MESSAGE=')} lines only: nothing could be found in it"
        )
    wanted = [PATTERN, *(re.compile(re.escape(secret.encode())) for secret in known)]
    texts = [("journal, as text", journal)]
    texts += [(str(path.relative_to(tree)), path.read_bytes()) for path in sorted(tree.rglob("*")) if path.is_file()]
    kept = sum(bool(pattern.search(text)) for name, text in texts if PLACES.fullmatch(name) for pattern in wanted)
    if not kept:
        raise ValueError("no secret is where it belongs either: this search finds nothing")
    return [name for name, text in texts if not PLACES.fullmatch(name) for pattern in wanted if pattern.search(text)]


def _data(card: Path, work: Path) -> Path:
    """Copy the data partition."""
    return partition(card, work, layout.DATA.number)


def partition(card: Path, work: Path, number: int) -> Path:
    """Copy a partition."""
    offset, length = firmware.partitions(card)[number]
    copy, mib = work / "partition.img", 2**20
    call = ["dd", f"if={card}", f"of={copy}", "bs=1M", f"skip={offset // mib}", f"count={length // mib}"]
    subprocess.run([*call, "conv=sparse", "status=none"], check=True)
    return copy
