"""All three processes, a human voice, and the demo: nothing is scripted here."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from appliance.local import speech
from appliance.local.audio import Sound
from tests.fakes.card.session import CardFactory
from tests.scenarios.home import ROOT, Daemon, Provisioning, Samples, spans_of_sound
from tests.scenarios.voices import go_forward

RATE = 48_000
pytestmark = pytest.mark.speech


def transcribe(samples: Samples, rate: int) -> str:
    """What a listener would write down."""

    async def listen() -> str:
        listener, talker, _ = await speech.load()
        try:
            return await listener.hear(Sound(samples, rate))
        finally:
            listener.close()
            talker.close()

    return asyncio.run(listen())


@pytest.fixture
def backend() -> Iterator[str]:
    """The local Realtime backend in a process of its own; yields its WebSocket address."""
    command = [sys.executable, "-m", "appliance.local.cli", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1].replace("http://", "ws://") + "/v1/realtime"
        process.terminate()


def test_a_human_is_heard_answered_and_can_interrupt(tmp_path: Path, virtual_card: CardFactory, backend: str) -> None:
    service = Provisioning(tmp_path / "provisioning", backend)
    card = virtual_card(rate=RATE)
    (tmp_path / "token").write_text(service.token)
    config = f"""
board = "virtual"
[conversation]
follow_up_s = 0
[audio]
volume = 100
cues = false
[realtime]
captions = "gpt-transcribe"
[provisioning]
url = "{service.url}"
enrolment_token_file = "{tmp_path / "token"}"
[panel]
backend = "none"
[control]
socket = "{tmp_path / "daemon" / "control.sock"}"
[state]
directory = "{tmp_path / "state"}"
"""
    daemon = Daemon(tmp_path / "daemon", config, card.environment)
    try:
        # A person says "go forward ten meters"; the honest answer repeats what was heard.
        daemon.command("tap")
        card.say(go_forward(RATE), card.now() + RATE // 4)
        daemon.until_phase("speaking", 30)
        daemon.until_phase("idle", 30)
        heard = np.asarray(card.spoken(0, card.now()), np.int16).reshape(-1)
        begin, end = next(iter(spans_of_sound(heard, RATE, gap_ms=900)))
        words = transcribe(heard[begin:end], RATE).lower()
        assert "heard" in words
        assert "forward" in words or "meters" in words or "metres" in words

        # Again, and a press in the middle of the answer.
        asked_at = card.now()
        daemon.command("tap")
        card.say(go_forward(RATE), card.now() + RATE // 4)
        daemon.until_phase("speaking", 30)
        time.sleep(0.7)
        daemon.command("press")
        daemon.until(lambda: len(daemon.turns()) == 2, "the record")
        daemon.command("release")
        cut = daemon.turns()[1]
        spans = list(spans_of_sound(np.asarray(card.spoken(asked_at, card.now()), np.int16).reshape(-1), RATE, 900))
        sounded_ms = (spans[-1][1] - spans[0][0]) * 1000 / RATE
        assert cut["truncated_at_ms"] is not None
        # The reply may begin with samples too quiet to be called sound, so it may be longer, never much shorter.
        assert -10 <= cut["truncated_at_ms"] - sounded_ms <= 60
        assert daemon.stop() == 0
    finally:
        daemon.close()
        service.close()


def test_demo_answers_the_shipped_question_by_file(tmp_path: Path) -> None:
    reply = tmp_path / "reply.wav"
    command = [sys.executable, "-m", "appliance.cli", "demo", "--file", "--reply", str(reply)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "What is seven times six?" in done.stdout
    with wave.open(str(reply)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        rate = file.getframerate()
    words = transcribe(samples, rate).lower().replace("-", " ")
    assert "forty two" in words or "42" in words
