from __future__ import annotations

import wave
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.local.audio import Samples
from appliance.local.hearing import InputBuffer
from appliance.local.turns import TurnDetector, VoiceStarted, VoiceStopped
from tests.local.client import QUESTION

PCM = {"type": "audio/pcm", "rate": 24000}
SERVER = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500}
BEGIN_MS, END_MS = 300, 1640  # of the speech in the shipped question


def question(quiet_s: float = 2.5) -> Samples:
    with wave.open(str(QUESTION)) as recording:
        samples = np.frombuffer(recording.readframes(recording.getnframes()), np.int16)
    return np.concatenate([samples, np.zeros(int(24000 * quiet_s), np.int16)])


def facts(samples: Samples, chunk: int = 2400, **options: Any) -> list[VoiceStarted | VoiceStopped]:
    detector = TurnDetector({**SERVER, **options}, rate=24000, position_ms=0)
    return [fact for start in range(0, len(samples), chunk) for fact in detector.feed(samples[start : start + chunk])]


def test_a_spoken_question_is_one_turn() -> None:
    started, stopped = facts(question())
    assert isinstance(started, VoiceStarted)
    assert isinstance(stopped, VoiceStopped)
    assert abs(started.at_ms - BEGIN_MS) <= 100
    assert abs(stopped.at_ms - (END_MS + 500)) <= 200


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 30_000))
def test_chunking_changes_nothing(chunk: int) -> None:
    assert facts(question(), max(chunk, 37)) == facts(question())


@pytest.mark.parametrize(("eagerness", "wait_ms"), [("high", 600), ("auto", 1000), ("medium", 1000), ("low", 2000)])
def test_semantic_vad_waits_by_its_eagerness(eagerness: str, wait_ms: int) -> None:
    _, stopped = facts(question(), type="semantic_vad", eagerness=eagerness)
    assert abs(stopped.at_ms - (END_MS + wait_ms)) <= 200


@pytest.mark.parametrize("level", [0, 30, 300, 3000])
def test_steady_noise_does_not_speak_for_ever(level: int) -> None:
    noise = np.random.default_rng(1).normal(0, max(level, 0.1), 24000 * 5).astype(np.int16)
    turns = facts(noise)
    assert len(turns) in {0, 2}, "a turn that the onset of a noise began must end"


def test_speech_over_a_noise_is_still_one_turn() -> None:
    speech = np.concatenate([np.zeros(24000, np.int16), question()])
    noise = np.random.default_rng(1).normal(0, 150, len(speech))
    started, stopped = facts((speech + noise).clip(-32768, 32767).astype(np.int16))[-2:]
    assert abs(started.at_ms - (1000 + BEGIN_MS)) <= 200
    assert abs(stopped.at_ms - (1000 + END_MS + 500)) <= 300


def test_a_threshold_of_one_wants_loud_speech() -> None:
    soft = (question() * 0.02).astype(np.int16)
    assert facts(soft, threshold=1.0) == []
    assert len(facts(soft, threshold=0.1)) == 2


def test_the_buffer_keeps_time_over_commits_and_formats() -> None:
    buffer = InputBuffer(PCM, None)
    buffer.append(bytes(4800))
    assert buffer.take().length_ms == 100
    buffer.append(bytes(9600))
    buffer.configure({"type": "audio/pcmu"}, None)
    assert buffer.length_ms == pytest.approx(200)
    buffer.append(bytes(800))
    assert buffer.end_ms == pytest.approx(400)
    assert buffer.take_turn(150, 250).length_ms == pytest.approx(100)
    assert buffer.length_ms == pytest.approx(150)


def test_an_endless_silence_is_not_kept() -> None:
    buffer = InputBuffer(PCM, SERVER)
    for _ in range(100):
        buffer.append(bytes(48_000))
    assert buffer.length_ms <= 60_000
    assert buffer.end_ms == pytest.approx(100_000)
