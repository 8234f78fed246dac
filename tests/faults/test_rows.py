"""Every row of the table, in its short form; the dear ones in the slow suite."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from appliance.conversation.lines import SAID
from appliance.realtime import policy
from tests.faults.bench import run
from tests.faults.report import PAGE
from tests.faults.row import Row
from tests.faults.rows import ALL, IN_EVERY_RUN
from tests.faults.town import Town


def marked(row: Row) -> object:
    return pytest.param(row, id=row.name, marks=[] if row.name in IN_EVERY_RUN else [pytest.mark.slow])


@pytest.mark.parametrize("row", [marked(row) for row in ALL])
def test_it_is_told_and_heals(row: Row, faulty_town: Town, tmp_path: Path) -> None:
    outcome = run(row, faulty_town, tmp_path / "scene", quick=True)
    assert outcome.complaints == []
    assert outcome.verdict in ("healed", "owned up")


def test_names_are_unique_and_the_page_has_them_all() -> None:
    assert [name for name, count in Counter(row.name for row in ALL).items() if count > 1] == []
    assert {row.name for row in ALL} >= IN_EVERY_RUN
    lines = PAGE.read_text().splitlines()
    told = {line.split(" | ")[0].removeprefix("| ") for line in lines if line.startswith("| ")}
    assert {row.name for row in ALL} <= told, "run `python -m tests.faults --write`"


def test_what_the_rows_listen_for_exists() -> None:
    said = {
        name.removeprefix("said_") for row in ALL for part in row.hears for name in part.split("|") if "said_" in name
    }
    assert said <= set(SAID)


def test_every_error_of_the_policy_has_a_row() -> None:
    names = " ".join(row.name for row in ALL)
    told_otherwise = {
        "input_audio_buffer_commit_empty": "commit_empty",
        "item_truncate_invalid_item_id": "of truncation",
        "item_delete_invalid_item_id": "item_not_found",
        "invalid_item_id": "item_not_found",
        "conversation_already_has_active_response": "already_has_active_response",
        "inference_rate_limit_exceeded": "limited",
    }
    assert [code for code in policy.CODES if told_otherwise.get(code, code) not in names] == []
