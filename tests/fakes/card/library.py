"""Compiles the virtual card's ALSA plugin, once per version of its source. Not for: using it (``vcard``)."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("pcm_vcard.c")
CACHE = Path(__file__).resolve().parents[3] / ".cache" / "vcard"
COMMAND = ("gcc", "-std=gnu11", "-O3", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-DPIC")


class CardBuildError(RuntimeError):
    """The plugin cannot be built on this machine; the text names the packages that are missing."""


def build(source: Path = SOURCE, cache: Path = CACHE) -> Path:
    """The path of the compiled plugin, ``cache/<hash>/libvcard.so``; compiles when that does not exist.

    Raises:
        CardBuildError: there is no gcc or no ALSA header, or the source does not compile.
    """
    digest = hashlib.sha256(" ".join(COMMAND).encode() + source.read_bytes()).hexdigest()[:16]
    library = cache / digest / "libvcard.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        # Parallel test runs may build at the same time: each under its own name, the rename is atomic.
        with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
            built = Path(scratch) / library.name
            _compile(source, built)
            built.replace(library)
    return library


def _compile(source: Path, target: Path) -> None:
    if shutil.which(COMMAND[0]) is None:
        raise CardBuildError("no gcc to build the virtual sound card; apt-get install gcc libasound2-dev")
    run = subprocess.run(
        [*COMMAND, "-o", target, source, "-lasound", "-lm"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    if run.returncode != 0:
        raise CardBuildError(
            f"gcc cannot build {source.name}; is libasound2-dev installed? (apt-get install libasound2-dev)\n"
            f"{run.stderr.strip()}"
        )
