"""Duck, then decide: is there a talker over what the loudspeaker plays?

The canceller's residue is speech, too, so a detector alone is either deaf or sees ghosts. A first suspicion
therefore only ducks the loudspeaker, which costs a short dip when it was nothing; the echo falls by the duck's depth
while a talker does not, and on that better material the decision is made. Responsible for: suspicion, decision,
clearing, and where the talker began. Not for: ducking itself (``player``) or what follows (``conversation``).
Pure; blocks of 10 ms, times in monotonic seconds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import log

from appliance.audio.ears import Evidence

BLOCK_S = 0.01


@dataclass(frozen=True, slots=True)
class Suspected:
    """Somebody may be talking since ``at``."""

    at: float


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Somebody talks, and began at ``onset_at`` or a little later."""

    onset_at: float


@dataclass(frozen=True, slots=True)
class Cleared:
    """It was nothing."""

    at: float


Verdict = Suspected | Confirmed | Cleared


@dataclass(frozen=True, slots=True)
class Tuning:
    """The thresholds, tuned on the development rooms of ``tests/acoustic``; durations in blocks of 10 ms.

    The weights are those of a logistic regression over the blocks after a duck: with a talker against without.
    """

    suspect_voice: float = 0.2  # of what the canceller has thinned out; of untouched sound the detector knows better
    bare_voice: float = 0.35
    bare_left_db: float = -4.0
    suspect_db: float = 0.75  # unexplained
    leap_db: float = 7.0  # so much unexplained of which the canceller leaves next to nothing is an echo that has moved
    leap_left_db: float = -20.0
    sure: float = 4.0  # evidence enough, in nats
    wary_sure: float = 6.0  # the same for a while after a suspicion that was nothing
    most: float = 2.0  # evidence in one block: one alone decides nothing
    least: float = -1.0
    steady: float = 1.0  # evidence in a block that is by far more than a ducked echo, if a voice at all
    steady_voice: float = 0.25
    steady_db: float = 1.5  # unexplained
    steady_left_db: float = -15.0
    steady_drop_db: float = -8.0
    weight_voice: float = 2.0  # per nat of the detector's odds
    weight_unexplained: float = 0.23  # per dB, as the next three
    weight_drop: float = 0.09  # echo falls by the duck's depth, a talker does not
    weight_over_floor: float = 0.03
    weight_left: float = -0.03
    weight_always: float = -0.44
    begin: int = 8  # blocks after the loudspeaker began: its first milliseconds may have sounded before they were known
    settle: int = 3  # blocks after the duck which still hold the full echo
    patience: int = 60  # blocks until a suspicion that was not confirmed is cleared
    wary: int = 1000  # blocks after clearing in which a decision takes more
    young: int = 300  # blocks in which the filters hear this room for the first time: they leave more of the echo
    young_db: float = 3.0  # so much more has to be unexplained then
    pause: int = 60  # blocks after clearing in which nothing is suspected: the loudspeaker comes back
    least_left_db: float = -28.0  # while the far end sounds, less left of the microphone is all echo
    above_floor_db: float = 8.0


# Its residue is not known: the detector alone tells.
BY_THE_BOARD = Tuning(
    bare_voice=0.7,
    suspect_db=float("-inf"),
    leap_db=float("inf"),
    steady_db=float("-inf"),
    weight_unexplained=0.0,
    weight_left=0.0,
    weight_always=0.0,
)
BEFORE = 4  # blocks before the duck, the loudest of which is what the level has fallen from
LEAST_ODDS = 0.01  # a detector is never surer than this


class BargeIn:
    """One watch over a playing loudspeaker. One thread (the audio thread)."""

    def __init__(self, tuning: Tuning | None = None) -> None:
        self._tuning = tuning or Tuning()
        self._wary = self._young = self._tuning.young
        self.reset()

    def reset(self) -> None:
        """Forget what was heard: another reply, or none."""
        tuning = self._tuning
        self._levels: deque[float] = deque(maxlen=BEFORE)  # before the duck
        self._suspected: int | None = None  # blocks since the suspicion
        self._belief = 0.0  # evidence for a talker since then, in nats
        self._paused = tuning.begin
        self._hint_at: float | None = None
        self.sure = False

    def block(self, at: float, evidence: Evidence) -> Verdict | None:
        """Take the evidence of the block that began at ``at``; returns what was decided with it, if anything."""
        if self.sure:
            return None
        hint = self._hints_at_talker(evidence)
        if hint and self._hint_at is None:
            self._hint_at = at
        self._wary -= 1
        self._young -= 1
        if self._suspected is None:
            self._levels.append(evidence.level_dbfs)
            return self._suspect(at, hint=hint)
        self._suspected += 1
        if self._suspected > self._tuning.settle:
            self._belief = max(0.0, self._belief + self._speaks(evidence))
        if self._belief >= (self._tuning.sure if self._wary <= 0 else self._tuning.wary_sure):
            self.sure = True
            return Confirmed(self._onset(at))
        if self._suspected >= self._tuning.patience:
            return self._clear(at)
        return None

    def _credible(self, evidence: Evidence) -> bool:
        tuning = self._tuning
        loud = evidence.level_dbfs > evidence.floor_dbfs + tuning.above_floor_db
        return loud and (not evidence.far_active or evidence.left_db > tuning.least_left_db)

    def _hints_at_talker(self, evidence: Evidence) -> bool:
        """Over the full echo: more is left than echo alone leaves, and it is a little like a voice."""
        tuning = self._tuning
        bare = evidence.left_db > tuning.bare_left_db
        like_a_voice = evidence.voice >= (tuning.bare_voice if bare else tuning.suspect_voice)
        leapt = evidence.unexplained_db > tuning.leap_db and evidence.left_db < tuning.leap_left_db
        if evidence.jumped or leapt:
            return False
        needed_db = tuning.suspect_db + (tuning.young_db if self._young > 0 else 0.0)
        return like_a_voice and evidence.unexplained_db >= needed_db and self._credible(evidence)

    def _speaks(self, evidence: Evidence) -> float:
        """Weigh a block over the ducked echo: the evidence for a talker, in nats (Wald's sequential test, 1945)."""
        tuning = self._tuning
        drop_db = evidence.level_dbfs - max(self._levels)
        odds = max(LEAST_ODDS, evidence.voice) / max(LEAST_ODDS, 1 - evidence.voice)
        nats = (
            tuning.weight_always
            + tuning.weight_voice * log(odds)
            + tuning.weight_unexplained * evidence.unexplained_db
            + tuning.weight_drop * drop_db
            + tuning.weight_over_floor * (evidence.level_dbfs - evidence.floor_dbfs)
            + tuning.weight_left * evidence.left_db
        )
        if (
            evidence.voice >= tuning.steady_voice
            and evidence.unexplained_db >= tuning.steady_db
            and evidence.left_db >= tuning.steady_left_db
            and drop_db > tuning.steady_drop_db
        ):
            nats = max(nats, tuning.steady)
        most = tuning.most if self._credible(evidence) and not evidence.misled else 0.0
        return max(tuning.least, min(most, nats))

    def _suspect(self, at: float, *, hint: bool) -> Suspected | None:
        if self._paused:
            self._paused -= 1
            return None
        if not hint:
            self._hint_at = None
            return None
        self._suspected, self._belief = 0, 0.0
        return Suspected(self._onset(at))

    def _onset(self, at: float) -> float:
        return at if self._hint_at is None else self._hint_at

    def _clear(self, at: float) -> Cleared:
        self._suspected, self._hint_at, self._paused = None, None, self._tuning.pause
        self._wary = self._tuning.wary
        return Cleared(at)
