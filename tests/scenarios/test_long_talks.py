"""A conversation that outlives its session."""

from __future__ import annotations

from tests.fakes.realtime_server import Script
from tests.scenarios.conftest import MakeHome
from tests.scenarios.home import tone


def test_a_session_is_replaced_before_the_server_ends_it_and_the_next_one_knows_what_was_said(home: MakeHome) -> None:
    at = home(Script(reply=tone(0.5, 24_000).tobytes()), "[realtime]\nsession_limit_s = 10\n")
    at.daemon.command("say", text="My name is Ada.")
    at.daemon.until_phase("speaking")
    at.daemon.until_phase("idle")
    at.daemon.until(lambda: len(at.server.connections) == 2, "the next session")
    at.daemon.until(lambda: at.server.connections[0].close_code is not None, "the end of the first")
    assert at.daemon.command("status")["link"] == "up"
    at.daemon.command("say", text="What is my name?")
    at.heard("response.create", count=2)
    at.daemon.until_phase("speaking")
    said = [event["item"]["content"][0]["text"] for event in at.server.of("conversation.item.create")]
    assert said == ["My name is Ada.", "My name is Ada.", "This is the answer.", "What is my name?"]
    assert "cue_offline" not in at.daemon.command("status")["counters"]
