"""What must not leave the house with a support bundle, taken out of any text.

Responsible for: the patterns of secrets, the very secrets of this machine wherever they may have got to, and quoted
words. Not for: what is put into a bundle to begin with (``bundle``), which is the first guard.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from appliance.logs import without_secrets

GONE = "…"
ETC = Path("/etc")
STATE_FILES = ("identity.jwk", "enrolment.json")
WIFI = ("wpa_supplicant/*.conf", "NetworkManager/system-connections/*", "netplan/*.yaml")
LONGEST_LINE, LONGEST_SECRET = 2000, 600  # characters: of a line of the journal, of a secret that its end may cut
SHORTEST = 6  # of a secret that is looked for as such: shorter ones would take common words along

_NAMED = re.compile(r"""(?ix) \b ([\w-]*(?:psk|passw\w*|passphrase|secret|token(?!s)|api[-_]?key|bearer|dpop)[\w-]*)
                        (["']?\s*[=:]\s*|\s+) ("[^"]*"|'[^']*'|[^\s,;"'}]+)""")
_USER_INFO = re.compile(r"(?<=://)[^/\s@]+@")
_CODE = re.compile(r"\b\d{3}-?\d{3}-?\d{3}\b")  # of an enrolment that waits
_LONG = re.compile(r"(?=[A-Za-z_+=-]*\d)(?=[\d_+=-]*[A-Za-z])[A-Za-z0-9_+=-]{32,}")  # keys, hashes, signatures
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_VALUE = re.compile(r" = [^;]*")
_CLOSED = re.compile(r"(?:[^'\"]|'[^']*'|\"[^\"]*\")*")  # as far as quotations are whole
_WIFI_SECRET = re.compile(r"""(?m)^\s*(?:psk|password|wep-key\d|wep_key\d|sae_password)\s*[=:]\s*["']?([^"'\n]+)""")


class Scrubber:
    """Takes secrets out of text; knows those of this machine by value."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        longest_first = sorted({value for value in known if len(value) >= SHORTEST}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def clean(self, text: str) -> str:
        """Return ``text`` without anything that is, or looks like, a secret."""
        if self._known is not None:
            text = self._known.sub(GONE, text)
        text = _USER_INFO.sub(f"{GONE}@", without_secrets(text))
        text = _NAMED.sub(_name_only, text)
        return _LONG.sub(GONE, _CODE.sub(GONE, text))

    def clean_line(self, line: str) -> str:
        """Return a line of the journal, also without quoted words: they may be what a person said.

        The end of one that is very long is lost, with any secret and any quotation of which it has the beginning alone.
        """
        if len(line) > LONGEST_LINE:
            whole = _CLOSED.match(line, 0, LONGEST_LINE)
            return f"{self.clean_line(whole[0] if whole else '')[:-LONGEST_SECRET]}{GONE}"
        if "records: turn {" not in line:  # only numbers, and their names are in quotes
            line = _QUOTED.sub(f"'{GONE}'", line)
        return self.clean(line)


def without_values(line: str) -> str:
    """Take the values out of an error of the configuration: people write passwords under any name."""
    return _VALUE.sub(f" = {GONE}", line) if "configuration: " in line else line


def _name_only(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}{GONE}" if found[2].strip() or _is_scheme(found[1]) else found[0]


def _is_scheme(word: str) -> bool:
    """Only of HTTP's schemes does the secret follow after a mere space; elsewhere those are words of a sentence."""
    return word.lower() in ("bearer", "dpop")


def secrets_of(state: Path, token_files: Iterable[Path], etc: Path = ETC) -> Iterator[str]:
    """Yield the secrets of this machine that whoever asks may read, so that they can be looked for."""
    for path in (state / name for name in STATE_FILES):
        try:
            held = json.loads(_read(path) or "{}")
        except ValueError:
            yield from _read(path).split()
            continue
        yield from (str(held[name]) for name in ("d", "token") if name in held)
    for path in token_files:
        yield from _read(path).split()
    for pattern in WIFI:
        for path in etc.glob(pattern):
            yield from (found.strip() for found in _WIFI_SECRET.findall(_read(path)))


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
