"""Keeping the process small: a Pi Zero 2 W has 512 MB for everything.

Responsible for: telling glibc to be frugal. Other C libraries lack these calls, and then nothing is done.
"""

from __future__ import annotations

import ctypes
import gc

_ARENA_MAX = -8  # M_ARENA_MAX of <malloc.h>


def be_frugal() -> None:
    """Use one allocation arena for all threads: ours allocate little, and an arena a thread costs megabytes."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)


def give_back() -> None:
    """Give what start-up needed and nobody needs now back to the system."""
    gc.collect()
    gc.freeze()  # what is alive now stays alive: collecting it again and again would only cost time
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
