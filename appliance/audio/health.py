"""Is the microphone alive, and is the echo under control? Watched while it works, by what is there anyway.

Responsible for: noticing zeros, clipping, an echo that is not cancelled, and interruptions that nobody made. Not for:
what follows of it. Pure but for numpy; blocks of 10 ms. Owned by the audio thread and kept over openings.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from appliance.audio.ears import Evidence
from appliance.audio.facts import EchoUncontrolled, MicrophoneAiled, MicrophoneHealed
from appliance.audio.format import Samples
from appliance.conversation.events import Ailment

ZERO_S = 3.0  # of one and the same value: no converter is that quiet
CLIPPED = 32_700
CLIPPED_SHARE = 0.01  # of the samples of a second
CLIPPED_S = 2  # seconds in a row with so many
HEALED_S = 3  # seconds in a row without

LOOK_BLOCKS = 300  # of a sounding far end, after which the echo is judged
LEAST_ERLE_DB = 6.0
ECHO_OVER_ROOM_DB = 15.0
BAD_LOOKS = 2
STUBBORN_SHARE = 0.25  # of the blocks are loud and not cancelled: an echo is there all along, a short "yes" is not
RECENT_BLOCKS = 150  # that may turn out to have been a talker's: longer than a barge-in takes to be confirmed
CLIPPING_BLOCKS = 100  # with clipped echo, of a look
GHOST_BLOCKS = 150  # after a confirmed barge-in in which a person would have gone on
TALK_BLOCKS = 12  # voiced ones among them, with which it was a person
GHOSTS, GHOSTS_WITHIN_S = 3, 300.0


class MicrophoneHealth:
    """Watches the microphone's raw samples. Time is counted in samples, not read."""

    def __init__(self) -> None:
        self.ailment: Ailment | None = None
        self._value = 0
        self._same = 0
        self._seen = self._over = 0
        self._bad_s = self._good_s = 0

    def hear(self, samples: Samples, rate: int) -> MicrophoneAiled | MicrophoneHealed | None:
        """Take the chosen microphone's next samples at ``rate`` Hz; returns what has changed."""
        if not len(samples):
            return None
        before, self._value = self._value, int(samples[-1])
        others = np.flatnonzero(samples != self._value)
        if len(others):
            self._same = len(samples) - 1 - int(others[-1])
        else:
            self._same = len(samples) + (self._same if before == self._value else 0)
        if self._same >= ZERO_S * rate:
            self._seen = self._over = self._bad_s = self._good_s = 0
            return self._becomes(Ailment.ZERO)
        if self.ailment is Ailment.ZERO:
            return self._becomes(None)
        return self._count_clipped(samples, rate)

    def _count_clipped(self, samples: Samples, rate: int) -> MicrophoneAiled | MicrophoneHealed | None:
        self._seen += len(samples)
        self._over += int(np.count_nonzero((samples >= CLIPPED) | (samples <= -CLIPPED)))
        if self._seen < rate:
            return None
        bad = self._over > CLIPPED_SHARE * self._seen
        self._seen = self._over = 0
        self._bad_s, self._good_s = (self._bad_s + 1, 0) if bad else (0, self._good_s + 1)
        if self._bad_s >= CLIPPED_S:
            return self._becomes(Ailment.CLIPPED)
        if self._good_s >= HEALED_S:
            return self._becomes(None)
        return None

    def _becomes(self, ailment: Ailment | None) -> MicrophoneAiled | MicrophoneHealed | None:
        if ailment is self.ailment:
            return None
        self.ailment = ailment
        return MicrophoneHealed() if ailment is None else MicrophoneAiled(ailment)


class EchoHealth:
    """Watches what the canceller leaves of the echo, and whether those who interrupted were people.

    What a talker says over the loudspeaker is no echo: without that, a device whose loudspeaker hardly reaches its
    microphone would lose full duplex for being interrupted often.
    """

    def __init__(self) -> None:
        self._room = self._raw = self._left = 0.0
        self._blocks = self._clipping = self._stubborn = self._bad_looks = 0
        self._recent: deque[tuple[float, float, bool, bool]] = deque()  # raw and left power, clipped, stubborn
        self._ghosts: deque[float] = deque(maxlen=GHOSTS)
        self._since_cut: int | None = None
        self._talk = 0

    def cut(self) -> None:
        """Note a confirmed barge-in."""
        self._since_cut, self._talk = 0, 0
        self._recent.clear()

    def hear(
        self, at: float, evidence: Evidence, raw_dbfs: float, *, clipped: bool, voiced: bool, talks: bool
    ) -> EchoUncontrolled | None:
        """Take the block that began at ``at``: raw level, clipping, whether it is voiced; returns a lost control.

        ``talks``: somebody is known to talk.
        """
        ghost = self._follow(at, voiced=voiced)
        if ghost is not None:
            return ghost
        power, left = 10 ** (raw_dbfs / 10), 10 ** (evidence.level_dbfs / 10)
        if not evidence.far_active:
            self._room += 0.05 * (power - self._room)
        elif not talks:
            stubborn = self._is_loud(power) and power < left * 10 ** (LEAST_ERLE_DB / 10)
            self._recent.append((power, left, clipped, stubborn))
            if len(self._recent) > RECENT_BLOCKS:
                return self._count(*self._recent.popleft())
        return None

    def _is_loud(self, power: float) -> bool:
        return power > max(self._room, 1e-8) * 10 ** (ECHO_OVER_ROOM_DB / 10)

    def _count(self, power: float, left: float, clipped: bool, stubborn: bool) -> EchoUncontrolled | None:
        self._blocks += 1
        self._clipping += clipped
        self._stubborn += stubborn
        self._raw += power
        self._left += left
        return self._look() if self._blocks == LOOK_BLOCKS else None

    def _look(self) -> EchoUncontrolled | None:
        raw, left, clipping = self._raw / self._blocks, self._left / self._blocks, self._clipping
        stubborn = self._stubborn >= STUBBORN_SHARE * self._blocks
        self._raw = self._left = 0.0
        self._blocks = self._clipping = self._stubborn = 0
        erle_db = 10 * float(np.log10(max(raw, 1e-12) / max(left, 1e-12)))
        if clipping >= CLIPPING_BLOCKS:
            return EchoUncontrolled(
                "the loudspeaker drives the microphone into clipping", "turn the volume or the microphone's gain down"
            )
        bad = self._is_loud(raw) and stubborn and erle_db < LEAST_ERLE_DB
        self._bad_looks = self._bad_looks + 1 if bad else 0
        if self._bad_looks < BAD_LOOKS:
            return None
        return EchoUncontrolled(
            f"only {max(0.0, erle_db):.0f} dB of the own voice can be cancelled", "run `voice-appliance calibrate`"
        )

    def _follow(self, at: float, *, voiced: bool) -> EchoUncontrolled | None:
        if self._since_cut is None:
            return None
        self._since_cut += 1
        self._talk += voiced
        if self._since_cut < GHOST_BLOCKS:
            return None
        self._since_cut = None
        if self._talk >= TALK_BLOCKS:
            return None
        self._ghosts.append(at)
        if len(self._ghosts) < GHOSTS or at - self._ghosts[0] > GHOSTS_WITHIN_S:
            return None
        self._ghosts.clear()
        return EchoUncontrolled(
            f"it interrupted itself {GHOSTS} times within {GHOSTS_WITHIN_S / 60:.0f} minutes",
            "turn the volume down, or move the loudspeaker away from the microphone",
        )
