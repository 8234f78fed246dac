"""How often one key may ask at all: for sessions, its entry, a change of its key, with reports, to be enrolled.

Responsible for: the rates, and counting, so that a mad or stolen device does not load the service. In the process and
before the database: what is refused costs one check of a signature; each replica counts for itself. Not for: what is
honestly a device's (``limits``), and what it may leave in the database (``devices``, ``mints``).
"""

from __future__ import annotations

import enum
import math

import msgspec

from appliance.provisioning import limits
from appliance.provisioning.configuration import Limits
from appliance.provisioning.limits import Allowance, Refused
from appliance.provisioning.problems import RefusalError

_KEYS_AT_MOST = 20_000  # strangers make as many as they like; who has not asked for longest is forgotten first


def _rate(per_minute: float, burst: int) -> Limits:
    return Limits(per_minute=per_minute, burst=burst, per_day=0, seconds_per_day=0)


class Asking(enum.Enum):
    """What for, and how often."""

    SESSION = _rate(600, 600)  # besides its own limits (`limits`), which cost the database something to tell
    OWN_ENTRY = _rate(6, 12)  # and a new key: ours asks three times in one change
    REPORT = _rate(30, 60)  # ours keeps twenty while it is offline
    ENROLMENT = _rate(0.5, 30)  # somebody presses, and it cannot store what it gets
    POLL = _rate(60, 61)  # and a farewell; ours polls every five seconds


class Manners(msgspec.Struct):
    """What the keys that asked lately have left."""

    _left: dict[tuple[str, Asking], Allowance] = msgspec.field(default_factory=dict)

    def check(self, thumbprint: str, asking: Asking, now_ms: int) -> None:
        """Counts one request.

        Raises:
            RefusalError: ``too_many_requests``; Retry-After is when the next one is taken.
        """
        full = Allowance(tokens=asking.value.burst, filled_ms=now_ms, day=0, sessions=0, seconds=0)
        allowance = self._left.pop((thumbprint, asking), full)
        found = limits.charged(allowance, asking.value, now_ms)
        self._left[thumbprint, asking] = allowance if isinstance(found, Refused) else found  # the last in order
        if len(self._left) > _KEYS_AT_MOST:
            del self._left[next(iter(self._left))]
        if isinstance(found, Refused):
            raise too_many(found.after_ms)


def too_many(after_ms: int) -> RefusalError:
    """The refusal of whoever asks too often."""
    after_s = math.ceil(after_ms / 1000)
    return RefusalError(429, "too_many_requests", "this device asks for this too often", retry_after_s=after_s)
