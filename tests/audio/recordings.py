"""Real speech from Debian's pocketsphinx-testdata (BSD-2-Clause), which the test set-up installs."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

FOLDER = Path("/usr/share/pocketsphinx/test/data")
RATE = 16_000


def recording(name: str) -> NDArray[np.int16]:
    """A recording at 16 kHz mono; skips the test where the package is absent."""
    path = FOLDER / name
    if not FOLDER.is_dir():
        pytest.skip("apt-get install pocketsphinx-testdata")
    if path.suffix == ".raw":
        return np.frombuffer(path.read_bytes(), "<i2")
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels()) == (RATE, 1)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


NAMES = ("cards/001.wav", "cards/003.wav", "cards/005.wav", "librivox/sense_and_sensibility_01_austen_64kb-0880.wav")
