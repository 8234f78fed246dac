"""The provisioning service, or the provider behind it: away, slow, busy, full, or of another opinion."""

from __future__ import annotations

import json
import time

from tests.fakes.proxy import http
from tests.fakes.upstream import Answer
from tests.faults.row import Act, Heals, Row, When
from tests.faults.rows.acts import cut, fair, link, owner, provider, service, several, weather
from tests.faults.scene import Scene

ITSELF, PRESS, PERSON, ENDURED = Heals.ITSELF, Heals.PRESS, Heals.PERSON, Heals.ENDURED
ASKED = When.ASKED
CUT, OFFLINE = ("cue_offline",), ("offline",)


def problem(status: str, code: str, *headers: str) -> Act:
    """Something in the service's place refuses with one of the protocol's codes."""
    body = json.dumps({"code": code, "title": "no"}).encode()
    return weather(service, answer=http(status, body, *headers, kind="application/problem+json"))


def says(status: int, code: str, **headers: str) -> Act:
    """The provider answers every mint with a failure."""

    def act(at: Scene) -> None:
        at.town.provider.usual = Answer.failure(status, code, **headers)

    return act


def answers(at: Scene) -> None:
    """The provider mints again."""
    at.town.provider.usual = Answer()


def approved(at: Scene) -> None:
    """Somebody presses, hears the code, and has it approved; it says that it is ready."""
    at.press()
    at.release()
    look = at.witness.until(lambda one: bool((one.get("enrolment") or {}).get("code")), 10.0)
    at.expect(look, "code")
    assert look is not None
    at.town.command("approve", look.get("enrolment")["code"])
    at.expect(at.witness.until(lambda one: one.get("phase") == "idle", 15.0), "enrolment")


def _busy(
    name: str,
    what: str,
    inject: Act,
    cure: Act,
    hears: str,
    profile: str = "default",
    *,
    lasts_s: float = 3.0,
) -> Row:
    """A row of a service that is away for three seconds: told, and the question gets its answer."""
    return Row(
        name,
        ASKED,
        what,
        several(inject, cut(link), cut(provider)),
        ITSELF,
        cure,
        hears=(hears,),
        sees=OFFLINE,
        profile=profile,
        lasts_s=lasts_s,
        notice_s=15.0,
    )


def _refused(
    name: str,
    what: str,
    inject: Act,
    cure: Act,
    code: str,
    profile: str = "default",
    *,
    presses: int = 1,
    within_s: float = 15.0,
) -> Row:
    """A row of a refusal that a person has to lift."""
    return Row(
        name,
        ASKED,
        what,
        several(inject, cut(link), cut(provider)),
        PERSON,
        cure,
        hears=(f"said_{code}",),
        sees=("error",),
        loses="question",
        profile=profile,
        presses=presses,
        within_s=within_s,
        lasts_s=0.5,
    )


TAKEN_INTO_USE_S = 6.0  # changed limits
calm = fair(service)
SERVICE = (
    _busy("service down", "nobody listens", weather(service, refused=True), calm, "cue_offline"),
    _busy(
        "service silent for 12 s",
        "it takes connections and says nothing",
        weather(service, held=True),
        calm,
        "cue_offline",
        lasts_s=12.0,
    ),
    Row(
        "service silent for 3 s",
        ASKED,
        "the same",
        several(weather(service, held=True), cut(link)),
        ITSELF,
        calm,
        lasts_s=3.0,
    ),
    Row(
        "service down, before enrolment",
        ASKED,
        "nobody listens",
        weather(service, refused=True),
        ITSELF,
        calm,
        hears=CUT,
        sees=OFFLINE,
        cold=True,
        lasts_s=3.0,
    ),
    Row("service slow", ASKED, "each way takes a second", weather(service, delay_s=1.0), ENDURED, calm, cold=True),
    _busy(
        "service overloaded",
        "503 overloaded, Retry-After 1",
        problem("503 Busy", "overloaded", "Retry-After: 1"),
        calm,
        "said_overloaded",
    ),
    _busy(
        "service 502",
        "502 upstream_unavailable",
        problem("502 Bad", "upstream_unavailable"),
        calm,
        "said_upstream_unavailable",
    ),
    _busy(
        "service 500",
        "500 of a proxy, in HTML",
        weather(service, answer=http("500 Oops", b"<h1>Oops</h1>", kind="text/html")),
        calm,
        "cue_offline",
    ),
    _busy(
        "service talks nonsense",
        "200 and a poem",
        weather(service, answer=http("200 OK", b'{"roses":"red"}')),
        calm,
        "cue_offline",
    ),
    _busy(
        "service talks no HTTP", "SSH answers", weather(service, answer=b"SSH-2.0-OpenSSH_9.2\r\n"), calm, "cue_offline"
    ),
    _busy("service resets", "every connection is reset", weather(service, refused=True), calm, "cue_offline"),
    _refused(
        "service 401 invalid_dpop_proof",
        "it does not accept our signature",
        problem("401 No", "invalid_dpop_proof"),
        calm,
        "invalid_dpop_proof",
    ),
    _refused(
        "service 404 unknown_profile",
        "the profile is gone",
        problem("404 No", "unknown_profile"),
        calm,
        "unknown_profile",
    ),
    _refused(
        "service 429 spend_limit",
        "the provider's limit, by the service",
        problem("429 No", "spend_limit"),
        calm,
        "spend_limit",
    ),
)

OWNER = (
    _refused(
        "device suspended",
        "its owner suspends it",
        owner("devices", "suspend", "DEVICE"),
        owner("devices", "resume", "DEVICE"),
        "device_suspended",
    ),
    Row(
        "device revoked",
        ASKED,
        "its owner ends its enrolment; its token is not good for that device any more",
        several(owner("devices", "revoke", "DEVICE"), cut(link)),
        PERSON,
        approved,
        hears=("said_access_denied", "said_enrolment_pending", "said_enrolled"),
        sees=("error", "enrolling"),
        loses="question",
        within_s=25.0,
    ),
    _refused(
        "quota used up",
        "one session a day, and it was had",
        several(lambda at: at.town.allow(1), lambda _: time.sleep(TAKEN_INTO_USE_S)),
        lambda at: at.town.allow(1000),
        "quota_exceeded",
        "metered",
        presses=40,
        within_s=60.0,
    ),
)

PROVIDER = (
    _refused(
        "provider: insufficient_quota",
        "the account has no credit",
        says(429, "insufficient_quota"),
        answers,
        "spend_limit",
        "provider",
    ),
    _busy(
        "provider: 429",
        "the provider is busy, Retry-After 1",
        says(429, "rate_limit_exceeded", Retry_After="1"),
        answers,
        "said_overloaded",
        "provider",
    ),
    _busy(
        "provider: 401",
        "the provider refuses the key",
        says(401, "invalid_api_key"),
        answers,
        "said_upstream_unavailable",
        "provider",
    ),
    _busy(
        "provider: 503",
        "the provider fails",
        says(503, "server_error"),
        answers,
        "said_upstream_unavailable",
        "provider",
    ),
    _busy(
        "provider down",
        "nobody listens there",
        weather(provider, refused=True),
        fair(provider),
        "said_upstream_unavailable",
        "provider",
    ),
)

ROWS: tuple[Row, ...] = (*SERVICE, *OWNER, *PROVIDER)
