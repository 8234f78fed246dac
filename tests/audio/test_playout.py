"""When a reply may start: over many downlinks in virtual time. The start delays are printed (``pytest -s``).

Each downlink is a distribution; a reply is drawn from it. After what the first replies could teach, a reply may
start late by no more than the jitter that was seen, and may run dry only as seldom as a thirteenth of what was
not seen yet (the worst of thirteen draws is the thirteenth as often as any other).
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.audio.facts import ReplyStarted
from appliance.audio.playout import LONGEST_MS, MARGIN_MS, UNKNOWN_MS, Playout
from tests.audio.stage import Downlink, Stage, loud

Draw = Callable[[random.Random], Downlink]


def steady(delta_ms: float, speed: float = 1.0, jitter_ms: float = 0.0, length_ms: float = 4000) -> Draw:
    def draw(chance: random.Random) -> Downlink:
        at, link = 0.0, []
        for k in range(int(length_ms / delta_ms)):
            at = max(at, k * delta_ms / speed + chance.uniform(-jitter_ms, jitter_ms))
            link.append((at, delta_ms))
        return link

    return draw


def bursts(size: int, every_ms: float, jitter_ms: float = 0.0) -> Draw:
    def draw(chance: random.Random) -> Downlink:
        return sorted((k // size * every_ms + chance.uniform(0, jitter_ms), 100.0) for k in range(40))

    return draw


def service(chance: random.Random) -> Downlink:
    """As the Realtime service sends: a short delta, then longer ones, several times faster than speech."""
    link, sent, at = [(0.0, 100.0)], 100.0, 0.0
    while sent < 5000:
        delta_ms = chance.choice([150.0, 200.0, 300.0, 400.0])
        at += delta_ms / chance.uniform(2, 8)
        link.append((at, delta_ms))
        sent += delta_ms
    return link


def stalling(base: Draw, gap_ms: float = 300.0, per_s: float = 1.0) -> Draw:
    """Now and then nothing arrives for ``gap_ms``, then all of it at once, as over a lossy link."""

    def draw(chance: random.Random) -> Downlink:
        link, at, stalls = list(base(chance)), 0.0, []
        while at < link[-1][0]:
            at += chance.expovariate(per_s) * 1000
            stalls.append(at)
            at += gap_ms
        late, out = 0.0, []
        for arrival, delta_ms in link:
            held = next((s + gap_ms for s in stalls if s <= arrival < s + gap_ms), arrival)
            late = max(late, held)
            out.append((late, delta_ms))
        return out

    return draw


def needed_ms(link: Downlink) -> float:
    """The start delay without which this reply would have stuttered: known only afterwards."""
    worst, before = 0.0, 0.0
    for arrival, delta_ms in link:
        worst = max(worst, arrival - link[0][0] - before)
        before += delta_ms
    return worst


def start_ms(playout: Playout, link: Downlink, at_s: float) -> tuple[float, bool]:
    """Play a reply by the rule alone; returns the start delay of its first part and whether it ran dry."""
    first: float | None = None
    start: float | None = None
    dry_ms, held_ms, dried = 0.0, 0.0, False
    arrivals = [*link, (float("inf"), 0.0)]
    for (arrival, delta_ms), (following, _) in pairwise(arrivals):
        if start is not None and arrival > dry_ms:
            playout.starved()
            start, held_ms, dried = None, 0.0, True
        playout.received(at_s + arrival / 1000, delta_ms)
        held_ms += delta_ms
        dry_ms += delta_ms
        if start is None:
            begin = arrival + max(0.0, playout.wait_ms(at_s + arrival / 1000))
            if following == float("inf"):
                begin = arrival  # nothing more comes
            if begin < following:
                start, dry_ms = begin, begin + held_ms
                first = begin if first is None else first
    playout.finished()
    assert first is not None
    return first, dried


LINKS: dict[str, tuple[Draw, float, float]] = {
    # name: downlink, start delay beyond the needed one (mean, ms) and stutters (%) allowed after the first reply
    "steady 20 ms": (steady(20), 17, 0),
    "steady 40 ms": (steady(40), 17, 0),
    "steady 100 ms": (steady(100), 17, 0),
    "20 ms, 5 ms jitter": (steady(20, jitter_ms=5), 25, 0),
    "100 ms, 5 ms jitter": (steady(100, jitter_ms=5), 25, 0),
    "twice real time": (steady(100, 2), 17, 0),
    "four times real time": (steady(40, 4), 17, 0),
    "bursts of 400 ms": (bursts(4, 400), 60, 0),
    "bursts of 400 ms, 20 ms jitter": (bursts(4, 400, 20), 70, 0),
    "bursts, faster": (bursts(3, 250), 17, 0),
    "20 ms, 300 ms gaps": (stalling(steady(20)), 80, 0),
    "100 ms, 300 ms gaps": (stalling(steady(100)), 95, 2),
    "twice real time, 300 ms gaps": (stalling(steady(100, 2)), 150, 4),
    "four times, 300 ms gaps": (stalling(steady(100, 4), per_s=2), 90, 4),
    "the service": (service, 45, 100 / 13),
    "the service, 300 ms gaps": (stalling(service, per_s=1.5), 120, 10),
}


@pytest.mark.parametrize("name", LINKS)
def test_a_known_link_neither_stutters_nor_starts_late(name: str) -> None:
    draw, allowed_ms, allowed_pct = LINKS[name]
    excess, starts, stutters = [], [], 0
    for seed in range(12):
        chance, playout = random.Random(seed), Playout()
        for k in range(20):
            link = draw(chance)
            start, dried = start_ms(playout, link, k * 100.0)
            if k == 0:
                assert not dried, "the first reply on an unknown link survives"
                assert start - link[0][0] <= UNKNOWN_MS + 0.001
            else:
                starts.append(start - link[0][0])
                excess.append(starts[-1] - needed_ms(link))
                stutters += dried
    mean, pct = sum(excess) / len(excess), 100 * stutters / len(starts)
    p95 = sorted(starts)[int(0.95 * len(starts))]
    sys.stdout.write(
        f"{name}: start {sum(starts) / len(starts):.0f} ms, p95 {p95:.0f}, above need {mean:.0f}; stutters {pct:.1f} %"
    )
    assert mean <= allowed_ms
    assert pct <= allowed_pct


def test_the_first_reply_survives_gaps_of_300_ms_anywhere() -> None:
    for delta_ms in (20, 40, 100):
        for gap_at in range(1, 1000 // delta_ms):
            link = [(k * delta_ms + (300 if k >= gap_at else 0), float(delta_ms)) for k in range(2000 // delta_ms)]
            assert not start_ms(Playout(), link, 0.0)[1]


@pytest.mark.parametrize("delta_ms", [20, 40, 100])
@pytest.mark.parametrize("jitter_ms", [0, 5])
def test_through_the_player_a_steady_link_starts_within_40_ms_after_the_first_reply(
    delta_ms: int, jitter_ms: int
) -> None:
    stage = Stage(playout=Playout())
    chance = random.Random(delta_ms)
    begins = []
    for k in range(4):
        link = steady(delta_ms, jitter_ms=jitter_ms, length_ms=1000)(chance)
        begins.append(stage.reply(f"i{k}", loud(1000, k), link, after_ms=50))
        stage.run(2500, lambda: chance.uniform(0, 0.003))  # the thread wakes late
    assert stage.player.starvations == 0
    delays = [s.sounds_at - b for s, b in zip(stage.told(ReplyStarted), begins, strict=True)]
    assert delays[0] <= UNKNOWN_MS / 1000 + 0.005
    assert max(delays[1:]) < 0.040


def test_a_gap_that_starved_a_reply_is_learned_whole() -> None:
    playout = Playout()
    link = [(k * 100 + (600 if k >= 5 else 0), 100.0) for k in range(20)]
    assert start_ms(playout, link, 0.0)[1]
    assert not start_ms(playout, link, 100.0)[1]


def test_an_outage_is_not_jitter() -> None:
    playout = Playout()
    start_ms(playout, steady(100)(random.Random(1)), 0.0)
    link = [(k * 100 + (5000 if k >= 5 else 0), 100.0) for k in range(20)]
    start_ms(playout, link, 100.0)
    assert playout.delay_ms < 60


def test_a_pause_between_items_is_not_jitter() -> None:
    playout = Playout()
    for k in range(10):
        playout.received(k * 0.1, 100)
    playout.paused()
    for k in range(10):
        playout.received(3 + k * 0.1, 100)
    playout.finished()
    assert playout.delay_ms == pytest.approx(MARGIN_MS)


def test_a_servers_leisure_while_far_ahead_is_not_jitter() -> None:
    playout = Playout()
    playout.received(0.0, 3000)
    playout.received(2.0, 3000)
    playout.finished()
    assert playout.delay_ms == pytest.approx(MARGIN_MS)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.tuples(st.floats(0, 5000), st.floats(1, 1000)), min_size=1, max_size=20), max_size=20))
def test_the_delay_stays_within_its_bounds(replies: list[list[tuple[float, float]]]) -> None:
    playout = Playout()
    for k, deltas in enumerate(replies):
        start, _ = start_ms(playout, sorted(deltas), k * 100.0)
        assert start - min(deltas)[0] <= LONGEST_MS + 0.001
        assert MARGIN_MS <= playout.delay_ms <= LONGEST_MS
