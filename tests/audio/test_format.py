"""Sample formats, there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.audio.format import BYTES_PER_FRAME, amplified, from_device, level_dbfs, mixed, mono_of, to_device

sounds = st.lists(st.integers(-32_768, 32_767), max_size=50).map(lambda values: np.array(values, np.int16))


@given(sounds, st.sampled_from(sorted(BYTES_PER_FRAME)), st.integers(1, 6))
def test_every_format_and_channel_count_survives_the_round_trip(
    sound: np.ndarray[tuple[int], np.dtype[np.int16]], sample_format: str, channels: int
) -> None:
    data = to_device(sound, sample_format, channels)
    assert len(data) == len(sound) * channels * BYTES_PER_FRAME[sample_format]
    back = from_device(data, sample_format, channels)
    assert back.shape == (len(sound), channels)
    assert back.dtype == np.int16
    assert all(np.array_equal(back[:, k], sound) for k in range(channels))


@pytest.mark.parametrize(
    ("sample_format", "data", "value"),
    [
        ("S16_LE", b"\x34\x12", 0x1234),
        ("S32_LE", b"\xff\xff\x34\x12", 0x1234),
        ("S24_3LE", b"\xff\x34\x12", 0x1234),
        ("S24_LE", b"\xff\x34\x12\x00", 0x1234),
        ("S24_LE", b"\x00\x00\x80\x00", -32_768),  # the fourth byte means nothing
        ("S24_LE", b"\x00\x00\x80\xff", -32_768),
        ("S24_3LE", b"\x00\x00\x80", -32_768),
        ("FLOAT_LE", np.float32(0.5).tobytes(), 16_384),
        ("FLOAT_LE", np.float32(1.5).tobytes(), 32_767),
        ("FLOAT_LE", np.float32(-1.5).tobytes(), -32_768),
    ],
)
def test_bytes_as_the_cards_send_them(sample_format: str, data: bytes, value: int) -> None:
    assert from_device(data, sample_format, 1)[0, 0] == value


@pytest.mark.parametrize(
    "convert", [lambda: from_device(b"", "MU_LAW", 1), lambda: to_device(np.zeros(1, np.int16), "U8", 1)]
)
def test_other_formats_are_refused(convert: object) -> None:
    assert callable(convert)
    with pytest.raises(ValueError, match=r"MU_LAW|U8"):
        convert()


def test_microphones_are_chosen_and_averaged() -> None:
    frames = np.array([[100, 200, 30_000, -5], [-32_768, 0, -32_768, 7]], np.int16)
    assert list(mono_of(frames, (1,))) == [200, 0]
    assert list(mono_of(frames, (0, 2))) == [15_050, -32_768], "no overflow"
    assert mono_of(frames, (3,)).flags["C_CONTIGUOUS"]


@given(sounds, st.floats(0, 4))
def test_gain_saturates(sound: np.ndarray[tuple[int], np.dtype[np.int16]], gain: float) -> None:
    exact = np.clip(sound.astype(float) * gain, -32_768, 32_767)
    assert np.abs(amplified(sound, gain) - exact).max(initial=0) <= 1


def test_mixing_saturates() -> None:
    one, other = np.array([30_000, -30_000, 5], np.int16), np.array([10_000, -10_000, -7], np.int16)
    assert list(mixed(one, other)) == [32_767, -32_768, -2]


def test_levels() -> None:
    assert level_dbfs(np.zeros(160, np.int16)) == -96
    assert level_dbfs(np.zeros(0, np.int16)) == -96
    assert level_dbfs(np.full(160, -32_768, np.int16)) == pytest.approx(0, abs=0.05)
    assert level_dbfs(np.full(160, 3277, np.int16)) == pytest.approx(-20, abs=0.05)
