"""``voice-appliance demo``: the whole product on one machine, without any service elsewhere.

Starts the local Realtime backend and the provisioning service, enrols, and runs the real daemon: with a sound
card and a terminal interactively (space bar = button), else by file: a recording is said into the microphone and
the reply is written to a WAV. Responsible for: that set-up and its ending. Not for: anything the product does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.errors import ApplianceError, ConfigError, StateError

if TYPE_CHECKING:  # at run time it is imported after the settings that numpy reads
    from appliance.daemon import Daemon

FOLDER = Path(".voice-appliance-demo")  # made anew each time: a name that is nobody else's
QUESTION = Path(__file__).parent / "local" / "questions" / "seven-times-six.wav"
READY_S = 60.0
ANSWER_S = 45.0


class Service:
    """A service of ours in a process of its own, ready when it prints its address."""

    def __init__(self, name: str, command: list[str]) -> None:
        self._name = name
        self._log = FOLDER / f"{name}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  # our own program
                [sys.executable, "-m", *command], stdout=log, stderr=subprocess.STDOUT
            )

    def url(self) -> str:
        """Wait until it is ready; returns its address.

        Raises:
            ApplianceError: it ended, or was not ready in time.
        """
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            for line in self._log.read_text().splitlines():
                if "listening on http" in line:
                    return line.split()[-1]
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        tail = " | ".join(self._log.read_text().splitlines()[-3:])
        raise ApplianceError(f"{self._name} did not start: {tail}", hint=f"see {self._log}")

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; returns 0 only if, by file, a spoken reply was really played."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    question = arguments.say or QUESTION
    if not question.is_file():
        raise ConfigError(f"--say {question}: no such file", hint="name a 16-bit WAV file")
    by_file = arguments.file or arguments.say is not None or not _sound_and_terminal()
    shutil.rmtree(FOLDER, ignore_errors=True)
    try:
        FOLDER.mkdir()
    except OSError as error:
        raise StateError(
            f"cannot make {FOLDER.absolute()}: {error.strerror}", hint="start in a folder of yours"
        ) from error
    services: list[Service] = []
    try:
        _say("starting the local Realtime backend and the provisioning service")
        url = _start(services)
        return _talk_by_file(url, question, arguments) if by_file else _talk(url, arguments)
    finally:
        for service in reversed(services):
            service.stop()


def _say(text: str) -> None:
    print(f"==> {text}", flush=True)


def _sound_and_terminal() -> bool:
    from appliance.audio import alsa

    return bool(alsa.card_names()) and sys.stdin.isatty() and sys.stdout.isatty()


def _start(services: list[Service]) -> str:
    """Start both services, the slow one first; returns the provisioning service's address."""
    key = FOLDER / "provider-key"
    key.touch(mode=0o600)
    key.write_text(secrets.token_urlsafe(24))
    port = _free_port()
    command = ["appliance.local.cli", "serve", "--host", "127.0.0.1", "--port", str(port), "--api-key-file", str(key)]
    backend = Service("voice-local", command)
    services.append(backend)
    data = FOLDER / "provisioning"
    upstream = ["--upstream", "openai", "--base-url", f"http://127.0.0.1:{port}", "--api-key-file", str(key)]
    _provision("init", *upstream, data=data)
    token = _provision("tokens", "create", "--quiet", data=data).strip()
    (FOLDER / "enrolment-token").write_text(token)
    serve = ["appliance.provisioning.cli", "serve", "--data", str(data), "--host", "127.0.0.1", "--port", "0"]
    provisioning = Service("voice-provisioning", serve)
    services.append(provisioning)
    backend.url()
    return provisioning.url()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _provision(*arguments: str, data: Path) -> str:
    command = [sys.executable, "-m", "appliance.provisioning.cli", *arguments, "--data", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own program
    if done.returncode != 0:
        raise ApplianceError(f"voice-provisioning {arguments[0]} failed: {done.stderr.strip()[-300:]}")
    return done.stdout


def _configuration(url: str, more: str) -> Path:
    path = FOLDER / "appliance.toml"
    path.write_text(f"""board = "{"any" if "file:" not in more else "virtual"}"
[provisioning]
url = "{url}"
enrolment_token_file = "{FOLDER / "enrolment-token"}"
[control]
socket = "{FOLDER / "control.sock"}"
[state]
directory = "{FOLDER / "state"}"
[realtime]
captions = "gpt-transcribe"
{more}""")
    return path


def _talk(url: str, arguments: argparse.Namespace) -> int:
    """Talk with the person at the terminal."""
    from appliance import config, daemon, logs

    path = _configuration(url, '[panel]\nbackend = "terminal"\n')
    logs.set_up(debug=arguments.debug, quiet=True)
    _say("press the space bar and talk; hold it for push-to-talk; m mutes, q quits")
    return daemon.run(config.load(path))


def _talk_by_file(url: str, question: Path, arguments: argparse.Namespace) -> int:
    """Say a recording, write the reply."""
    from appliance import config, logs
    from appliance.daemon import Daemon

    arguments.reply.unlink(missing_ok=True)
    path = _configuration(
        url,
        f"""[panel]
backend = "none"
[conversation]
follow_up_s = 0
[audio]
capture = {json.dumps(f"file:{question}")}
playback = {json.dumps(f"file:{arguments.reply}")}
volume = 100
cues = false
""",
    )
    logs.set_up(debug=arguments.debug, quiet=True)
    _say(f"no sound card with a terminal, or told so: saying {question.name} by file")
    daemon = Daemon(config.load(path), said=lambda who, text: print(f"{who + ':':<11}{text}", flush=True))
    heard_ms = asyncio.run(_one_turn(daemon))
    if heard_ms <= 0 or not arguments.reply.is_file():
        print(f"voice-appliance: no spoken reply was played; see {FOLDER}/*.log", file=sys.stderr)
        return 1
    _say(f"the reply ({heard_ms / 1000:.1f} s of speech) is in {arguments.reply}")
    return 0


async def _one_turn(daemon: Daemon) -> float:
    """Tap, wait for the turn's record, stop; returns the milliseconds of reply that sounded."""
    heard: list[float] = []

    async def person() -> None:
        try:
            await daemon.started.wait()
            daemon.controls.tap()
            async with asyncio.timeout(ANSWER_S):
                async for record in daemon.controls.follow():
                    if record["event"] == "turn":
                        heard.append(float(str(record["heard_ms"] or 0)))
                        return
        except TimeoutError:
            pass  # nothing was heard: the caller says so
        finally:
            daemon.stop()

    async with asyncio.TaskGroup() as group:
        group.create_task(daemon.run())
        group.create_task(person())
    return sum(heard)
