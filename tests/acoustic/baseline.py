"""The plain chain that most peers have: AEC3, then webrtcvad, and a cut after 240 ms of voice. No ducking.

Responsible for: playing a scene on it, with the same far end, the same reaction to a cut and 300 ms of pre-roll.
"""

from __future__ import annotations

import numpy as np

from appliance.audio.endpoint import End, Endpointer
from appliance.audio.format import level_dbfs
from appliance.audio.processing import WebrtcDetector
from tests.acoustic.air import BLOCK, Air
from tests.acoustic.scenes import Scene
from tests.acoustic.stage import END_OF_TURN_MS, Meter, Played
from tests.acoustic.voices import RATE

VOICED_BLOCKS = 24
PRE_ROLL_S = 0.3
REACTION_BLOCKS = 2  # until a cut is heard, as in the real chain


def play(scene: Scene) -> Played:
    """Play a scene on the plain chain; the clocks are one, which is kinder to it than the scene is to ours."""
    return _Plain(scene).run()


class _Plain:
    def __init__(self, scene: Scene) -> None:
        self._played = Played(scene)
        air = Air(scene.room, scene.near, scene.moved_at_s, scene.jump)
        self._air, self._cancel, self._voice = air, Meter(air), WebrtcDetector()
        self._far = _laid_out(scene)
        self._starts = {int(at * 100) for at, _ in scene.replies}
        self._ends = Endpointer(END_OF_TURN_MS)
        self._run = 0
        self._silent_from: int | None = None
        self._talking = False

    def run(self) -> Played:
        for block in range(len(self._far) // BLOCK):
            if block in self._starts:
                self._silent_from, self._talking, self._run = None, False, 0
            self._hear(block)
        self._played.erle_db = self._cancel.erle_db
        return self._played

    def _hear(self, block: int) -> None:
        far = self._far[block * BLOCK : (block + 1) * BLOCK]
        if self._silent_from is not None and block >= self._silent_from:
            far = np.zeros_like(far)
        near = np.ascontiguousarray(self._air.block(far)[:, 0])
        clean = self._cancel(near, (np.clip(far, -1, 1) * 32767).astype(np.int16))
        voiced = self._voice(clean) >= 0.5
        self._run = self._run + 1 if voiced else 0
        at = block / 100
        if self._run >= VOICED_BLOCKS and not self._talking:
            self._talking = True
            self._silent_from = block + REACTION_BLOCKS
            self._played.cuts.append((at + 0.01, at - VOICED_BLOCKS / 100))
            self._played.turns[len(self._played.cuts)] = [(at - VOICED_BLOCKS / 100 - PRE_ROLL_S, b"")]
            self._ends.began(at, at)
        if self._talking and isinstance(self._ends.block(at, voiced, level_dbfs(clean)), End):
            self._played.ends.append(at)
            self._talking = False


def _laid_out(scene: Scene) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    far = np.zeros(int(scene.seconds * 100) * BLOCK, np.float32)
    for at, sound in scene.replies:
        start = int(at * RATE)
        far[start:] = 0  # the one before is over
        part = sound[: len(far) - start]
        far[start : start + len(part)] = part
    return far
