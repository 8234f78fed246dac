"""The virtual card against the real alsa-lib, through the binding the appliance uses."""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import alsaaudio
import numpy as np
import pytest

from tests.fakes.card import CardBuildError, Event, Kind, Stream, VirtualCard
from tests.fakes.card.layout import LOG_LENGTH
from tests.fakes.card.library import SOURCE, build
from tests.fakes.card.session import CardFactory, card_factory

RATE = 16000
PERIOD = 160
EPIPE = 32
RANDOM = np.random.default_rng(7)


@pytest.fixture
def virtual_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CardFactory:
    return card_factory(tmp_path, monkeypatch)


def noise(frames: int, peak: int = 8000) -> np.ndarray[Any, np.dtype[np.int16]]:
    return RANDOM.integers(-peak, peak, frames).astype(np.int16)


def open_pcm(direction: int, device: str = "vhw", **changes: Any) -> Any:
    options = {
        "mode": alsaaudio.PCM_NORMAL,
        "rate": RATE,
        "channels": 1,
        "format": alsaaudio.PCM_FORMAT_S16_LE,
        "periodsize": PERIOD,
        "periods": 32,  # 320 ms: this machine may be busy
    }
    return alsaaudio.PCM(direction, device=device, **{**options, **changes})


def open_mic(device: str = "vhw", **changes: Any) -> Any:
    return open_pcm(alsaaudio.PCM_CAPTURE, device, **changes)


def open_speaker(device: str = "vhw", **changes: Any) -> Any:
    return open_pcm(alsaaudio.PCM_PLAYBACK, device, **changes)


def record(mic: Any, frames: int) -> np.ndarray[Any, np.dtype[np.int16]]:
    """At least so many frames, from where the reader is."""
    blocks: list[bytes] = []
    have = 0
    while have < frames:
        count, block = mic.read()
        assert count >= 0, "overrun: this machine is too slow for the test"
        blocks.append(block)
        have += count
    return np.frombuffer(b"".join(blocks), np.int16)


def revents(pcm: Any, timeout_ms: int) -> int:
    poller = select.poll()
    for fd, mask in pcm.polldescriptors():
        poller.register(fd, mask)
    ready = poller.poll(timeout_ms)
    return int(pcm.polldescriptors_revents(ready)) if ready else 0


def test_the_microphone_hears_what_was_said_at_its_frame(virtual_card: CardFactory) -> None:
    card = virtual_card(rate=RATE, mic_channels=2)
    mic = open_mic(channels=2)
    mic.read()
    said = np.stack([noise(3000), noise(3000)], axis=1)
    at = card.say(said, card.now() + 800)
    heard = record(mic, at + 3000 - card.capture_start - PERIOD).reshape(-1, 2)
    first = at - card.capture_start - PERIOD
    assert np.array_equal(heard[first : first + 3000], said)
    assert not heard[:first].any()


