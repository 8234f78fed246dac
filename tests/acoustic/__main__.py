"""``make bench-acoustic``: our chain beside the plain one, on rooms, talkers and sentences that nothing was tuned on.

Prints the contract's lines, each rate with its 95 % interval, and on what it ran.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from tests.acoustic import baseline, cost, listening, scenes, words
from tests.acoustic.listening import Listened
from tests.acoustic.scenes import Kind
from tests.acoustic.score import Score, Trial, percentile, poisson_per_hour, wilson_pct
from tests.acoustic.stage import Played, Stage, learned_ppm
from tests.acoustic.voices import Split, Utterance
from tests.bench.report import machine, say

BANDS_DB = ((9, 12), (12, 16), (16, 20))
TRIALS_FROM = 1000  # rooms with talkers are other rooms than those without
LISTENING_FROM = 2000
MAKE = {"echo": scenes.echo_only, "barge-in": scenes.barge_ins, "listening": scenes.listening}


@dataclass(frozen=True, slots=True)
class Job:
    """One scene to play."""

    split: Split
    kind: Kind
    number: int
    mics: int
    detector: str
    use: int = 0  # so many of the microphones are used; 0: all
    stricter_db: float = 0.0
    plain: bool = True  # play it on the plain chain, too


@dataclass(frozen=True, slots=True)
class Outcome:
    """Both chains on one scene."""

    ours: Played
    plain: Played | None
    turns: list[tuple[Utterance, bytes]]
    undisturbed: list[tuple[Utterance, bytes]]


def play(job: Job) -> Outcome:
    """Play one scene, in a worker."""
    scene = MAKE[job.kind](job.split, job.number, mics=job.mics)
    chosen = tuple(range(job.use or job.mics))
    ppm = learned_ppm(scene)
    stage = Stage(scene, detector=job.detector, microphones=chosen, stricter_db=job.stricter_db, clock_ppm=ppm)
    ours = stage.run()
    plain = baseline.play(scene) if job.mics == 1 and job.plain else None
    turns, undisturbed = ([], []) if job.kind == "listening" else (words.turns_of(ours), words.undisturbed(scene))
    for played in filter(None, (ours, plain)):
        played.scene = _light(scene)
        played.turns = {turn: [(sent[0][0], b"")] for turn, sent in played.turns.items() if sent}
    return Outcome(ours, plain, turns, undisturbed)


def _light(scene: scenes.Scene) -> scenes.Scene:
    """The scene without its sound, to be sent between processes."""
    nothing = np.zeros((1, 0), np.float32)
    room = replace(scene.room, echo=nothing, moved=nothing, talker=nothing)
    return replace(scene, near=nothing, room=room)


def jobs(asked: argparse.Namespace) -> Iterable[Job]:
    """Enough scenes for so much echo and so many talkers."""
    how = (asked.mics, asked.detector, asked.use, asked.stricter_db, not asked.curve)
    for number in range(round(asked.minutes * 60 / (scenes.ECHO_SECONDS - 1))):
        yield Job(asked.split, "echo", number, *how)
    for number in range(-(-asked.barge_ins // scenes.TRIALS)):
        yield Job(asked.split, "barge-in", TRIALS_FROM + number, *how)
    for number in range(0 if asked.curve else -(-asked.listening // scenes.TRIALS)):
        yield Job(asked.split, "listening", LISTENING_FROM + number, *how)


def report(prefix: str, score: Score) -> None:
    """Print one chain's lines."""

    def line(name: str, value: float, unit: str, note: str = "") -> None:
        say(f"{prefix}{name}: {value:.1f} {unit}{f'  ({note})' if note else ''}")

    hours, count = score.echo_hours, len(score.trials)
    cuts, ducks = poisson_per_hour(score.false_cuts, hours), poisson_per_hour(score.ducks, hours)
    found = sum(trial.detected for trial in score.trials)
    share = wilson_pct(found, count)
    latencies = score.cut_latencies_ms()
    line("erle_db", percentile(score.erles_db, 50), "dB", f"worst room {min(score.erles_db, default=0):.1f}")
    line(
        "false_cuts_per_hour",
        score.false_cuts / hours,
        "1/h",
        f"{score.false_cuts} in {hours:.2f} h, 95 % {cuts[0]:.1f} to {cuts[1]:.1f}",
    )
    line("ducks_per_hour", score.ducks / hours, "1/h", f"{score.ducks}, 95 % {ducks[0]:.1f} to {ducks[1]:.1f}")
    line(
        "barge_in_detected_pct",
        score.detected_pct(),
        "%",
        f"{found} of {count} within 1.5 s, 95 % {share[0]:.1f} to {share[1]:.1f}",
    )
    line("barge_in_median_ms", percentile(latencies, 50), "ms")
    line("barge_in_p90_ms", percentile(latencies, 90), "ms")
    lost = [trial.onset_lost_ms for trial in score.trials if trial.onset_lost_ms is not None]
    line(
        "onset_lost_ms",
        float(np.mean(lost)) if lost else 0.0,
        "ms",
        f"mean; p95 {percentile(lost, 95):.0f}, {sum(v > 0 for v in lost)} of {len(lost)} begin late",
    )
    ends = [trial.end_s * 1000 for trial in score.trials if trial.end_s is not None]
    line("end_of_speech_to_commit_ms", percentile(ends, 50), "ms", f"p90 {percentile(ends, 90):.0f}, setting 700")
    short = sum(end < 0 for end in ends)
    line("turns_cut_short_pct", 100 * short / max(1, len(ends)), "%", f"{short} of {len(ends)}: over while he talked")
    early = sum(trial.false_cut for trial in score.trials)
    line(
        "cut_before_talker_pct", 100 * early / max(1, count), "%", f"{early} of {count}: babble counts as a talker here"
    )
    for low, high in BANDS_DB:
        within = [trial for trial in score.trials if low <= trial.echo_to_talker_db < high]
        part(f"{prefix}at_{low}_to_{high}_db", within)
    part(f"{prefix}at_one_clock", [trial for trial in score.trials if not trial.two_clocks])
    part(f"{prefix}at_two_clocks", [trial for trial in score.trials if trial.two_clocks])


