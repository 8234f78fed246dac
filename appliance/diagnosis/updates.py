"""Updates, as far as a person has to do with them.

Responsible for: reading what the last ones came to. Asks no server and no RAUC: ``voice-appliance update check`` does.
"""

from __future__ import annotations

import os
from pathlib import Path

from appliance.config import Update
from appliance.diagnosis.finding import Finding, failed, note, ok
from appliance.errors import ApplianceError
from appliance.update import rauc, record
from appliance.update.record import Record

STATE = Path("/var/lib/voice-appliance-update")


def examine(settings: Update, directory: Path = STATE, system: Path = rauc.SYSTEM) -> Finding:
    """Say how the updates are."""
    if not system.exists():
        return note("updates", "none by itself: this is no card image", "docs/install.md says how to update by hand")
    if not settings.url:
        return note("updates", "no folder with updates is configured", "[update] url names one")
    if directory.exists() and not os.access(directory, os.R_OK | os.X_OK, effective_ids=True):
        return note("updates", f"you may not look into {directory}", "ask with sudo")
    try:
        return judge(settings, record.load(directory))
    except ApplianceError as error:
        return failed("updates", error)


def judge(settings: Update, kept: Record) -> Finding:
    """Say what the record means."""
    if kept.waiting is not None:
        waiting = kept.waiting
        how = f", tried {waiting.trials} of {record.TRIALS} times" if waiting.trials else ""
        return note("updates", f"{waiting.version} is installed and waits to be started{how}")
    if kept.failed:
        version, why = next(reversed(kept.failed.items()))
        what = f"{version} failed here ({why}); the version before runs on"
        return note(
            "updates", what, "a later version is tried by itself, this one by `voice-appliance update install --again`"
        )
    if not settings.automatic:
        return note("updates", "only by `voice-appliance update install`", "automatic = true in [update] changes that")
    return ok("updates", f"by itself, from the channel {settings.channel}{f'; last: {kept.last}' if kept.last else ''}")
