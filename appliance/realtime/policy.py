"""What an error of the server means for us: the policy table of realtime-api reference §9, as data.

Responsible for: code or text -> policy, and close code -> policy. Not for: carrying it out (``protocol``,
``websocket``).
"""

from __future__ import annotations

from enum import Enum

from appliance.realtime.wire import Fault


class Policy(Enum):
    """What to do about an error."""

    IGNORE = "ignore"  # expected in a race, nothing is wrong
    NOTE = "note"  # log it and go on
    REQUEUE = "requeue"  # ask again after the active response
    TURN = "turn"  # the committed turn was too short
    RESPONSE = "response"  # the response will not come
    CONFIGURE = "configure"  # the session is not configured
    RECONNECT = "reconnect"  # open a new session
    FATAL = "fatal"  # a person has to act


CODES = {
    "response_cancel_not_active": Policy.IGNORE,
    "input_audio_buffer_commit_empty": Policy.TURN,
    "item_truncate_invalid_item_id": Policy.NOTE,
    "item_delete_invalid_item_id": Policy.NOTE,
    "invalid_item_id": Policy.NOTE,
    "item_not_found": Policy.NOTE,
    "conversation_already_has_active_response": Policy.REQUEUE,
    "cannot_update_voice": Policy.NOTE,
    "rate_limit_exceeded": Policy.RESPONSE,
    "inference_rate_limit_exceeded": Policy.RESPONSE,
    "insufficient_quota": Policy.FATAL,
    "billing_hard_limit_reached": Policy.FATAL,
    "account_deactivated": Policy.FATAL,
    "invalid_api_key": Policy.FATAL,
    "beta_api_shape_disabled": Policy.FATAL,
    "model_not_found": Policy.FATAL,
    "session_expired": Policy.RECONNECT,
}
TEXTS = (
    ("cancellation failed", Policy.IGNORE),
    ("already shorter than", Policy.NOTE),
    ("truncat", Policy.NOTE),
    ("maximum duration", Policy.RECONNECT),
)
FATAL_CLOSES = {4000: "beta_api_shape_disabled"}
HINTS = {
    "insufficient_quota": "the provider account has no credit left: top it up",
    "billing_hard_limit_reached": "the provider account reached its spending limit: raise it",
    "account_deactivated": "the provider account is deactivated: contact the provider",
    "invalid_api_key": "the provider refuses the key: check it in the provisioning service",
    "beta_api_shape_disabled": "this device speaks a protocol that the server has dropped: update it",
    "model_not_found": "the model is not available to this account: choose another in the profile",
}


def of(fault: Fault, *, is_update: bool, is_create: bool, is_commit: bool = False) -> Policy:
    """Decide about an error; ``is_…`` say that it answers our update, our response.create or our commit."""
    known = CODES.get(fault.code or "")
    if known is None and "server_error" in (fault.code, fault.type):
        known = Policy.RECONNECT
    if is_update and known not in (Policy.FATAL, Policy.RECONNECT):
        return Policy.CONFIGURE  # whatever it names, such as "session.truncation": nothing of the update was applied
    if is_commit and known not in (Policy.FATAL, Policy.RECONNECT):
        return Policy.TURN  # whatever it names: there is no turn that could be answered
    if known is Policy.RESPONSE and fault.event_id and not is_create:
        return Policy.NOTE  # it answers another event: the response may still come
    if known is not None:
        return known
    text = (fault.message or "").lower()
    for part, policy in TEXTS:
        if part in text:
            return policy
    return Policy.RESPONSE if is_create else Policy.NOTE


def hint(code: str) -> str:
    """Say what a person can do about a fatal ``code``."""
    return HINTS.get(code, "see the provisioning service's log")
