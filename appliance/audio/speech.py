"""Recorded words: few, short, bundled, so that a device without a network can say what is wrong and its code.

Responsible for: joining recordings into one sound at the card's rate. Not for: which words (``conversation.lines``)
and when they play (``duplex``). The recordings are 16-bit mono WAVs beside this file, made by ``tests.words``.
"""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from appliance.audio.format import Samples
from appliance.audio.resample import Resampler
from appliance.conversation.lines import PAUSE

WORDS = Path(__file__).parent / "words"
LEAD_S = 0.25  # after the ear-con
GAP_S = 0.2  # between words
PAUSE_S = 0.6


def join(words: Sequence[str], rate: int) -> Samples:
    """Join the named recordings: int16 mono at ``rate`` Hz."""
    parts: list[Samples] = [np.zeros(int(LEAD_S * rate), np.int16)]
    for word in words:
        if word == PAUSE:
            parts.append(np.zeros(int(PAUSE_S * rate), np.int16))
        else:
            parts += [_recording(word, rate), np.zeros(int(GAP_S * rate), np.int16)]
    return np.concatenate(parts)


def _recording(word: str, rate: int) -> Samples:
    with wave.open(str(WORDS / f"{word}.wav"), "rb") as file:
        recorded = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16)
    if recorded == rate:
        return samples
    resampler = Resampler(recorded, rate)
    return np.concatenate((resampler.process(samples), resampler.flush()))
