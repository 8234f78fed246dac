"""The page docs/refusals.md: of every refusal what is heard, seen and to be done, from the tables of the code."""

from __future__ import annotations

from typing import NamedTuple

from appliance.conversation import events as ev
from appliance.conversation.lines import SAID, TEXTS, Line
from appliance.credentials import grant, mint
from appliance.realtime import policy

HEAD = """# When it is refused

*Generated from `appliance/conversation/lines.py` and the tables of refusals by `make docs`; do not edit.*

What keeps the appliance from its service is told three times: by a tone and, where a person can do something, a
recorded sentence; by the light; and in `voice-appliance ctl status`, whose `last_error` says what happened and what
to do, and whose `last_error_code` is the code below. A press always tries again, but for a quota of this device's
own (`quota_exceeded`), which is told without asking for half a minute, or until its time is over. While the light
says *error*, the appliance also asks by itself: after a minute, or what the service asked for, and a random part of
five, then ever more rarely, eight times at most. While it says *offline* only a press asks.
"""
FOOT = """
- **error** is three low tones and three flashes, **offline** three falling tones and a slow even blinking, **code** a
  tone that goes up and down and one long and two short flashes ([the light](../README.md#the-light)).
- A wait of up to 15 s that the service asks for is waited out with your question (*offline* meanwhile); a longer one
  is an *error*.
- A code that is not approved in time, or is denied, ends in *offline*: the next press asks for another.
- Sentences are silent with `audio.cues = false`, but for the code.
"""


class Row(NamedTuple):
    """One refusal: whether waiting may help, what happened, what to do."""

    retry: bool
    what: str
    remedy: str


OURS = {
    ev.ENROLMENT_PENDING: Row(
        False,
        "the service does not know this device (any more); its owner is to approve the code",
        "type the nine digits on the service's page, or `voice-provisioning approve CODE`",
    ),
    "unreachable": Row(
        True,
        "no network, a name that is not found, nobody there, no answer in time, no TLS",
        "check the network, then `[provisioning] url`; `last_error` says which",
    ),
    "no_network": Row(
        True,
        "no network at all: no Wi-Fi is known, or none of those known is here, and no cable is plugged in",
        "hold the button for five seconds, or write the Wi-Fi into voice.toml ([how](first-boot.md))",
    ),
    "bad_settings": Row(
        False,
        "the settings on the card (voice.toml) cannot be used; nothing was changed",
        "voice.toml.problem.txt on the card says what (no such file: the partition came too late, start it again); "
        "the next press goes on with the settings as they were",
    ),
    "clock_behind": Row(
        True,
        "the service's certificate is not yet valid by this device's clock",
        "wait: your question waits 20 s for the time to be set, then press again; `timedatectl` says why it is not",
    ),
    "certificate_refused": Row(
        True,
        "the service's certificate has expired, is for another name, or is not trusted",
        "look for a Wi-Fi login page; a private authority belongs into /usr/local/share/ca-certificates; or use a pin",
    ),
    "wrong_key": Row(
        False,
        "the service shows another key than the pinned one",
        "changed on purpose: put the new pin into `[provisioning] url`; else somebody is in between",
    ),
    "bad_answer": Row(
        True,
        "something else answers in the service's place",
        "look for a Wi-Fi login page or a proxy; check `[provisioning] url`",
    ),
    "bad_url": Row(False, "an address that cannot be used, or would send secrets unencrypted", "use https://"),
    "wrong_issuer": Row(
        False,
        "the service calls itself another address",
        "set `[provisioning] url` to its issuer, exactly as in its server.toml",
    ),
    "no_provisioning": Row(False, "no provisioning service is configured", "set `[provisioning] url`"),
    "local_file": Row(False, "a file on the device cannot be read or written", "`last_error` names it and the remedy"),
    "refused": Row(False, "the service refused the enrolment with a code of its own", "its log says why"),
    "server_error": Row(True, "the service failed while enrolling", "its log says why"),
}
NO_REFUSALS = {"enrolled", "not_joined", "reset_warning"}


def rows() -> dict[str, Row]:
    """Every code that can keep the appliance from talking."""
    found = dict(OURS)
    for code, (what, remedy) in grant._REFUSALS.items():
        found[code] = Row(code in grant._PASSING, what, remedy)
    for code, (what, remedy, retry) in mint._REFUSALS.items():
        found[code] = Row(retry, what, remedy)
    found["quota_exceeded"] = found["quota_exceeded"]._replace(retry=False)  # it is not waited out with a question
    for code, hint in policy.HINTS.items():
        what, _, remedy = hint.partition(": ")
        found[code] = Row(False, what, remedy)
    return found


def heard(code: str, row: Row) -> str:
    """The tone, and the sentence if there is one."""
    if code == ev.ENROLMENT_PENDING:
        return f"code; “{TEXTS[Line.APPROVE]}” and nine digits"
    line = SAID.get(code)
    tone = "offline" if row.retry else "error"
    return f"{tone}; “{TEXTS[line]}”" if line else tone


def page() -> str:
    """The whole page."""
    lines = ["| code | what happened | heard | light | what to do |", "|---|---|---|---|---|"]
    for code, row in rows().items():
        light = "enrolling" if code == ev.ENROLMENT_PENDING else "offline" if row.retry else "error"
        lines.append(f"| `{code}` | {row.what} | {heard(code, row)} | {light} | {row.remedy} |")
    return "\n".join([HEAD, *lines, FOOT])
