"""Ears and a voice: Moonshine recognises, Hibari speaks, both from models inside their wheels.

Responsible for: sound to text and text to sound, away from the event loop. Not for: where a turn ends
(``turns``) or what to answer (``dialogue``).

Two habits of Moonshine's tiny model are handled here: its own voice detector cuts a phantom first word from
recordings that start with a breath ("You", "I"), so it is off, and silence makes it invent a "You", so silence
is trimmed with WebRTC's detector and a sound without voice is not given to it at all.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import webrtcvad

from appliance.errors import ConfigError
from appliance.local.audio import Sound, level_dbfs

_HEAR_RATE = 16000
_FRAME = _HEAR_RATE // 50  # 20 ms
_MIN_VOICED_FRAMES = 4
_LEAD_FRAMES, _TAIL_FRAMES = 10, 15
_AUDIBLE = 60  # of 32767: what the voice leaves below it is silence
_LEAD_MS, _PAUSE_MS = 20, 250  # kept around a spoken sentence
_ABOVE_ROOM_DB = 6.0
_MAX_PASS_S = 24.0  # of audio in one go: the model's attention grows with the square
_HINT = "install the extra: pip install 'voice-appliance[local]'"


class Listener(Protocol):
    """Turns what was said into text."""

    async def hear(self, sound: Sound) -> str:
        """The words in the sound, "" if there are none."""
        ...


class Talker(Protocol):
    """Turns text into speech."""

    async def speak(self, sentence: str, *, speed: float = 1.0) -> Sound:
        """The sentence, spoken."""
        ...


def sentences(text: str) -> list[str]:
    """The text cut after each sentence, so that the first can be heard while the others are made."""
    return [part for part in re.split(r"(?<=[.!?])\s+", text.strip()) if part]


def trimmed(sound: Sound) -> Sound:
    """The 16 kHz sound without the silence around its voice; empty if there is no voice in it."""
    detector = webrtcvad.Vad(2)
    whole = len(sound.samples) // _FRAME * _FRAME
    frames = [sound.samples[start : start + _FRAME] for start in range(0, whole, _FRAME)]
    levels = [level_dbfs(frame) for frame in frames]
    # Speech rises above the room; a steady noise does not, whatever the detector thinks of it.
    room_dbfs = float(np.percentile(levels, 10)) if levels else 0.0
    voiced = [
        index
        for index, frame in enumerate(frames)
        if detector.is_speech(frame.tobytes(), sound.rate) and levels[index] > room_dbfs + _ABOVE_ROOM_DB
    ]
    if len(voiced) < _MIN_VOICED_FRAMES:
        return Sound(sound.samples[:0], sound.rate)
    begin = max(0, voiced[0] - _LEAD_FRAMES) * _FRAME
    return Sound(sound.samples[begin : (voiced[-1] + 1 + _TAIL_FRAMES) * _FRAME], sound.rate)


def without_padding(sound: Sound) -> Sound:
    """A spoken sentence without the third of a second of silence the voice puts before and after it."""
    loud = np.flatnonzero(np.abs(sound.samples.astype(np.int32)) > _AUDIBLE)
    if len(loud) == 0:
        return Sound(sound.samples[:0], sound.rate)
    begin = max(0, int(loud[0]) - sound.rate * _LEAD_MS // 1000)
    return Sound(sound.samples[begin : int(loud[-1]) + sound.rate * _PAUSE_MS // 1000], sound.rate)


def passes(sound: Sound) -> list[Sound]:
    """The sound in pieces the recogniser takes, each cut at the quietest tenth of a second."""
    pieces: list[Sound] = []
    rest = sound.samples
    limit, window = int(_MAX_PASS_S * sound.rate), sound.rate // 10
    while len(rest) > limit:
        late = rest[limit // 2 : limit]
        energy = np.square(late[: len(late) // window * window].astype(np.float64)).reshape(-1, window).sum(axis=1)
        cut = limit // 2 + int(np.argmin(energy)) * window + window // 2
        pieces.append(Sound(rest[:cut], sound.rate))
        rest = rest[cut:]
    return [*pieces, Sound(rest, sound.rate)]


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as problem:
        raise ConfigError(f"the speech package {name} cannot be used ({problem})", hint=_HINT) from problem


class Moonshine:
    """The tiny English Moonshine model in a thread of its own."""

    def __init__(self) -> None:
        """Load the model: about half a second.

        Raises:
            ConfigError: the package is not installed.
        """
        package = _module("moonshine_voice")
        self._recogniser = package.Transcriber(
            str(package.get_model_path("tiny-en")),
            package.ModelArch.TINY,
            options={"return_audio_data": "false", "vad_threshold": "0"},
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="listener")

    async def hear(self, sound: Sound) -> str:
        """The words in the sound, "" if there is no voice in it."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._hear, sound)

    def _hear(self, sound: Sound) -> str:
        voice = trimmed(sound.at(_HEAR_RATE))
        if len(voice.samples) == 0:
            return ""
        return " ".join(filter(None, (self._recognise(piece) for piece in passes(voice))))

    def _recognise(self, sound: Sound) -> str:
        # Of the paddings tried, this one cost the fewest words (4.3 -> 2.2 % of 92 words of real voices).
        before, after = np.zeros(_HEAR_RATE * 3 // 10, np.float32), np.zeros(_HEAR_RATE // 10, np.float32)
        samples = np.concatenate([before, sound.samples.astype(np.float32) / 32768, after])
        result = self._recogniser.transcribe_without_streaming(samples.tolist(), _HEAR_RATE)
        return " ".join(line.text.strip() for line in result.lines if line.text.strip())

    def close(self) -> None:
        """Wait for the current word and free the model."""
        self._thread.shutdown()
        self._recogniser.close()


class Hibari:
    """Hibari's one built-in voice in a thread of its own: every voice name of the API sounds like it."""

    def __init__(self) -> None:
        """Load the model: about a second.

        Raises:
            ConfigError: the package is not installed.
        """
        self._voice = _module("hibari").Hibari()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="talker")

    async def speak(self, sentence: str, *, speed: float = 1.0) -> Sound:
        """The sentence at 24 kHz; the same sentence always sounds the same."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._speak, sentence, speed)

    def _speak(self, sentence: str, speed: float) -> Sound:
        samples = self._voice(sentence, speed=max(0.5, speed), seed=0)
        return without_padding(Sound((np.clip(samples, -1, 1) * 32767).astype(np.int16), 24000))

    def close(self) -> None:
        """Wait for the current sentence."""
        self._thread.shutdown()


async def load(clock: Callable[[], float] = time.monotonic) -> tuple[Moonshine, Hibari, float]:
    """Both models, loaded and warm, and how many seconds that took."""
    begin = clock()
    loop = asyncio.get_running_loop()
    moonshine = await loop.run_in_executor(None, Moonshine)
    hibari = await loop.run_in_executor(None, Hibari)
    await moonshine.hear(await hibari.speak("Ready."))
    return moonshine, hibari, clock() - begin
