"""``voice-appliance doctor`` beside a real daemon, card and service: each thing that is broken has its line."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from appliance.panel import ctl
from appliance.provisioning.settings import DATABASE_NAME
from tests.command import Done, call, run
from tests.fakes.realtime_server import Script
from tests.scenarios.conftest import MakeHome
from tests.scenarios.home import Home, Town, tone

REPLY = Script(reply=tone(0.3, 24_000).tobytes())


def asked(at: Home) -> Done:
    return run("doctor", "--config", str(at.daemon.config_path), **at.card.environment)


def line(done: Done, name: str) -> str:
    """The one finding of that name."""
    found = [one for one in done.stdout.splitlines() if one[8:].startswith(f"{name}: ")]
    assert len(found) == 1, (name, done.stdout, done.stderr)
    return found[0]


def troubles(done: Done) -> set[str]:
    assert done.stderr == ""
    found = {one[8:].partition(":")[0] for one in done.stdout.splitlines() if one.startswith("trouble ")}
    assert done.returncode == bool(found)
    return found


def talked(home: MakeHome, **more: object) -> Home:
    """A home that has enrolled, as each does at its first turn."""
    at = home(REPLY, "[audio]\ncues = false\n", **more)
    at.hold(0.5)
    at.daemon.until(lambda: len(at.daemon.turns()) == 1, "a turn")
    return at


def test_a_healthy_appliance_is_healthy(home: MakeHome) -> None:
    at = talked(home)
    done = asked(at)
    assert troubles(done) == set(), done.stdout
    assert done.stdout.splitlines()[-1] == "all is well"
    for words in ("configuration: ", "daemon: idle, link up", "microphone: ok, closed now", "disk: ", "state: "):
        assert f"ok      {words}" in done.stdout
    assert "answers, unencrypted, inside the house" in line(done, "provisioning")
    assert "known as d_" in line(done, "enrolment")
    assert line(done, "clock") == "ok      clock: agrees with the provisioning service's"
    assert not at.card.capture_open


def minted(town: Town) -> int:
    path = town.provisioning.directory / DATABASE_NAME
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM mints").fetchone()[0])


def test_nothing_is_minted_and_no_card_opened_beside_the_daemon(home: MakeHome, town: Town) -> None:
    at = talked(home)
    events, before = len(at.card.events()), minted(town)
    asked(at)
    assert len(at.card.events()) == events
    assert minted(town) == before > 0


def test_one_that_is_not_enrolled_is_told_how(home: MakeHome) -> None:
    at = home(REPLY, with_token=False)
    done = asked(at)
    assert troubles(done) == {"enrolment"}
    assert "press the button and have the code approved" in line(done, "enrolment")
    at.hold(0.5)
    at.daemon.until(lambda: at.daemon.command("status")["enrolment"]["state"] == "waiting", "a code")
    code = at.daemon.command("status")["enrolment"]["code"]
    assert f"voice-provisioning approve {code}" in line(asked(at), "enrolment")


def test_one_that_its_service_refuses_is_told_by_the_service(home: MakeHome, town: Town) -> None:
    at = talked(home)
    device = line(asked(at), "enrolment").split("known as ")[1].split(",")[0]
    town.provisioning.command("devices", "suspend", device)
    assert "this device is suspended; its owner can lift that" in line(asked(at), "enrolment")
    town.provisioning.command("devices", "revoke", device)
    done = asked(at)
    assert troubles(done) == {"enrolment"}
    assert "not (any more) enrolled" in line(done, "enrolment")


def test_a_muted_microphone_that_is_dead_is_told(home: MakeHome) -> None:
    at = talked(home)
    at.daemon.command("press")
    at.daemon.until(lambda: at.daemon.command("status")["microphone"] == "zero", "a dead microphone")
    at.daemon.command("mute")
    done = asked(at)
    assert "microphone" in troubles(done)
    assert "only zeros; is it muted by a switch" in line(done, "microphone")
    assert line(done, "mute").startswith("note ")


def test_a_daemon_that_hangs_is_told(home: MakeHome, monkeypatch: pytest.MonkeyPatch) -> None:
    at = home(REPLY)
    monkeypatch.setattr(ctl, "ANSWER_S", 0.5)
    os.kill(at.daemon.process.pid, signal.SIGSTOP)
    try:
        done = call("doctor", "--config", str(at.daemon.config_path))
    finally:
        os.kill(at.daemon.process.pid, signal.SIGCONT)
    assert "daemon" in troubles(done)
    assert "did not answer within 0.5 s; sudo systemctl restart voice-appliance" in line(done, "daemon")
    assert "loudspeaker" not in done.stdout, "the card is the daemon's"


def silence(at: Home) -> None:
    pass


def noise(at: Home) -> None:
    at.card.say(np.random.default_rng(1).normal(0, 30, 48_000 * 8).astype(np.int16))


def busy(at: Home) -> None:
    at.card.set_busy(True)


def gone(at: Home) -> None:
    at.card.unplug()


@pytest.mark.parametrize(
    ("happens", "microphone", "loudspeaker"),
    [
        (noise, "ok      microphone: vhw, 48000 Hz, 1 channel(s), S16_LE; it hears", "ok      loudspeaker: vhw"),
        (silence, "trouble microphone: the microphone delivers only zeros (channel 0 of vhw)", "ok "),
        (busy, "trouble microphone: cannot open the microphone: Device or resource busy", "trouble "),
        (gone, "trouble microphone: cannot open the microphone: No such device", "trouble "),
    ],
)
def test_without_a_daemon_the_cards_are_tried(
    happens: Callable[[Home], None], microphone: str, loudspeaker: str, home: MakeHome
) -> None:
    at = home(REPLY)
    at.daemon.stop()
    happens(at)
    done = asked(at)
    assert "daemon" in troubles(done)
    assert "sudo systemctl start voice-appliance" in line(done, "daemon")
    assert line(done, "microphone").startswith(microphone)
    assert line(done, "loudspeaker").startswith(loudspeaker)


@contextlib.contextmanager
def closed_port() -> Iterator[str]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def test_a_service_that_is_down_is_told_and_what_hangs_on_it_left_open(home: MakeHome) -> None:
    at = talked(home)
    with closed_port() as url:
        path = at.daemon.config_path
        path.write_text(path.read_text().replace(line(asked(at), "provisioning").split()[2], url))
        done = asked(at)
    assert troubles(done) == {"provisioning", "enrolment"}
    assert "refused the connection; is the provisioning service running" in line(done, "provisioning")
    assert "the configuration names" in line(done, "enrolment")


@pytest.mark.parametrize(
    ("url", "name", "words"),
    [
        ("", "service address", "set [provisioning] url"),
        ("https://nowhere.invalid", "name", "nowhere.invalid cannot be looked up; is there a network"),
        ("http://example.org", "provisioning", "would send secrets unencrypted"),
    ],
)
def test_an_address_that_cannot_be_is_told(url: str, name: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "appliance.toml"
    path.write_text(
        f'[provisioning]\nurl = "{url}"\n[state]\ndirectory = "{tmp_path / "state"}"\n'
        f'[control]\nsocket = "{tmp_path / "socket"}"\n'
    )
    assert words in call("doctor", "--config", str(path)).stdout, name


def test_a_broken_configuration_does_not_keep_it_from_looking_on(tmp_path: Path) -> None:
    path = tmp_path / "appliance.toml"
    path.write_text("[audio]\nvolum = 3\n")
    done = call("doctor", "--config", str(path))
    assert troubles(done) == {"configuration"}
    assert "did you mean audio.volume?" in line(done, "configuration")
    assert line(done, "clock")
