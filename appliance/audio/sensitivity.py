"""How much louder than it is the detector hears the microphone, so that a soft one does not make talkers unheard.

A detector of voices knows them at a usual level. earshot is sure of 87 % of a voice's blocks at -46 dBFS, of 31 % at
-56 and of none at -66, and a talker three metres from a bare MEMS microphone is no louder. So the detector's copy is
amplified until the room between the words is at :data:`ROOM_DBFS`. That follows the room, in seconds, and never a
voice: it is no automatic gain, which would make the rest of an echo as loud as a talker. Responsible for: that
factor. Not for: what goes up or how loud anything is said to be (all levels are the microphone's own). Pure.
"""

from __future__ import annotations

from appliance.audio.format import Samples, amplified

ROOM_DBFS = -62.0  # louder, and music in the next room becomes a voice
MOST_DB = 30.0  # a microphone that gives next to nothing is dead, not soft


class Sensitivity:
    """Amplifies blocks of the detector's copy."""

    def __init__(self) -> None:
        self.lift_db = 0.0

    def know(self, floor_dbfs: float) -> None:
        """Take what the room is known to be at, in dBFS."""
        self.lift_db = min(MOST_DB, max(0.0, ROOM_DBFS - floor_dbfs))

    def __call__(self, block: Samples) -> Samples:
        """Return the block as the detector shall hear it; full scale is the limit, which a detector minds little."""
        return amplified(block, 10 ** (self.lift_db / 20))
