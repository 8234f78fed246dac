"""``voice-appliance doctor``: everything there is to look at, in the order in which one thing needs another.

Responsible for: that order. Works whether the daemon runs or not, and with a configuration that cannot be used.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

from appliance import config
from appliance.config import Loaded
from appliance.diagnosis import firmware, machine, running, unit, updates
from appliance.diagnosis.finding import Finding, failed, note, ok
from appliance.errors import ConfigError
from appliance.first_boot import outcome


async def examine(path: Path) -> AsyncIterator[Finding]:
    """Look at everything, and yield what is found as it is found. Takes some seconds where something is slow."""
    loaded: Loaded | None = None
    try:
        loaded = config.load(path)
    except ConfigError as error:
        yield failed("configuration", error)
    else:
        yield ok("configuration", f"{path}, board {loaded.config.board} ({loaded.board.name})")
    for finding in unit.examine():
        yield finding
    word = outcome.load()
    yield machine.settings(word)
    if loaded is None:
        yield machine.clock(time.time(), None)
        yield note("the rest", "is looked at when the configuration can be used")
        return
    for finding in firmware.examine(loaded, word, outcome.load_lines()):
        yield finding
    answer = running.ask(Path(loaded.config.control.socket))
    yield answer.finding
    for finding in running.examine(answer.status) if answer.status is not None else ():
        yield finding
    async for finding in _body(loaded, runs=answer.runs):
        yield finding
    async for finding in _network(loaded, running.waiting_code(answer.status)):
        yield finding


async def _body(loaded: Loaded, *, runs: bool) -> AsyncIterator[Finding]:
    """Look at the device: sound, button, disk, user."""
    from appliance.diagnosis import sound

    directory = Path(loaded.config.state.directory)
    for finding in sound.cards(loaded):
        yield finding
    if not runs:
        for finding in await asyncio.to_thread(lambda: list(sound.trial(loaded))):
            yield finding
    yield await machine.gpio(loaded, runs=runs or unit.gives_up())
    for finding in (*machine.light(loaded), *machine.permissions(machine.groups_for(loaded))):
        yield finding
    yield machine.disk(directory)
    yield machine.state(directory)
    yield updates.examine(loaded.config.update)
    if readable(directory):
        yield sound.calibration(loaded)


async def _network(loaded: Loaded, code: str) -> AsyncIterator[Finding]:
    from appliance.diagnosis.network import Service

    service = Service(loaded)
    async for finding in service.examine():
        yield finding
    yield machine.clock(time.time(), service.now_s)
    if code or readable(Path(loaded.config.state.directory)):
        yield await service.enrolment(code)
    else:
        yield note("enrolment", "you may not look into the state directory", "ask with sudo")


def readable(directory: Path) -> bool:
    """Say whether whoever asks may look into ``directory``; one that is not there yet holds nothing to hide."""
    try:
        return not directory.exists() or os.access(directory, os.R_OK | os.X_OK)
    except OSError:
        return False
