"""``voice-appliance update``: what its parts print, and their exit codes.

``check``, ``install`` and ``status`` are for people; ``auto`` and ``confirm`` are what systemd starts.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from appliance import config, pins
from appliance.config import Loaded
from appliance.errors import ApplianceError, UpdateError
from appliance.update import rauc, record, service, trial, updater
from appliance.update.channel import Wish
from appliance.update.daemon import Appliance
from appliance.update.record import Record
from appliance.update.updater import Machine

log = logging.getLogger(__name__)
STATE = Path("/var/lib/voice-appliance-update")
RUN = Path("/run/voice-appliance-update")
Arguments = argparse.Namespace


def run(arguments: Arguments) -> int:
    """Carry out one of them.

    Raises:
        ApplianceError: it failed.
    """
    loaded = config.load(arguments.config or config.default_path())
    return COMMANDS[arguments.update_command](machine(loaded), arguments)


def machine(loaded: Loaded) -> Machine:
    """Gather what an update needs of this machine; systemd names the directories."""
    return Machine(
        settings=loaded.config.update,
        directory=Path(os.environ.get("STATE_DIRECTORY", STATE)),
        runtime=Path(os.environ.get("RUNTIME_DIRECTORY", RUN)),
        appliance=Appliance(Path(loaded.config.control.socket), time.sleep),
        reached=lambda: service.reached(loaded.config),
        now=lambda: datetime.now(UTC),
        uptime=time.monotonic,  # on Linux: since the machine started
        sleep=time.sleep,
        version=updater.image_version(),
    )


def check(here: Machine, _: Arguments) -> int:
    """Say what the channel offers, and whether this device would take it by itself."""
    with updater.alone(here.directory):
        print(updater.look(here, Wish())[1].why)
    return 0


def install(here: Machine, arguments: Arguments) -> int:
    """Install what is offered, now, unless somebody talks to it."""
    with updater.alone(here.directory):
        print(updater.update(here, Wish(by_person=True, older=arguments.older, again=arguments.again)))
    return 0


def auto(here: Machine, _: Arguments) -> int:
    """Do what is due by itself. That there is no network or somebody talks is no failure, but for the next time."""
    if not (here.settings.automatic and here.settings.url):
        return 0
    try:
        with updater.alone(here.directory):
            _automatic(here)
    except UpdateError as error:
        log.warning("%s", error)
    return 0


def _automatic(here: Machine) -> None:
    try:
        log.info("%s", updater.update(here, Wish()))
    except ApplianceError as error:
        log.warning("%s", error)
        at = here.now().isoformat(timespec="seconds")
        record.save(here.directory, record.noted(record.load(here.directory), at, str(error)))


def confirm(here: Machine, _: Arguments) -> int:
    """Decide about the version that runs, if it is on trial: within a quarter of an hour."""
    with updater.alone(here.directory):
        log.info("%s", trial.settle(here))
    return 0


def status(here: Machine, _: Arguments) -> int:
    """Say what runs, what waits, what failed."""
    try:
        slots = rauc.slots()
        runs = f"{here.version} in slot {slots.booted}{', on trial' if slots.on_trial else ''}"
    except UpdateError as error:
        runs = f"{here.version} ({error})"
    print("\n".join(told(here, runs, record.load(here.directory))))
    return 0


def told(here: Machine, runs: str, kept: Record) -> Iterator[str]:
    """Yield ``name  value`` lines."""
    settings = here.settings
    yield f"{'runs':<10}{runs}"
    when = "by itself" if settings.automatic else "only by `voice-appliance update install`"
    hours = f", between the hours {settings.hours}" if settings.hours and settings.automatic else ""
    where = f"{settings.channel} at {pins.parse(settings.url).issuer}, {when}{hours}" if settings.url else "none"
    yield f"{'channel':<10}{where}"
    waiting = kept.waiting
    if waiting is not None:
        yield f"{'waits':<10}{waiting.version} in slot {waiting.slot}, tried {waiting.trials} of {record.TRIALS} times"
    for version, why in kept.failed.items():
        yield f"{'failed':<10}{version}: {why}"
    if kept.last:
        yield f"{'last':<10}{kept.last} ({kept.last_at})"


COMMANDS: dict[str, Callable[[Machine, Arguments], int]] = {
    "check": check,
    "install": install,
    "status": status,
    "auto": auto,
    "confirm": confirm,
}
