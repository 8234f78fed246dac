"""``voice-appliance bundle``: what somebody who helps from afar needs to know, in one file to send.

Responsible for: what goes in. No sound, nothing that was said, no secrets: each part names what it takes, and all text
passes the scrubber besides.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import io
import json
import os
import platform
import re
import sys
import tarfile
import time
from pathlib import Path

import msgspec

from appliance import __version__, calibrated, config
from appliance.config import Loaded
from appliance.diagnosis import doctor, running, scrub, unit
from appliance.diagnosis.finding import failed
from appliance.diagnosis.scrub import Scrubber, without_values
from appliance.enrolling import CREDENTIAL
from appliance.errors import ApplianceError, ConfigError

FOLDER = "voice-appliance"
JOURNAL_LINES = 1000
STATUS = (
    *(
        "phase",
        "link",
        "muted",
        "mic_open",
        "microphone",
        "duplex",
        "calibration",
        "led",
        "uptime_s",
        "version",
        "volume",
    ),
    *("button_stuck", "counters", "last_error", "last_error_code"),
)
FREE_TEXT = "realtime.instructions"  # the owner's own words: only how long they are


def make(file: Path, path: Path) -> list[str]:
    """Write the bundle; returns the names of what is in it.

    Raises:
        ApplianceError: ``file`` exists already, or cannot be written.
    """
    handle = _create(file)
    try:
        with os.fdopen(handle, "wb") as opened:
            parts = asyncio.run(_parts(path))
            # A dictionary of 4 MB: a larger one would only take memory.
            with tarfile.open(fileobj=opened, mode="w:xz", preset=3) as bundle:
                for name, text in parts.items():
                    data = text.encode(errors="replace")
                    entry = tarfile.TarInfo(f"{FOLDER}/{name}")
                    entry.size, entry.mode, entry.mtime = len(data), 0o600, int(time.time())
                    bundle.addfile(entry, io.BytesIO(data))
    except BaseException as error:
        file.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise ApplianceError(f"cannot write {file}: {error.strerror}", hint="name another place") from error
        raise
    return list(parts)


def _create(file: Path) -> int:
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise ApplianceError(f"{file} is there already", hint="name another file, or remove it") from None
    except OSError as error:
        raise ApplianceError(f"cannot write {file}: {error.strerror}", hint="name another place") from error
    if os.geteuid() == 0 and "SUDO_UID" in os.environ:  # whoever asked with sudo is to send it
        os.fchown(handle, int(os.environ["SUDO_UID"]), int(os.environ.get("SUDO_GID", "-1")))
    return handle


async def _parts(path: Path) -> dict[str, str]:
    loaded: Loaded | None = None
    try:
        loaded = config.load(path)
        settings = _settings(loaded)
    except ConfigError as error:
        settings = without_values(str(failed("configuration", error)))
    found = [str(finding) async for finding in doctor.examine(path)]
    parts = {
        "doctor.txt": "\n".join(without_values(line) for line in found),
        "versions.txt": _versions(),
        "config.txt": settings,
        "unit.txt": "\n".join(f"{name}={value}" for name, value in unit.properties().items()),
        "sound.txt": _sound(),
    }
    if loaded is not None:
        parts["board.json"] = msgspec.json.format(msgspec.json.encode(loaded.board)).decode()
        parts["status.json"] = _status(loaded)
        parts["calibration.json"] = _calibration(loaded)
    scrubber = Scrubber(_secrets(loaded))
    cleaned = {name: scrubber.clean(text) + "\n" for name, text in parts.items()}
    lines = unit.journal(entries=JOURNAL_LINES, priority="info", units=(unit.UNIT, unit.LAST_WORD))
    cleaned["journal.txt"] = "".join(f"{priority} {scrubber.clean_line(line)}\n" for line, priority in lines)
    return cleaned


def _secrets(loaded: Loaded | None) -> list[str]:
    standing = config.DEFAULT_PATH.parent / CREDENTIAL
    if loaded is None:
        return list(scrub.secrets_of(Path(config.State().directory), [standing]))
    named = loaded.config.provisioning.enrolment_token_file
    files = [standing, loaded.path.parent / CREDENTIAL, *([Path(named)] if named else [])]
    return list(scrub.secrets_of(Path(loaded.config.state.directory), files))


def _settings(loaded: Loaded) -> str:
    lines = config.show(loaded)
    told = f"{FREE_TEXT} = ({len(loaded.config.realtime.instructions)} characters)  # {loaded.origin[FREE_TEXT]}"
    return "\n".join(told if line.startswith(f"{FREE_TEXT} = ") else line for line in lines)


def _status(loaded: Loaded) -> str:
    status = running.ask(Path(loaded.config.control.socket)).status
    if status is None:
        return "{}"
    enrolment = status.get("enrolment")
    told = {name: status.get(name) for name in STATUS}
    told["enrolment"] = enrolment.get("state") if isinstance(enrolment, dict) else None
    return json.dumps(told, indent=1)


def _calibration(loaded: Loaded) -> str:
    directory = Path(loaded.config.state.directory)
    entry = calibrated.load(directory, calibrated.key_of(loaded)) if doctor.readable(directory) else None
    return msgspec.json.format(msgspec.json.encode(entry)).decode()


def _versions() -> str:
    release = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    lines = [
        f"voice-appliance {__version__}",
        f"python {platform.python_version()} ({sys.implementation.name})",
        f"system {release.get('PRETTY_NAME', 'unknown')}, {platform.machine()}, Linux {platform.release()}",
        f"machine {_text('/proc/device-tree/model') or 'unknown'}",
        *(unit.output("systemctl", "--version").splitlines()[:1]),
        *(
            line
            for line in _text("/proc/meminfo").splitlines()
            if line.startswith(("MemTotal", "MemAvail", "SwapFree"))
        ),
        f"up for {(_text('/proc/uptime').split() or ['?'])[0]} s",
    ]
    return "\n".join([*lines, *_packages()])


def _packages() -> list[str]:
    """List what we depend on, as installed."""
    try:
        wanted = importlib.metadata.requires("voice-appliance") or []
    except importlib.metadata.PackageNotFoundError:
        return ["the package voice-appliance is not installed"]
    names = sorted({re.split(r"[^A-Za-z0-9_.-]", one)[0] for one in wanted if "extra" not in one or "gpio" in one})
    found = []
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} is not installed")
    return found


def _sound() -> str:
    from appliance.audio import alsa

    return f"{_text('/proc/asound/cards') or 'no sound cards'}\nPCM names: {', '.join(alsa.device_names()) or 'none'}"


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip("\0\n ")
    except OSError:
        return ""
