"""Rooms, each drawn from a seed: where the device stands, who talks from where, how it echoes, what else is heard.

Responsible for: impulse responses (image sources by pyroomacoustics, a diffuse tail behind them), the loudspeaker's
distortion, noise. Not for: time (``air``). Development and test rooms have different seeds, and nothing else in common.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tests.acoustic.voices import RATE, Sound, Split, active_level, levelled, music, utterances

SEED = {"development": 10_000, "test": 20_000}
SOUND_M_S = 343.0
Background = Literal["quiet", "fan", "babble", "music"]
BACKGROUNDS: tuple[Background, ...] = ("quiet", "fan", "babble", "music")


@dataclass(frozen=True, slots=True)
class Room:
    """One room with the device in it. Responses are (microphones, taps) at 16 kHz."""

    name: str
    seed: int
    rt60_s: float
    speaker_m: float  # loudspeaker to first microphone
    talker_m: float
    echo: NDArray[np.float32]  # loudspeaker to microphones
    moved: NDArray[np.float32]  # the same after something was moved
    talker: NDArray[np.float32]
    drive: float  # how hard the loudspeaker is driven: 0 is linear
    drift_ppm: float  # the microphone's clock against the loudspeaker's
    latency_ms: float  # of converters and buffers that ALSA does not know of
    background: Background
    background_db: float  # against the talker


def draw(split: Split, number: int, mics: int = 1) -> Room:
    """Draw room ``number`` of a set."""
    seed = SEED[split] + number
    rng = np.random.default_rng(seed)
    size = rng.uniform((2.6, 2.4, 2.2), (7.0, 6.0, 3.2))
    rt60 = float(rng.uniform(0.2, 0.8))
    centre = np.array([*rng.uniform(0.6, size[:2] - 0.6), rng.uniform(0.6, 1.2)])
    microphones = _array(centre, mics)
    distance, angle = rng.uniform(0.05, 0.15), rng.uniform(0, 2 * np.pi)
    loudspeaker = microphones[0] + distance * np.array([np.cos(angle) * 0.8, np.sin(angle) * 0.8, -0.6])
    talker, talker_m = _place_talker(rng, size, centre)
    moved = loudspeaker + rng.uniform(-0.03, 0.03, 3)
    absorption = _absorption(size, rt60)
    echo, changed, voice = (
        _responses(rng, size, absorption, rt60, at, microphones) for at in (loudspeaker, moved, talker)
    )
    return Room(
        f"{split}-{number}",
        seed,
        rt60,
        float(distance),
        talker_m,
        echo,
        changed,
        voice,
        drive=float(rng.uniform(0.0, 0.8)),
        drift_ppm=float(rng.uniform(-200, 200)) if number % 2 else 0.0,  # most boards have one clock for both
        latency_ms=float(rng.uniform(0, 25)),
        background=BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))],
        background_db=float(rng.uniform(-30, -12)),
    )


def _array(centre: NDArray[np.float64], mics: int) -> NDArray[np.float64]:
    """A circle of 35 mm radius around ``centre``; a single microphone is its centre."""
    if mics == 1:
        return centre[np.newaxis]
    angles = 2 * np.pi * np.arange(mics) / mics
    return centre + 0.035 * np.stack([np.cos(angles), np.sin(angles), np.zeros(mics)], axis=1)


def _place_talker(
    rng: np.random.Generator, size: NDArray[np.float64], centre: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    for _ in range(200):
        distance = rng.uniform(0.5, 3.0)
        angle = rng.uniform(0, 2 * np.pi)
        at = centre + distance * np.array([np.cos(angle), np.sin(angle), 0.0])
        at[2] = rng.uniform(1.1, 1.7)
        if np.all(at > 0.2) and np.all(at < size - 0.2):
            return at, float(np.linalg.norm(at - centre))
    at = np.array([size[0] / 2, size[1] / 2, 1.5])
    return at, float(np.linalg.norm(at - centre))


def _absorption(size: NDArray[np.float64], rt60_s: float) -> float:
    """Eyring's formula, solved for the walls' absorption."""
    volume = float(np.prod(size))
    surface = 2 * float(size[0] * size[1] + size[1] * size[2] + size[0] * size[2])
    return float(1 - np.exp(-0.161 * volume / (surface * rt60_s)))


def _library() -> Any:
    """Import pyroomacoustics without PortAudio, which it would start: that ends the process on a test's sound card."""
    if "pyroomacoustics" not in sys.modules:
        there = sys.modules.pop("sounddevice", None)
        sys.modules["sounddevice"] = None  # type: ignore[assignment]  # an import of it fails
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module("pyroomacoustics")
        finally:
            del sys.modules["sounddevice"]
            if there is not None:
                sys.modules["sounddevice"] = there
    return sys.modules["pyroomacoustics"]


