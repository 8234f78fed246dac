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
    """The thresholds, tuned on the development rooms of ``tests/acoustic``; windows in blocks of 10 ms."""

    suspect_voice: float = 0.25  # of what the canceller has thinned out; of untouched sound the detector knows better
    bare_voice: float = 0.35
    bare_left_db: float = -4.0
    suspect_db: float = 0.5  # unexplained
    suspect_count: int = 1
    suspect_window: int = 1
    shout_voice: float = 0.5
    shout_db: float = 2.0
    decide_voice: float = 0.3
    decide_db: float = 0.0  # unexplained
    decide_left_db: float = -15.0
    decide_drop_db: float = 8.0  # echo falls by the duck's depth; what falls by more than this was echo
    decide_count: int = 3
    decide_window: int = 4
    begin: int = 8  # blocks after the loudspeaker began: its first milliseconds may have sounded before they were known
    settle: int = 4  # blocks after the duck which still hold the full echo
    patience: int = 60  # blocks until a suspicion that was not confirmed is cleared
    wary: int = 1000  # blocks after clearing in which a decision takes twice as many
    young: int = 300  # blocks in which the filters hear this room for the first time: they leave more of the echo
    young_db: float = 3.0  # so much more has to be unexplained then
    pause: int = 60  # blocks after clearing in which nothing is suspected: the loudspeaker comes back
    least_left_db: float = -28.0  # while the far end sounds, less left of the microphone is all echo
    above_floor_db: float = 8.0


# Its residue is not known: the detector alone tells.
NOTHING = float("-inf")
BY_THE_BOARD = Tuning(bare_voice=0.7, suspect_db=NOTHING, decide_db=NOTHING, shout_db=NOTHING)


class BargeIn:
    """One watch over a playing loudspeaker. One thread (the audio thread)."""

    def __init__(self, tuning: Tuning | None = None) -> None:
        self._tuning = tuning or Tuning()
        self._wary = self._young = self._tuning.young
        self.reset()

    def reset(self) -> None:
        """Forget what was heard: another reply, or none."""
        tuning = self._tuning
        self._hints: deque[bool] = deque(maxlen=tuning.suspect_window)
        self._voiced: deque[bool] = deque(maxlen=2 * tuning.decide_window)
        self._levels: deque[float] = deque(maxlen=tuning.suspect_window)  # before the duck
        self._suspected: int | None = None  # blocks since the suspicion
        self._paused = tuning.begin
        self._hint_at: float | None = None
        self.sure = False

    def block(self, at: float, evidence: Evidence) -> Verdict | None:
        """Take the evidence of the block that began at ``at``; returns what was decided with it, if anything."""
        if self.sure:
            return None
        self._note(at, hint=self._hints_at_talker(evidence))
        self._wary -= 1
        self._young -= 1
        if self._suspected is None:
            self._levels.append(evidence.level_dbfs)
        if self._suspected is None:
            return self._suspect(at)
        self._suspected += 1
        ducked = self._suspected > self._tuning.settle
        self._voiced.append(self._speaks(evidence) if ducked else self._shouts(evidence))
        if self._convinced():
            self.sure = True
            return Confirmed(self._onset(at))
        if self._suspected >= self._tuning.patience:
            return self._clear(at)
        return None

    def _convinced(self) -> bool:
        """Enough of the last blocks spoke; after a suspicion that was nothing, twice as many have to."""
        tuning = self._tuning
        window = tuning.decide_window if self._wary <= 0 else 2 * tuning.decide_window
        needed = tuning.decide_count if self._wary <= 0 else 2 * tuning.decide_count
        return sum(list(self._voiced)[-window:]) >= needed

    def _credible(self, evidence: Evidence) -> bool:
        tuning = self._tuning
        loud = evidence.level_dbfs > evidence.floor_dbfs + tuning.above_floor_db
        return loud and (not evidence.far_active or evidence.left_db > tuning.least_left_db)

    def _hints_at_talker(self, evidence: Evidence) -> bool:
        """Over the full echo: more is left than echo alone leaves, and it is a little like a voice."""
        tuning = self._tuning
        bare = evidence.left_db > tuning.bare_left_db
        like_a_voice = evidence.voice >= (tuning.bare_voice if bare else tuning.suspect_voice)
        if evidence.jumped:
            return False
        needed_db = tuning.suspect_db + (tuning.young_db if self._young > 0 else 0.0)
        return like_a_voice and evidence.unexplained_db >= needed_db and self._credible(evidence)

    def _shouts(self, evidence: Evidence) -> bool:
        """Over an echo that is still full: a talker so clear that the duck need not be waited for."""
        tuning = self._tuning
        clear = evidence.voice >= tuning.shout_voice and evidence.unexplained_db >= tuning.shout_db
        return clear and self._speaks(evidence)

    def _speaks(self, evidence: Evidence) -> bool:
        """Over the ducked echo: what is left is most of what there is, and it is a voice."""
        tuning = self._tuning
        left = evidence.left_db >= tuning.decide_left_db
        stayed = evidence.level_dbfs > max(self._levels) - tuning.decide_drop_db
        unexplained = evidence.unexplained_db >= tuning.decide_db and not evidence.misled
        return left and stayed and unexplained and evidence.voice >= tuning.decide_voice and self._credible(evidence)

    def _note(self, at: float, *, hint: bool) -> None:
        self._hints.append(hint)
        if hint and self._hint_at is None:
            self._hint_at = at

    def _suspect(self, at: float) -> Suspected | None:
        if self._paused:
            self._paused -= 1
            return None
        if sum(self._hints) < self._tuning.suspect_count:
            if not any(self._hints):
                self._hint_at = None
            return None
        self._suspected = 0
        self._voiced.clear()
        return Suspected(self._onset(at))

    def _onset(self, at: float) -> float:
        return at if self._hint_at is None else self._hint_at

    def _clear(self, at: float) -> Cleared:
        self._suspected, self._hint_at, self._paused = None, None, self._tuning.pause
        self._hints.clear()
        self._wary = self._tuning.wary
        return Cleared(at)
