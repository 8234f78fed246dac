"""What a started card says of itself, and what of that is wrong.

Responsible for: asking the guest, and judging. Not for: starting it (``guest``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from image import layout
from image.test.guest import Guest

SETTLED_S = 420.0
TIMES = "ActiveEnterTimestampMonotonic"


@dataclass(frozen=True)
class Times:
    """Seconds of the guest's own clock since its kernel began."""

    ready_s: float
    ours_s: float
    target_s: float


def settle(guest: Guest) -> str:
    """Wait until everything has started; returns ``running``, or ``degraded`` if something failed."""
    return guest.run("systemctl is-system-running --wait", timeout_s=SETTLED_S, check=False)


def times(guest: Guest) -> Times:
    """Read how long the start took: to READY, of that our program alone, and to multi-user.target."""

    def at(unit: str, what: str) -> float:
        return int(guest.run(f"systemctl show --value -p {what} {unit}") or 0) / 1e6

    ready = at("voice-appliance", TIMES)
    began = at("voice-appliance", "InactiveExitTimestampMonotonic")
    return Times(ready, ready - began, at("multi-user.target", TIMES))


def ports(guest: Guest) -> list[str]:
    """List what listens."""
    return guest.run("ss -H -l -n -t -u").splitlines()


def wrong(guest: Guest, *, epoch: int, card_gib: int) -> list[str]:
    """Say what is not as it must be on a card that has started; nothing, if all is well."""
    asked = {
        "failed": "systemctl list-units --failed --plain --no-legend",
        "root": "findmnt -no OPTIONS /",
        "data": "df -m --output=size /data | tail -n1",
        "ids": "cat /etc/machine-id /data/machine-id",
        "journal": "journalctl --header | grep -m1 'File path'",
        "mounts": 'findmnt -rno SOURCE | grep -cF "$(findmnt -no SOURCE /data)[" || true',
        "watchdog": "systemctl show -p RuntimeWatchdogUSec -p WatchdogDevice",
        "panic": "cat /proc/sys/kernel/panic",
        "time": "date +%s",
        "passwords": "cut -d: -f2 /etc/shadow | grep -vc '^[*!]' || true",
        "wifi": "NetworkManager --print-config | grep -c '^wifi.powersave=2' || true",
        "gettys": "pgrep -c -x 'agetty|sshd' || true",
    }
    said = {name: guest.run(command) for name, command in asked.items()}
    ids = said["ids"].split()
    judged = {
        "failed": said["failed"] == "",
        "root": said["root"].split(",")[0] == "ro",
        "data": int(said["data"]) > card_gib * 1024 * 0.3,
        "ids": len(ids) == 2 and ids[0] == ids[1] and re.fullmatch("[0-9a-f]{32}", ids[0]) is not None,
        "journal": "/var/log/journal/" in said["journal"],
        "mounts": int(said["mounts"]) == len(layout.KEPT) + 1,
        "watchdog": "RuntimeWatchdogUSec=15s" in said["watchdog"] and "/dev/watchdog" in said["watchdog"],
        "panic": said["panic"] == "10",
        "time": int(said["time"]) >= epoch,
        "passwords": said["passwords"] == "0",
        "wifi": said["wifi"] == "1",
        "gettys": said["gettys"] == "0",
    }
    return [f"{name}: {said[name]!r}" for name, well in judged.items() if not well]


def identity(guest: Guest) -> str:
    """Hash what makes this machine itself: its id, its key and what it was given at enrolment."""
    return guest.run("cat /data/machine-id /data/state/identity.jwk /data/state/enrolment.json | sha256sum")
