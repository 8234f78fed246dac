"""The machine under the appliance: its clock, its disk, its user, its device nodes.

Responsible for: looking, and plain words. Not for: sound (``sound``) and the network (``network``).
"""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from appliance.config import Loaded
from appliance.diagnosis.finding import Finding, note, ok, trouble
from appliance.first_boot.outcome import Outcome
from appliance.front import GpioFront
from appliance.system.timesync import SYNCHRONISED

USER = "voice-appliance"
SHIPPED_S = 1_767_225_600.0  # 2026-01-01: an earlier clock was never set
CLOCK_OFF_AT_MOST_S = 120.0
LEAST_FREE = 20_000_000  # bytes


def clock(now_s: float, service_s: float | None, mark: Path = SYNCHRONISED) -> Finding:
    """Say whether the clock is right; ``service_s`` is what the provisioning service's showed at the same time."""
    remedy = "sudo timedatectl set-ntp true; does the network let time servers through?"
    if now_s < SHIPPED_S:
        return trouble("clock", "it was never set", remedy)
    if service_s is not None and abs(now_s - service_s) > CLOCK_OFF_AT_MOST_S:
        return trouble("clock", f"it is {now_s - service_s:+.0f} s from the provisioning service's", remedy)
    if mark.exists():
        return ok("clock", "set by time synchronisation")
    if service_s is not None:
        return ok("clock", "agrees with the provisioning service's")
    return note("clock", "nobody says whether it is right", "timedatectl")


def settings(found: Outcome | None) -> Finding:
    """Say what came of the settings on the card, at this start."""
    name = "voice.toml"
    match found:
        case None:
            return note(name, "nobody looks for settings on the card here: voice-appliance-import.service did not run")
        case Outcome(settings="refused"):
            remedy = "correct it (beside it lies a note), and start the machine again; `voice-appliance import --check`"
            return trouble(name, f"refused, nothing was changed: {found.problem}", remedy)
        case Outcome(settings="out_of_reach"):
            problem, _, remedy = found.problem.partition("; ")
            return trouble(name, problem, remedy)
        case Outcome(settings="none"):
            return note(name, "there are no settings on the card")
        case _:
            return ok(name, "the settings on the card are in use")


def disk(directory: Path) -> Finding:
    """Say whether the state directory's file system can be written to."""
    place = directory
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        found = os.statvfs(place)
    except OSError as error:
        return trouble("disk", f"{place}: {error.strerror}", "check the SD card: dmesg | tail")
    return judge_disk(
        place, found.f_bavail * found.f_frsize, found.f_favail, read_only=bool(found.f_flag & os.ST_RDONLY)
    )


def judge_disk(place: Path, free: int, free_files: int, *, read_only: bool) -> Finding:
    """Say what a file system's figures mean."""
    if read_only:
        remedy = "was it remounted after an error? dmesg | tail; replace the SD card if so"
        return trouble("disk", f"{place} is read-only: nothing new can be kept", remedy)
    if free < LEAST_FREE:
        return trouble(
            "disk", f"only {free / 1e6:.0f} MB are free at {place}", "delete what is not needed: du -x -d2 -h /"
        )
    if free_files == 0:  # some file systems do not count them, and say a large number
        return trouble(
            "disk", f"no more files can be made at {place}", "delete what is not needed: du -x --inodes -d2 /"
        )
    return ok("disk", f"{free / 1e6:.0f} MB free at {place}, writable")


