"""What the person meets when something fails, and what an operator reads."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.fakes.card import VirtualCard
from tests.fakes.card.session import CardFactory
from tests.fakes.realtime_server import Script
from tests.scenarios.conftest import MakeHome
from tests.scenarios.home import ROOT, Daemon, spans_of_sound, tone
from tests.scenarios.voices import go_forward

RATE = 48_000


def test_sigterm_in_mid_reply_fades_closes_and_exits_zero(home: MakeHome) -> None:
    at = home(Script(reply=tone(6.0, 24_000).tobytes()), "[audio]\ncues = false\n")
    at.hold(0.5)
    at.daemon.until_phase("speaking")
    time.sleep(0.5)
    began = time.monotonic()
    assert at.daemon.stop() == 0
    assert time.monotonic() - began < 2.0
    spans = list(spans_of_sound(at.replies(), RATE))
    assert len(spans) == 1
    assert not at.daemon.socket_path.exists()
    assert at.heard("conversation.item.truncate")
    assert not at.card.playback_open


def test_question_survives_a_session_that_breaks_and_is_asked_again(home: MakeHome) -> None:
    at = home(Script(reply=tone(0.5, 24_000).tobytes(), silent=True))
    voice = go_forward(RATE)
    at.daemon.command("press")
    at.card.say(voice)
    time.sleep(1.5)
    at.daemon.command("release")
    at.heard("response.create")
    first = at.server.pcm
    at.server.script.silent = False
    at.server.audio.clear()
    at.background.run(at.server.hang_up(1006))
    at.heard("response.create", count=2)
    assert at.server.pcm == first, "the same audio, whole and once"
    at.daemon.until_phase("speaking")
    at.daemon.until_phase("idle")


def test_unreachable_service_is_told_once_and_the_next_press_listens(
    town: object, tmp_path: Path, virtual_card: CardFactory
) -> None:
    del town
    card = virtual_card()
    config = _config(tmp_path, "http://127.0.0.1:9")
    daemon = Daemon(tmp_path / "daemon", config, card.environment)
    try:
        daemon.command("press")
        time.sleep(0.5)
        daemon.command("release")
        daemon.until(lambda: daemon.command("status")["counters"].get("cue_offline", 0) == 1, "the offline cue")
        status = daemon.command("status")
        assert status["led"] == "offline"
        assert "cannot reach" in status["last_error"] or "refused" in status["last_error"]
        daemon.command("press")
        daemon.until_phase("listening")
    finally:
        daemon.close()


def test_card_unplugged_and_back(home: MakeHome) -> None:
    at = home(Script(reply=tone(0.5, 24_000).tobytes()))
    at.daemon.command("press")
    at.daemon.until(lambda: at.card.capture_open, "the microphone")
    at.card.unplug()
    at.daemon.until_phase("fault")
    assert "still plugged in" in at.daemon.command("status")["last_error"]
    at.card.plug()
    at.daemon.until_phase("idle")
    at.daemon.command("release")
    at.hold(0.5)
    at.daemon.until_phase("speaking")
    at.daemon.until_phase("idle")


def test_a_missing_microphone_is_told_by_the_loudspeaker_that_is_there(home: MakeHome) -> None:
    at = home(Script(), '[audio]\ncapture = "hw:9"\n')
    at.daemon.command("press")
    at.daemon.until_phase("fault")
    at.daemon.until(lambda: bool(np.any(at.replies())), "the error cue")
    at.daemon.command("release")
    assert "cannot open the microphone" in at.daemon.command("status")["last_error"]
    time.sleep(1.2)  # the card is looked for while the loudspeaker is in use
    assert at.daemon.phase() == "fault"


def test_wrong_configuration_at_reload_changes_nothing_and_a_right_one_is_taken_into_use(home: MakeHome) -> None:
    at = home(Script(reply=tone(0.5, 24_000).tobytes()))
    good = at.daemon.config_path.read_text()
    at.daemon.config_path.write_text(good + "\n[audio]\nvolum = 3\n")
    at.daemon.process.send_signal(signal.SIGHUP)
    at.daemon.until(lambda: "the old one stays" in at.daemon.log(), "the refusal")
    assert at.daemon.command("status")["volume"] == 80
    at.daemon.config_path.write_text(good + "\n[audio]\nvolume = 30\n")
    at.daemon.process.send_signal(signal.SIGHUP)
    at.daemon.until(lambda: at.daemon.log().count("ready:") == 2, "the new start")
    at.daemon.until(at.daemon.socket_path.exists, "the control socket")
    assert at.daemon.command("status")["volume"] == 30


def test_mute_and_volume_survive_a_restart(home: MakeHome, tmp_path: Path) -> None:
    at = home(Script())
    at.daemon.command("mute")
    at.daemon.command("volume", percent=40)
    assert at.daemon.stop() == 0
    again = Daemon(tmp_path / "daemon", at.daemon.config_path.read_text(), at.card.environment)
    try:
        status = again.command("status")
        assert (status["muted"], status["volume"], status["led"]) == (True, 40, "muted")
    finally:
        again.close()


def test_readiness_and_watchdog_are_told_to_systemd(tmp_path: Path, virtual_card: CardFactory) -> None:
    address = tmp_path / "notify.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(address))
        listener.settimeout(10)
        environment = {**virtual_card().environment, "NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "1500000"}
        daemon = Daemon(tmp_path / "daemon", _config(tmp_path, "http://127.0.0.1:9"), environment)
        try:
            told = {listener.recv(4096).decode().split("=")[0] for _ in range(6)}
            assert {"READY", "STATUS", "WATCHDOG"} <= told
            daemon.process.send_signal(signal.SIGTERM)
            while listener.recv(4096) != b"STOPPING=1":
                pass
        finally:
            daemon.close()


def _config(directory: Path, url: str) -> str:
    return f"""
