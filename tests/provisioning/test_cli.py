"""The command as people use it: in its own process."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from appliance.errors import ConfigError
from appliance.provisioning import addresses, serve
from tests.fakes.upstream import KEY, Answer, FakeUpstream
from tests.provisioning.running import command, make_data

Capsys = pytest.CaptureFixture[str]


def test_init_says_what_to_type_next(tmp_path: Path, capsys: Capsys) -> None:
    data = tmp_path / "data"
    assert command("init", "--data", str(data)) == 0
    shown = capsys.readouterr().out
    assert f"voice-provisioning serve --data {data}" in shown
    assert "openai.key" in shown
    assert command("init", "--data", str(data)) == 0
    assert "made" not in capsys.readouterr().out


def test_a_phone_gets_an_address_that_it_can_reach(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert re.fullmatch(r"(\d+\.){3}\d+|", addresses.own())
    monkeypatch.setattr(addresses, "own", lambda: "192.168.1.10")
    assert command("init", "--data", str(tmp_path)) == 0
    assert "sign-in --url http://192.168.1.10:8787)" in capsys.readouterr().err
    for host, shown in (("0.0.0.0", "192.168.1.10"), ("127.0.0.1", "127.0.0.1")):
        listener = serve.listen(host, 0)
        assert serve.url_of(listener) == f"http://{shown}:{listener.getsockname()[1]}"
        listener.close()


def test_errors_are_one_line_with_a_remedy(tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VOICE_PROVISIONING_DATA", raising=False)
    data = str(tmp_path / "data")
    assert command("serve") == 78
    assert "VOICE_PROVISIONING_DATA" in capsys.readouterr().err
    assert command("serve", "--data", data) == 1
    assert "voice-provisioning init" in capsys.readouterr().err
    command("init", "--data", data)
    for arguments in (
        ("approve", "123-456-789"),
        ("approve", "12"),
        ("devices", "revoke", "d_nobody"),
        ("tokens", "create", "--profile", "none"),
        ("tokens", "create", "--uses", "0"),
    ):
        capsys.readouterr()
        assert command(*arguments, "--data", data) > 0
        said = capsys.readouterr().err
        assert said.startswith("voice-provisioning: ")
        assert said.count("\n") == 1


def test_the_lists_show_no_token(tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICE_PROVISIONING_DATA", str(tmp_path))
    command("init")
    capsys.readouterr()
    assert command("tokens", "create", "--quiet", "--uses", "3") == 0
    token = capsys.readouterr().out.strip()
    assert re.fullmatch(r"vet_[\w-]{43}", token)
    assert command("tokens", "list") == 0
    assert command("devices", "list") == 0
    shown = capsys.readouterr().out
    assert "3 of 3" in shown
    assert token[4:] not in shown


def test_doctor_says_what_to_do(tmp_path: Path, capsys: Capsys) -> None:
    with FakeUpstream() as upstream:
        data = make_data(tmp_path, upstream.url)
        assert command("doctor", "--data", str(data)) == 0
        assert "minted a secret for gpt-realtime-1.5" in capsys.readouterr().out
        upstream.script.append(Answer.failure(401, "invalid_api_key"))
        (tmp_path / "provider.key").chmod(0o644)
        assert command("doctor", "--data", str(data)) == 1
        shown = capsys.readouterr().out
        assert "the provider refuses our key" in shown
        assert "chmod 600" in shown
        assert KEY not in shown
        (tmp_path / "provider.key").unlink()
        (data / "provisioning.sqlite3").unlink()
        assert command("doctor", "--data", str(data)) == 1
        assert capsys.readouterr().out.count("FAIL") == 2


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_serve_tells_when_it_is_ready_and_ends_cleanly(tmp_path: Path, how: signal.Signals) -> None:
    with FakeUpstream() as upstream:
        data = make_data(tmp_path, upstream.url)
        arguments = [sys.executable, "-m", "appliance.provisioning.cli", "serve", "--data", str(data), "--port", "0"]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            line = process.stdout.readline()
            ready = re.fullmatch(r"voice-provisioning: listening on (http://127\.0\.0\.1:\d+)\n", line)
            assert ready, process.stderr.read()
            url = f"{ready[1]}/.well-known/oauth-authorization-server"
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert ready[1] in answer.read().decode()
            broken = {"Content-Type": "multipart/form-data; boundary=x"}
            asked = urllib.request.Request(f"{ready[1]}/oauth/token", data=b"{}", headers=broken)
            with pytest.raises(urllib.error.HTTPError, match="400"):
                urllib.request.urlopen(asked, timeout=5)  # a stranger's nonsense leaves no line, see below
            second = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=30)
            assert (second.returncode, second.stdout) == (1, "")
            assert "another voice-provisioning serves" in second.stderr
            assert "; stop that one" in second.stderr
            process.send_signal(how)
            assert process.wait(timeout=10) == 0
            assert process.stderr.read() == ""
            assert process.stdout.read() == ""


def test_a_taken_port_is_said_so(tmp_path: Path, capsys: Capsys) -> None:
    with FakeUpstream() as upstream:
        data = make_data(tmp_path, upstream.url)
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        assert command("serve", "--data", str(data), "--port", upstream.url.rpartition(":")[2]) == 78
        for number, handler in before.items():
            signal.signal(number, handler)
    assert "choose another --host or --port" in capsys.readouterr().err


def test_answers_do_not_wait_for_acknowledgements() -> None:
    with serve.listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP  # asyncio sets TCP_NODELAY only then
    for port in (-1, 70_000):
        with pytest.raises(ConfigError, match="no such port"):
            serve.listen("127.0.0.1", port)


def test_help_and_refusals_do_not_wait_for_the_web_framework() -> None:
    code = (
        "import sys; sys.argv = ['x', 'serve', '--data', '/nonexistent'];"
        "from appliance.provisioning.cli import main; assert main() == 1;"
        "print(sorted({'fastapi', 'sqlalchemy', 'pydantic', 'httpx2', 'joserfc'} & set(sys.modules)))"
    )
    started_s = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": "."}
    )
    assert done.stdout == "[]\n", time.perf_counter() - started_s
