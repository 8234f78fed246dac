"""Power that is cut at each step of an import: old or new, never half, and the secrets are gone in the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.first_boot import record
from tests.first_boot.machine import Machine, Power, PowerCut
from tests.first_boot.test_importing import FILE, SECRETS

BEFORE = '[[wifi]]\nname = "Old"\npassword = "old password"\n[audio]\nvolume = 10\n'


def prepared(root: Path) -> Machine:
    """A machine that was set up before, with a new file on its card."""
    machine = Machine(root)
    machine.write(BEFORE)
    machine.boot()
    machine.write(FILE)
    return machine


def steps(root: Path) -> int:
    power = Power(0)
    machine = prepared(root)
    with power.supply():
        machine.boot()
    return power.steps


@pytest.mark.parametrize("torn", [False, True], ids=["whole", "torn"])
def test_at_each_step(tmp_path: Path, torn: bool) -> None:
    whole = prepared(tmp_path / "whole")
    old = whole.settings()
    whole.boot()
    new, erased = whole.settings(), whole.file.read_bytes()
    count = steps(tmp_path / "counted")
    assert count > 25
    promised = 0
    for last in range(1, count + 1):
        machine = prepared(tmp_path / str(last))
        with Power(last, torn=torn).supply(), pytest.raises(PowerCut):
            machine.boot()
        found = record.load(machine.places)
        if not found.changes and not found.erase:
            assert machine.settings() in (old, new), last
        else:
            promised += 1
        # Nothing else of the card may be lost, and what was not taken over is not erased.
        assert machine.file.exists(), last
        if machine.settings() == old and not found.changes:
            assert machine.file.read_bytes() in (FILE.encode(), erased), last
        machine.boot()
        assert machine.settings() == new, last
        assert machine.file.read_bytes() == erased, last
        assert not [secret for secret in SECRETS if secret in machine.everything_but("etc")], last
        assert machine.boot().settings == "unchanged", last
        assert machine.settings() == new, last
    assert promised > 10


def test_at_each_step_and_then_the_card_is_gone(tmp_path: Path) -> None:
    """What was promised happens without the card too; what was not, does not."""
    whole = prepared(tmp_path / "whole")
    old = whole.settings()
    whole.boot()
    new = whole.settings()
    seen = set()
    for last in range(1, steps(tmp_path / "counted") + 1):
        machine = prepared(tmp_path / str(last))
        with Power(last).supply(), pytest.raises(PowerCut):
            machine.boot()
        machine.file.unlink()
        assert machine.boot().settings == "none"
        now = machine.settings()
        assert now in (old, new), last
        seen.add(now == new)
    assert seen == {True, False}


def test_a_new_password_written_over_a_half_erased_file_is_taken(tmp_path: Path) -> None:
    machine = prepared(tmp_path / "one")
    count = steps(tmp_path / "counted")
    for last in range(1, count + 1):
        machine = prepared(tmp_path / str(last))
        with Power(last, torn=True).supply(), pytest.raises(PowerCut):
            machine.boot()
        machine.write(FILE.replace("correct horse", "wrong donkey!"))
        machine.boot()
        assert "psk=wrong\\sdonkey!\n" in "".join(machine.settings().values()), last


def test_a_cut_while_the_earlier_cut_is_made_good(tmp_path: Path) -> None:
    whole = prepared(tmp_path / "whole")
    whole.boot()
    for first in range(8, steps(tmp_path / "counted"), 3):
        for second in (2, 5, 9, 14):
            machine = prepared(tmp_path / f"{first}-{second}")
            with Power(first, torn=True).supply(), pytest.raises(PowerCut):
                machine.boot()
            try:
                with Power(second, torn=True).supply():
                    machine.boot()
            except PowerCut:
                pass
            machine.boot()
            assert machine.settings() == whole.settings(), (first, second)
            assert machine.file.read_bytes() == whole.file.read_bytes(), (first, second)
