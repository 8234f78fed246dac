"""The command: exit codes, and one line for every failure."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from appliance import __version__, calibrated, cli, kept
from appliance.config import load
from appliance.credentials import enrolment
from appliance.credentials.identity import Identity
from appliance.errors import Secret
from tests import codecs
from tests.command import call, failed, run
from tests.fakes.card import VirtualCard
from tests.fakes.card.mixer import VirtualMixer
from tests.fakes.card.session import CardFactory
from tests.scenarios.home import ROOT


@pytest.fixture
def card(virtual_card: CardFactory) -> VirtualCard:
    return virtual_card()


def config(directory: Path, url: str = "", more: str = "") -> str:
    path = directory / "appliance.toml"
    more = more if "board = " in more else f'board = "virtual"\n{more}'
    path.write_text(
        f'{more}\n[provisioning]\nurl = "{url}"\n[panel]\nbackend = "none"\n'
        f'[control]\nsocket = "{directory / "control.sock"}"\n[state]\ndirectory = "{directory / "state"}"\n'
    )
    return str(path)


# --- arguments ---


def test_version() -> None:
    done = call("--version")
    assert (done.returncode, done.stdout) == (0, f"voice-appliance {__version__}\n")


@pytest.mark.parametrize("arguments", [[], ["fly"], ["check", "--speed", "3"], ["ctl"], ["ctl", "volume", "loud"]])
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    done = call(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: voice-appliance")


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "check",
        "devices",
        "enrol",
        "reset",
        "calibrate",
        "doctor",
        "bundle",
        "last-word",
        "import",
        "setup",
        "demo",
        "ctl",
        "update",
    ],
)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.parser().parse_args([command, "--help"])
    assert left.value.code == 0
    assert f"voice-appliance {command}" in capsys.readouterr().out


def test_the_start_does_not_load_what_only_some_commands_need() -> None:
    program = "import sys, appliance.cli as c; c.parser(); print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"numpy", "asyncio", "cryptography", "websockets", "ssl", "alsaaudio"}


# --- a bad configuration is 78 ---


@pytest.mark.parametrize("command", ["run", "check", "enrol", "reset", "calibrate", "devices"])
def test_a_bad_configuration_is_78(command: str, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("[audio]\nvolum = 3\n")
    made = run if command == "run" else call
    failed(made(command, "--config", str(path)), 78, str(path), "audio.volum = 3", "did you mean audio.volume?")


def test_an_absent_configuration_is_78(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed(call("check", "--config", str(tmp_path / "none")), 78, "no such file", "--config")
    monkeypatch.setenv("VOICE_APPLIANCE_CONFIG", str(tmp_path / "other"))
    failed(call("check"), 78, "other: no such file")


def test_a_secret_in_the_configuration_does_not_reach_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('[realtime]\nvoice = "x"\nnote = "sk-proj-abcdefghij"\n')
    done = call("check", "--config", str(path))
    failed(done, 78, "realtime.note")
    assert "abcdefghij" not in done.stderr


# --- run: what can be in the way ---


def test_run_with_a_state_directory_that_cannot_be(tmp_path: Path, card: VirtualCard) -> None:
    path = config(tmp_path)
    (tmp_path / "state").write_text("a file")
    failed(run("run", "--config", path, **card.environment), 1, "state directory", "choose another")


def test_run_with_a_control_socket_that_cannot_be(tmp_path: Path, card: VirtualCard) -> None:
    path = Path(config(tmp_path))
    path.write_text(path.read_text().replace("control.sock", "appliance.toml/control.sock"))
    done = run("run", "--config", str(path), **card.environment)
    lines = done.stderr.splitlines()
    assert done.returncode == 78
    assert "control.socket = " in lines[-1]
    assert "Traceback" not in done.stderr


def test_run_without_microphones(tmp_path: Path, card: VirtualCard) -> None:
    boards = tmp_path / "boards"
    boards.mkdir()
    (boards / "deaf.toml").write_text('name = "Deaf"\n[capture]\nmicrophones = []\n')
    path = config(tmp_path, more='board = "deaf"')
    done = run("run", "--config", path, VOICE_APPLIANCE_HARDWARE=str(boards), **card.environment)
    failed(done, 78, "no microphone")


# --- check ---


def test_check_shows_origins_and_tries_everything(tmp_path: Path, card: VirtualCard) -> None:
    path = config(tmp_path, "http://127.0.0.1:9")
    done = run("check", "--config", path, **card.environment)
    assert done.returncode == 1, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert 'audio.capture = "vhw"  # board virtual' in lines
    assert f'provisioning.url = "http://127.0.0.1:9"  # {path}' in lines
    assert "conversation.hold_ms = 350  # default" in lines
    assert [line.split(":")[0] for line in lines[-4:]] == [
        "microphone   ok",
        "loudspeaker  ok",
        "identity     ok",
        "enrolment    FAILED",
    ]
    assert "run `voice-appliance enrol`" in lines[-1]
    assert not (tmp_path / "state").exists(), "checking makes nothing: run by root, it would be root's"


@pytest.mark.parametrize("there", [True, False])
def test_check_makes_the_mixer_settings_of_a_board(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixer = VirtualMixer(tmp_path / "mixer", "seeed2micvoicec", codecs.WM8960 if there else codecs.AIC3X)
    for name, value in mixer.environment.items():
        monkeypatch.setenv(name, value)
    done = call("check", "--config", config(tmp_path, more='board = "respeaker-2mic"'))
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("mixer ")]
    if there:
        assert line == "mixer        ok: 13 setting(s) of the board made"
        assert mixer.values()["Speaker Playback Volume"] == (121, 121)
    else:
        assert line.startswith("mixer        FAILED: mixer control 'Left Output Mixer PCM' of hw:CARD=seeed2micvoicec")
        assert "(and 12 more)" in line


def test_check_of_a_device_that_moved_says_so(tmp_path: Path) -> None:
    path = config(tmp_path, "http://127.0.0.1:9")
    Identity.load_or_create(tmp_path / "state")
    enrolment.save(enrolment.Enrolment("http://old.example", "d_x", Secret("vdt_abcdefgh")), tmp_path / "state")
    done = call("check", "--config", path)
    assert done.returncode == 1
    assert "not enrolled yet at http://127.0.0.1:9 (but at http://old.example)" in done.stdout
    assert "vdt_abcdefgh" not in done.stdout + done.stderr


# --- enrol and reset ---


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (None, 78, ["--token-file", "No such file"]),
        (b"\xff\xfe", 78, ["--token-file", "not text"]),
        (b"\n", 78, ["no enrolment token"]),
    ],
)
def test_enrol_with_a_bad_token_file(content: bytes | None, code: int, words: list[str], tmp_path: Path) -> None:
    token = tmp_path / "token"
    if content is not None:
        token.write_bytes(content)
    failed(call("enrol", "--config", config(tmp_path, "http://127.0.0.1:9"), "--token-file", str(token)), code, *words)


def test_enrol_without_a_service(tmp_path: Path) -> None:
    failed(call("enrol", "--config", config(tmp_path)), 1, "no provisioning service", "[provisioning] url")


def test_reset_without_anybody_to_ask_changes_nothing(tmp_path: Path) -> None:
    path = config(tmp_path)
    Identity.load_or_create(tmp_path / "state")
    done = call("reset", "--config", path, stdin="")
    assert done.returncode == 1
    assert "nothing was changed" in done.stdout
    assert list((tmp_path / "state").iterdir())


@pytest.mark.parametrize("name", ["identity.jwk", "enrolment.json"])
def test_reset_works_on_damaged_files_above_all(name: str, tmp_path: Path) -> None:
    path = config(tmp_path, "http://127.0.0.1:9")
    Identity.load_or_create(tmp_path / "state")
    enrolment.save(enrolment.Enrolment("http://127.0.0.1:9", "d_x", Secret("vdt_x")), tmp_path / "state")
    (tmp_path / "state" / name).write_text("{")
    done = call("reset", "--config", path, "--yes")
    assert done.returncode == 0, done.stderr
    assert "not signed out" in done.stdout
    assert list((tmp_path / "state").iterdir()) == []


# --- the rest ---


def test_devices_lists_cards_boards_and_the_configured_one(tmp_path: Path, card: VirtualCard) -> None:
    done = run("devices", "--config", config(tmp_path), **card.environment)
    assert done.returncode == 0, done.stderr
    assert "vhw" in done.stdout
    assert "  virtual " in done.stdout
    assert "configured:    virtual" in done.stdout


# --- calibrate ---


def noisy(card: VirtualCard) -> VirtualCard:
    card.say(np.random.default_rng(1).normal(0, 10, (20 * card.rate, 1)).astype(np.int16))
    return card


def test_calibrate_says_what_it_found_and_keeps_it(tmp_path: Path, virtual_card: CardFactory) -> None:
    card = noisy(virtual_card(echo_delay=1920, echo_gain=0.3))
    path = config(tmp_path)
    done = run("calibrate", "--config", path, **card.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "Please be quiet for five seconds: it plays a noise at volume 80."
    assert any(line.split()[:2] == ["round", "trip"] and abs(float(line.split()[2]) - 40) < 2 for line in lines)
    assert lines[-2].startswith("full duplex: it hears you while it speaks; ")
    assert lines[-1].startswith(f"kept in {tmp_path / 'state' / calibrated.FILE_NAME}; ")
    assert "systemctl reload" in lines[-1]
    found = calibrated.load(tmp_path / "state", calibrated.key_of(load(Path(path))))
    assert found is not None
    assert found.loop.form == "full"
    assert found.loop.delay_ms == pytest.approx(40.0, abs=2.0)
    entry = json.loads((tmp_path / "state" / calibrated.FILE_NAME).read_text())["loops"][0]
    assert (entry["volume_percent"], entry["version"]) == (80, __version__)
    assert datetime.fromisoformat(entry["at"]).tzinfo is not None


def test_calibrate_of_a_loop_that_cannot_be_cancelled(tmp_path: Path, virtual_card: CardFactory) -> None:
    card = noisy(virtual_card(echo_delay=1920, echo_gain=8.0))
    kept.save(tmp_path / "state", kept.Kept(volume=70, volume_over=80))
    done = run("calibrate", "--config", config(tmp_path), **card.environment)
    assert done.returncode == 0, "it was measured: that is what was asked for"
    assert "at volume 70." in done.stdout, "at the volume that the person has chosen"
    verdict = done.stdout.splitlines()[-2]
    assert verdict.startswith("half duplex: it does not listen while it speaks, because the microphone clips")
    assert "alsamixer" in verdict


def test_calibrate_with_a_dead_microphone_is_no_measurement(tmp_path: Path, card: VirtualCard) -> None:
    done = run("calibrate", "--config", config(tmp_path), **card.environment)
    assert done.returncode == 1
    assert "channel 0         delivers nothing" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("nothing is known: the microphone delivers nothing")
    assert not (tmp_path / "state").exists()


def test_calibrate_that_cannot_be_kept_is_a_failure(tmp_path: Path, virtual_card: CardFactory) -> None:
    (tmp_path / "state").write_text("a file")
    card = noisy(virtual_card(echo_delay=1920, echo_gain=0.3))
    done = run("calibrate", "--config", config(tmp_path), **card.environment)
    assert done.returncode == 1
    assert "full duplex" in done.stdout
    assert "the calibration is not kept" in done.stderr
    assert "kept in" not in done.stdout


def test_calibrate_while_the_appliance_uses_the_card(tmp_path: Path, card: VirtualCard) -> None:
    card.set_busy(True)
    path = config(tmp_path)
    failed(call("calibrate", "--config", path), 1, "busy", "stop that program")
    with socket.socket(socket.AF_UNIX) as appliance:
        appliance.bind(str(tmp_path / "control.sock"))
        appliance.listen()
        done = call("calibrate", "--config", path)
    failed(done, 1, "the running appliance is using the sound card", "systemctl stop voice-appliance")


def test_calibrate_in_silence_is_refused(tmp_path: Path, card: VirtualCard) -> None:
    failed(call("calibrate", "--config", config(tmp_path, more="[audio]\nvolume = 0")), 1, "volume is 0", "ctl volume")
    assert card.events() == []


def test_calibrate_without_a_card_is_told(tmp_path: Path) -> None:
    path = config(tmp_path, more='[audio]\ncapture = "hw:9"\nplayback = "hw:9"')
    failed(call("calibrate", "--config", path), 1, "hw:9", "is it plugged in?")


def test_calibrate_of_a_channel_that_the_card_has_not(tmp_path: Path, card: VirtualCard) -> None:
    path = config(tmp_path, more="[audio]\nmicrophones = [5]")
    failed(call("calibrate", "--config", path), 1, "the card gives 1 channel(s)", "use channels 0 to 0")
    assert not card.capture_open


def test_calibrate_without_a_microphone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deaf.toml").write_text('name = "Deaf"\n[capture]\nmicrophones = []\n')
    monkeypatch.setenv("VOICE_APPLIANCE_HARDWARE", str(tmp_path))
    failed(call("calibrate", "--config", config(tmp_path, more='board = "deaf"')), 78, "no microphone")


def test_ctl_without_a_daemon_is_69(tmp_path: Path) -> None:
    failed(call("ctl", "--socket", str(tmp_path / "none"), "status"), 69, "daemon is not running", "systemctl start")


def test_a_reader_that_leaves_is_no_error(tmp_path: Path, card: VirtualCard) -> None:
    script = f'"{sys.executable}" -m appliance.cli check --config "{config(tmp_path)}" | head -n 1'
    env = {**os.environ, **card.environment}
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert done.stderr == ""