def state(directory: Path) -> Finding:
    """Say whether everything in the state directory belongs to whom the directory belongs to."""
    try:
        owner = directory.stat().st_uid
        foreign = sorted(path.name for path in directory.iterdir() if path.lstat().st_uid != owner)
    except FileNotFoundError:
        return note("state", f"{directory} is not there yet: the first start makes it")
    except PermissionError:
        return note("state", f"you may not look into {directory}", "ask with sudo")
    except OSError as error:
        return trouble("state", f"{directory}: {error.strerror}", "choose another [state] directory")
    if foreign:
        what = f"{', '.join(foreign)} in {directory} does not belong to the directory's owner"
        return trouble("state", what, f"sudo chown -R --reference={directory} {directory}")
    return ok("state", f"{directory} belongs to {_user_name(owner)}")


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def permissions(groups: tuple[str, ...], dev: Path = Path("/dev")) -> Iterator[Finding]:
    """Say whether the service's user is there, in ``groups``, and may use the nodes of sound and GPIO."""
    try:
        user = pwd.getpwnam(USER)
    except KeyError:
        yield note("user", f"there is no user {USER}", "needed by the service only: docs/install.md")
        return
    wrong = 0
    member = set(os.getgrouplist(USER, user.pw_gid))
    for name in groups:
        try:
            number = grp.getgrnam(name).gr_gid
        except KeyError:
            wrong += 1
            yield trouble("user", f"there is no group {name}", "sudo systemd-sysusers: docs/install.md")
            continue
        if number not in member:
            wrong += 1
            yield trouble("user", f"{USER} is not in the group {name}", f"sudo usermod -aG {name} {USER}")
    for node in _nodes(groups, dev):
        found = node.stat()
        if not (found.st_gid in member and stat.S_IMODE(found.st_mode) & 0o060 == 0o060):
            wrong += 1
            yield trouble("user", f"{USER} may not use {node}", _RULES[node.name[:3]])
    if not wrong:
        yield ok("user", f"{USER} is in {' and '.join(groups)}, and may use their devices")


_RULES = {
    "pcm": "it should belong to the group audio, mode 660: is udev running?",
    "gpi": 'a udev rule is missing: SUBSYSTEM=="gpio", KERNEL=="gpiochip*", GROUP="gpio", MODE="0660"',
    "spi": 'a udev rule is missing: SUBSYSTEM=="spidev", GROUP="spi", MODE="0660"',
}


def _nodes(groups: tuple[str, ...], dev: Path) -> Iterator[Path]:
    if "audio" in groups:
        yield from sorted(dev.glob("snd/pcm*"))
    if "gpio" in groups:
        yield from sorted(dev.glob("gpiochip*"))
    if "spi" in groups:
        yield from sorted(dev.glob("spidev*"))


def wants_gpio(loaded: Loaded) -> bool:
    """Say whether button or light are on the header."""
    return loaded.config.panel.backend == "gpio" and loaded.board.has_panel


def groups_for(loaded: Loaded) -> tuple[str, ...]:
    """Name the groups whose devices the appliance uses."""
    panel = wants_gpio(loaded)
    return ("audio", *(["gpio"] if panel else []), *(["spi"] if panel and loaded.board.light.spi else []))


def light(loaded: Loaded, dev: Path = Path("/dev")) -> Iterator[Finding]:
    """Say whether the SPI bus of the board's LEDs is there. Without it the appliance runs in the dark."""
    node = dev / f"spidev{loaded.board.light.spi}"
    if wants_gpio(loaded) and loaded.board.light.spi and not node.exists():
        yield trouble("light", f"there is no {node}", "dtparam=spi=on in /boot/firmware/config.txt, and start again")


async def gpio(loaded: Loaded, *, runs: bool, dev: Path = Path("/dev")) -> Finding:
    """Say whether the board's lines can be had; a running appliance has them."""
    if not wants_gpio(loaded):
        return note("gpio", f"not used (board {loaded.config.board}, panel {loaded.config.panel.backend})")
    if runs:
        return ok("gpio", "its lines are in use by the appliance")
    if not [*_nodes(("gpio",), dev)]:
        return trouble("gpio", "this machine has no GPIO chip", 'panel.backend = "none" goes without button and light')
    front = GpioFront(loaded, lambda _pressed, _at_s: None, asyncio.get_running_loop())
    front.close()
    if front.trouble:  # the appliance itself goes on without them
        what, _, remedy = front.trouble.partition("; ")
        return trouble("gpio", what, remedy or "see the journal: journalctl -u voice-appliance -e")
    return ok("gpio", "its lines can be had")
