"""From an offer to a restart into the other slot: fetched at any time, installed and started when nobody is disturbed.

Responsible for: that order, and for writing down each step before it is taken. Not for: whether the new version is
kept (``trial``). One process at a time: :func:`alone`.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from appliance import __version__, pins
from appliance.config import Update
from appliance.errors import ApplianceError, UpdateError
from appliance.update import download, idle, rauc, record
from appliance.update.channel import Answer, Channel, Device, Judgement, Wish, judge, parse
from appliance.update.daemon import Appliance
from appliance.update.health import Facts, Link, sound_is_well
from appliance.update.rauc import Slots
from appliance.update.record import Record

log = logging.getLogger(__name__)
IMAGE_VERSION = Path("/usr/lib/voice-appliance/version")
RESTART = "restart"  # the file whose appearance restarts the machine: systemd/voice-appliance-restart.path
LOOK_S = 5.0
CALM_S = 60.0  # idle for so long, nobody is about to say something
TOO_EARLY = "certificate is not yet valid"  # OpenSSL's words, of which RAUC makes its own


class Machine(NamedTuple):
    """What an update needs of the machine around it.

    ``reached`` finds out whether the service answers (``reach``), ``uptime`` is in seconds since the machine started.
    """

    settings: Update
    directory: Path
    runtime: Path
    appliance: Appliance
    reached: Callable[[], tuple[Link, str]]
    now: Callable[[], datetime]
    uptime: Callable[[], float]
    sleep: Callable[[float], None]
    version: str
    system: Path = rauc.SYSTEM
    folder: Callable[[pins.Address], download.Folder] = download.Folder


def image_version(path: Path = IMAGE_VERSION) -> str:
    """Return the version of the image that runs; of the program, where it was installed by hand."""
    try:
        return path.read_text("utf-8").strip()
    except OSError:
        return __version__


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Keep a second update away meanwhile.

    Raises:
        UpdateError: one is under way, or the directory cannot be used.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UpdateError(f"{directory}: {error.strerror}", hint="ask with sudo") from error
    try:
        if os.geteuid() == 0:  # what root makes by a command, the service has to open
            owner = directory.stat()
            os.fchown(handle, owner.st_uid, owner.st_gid)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise UpdateError("an update is under way", hint="voice-appliance update status") from error
    finally:
        os.close(handle)


# --- looking ---


def look(machine: Machine, wish: Wish) -> tuple[Channel, Judgement]:
    """Ask the channel, and judge what it offers.

    Raises:
        UpdateError: no folder is configured, or it cannot be read.
    """
    settings = machine.settings
    if not settings.url:
        raise UpdateError("no folder with updates is configured", hint="set [update] url")
    name = f"{settings.channel}.json"
    address = pins.parse(settings.url)
    offer = parse(machine.folder(address).read(name), f"{address.issuer}/{name}")
    kept = acquaint(machine)
    device = Device(machine.version, rauc.compatible(machine.system), kept.thumbprint, kept.failed)
    try:
        return offer, judge(offer, device, wish)
    except ValueError as error:
        raise UpdateError(f"this image: {error}", hint="make one with image/, which names its version") from error


def acquaint(machine: Machine) -> Record:
    """Read the record, and keep in it who this device is, which only the running appliance can say.

    Raises:
        ApplianceError: the record cannot be read or written.
    """
    kept = record.load(machine.directory)
    try:
        status = machine.appliance.status() or {}
    except ApplianceError as error:
        log.warning("who this device is could not be asked: %s", error)
        return kept
    thumbprint = str(status.get("thumbprint") or kept.thumbprint)
    if thumbprint != kept.thumbprint:
        kept = msgspec.structs.replace(kept, thumbprint=thumbprint)
        record.save(machine.directory, kept)
    return kept


# --- installing ---


def update(machine: Machine, wish: Wish) -> str:
    """Do all there is to do: take what is offered, or what waits, and restart into it. Returns what was done.

    Raises:
        ApplianceError: something failed; what runs goes on running.
    """
    offer, judgement = look(machine, wish)
    kept, slots = record.load(machine.directory), rauc.slots()
    waits = kept.waiting is not None and kept.waiting.version == offer.version and kept.waiting.slot == slots.other
    if judgement.answer is not Answer.TAKE:
        return judgement.why
    if slots.on_trial:
        raise UpdateError(f"{machine.version} is on trial itself", hint="it is decided within 15 minutes of its start")
    if not waits:
        _take(machine, offer, slots)
    return restart(machine, wish)


def _take(machine: Machine, offer: Channel, slots: Slots) -> None:
    """Fetch the bundle and write it into the other slot."""
    kept = record.load(machine.directory)
    log.info("fetching %s, %.0f MB", offer.bundle, offer.size / 1e6)
    bundle = machine.folder(pins.parse(machine.settings.url)).fetch(offer, machine.directory)
    undisturbing(machine, calm_s=0)
    if kept.waiting is not None:
        kept = record.dropped(kept)
        record.save(machine.directory, kept)
    log.info("installing %s into slot %s", offer.version, slots.other)
    try:
        rauc.install(bundle)
    except UpdateError as error:
        told = error.message.lower()
        if TOO_EARLY in told:  # the clock's fault, not the version's: nothing is held against it, and what came is kept
            raise UpdateError(error.message, hint="is the clock set? it is tried again at the next check") from error
        if "signature" in told:  # it will not get better by fetching it again
            record.save(machine.directory, record.failed(kept, offer.version, _at(machine), "its signature is refused"))
        download.clear(machine.directory)
        raise
    download.clear(machine.directory)
    record.save(machine.directory, record.installed(kept, offer.version, slots.other))


def restart(machine: Machine, wish: Wish) -> str:
    """Start the machine from the slot that waits, once, as soon as nobody is disturbed.

    Raises:
        ApplianceError: something failed, or somebody came in between; it is tried again at the next check.
    """
    kept = record.load(machine.directory)
    assert kept.waiting is not None
    hours = machine.settings.hours
    if not wish.by_person and not idle.in_hours(hours, machine.now().astimezone().hour):
        return f"{kept.waiting.version} is installed; it is started between the hours {hours}"
    undisturbing(machine, calm_s=0 if wish.by_person else CALM_S)
    before = facts(machine)
    undisturbing(machine, calm_s=0)
    machine.appliance.stand_still()
    record.save(machine.directory, record.tried(kept, before))
    rauc.start_other_once()
    ask_restart(machine.runtime)
    return f"{kept.waiting.version} is installed; restarting into it"


def undisturbing(machine: Machine, *, calm_s: float) -> None:
    """Make sure that nobody is disturbed, and for ``calm_s`` seconds was not.

    Raises:
        UpdateError: somebody is.
    """
    for step in range(int(calm_s / LOOK_S) + 1):
        if step:
            machine.sleep(LOOK_S)
        why = idle.disturbed(machine.appliance.status())
        if why:
            raise UpdateError(f"not now: {why}", hint="it is tried again at the next check")


def ask_restart(runtime: Path) -> None:
    """Have the machine restarted: by the unit that may.

    Raises:
        UpdateError: the directory for it cannot be written to.
    """
    try:
        runtime.mkdir(mode=0o755, parents=True, exist_ok=True)
        (runtime / RESTART).touch()
    except OSError as error:
        raise UpdateError(f"{runtime}: {error.strerror}", hint="restart it by hand: sudo reboot") from error


def facts(machine: Machine, known: Facts | None = None) -> Facts:
    """Find out how the appliance is. Sound that is ``known`` to move is not tried again: it opens the microphone.

    What fails is a fact and no error: a daemon that does not answer is not ready.
    """
    link, link_why = machine.reached()
    try:
        status = machine.appliance.status()
        if status is None:
            return Facts(link=link, why="the appliance does not run")
        if status.get("link") == "up":
            link, link_why = "reached", ""
        if known is not None and sound_is_well(known):
            return Facts(ready=True, sound=known.sound, link=link, why=link_why)
        sound, why = machine.appliance.try_sound()
    except ApplianceError as error:
        return Facts(link=link, why=str(error))
    return Facts(ready=True, sound=sound, link=link, why=why or link_why)


def _at(machine: Machine) -> str:
    return machine.now().isoformat(timespec="seconds")
