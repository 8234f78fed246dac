"""Makes the recordings in appliance/audio/words from the texts of ``conversation.lines``: ``python -m tests.words``.

Needs the extra ``local``: the voice is Hibari's (hibari-tts, Apache-2.0; what it speaks is not bound by its licence,
and these recordings are under the licence of this repository). The same text always gives the same recording. 16 kHz
and 16 bits are enough for a voice and a small loudspeaker; words are levelled, since digits of unequal loudness are
what one mishears.
"""

from __future__ import annotations

import asyncio
import wave
from pathlib import Path

import numpy as np
import soxr

from appliance.audio.speech import WORDS
from appliance.conversation.lines import DIGITS, TEXTS
from appliance.local.speech import Hibari

RATE = 16_000
DIGIT_SPEED, LINE_SPEED = 0.85, 0.95
RMS = 0.09  # of full scale, while it is voiced
PEAK = 0.6
TAIL_S = 0.06


async def make() -> None:
    voice = Hibari()
    WORDS.mkdir(exist_ok=True)
    spoken = {word: (f"{word.capitalize()}.", DIGIT_SPEED) for word in DIGITS}
    spoken["six"] = ("Six!", 0.9)  # with a sharper s: "thix" was what a recogniser heard in some groups
    spoken |= {line.value: (text, LINE_SPEED) for line, text in TEXTS.items()}
    for name, (text, speed) in spoken.items():
        sound = await voice.speak(text, speed=speed)
        write(WORDS / f"{name}.wav", soxr.resample(sound.samples.astype(np.float32) / 32768, sound.rate, RATE))
    voice.close()


def write(path: Path, samples: np.ndarray[tuple[int], np.dtype[np.float32]]) -> None:
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    samples = samples[: int(loud[-1]) + int(TAIL_S * RATE)]
    voiced = samples[np.abs(samples) > 0.02]
    gain = min(RMS / float(np.sqrt(np.mean(np.square(voiced)))), PEAK / float(np.abs(samples).max()))
    fade = int(0.01 * RATE)
    samples = samples * np.float32(gain)
    samples[:fade] *= np.linspace(0, 1, fade, dtype=np.float32)
    samples[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


if __name__ == "__main__":
    asyncio.run(make())
