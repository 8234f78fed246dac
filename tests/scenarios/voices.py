"""Real human voices from Debian's pocketsphinx-testdata, and a WAV reader for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soxr

from tests.scenarios.home import Samples

FOLDER = Path("/usr/share/pocketsphinx/test/data")


def go_forward(rate: int) -> Samples:
    """A man says "go forward ten meters": int16 mono at ``rate`` Hz, 16 kHz in the original."""
    return _resampled(FOLDER / "goforward.raw", rate)


def _resampled(path: Path, rate: int) -> Samples:
    raw = np.frombuffer(path.read_bytes(), "<i2")
    out: Samples = raw.copy() if rate == 16_000 else soxr.resample(raw, 16_000, rate, quality="HQ")
    return out
