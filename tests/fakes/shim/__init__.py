"""Another wall clock and a dead resolver for one process: a preload of our own, driven while the process runs.

Responsible for: compiling ``elsewhere.c`` and the file that drives it. It reaches what a patched ``time.time`` does
not: the certificate checks of OpenSSL. Names that end in ``.local`` are this machine. Not for: the monotonic clock,
which no fault moves.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from tests.fakes.card.library import build

SOURCE = Path(__file__).with_name("elsewhere.c")
CACHE = Path(__file__).resolve().parents[3] / ".cache" / "shim"
SIZE = 16


class Elsewhere:
    """The time and the names of processes that are started with ``environment``."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "elsewhere"
        self._path.write_bytes(bytes(SIZE))
        with self._path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), SIZE)
        self.environment = {"LD_PRELOAD": str(build(SOURCE, CACHE, ())), "ELSEWHERE": str(self._path)}

    def set_clock(self, offset_s: float) -> None:
        """Put the wall clock ahead of (or, negative, behind) what it is."""
        struct.pack_into("<q", self._memory, 0, int(offset_s * 1e9))

    def set_nameless(self, nameless: bool) -> None:
        """Let no name be found, or again."""
        struct.pack_into("<i", self._memory, 8, int(nameless))

    def close(self) -> None:
        """Give the file back."""
        self._memory.close()
