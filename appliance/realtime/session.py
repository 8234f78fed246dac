"""The transport seam: what the daemon needs of any way to reach a Realtime session.

Responsible for: the interface and the values that cross it. WebSocket is the first transport; WebRTC and SIP
fit behind the same few calls.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol as Interface

from appliance.errors import Secret
from appliance.realtime.facts import Fact
from appliance.realtime.profile import NO_PROFILE, Profile

AGEING, OLD = 50 / 60, 58 / 60  # of the time after which a session ends: it may be replaced, it is


@dataclass(frozen=True, slots=True)
class Ticket:
    """A short-lived credential and where to use it."""

    url: str
    model: str
    secret: Secret
    tls: ssl.SSLContext | None = None  # made beforehand: loading the root certificates takes a while
    session_id: str = ""  # the provisioning service's name for it
    good_for_s: float = 0.0  # from its minting on
    longest_s: float = math.inf  # that a session of it may last
    fallback_models: tuple[str, ...] = ()  # that it is good for as well, in the order of preference
    profile: Profile = NO_PROFILE


@dataclass(frozen=True, slots=True)
class Timing:
    """How patient the transport is."""

    open_s: float = 10.0
    ping_interval_s: float = 20.0
    ping_timeout_s: float = 30.0
    backoff_first_s: float = 0.5
    backoff_last_s: float = 8.0
    ageing_s: float = 50 * 60  # of a session, which the server ends after 60 min: from here on it may be replaced
    old_s: float = 58 * 60  # from here on it is, also in the middle of what the person says
    replace_again_s: float = 60.0  # after an attempt that failed
    quiet_s: float = 3.0  # while somebody waits: after so long a silence the server is asked for a sign of life
    dead_s: float = 8.0  # and after so long it is given up
    close_s: float = 1.0


class Need(Enum):
    """Who wants a session."""

    PRESS = "press"  # a person, now: nothing is waited for
    WAITING = "waiting"  # a person, who has pressed before: after the back-off
    ITSELF = "itself"  # nobody: whether a refusal still stands


Mint = Callable[[Need], Awaitable[Ticket]]
OnFact = Callable[[Fact], None]
OnSent = Callable[[float, float], None]  # captured_at, sent_at: of a frame of microphone audio


class Session(Interface):
    """A way to reach the model. All calls on the event loop, none blocks."""

    @property
    def trouble(self) -> str:
        """The code of the latest failure, "" while there is none or it has none."""

    def open(self, need: Need) -> None:
        """Begin to open a session; but for a press, after the back-off of earlier failures."""

    def close(self, reason: str) -> None:
        """Close the session quietly: no fact is reported. ``reason`` goes into the report to the service."""

    def flush(self) -> None:
        """Send what the protocol has to send."""
