"""Measures the appliance and the minimal client, one after the other, on the same card and server.

Run ``python -m tests.bench`` (about six minutes) or ``python -m tests.bench --quick`` (under a minute: proof that it
works, not figures). Responsible for: the programme and the choice of what is printed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench.cost import cpu_s_per_min, rss_mb
from tests.bench.measure import Figures, Lost
from tests.bench.report import Report, machine, median, percentile, say
from tests.bench.rig import Appliance, Bench, Client, Minimal
from tests.bench.signals import Noise
from tests.bench.story import Storyteller, Turn

WARM_UP = 2  # the first reply waits for a jitter that nobody has measured yet
SETTLE_S = 1.0  # what a client does after it said that it is ready


@dataclass(frozen=True)
class Programme:
    """How often everything is done."""

    complete: int
    cut: int
    burst_complete: int
    burst_cut: int
    starts: int
    cost_s: float
    reply_s: float  # of replies that are heard to their end
    linger_s: float  # until the loudspeaker is closed and idle begins

    @property
    def turns(self) -> int:
        return self.complete + self.cut

    @property
    def seconds(self) -> float:
        """More than it takes, for the length of the card."""
        turns = WARM_UP + self.turns + self.burst_complete + self.burst_cut
        return 60 + 5 * turns + 4 * self.cost_s + 8 * self.starts

    def __str__(self) -> str:
        return (
            f"{self.turns} turns each on a steady downlink ({self.cut} of them interrupted), "
            f"{self.burst_complete + self.burst_cut} on a bursty one, {self.starts} starts, {self.cost_s:g} s a cost"
        )


FULL = Programme(complete=9, cut=26, burst_complete=4, burst_cut=8, starts=7, cost_s=20.0, reply_s=2.0, linger_s=4.0)
QUICK = Programme(complete=1, cut=1, burst_complete=0, burst_cut=1, starts=1, cost_s=1.0, reply_s=1.0, linger_s=0.5)


@dataclass
class Notes:
    """What was measured of one client."""

    starts: list[float]
    rss_fresh_mb: float
    rss_mb: float
    idle: float
    listening: float
    speaking: float
    first: Figures
    steady: Figures
    burst: Figures


def run(client: Client, programme: Programme, noise: Noise) -> Notes:
    """Put one client through the programme."""
    starts = []
    for _ in range(programme.starts - 1):
        starts.append(client.start())
        time.sleep(SETTLE_S)
        client.stop()
    starts.append(client.start())
    try:
        time.sleep(SETTLE_S)
        story = Storyteller(client, noise)
        warm = story.complete(WARM_UP, 0.5, 1.0)
        fresh_mb = rss_mb(client.pid, client.bench.card.path)
        steady = story.complete(programme.complete, programme.reply_s, 1.0) + story.cut(programme.cut, 4.0, 1.0)
        burst = story.complete(programme.burst_complete, programme.reply_s, 0.0)
        burst += story.cut(programme.burst_cut, 4.0, 0.0)
        used_mb = rss_mb(client.pid, client.bench.card.path)
        time.sleep(programme.linger_s)
        seconds = programme.cost_s

        def cpu() -> float:
            return cpu_s_per_min(client.pid, seconds)

        idle, listening, speaking = cpu(), story.listen(seconds, cpu), story.hear(seconds, cpu)
    finally:
        client.stop()
    figures = [_figures(turns, client, noise) for turns in (warm[:1], steady, burst)]
    return Notes(starts, fresh_mb, used_mb, idle, listening, speaking, *figures)


def _figures(turns: list[Turn], client: Client, noise: Noise) -> Figures:
    figures = Figures()
    for turn in turns:
        try:
            figures.add(turn, noise, client.bench.card, client.bench.server)
        except Lost as error:
            figures.lost += 1
            sys.stderr.write(f"{client.name or 'appliance'}: {turn.item_id}: {error}\n")
    return figures


def tell(report: Report, prefix: str, notes: Notes) -> None:
    """Print the figures of one client."""

    def both(name: str, values: list[float], *percents: int) -> None:
        for percent in percents:
            report.line(f"{prefix}{name}_p{percent}_ms", percentile(values, percent))

    steady, burst = notes.steady, notes.burst
    both("press_to_capture", steady.press_to_capture, 50, 95)
    both("mic_to_wire", steady.mic_to_wire, 50, 99)
    both("mic_to_wire_newest", steady.mic_to_wire_newest, 50, 99)
    both("first_delta_to_speaker", steady.first_delta_to_speaker, 50, 95)
    both("burst_first_delta_to_speaker", burst.first_delta_to_speaker, 50, 95)
    report.line(f"{prefix}first_reply_delta_to_speaker_ms", percentile(notes.first.first_delta_to_speaker, 50))
    both("press_barge_in", steady.barge_in, 50, 95)
    both("burst_press_barge_in", burst.barge_in, 95)
    report.line(f"{prefix}overhead_end_of_speech_to_first_sample_ms", median(steady.overhead))
    both("overhead_end_of_speech_to_first_sample", steady.overhead, 95)
    errors = steady.truncation_error + burst.truncation_error
    report.line(f"{prefix}truncation_error_p50_ms", median([abs(error) for error in errors]))
    report.line(f"{prefix}truncation_error_max_ms", max(abs(error) for error in errors))
    report.line(f"{prefix}reply_gaps", steady.gaps + burst.gaps + notes.first.gaps)
    report.line(f"{prefix}replies_with_gaps", steady.gapped + burst.gapped + notes.first.gapped)
    report.line(f"{prefix}speech_tail_lost_max_ms", max(steady.tail_lost + burst.tail_lost))
    report.line(f"{prefix}turns_not_measured", notes.first.lost + steady.lost + burst.lost)
    report.line(f"{prefix}start_to_ready_s", median(notes.starts))
    report.line(f"{prefix}rss_fresh_mb", notes.rss_fresh_mb)
    report.line(f"{prefix}rss_mb", notes.rss_mb)
    report.line(f"{prefix}cpu_idle_s_per_min", notes.idle)
    report.line(f"{prefix}cpu_listening_s_per_min", notes.listening)
    report.line(f"{prefix}cpu_speaking_s_per_min", notes.speaking)


def cross_check(report: Report, appliance: Appliance) -> None:
    """Print what the daemon's own records say of the same turns: they should agree, and prove nothing."""
    records = appliance.records()[WARM_UP:]
    for key, percent in (
        ("press_to_capture_ms", 95),
        ("capture_to_wire_p50_ms", 50),
        ("first_delta_to_dac_ms", 95),
        ("barge_in_to_silence_ms", 95),
    ):
        values = [value for record in records if (value := record[key]) is not None]
        if values:
            report.line(f"record_{key.removesuffix('_ms')}_p{percent}_ms", percentile(values, percent))


def main() -> int:
    """Run the benchmark."""
    arguments = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="few repeats: shows that it works, measures nothing")
    programme = QUICK if arguments.parse_args().quick else FULL
    load, report = os.getloadavg()[0], Report()
    noise = Noise(programme.cost_s + 15, 48_000)
    with tempfile.TemporaryDirectory(prefix="bench") as directory:
        for make in (Appliance, Minimal):
            client = make(Bench(Path(directory) / make.__name__.lower(), programme.seconds))
            try:
                tell(report, client.name, run(client, programme, noise))
                if isinstance(client, Appliance):
                    cross_check(report, client)
            except TimeoutError:
                sys.stderr.write(client.last_words())
                raise
            finally:
                client.close()
    report.ratios()
    say(machine(str(programme), load))
    return 0


if __name__ == "__main__":
    sys.exit(main())
