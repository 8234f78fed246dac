"""The service as systemd sees it, and the last errors in its journal.

Responsible for: asking ``systemctl`` and ``journalctl``, and what their answers mean in plain words.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from appliance.diagnosis.finding import Finding, note, ok, trouble
from appliance.errors import EXIT_CONFIG

UNIT = "voice-appliance.service"
LAST_WORD = "voice-appliance-last-word.service"
PROPERTIES = ("LoadState", "ActiveState", "SubState", "Result", "NRestarts", "UnitFileState", "ExecMainStatus")
BOOTED = Path("/run/systemd/system")  # sd_booted(3)
PATIENCE_S = 10.0
ERRORS = 3  # of the journal, the newest


def properties() -> dict[str, str]:
    """Return what systemd knows of the unit; nothing where systemd does not run, or does not answer."""
    if not BOOTED.is_dir():
        return {}
    told = output("systemctl", "show", UNIT, f"--property={','.join(PROPERTIES)}")
    return dict(line.split("=", 1) for line in told.splitlines() if "=" in line)


def examine() -> Iterator[Finding]:
    """Look at the unit and the newest errors of its journal."""
    yield judge(properties())
    if BOOTED.is_dir():
        yield _errors()


def gives_up() -> bool:
    """Say whether the unit of the last word runs: then the light is its own."""
    return output("systemctl", "show", LAST_WORD, "--property=ActiveState", "--value").strip() == "active"


def judge(unit: Mapping[str, str]) -> Finding:
    """Say what the unit's properties mean."""
    if not unit:
        return note("service", "this machine is not run by systemd, or it does not answer")
    if unit.get("LoadState") != "loaded":
        return note("service", f"{UNIT} is not installed: nothing starts the appliance by itself", "docs/install.md")
    if unit.get("ActiveState") == "failed":
        return _failed(unit)
    return _alive(unit)


def _alive(unit: Mapping[str, str]) -> Finding:
    restarts, state = unit.get("NRestarts", "0"), unit.get("ActiveState")
    if unit.get("SubState") == "auto-restart":
        what = f"it ended ({_how(unit)}) and is being started again; {restarts} times so far"
        return trouble("service", what, "journalctl -u voice-appliance -e says why")
    if state not in ("active", "reloading"):
        return trouble("service", f"it is {state}", "sudo systemctl enable --now voice-appliance")
    if unit.get("UnitFileState") not in ("enabled", "enabled-runtime", "static", "generated"):
        what = "it runs, but does not start with the machine"
        return trouble("service", what, "sudo systemctl enable voice-appliance")
    again = f"; it was restarted {restarts} times (journalctl -u voice-appliance)" if restarts != "0" else ""
    return ok("service", f"it runs and starts with the machine{again}")


def _failed(unit: Mapping[str, str]) -> Finding:
    if unit.get("ExecMainStatus") == str(EXIT_CONFIG):
        return trouble(
            "service", "its configuration cannot be used", "correct it, then sudo systemctl restart voice-appliance"
        )
    what = f"it failed again and again and has given up ({_how(unit)})"
    remedy = "journalctl -u voice-appliance -e says why; then sudo systemctl restart voice-appliance"
    return trouble("service", what, remedy)


def _how(unit: Mapping[str, str]) -> str:
    return f"{unit.get('Result')}, status {unit.get('ExecMainStatus')}"


def _errors() -> Finding:
    lines = [line for line, priority in journal(entries=ERRORS, priority="err", units=(UNIT,)) if priority <= 3]
    if lines:
        return note("journal", f"last errors of this boot: {' | '.join(lines)}")
    if not _readable():
        remedy = "ask with sudo, or join its readers: sudo usermod -aG systemd-journal $USER"
        return note("journal", "you may not read it", remedy)
    return ok("journal", "no errors since the machine started")


def _readable() -> bool:
    return bool(output("journalctl", "--no-pager", "--quiet", "-b", "-n", "1", "_PID=1"))


def journal(*, entries: int, priority: str, units: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """Yield the newest lines of this boot, oldest first, each as ``time words`` with its priority (3: error).

    Only those at least as grave as ``priority``; nothing where the journal cannot be read.
    """
    named = [argument for unit in units for argument in ("-u", unit)]
    told = output(
        *("journalctl", "--no-pager", "--quiet", "-b", "-n", str(entries), "-p", priority, "-o", "json"),
        *("--output-fields=MESSAGE,PRIORITY", *named),
    )
    for line in told.splitlines():
        try:
            entry = json.loads(line)
            at = datetime.fromtimestamp(int(entry["__REALTIME_TIMESTAMP"]) / 1e6, UTC)
            words, grave = entry["MESSAGE"], int(entry.get("PRIORITY", 6))
        except (ValueError, KeyError, TypeError):
            continue
        if isinstance(words, str):  # else it is not text
            yield f"{at:%Y-%m-%dT%H:%M:%SZ} {words}", grave


def output(*command: str) -> str:
    """Return what a command prints; nothing where it is not installed, fails or does not come to an end."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False)  # noqa: S603  # ours
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""
