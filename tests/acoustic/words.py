"""How many of the interrupting words arrive: what is recognised in the turn, against what is in the recording.

Responsible for: recognising and counting. The recogniser is the local backend's, English only.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

import numpy as np

from appliance.audio.resample import Resampler
from appliance.local import speech
from appliance.local.audio import Sound as Heard
from tests.acoustic.scenes import Scene
from tests.acoustic.score import AFTER_S, EARLY_S
from tests.acoustic.stage import Played
from tests.acoustic.voices import RATE, Utterance

AROUND_S = 0.7
ENGLISH = ("Allison", "Austen", "forward", "something", "cards", "numbers")


def turns_of(played: Played) -> list[tuple[Utterance, bytes]]:
    """The English utterances that were heard, each with the sound of its turn (24 kHz s16le)."""
    found: list[tuple[Utterance, bytes]] = []
    for said in played.scene.said:
        cuts = [
            turn + 1
            for turn, (told, _) in enumerate(played.cuts)
            if said.start_s - EARLY_S <= told < said.stop_s + AFTER_S
        ]
        if cuts and said.utterance.talker in ENGLISH:
            found.append((said.utterance, b"".join(pcm for _, pcm in played.turns.get(cuts[0], []))))
    return found


def undisturbed(scene: Scene) -> list[tuple[Utterance, bytes]]:
    """The English utterances as the first microphone hears them beside a silent device: what the room alone costs."""
    found: list[tuple[Utterance, bytes]] = []
    for said in scene.said:
        if said.utterance.talker in ENGLISH:
            heard = scene.near[0, int((said.start_s - AROUND_S) * RATE) : int((said.stop_s + AROUND_S) * RATE)]
            sound = (np.clip(heard, -1, 1) * 32767).astype(np.int16)
            found.append((said.utterance, Resampler(RATE, 24_000).process(sound).tobytes()))
    return found


def lost(turns: Sequence[tuple[Utterance, bytes]]) -> tuple[int, int]:
    """Recognise both sides of each; returns words lost or changed, and words there were."""
    return asyncio.run(_lost(turns))


async def _lost(turns: Sequence[tuple[Utterance, bytes]]) -> tuple[int, int]:
    ears, voice, _ = await speech.load()
    missing = total = 0
    try:
        for utterance, pcm in turns:
            dry = (np.clip(utterance.sound, -1, 1) * 32767).astype(np.int16)
            said = words(await ears.hear(Heard(dry, RATE)))
            heard = words(await ears.hear(Heard(np.frombuffer(pcm, "<i2"), 24_000)))
            missing += missing_words(said, heard)
            total += len(said)
    finally:
        ears.close()
        voice.close()
    return missing, total


def words(text: str) -> list[str]:
    """The words of a text, bare."""
    return re.findall(r"[a-z0-9']+", text.lower())


def missing_words(said: Sequence[str], heard: Sequence[str]) -> int:
    """How many of ``said`` are not in ``heard`` in their order (longest common subsequence)."""
    row = [0] * (len(heard) + 1)
    for word in said:
        above = row[:]
        for at, other in enumerate(heard, 1):
            row[at] = above[at - 1] + 1 if word == other else max(above[at], row[at - 1])
    return len(said) - row[-1]