board = "virtual"
[provisioning]
url = "{url}"
enrolment_token_file = "{directory / "token"}"
[panel]
backend = "none"
[control]
socket = "{directory / "daemon" / "control.sock"}"
[state]
directory = "{directory / "state"}"
"""


@pytest.fixture(autouse=True)
def token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("vet_not-a-real-token")


def _run(card: VirtualCard, path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "appliance.cli", *arguments, "--config", str(path)]
    env = {**os.environ, **card.environment}
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


BAD_FILES = {
    "unknown key": ("[audio]\nvolum = 3\n", 78, ["audio.volum", "3", "did you mean audio.volume"]),
    "wrong type": ('[audio]\nvolume = "loud"\n', 78, ["audio.volume", "'loud'", "Expected `int`"]),
    "out of bounds": ("[audio]\nvolume = 300\n", 78, ["audio.volume", "300", "<= 100"]),
    "unknown board": ('board = "virtal"\n', 78, ["board = 'virtal'", "did you mean 'virtual'"]),
    "no microphone": (
        'board = "virtual"\n[audio]\nmicrophones = [5]\n',
        1,
        ["microphones = [5]", "1 channel", "channels 0 to 0"],
    ),
    "absent device": ('[audio]\ncapture = "hw:9"\n', 1, ["cannot open the microphone", "hw:9", "is it plugged in?"]),
    "not TOML": ("board = \n", 78, ["not TOML", "line 1"]),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_input_is_one_line_with_key_value_and_remedy(case: str, tmp_path: Path, virtual_card: CardFactory) -> None:
    text, code, words = BAD_FILES[case]
    path = tmp_path / "bad.toml"
    path.write_text(text + f'\n[state]\ndirectory = "{tmp_path / "state"}"\n' if "[state]" not in text else text)
    done = _run(virtual_card(), path, "check")
    assert done.returncode == code, done.stdout + done.stderr
    line = next(li for li in (done.stdout + done.stderr).splitlines() if words[0] in li and "#" not in li)
    for word in words:
        assert word in line


def test_full_disk_at_identity_creation_is_told(tmp_path: Path, virtual_card: CardFactory) -> None:
    """A file size limit of zero is the closest thing to a full disk that needs no root."""
    path = tmp_path / "a.toml"
    path.write_text(_config(tmp_path, "http://127.0.0.1:9"))
    (tmp_path / "daemon").mkdir()
    command = f'ulimit -f 0; exec "{sys.executable}" -B -m appliance.cli run --config "{path}"'
    env = {**os.environ, **virtual_card().environment}
    done = subprocess.run(
        ["bash", "-c", command], env=env, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert "identity.jwk" in done.stderr
    assert "free some space" in done.stderr or "lift it" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_refused_credential_is_told(home: MakeHome) -> None:
    at = home(Script(refuse_status=401))
    at.daemon.command("press")
    at.daemon.until_phase("fault")
    status = at.daemon.command("status")
    assert status["led"] == "error"
    assert "refuses the session credential" in status["last_error"]
    assert np.any(at.replies()), "the person hears of it"
