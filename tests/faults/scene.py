"""One appliance for one row: its sound card, the daemon under its supervisor, a witness, and a hand on the button.

Responsible for: starting and ending it, asking it something, and waiting for what it does. Not for: which fault comes
(``row``), or what to think of it (``bench``).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np

from tests.fakes.card import VirtualCard
from tests.fakes.shim import Elsewhere
from tests.fakes.supervisor import Supervisor, Unit
from tests.faults.row import Row, When
from tests.faults.town import Town
from tests.faults.witness import PITCH_HZ, Look, Witness, any_sound, reply_s
from tests.scenarios.home import ROOT, Samples, tone

UNIT = Unit.read(ROOT / "systemd" / "voice-appliance.service")
RATE = 48_000
HOLD_S = 0.4
SHORT_S, LONG_S = 0.3, 2.5  # replies
PATIENCE_S = 12.0
CARD_S = 400.0
HISS_S = 150
BUTTON = 23  # of the board i2s-mems, which has a light as well
REST = ("idle", "fault")
REST_S = 1.5  # whoever rests for so long does not think of answering


class Scene:
    """Use as a context manager; the appliance is ready inside."""

    def __init__(self, row: Row, town: Town, directory: Path, *, quick: bool, unit: Unit = UNIT) -> None:
        self.row, self.town, self.directory, self.quick, self.unit = row, town, directory, quick, unit
        self.server, self.wire = town.server, town.wire
        self.state = directory / "state"
        self.config = directory / "appliance.toml"
        self.socket = directory / "control.sock"
        self.lines: list[tuple[float, str]] = []
        self.asked_at = self.started_at = 0.0
        self.presses = 0
        self.marks: dict[str, Any] = {}  # what a row remembers between its fault and its cure
        self._rng = np.random.default_rng(5)

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True)
        self.card = VirtualCard(self.directory / "card", rate=RATE, seconds=CARD_S)
        hiss = self._rng.integers(-3, 4, RATE, np.int16)  # a room is never silent; only zeros are a dead microphone
        self.card.say(np.tile(hiss, HISS_S))
        self.elsewhere = Elsewhere(self.directory)
        (self.directory / "token").write_text(self.town.token(self.row.profile))
        self.write_config()
        environment = {
            **self.card.environment,
            **self.elsewhere.environment,
            "SSL_CERT_FILE": str(self.town.roots),
            "FAULT_HAND": str(self.directory / "hand"),
            "PYTHONPATH": str(ROOT),
            **self.row.environment,
        }
        command = [*self.row.launch, sys.executable, "-m", "tests.faults.inside", "run", "--config", str(self.config)]
        self.started_at = time.monotonic()
        self.supervisor = Supervisor(command, self.unit, self.directory, environment, self._line)
        self.supervisor.start()
        self.witness = Witness(self.socket)
        self.expect(self.witness.until(lambda look: look.status is not None, PATIENCE_S), "an answer of the socket")
        return self

    def __exit__(self, *_: object) -> None:
        self.witness.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)
        self.supervisor.stop()
        self.elsewhere.close()

    def write_config(self, more: str = "") -> None:
        """Write the configuration, with ``more`` in it."""
        short = self.row.quick_settings if self.quick else ""
        self.config.write_text(f"""
