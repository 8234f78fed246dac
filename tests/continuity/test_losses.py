"""Nothing that was said is lost, told twice or out of order, wherever the line breaks; and no question ends in silence.

1,200 random breaks, and as many conversations moved to a new session; ``make bench-faults`` tells more of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from appliance.conversation.state import Turns
from appliance.realtime.history import History
from appliance.realtime.remote import Remote
from appliance.realtime.uplink import Uplink
from tests.continuity.story import Verdict, tell

MODES = list(Turns)


def told(seeds: range, turns: Turns, **how: Any) -> list[Verdict]:
    verdicts = [tell(seed, turns, **how) for seed in seeds]
    bad = {seed: verdict for seed, verdict in zip(seeds, verdicts, strict=True) if not verdict.flawless}
    assert not bad, bad
    assert sum(verdict.said for verdict in verdicts) > 2 * len(seeds), "there is something to lose"
    return verdicts


@pytest.mark.parametrize("turns", MODES)
@pytest.mark.parametrize("cuts", [1, 3])
def test_nothing_is_lost_or_doubled_wherever_the_line_breaks(turns: Turns, cuts: int) -> None:
    told(range(150), turns, cuts=cuts)


@pytest.mark.parametrize("turns", MODES)
def test_nothing_is_lost_or_doubled_by_a_move_in_the_middle_of_it(turns: Turns) -> None:
    verdicts = told(range(150), turns, cuts=0, moves=True)
    assert sum(verdict.moves for verdict in verdicts) > 75


@pytest.mark.parametrize("turns", MODES)
@pytest.mark.parametrize("moves", [False, True])
def test_nothing_is_lost_or_doubled_where_the_server_runs_tools(turns: Turns, moves: bool) -> None:
    told(range(100), turns, cuts=0 if moves else 2, moves=moves, remote=True)


def not_sent_again(_: Uplink) -> bool:
    return False


def nothing(*_: Any) -> None:
    pass


SABOTAGES: dict[str, tuple[type, str, Callable[..., Any]]] = {
    "an unanswered turn is not sent again": (Uplink, "reopened", not_sent_again),
    "a spoken turn is forgotten": (History, "spoken", nothing),
    "an answer is forgotten": (History, "assistant", nothing),
    "an answer ends a turn that is still being said": (Uplink, "answered", lambda uplink: uplink._turns.clear()),
    "a call of the server's is waited for as one of ours": (Remote, "ended", lambda *_: iter(())),
    "a call is told without its session knowing it": (History, "called", nothing),
}


@pytest.mark.parametrize("sabotage", SABOTAGES)
def test_the_yardstick_notices(sabotage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    of, name, instead = SABOTAGES[sabotage]
    monkeypatch.setattr(of, name, instead)
    remote = of is Remote
    assert not all(tell(seed, Turns.LOCAL, cuts=2, remote=remote).flawless for seed in range(40))
