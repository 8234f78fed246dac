"""A daemon that was killed goes on where it was: mute, volume, and what was said."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from appliance.kept import Kept, load
from tests.fakes.realtime_server import Script
from tests.scenarios.conftest import MakeHome
from tests.scenarios.home import Daemon, Home, tone


def killed_and_back(at: Home, environment: dict[str, str]) -> None:
    """Kill it, and start it again as systemd would."""
    at.daemon.process.kill()
    assert at.daemon.process.wait(10) == -signal.SIGKILL
    at.daemon.socket_path.unlink()
    config = at.daemon.config_path.read_text()
    at.daemon = Daemon(at.daemon.config_path.parent, config, {**at.card.environment, **environment})


def kept(directory: Path) -> Kept:
    return load(directory / "state")


@pytest.mark.parametrize("in_run", [True, False])
def test_what_was_said_outlives_a_kill_where_it_stays_in_memory(in_run: bool, home: MakeHome, tmp_path: Path) -> None:
    environment = {"RUNTIME_DIRECTORY": str(tmp_path / "run")} if in_run else {}
    script = Script(reply=tone(0.3, 24_000).tobytes(), words="The capital is Paris.")
    at = home(script, "[audio]\ncues = false\n", environment=environment)
    at.hold(0.5)
    at.daemon.until(lambda: len(at.daemon.turns()) == 1, "a turn")
    at.daemon.command("volume", percent=35)
    at.daemon.command("mute")
    at.daemon.until(lambda: kept(tmp_path) == Kept(muted=True, volume=35, volume_over=80), "what is kept")
    at.server.begin(script)
    killed_and_back(at, environment)
    status = at.daemon.command("status")
    assert (status["muted"], status["volume"]) == (True, 35)
    at.daemon.command("mute")
    at.hold(0.5)
    at.daemon.until(lambda: len(at.daemon.turns()) == 1, "a turn")
    told = [one.event["item"] for one in at.server.heard if one.event["type"] == "conversation.item.create"]
    words = [part.get("text", "") for item in told for part in item.get("content", [])]
    assert ("The capital is Paris." in words) is in_run
    assert at.daemon.log().count("enrolled at") == 0
