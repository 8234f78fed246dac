"""Every refusal of the protocol, through the whole daemon: what is said, what is shown, what the status tells."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.credentials import enrolment
from appliance.credentials.enrolment import Enrolment
from appliance.errors import Secret
from tests.credentials.server import Scripted, http, scripted
from tests.scenarios.conftest import MakeHome
from tests.scenarios.home import Home, Town


@pytest.fixture
def refusing(town: Town) -> Iterator[Scripted]:
    """A service that answers what the test scripts."""
    stack = contextlib.AsyncExitStack()
    server = town.background.run(stack.enter_async_context(scripted()))
    yield server
    town.background.run(stack.aclose())


def status(at: Home) -> dict[str, Any]:
    return at.daemon.command("status")


def enrolled_at(home: MakeHome, server: Scripted, directory: Path) -> Home:
    enrolment.save(Enrolment(server.url, "d_x", Secret("vdt_x")), directory / "state")
    return home(url=server.url, with_token=False)


@pytest.mark.parametrize(
    ("http_status", "code", "led"),
    [
        (401, "invalid_dpop_proof", "error"),
        (403, "device_suspended", "error"),
        (429, "spend_limit", "error"),
        (429, "quota_exceeded", "error"),
        (404, "unknown_profile", "error"),
        (400, "unsupported_transport", "error"),
        (503, "overloaded", "offline"),
        (502, "upstream_unavailable", "offline"),
        (422, "idempotency_key_reused", "offline"),
        (401, "use_dpop_nonce", "offline"),
    ],
)
def test_a_refusal_is_heard_seen_and_told(
    home: MakeHome, refusing: Scripted, tmp_path: Path, http_status: int, code: str, led: str
) -> None:
    headers = {"DPoP_Nonce": "n"} if code == "use_dpop_nonce" else {}
    if code == "quota_exceeded":
        headers = {"Retry_After": "600"}
    refusing.answers = [http(http_status, {"code": code}, **headers) for _ in range(200)]
    at = enrolled_at(home, refusing, tmp_path)
    at.hold(0.4)
    at.daemon.until(lambda: status(at)["counters"].get(f"said_{code}", 0) >= 1, "the words")
    shown = status(at)
    assert (shown["led"], shown["last_error_code"]) == (led, code)
    assert "; " in shown["last_error"], "what happened, and what to do"
    at.daemon.until(lambda: bool(np.any(at.replies())), "a sound")


def test_a_press_within_the_quotas_time_is_told_at_once_and_asks_nobody(
    home: MakeHome, refusing: Scripted, tmp_path: Path
) -> None:
    refusing.answers = [http(429, {"code": "quota_exceeded"}, Retry_After="600") for _ in range(9)]
    at = enrolled_at(home, refusing, tmp_path)
    for count in (1, 2, 3):
        at.hold(0.4)
        at.daemon.until(lambda n=count: status(at)["counters"].get("said_quota_exceeded", 0) == n, "the words")  # type: ignore[misc]
    assert len(refusing.heard) == 1
    assert "nothing is asked" in status(at)["last_error"]