def test_speech_is_mixed_or_replaced_and_clipped(virtual_card: CardFactory) -> None:
    card = virtual_card(rate=RATE, seconds=2)
    at = card.say(np.full(PERIOD, 30000), 0)
    card.say(np.full(PERIOD // 2, 5000), 0, mix=True)
    card.say(np.full(10, 1), 100)
    heard = card._mic[at : at + PERIOD, 0]
    assert set(heard[:80]) == {32767}
    assert set(heard[80:100]) == {30000}
    assert set(heard[100:110]) == {1}


def test_speech_outside_the_cards_life_is_refused(virtual_card: CardFactory) -> None:
    card = virtual_card(rate=RATE, seconds=1)
    with pytest.raises(ValueError, match="not within"):
        card.say(noise(10), RATE - 5)


def test_the_speaker_sounds_what_was_written_from_its_start(virtual_card: CardFactory) -> None:
    card = virtual_card(rate=RATE)
    speaker = open_speaker()
    written = noise(4000)
    before = card.now()
    speaker.write(written.tobytes())
    speaker.drain()
    start = card.playback_start
    assert before <= start < card.now()
    assert np.array_equal(card.spoken(start, start + 4000)[:, 0], written)
    assert not card.spoken(0, start).any()


@pytest.mark.parametrize("delay", [0, 1, 80, 777])
def test_the_single_tap_echo_arrives_after_exactly_its_delay(virtual_card: CardFactory, delay: int) -> None:
    card = virtual_card(rate=RATE, echo_delay=delay, echo_gain=0.5)
    mic, speaker = open_mic(), open_speaker()
    mic.read()
    written = 2 * noise(1600)  # even, so that half of it is exact
    speaker.write(written.tobytes())
    heard = record(mic, card.playback_start + 1600 + delay - card.capture_start)
    first = card.playback_start + delay - card.capture_start - PERIOD
    assert np.array_equal(heard[first : first + 1600], written // 2)
    assert not heard[:first].any()


@pytest.mark.parametrize("taps", [1, 13, 4096, 16384])
def test_a_room_response_is_convolved(virtual_card: CardFactory, taps: int) -> None:
    card = virtual_card(rate=RATE)
    response = RANDOM.normal(0, 1, taps) * np.exp(-np.arange(taps) / 500) / 20
    card.set_echo(delay=40, gain=0.8, response=response)
    mic, speaker = open_mic(), open_speaker()
    mic.read()
    written = noise(1600)
    speaker.write(written.tobytes())
    heard = record(mic, card.playback_start + 1640 + taps - card.capture_start)
    expected = 0.8 * np.convolve(written, response)
    first = card.playback_start + 40 - card.capture_start - PERIOD
    assert np.abs(heard[first : first + len(expected)] - expected).max() <= 1
    assert np.abs(expected).max() > 100


@pytest.mark.parametrize("taps", [0, 16385])
def test_a_response_that_does_not_fit_is_refused(virtual_card: CardFactory, taps: int) -> None:
    with pytest.raises(ValueError, match="1 to 16384 taps"):
        virtual_card(seconds=1).set_echo(delay=0, gain=1, response=np.ones(taps))


@pytest.mark.parametrize("mic_speed", [0.999, 1.0002, 1.003])
@pytest.mark.parametrize("response", [None, [0.0, 0.0, 1.0]])
def test_a_microphone_with_a_clock_of_its_own_hears_what_sounded_then(
    virtual_card: CardFactory, mic_speed: float, response: list[float] | None
) -> None:
    card = virtual_card(rate=RATE, mic_speed=mic_speed)
    card.set_echo(delay=40 if response is None else 38, gain=1.0, response=response)
    mic, speaker = open_mic(), open_speaker()
    mic.read()
    t = np.arange(3200)
    waves = [(1500, 0.011, 0.3), (4000, 0.07, 1.0), (900, 0.2, 2.0)]  # the last is 3.2 kHz
    speaker.write(sum(a * np.sin(2 * np.pi * f * t + p) for a, f, p in waves).astype(np.int16).tobytes())
    heard = record(mic, int((card.playback_start + 3200) * mic_speed) + 100 - card.capture_start)
    frames = card.capture_start + PERIOD + np.arange(len(heard))  # of the microphone
    sounded = (frames - 40) / mic_speed - card.playback_start  # since the loudspeaker's start, at its rate
    expected = sum(a * np.sin(2 * np.pi * f * sounded + p) for a, f, p in waves)
    inside = (sounded > 20) & (sounded < 3180)
    assert np.count_nonzero(inside) > 3100
    assert np.abs(heard - expected)[inside].max() < 3


def test_what_is_said_to_a_microphone_with_a_clock_of_its_own_is_in_its_frames(virtual_card: CardFactory) -> None:
    card = virtual_card(rate=RATE, mic_speed=1.5)
    mic = open_mic()
    mic.read()
    said = noise(1600)
    at = card.say(said)
    heard = record(mic, at + 1600 - card.capture_start - PERIOD)
    first = at - card.capture_start - PERIOD
    assert np.array_equal(heard[first : first + 1600], said)
    record(mic, RATE)
    assert card.now() < card.capture_start + PERIOD + len(heard) + RATE <= card.mic_now(), "it is half as fast again"


def test_a_deaf_microphone_delivers_zeros_until_it_hears_again(virtual_card: CardFactory) -> None:
    card = virtual_card(rate=RATE, echo_gain=1.0)
    card.say(np.full(RATE, 500), card.now())
    mic, speaker = open_mic(), open_speaker()
    speaker.write(np.full(4800, 3000, np.int16).tobytes())
    mic.read()
    card.deafen(True)
    assert not record(mic, 1600).any()
    card.deafen(False)
    assert set(record(mic, PERIOD)) == {3500}


def test_drop_cuts_at_the_present_frame_and_the_next_write_plays_on(virtual_card: CardFactory) -> None:
    card = virtual_card(rate=RATE)
    speaker = open_speaker()
    speaker.write(np.full(4800, 5000, np.int16).tobytes())
    while card.now() < card.playback_start + 500:
        time.sleep(0.005)
    before = card.now()
    speaker.drop()
    after = card.now()
    sounded = np.flatnonzero(card.spoken(0, after + 4800))
    assert before - 1 <= sounded[-1] <= after
    assert speaker.state() == alsaaudio.PCM_STATE_SETUP
    assert speaker.write(np.full(PERIOD, 700, np.int16).tobytes()) == PERIOD
    start = card.playback_start
    assert start >= after
    assert set(card.spoken(start, start + PERIOD)[:, 0]) == {700}


def test_the_first_written_frame_starts_the_speaker(virtual_card: CardFactory) -> None:
    card = virtual_card(rate=RATE)
    speaker = open_speaker(mode=alsaaudio.PCM_NONBLOCK)
    assert card.playback_start == -1
    speaker.write(bytes(2))
    assert card.playback_start > 0
    assert speaker.state() == alsaaudio.PCM_STATE_RUNNING


def test_capture_starts_with_its_first_read_and_then_wakes_a_poller(virtual_card: CardFactory) -> None:
    card = virtual_card(rate=RATE)
    mic = open_mic(mode=alsaaudio.PCM_NONBLOCK)
    assert revents(mic, 50) == 0
    assert card.capture_start == -1
    assert mic.read()[0] < PERIOD  # nothing, or what passed meanwhile
    assert card.capture_start > 0
    assert revents(mic, 1000) == select.POLLIN
    assert mic.read()[0] == PERIOD


def test_a_full_buffer_takes_nothing_and_wakes_a_poller_when_a_period_has_sounded(
    virtual_card: CardFactory,
) -> None:
    card = virtual_card(rate=RATE)
    speaker = open_speaker(mode=alsaaudio.PCM_NONBLOCK)
    size = speaker.info()["buffer_size"]
    speaker.write(bytes(2))  # starts it, so that freezing keeps the fill level
    card.freeze()
    while speaker.write(bytes(2 * size)):
        pass
    assert speaker.avail() == 0
    assert revents(speaker, 0) == 0
    card.thaw()
    assert revents(speaker, 1000) == select.POLLOUT
    assert speaker.avail() >= PERIOD


def test_each_direction_has_one_opener(virtual_card: CardFactory) -> None:
    card = virtual_card(rate=RATE)
    mic = open_mic()
    with pytest.raises(alsaaudio.ALSAAudioError, match="Device or resource busy"):
        open_mic()
    open_speaker().close()
    mic.close()
    card.set_busy(True)
    with pytest.raises(alsaaudio.ALSAAudioError, match="Device or resource busy"):
        open_mic()
    card.set_busy(False)
    open_mic().close()


def test_an_unplugged_card_fails_its_streams_and_can_be_opened_after_replugging(
    virtual_card: CardFactory,
) -> None:
    card = virtual_card(rate=RATE)
    mic, speaker = open_mic(mode=alsaaudio.PCM_NONBLOCK), open_speaker(mode=alsaaudio.PCM_NONBLOCK)
    mic.read()
    speaker.write(bytes(2 * PERIOD))
    card.unplug()
    assert revents(mic, 1000) & select.POLLERR
    assert revents(speaker, 1000) & select.POLLERR
    for attempt in (mic.read, lambda: speaker.write(bytes(2))):
        with pytest.raises(alsaaudio.ALSAAudioError, match="No such device"):
            attempt()
    with pytest.raises(alsaaudio.ALSAAudioError, match="No such device"):
        open_speaker(card.plug_name)
    mic.close()
    speaker.close()
    card.plug()
    assert open_mic().read()[0] == PERIOD


def test_injected_xruns_are_reported_once_and_counted(virtual_card: CardFactory) -> None:
    card = virtual_card(rate=RATE)
    mic, speaker = open_mic(), open_speaker()
    mic.read()
    speaker.write(bytes(3200))
    card.xrun()
    assert mic.read() == (-EPIPE, b"")
    assert speaker.write(bytes(320)) == -EPIPE
    assert mic.read()[0] == PERIOD
    assert speaker.write(bytes(320)) == PERIOD
    assert (card.capture_xruns, card.playback_xruns) == (1, 1)


def test_a_late_reader_has_an_overrun(virtual_card: CardFactory) -> None:
    card = virtual_card(rate=RATE)
    mic = open_mic(periods=2)
    mic.read()
    while card.now() - card.capture_start <= 4 * PERIOD:
        time.sleep(0.005)
    assert mic.read()[0] == -EPIPE
    assert card.capture_xruns == 1


def test_a_frozen_card_moves_nothing_until_it_thaws(virtual_card: CardFactory) -> None:
    card = virtual_card(rate=RATE)
    mic = open_mic(mode=alsaaudio.PCM_NONBLOCK)
    mic.read()
    card.freeze()
    frozen_at, available = card.now(), mic.avail()
    assert revents(mic, 50) == 0
    assert (card.now(), mic.avail()) == (frozen_at, available)
    card.thaw()
    assert revents(mic, 1000) == select.POLLIN
    assert card.capture_start + mic.avail() <= card.now() < frozen_at + RATE


def test_cards_of_one_process_do_not_hear_each_other(virtual_card: CardFactory) -> None:
    first, second = virtual_card(rate=RATE), virtual_card(rate=RATE)
    speaker, other = open_speaker(first.hw_name), open_speaker()  # the newest card is plain vhw
    speaker.write(np.full(PERIOD, 5, np.int16).tobytes())
    other.write(np.full(PERIOD, 9, np.int16).tobytes())
    assert set(first.spoken(0, first.now() + RATE).flat) == {0, 5}
    assert set(second.spoken(0, second.now() + RATE).flat) == {0, 9}


def test_vplug_converts_rate_and_channels_both_ways(virtual_card: CardFactory) -> None:
    card = virtual_card(rate=RATE, echo_gain=1.0, echo_delay=10)
    mic = open_mic("vplug", rate=48000, channels=2, periodsize=480, periods=16)
    speaker = open_speaker("vplug", rate=48000, channels=2, periodsize=480, periods=16)
    assert (mic.info()["rate"], mic.info()["channels"]) == (48000, 2)
    mic.read()
    speaker.write(np.full(2 * 4800, 6000, np.int16).tobytes())
    heard = record(mic, 4800)
    assert abs(int(np.median(heard[heard > 1000])) - 6000) < 50
    assert abs(int(np.median(card.spoken(card.playback_start + 100, card.playback_start + 1000))) - 6000) < 50


def test_vplug_without_a_rate_conversion_is_exact_though_alsa_reads_ahead(virtual_card: CardFactory) -> None:
    card = virtual_card(rate=RATE)
    mic = open_mic("vplug", channels=2)
    mic.read()
    said = noise(1600)
    at = card.say(said, card.now() + 400)
    blocks = []
    for _ in range(16):  # alsa-lib fetches all there is each time it is asked, ahead of the reads
        mic.avail()
        blocks.append(mic.read()[1])
        mic.avail()
    while card.now() < at + 1600:
        time.sleep(0.005)
    rest = record(mic, at + 1600 - card.capture_start - 17 * PERIOD)
    heard = np.concatenate([np.frombuffer(b"".join(blocks), np.int16), rest])[::2]
    first = at - card.capture_start - PERIOD
    assert np.array_equal(heard[first : first + 1600], said)


def test_another_process_opens_the_card_by_its_plain_names_and_leaves_witness(tmp_path: Path) -> None:
    card = VirtualCard(tmp_path / "odd, name", rate=RATE)
    program = f"""
import alsaaudio
for name in ("vhw", "vplug", "default", {card.hw_name!r}):
    pcm = alsaaudio.PCM(alsaaudio.PCM_PLAYBACK, device=name, rate={RATE}, channels=1, periodsize=160)
    pcm.write(bytes(320))
    pcm.close()
"""
    conf = tmp_path / "asound.conf"  # alsa-lib takes a blank in the path for the end of it
    shutil.copy(card.conf, conf)
    environment = {**os.environ, **card.environment, "ALSA_CONFIG_PATH": str(conf)}
    before = card.now()
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=30)
    spans = card.open_spans(Stream.PLAYBACK)
    assert len(spans) == 4
    assert all(before < opened < (closed or 0) <= card.now() for opened, closed in spans)
    assert not card.playback_open
    assert not card.events(Stream.CAPTURE)


def test_a_killed_process_leaves_its_span_open_and_the_card_free(tmp_path: Path) -> None:
    card = VirtualCard(tmp_path, rate=RATE)
    program = "import alsaaudio, os; p = alsaaudio.PCM(alsaaudio.PCM_CAPTURE, device='vhw'); os.kill(os.getpid(), 9)"
    command = [sys.executable, "-c", program]
    environment = {**os.environ, **card.environment}
    for _ in range(2):
        assert subprocess.run(command, check=False, env=environment, timeout=30).returncode == -9
    assert [closed for _, closed in card.open_spans(Stream.CAPTURE)] == [None, None]


def test_the_log_tells_when_the_microphone_was_open_and_running(virtual_card: CardFactory) -> None:
    card = virtual_card(rate=RATE)
    assert (card.capture_open, card.playback_open) == (False, False)
    marks = [card.now()]
    mic = open_mic()
    marks.append(card.now())
    assert (card.capture_open, card.playback_open) == (True, False)
    assert card.open_spans(Stream.CAPTURE)[0][1] is None
    mic.read()
    marks.append(card.now())
    mic.close()
    marks.append(card.now())
    events = card.events()
    assert [(e.stream, e.kind) for e in events] == [(Stream.CAPTURE, k) for k in (0, 2, 3, 1)]
    opened, started, stopped, closed = (e.frame for e in events)
    assert marks[0] <= opened <= marks[1] <= started <= marks[2] <= stopped <= closed <= marks[3]
    assert events[1] == Event(card.capture_start, Stream.CAPTURE, Kind.STARTED)
    assert card.open_spans(Stream.CAPTURE) == [(opened, closed)]
    assert not card.capture_open


def test_a_log_that_overflowed_proves_nothing_and_says_so(virtual_card: CardFactory) -> None:
    card = virtual_card(rate=RATE)
    for _ in range(LOG_LENGTH // 2):
        open_mic().close()
    assert len(card.events()) == LOG_LENGTH
    open_mic().close()
    with pytest.raises(OverflowError, match="holds 1024 events and 1026 happened"):
        card.events()
    assert not card._response.any()  # what lies behind the log in the file


def test_speed_is_the_clocks_error(virtual_card: CardFactory) -> None:
    virtual_card(rate=RATE, speed=4.0)
    mic = open_mic(periods=128)
    mic.read()
    began = time.monotonic()
    record(mic, 3200)
    assert 0.02 < time.monotonic() - began < 0.15  # 50 ms; at speed 1 it takes 200 ms


class NativePcm:
    """ALSA without the binding, which has no delay(): the number a program in C would use."""

    def __init__(self, name: str) -> None:
        self._asound = ctypes.CDLL("libasound.so.2")
        self._pcm = ctypes.c_void_p()
        self._check(self._asound.snd_pcm_open(ctypes.byref(self._pcm), name.encode(), 0, 1))
        self._check(self._asound.snd_pcm_set_params(self._pcm, 2, 3, 1, RATE, 0, 200_000))

    @staticmethod
    def _check(result: int) -> int:
        assert result >= 0, os.strerror(-result)
        return result

    def write(self, samples: bytes) -> int:
        return self._check(self._asound.snd_pcm_writei(self._pcm, samples, ctypes.c_ulong(len(samples) // 2)))

    def start(self) -> None:
        self._check(self._asound.snd_pcm_start(self._pcm))

    def delay(self) -> int:
        delay = ctypes.c_long()
        self._check(self._asound.snd_pcm_delay(self._pcm, ctypes.byref(delay)))
        return delay.value

    def close(self) -> None:
        self._check(self._asound.snd_pcm_close(self._pcm))


def test_native_delay_is_the_frames_until_the_next_written_one_sounds(virtual_card: CardFactory) -> None:
    card = virtual_card(rate=RATE)
    pcm = NativePcm(card.hw_name)
    assert pcm.write(bytes(2 * 1600)) == 1600
    assert pcm.delay() == 1600  # staged, not started
    pcm.start()
    due = card.playback_start + 1600
    for _ in range(50):
        before, delay, after = card.now(), pcm.delay(), card.now()
        assert due - after <= delay <= due - before
    card.freeze()
    assert pcm.delay() == due - card.now()
    pcm.write(np.full(5, 77, np.int16).tobytes())
    assert pcm.delay() == due + 5 - card.now()
    assert set(card.spoken(due, due + 5)[:, 0]) == {77}
    pcm.close()


def test_buffer_size_less_avail_is_that_delay_in_the_binding(virtual_card: CardFactory) -> None:
    card = virtual_card(rate=RATE)
    speaker = open_speaker(mode=alsaaudio.PCM_NONBLOCK)
    size = speaker.info()["buffer_size"]
    speaker.write(bytes(2 * 1600))
    due = card.playback_start + 1600
    for _ in range(50):
        before, delay, after = card.now(), size - speaker.avail(), card.now()
        assert due - after <= delay <= due - before
    card.freeze()
    assert size - speaker.avail() == due - card.now()


def test_the_cards_are_in_the_list_of_pcms(virtual_card: CardFactory) -> None:
    virtual_card(seconds=1)
    assert alsaaudio.pcms() == ["vhw", "vplug"]
    assert alsaaudio.cards() == []


def test_the_plugin_is_built_once_for_each_version_of_its_source(tmp_path: Path) -> None:
    first = build(cache=tmp_path)
    assert build(cache=tmp_path) == first
    built_at = first.stat().st_mtime_ns
    changed = tmp_path / "changed.c"
    changed.write_text(SOURCE.read_text() + "\n/* changed */\n")
    assert build(changed, tmp_path) != first
    assert first.stat().st_mtime_ns == built_at


def test_a_missing_alsa_header_names_its_package(tmp_path: Path) -> None:
    broken = tmp_path / "broken.c"
    broken.write_text("#include <alsa/no_such_header.h>\n")
    with pytest.raises(CardBuildError, match="libasound2-dev"):
        build(broken, tmp_path)
    assert not list(tmp_path.rglob("*.so"))


def test_a_missing_compiler_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CardBuildError, match="apt-get install gcc libasound2-dev"):
        build(cache=tmp_path)