board = "{self.row.board}"
[provisioning]
url = "{self.town.issuer}"
profile = "{self.row.profile}"
enrolment_token_file = "{self.directory / "token"}"
[panel]
backend = "{"none" if self.row.board == "virtual" else "gpio"}"
[control]
socket = "{self.socket}"
[state]
directory = "{self.state}"
{self.row.settings}
{short}
{more}
""")

    def _line(self, line: str) -> None:
        self.lines.append((time.monotonic(), line.rstrip()))

    def expect(self, found: object, what: str) -> None:
        """Fail with everything that is known when something did not come."""
        if not found:
            log = "\n".join(line for _, line in self.lines[-40:])
            raise Missing(f"no {what}; last: {self.witness.last.status}; {self.supervisor.diary[-3:]}\n{log}")

    # --- the appliance ---

    @property
    def pid(self) -> int:
        return self.supervisor.pid

    @property
    def status(self) -> Look:
        return self.witness.last

    def command(self, cmd: str, **more: object) -> dict[str, Any]:
        """Send a command to the control socket; one that nobody takes is no failure of the bench's."""
        try:
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(2.0)
                link.connect(str(self.socket))
                link.sendall(json.dumps({"cmd": cmd, **more}).encode() + b"\n")
                answer: dict[str, Any] = json.loads(link.makefile().readline() or "{}")
        except (OSError, ValueError):
            return {}
        return answer

    def hand(self, verb: str, value: float = 0.0) -> None:
        """Let the hand inside the process do something."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.sendto(json.dumps({"verb": verb, "value": value}).encode(), str(self.directory / "hand"))

    def deafen_log(self) -> None:
        """Close the reading end of the process's log: writing to it fails from now on."""
        process = self.supervisor.process
        assert process is not None
        assert process.stderr is not None
        os.dup2(os.open(os.devnull, os.O_RDONLY), process.stderr.fileno())

    def signal(self, number: int) -> None:
        """Send the process a signal."""
        os.kill(self.pid, number)

    def send(self, event: dict[str, Any]) -> None:
        """Let the server say something."""
        self.town.background.run(self.server.say(event))

    def hang_up(self, code: int, reason: str = "") -> None:
        """Let the server end the session."""
        self.town.background.loop.call_soon_threadsafe(
            lambda: self.town.background.loop.create_task(self.server.hang_up(code, reason))
        )

    def until_phase(self, *phases: str, timeout_s: float = PATIENCE_S) -> bool:
        """Wait for one of the phases."""
        return self.witness.until(lambda look: look.get("phase") in phases, timeout_s) is not None

    def wait(self, true: Callable[[], bool], timeout_s: float = PATIENCE_S) -> bool:
        """Wait for anything."""
        deadline = time.monotonic() + timeout_s
        while not true():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    # --- the person ---

    def voice(self, seconds: float) -> Samples:
        """Something said: noise, loud enough for any detector."""
        noise: Samples = (self._rng.standard_normal(int(seconds * RATE)) * 3000).astype(np.int16)
        return noise

    def press(self) -> None:
        """Push the button down and begin to talk."""
        self.presses += 1
        self.asked_at = time.monotonic()
        with contextlib.suppress(ValueError):
            self.card.say(self.voice(HOLD_S + 1.0))
        self._button("press", "pin low")

    def release(self) -> None:
        """Let the button up."""
        self._button("release", "pin high")

    def _button(self, command: str, verb: str) -> None:
        if self.row.environment.get("GPIOZERO_PIN_FACTORY") != "mock":
            self.command(command)
        else:
            self.hand(verb, BUTTON)

    def ask(self, reply_s: float = SHORT_S, think_s: float = 0.05, pace: float = 0.0) -> None:
        """Hold the button and ask; the answer will be so long. A busy machine may take a while to listen."""
        self.answer(reply_s, think_s, pace)
        self.press()
        self.wait(lambda: self.card.capture_open, 1.0)
        time.sleep(HOLD_S)
        self.release()
        self.asked_at = time.monotonic()

    def answer(self, reply_s: float, think_s: float = 0.05, pace: float = 0.0) -> None:
        """Say how the server answers from now on."""
        script = self.server.script
        script.reply = tone(reply_s, 24_000, PITCH_HZ).tobytes()
        script.think_s, script.pace = think_s, pace

    def heard_reply(self, since: int, timeout_s: float = PATIENCE_S, seconds: float = SHORT_S) -> float | None:
        """Wait until so much of a reply has sounded since a frame; returns when its beginning did, or None."""
        deadline, begun = time.monotonic() + timeout_s, None
        while time.monotonic() < deadline:
            sounded = reply_s(self.card, since, self.card.now())
            if sounded and begun is None:
                begun = time.monotonic()
            if sounded > 0.8 * seconds:
                return begun
            if self.at_rest(REST_S):
                return None
            time.sleep(0.02)
        return None

    def at_rest(self, for_s: float) -> bool:
        """Whether nothing has been going on for so long, and the loudspeaker is silent."""
        look, now = self.witness.last, time.monotonic()
        since = next((one.at for one in reversed(self.witness.looks) if one.get("phase") not in REST), 0.0)
        if look.get("phase") not in REST or now - since < for_s or self.asked_at > now - for_s:
            return False
        return not reply_s(self.card, max(0, self.card.now() - RATE // 2), self.card.now())

    def exchange(self, timeout_s: float = PATIENCE_S) -> float | None:
        """Ask something and hear the whole answer; returns when it began to sound, None if it never did."""
        since = self.card.now()
        self.ask()
        begun = self.heard_reply(since, timeout_s)
        self.until_phase("idle", timeout_s=3.0)
        return begun

    def bring_to(self, when: When) -> None:
        """Let the appliance do what the fault is to meet."""
        if when in (When.IDLE, When.ASKED):
            self.expect(self.until_phase("idle"), "rest")
        elif when is When.LISTENING:
            self.answer(SHORT_S)
            self.press()
            self.expect(self.until_phase("listening"), "listening")
            time.sleep(HOLD_S)
        elif when is When.THINKING:
            creates = len(self.server.of("response.create"))
            self.ask(think_s=1.2)
            self.expect(self.wait(lambda: len(self.server.of("response.create")) > creates), "question")
            self.answer(SHORT_S)  # whoever asks again is answered soon
        else:
            self.ask(LONG_S, pace=1.0)
            self.expect(self.until_phase("speaking"), "reply")
            time.sleep(0.5)
            self.answer(SHORT_S)

    def sounded(self, since: int) -> bool:
        """Whether anything has sounded since a frame."""
        return any_sound(self.card, since, self.card.now())


class Missing(AssertionError):
    """The bench could not get so far as the row wants."""
