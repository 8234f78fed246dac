from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.local.audio import SILENCE_DBFS, Sound, decode, encode, level_dbfs

PCM = {"type": "audio/pcm", "rate": 24000}
LAWS = [{"type": "audio/pcmu"}, {"type": "audio/pcma"}]


@given(st.binary(max_size=200).filter(lambda data: len(data) % 2 == 0))
def test_pcm_is_exact(data: bytes) -> None:
    assert encode(decode(data, PCM), PCM) == data


def test_an_odd_number_of_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="buffer size"):
        decode(b"abc", PCM)


@pytest.mark.parametrize("law", LAWS)
def test_every_g711_code_survives_a_round_trip(law: dict[str, str]) -> None:
    sound = decode(bytes(range(256)), law)
    again = decode(encode(sound, law), law)
    np.testing.assert_array_equal(again.samples, sound.samples)


@pytest.mark.parametrize("law", LAWS)
def test_g711_is_logarithmic(law: dict[str, str]) -> None:
    samples = np.array([-30000, -1000, -100, 0, 100, 1000, 30000], np.int16)
    error = np.abs(decode(encode(Sound(samples, 8000), law), law).samples.astype(int) - samples)
    assert (error <= np.maximum(16, np.abs(samples.astype(int)) * 0.04)).all()


def test_known_g711_values() -> None:
    # ITU-T G.711, tables 1a and 2a, scaled to 16 bits.
    assert decode(b"\x00\x80\xff", LAWS[0]).samples.tolist() == [-32124, 32124, 0]
    assert decode(b"\xd5\x55\xaa\x2a", LAWS[1]).samples.tolist() == [8, -8, 32256, -32256]


def test_resampling_keeps_the_length_in_time() -> None:
    sound = Sound(np.zeros(24000, np.int16), 24000)
    assert sound.at(16000).length_ms == sound.length_ms == 1000
    assert len(encode(sound, LAWS[0])) == 8000


def test_levels() -> None:
    assert level_dbfs(np.zeros(100, np.int16)) == SILENCE_DBFS
    assert level_dbfs(np.zeros(0, np.int16)) == SILENCE_DBFS
    assert level_dbfs(np.full(100, -32768, np.int16)) == pytest.approx(0)
