"""After a start: is the version that runs on trial, and is it to be kept? Or did one go back by itself?

Responsible for: finding that out, and for confirming or returning. Not confirming is enough to return: the boot
selector starts the new slot once only, so a version that hangs, crashes or loses power is gone after the next start.
"""

from __future__ import annotations

import logging

from appliance.errors import UpdateError
from appliance.update import health, rauc, record
from appliance.update.health import Facts, Verdict
from appliance.update.record import Record, Waiting
from appliance.update.updater import Machine, ask_restart, facts, undisturbing

log = logging.getLogger(__name__)
AGAIN_S = 20.0  # between two looks: each may open the microphone for a second
PATIENCE_S = 600.0  # for a conversation to end, before a version that fails is left


def settle(machine: Machine) -> str:
    """Decide about whatever waits; returns what was done. To be called once after each start.

    Raises:
        ApplianceError: RAUC or the record cannot be used; nothing is confirmed then.
    """
    kept = record.load(machine.directory)
    waiting = kept.waiting
    if waiting is None:
        return "nothing is on trial"
    slots = rauc.slots()
    at = machine.now().isoformat(timespec="seconds")
    if slots.booted != waiting.slot:
        if not waiting.started:
            return f"{waiting.version} waits to be started"
        after = record.returned(kept, at, "it did not come up, or was not confirmed before a power cut")
        record.save(machine.directory, after)
        return after.last
    if not slots.on_trial:  # a power cut between confirming and writing that down
        after = record.kept(kept, at, "confirmed at an earlier start")
        record.save(machine.directory, after)
        return after.last
    return _try(machine, kept, waiting)


def _try(machine: Machine, kept: Record, waiting: Waiting) -> str:
    found = Facts()
    while True:
        found = facts(machine, found)
        verdict, why = health.judge(found, waiting.before, machine.uptime())
        if verdict is not Verdict.WAIT:
            break
        log.info("%s is on trial: %s", waiting.version, why)
        machine.sleep(AGAIN_S)
    at = machine.now().isoformat(timespec="seconds")
    if verdict is Verdict.KEEP:
        rauc.keep()
        after = record.kept(kept, at, why)
        record.save(machine.directory, after)
        return after.last
    step = (
        record.failed(kept, waiting.version, at, why) if verdict is Verdict.RETURN else record.returned(kept, at, why)
    )
    record.save(machine.directory, step)
    rauc.give_up()
    _until_undisturbing(machine)
    ask_restart(machine.runtime)
    return f"{step.last}; restarting into the other slot"


def _until_undisturbing(machine: Machine) -> None:
    waited_s = 0.0
    while waited_s < PATIENCE_S:
        try:
            undisturbing(machine, calm_s=0)
            return
        except UpdateError as error:
            log.info("%s", error)
        machine.sleep(AGAIN_S)
        waited_s += AGAIN_S
