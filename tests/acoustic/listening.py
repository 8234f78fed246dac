"""Scores of people who talk to a silent device: who is heard, who is cut short, and what is taken for a talker.

Responsible for: matching turns to what was said, and the bench's lines. Not for: talkers over a reply (``score``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.acoustic.scenes import Said, is_soft
from tests.acoustic.score import EARLY_S, percentile, poisson_per_hour, wilson_pct
from tests.acoustic.stage import Played
from tests.bench.report import say

RINGS_ON_S = 0.5  # a turn that begins so soon after a talker is his room's


@dataclass(frozen=True, slots=True)
class Heard:
    """One talker; seconds."""

    soft: bool  # the microphone
    begun_s: float | None  # from his first sound until a turn began; ``None``: never
    end_s: float | None  # from his last sound until his turn was told to be over


@dataclass(slots=True)
class Listened:
    """What many scenes came to."""

    hours: float = 0.0  # in which nobody talked
    false_turns: int = 0
    talkers: list[Heard] = field(default_factory=list)

    def add(self, played: Played) -> None:
        """Count one scene in."""
        scene = played.scene
        soft = is_soft(scene.room.seed)
        turns = [(told, _end(told, played.ends, scene.seconds)) for told, _ in played.cuts]
        self.hours += (scene.seconds - sum(said.stop_s - said.start_s for said in scene.said)) / 3600
        self.false_turns += sum(not any(_belongs(turn, said) for said in scene.said) for turn in turns)
        for said in scene.said:
            mine = [turn for turn in turns if _belongs(turn, said)]
            begun = max(0.0, mine[0][0] - said.start_s) if mine else None
            self.talkers.append(Heard(soft, begun, mine[0][1] - said.stop_s if mine else None))


def _end(told: float, ends: Sequence[float], at_last: float) -> float:
    return next((end for end in ends if end > told), at_last)


def _belongs(turn: tuple[float, float], said: Said) -> bool:
    return turn[0] < said.stop_s + RINGS_ON_S and turn[1] > said.start_s - EARLY_S


def report(prefix: str, heard: Listened) -> None:
    """Print the lines."""
    for name, talkers in (
        ("", [one for one in heard.talkers if not one.soft]),
        ("_soft", [one for one in heard.talkers if one.soft]),
    ):
        found = [one.begun_s * 1000 for one in talkers if one.begun_s is not None]
        ends = [one.end_s * 1000 for one in talkers if one.end_s is not None]
        share = wilson_pct(len(found), len(talkers))
        say(
            f"{prefix}listening{name}_heard_pct: {100 * len(found) / max(1, len(talkers)):.1f} %  ({len(found)} of "
            f"{len(talkers)}, 95 % {share[0]:.1f} to {share[1]:.1f}; after {percentile(found, 50):.0f} ms)"
        )
        short = sum(end < 0 for end in ends)
        say(
            f"{prefix}listening{name}_cut_short_pct: {100 * short / max(1, len(ends)):.1f} %  ({short} of {len(ends)}; "
            f"over {percentile(ends, 50):.0f} ms after the last sound, p90 {percentile(ends, 90):.0f})"
        )
    low, high = poisson_per_hour(heard.false_turns, heard.hours)
    say(
        f"{prefix}listening_false_turns_per_hour: {heard.false_turns / heard.hours:.1f} 1/h  ({heard.false_turns} in "
        f"{heard.hours:.2f} h of fan, babble, music and silence, 95 % {low:.1f} to {high:.1f})"
    )
