"""No code that the sources know is without a sound, a row in the docs and a remedy."""

from __future__ import annotations

import re
from pathlib import Path

from appliance.conversation import events as ev
from appliance.conversation.lines import SAID
from tests.refusals import NO_REFUSALS, rows

ROOT = Path(__file__).resolve().parent.parent / "appliance"
SOURCES = [
    *(ROOT / "credentials").glob("*.py"),
    ROOT / "tickets.py",
    ROOT / "enrolling.py",
    ROOT / "realtime" / "websocket.py",
    ROOT / "realtime" / "dialling.py",
]


def test_every_code_is_in_the_table_of_what_is_said_and_in_that_of_the_docs() -> None:
    assert set(rows()) - {ev.ENROLMENT_PENDING} == set(SAID) - NO_REFUSALS


def test_every_code_that_the_sources_raise_is_known() -> None:
    pattern = r'(?:code|MODEL_GONE) ?= ?"([a-z_]+)"'
    raised = {code for path in SOURCES for code in re.findall(pattern, path.read_text())}
    assert len(raised) >= 8
    assert raised <= set(SAID)


def test_every_refusal_of_the_protocol_is_there() -> None:
    """The codes of the service's design, and what may stand in the way of asking it."""
    codes = (
        "use_dpop_nonce invalid_dpop_proof invalid_token device_suspended quota_exceeded spend_limit overloaded"
        " upstream_unavailable unknown_profile unsupported_transport idempotency_key_reused access_denied expired_token"
        " invalid_grant unreachable clock_behind certificate_refused wrong_key"
    )
    assert set(codes.split()) <= set(rows())
    assert all(row.what and row.remedy for row in rows().values())
