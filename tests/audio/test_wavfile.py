"""A WAV file as a sound card: paced by a clock, said once, written as it sounded."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from appliance.audio.capturer import Capturer
from appliance.audio.facts import AudioFact, Captured, Drained
from appliance.audio.gate import Gate
from appliance.audio.player import Player
from appliance.audio.wavfile import WavCapture, WavPlayback, read_wav, write_wav
from appliance.errors import DeviceError
from tests.audio.stage import Samples, knowing, listener, loud
from tests.fakes.sound_card import Script, Time


def test_what_is_written_is_read(tmp_path: Path) -> None:
    said = loud(500)
    write_wav(tmp_path / "a.wav", said, 24_000)
    assert np.array_equal(read_wav(tmp_path / "a.wav", 24_000), said)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_other_rates_and_channels_are_converted(tmp_path: Path, rate: int) -> None:
    t = np.arange(rate) / rate
    tone = (8000 * np.sin(2 * np.pi * 440 * t)).astype("<i2")
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.stack((tone, np.zeros_like(tone)), axis=1).tobytes())
    read = read_wav(tmp_path / "a.wav", 24_000)
    expected = 8000 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 24_000)
    assert abs(len(read) - 24_000) <= 1
    assert np.abs(read[500:23_000] - expected[500:23_000]).max() < 30


def test_what_cannot_be_read_is_named_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("not a recording")
    with wave.open(str(tmp_path / "wide.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(3)
        file.setframerate(24_000)
        file.writeframes(bytes(30))
    (tmp_path / "empty.wav").write_bytes(b"")
    for name, text in (
        ("none.wav", "No such file"),
        ("text.wav", "RIFF"),
        ("wide.wav", "24 bits"),
        ("empty.wav", "empty"),
    ):
        with pytest.raises(DeviceError, match=text) as caught:
            read_wav(tmp_path / name, 24_000)
        assert name in str(caught.value)
        assert "16" in caught.value.hint
    with pytest.raises(DeviceError, match="cannot write"):
        write_wav(tmp_path / "no" / "folder.wav", loud(10), 24_000)


def test_the_recording_is_paced_and_said_once_over_reopenings(tmp_path: Path) -> None:
    said = loud(100)
    write_wav(tmp_path / "a.wav", said, 24_000)
    time, heard = Time(), [0]
    got: list[bytes] = []
    for _ in range(3):
        microphone = WavCapture(tmp_path / "a.wav", time, heard)
        time.now += 5  # opened and not yet read: it has not begun
        assert microphone.waiting() == 0
        assert microphone.read() == b""
        time.now += 0.040
        assert 959 <= microphone.waiting() <= 960
        got.append(microphone.read() or b"")
        assert microphone.read() == b""
        microphone.close()
    frames = np.frombuffer(b"".join(got), "<i2")
    assert np.array_equal(frames[:2400], said)
    assert not frames[2400:].any()
    assert 3 * 959 <= len(frames) <= 3 * 960


def test_a_capturer_hears_the_file(tmp_path: Path) -> None:
    said = loud(500)
    write_wav(tmp_path / "a.wav", said, 24_000)
    time, facts = Time(), list[AudioFact]()
    capturer = Capturer(
        WavCapture(tmp_path / "a.wav", time, [0]),
        (0,),
        None,
        Gate(),
        listener(facts.append, detector="webrtc"),
        facts.append,
    )
    capturer.set_gate(is_open=True, turn=1)
    Script(time).run(time.now + 1, lambda: capturer.pump(time.now, lambda _: None), capturer.due_s)
    pcm = b"".join(fact.pcm for fact in facts if isinstance(fact, Captured))
    assert np.array_equal(np.frombuffer(pcm, "<i2")[: len(said)], said)


def test_a_player_speaks_into_the_file(tmp_path: Path) -> None:
    path, time, facts = tmp_path / "reply.wav", Time(), list[AudioFact]()
    sounded: list[Samples] = []
    for k in range(2):
        player = Player(WavPlayback(path, time, sounded), knowing(0), 1.0, facts.append)
        said = loud(700, k)
        player.push("a", said.tobytes(), time.now, 1)
        player.end_item("a")
        player.end_reply()
        Script(time).run(time.now + 2, lambda p=player: p.pump(time.now), lambda p=player: p.due_s(time.now))  # type: ignore[misc]
        player.close()
    written = read_wav(path, 24_000)
    assert np.array_equal(written[written != 0], np.concatenate((loud(700, 0), loud(700, 1))))
    assert [fact.heard_ms for fact in facts if isinstance(fact, Drained)] == [{"a": 700.0}] * 2


def test_the_file_holds_only_what_sounded(tmp_path: Path) -> None:
    path, time = tmp_path / "reply.wav", Time()
    pcm = WavPlayback(path, time, [])
    said = loud(200)
    assert pcm.write(said.tobytes()) == 4800
    assert pcm.write(loud(200).tobytes()) == 1200, "the ring is a quarter of a second"
    time.now += 0.1
    assert pcm.delay() == 3600
    pcm.drop()
    assert pcm.delay() == 0
    pcm.close()
    assert np.array_equal(read_wav(path, 24_000), said[:2400])


def test_an_empty_ring_is_an_underrun(tmp_path: Path) -> None:
    time = Time()
    pcm = WavPlayback(tmp_path / "reply.wav", time, [])
    pcm.write(loud(10).tobytes())
    time.now += 0.02
    assert pcm.delay() is None
    assert pcm.write(loud(10).tobytes()) is None
    assert pcm.write(loud(10).tobytes()) == 240
