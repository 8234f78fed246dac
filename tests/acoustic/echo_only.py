"""``python -m tests.acoustic.echo_only --minutes 10``: does the appliance ever answer itself?

The whole daemon on the virtual card in a development room, a server that listens for voices all the time
(``server_vad``), our local backend and provisioning service on loopback. A person asks, in a tapped conversation, for
the same long text again and again, and is silent while it sounds: every turn beyond the questions was made of the
appliance's own voice. Minutes long, so no test.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soxr

from tests.acoustic.voices import RATE, Sound, levelled, sentences
from tests.bench.report import say
from tests.fakes.card import VirtualCard
from tests.scenarios.home import ROOT, Daemon, Provisioning
from tests.scenarios.room import Place

TEXT = " ".join(sentences("development")[:16])  # about 80 s
QUESTION = "Please say that again."
BELOW_ECHO_DB = 8.0  # the question, asked while nothing else sounds
CONFIG = """
board = "virtual"
[conversation]
follow_up_s = 8
[realtime]
turn_detection = "server_vad"
captions = "gpt-transcribe"
[provisioning]
url = "{url}"
enrolment_token_file = "{folder}/token"
[panel]
backend = "none"
[control]
socket = "{folder}/daemon/control.sock"
[state]
directory = "{folder}/state"
"""


@dataclass(slots=True)
class Tally:
    """What was counted."""

    asked: int = 0  # questions that were put to it
    played_s: float = 0.0  # of reply, with the microphone open
    longest_s: float = 0.0


@contextmanager
def backend() -> Iterator[str]:
    """Run the local Realtime backend; yields its WebSocket address."""
    command = [sys.executable, "-m", "appliance.local.cli", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1].replace("http://", "ws://") + "/v1/realtime"
        process.terminate()


def question() -> Sound:
    """Somebody else's way to speak: the voice that there is, only slower."""
    from hibari import Hibari

    spoken = np.asarray(Hibari()(QUESTION, speed=0.85, seed=3), np.float32)
    return levelled(np.asarray(soxr.resample(spoken, 24_000, RATE), np.float32))


class Evening:
    """A person who asks the same again and again."""

    def __init__(self, place: Place, daemon: Daemon) -> None:
        self._place, self._daemon, self._card = place, daemon, place.card
        self._question = question()
        self.tally = Tally()

    def teach(self) -> None:
        """Give it something long to say; typed words are answered with the microphone closed."""
        self._daemon.command("say", text=f"Repeat after me: {TEXT}")
        self._daemon.until_phase("speaking", 60)
        self._daemon.until_phase("idle", 300)

    def ask(self) -> None:
        """Tap if need be, ask, and wait until the answer has sounded to its end."""
        if self._daemon.phase() != "listening":
            self._daemon.command("tap")
        ended = self._count("+ ResponseFinished(")
        self._place.talk(self._question, self._card.now() + RATE // 3, below_echo_db=BELOW_ECHO_DB)
        self.tally.asked += 1
        self._daemon.until_phase("speaking", 30)
        began = time.monotonic()
        self._daemon.until(lambda: self._daemon.phase() != "speaking", "the end of the reply", 300)
        lasted_s = time.monotonic() - began
        self.tally.played_s += lasted_s
        self.tally.longest_s = max(self.tally.longest_s, lasted_s)
        say(f"reply {self.tally.asked}: {lasted_s:.1f} s, {self._count('+ ResponseFinished(') - ended} responses")
        time.sleep(1.0)  # the room and the canceller come to rest before the next question

    def _count(self, words: str) -> int:
        return self._daemon.log().count(words)

    def report(self, began: float) -> None:
        """Print what came of it."""
        counters = self._daemon.command("status")["counters"]
        turns = self._count("+ SpeechStopped(")
        say(f"played_minutes: {self.tally.played_s / 60:.2f} min  (longest reply {self.tally.longest_s:.0f} s)")
        say(f"questions: {self.tally.asked} count")
        say(f"turns_at_server: {turns} count")
        say(f"own_voice_turns: {turns - self.tally.asked} count")
        say(f"speech_started_at_server: {self._count('+ SpeechStarted(')} count")
        say(f"cuts: {counters.get('voice_barge_ins', 0)} count")
        say(f"ducks: {counters.get('ducks', 0)} count")
        say(f"ducks_for_nothing: {counters.get('ducks_for_nothing', 0)} count")
        xruns = sum(counters.get(name, 0) for name in ("overruns", "underruns", "starvations"))
        say(f"xruns: {xruns} count")
        say(f"duplex: {self._daemon.command('status')['duplex']}")
        say(f"# room {self._place.room.name}, RT60 {self._place.room.rt60_s:.2f} s; {time.monotonic() - began:.0f} s")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of reply, with the microphone open")
    parser.add_argument("--room", type=int, default=6, help="number of the development room")
    parser.add_argument("--folder", type=Path, help="where the daemon's log is kept (default: nowhere)")
    arguments = parser.parse_args()
    began = time.monotonic()
    with ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        service = Provisioning(folder / "provisioning", stack.enter_context(backend()))
        stack.callback(service.close)
        seconds = arguments.minutes * 60 * 2 + 400
        card = VirtualCard(folder / "card", rate=RATE, seconds=seconds)
        place = Place(card, arguments.room)
        place.hiss(seconds)
        (folder / "token").write_text(service.token)
        config = CONFIG.format(url=service.url, folder=folder)
        daemon = Daemon(folder / "daemon", config, {**os.environ, **card.environment})
        stack.callback(daemon.close)
        evening = Evening(place, daemon)
        evening.teach()
        while evening.tally.played_s < arguments.minutes * 60 and card.now() < (seconds - 150) * RATE:
            evening.ask()
        evening.report(began)


if __name__ == "__main__":
    main()