def _responses(
    rng: np.random.Generator,
    size: NDArray[np.float64],
    absorption: float,
    rt60_s: float,
    source: NDArray[np.float64],
    microphones: NDArray[np.float64],
) -> NDArray[np.float32]:
    pyroomacoustics = _library()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        order = 12
        room = pyroomacoustics.ShoeBox(size, RATE, materials=pyroomacoustics.Material(absorption), max_order=order)
        room.add_source(np.clip(source, 0.05, size - 0.05))
        room.add_microphone_array(microphones.T)
        room.compute_rir()
    length = int((rt60_s + 0.05) * RATE)
    mixing = int(order * size.min() / SOUND_M_S * RATE)
    lead = pyroomacoustics.constants.get("frac_delay_length") // 2  # its filters are causal by so much delay
    out = np.zeros((len(microphones), length), np.float32)
    for mic, responses in enumerate(room.rir):
        found = np.asarray(responses[0])[lead:][:length]
        out[mic, : len(found)] = found
        if mixing < length:
            _add_tail(rng, out[mic], mixing, rt60_s)
    return out


def _add_tail(rng: np.random.Generator, response: NDArray[np.float32], mixing: int, rt60_s: float) -> None:
    """Where the image sources thin out, noise that decays as the room does takes over."""
    window = slice(max(0, mixing - RATE // 50), mixing)
    level = float(np.sqrt(np.mean(np.square(response[window])))) if mixing else 0.0
    count = len(response) - mixing
    decay = 10 ** (-3 * np.arange(count) / (rt60_s * RATE))
    response[mixing:] = (level * decay * rng.normal(size=count)).astype(np.float32)


def convolved(sound: Sound, response: Sound) -> Sound:
    """A sound through a response, whole: as long as both together."""
    count = len(sound) + len(response) - 1
    size = 1 << (count - 1).bit_length()
    return np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(response, size), size)[:count].astype(np.float32)


def distorted(sound: Sound, drive: float) -> Sound:
    """What a small loudspeaker makes of it: soft clipping and a little asymmetry. ``drive`` 0 is linear."""
    if drive <= 0:
        return sound
    bent = sound + 0.1 * drive * sound * np.abs(sound)
    limited: Sound = np.tanh(bent * (0.5 + drive)).astype(np.float32) / np.float32(0.5 + drive)
    return limited


def noise(room: Room, split: Split, seconds: float, talker_level: float, rng: np.random.Generator) -> Sound:
    """The background at the microphones: its kind as drawn, over the microphones' own hiss."""
    count = int(seconds * RATE)
    hiss = rng.normal(0, 10 ** (-72 / 20), count).astype(np.float32)
    if room.background == "quiet":
        return hiss
    if room.background == "fan":
        spectrum = np.fft.rfft(rng.normal(size=count))
        frequency = np.fft.rfftfreq(count, 1 / RATE)
        made = np.fft.irfft(spectrum / np.maximum(1, frequency / 150), count).astype(np.float32)
    elif room.background == "music":
        pieces = music()
        piece = pieces[room.seed % len(pieces)]
        made = np.resize(piece, count)
    else:
        made = _babble(split, count, rng)
    level = talker_level * 10 ** (room.background_db / 20)
    return hiss + made * np.float32(level / max(1e-9, active_level(made)))


def _babble(split: Split, count: int, rng: np.random.Generator) -> Sound:
    """Six people far away, all talking."""
    said = utterances(split)
    out = np.zeros(count, np.float32)
    for _ in range(6):
        at = 0
        while at < count:
            sound = levelled(said[int(rng.integers(len(said)))].sound)[: count - at]
            out[at : at + len(sound)] += sound
            at += len(sound) + int(rng.uniform(0.0, 0.4) * RATE)
    return out
