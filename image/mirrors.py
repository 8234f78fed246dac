"""Where packages come from: this machine's own apt sources, or MIRROR=, SECURITY_MIRROR=, RPI_MIRROR= and RPI_KEYRING=.

Responsible for: turning the sources of a profile into lines for apt. No host is named in here.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from image.profile import ImageError, Source

FIELDS = "$(ORIGIN)\t$(LABEL)\t$(REPO_URI)"
# archive -> the Origin and Label of its Release file, the variable that overrules, and its keyring
ORIGINS = {
    "debian": (("Debian", "Debian"), "MIRROR", "/usr/share/keyrings/debian-archive-keyring.gpg"),
    "security": (("Debian", "Debian-Security"), "SECURITY_MIRROR", "/usr/share/keyrings/debian-archive-keyring.gpg"),
    "raspberrypi": (("Raspberry Pi Foundation", "Raspberry Pi Foundation"), "RPI_MIRROR", ""),
}


def known() -> str:
    """Ask apt which archives this machine uses; empty without apt."""
    command = ["apt-get", "indextargets", "--format", FIELDS, "Created-By: Packages"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def find(archive: str, targets: str, environment: Mapping[str, str] = os.environ) -> str:
    """Find the address of ``archive``.

    Raises:
        ImageError: neither this machine nor the environment knows it.
    """
    (origin, label), variable, _ = ORIGINS[archive]
    if environment.get(variable):
        return environment[variable].rstrip("/")
    for line in targets.splitlines():
        found = line.split("\t")
        if found[:2] == [origin, label]:
            return found[2].rstrip("/")
    raise ImageError(
        f"no mirror is known for the archive {archive!r}\nhint: run apt-get update, or set {variable}= to its address"
    )


def lines(
    sources: Sequence[Source], targets: str, environment: Mapping[str, str] = os.environ, *, dry: bool = False
) -> list[str]:
    """Write ``sources`` as one-line apt sources; ``dry``: an unknown address stays a name.

    Raises:
        ImageError: an address or a keyring is missing.
    """
    written = []
    for source in sources:
        try:
            address, keyring = find(source.archive, targets, environment), _keyring(source.archive, environment)
        except ImageError:
            if not dry:
                raise
            address, keyring = f"<{ORIGINS[source.archive][1]}>", "<keyring>"
        written.append(f"deb [signed-by={keyring}] {address} {source.suite} {' '.join(source.components)}")
    return written


def _keyring(archive: str, environment: Mapping[str, str]) -> str:
    path = environment.get("RPI_KEYRING", "") if archive == "raspberrypi" else ORIGINS[archive][2]
    if not path or not Path(path).is_file():
        raise ImageError(
            f"the archive {archive!r} has no keyring here ({path or 'RPI_KEYRING is not set'})\n"
            "hint: install debian-archive-keyring, or set RPI_KEYRING= to raspberrypi-archive-keyring's file"
        )
    return path
