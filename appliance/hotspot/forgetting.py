"""Back to how it came: the settings, the Wi-Fis, the identity and what was kept are forgotten, in one promise.

Responsible for: which files. What a person copied onto the system by hand (boards of their own) stays, and so does the
board that is configured, without which it could neither speak nor be pressed.
"""

from __future__ import annotations

import contextlib

from appliance import config
from appliance.errors import ConfigError
from appliance.first_boot import record, toml
from appliance.first_boot.changes import Change
from appliance.first_boot.places import Places
from appliance.first_boot.record import Record, Taken

STATE = "var/lib/voice-appliance"
OURS = ("enrolment-token", "country", "hostname", "localtime", "authorized_keys", "appliance.toml.before")
DELIVERED = "usr/share/voice-appliance/appliance.toml"


def promise(places: Places) -> Record:
    """List what goes. The settings on the card stay known, or they would be taken over again."""
    inside = (places.root / STATE, places.connections)
    found = [path for folder in inside if folder.is_dir() for path in sorted(folder.iterdir()) if path.is_file()]
    found += [path for path in (places.config / name for name in OURS) if path.is_symlink() or path.is_file()]
    gone = [Change(str(path.relative_to(places.root))) for path in found]
    fresh = Change("etc/voice-appliance/appliance.toml", text=_delivered(places))
    return Record(changes=(*gone, fresh), taken=Taken(erased=record.load(places).taken.erased))


def _delivered(places: Places) -> str:
    with contextlib.suppress(OSError, ValueError):
        return (places.root / DELIVERED).read_text("utf-8")
    kept: dict[str, object] = {}
    with contextlib.suppress(ConfigError):
        now = config.read_toml(places.config / "appliance.toml")
        kept = {key: now[key] for key in ("board", "panel") if key in now}
    return toml.write(kept)
