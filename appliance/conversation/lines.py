"""What the appliance says in words of its own, and which code of a failure is said how. Pure data.

Responsible for: the lines (their value names the recording in ``audio/words``, made by ``tests.words`` from the text
here), and the choice. A code without a line is told by its ear-con alone: three falling tones say *offline* already.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from appliance.conversation.events import ENROLMENT_PENDING


class Line(Enum):
    """A recorded sentence."""

    APPROVE = "approve"
    NO_LONGER = "no-longer"
    READY = "ready"
    EXPIRED = "expired"
    DENIED = "denied"
    SUSPENDED = "suspended"
    QUOTA = "quota"
    SPENDING = "spending"
    BUSY = "busy"
    PROVIDER = "provider"
    TIME = "time"
    CERTIFICATE = "certificate"
    SETTINGS = "settings"
    NO_NETWORK = "no-network"
    HOLD = "hold"
    JOIN = "join"
    NOT_JOINED = "not-joined"
    FORGET = "forget"
    GIVES_UP = "gives-up"  # said by ``last_word``, when nothing else of us runs any more


TEXTS = {
    Line.APPROVE: "Please approve this code.",
    Line.NO_LONGER: "I am no longer enrolled.",
    Line.READY: "I am ready.",
    Line.EXPIRED: "The code has expired. Press for a new one.",
    Line.DENIED: "The owner has refused me.",
    Line.SUSPENDED: "I am suspended.",
    Line.QUOTA: "I have used up my conversations for now.",
    Line.SPENDING: "The spending limit is reached.",
    Line.BUSY: "The service is busy. Please try again in a moment.",
    Line.PROVIDER: "The speech provider is not available.",
    Line.TIME: "I am waiting for the time.",
    Line.CERTIFICATE: "I do not trust the service that answers.",
    Line.SETTINGS: "Something is wrong with my settings.",
    Line.NO_NETWORK: "I have no network.",
    Line.HOLD: "Hold my button for five seconds to set me up.",
    Line.JOIN: "Join my network with your phone. The password is:",
    Line.NOT_JOINED: "I could not join that network.",
    Line.FORGET: "Let go now, and I will forget everything.",
    Line.GIVES_UP: "I keep failing, and I give up. Please look after me.",
}
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PAUSE = ""  # among the words: a short silence

# Every code of provisioning, of the network on the way there, and of the Realtime service that needs a person.
SAID: dict[str, Line | None] = {
    "enrolled": Line.READY,
    "expired_token": Line.EXPIRED,
    "access_denied": Line.DENIED,
    "device_suspended": Line.SUSPENDED,
    "quota_exceeded": Line.QUOTA,
    "spend_limit": Line.SPENDING,
    "too_many_requests": Line.BUSY,
    "overloaded": Line.BUSY,
    "temporarily_unavailable": Line.BUSY,
    "upstream_unavailable": Line.PROVIDER,
    "server_error": Line.BUSY,
    "unreachable": None,
    "no_network": Line.NO_NETWORK,
    "bad_settings": Line.SETTINGS,
    "not_joined": Line.NOT_JOINED,
    "reset_warning": Line.FORGET,
    "bad_answer": None,
    "clock_behind": Line.TIME,
    "certificate_refused": Line.CERTIFICATE,
    "wrong_key": Line.CERTIFICATE,
    "invalid_token": Line.NO_LONGER,
    "invalid_grant": Line.SETTINGS,
    "invalid_dpop_proof": Line.SETTINGS,
    "use_dpop_nonce": Line.BUSY,
    "idempotency_key_reused": Line.BUSY,
    "unknown_profile": Line.SETTINGS,
    "unsupported_transport": Line.SETTINGS,
    "wrong_issuer": Line.SETTINGS,
    "bad_url": Line.SETTINGS,
    "no_provisioning": Line.SETTINGS,
    "local_file": Line.SETTINGS,
    "refused": Line.SETTINGS,
    "insufficient_quota": Line.SPENDING,
    "billing_hard_limit_reached": Line.SPENDING,
    "account_deactivated": Line.PROVIDER,
    "invalid_api_key": Line.SETTINGS,
    "model_not_found": Line.SETTINGS,
    "beta_api_shape_disabled": Line.SETTINGS,
}


SETUP: Final = "setup"  # the code of a set-up page that waits: its Wi-Fi has a password to be said


def words_of(code: str, user_code: str = "", *, again: bool = False, setup: bool = False) -> tuple[str, ...]:
    """Name the recordings that tell of ``code``, in order; empty: the ear-con has told it.

    Args:
        code: of the failure, or what became of it.
        user_code: the digits that the service's owner has to approve, in groups joined by dashes.
            or the password of the Wi-Fi that the set-up page is reached by.
        again: this device was enrolled before.
        setup: there is a set-up page that the button can open.
    """
    if code == ENROLMENT_PENDING:
        before = (Line.NO_LONGER.value, PAUSE) if again else ()
        return (*before, Line.APPROVE.value, PAUSE, *_digits(user_code)) if user_code else before
    if code == SETUP:
        return (Line.JOIN.value, PAUSE, *_digits(user_code)) if user_code else ()
    line = SAID.get(code)
    if line is Line.NO_NETWORK and setup:
        return (line.value, PAUSE, Line.HOLD.value)
    return (line.value,) if line else ()


def text_of(words: tuple[str, ...]) -> str:
    """Write what the recordings say, for who reads."""
    lines = {line.value: text for line, text in TEXTS.items()}
    text = " ".join(lines.get(word) or (str(DIGITS.index(word)) if word else "") for word in words)
    return " ".join(text.split())


def _digits(user_code: str) -> tuple[str, ...]:
    return tuple(DIGITS[int(letter)] if letter.isdigit() else PAUSE for letter in user_code)
