"""SIGKILLs at random moments, a few of them here; ``make bench-faults`` does a hundred."""

from __future__ import annotations

from pathlib import Path

from tests.faults import kills
from tests.faults.town import Town


def test_what_must_survive_survives(faulty_town: Town, tmp_path: Path) -> None:
    found = kills.run(6, faulty_town, tmp_path / "life", seed=3)
    assert found.kills == 6
    assert found.lost == []
