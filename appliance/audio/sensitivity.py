"""How much louder than it is the detector hears the microphone, so that a soft one does not make talkers unheard.

A detector of voices knows them at a usual level. earshot is sure of 87 % of a voice's blocks at -46 dBFS, of 31 % at
-56 and of none at -66, and a talker three metres from a bare MEMS microphone is no louder. So the detector's copy is
amplified: until the room between the words is at :data:`ROOM_DBFS`, and while the loudspeaker sounds until its echo
is as loud as it is at :data:`ECHO_DBFS`, so that neither the microphone's gain nor the volume changes what is left of
an echo. Both follow the room, in seconds, and never a voice: it is no automatic gain, which would make the rest of an
echo as loud as a talker. Responsible for: that factor. Not for: what goes up or how loud anything is said to be (all
levels are the microphone's own). Pure.
"""

from __future__ import annotations

from math import log10

from appliance.audio.format import Samples, amplified

ROOM_DBFS = -62.0  # louder, and music in the next room becomes a voice
ROOM_OVER_DBFS = -56.0  # the most, while the loudspeaker sounds: an echo that is hardly heard is no measure
ECHO_DBFS = -22.0  # of a reply of REPLY_DBFS
REPLY_DBFS = -20.0
MOST_DB = 30.0  # a microphone that gives next to nothing is dead, not soft
FAR_LOUD_DBFS = -40.0  # softer far ends tell little of the echo
ENOUGH = 20  # blocks of loud far end, before which nothing is known of the echo
SHARE = 0.005  # of the newest such block: two seconds


class Sensitivity:
    """Amplifies blocks of the detector's copy: by ``room_db`` in a silent room, by ``over_db`` over the loudspeaker."""

    def __init__(self) -> None:
        self.room_db = self.over_db = 0.0
        self._most_over_db = 0.0
        self._near = self._far = 0.0  # mean energies while the far end is loud
        self._blocks = 0

    def know_room(self, floor_dbfs: float) -> None:
        """Take the level of the silent room."""
        self.room_db = min(MOST_DB, max(0.0, ROOM_DBFS - floor_dbfs))
        self._most_over_db = min(MOST_DB, max(0.0, ROOM_OVER_DBFS - floor_dbfs))

    def know_echo(self, near_dbfs: float, far_dbfs: float) -> None:
        """Take the levels of a block of the microphone, and of the far end that it heard."""
        if far_dbfs <= FAR_LOUD_DBFS:
            return
        self._blocks += 1
        share = max(SHARE, 1 / self._blocks)
        self._near += share * (10 ** (near_dbfs / 10) - self._near)
        self._far += share * (10 ** (far_dbfs / 10) - self._far)
        if self._blocks >= ENOUGH:
            echo_dbfs = REPLY_DBFS + 10 * log10(max(self._near, 1e-12) / self._far)
            self.over_db = min(self._most_over_db, max(0.0, ECHO_DBFS - echo_dbfs))

    def __call__(self, block: Samples, *, over: bool) -> Samples:
        """Return the block as the detector shall hear it; full scale is the limit, which a detector minds little."""
        return amplified(block, 10 ** ((self.over_db if over else self.room_db) / 20))
