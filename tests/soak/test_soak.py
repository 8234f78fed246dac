"""A soak so short that it only shows that nothing is forgotten at once; ``make soak`` is the one that tells of hours.

Of the long form growth is asserted, as of the virtual one, whose time is no machine's.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak import __main__ as soak
from tests.soak.virtual import live

SEED = 5


def test_half_an_hour_of_virtual_time_answers_or_owns_up_to_every_question() -> None:
    lived = live(0.5, SEED)
    assert lived.unanswered == []
    assert lived.bugs == []
    assert lived.done["answered"]
    assert sum(count for name, count in lived.done.items() if name.startswith("fault "))


def test_half_a_minute_with_the_whole_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOAK_DIRECTORY", str(tmp_path))
    wrong = soak.run_real(0.5, SEED)
    assert [words for words in wrong if "came to nothing" in words] == []


@pytest.mark.slow
def test_ten_minutes_with_the_whole_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOAK_DIRECTORY", str(tmp_path))
    assert soak.run_real(10, SEED) == []


@pytest.mark.slow
def test_twelve_hours_of_virtual_time() -> None:
    assert soak.run_virtual(12, SEED, traced=False) == []
