"""The sound card in virtual time keeps its promises, for others are tested with it."""

from __future__ import annotations

import numpy as np
import pytest

from appliance.audio.format import from_device
from appliance.errors import DeviceError
from tests.fakes.sound_card import Loudspeaker, Microphone, Script, Time


def ramp(frames: int) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    return np.arange(1, frames + 1, dtype=np.int16)


def test_what_is_written_sounds_from_now_on_and_once() -> None:
    time = Time()
    pcm = Loudspeaker(time, 1000, buffer_frames=100)
    time.now += 0.010
    assert pcm.write(ramp(30).tobytes()) == 30
    time.now += 0.020
    assert pcm.delay() == 10
    assert list(pcm.sounded) == [0] * 10 + list(range(1, 21))
    time.now += 0.010
    assert pcm.delay() == 0


def test_a_full_ring_takes_what_fits() -> None:
    time = Time()
    pcm = Loudspeaker(time, 1000, buffer_frames=100)
    assert pcm.write(ramp(130).tobytes()) == 100
    assert pcm.write(ramp(10).tobytes()) == 0
    time.now += 0.005
    assert pcm.write(ramp(10).tobytes()) == 5


def test_an_empty_ring_is_an_underrun_and_takes_nothing_once() -> None:
    time = Time()
    pcm = Loudspeaker(time, 1000)
    pcm.write(ramp(10).tobytes())
    time.now += 0.011
    assert pcm.delay() is None
    assert pcm.write(ramp(10).tobytes()) is None
    assert pcm.write(ramp(10).tobytes()) == 10
    assert (pcm.underruns, pcm.starts) == (1, 2)


def test_drop_cuts_at_the_frame() -> None:
    time = Time()
    pcm = Loudspeaker(time, 1000)
    pcm.write(ramp(50).tobytes())
    time.now += 0.020
    pcm.drop()
    time.now += 0.100
    assert list(pcm.sounded[:22]) == [*range(1, 21), 0, 0]
    assert pcm.delay() == 0


def test_an_injected_xrun_loses_the_ring() -> None:
    time = Time()
    pcm = Loudspeaker(time, 1000)
    pcm.write(ramp(50).tobytes())
    time.now += 0.020
    pcm.xrun()
    assert pcm.delay() is None
    assert pcm.write(ramp(5).tobytes()) is None
    time.now += 0.1
    assert np.count_nonzero(pcm.sounded) == 20


def test_positions_in_steps_and_faults() -> None:
    time = Time()
    pcm = Loudspeaker(time, 1000, step=10)
    pcm.write(ramp(50).tobytes())
    time.now += 0.019
    assert pcm.delay() == 40
    pcm.freeze()
    time.now += 1
    assert pcm.delay() == 40
    pcm.gone = True
    assert pcm.delay() is None
    with pytest.raises(DeviceError):
        pcm.drop()


@pytest.mark.parametrize("sample_format", ["S16_LE", "S32_LE", "S24_3LE"])
def test_the_microphone_hears_from_its_first_reading_on(sample_format: str) -> None:
    time = Time()
    sound = np.stack((ramp(100), -ramp(100)), axis=1)
    pcm = Microphone(time, sound, 1000, sample_format=sample_format)
    assert pcm.read() == b""
    time.now += 0.025
    assert pcm.waiting() == 25
    got = [from_device(pcm.read() or b"", sample_format, 2) for _ in range(4)]
    assert [len(block) for block in got] == [10, 10, 5, 0]
    assert np.array_equal(np.concatenate(got), sound[:25])


def test_a_microphone_not_read_overruns() -> None:
    time = Time()
    pcm = Microphone(time, ramp(1000), 1000, buffer_frames=100)
    pcm.read()
    time.now += 0.2
    assert pcm.read() is None
    assert pcm.read() == b""
    time.now += 0.010
    assert list(from_device(pcm.read() or b"", "S16_LE", 1)[:, 0]) == list(range(201, 211))


def test_a_script_runs_in_order_and_to_its_end() -> None:
    time = Time(0.0)
    seen: list[tuple[str, float]] = []
    script = Script(time)
    script.at(0.5, lambda: seen.append(("action", time.now)))
    turns = script.run(1.0, lambda: seen.append(("turn", time.now)), lambda: 0.4)
    assert seen == [("turn", 0.0), ("turn", 0.4), ("action", 0.5), ("turn", 0.5), ("turn", 0.9)]
    assert turns == 4
    assert time.now == 1.0
