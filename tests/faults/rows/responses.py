"""The Realtime server answers, but not as it should: never, half, without an end, or in noise."""

from __future__ import annotations

from tests.faults.row import Heals, Row, When
from tests.faults.rows.acts import frames, script

ITSELF, PRESS, ENDURED = Heals.ITSELF, Heals.PRESS, Heals.ENDURED
IDLE, ASKED, THINKING = When.IDLE, When.ASKED, When.THINKING
CUT = ("cue_offline",)
REFUSED = ("cue_error",)
HASTY = "[conversation]\nthink_s = 5\n"
NONSENSE = (
    "",
    "null",
    "[]",
    "{",
    '{"type":5}',
    '{"type":"response.done"}',
    '{"type":"response.output_audio.delta","delta":"***"}',
    '{"type":"no.such.event","x":' + "[" * 2000 + "]" * 2000 + "}",
    b"\x00\xff\xfe",
    '{"type":"error","error":"no"}',
    '{"type":"conversation.item.added","pad":"' + "x" * 1_000_000 + '"}',
)
FAILED = {
    "status": "failed",
    "status_details": {"type": "failed", "error": {"type": "server_error", "code": "server_error", "message": "no"}},
}
LIMITED = {
    "status": "failed",
    "status_details": {"type": "failed", "error": {"code": "inference_rate_limit_exceeded", "message": "slow down"}},
}
INCOMPLETE = {"status": "incomplete", "status_details": {"type": "incomplete", "reason": "max_output_tokens"}}
FILTERED = {"status": "incomplete", "status_details": {"type": "incomplete", "reason": "content_filter"}}

ROWS: tuple[Row, ...] = (
    Row("response never announced", ASKED, "audio without response.created", script(announce=False), ENDURED),
    Row(
        "response never done",
        ASKED,
        "audio, and never response.done",
        script(finish=False),
        PRESS,
        script(finish=True),
        hears=REFUSED,
        sees=("offline",),
        quick_settings=HASTY,
        lasts_s=5.0,
        notice_s=35.0,
    ),
    Row(
        "response never done, pressed over",
        ASKED,
        "audio, and never response.done; the person goes on",
        script(finish=False),
        PRESS,
        script(finish=True),
        lasts_s=2.0,
    ),
    Row(
        "response never comes",
        ASKED,
        "silence instead of an answer",
        script(silent=True),
        PRESS,
        script(silent=False),
        hears=REFUSED,
        sees=("offline",),
        loses="question",
        quick_settings=HASTY,
        lasts_s=1.0,
        notice_s=25.0,
    ),
    Row(
        "response failed",
        ASKED,
        "failed: server_error",
        script(ending=FAILED, speechless=True),
        PRESS,
        hears=REFUSED,
        loses="question",
    ),
    Row(
        "response failed, limited",
        ASKED,
        "failed: inference_rate_limit_exceeded",
        script(ending=LIMITED, speechless=True),
        PRESS,
        hears=REFUSED,
        loses="question",
    ),
    Row("response failed in the middle", ASKED, "audio, then failed", script(ending=FAILED), PRESS, hears=REFUSED),
    Row("response incomplete", ASKED, "audio, then the token limit", script(ending=INCOMPLETE), ENDURED),
    Row(
        "response incomplete, empty",
        ASKED,
        "nothing but a content filter",
        script(ending=FILTERED, speechless=True),
        PRESS,
        hears=REFUSED,
        loses="question",
    ),
    Row(
        "response without a sound",
        ASKED,
        "completed, and nobody hears a word: in writing alone, or empty",
        script(ending={"status": "completed"}, speechless=True),
        PRESS,
        hears=REFUSED,
        loses="question",
    ),
    Row("tools without end", ASKED, "each answer calls a tool, unless it may not", script(restless=True), ENDURED),
    Row(
        "tools without end, whatever we ask for",
        ASKED,
        "each answer calls a tool, and never says a word",
        script(restless=True, obeys=False),
        PRESS,
        script(restless=False),
        hears=REFUSED,
        loses="question",
    ),
    Row("nonsense frames", IDLE, "not JSON, not text, a megabyte, 2,000 brackets", frames(*NONSENSE), ENDURED),
    Row("a flood of events", THINKING, "20,000 events nobody knows", frames(*['{"type":"flood"}'] * 20_000), ENDURED),
    Row(
        "503 twice, then it works",
        ASKED,
        "the upgrade is refused twice",
        script(refuse_first=[503, 503]),
        ITSELF,
        may_hear=CUT,
        cold=True,
        lasts_s=0.0,
    ),
)
