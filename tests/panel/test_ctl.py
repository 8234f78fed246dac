from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance.panel import ctl
from appliance.panel.control import ControlServer
from appliance.panel.ctl import EXIT_NOT_ALLOWED, EXIT_NOT_RUNNING, add_ctl_arguments, run_ctl
from appliance.panel.picture import MAX_PICTURE_BYTES, read_picture
from tests.panel.served import Appliance
from tests.panel.test_picture import PNG


class Talkative(Appliance):
    def status(self) -> dict[str, object]:
        return {
            "phase": "idle",
            "muted": False,
            "uptime_s": 12.5,
            "microphone": "zero",
            "duplex": {"mode": "half", "reason": "the echo is out of control"},
            "calibration": {
                "at": "2026-11-27T10:00:00+00:00",
                "delay_ms": 40.5,
                "return_loss_db": 20.0,
                "erle_db": None,
                "full_duplex": True,
            },
            "counters": {"xruns": 0, "reconnects": 2},
            "last_error": "link\x1b[2J lost",
            "session": None,
        }


class Daemon:
    """A control server in a thread of its own, as the client has it in another process."""

    def __init__(self, path: Path) -> None:
        self.appliance = Talkative()
        self.loop = asyncio.new_event_loop()
        self.server = ControlServer(path, self.appliance)
        self.loop.run_until_complete(self.server.start())
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def tell(self, record: dict[str, object]) -> None:
        self.loop.call_soon_threadsafe(self.appliance.records.put_nowait, record)

    def close(self) -> None:
        if not self.thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(self.server.close(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


@pytest.fixture
def daemon(path: Path) -> Iterator[Daemon]:
    served = Daemon(path)
    yield served
    served.close()


def parse(path: Path, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_ctl_arguments(parser)
    return parser.parse_args(["--socket", str(path), *words])


@pytest.fixture
def ask(path: Path) -> Callable[..., int]:
    return lambda *words: run_ctl(parse(path, *words))


def test_the_button_is_silent_and_the_rest_answers(
    ask: Callable[..., int], daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "pixel.png"
    picture.write_bytes(PNG)
    assert [ask(*words) for words in (["press"], ["release"], ["tap"], ["say", "hello", "there"])] == [0] * 4
    assert ask("show", str(picture)) == 0
    assert capsys.readouterr() == ("", "")
    assert ask("mute") == ask("mute") == ask("volume", "40") == 0
    assert capsys.readouterr() == ("muted\nnot muted\nvolume 40 %\n", "")
    assert daemon.appliance.told == [
        ("press", None),
        ("release", None),
        ("tap", None),
        ("say", "hello there"),
        ("show", read_picture(picture)),
        ("volume", 40),
    ]


def test_the_largest_picture(ask: Callable[..., int], daemon: Daemon, tmp_path: Path) -> None:
    picture = tmp_path / "large.png"
    picture.write_bytes(PNG.ljust(MAX_PICTURE_BYTES, b"\0"))
    assert ask("show", str(picture)) == 0
    assert len(daemon.appliance.told) == 1


@pytest.mark.usefixtures("daemon")
def test_status_in_words(ask: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("status") == 0
    assert capsys.readouterr().out.splitlines() == [
        "phase        idle",
        "muted        no",
        "uptime s     12.5",
        "microphone   delivers only zeros",
        "duplex       half: the echo is out of control",
        "calibration  echo after 40.5 ms, 20.0 dB softer than played (2026-11-27T10:00:00+00:00)",
        "counters     reconnects 2",
        "last error   link [2J lost",
        "session      -",
    ]


@pytest.mark.usefixtures("daemon")
def test_status_as_json_is_one_line(ask: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("status", "--json") == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out)["counters"] == {"xruns": 0, "reconnects": 2}


@pytest.mark.usefixtures("daemon")
@pytest.mark.parametrize(
    ("words", "complaint"),
    [(["say", "fail"], "it is muted; unmute it"), (["volume", "101"], "0 to 100"), (["show", "/nowhere"], "/nowhere")],
)
def test_a_refusal_goes_to_stderr(
    ask: Callable[..., int], capsys: pytest.CaptureFixture[str], words: list[str], complaint: str
) -> None:
    assert ask(*words) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert complaint in err
    assert err.count("\n") == 1


def test_a_daemon_that_does_not_run(ask: Callable[..., int], path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("press") == EXIT_NOT_RUNNING
    assert "systemctl start voice-appliance" in capsys.readouterr().err
    with socket.socket(socket.AF_UNIX) as dead:
        path.parent.mkdir()
        dead.bind(str(path))
    assert ask("press") == EXIT_NOT_RUNNING


@pytest.mark.usefixtures("daemon")
def test_a_user_outside_the_group(ask: Callable[..., int], path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.chmod(0)
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        code = ask("press")
    finally:
        os.seteuid(me)
    assert code == EXIT_NOT_ALLOWED
    assert "usermod -aG voice-appliance" in capsys.readouterr().err


def listening(path: Path) -> socket.socket:
    stranger = socket.socket(socket.AF_UNIX)
    path.parent.mkdir()
    stranger.bind(str(path))
    stranger.listen()
    return stranger


@pytest.mark.parametrize(
    ("answer", "complaint"), [(b"", "without an answer"), (b'{"ok"', "without an answer"), (b"SSH-2.0\n", "not JSON")]
)
def test_a_stranger_on_the_socket(
    ask: Callable[..., int], path: Path, capsys: pytest.CaptureFixture[str], answer: bytes, complaint: str
) -> None:
    with listening(path) as stranger:

        def serve() -> None:
            with stranger.accept()[0] as guest:
                guest.recv(1000)
                guest.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert ask("tap") == 1
        thread.join()
    assert complaint in capsys.readouterr().err


def test_a_daemon_that_hangs(
    ask: Callable[..., int], path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ctl, "ANSWER_S", 0.1)
    with listening(path):
        assert ask("tap") == 1
    assert "did not answer within 0.1 s" in capsys.readouterr().err


def test_a_refusal_before_everything_was_read_is_heard(
    ask: Callable[..., int], path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "large.png"
    picture.write_bytes(PNG.ljust(MAX_PICTURE_BYTES, b"\0"))
    with listening(path) as stranger:

        def refuse() -> None:
            with stranger.accept()[0] as guest:
                guest.sendall(b'{"ok":false,"error":"busy","hint":"later"}\n')

        thread = threading.Thread(target=refuse)
        thread.start()
        assert ask("show", str(picture)) == 1
        thread.join()
    assert "busy; later" in capsys.readouterr().err


def test_a_follower_waits_for_records_as_long_as_it_takes(
    ask: Callable[..., int], daemon: Daemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ctl, "ANSWER_S", 0.2)
    quiet = threading.Timer(0.5, daemon.close)
    quiet.start()
    assert ask("status", "--follow") == EXIT_NOT_RUNNING
    quiet.join()
    assert "went away" in capsys.readouterr().err


PROGRAM = """
import argparse, sys
from appliance.panel.ctl import add_ctl_arguments, run_ctl
parser = argparse.ArgumentParser()
add_ctl_arguments(parser)
sys.exit(run_ctl(parser.parse_args()))
"""


def start(path: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, "--socket", str(path), *words]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=buffered)


def test_following_flushes_each_line_and_ends_with_the_daemon(path: Path, daemon: Daemon) -> None:
    with start(path, "status", "--json", "--follow") as client:
        assert client.stdout is not None
        assert client.stderr is not None
        assert json.loads(client.stdout.readline())["phase"] == "idle"
        for turn in (1, 2):
            daemon.tell({"event": "turn", "turn": turn, "cost_usd": None})
            assert json.loads(client.stdout.readline()) == {"event": "turn", "turn": turn, "cost_usd": None}
        daemon.close()
        assert client.stdout.read() == ""
        assert "the daemon went away" in client.stderr.read()
        assert client.wait(10) == EXIT_NOT_RUNNING


def test_following_in_words(path: Path, daemon: Daemon) -> None:
    with start(path, "status", "--follow") as client:
        assert client.stdout is not None
        for _ in range(9):  # the status
            client.stdout.readline()
        daemon.tell({"event": "turn", "turn": 1, "heard_ms": 900, "truncated_at_ms": None, "usage": {"tokens": 5}})
        assert client.stdout.readline() == "turn 1  heard_ms 900\n"
        client.send_signal(2)
        assert client.wait(10) == 130


def test_a_reader_that_has_enough_is_no_error(path: Path, daemon: Daemon) -> None:
    with start(path, "status", "--json", "--follow") as client:
        assert client.stdout is not None
        assert client.stderr is not None
        client.stdout.readline()
        client.stdout.close()
        daemon.tell({"event": "turn"})
        assert client.wait(10) == 0
        assert client.stderr.read() == ""


def test_no_event_loop_is_loaded_for_a_press() -> None:
    program = "import sys, appliance.panel.ctl; sys.exit('asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("words", [[], ["dance"], ["volume", "loud"], ["say"]])
def test_wrong_usage(path: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(path, *words)
    assert "usage" in capsys.readouterr().err


def test_an_enrolment_is_told_in_words() -> None:
    waiting = {"state": "waiting", "code": "019-450-730", "url": "http://a/activate", "expires_s": 540}
    told = ctl._status({"ok": True, "enrolment": waiting})
    assert told.split(maxsplit=1)[1] == "waiting: approve 019-450-730 at http://a/activate within 540 s"
    assert ctl._status({"enrolment": {"state": "enrolled"}}).split() == ["enrolment", "enrolled"]
