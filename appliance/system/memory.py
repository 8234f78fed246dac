"""Keeping the process small: a Pi Zero 2 W has 512 MB for everything.

Responsible for: telling glibc to be frugal, and giving back what only start-up needed: free heap, and the pages of
libraries that ran once. Other systems lack these calls, and then nothing is done.
"""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Iterator
from pathlib import Path

_MMAP_THRESHOLD, _ARENA_MAX = -3, -8  # M_… of <malloc.h>
LARGE = 64 * 1024  # bytes: a piece of a reply on its way in, a second of sound; they come some times a second at most
_DONTNEED = 4  # MADV_DONTNEED of <sys/mman.h>
OURS = ("Private_Dirty:", "Shared_Dirty:", "Anonymous:", "Swap:")  # pages that no file holds
_HEAD = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r-[x-]p \S+ \S+ \S+ +(/\S+\.so\S*)$")


def be_frugal() -> None:
    """Use one allocation arena for all threads, and give back whatever is large as soon as it is freed.

    An arena a thread costs megabytes, and ours allocate little. What is large once, a sentence being resampled or a
    certificate store, raises glibc's own threshold: from then on it keeps as much for good. And what is large and
    short-lived leaves holes among what is small and lasts, which it cannot give back.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)
        mallopt(_MMAP_THRESHOLD, LARGE)


def give_back() -> None:
    """Give what start-up needed and nobody needs now back to the system. Takes some tens of milliseconds."""
    gc.collect()
    gc.freeze()  # what is alive now stays alive: collecting it again and again would only cost time
    library = ctypes.CDLL(None)
    trim, advise = getattr(library, "malloc_trim", None), getattr(library, "madvise", None)
    if trim is not None:
        trim(0)
    if advise is not None:
        for start, length in _clean_library_pages():
            advise(ctypes.c_void_p(start), ctypes.c_size_t(length), _DONTNEED)


def _clean_library_pages() -> Iterator[tuple[int, int]]:
    """Find the code and constants of libraries that are exactly as in their files.

    Dropping them is safe: whoever needs a page again gets it from the page cache in a microsecond. Mappings with a
    single page of our own (relocated addresses, swapped out or not) are left alone: those would be lost.
    """
    try:
        lines = Path("/proc/self/smaps").read_text().splitlines()
    except OSError:
        return
    found: tuple[int, int] | None = None
    for line in lines:
        if (head := _HEAD.match(line)) is not None:
            start, stop = int(head[1], 16), int(head[2], 16)
            found = (start, stop - start)
        elif "-" in line.split(" ", 1)[0]:
            found = None
        elif found is not None and line.startswith(OURS):
            if line.split()[1] != "0":
                found = None
        elif found is not None and line.startswith("VmFlags:"):
            yield found
            found = None
