"""What a client costs, read from /proc: memory and processor time of its process.

Responsible for: reading. Not for: what the client does meanwhile (``story``).
"""

from __future__ import annotations

import time
from pathlib import Path


def rss_mb(pid: int, card: Path) -> float:
    """Resident memory in MB, without the pages of the virtual card: real cards have no file that grows as they run."""
    total_kb, inside_card = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, *rest = line.split()
        if not name.endswith(":"):
            inside_card = line.endswith(str(card))
        elif name == "Rss:" and not inside_card:
            total_kb += int(rest[0])
    return total_kb / 1024


def cpu_s_per_min(pid: int, seconds: float) -> float:
    """Processor seconds that all threads use in a minute, measured for ``seconds``."""
    clock = (~pid << 3) | 2  # clock_getcpuclockid(3): nanoseconds, where /proc/PID/stat has ticks of 10 ms
    began, used = time.monotonic(), time.clock_gettime(clock)
    time.sleep(seconds)
    return (time.clock_gettime(clock) - used) / (time.monotonic() - began) * 60
