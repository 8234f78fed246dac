"""Compiles the virtual card's ALSA plugin, and other small libraries of the tests, once per version of a source.

Not for: using them (``vcard``).
"""

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


LIBRARIES = ("-lasound", "-lm")


def build(source: Path = SOURCE, cache: Path = CACHE, libraries: tuple[str, ...] = LIBRARIES) -> Path:
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
            _compile(source, built, libraries)
            built.replace(library)
    return library


def _compile(source: Path, target: Path, libraries: tuple[str, ...]) -> None:
    if shutil.which(COMMAND[0]) is None:
        raise CardBuildError("no gcc to build the virtual sound card; apt-get install gcc libasound2-dev")
    run = subprocess.run(
        [*COMMAND, "-o", target, source, *libraries],
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
