"""The turn detector: where speech starts and stops in a stream of samples.

Responsible for: ``server_vad`` and ``semantic_vad``. The detector is WebRTC's, with a loudness gate and a
tracked noise floor around it. ``semantic_vad`` understands nothing here: it is the same detector with a longer
wait, chosen by the eagerness. Not for: keeping audio (``hearing``) or acting on turns (``session``).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import soxr
import webrtcvad

from appliance.local.audio import Samples, level_dbfs
from appliance.local.schema import Json

_FRAME_MS = 20
_WINDOW_FRAMES = 5
_START_FRAMES = 4  # of the window: 80 ms of voice are a start
_KEEP_FRAMES = 3  # of the window: fewer are a click, not a continuation
_ABOVE_FLOOR_DB = 6.0
_FLOOR_FRAMES = 75  # the quietest frame of 1.5 s is the room: longer than any pause-free stretch of speech
_WAIT_MS = {"high": 600, "auto": 1000, "medium": 1000, "low": 2000}


@dataclass(frozen=True)
class VoiceStarted:
    """Speech began at ``at_ms`` of all audio fed, before any padding."""

    at_ms: int


@dataclass(frozen=True)
class VoiceStopped:
    """Speech was found to be over at ``at_ms``; this includes the silence that was waited for."""

    at_ms: int


class TurnDetector:
    """Feed it every sample once, in order; it answers with starts and stops."""

    def __init__(self, settings: Json, *, rate: int, position_ms: float) -> None:
        """Start listening.

        Args:
            settings: the session's effective ``turn_detection``.
            rate: of the samples, Hz: 24000 or 8000.
            position_ms: what was fed to earlier detectors of the session.
        """
        threshold = float(settings.get("threshold", 0.5))
        self._vad = webrtcvad.Vad(min(3, int(1 + 3 * threshold)))
        self._gate_dbfs = -70.0 + 40.0 * threshold
        if settings["type"] == "server_vad":
            self._wait_ms = max(_FRAME_MS, int(settings["silence_duration_ms"]))
        else:
            self._wait_ms = _WAIT_MS[settings["eagerness"]]
        # WebRTC's detector takes 8 and 16 kHz, not 24.
        self._resampler = soxr.ResampleStream(rate, 16000, 1, dtype="int16", quality="LQ") if rate == 24000 else None
        self._rate = 16000 if rate == 24000 else rate
        self._rest: Samples = np.zeros(0, np.int16)
        self._position_ms = position_ms
        self._window: deque[bool] = deque(maxlen=_WINDOW_FRAMES)
        self._levels: deque[float] = deque(maxlen=_FLOOR_FRAMES)
        self._silent_ms = 0
        self.speaking = False

    def feed(self, samples: Samples) -> list[VoiceStarted | VoiceStopped]:
        """What the samples tell, in order. Positions are exact to a frame of 20 ms."""
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples)
        samples = np.concatenate([self._rest, samples])
        size = self._rate * _FRAME_MS // 1000
        facts: list[VoiceStarted | VoiceStopped] = []
        whole = len(samples) - len(samples) % size
        for start in range(0, whole, size):
            fact = self._frame(samples[start : start + size])
            if fact is not None:
                facts.append(fact)
        self._rest = samples[whole:]
        return facts

    def _frame(self, frame: Samples) -> VoiceStarted | VoiceStopped | None:
        self._window.append(self._is_voice(frame))
        self._position_ms += _FRAME_MS
        voiced = sum(self._window)
        if not self.speaking:
            if voiced < _START_FRAMES:
                return None
            self.speaking = True
            self._silent_ms = 0
            window_ms = len(self._window) * _FRAME_MS
            return VoiceStarted(max(0, round(self._position_ms - window_ms)))
        if voiced >= _KEEP_FRAMES:
            self._silent_ms = 0
            return None
        self._silent_ms += _FRAME_MS
        if self._silent_ms < self._wait_ms:
            return None
        self.speaking = False
        self._window.clear()
        return VoiceStopped(round(self._position_ms))

    def _is_voice(self, frame: Samples) -> bool:
        level = level_dbfs(frame)
        self._levels.append(level)
        # WebRTC's detector alone takes a steady noise for speech once it is loud.
        loud = level > max(self._gate_dbfs, min(self._levels) + _ABOVE_FLOOR_DB)
        return loud and bool(self._vad.is_speech(frame.tobytes(), self._rate))
