"""Was there a spoken reply: the recorded loudspeaker, heard by a recogniser, and the LED's line.

Responsible for: judging what ``kit/talk.py`` recorded. The question is a recording that ships; the answer is known.
"""

from __future__ import annotations

import asyncio
import io
import json
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from appliance.local.audio import Sound
from appliance.local.speech import Moonshine

QUESTION = Path(__file__).resolve().parents[2] / "appliance/local/questions/seven-times-six.wav"
ANSWERS = ("42", "forty-two", "forty two")
RATE = 48_000


@dataclass(frozen=True)
class Turn:
    """One press: what was heard in reply, how long the loudspeaker sounded, what the LED's line did when."""

    words: str
    sounded_s: float
    events: list[tuple[int, str]]

    @property
    def answered(self) -> bool:
        """Whether the right answer was really spoken."""
        return any(answer in self.words.lower() for answer in ANSWERS)

    @property
    def led(self) -> list[str]:
        """The LED's line, as it changed from the press on."""
        pressed = next(at for at, what in self.events if what == "press")
        return [
            f"{at - pressed} ms: {what[4:]}" for at, what in self.events if what.startswith("led") and at >= pressed
        ]


def question() -> bytes:
    """The question as the guest's card takes it: a WAV of 48 kHz."""
    with wave.open(str(QUESTION)) as file:
        sound = Sound(np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16), file.getframerate())
    packed = io.BytesIO()
    with wave.open(packed, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(sound.at(RATE).samples.tobytes())
    return packed.getvalue()


def judge(recorded: bytes, events: str) -> Turn:
    """Listen to what the loudspeaker was given."""
    samples = np.frombuffer(recorded[: len(recorded) // 2 * 2], "<i2").astype(np.int16)
    loud = np.abs(samples[: len(samples) // 480 * 480].reshape(-1, 480)).max(axis=1) > 300
    told: list[tuple[int, str]] = [(int(at), str(what)) for at, what in json.loads(events)]
    return Turn(asyncio.run(_heard(Sound(samples, RATE))), float(loud.sum()) / 100, told)


async def _heard(sound: Sound) -> str:
    ears = Moonshine()
    try:
        return await ears.hear(sound)
    finally:
        ears.close()
