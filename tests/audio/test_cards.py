"""Opening cards by name, and what ALSA really gave, on the virtual card."""

from __future__ import annotations

import time
from pathlib import Path

import alsaaudio
import numpy as np
import pytest

from appliance.audio import alsa
from appliance.audio.cards import Cards
from appliance.audio.wavfile import WavCapture, WavPlayback, write_wav
from appliance.board import Board, Capture, Playback
from appliance.config import Audio
from appliance.errors import DeviceError
from tests.audio.stage import loud
from tests.fakes.card import Stream
from tests.fakes.card.session import CardFactory, virtual_card

__all__ = ["virtual_card"]


def cards(capture: str, playback: str, *, microphones: tuple[int, ...] = (0,), rate: int = 48_000) -> Cards:
    board = Board(name="test", capture=Capture(rate=rate), playback=Playback(rate=rate))
    return Cards(Audio(capture=capture, playback=playback, microphones=microphones), board, time.monotonic)


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_what_alsa_really_gave_is_read_back(virtual_card: CardFactory, rate: int) -> None:
    card = virtual_card(rate=rate, mic_channels=6, speaker_channels=2)
    both = cards("vhw", "vhw", microphones=(1, 4), rate=22_050)
    capture, playback = both.open_capture(), both.open_playback()
    assert (capture.rate, capture.channels, capture.format, capture.frame_bytes) == (rate, 6, "S16_LE", 12)
    assert (playback.rate, playback.channels, playback.format) == (rate, 2, "S16_LE")
    assert playback.buffer_frames >= rate // 5, "deep enough for a late thread"
    assert (card.capture_open, card.playback_open) == (True, True)
    capture.close()
    playback.close()
    assert (card.capture_open, card.playback_open) == (False, False)


@pytest.mark.parametrize("name", ["vhw", "vplug"])
@pytest.mark.parametrize("most_periods", [2, 3, 8])
def test_a_card_of_few_periods_is_asked_for_longer_ones(
    virtual_card: CardFactory, name: str, most_periods: int
) -> None:
    """Two periods of 10 ms would be lost with every hiccup of the machine."""
    virtual_card(rate=44_100, most_periods=most_periods)
    both = cards(name, name)
    for pcm in (both.open_capture(), both.open_playback()):
        assert pcm.buffer_frames >= 0.1 * pcm.rate
        pcm.close()


def test_a_card_that_refuses_a_longer_ring_keeps_its_own(
    virtual_card: CardFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    virtual_card(rate=48_000, most_periods=2)
    opened = alsaaudio.PCM

    def refusing(*args: object, periodsize: int, **more: object) -> object:
        if periodsize > 480:
            raise alsaaudio.ALSAAudioError("Cannot allocate memory [vhw]")
        return opened(*args, periodsize=periodsize, **more)

    monkeypatch.setattr("appliance.audio.alsa.alsaaudio.PCM", refusing)
    capture = cards("vhw", "vhw").open_capture()
    assert capture.buffer_frames == 960
    capture.close()


def test_a_channel_that_is_not_there_is_refused_with_those_that_are(virtual_card: CardFactory) -> None:
    card = virtual_card(mic_channels=2)
    with pytest.raises(DeviceError, match=r"\[0, 4\].*2 channel.*0 to 1"):
        cards("vhw", "vhw", microphones=(0, 4)).open_capture()
    assert not card.capture_open


def test_a_card_without_the_boards_reference_channel_is_refused(virtual_card: CardFactory) -> None:
    card = virtual_card(mic_channels=2)
    board = Board(name="test", capture=Capture(channels=6, reference=5))
    both = Cards(Audio(capture="vhw", playback="vhw", microphones=(0,)), board, time.monotonic)
    with pytest.raises(DeviceError, match=r"capture.reference = 5 .*2 channel") as caught:
        both.open_capture()
    assert "board profile" in caught.value.hint
    assert not card.capture_open


def test_closing_does_not_wait_for_what_is_in_the_ring(virtual_card: CardFactory) -> None:
    card = virtual_card()
    playback = cards("vhw", "vhw").open_playback()
    playback.write(loud(200, rate=48_000).tobytes())
    before = card.now()
    playback.close()
    closed = card.open_spans(Stream.PLAYBACK)[-1][1]
    assert closed is not None
    assert closed - before < 0.1 * 48_000


def test_a_card_that_is_gone_raises_and_closes(virtual_card: CardFactory) -> None:
    card = virtual_card()
    both = cards("vhw", "vhw")
    capture, playback = both.open_capture(), both.open_playback()
    capture.read()
    playback.write(bytes(960))
    card.unplug()
    for action in (capture.read, lambda: playback.write(bytes(960))):
        with pytest.raises(DeviceError, match="No such device") as caught:
            action()
        assert "plugged in" in caught.value.hint
    assert capture.waiting() == 0
    assert playback.delay() is None
    capture.close()
    playback.close()


def test_names_that_mean_nothing_are_answered_with_those_that_do(virtual_card: CardFactory) -> None:
    virtual_card()
    for open_one in (cards("vhv", "vhw").open_capture, cards("vhw", "vhv").open_playback):
        with pytest.raises(DeviceError, match="cannot open the") as caught:
            open_one()
        assert "vhv" in caught.value.message
        assert "vhw" in caught.value.hint
        assert "voice-appliance devices" in caught.value.hint
    assert {"vhw", "vplug"} <= set(alsa.device_names())
    assert isinstance(alsa.card_names(), list)


def test_a_busy_card_says_so(virtual_card: CardFactory) -> None:
    card = virtual_card()
    card.set_busy(True)
    with pytest.raises(DeviceError, match="busy") as caught:
        cards("vhw", "vhw").open_capture()
    assert "another program" in caught.value.hint


def test_a_format_that_cannot_be_converted_is_refused_with_what_is_offered(virtual_card: CardFactory) -> None:
    card = virtual_card()
    with card.conf.open("a") as conf:
        conf.write(f'pcm.law {{ type mulaw slave {{ pcm {{ type vcard file "{card.path}" }} format S16_LE }} }}\n')
    with pytest.raises(DeviceError, match=r"MU_LAW.*offers.*MU_LAW") as caught:
        cards("law", "vhw").open_capture()
    assert "plughw" in caught.value.hint
    assert not card.capture_open


def test_a_plug_device_is_opened_as_the_board_says(virtual_card: CardFactory) -> None:
    virtual_card(rate=48_000, mic_channels=2)
    capture = cards("vplug", "vhw", rate=16_000).open_capture()
    assert (capture.rate, capture.channels) == (16_000, 1)
    capture.close()


def test_a_file_is_a_card(tmp_path: Path) -> None:
    write_wav(tmp_path / "question.wav", np.zeros(240, np.int16), 24_000)
    both = cards(f"file:{tmp_path}/question.wav", f"file:{tmp_path}/reply.wav")
    assert isinstance(both.open_capture(), WavCapture)
    playback = both.open_playback()
    assert isinstance(playback, WavPlayback)
    playback.write(loud(10).tobytes())
    with pytest.raises(DeviceError, match=r"none\.wav"):
        cards("file:none.wav", "vhw").open_capture()
