"""Collects a report for the card into a folder in memory: the bundle, and a text.

Each command of ours is a process of its own with a limit of time: one that crashes or hangs takes only its own part
along. Where they cannot even be loaded there is still what systemd and the journal know: nothing but the standard
library is needed for that. ``python -m appliance.diagnosis.collecting FOLDER`` is what systemd starts.

Responsible for: what is asked, in which order, and that it passes the scrubber. Not for: the words (``report``), the
card (``putting``).
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from appliance.diagnosis import report, scrub, unit
from appliance.diagnosis.report import Collected
from appliance.diagnosis.scrub import Scrubber

log = logging.getLogger(__name__)
COMMAND = (sys.executable, "-P", "-m", "appliance.cli")
CONFIG = Path("/etc/voice-appliance/appliance.toml")
STATE, TOKEN = Path("/var/lib/voice-appliance"), Path("/etc/voice-appliance/enrolment-token")
VERSION = Path("/usr/lib/voice-appliance/version")  # of the card image
BUNDLE_S, DOCTOR_S = 60.0, 40.0
JOURNAL_LINES, LONGEST_LINE = 100, 500
LARGEST_PART = 64 * 1024
_MODULE = re.compile(r"(No module named|cannot import name) '([\w.]+)'")  # what is in quotes goes, but not this
MARKS = ("ok ", "note ", "trouble ")


class Done(NamedTuple):
    """What a command printed, and why it did not do its work ("": it did)."""

    out: str
    problem: str


def collect(into: Path, at: datetime, command: Sequence[str] = COMMAND, config: Path = CONFIG) -> Collected:
    """Collect into the folder ``into``; what cannot be had is told instead."""
    bundle = into / report.BUNDLE
    bundle.unlink(missing_ok=True)
    scrubber = Scrubber(scrub.secrets_of(STATE, [TOKEN, config.parent / TOKEN.name]))
    done = ask([*command, "bundle", "--config", str(config), str(bundle)], BUNDLE_S)
    parts = {} if done.problem else _unpacked(bundle)
    if parts:
        found = _of_bundle(parts)
    else:
        bundle.unlink(missing_ok=True)
        problem = _clean(done.problem, scrubber)[:LONGEST_LINE] or "it is damaged"
        log.warning("no bundle: %s", problem)
        found = _without_bundle([*command, "doctor", "--config", str(config)], scrubber, problem)
    (into / report.TEXT).write_bytes(report.encode(report.write(found, at)))
    return found


def ask(command: Sequence[str], limit_s: float) -> Done:
    """Run a command of ours."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=limit_s, check=False)  # noqa: S603  # ours
    except subprocess.TimeoutExpired as error:
        return Done((error.stdout or b"").decode(errors="replace"), f"it was not done within {limit_s:g} s")
    except OSError as error:
        return Done("", f"it cannot be started ({error.strerror})")
    last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    problem = f"it ended with {done.returncode} ({last})" if done.returncode else ""
    return Done(done.stdout.decode(errors="replace"), problem)


def _unpacked(bundle: Path) -> dict[str, str]:
    parts = {}
    try:
        with tarfile.open(bundle, "r:xz") as opened:
            for entry in opened.getmembers():
                file = opened.extractfile(entry)
                name = entry.name.rpartition("/")[2]
                if file is not None and name in ("doctor.txt", "status.json", "versions.txt"):
                    parts[name] = file.read(LARGEST_PART).decode(errors="replace")
    except Exception as error:  # noqa: BLE001  # also those of a library that may be what is broken
        log.warning("the bundle cannot be read: %s", type(error).__name__)
        return {}
    return parts


def _of_bundle(parts: dict[str, str]) -> Collected:
    status: dict[str, object] = {}
    with contextlib.suppress(ValueError):
        status = json.loads(parts.get("status.json", "{}"))
    return Collected(
        doctor=parts.get("doctor.txt", "").splitlines(),
        status=status,
        versions=parts.get("versions.txt", "").splitlines(),
    )


def _without_bundle(doctor: Sequence[str], scrubber: Scrubber, problem: str) -> Collected:
    told = ask(doctor, DOCTOR_S).out.splitlines()
    version = ""
    with contextlib.suppress(OSError):
        version = VERSION.read_text().strip()
    lines = unit.journal(entries=JOURNAL_LINES, priority="info", units=(unit.UNIT, unit.LAST_WORD))
    return Collected(
        doctor=[scrubber.clean(scrub.without_values(line)) for line in told if line.startswith(MARKS)],
        versions=[
            *([f"card image {version}"] if version else []),
            f"python {sys.version.split()[0]}",
            *(f"{name}={value}" for name, value in unit.properties().items()),
        ],
        journal=[_clean(line, scrubber)[:LONGEST_LINE] for line, _ in lines],
        problem=problem,
    )


def _clean(line: str, scrubber: Scrubber) -> str:
    return scrubber.clean_line(_MODULE.sub(r"\1 \2", line))


def main() -> int:
    """Collect into the folder that the command line names."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    found = collect(Path(sys.argv[1]), datetime.now(UTC))
    log.info("a report: %d lines of doctor%s", len(found.doctor), ", no bundle" if found.problem else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
