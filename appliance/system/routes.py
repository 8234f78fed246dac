"""Whether this machine is on any network: the kernel's routing tables, proc(5).

Responsible for: that one question. A route is no proof of the Internet; without one nothing can be reached.
"""

from __future__ import annotations

from pathlib import Path

PROC = Path("/proc/net")
_UP = 0x1


def is_connected(proc: Path = PROC) -> bool:
    """Say whether there is a default route, of IPv4 or IPv6."""
    return any(_leads_out_v4(line) for line in _lines(proc / "route")[1:]) or any(
        _leads_out_v6(line) for line in _lines(proc / "ipv6_route")
    )


def _lines(path: Path) -> list[list[str]]:
    try:
        return [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return []


def _leads_out_v4(fields: list[str]) -> bool:
    return len(fields) > 7 and fields[1] == fields[7] == "00000000" and bool(int(fields[3], 16) & _UP)


def _leads_out_v6(fields: list[str]) -> bool:
    return len(fields) > 9 and fields[0] == "0" * 32 and fields[1] == "00" and fields[9] != "lo"
