"""The daemon as a process: what comes from outside does not end it, what is broken inside does."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance import config as configuration
from appliance.daemon import Daemon
from tests.command import failed, run
from tests.fakes.card import VirtualCard
from tests.fakes.card.session import CardFactory
from tests.scenarios.home import ROOT
from tests.scenarios.home import Daemon as Process

Start = Callable[..., Process]


def config(directory: Path, more: str = "") -> str:
    return (
        f'{more}\n[panel]\nbackend = "none"\n[control]\nsocket = "{directory / "daemon" / "control.sock"}"\n'
        f'[state]\ndirectory = "{directory / "state"}"\n'
    )


@pytest.fixture
def card(virtual_card: CardFactory) -> VirtualCard:
    return virtual_card()


@pytest.fixture
def start(tmp_path: Path, card: VirtualCard) -> Iterator[Start]:
    made: list[Process] = []

    def started(more: str = "") -> Process:
        made.append(Process(tmp_path / "daemon", config(tmp_path, more), card.environment))
        return made[-1]

    yield started
    for one in made:
        one.close()


BROKEN = {
    "not TOML": b"[",
    "nested": b"x = " + b"[" * 5000,
    "huge number": b"x = " + b"1" * 5000,
    "no text": b"\xff\xfe",
    "unknown key": b'api_key = "abcdefgh"',
    "unknown board": b'board = "none"',
    "no microphone": b'board = "deaf"',
}


NONSENSE = (b"\x00\xff\n", b"[" * 50_000 + b"\n", b'{"cmd":"say"}\n', b'{"cmd":"volume","percent":1e9}\n', b"null\n")


def test_a_reload_of_a_broken_file_changes_nothing(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deaf.toml").write_text('name = "Deaf"\n[capture]\nmicrophones = []\n')
    monkeypatch.setenv("VOICE_APPLIANCE_HARDWARE", str(tmp_path))
    at = start()

    def refused(times: int) -> bool:
        return at.log().count("the old one stays") == times

    for number, content in enumerate([*BROKEN.values(), None], 1):
        if content is None:
            at.config_path.unlink()
        else:
            at.config_path.write_bytes(content)
        at.process.send_signal(signal.SIGHUP)
        at.until(functools.partial(refused, number), "the refusal")
    assert at.phase() == "idle"
    assert "abcdefgh" not in at.log()
    assert "Traceback" not in at.log()
    assert at.stop() == 0


def test_a_reload_takes_a_new_file_into_use_in_place(tmp_path: Path, start: Start) -> None:
    at = start()
    assert at.command("status")["volume"] == 80
    at.config_path.write_text(config(tmp_path, "[audio]\nvolume = 33\n"))
    at.process.send_signal(signal.SIGHUP)
    at.until(lambda: at.log().count("ready: board") == 2, "the second start")
    assert at.command("status")["volume"] == 33
    assert at.stop() == 0


def test_a_second_daemon_is_refused_in_one_line_and_the_first_goes_on(start: Start, card: VirtualCard) -> None:
    first = start()
    done = run("run", "--config", str(first.config_path), **card.environment)
    line = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert "already served; another voice-appliance runs" in line
    assert "Traceback" not in done.stderr
    assert first.phase() == "idle"


def test_whatever_is_sent_to_the_control_socket_is_answered_and_survived(start: Start) -> None:
    at = start()
    for line in NONSENSE:
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(at.socket_path))
            link.sendall(line)
            assert b'"ok":false' in link.recv(4096)
    for _ in range(20):  # and not even an unreachable service matters to the button
        at.command("tap")
    for _ in range(20):
        at.command("mute")
    at.command("say", text="\u2028 two\nlines \x1b[2J")
    assert at.command("status")["version"]
    assert all(line.isprintable() for line in at.log().splitlines())
    assert at.stop() == 0


def test_control_socket_in_a_directory_that_is_not_there_yet(tmp_path: Path, card: VirtualCard) -> None:
    text = config(tmp_path).replace("daemon/control.sock", "daemon/a/b/control.sock")
    at = Process.__new__(Process)
    (tmp_path / "daemon").mkdir()
    at.socket_path, at.log_path = tmp_path / "daemon/a/b/control.sock", tmp_path / "daemon/log"
    (tmp_path / "a.toml").write_text(text)
    command = [sys.executable, "-m", "appliance.cli", "run", "--config", str(tmp_path / "a.toml")]
    with at.log_path.open("wb") as log:
        at.process = subprocess.Popen(command, env={**os.environ, **card.environment}, stderr=log, cwd=ROOT)
    try:
        at.until(at.socket_path.exists, "the control socket")
        assert at.phase() == "idle"
        assert at.stop() == 0
    finally:
        at.close()


def test_a_bug_in_a_callback_ends_the_daemon_in_order(
    tmp_path: Path, card: VirtualCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timers, edges and audio facts arrive as callbacks of the loop: no task group sees what fails in them."""
    path = tmp_path / "a.toml"
    path.write_text(config(tmp_path))
    for name, value in card.environment.items():
        monkeypatch.setenv(name, value)

    async def story() -> None:
        daemon = Daemon(configuration.load(path))
        running = asyncio.create_task(daemon.run())
        await daemon.started.wait()
        asyncio.get_running_loop().call_later(0.01, lambda: 1 / 0)
        async with asyncio.timeout(5):
            await running

    with pytest.raises(BaseExceptionGroup) as caught:
        asyncio.run(story())
    assert caught.value.subgroup(ZeroDivisionError)
    assert not (tmp_path / "daemon" / "control.sock").exists()


def test_no_state_directory_no_readiness(tmp_path: Path, card: VirtualCard) -> None:
    (tmp_path / "state").write_text("a file")
    path = tmp_path / "a.toml"
    path.write_text(config(tmp_path))
    failed(run("run", "--config", str(path), **card.environment), 1, "state directory")
    assert not (tmp_path / "daemon").exists()
