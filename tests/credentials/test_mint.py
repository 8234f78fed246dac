"""Minting against scripted services: retries, refusals and nonsense."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.credentials.enrolment import Enrolment
from appliance.credentials.http import HttpClient, Response
from appliance.credentials.identity import Identity
from appliance.credentials.mint import Grant, Limits, Minter, _grant, refusal
from appliance.errors import ProvisioningError, Secret
from appliance.reports import KEPT
from tests.credentials.server import HANG, Scripted, http, scripted

CONTENT: dict[str, Any] = {
    "session_id": "s1",
    "kind": "client_secret",
    "value": "ek_secret_value_1234",
    "expires_in": 59,
    "connect": {"url": "wss://api.example/v1/realtime", "model": "m"},
    "limits": {"max_session_s": 3600, "sessions_left_today": None},
    "later_extension": [],
}
NONCE = http(401, {"code": "use_dpop_nonce"}, DPoP_Nonce="n1", WWW_Authenticate='DPoP error="use_dpop_nonce"')


def run(tmp_path: Path, story: Callable[[Scripted, Minter], Awaitable[None]]) -> None:
    async def told() -> None:
        async with scripted() as server:
            known = Enrolment(server.url, "d_x", Secret("vdt_token_token"))
            identity = Identity.load_or_create(tmp_path)
            await story(server, Minter(known, identity, client=HttpClient(timeout_s=0.5), now=lambda: 0.0))

    asyncio.run(told())


def keys(server: Scripted) -> set[bytes]:
    return {key for heard in server.heard for key in re.findall(rb"(?i)idempotency-key: (\S+)", heard)}


def proofs(server: Scripted) -> list[bytes]:
    return [proof for heard in server.heard for proof in re.findall(rb"(?i)\ndpop: (\S+)", heard)]


def test_a_grant(tmp_path: Path) -> None:
    async def story(server: Scripted, minter: Minter) -> None:
        server.answers = [http(201, CONTENT)]
        grant = await minter.mint(profile="p")
        assert grant == Grant(
            "s1", Secret("ek_secret_value_1234"), 59, "wss://api.example/v1/realtime", "m", Limits(3600, None)
        )
        assert "ek_secret" not in repr(grant)
        assert server.heard[0].startswith(b"POST /v1/sessions ")
        assert server.heard[0].endswith(b'\r\n\r\n{"transport":"websocket","profile":"p"}')
        assert b"DPoP vdt_token_token" in server.heard[0]

    run(tmp_path, story)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (http(502, {"code": "overloaded"}), "unreachable"),
        (http(503, {}), "unreachable"),
        (http(429, {"code": "too_many_requests"}, Retry_After="7"), "unreachable"),
        (http(429, {}, Retry_After="7"), "unreachable"),
        (http(403, {"code": "device_suspended"}), "device_suspended"),
        (http(404, {"code": "unknown_session"}), "bad_answer"),
    ],
)
def test_a_report_that_was_not_taken_waits_and_one_that_never_will_be_does_not(
    tmp_path: Path, answer: bytes, code: str
) -> None:
    """What the code says to the queue of reports: ``appliance.reports.KEPT``."""

    async def story(server: Scripted, minter: Minter) -> None:
        server.answers = [answer]
        with pytest.raises(ProvisioningError) as refused:
            await minter.report("s1", duration_s=1.0, reason="idle", usage={})
        assert refused.value.code == code
        assert (code in KEPT) is (code != "bad_answer")
        assert refused.value.retry_after_s == (7 if b" 429 " in answer else None)

    run(tmp_path, story)


@pytest.mark.parametrize("session", [None, {}, {"instructions": "Be short."}, [1], "x", 7])
def test_what_the_profile_says_is_handed_on_as_it_is(session: object) -> None:
    response = Response(201, {}, json.dumps({**CONTENT, "session": session}).encode())
    assert _grant(response, "http://127.0.0.1/v1/sessions").session == session


@pytest.mark.parametrize(("tools", "bound"), [("bound", True), ("unbound", False), (None, False), ([], False)])
def test_whether_tools_are_bound(tools: object, bound: bool) -> None:
    response = Response(201, {}, json.dumps({**CONTENT, "tools": tools}).encode())
    assert _grant(response, "http://127.0.0.1/v1/sessions").binds_tools is bound


def test_the_devices_functions_are_declared(tmp_path: Path) -> None:
    async def story(server: Scripted, minter: Minter) -> None:
        server.answers = [http(201, CONTENT)]
        await minter.mint(tools=({"type": "function", "name": "a"},))
        assert server.heard[0].endswith(b',"tools":[{"type":"function","name":"a"}]}')

    run(tmp_path, story)


def test_an_answer_nested_beyond_reason_is_a_bad_one() -> None:
    body = json.dumps(CONTENT)[:-1] + ', "session": ' + '{"a":' * 20_000 + "1" + "}" * 20_001
    with pytest.raises(ProvisioningError) as refused:
        _grant(Response(201, {}, body.encode()), "http://127.0.0.1/v1/sessions")
    assert refused.value.code == "bad_answer"


def test_a_new_nonce_costs_one_more_exchange_on_the_same_connection(tmp_path: Path) -> None:
    async def story(server: Scripted, minter: Minter) -> None:
        server.answers = [NONCE, http(201, CONTENT, DPoP_Nonce="n2"), http(201, CONTENT)]
        await minter.mint()
        assert (server.connections, len(server.heard), len(keys(server))) == (1, 2, 1)
        await minter.mint()
        assert (server.connections, len(server.heard), len(keys(server))) == (2, 3, 2)
        assert len(set(proofs(server))) == 3

    run(tmp_path, story)


def test_a_broken_connection_is_tried_once_more_under_the_same_key(tmp_path: Path) -> None:
    async def story(server: Scripted, minter: Minter) -> None:
        server.answers = [b"", http(201, CONTENT)]
        await minter.mint()
        assert (server.connections, len(keys(server)), len(set(proofs(server)))) == (2, 1, 2)
        server.answers = []
        with pytest.raises(ProvisioningError) as refused:
            await minter.mint()
        assert (refused.value.code, refused.value.retry) == ("unreachable", True)
        assert server.connections == 4

    run(tmp_path, story)


def test_a_silent_service_is_not_asked_twice(tmp_path: Path) -> None:
    async def story(server: Scripted, minter: Minter) -> None:
        server.answers = [HANG, http(201, CONTENT)]
        with pytest.raises(ProvisioningError) as refused:
            await minter.mint()
        assert (refused.value.code, server.connections) == ("unreachable", 1)

    run(tmp_path, story)


def test_refusals(tmp_path: Path) -> None:
    async def story(server: Scripted, minter: Minter) -> None:
        cases = [
            (401, "invalid_token", False, None),
            (401, "invalid_dpop_proof", False, None),
            (403, "device_suspended", False, None),
            (429, "quota_exceeded", True, "30"),
            (429, "spend_limit", False, None),
            (503, "overloaded", True, "2"),
            (502, "upstream_unavailable", True, None),
            (404, "unknown_profile", False, None),
            (400, "unsupported_transport", False, None),
            (422, "idempotency_key_reused", True, None),
        ]
        for status, code, retry, wait in cases:
            server.answers = [
                http(status, {"code": code, "detail": "vdt_x"}, **({"Retry_After": wait} if wait else {}))
            ]
            with pytest.raises(ProvisioningError) as refused:
                await minter.mint()
            error = refused.value
            assert (error.code, error.retry, error.retry_after_s) == (code, retry, float(wait) if wait else None)
            assert error.hint
            assert "vdt_x" not in str(error)
        server.answers = [NONCE, NONCE]
        with pytest.raises(ProvisioningError) as refused:
            await minter.mint()
        assert refused.value.code == "use_dpop_nonce"

    run(tmp_path, story)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "sdp_answer"},
        {"kind": None},
        {"value": ""},
        {"value": "ek_é"},
        {"value": "ek_\r\nX: y"},
        {"value": 7},
        {"expires_in": 0},
        {"expires_in": -1},
        {"expires_in": "60"},
        {"connect": None},
        {"connect": {"url": "https://a", "model": "m"}},
        {"connect": {"url": "ws://evil.example", "model": "m"}},
        {"connect": {"url": "wss://a"}},
        {"limits": {"max_session_s": "x"}},
        {"session_id": None},
    ],
)
def test_nonsense_is_a_bad_answer(change: dict[str, Any]) -> None:
    response = Response(201, {}, json.dumps({**CONTENT, **change}).encode())
    with pytest.raises(ProvisioningError) as refused:
        _grant(response, "http://127.0.0.1/v1/sessions")
    assert (refused.value.code, refused.value.retry) == ("bad_answer", True)
    assert "ek_" not in str(refused.value)


@given(status=st.integers(200, 599), body=st.binary(), wait=st.text())
@settings(max_examples=100)
def test_no_answer_escapes_the_taxonomy(status: int, body: bytes, wait: str) -> None:
    response = Response(status, {"retry-after": wait}, body)
    with pytest.raises(ProvisioningError) as refused:
        _grant(response, "http://127.0.0.1/v1/sessions")
    assert refused.value.code == "bad_answer"
    with pytest.raises(ProvisioningError) as refused:
        raise refusal(response, "http://127.0.0.1/v1/sessions")
    assert refused.value.code == "bad_answer"


@pytest.mark.parametrize("body", [b"<html>503 Service Unavailable</html>", b'{"code": "of_a_proxy"}'])
def test_a_proxy_that_says_when_to_come_back_is_heard(body: bytes) -> None:
    with pytest.raises(ProvisioningError) as refused:
        raise refusal(Response(503, {"retry-after": "7"}, body), "http://127.0.0.1/v1/sessions")
    assert (refused.value.code, refused.value.retry, refused.value.retry_after_s) == ("bad_answer", True, 7)


@given(wait=st.text() | st.integers().map(str))
def test_any_retry_after_is_bounded(wait: str) -> None:
    error = refusal(Response(429, {"retry-after": wait}, b'{"code": "quota_exceeded"}'), "http://a")
    assert error.retry_after_s is None or 0 <= error.retry_after_s <= 86_400