def part(name: str, trials: Sequence[Trial]) -> None:
    """Print how a part of the talkers fared."""
    hit = [trial.cut_s * 1000 for trial in trials if trial.detected and trial.cut_s is not None]
    share = wilson_pct(len(hit), len(trials))
    say(
        f"{name}: {100 * len(hit) / max(1, len(trials)):.0f} % of {len(trials)} "
        f"(95 % {share[0]:.0f} to {share[1]:.0f}), "
        f"median {percentile(hit, 50):.0f} ms, p90 {percentile(hit, 90):.0f} ms"
    )


CURVE_DB = (-1.5, 0.0, 1.5, 3.0)


def curve(asked: argparse.Namespace) -> None:
    """Print what a stricter or laxer first suspicion would buy: a line a threshold."""
    for asked.stricter_db in CURVE_DB:
        score = played(jobs(asked)).ours
        latencies = score.cut_latencies_ms()
        say(
            f"suspect_{asked.stricter_db:+.1f}_db: {score.ducks / score.echo_hours:.0f} ducks/h, "
            f"{score.false_cuts / score.echo_hours:.1f} cuts/h, {score.detected_pct():.1f} % of {len(score.trials)}, "
            f"median {percentile(latencies, 50):.0f} ms, p90 {percentile(latencies, 90):.0f} ms"
        )


@dataclass(slots=True)
class Found:
    """What all scenes came to, for both chains."""

    ours: Score = field(default_factory=Score)
    plain: Score = field(default_factory=Score)
    heard: Listened = field(default_factory=Listened)
    plainly_heard: Listened = field(default_factory=Listened)
    turns: list[tuple[Utterance, bytes]] = field(default_factory=list)
    undisturbed: list[tuple[Utterance, bytes]] = field(default_factory=list)
    lost_control: list[str] = field(default_factory=list)
    scenes: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count one scene in."""
        self.scenes += 1
        listens = outcome.ours.scene.kind == "listening"
        (self.heard if listens else self.ours).add(outcome.ours)
        if outcome.plain is not None:
            (self.plainly_heard if listens else self.plain).add(outcome.plain)
        self.turns += outcome.turns
        self.undisturbed += outcome.undisturbed
        self.lost_control += outcome.ours.lost_control

    def report(self, *, with_words: bool) -> None:
        """Print all lines."""
        report("", self.ours)
        if with_words:
            for name, heard in (("words_lost_pct", self.turns), ("words_lost_without_reply_pct", self.undisturbed)):
                missing, total = words.lost(heard)
                say(f"{name}: {100 * missing / max(1, total):.1f} %  ({missing} of {total} in {len(heard)} turns)")
        reasons = sorted(set(self.lost_control)) or ""
        say(f"half_duplex_fallbacks: {len(self.lost_control)} in {self.scenes} scenes {reasons}")
        if self.heard.talkers:
            listening.report("", self.heard)
        if self.plain.trials:
            report("baseline_", self.plain)
        if self.plainly_heard.talkers:
            listening.report("baseline_", self.plainly_heard)


def played(wanted: Iterable[Job]) -> Found:
    """Play scenes on all cores."""
    found = Found()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for outcome in pool.map(play, wanted, chunksize=2):
            found.add(outcome)
    return found


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=("development", "test"), default="test")
    parser.add_argument("--minutes", type=float, default=62.0, help="of echo-only playback")
    parser.add_argument("--barge-ins", type=int, default=208)
    parser.add_argument("--listening", type=int, default=208, help="how many talk to a silent device")
    parser.add_argument("--mics", type=int, default=1)
    parser.add_argument("--use", type=int, default=0, help="how many of the microphones are used; 0: all")
    parser.add_argument("--detector", choices=("earshot", "webrtc"), default="earshot")
    parser.add_argument("--curve", action="store_true", help="print ours at several thresholds instead of the whole")
    parser.add_argument("--stricter-db", type=float, default=0.0, help="unexplained before anybody is suspected, added")
    parser.add_argument("--no-words", action="store_true", help="without speech recognition")
    return parser.parse_args()


def main() -> None:
    """Run the bench."""
    asked = arguments()
    if asked.curve:
        curve(asked)
        return
    begun, load_before = time.monotonic(), os.getloadavg()[0]
    everything = played(jobs(asked))
    everything.report(with_words=not asked.no_words)
    found = cost.stages_us()
    for stage, us in found.items():
        if stage != "chain":
            say(f"stage_us_per_10ms: {us:.0f} us  ({stage})")
    say(f"chain_us_per_10ms: {found['chain']:.0f} us")
    say(
        f"cpu_speaking_chain_s_per_min: {found['chain'] * 6000 / 1e6:.2f} s/min  (a Cortex-A53 core, assumed "
        f"{cost.SLOWER} times slower: {found['chain'] * cost.SLOWER / 100:.0f} % of it)"
    )
    say(machine(f"{everything.scenes} {asked.split} scenes, {time.monotonic() - begun:.0f} s", load_before))


if __name__ == "__main__":
    main()
