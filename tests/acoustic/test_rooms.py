"""The rooms are what they say they are: repeatable, as reverberant as drawn, and the stream is the convolution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.acoustic import rooms, scenes, voices
from tests.acoustic.air import BLOCK, Air, Convolver
from tests.acoustic.voices import RATE


def test_a_room_is_the_same_every_time_and_sets_share_none() -> None:
    one, again, other = rooms.draw("test", 3), rooms.draw("test", 3), rooms.draw("development", 3)
    assert np.array_equal(one.echo, again.echo)
    assert one.talker_m == again.talker_m
    assert one.rt60_s != other.rt60_s


def test_the_sets_share_no_talker_and_no_sentence() -> None:
    assert not set(voices.TALKERS["development"]) & set(voices.TALKERS["test"])
    assert not set(voices.sentences("development")) & set(voices.sentences("test"))
    assert len({said.talker for said in voices.utterances("development")}) >= 4
    assert len({said.talker for said in voices.utterances("test")}) >= 5


@pytest.mark.parametrize("number", range(6))
def test_a_room_decays_as_it_was_drawn(number: int) -> None:
    room = rooms.draw("development", number)
    tail = room.talker[0][np.argmax(np.abs(room.talker[0])) + RATE // 50 :]
    energy = 10 * np.log10(np.cumsum(tail[::-1] ** 2)[::-1] / np.sum(tail**2))
    first, last = int(np.argmax(energy < -5)), int(np.argmax(energy < -20))
    assert (last - first) * 4 / RATE == pytest.approx(room.rt60_s, rel=0.4)


def test_the_talker_stands_where_the_issue_wants_and_the_loudspeaker_is_close() -> None:
    for number in range(40):
        room = rooms.draw("test", number)
        assert 0.05 <= room.speaker_m <= 0.15
        assert 0.3 <= room.talker_m <= 3.3
        assert 0.2 <= room.rt60_s <= 0.8


@given(taps=st.integers(1, 6000), blocks=st.integers(1, 40))
@settings(max_examples=15, deadline=None)
def test_the_stream_is_the_convolution(taps: int, blocks: int) -> None:
    chance = np.random.default_rng(taps)
    response = chance.normal(size=(1, taps)).astype(np.float32) / np.float32(np.sqrt(taps))
    sound = chance.normal(size=blocks * BLOCK).astype(np.float32)
    convolver = Convolver(response)
    streamed = np.concatenate([convolver.block(sound[k * BLOCK : (k + 1) * BLOCK])[0] for k in range(blocks)])
    whole = rooms.convolved(sound, response[0])[: len(sound)]
    assert np.allclose(streamed, whole, atol=2e-3)


def test_the_talker_is_so_much_below_the_echo_as_the_scene_says() -> None:
    for number in range(1000, 1004):
        scene = scenes.barge_ins("development", number, trials=1)
        quiet = Air(scene.room, np.zeros_like(scene.near))
        began, sound = scene.replies[0]
        echo = np.concatenate([quiet.block(sound[k : k + BLOCK])[:, 0] for k in range(0, 4 * RATE, BLOCK)])
        said = scene.said[0]
        voice = scene.near[0, int(said.start_s * RATE) : int(said.stop_s * RATE)]
        ratio = 20 * np.log10(voices.active_level(np.asarray(echo / 32768, np.float32)) / voices.active_level(voice))
        assert ratio == pytest.approx(scene.echo_to_talker_db, abs=3.5)
        assert began < said.start_s


def test_a_driven_loudspeaker_bends_and_a_linear_one_does_not() -> None:
    sound = np.linspace(-1, 1, 201, dtype=np.float32)
    assert np.array_equal(rooms.distorted(sound, 0.0), sound)
    bent = rooms.distorted(sound, 0.8)
    line = np.polyval(np.polyfit(sound, bent, 1), sound)
    assert np.max(np.abs(bent - line)) > 0.02
