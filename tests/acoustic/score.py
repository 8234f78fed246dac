"""Scores: what a chain made of scenes, as counts, rates with their confidence intervals, and the contract's lines.

Responsible for: matching what was told to what happened, and for statistics. Not for: playing (``stage``) or
recognising words (``words``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tests.acoustic.scenes import Said
from tests.acoustic.stage import Played

EARLY_S = 0.05  # sooner than this before a talker's first sound, nothing heard can have been him
DETECTED_S = 1.5
AFTER_S = 1.9
Z = 1.96  # 95 %


@dataclass(frozen=True, slots=True)
class Trial:
    """One talker over one reply. ``None``: it did not happen."""

    talker: str
    echo_to_talker_db: float
    two_clocks: bool
    cut_s: float | None  # from the talker's first sound until the reply was told to be silent
    duck_s: float | None
    false_cut: bool  # the reply was cut before anybody spoke
    onset_lost_ms: float | None  # of the utterance's beginning, missing in what went up
    end_s: float | None  # from the true end of speech until the turn was told to be over

    @property
    def detected(self) -> bool:
        """Whether the reply was cut in time."""
        return self.cut_s is not None and self.cut_s <= DETECTED_S


@dataclass(slots=True)
class Score:
    """What many scenes came to."""

    echo_hours: float = 0.0
    false_cuts: int = 0
    ducks: int = 0
    erles_db: list[float] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)

    def add(self, played: Played) -> None:
        """Count one scene in."""
        scene = played.scene
        if scene.kind == "echo":
            self.echo_hours += sum(len(sound) / 16_000 for _, sound in scene.replies) / 3600
            self.false_cuts += len(played.cuts)
            self.ducks += len(played.ducks)
            if played.erle_db is not None:
                self.erles_db.append(played.erle_db)
            return
        for said, (began_s, _) in zip(scene.said, scene.replies[1:], strict=True):
            self.trials.append(_trial(played, said, began_s))

    def cut_latencies_ms(self) -> list[float]:
        """Milliseconds from first sound to cut, of those that were detected."""
        return [trial.cut_s * 1000 for trial in self.trials if trial.cut_s is not None and trial.detected]

    def detected_pct(self) -> float:
        """Share of talkers that were heard in time."""
        return 100 * sum(trial.detected for trial in self.trials) / max(1, len(self.trials))


def _trial(played: Played, said: Said, began_s: float) -> Trial:
    cuts = [
        (told, number + 1) for number, (told, _) in enumerate(played.cuts) if began_s <= told < said.stop_s + AFTER_S
    ]
    early = [cut for cut in cuts if cut[0] < said.start_s - EARLY_S]
    told, turn = next((cut for cut in cuts if cut not in early), (None, 0))
    ducks = [at for at in played.ducks if said.start_s - EARLY_S <= at < said.stop_s]
    ends = [at for at in played.ends if at > said.start_s + 0.3 and told is not None and at > told]
    sent = played.turns.get(turn, [])
    return Trial(
        talker=said.utterance.talker,
        echo_to_talker_db=played.scene.echo_to_talker_db,
        two_clocks=played.scene.room.drift_ppm != 0.0,
        cut_s=None if told is None or early else max(0.0, told - said.start_s),
        duck_s=ducks[0] - said.start_s if ducks else None,
        false_cut=bool(early),
        onset_lost_ms=max(0.0, sent[0][0] - said.start_s) * 1000 if sent and not early else None,
        end_s=ends[0] - said.stop_s if ends and not early else None,
    )


def wilson_pct(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a share, in percent (Wilson, 1927)."""
    if count == 0:
        return 0.0, 100.0
    share = hits / count
    centre = share + Z * Z / (2 * count)
    spread = Z * math.sqrt(share * (1 - share) / count + Z * Z / (4 * count * count))
    scale = 1 + Z * Z / count
    return 100 * max(0.0, (centre - spread) / scale), 100 * min(1.0, (centre + spread) / scale)


def poisson_per_hour(events: int, hours: float) -> tuple[float, float]:
    """95 % interval of a rate: Byar's approximation of the exact Poisson limits."""
    if hours <= 0:
        return 0.0, math.inf
    lower = 0.0 if events == 0 else events * (1 - 1 / (9 * events) - Z / (3 * math.sqrt(events))) ** 3
    upper = 3.69 if events == 0 else (events + 1) * (1 - 1 / (9 * (events + 1)) + Z / (3 * math.sqrt(events + 1))) ** 3
    return lower / hours, upper / hours


def percentile(values: Sequence[float], percent: float) -> float:
    """The percentile, NaN of nothing."""
    return float(np.percentile(values, percent)) if values else math.nan
