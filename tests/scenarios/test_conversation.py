"""Press, talk, hear, interrupt: on the virtual card, with a server that does as it is told."""

from __future__ import annotations

import time

import numpy as np
import pytest
import soxr

from tests.fakes.card import Stream
from tests.fakes.realtime_server import Script
from tests.scenarios.conftest import MakeHome
from tests.scenarios.home import best_lag, correlation, spans_of_sound, tone
from tests.scenarios.voices import go_forward

RATE = 48_000
PERIOD_MS = 10
TRIES = 4  # to be left in peace by whoever else works on this machine


def test_hold_talk_hear_every_sample_of_the_reply(home: MakeHome) -> None:
    reply = tone(2.0, 24_000, 440)
    at = home(Script(reply=reply.tobytes()), "[audio]\nvolume = 100\n")
    at.hold(1.0)
    at.daemon.until_phase("speaking")
    at.daemon.until_phase("idle")
    heard = at.replies()
    expected = soxr.resample(reply, 24_000, RATE, quality="HQ")
    lag = best_lag(heard, expected)
    assert correlation(heard[lag : lag + len(expected)], expected) > 0.99
    assert at.daemon.turns()[-1]["heard_ms"] == pytest.approx(2000, abs=1)
    assert at.server.kinds()[-2:] == ["input_audio_buffer.commit", "response.create"]


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_with_a_slow_server_every_frame_from_the_press_on_arrives(home: MakeHome, rate: int) -> None:
    """The server takes 3 s to open; the person speaks at once and is done before it is there."""
    at = home(Script(reply=tone(0.3, 24_000).tobytes(), open_delay_s=3.0), "[audio]\ncues = false\n", rate=rate)
    voice = go_forward(rate)
    at.daemon.command("press")
    said_at = at.card.say(voice, at.card.now() + rate // 10)
    while at.card.now() < said_at + len(voice) + rate // 5:
        time.sleep(0.01)
    at.daemon.command("release")
    at.heard("input_audio_buffer.commit")
    _, closed = at.card.open_spans(Stream.CAPTURE)[-1]
    assert closed is not None
    arrived = np.frombuffer(at.server.pcm, "<i2")
    captured_ms = (closed - at.card.capture_start) * 1000 / rate
    assert len(arrived) / 24 == pytest.approx(captured_ms, abs=20)
    # The same stretch of the room, on the card's own time: lag 0 means that not a sample is missing before it.
    room = np.concatenate((np.zeros(said_at - at.card.capture_start, np.int16), voice))
    expected = soxr.resample(room, rate, 24_000, quality="HQ")
    assert best_lag(arrived, expected) <= 24, "within a millisecond"
    assert correlation(arrived[: len(expected)], expected) > 0.99
    assert at.server.kinds()[0] == "session.update", "nothing goes before the session is configured"


def test_press_over_the_reply_silences_it_and_truncates_at_what_was_heard(home: MakeHome) -> None:
    at = home(Script(reply=tone(6.0, 24_000, 440).tobytes()), "[audio]\nvolume = 100\ncues = false\n")
    at.hold(0.5)
    at.daemon.until_phase("speaking")
    time.sleep(1.3)
    pressed_at = at.card.now()
    at.daemon.command("press")
    truncation = at.heard("conversation.item.truncate")
    at.daemon.command("release")
    begin, end = next(iter(spans_of_sound(at.replies(), RATE)))
    heard_ms = (end - begin) * 1000 / RATE
    assert truncation["audio_end_ms"] == pytest.approx(heard_ms, abs=PERIOD_MS)
    assert (end - pressed_at) * 1000 / RATE < 100, "a generous bound for a noisy machine; the bench measures"
    at.daemon.until(lambda: bool(at.daemon.turns()), "the record")
    record = at.daemon.turns()[-1]
    assert record["truncated_at_ms"] == truncation["audio_end_ms"]
    assert record["heard_ms"] == pytest.approx(heard_ms, abs=PERIOD_MS)


def test_press_in_mid_generation_cancels_too(home: MakeHome) -> None:
    at = home(Script(reply=tone(8.0, 24_000).tobytes(), pace=1.0), "[audio]\ncues = false\n")
    at.hold(0.5)
    at.daemon.until_phase("speaking")
    time.sleep(0.5)
    at.daemon.command("press")
    cancel = at.heard("response.cancel")
    at.daemon.command("release")
    assert cancel["response_id"] == "resp_1"
    assert at.heard("conversation.item.truncate")["item_id"] == "item_resp_1"


@pytest.mark.parametrize(
    ("name", "script"),
    [
        ("bursts", Script(delta_ms=40, gaps=(0.3,) + (0.0,) * 9)),
        ("one gap early", Script(delta_ms=50, pace=1.0, gaps=(0.0, 0.0, 0.3) + (0.0,) * 200)),
        ("one gap late", Script(delta_ms=100, pace=1.0, gaps=(0.0,) * 12 + (0.3,) + (0.0,) * 200)),
    ],
    ids=["bursts", "early", "late"],
)
def test_no_reply_stutters_at_a_jittery_downlink(home: MakeHome, name: str, script: Script) -> None:
    script.reply = tone(2.5, 24_000, 440).tobytes()
    for _ in range(TRIES):
        at = home(script, "[audio]\nvolume = 100\ncues = false\n")
        at.hold(0.5)
        at.daemon.until_phase("speaking")
        at.daemon.until_phase("idle")
        if at.card.playback_xruns == 0 and at.server.latest_s < 0.1:
            break
        at.close()
    else:
        pytest.fail("this machine has no time for a card and a server: nothing was seen of the downlink")
    spans = list(spans_of_sound(at.replies(), RATE, gap_ms=3))
    assert len(spans) == 1, (name, [((a / 48), (b - a) / 48) for a, b in spans])
    assert (spans[0][1] - spans[0][0]) * 1000 / RATE == pytest.approx(2500, abs=5)


def test_microphone_is_closed_while_idle_and_after_a_mute(home: MakeHome) -> None:
    at = home(Script(reply=tone(0.3, 24_000).tobytes()))
    assert at.card.open_spans(Stream.CAPTURE) == []
    at.hold(0.5)
    at.daemon.until_phase("idle")
    assert not at.card.capture_open
    at.daemon.command("press")
    at.daemon.until(lambda: at.card.capture_open, "the microphone")
    muted_at = at.card.now()
    at.daemon.command("mute")
    at.daemon.until(lambda: not at.card.capture_open, "the microphone to close")
    closed = at.card.open_spans(Stream.CAPTURE)[-1][1]
    assert closed is not None
    assert (closed - muted_at) * 1000 / RATE < 100
    before = len(at.server.audio)
    at.daemon.command("release")
    assert at.daemon.command("status")["led"] == "muted"
    at.hold(0.5)
    assert len(at.server.audio) == before
    assert not at.card.capture_open


def test_tap_ends_by_voice_and_listens_again(home: MakeHome) -> None:
    settings = "[conversation]\nfollow_up_s = 1\nend_of_turn_ms = 500\n[audio]\ncues = false\n"
    at = home(Script(reply=tone(0.5, 24_000).tobytes()), settings)
    voice = go_forward(RATE)
    at.daemon.command("tap")
    said_at = at.card.say(voice, at.card.now() + RATE // 5)
    at.heard("input_audio_buffer.commit")
    committed = at.card.now()
    assert committed > said_at
    at.daemon.until_phase("speaking")
    at.daemon.until_phase("listening")
    at.daemon.until_phase("idle")
    record = at.daemon.turns()[-1]
    assert record["end_of_speech_to_first_audio_ms"] > 450, "counted from the true end of speech"
    assert at.server.kinds().count("input_audio_buffer.commit") == 1


def test_server_ends_the_turn(home: MakeHome) -> None:
    settings = '[realtime]\nturn_detection = "server_vad"\n[conversation]\nfollow_up_s = 0\n'
    at = home(Script(reply=tone(0.5, 24_000).tobytes(), server_vad=True, vad_after_ms=800), settings)
    at.daemon.command("tap")
    at.daemon.until_phase("speaking")
    at.daemon.until_phase("idle")
    detection = at.server.of("session.update")[0]["session"]["audio"]["input"]["turn_detection"]
    assert detection["type"] == "server_vad"
    assert "input_audio_buffer.commit" not in at.server.kinds()
    assert "response.create" not in at.server.kinds()


def test_tool_is_run_and_answered(home: MakeHome) -> None:
    call = {"call_id": "call_1", "name": "set_timer", "arguments": '{"seconds": 3600, "label": "tea"}'}
    at = home(Script(reply=tone(0.5, 24_000).tobytes(), calls=[call]))
    at.hold(0.5)
    item = at.heard("conversation.item.create")["item"]
    assert item == {"type": "function_call_output", "call_id": "call_1", "output": item["output"]}
    assert '"ok":true' in item["output"]
    at.heard("response.create", count=2)
    at.daemon.until_phase("speaking")
    at.daemon.until_phase("idle")


def test_typed_words_are_answered_aloud(home: MakeHome) -> None:
    at = home(Script(reply=tone(0.5, 24_000).tobytes()))
    at.daemon.command("say", text="What is the time?")
    item = at.heard("conversation.item.create")["item"]
    assert item["content"] == [{"type": "input_text", "text": "What is the time?"}]
    at.daemon.until_phase("speaking")
    at.daemon.until_phase("idle")


def test_follow_up_speech_arrives_from_before_its_onset(home: MakeHome) -> None:
    """Nothing is streamed while nobody speaks, and yet the first word is whole: at least 300 ms before it arrive."""
    settings = "[conversation]\nfollow_up_s = 5\nend_of_turn_ms = 500\n[audio]\ncues = false\n"
    at = home(Script(reply=tone(0.3, 24_000).tobytes()), settings)
    at.hold(0.4)
    at.daemon.until_phase("idle")
    voice = go_forward(RATE)
    at.daemon.command("tap")
    at.card.say(voice, at.card.now() + RATE // 5)
    at.heard("response.create", count=2)
    at.daemon.until_phase("speaking")
    at.daemon.until_phase("listening")
    quiet_from = len(at.server.pcm)
    time.sleep(0.8)
    assert len(at.server.pcm) == quiet_from, "an open follow-up window streams nothing by itself"
    onset = np.flatnonzero(np.abs(voice) > 1500)[0] * 1000 / RATE
    at.card.say(voice, at.card.now() + RATE // 10)
    at.heard("response.create", count=3)
    turn = np.frombuffer(at.server.pcm[quiet_from:], "<i2")
    expected = soxr.resample(voice, RATE, 24_000, quality="HQ")
    # Where the recording's first sample lies in what arrived: before the onset there must be 300 ms or all there is.
    lead_ms = best_lag(np.concatenate((np.zeros(24_000, np.int16), turn)), expected) / 24 - 1000 + onset
    assert lead_ms >= 299
    at.daemon.until_phase("listening")
    assert at.daemon.command("status")["mic_open"]


def test_hands_free_wakes_by_voice(home: MakeHome) -> None:
    settings = "[conversation]\nhands_free = true\nfollow_up_s = 0\nend_of_turn_ms = 500\n[audio]\ncues = false\n"
    at = home(Script(reply=tone(0.5, 24_000).tobytes()), settings)
    at.daemon.until(lambda: at.card.capture_open, "the microphone")
    assert at.daemon.command("status")["led"] == "attentive"
    time.sleep(0.5)
    assert not at.server.audio
    at.card.say(go_forward(RATE))
    at.heard("input_audio_buffer.commit")
    at.daemon.until_phase("speaking")
    at.daemon.until_phase("idle")
