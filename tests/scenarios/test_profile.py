"""The whole daemon with a service whose profile says what the device shall be."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.credentials import enrolment
from appliance.credentials.enrolment import Enrolment
from appliance.errors import Secret
from tests.credentials.server import Scripted, http, scripted
from tests.fakes.realtime_server import Script
from tests.scenarios.conftest import MakeHome
from tests.scenarios.home import Town

SAID = {"instructions": "You are the kitchen's.", "audio": {"output": {"voice": "cedar", "speed": 1.25}}}


@pytest.fixture
def granting(town: Town) -> Iterator[Scripted]:
    """A service that answers what the test scripts."""
    stack = contextlib.AsyncExitStack()
    server = town.background.run(stack.enter_async_context(scripted()))
    yield server
    town.background.run(stack.aclose())


def grant(town: Town, **more: object) -> bytes:
    connect = {"url": town.server.url, "model": "gpt-realtime-2"}
    content = {"session_id": "s", "kind": "client_secret", "value": "ek_of_the_test", "expires_in": 60}
    return http(201, {**content, "connect": connect, **more})


@pytest.mark.parametrize("bound", [True, False])
def test_a_profile_reaches_the_model_with_the_devices_tools(
    town: Town, home: MakeHome, granting: Scripted, tmp_path: Path, bound: bool
) -> None:
    granting.answers = [grant(town, session=SAID, **({"tools": "bound"} if bound else {}))]
    enrolment.save(Enrolment(granting.url, "d_x", Secret("vdt_x")), tmp_path / "state")
    at = home(settings='[realtime]\nvoice = "ash"\n', url=granting.url, with_token=False)
    at.daemon.command("say", text="Hello.")
    session: dict[str, Any] = at.heard("session.update")["session"]
    at.heard("response.create")
    assert session["instructions"] == SAID["instructions"]
    assert session["audio"]["output"].items() >= {"voice": "ash", "speed": 1.25}.items(), "what the owner wrote wins"
    declared = json.loads(granting.heard[0].split(b"\r\n\r\n", 1)[1])["tools"]
    assert [tool["name"] for tool in declared] == [
        "cancel_timers",
        "get_time",
        "list_timers",
        "set_timer",
        "set_volume",
    ]
    assert session.get("tools") == (None if bound else declared)


def test_tools_that_the_provider_runs_lead_to_an_answer(home: MakeHome) -> None:
    script = Script(reply=bytes(24_000), remote=[{"id": "mcp_1"}, {"id": "mcp_2"}], remote_s=0.1)
    at = home(script)
    at.daemon.command("say", text="Who is at the door?")
    at.heard("response.create", 2)
    at.daemon.until(lambda: len(at.daemon.turns()) == 1, "an answer")
    script.leave_for = "unlock"
    at.daemon.command("say", text="Let them in.")
    at.heard("response.create", 4)
    at.daemon.until(lambda: len(at.daemon.turns()) == 2, "another answer")
    denials = [event["item"] for event in at.server.of("conversation.item.create") if "approve" in event["item"]]
    assert [(denial["approval_request_id"], denial["approve"]) for denial in denials] == [("leave_1", False)]
    assert "'unlock' of 'home'" in at.daemon.log()
    assert len(at.server.of("response.create")) == 4
    assert all(turn["heard_ms"] for turn in at.daemon.turns())
    assert at.daemon.command("status")["counters"].get("cue_error", 0) == 0
