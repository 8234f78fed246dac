"""``voice-appliance setup`` as systemd calls it, with a nmcli and a systemctl that record."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from appliance.hotspot import commands, forgetting, radio, request
from tests.command import Done, call
from tests.fakes.nmcli import OURS
from tests.hotspot.house import House


@pytest.fixture
def run(house: House, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The appliance's run directory, with the recording programs in the path."""
    folder = Path(house.nmcli.program).parent
    (folder / "systemctl").write_text(f'#!/bin/sh\necho systemctl "$*" >> {folder}/systemctl.calls\n')
    (folder / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    directory = house.machine.root / commands.RUN
    directory.mkdir(parents=True)
    house.machine.boot()
    return directory


def setup(house: House) -> Done:
    return call("setup", "--root", str(house.machine.root))


def systemctl(house: House) -> list[str]:
    return (Path(house.nmcli.program).parent / "systemctl.calls").read_text().splitlines()


def test_nothing_wished_for_is_no_failure_and_nonsense_is_cleared_away(house: House, run: Path) -> None:
    assert setup(house).returncode == 0
    (run / request.WISH).write_bytes(b"{")
    assert setup(house).returncode == 0
    assert not (run / request.WISH).exists(), "or systemd would start it again at once"
    assert house.nmcli.calls() == []


def test_a_page_that_cannot_be_opened_is_told_and_the_wish_is_gone(house: House, run: Path) -> None:
    wish = request.ask(run, "setup")
    house.nmcli.refuses(OURS)
    done = setup(house)
    assert done.returncode == 1
    assert "Secrets were required" in done.stderr
    assert wish.password not in done.stderr + done.stdout + "".join(house.nmcli.calls())
    found = request.progress(house.machine.places.run, wish)
    assert found
    assert found.state == "over"
    assert not (run / request.WISH).exists()
    assert not (house.machine.root / radio.KEYFILE).exists()


def test_an_address_that_is_not_ours_is_told(house: House, run: Path) -> None:
    """Here no Wi-Fi was really opened, so nobody has that address."""
    request.ask(run, "setup")
    assert "cannot listen at 10.42.0.1" in setup(house).stderr


def test_everything_is_forgotten_and_the_appliance_started_afresh(house: House, run: Path) -> None:
    house.machine.write('name = "Hall"\n[[wifi]]\nname = "Home"\npassword = "correct horse"\n')
    house.machine.boot()
    state = house.machine.root / forgetting.STATE
    state.mkdir(parents=True)
    (state / "identity.jwk").write_text("secret")
    request.ask(run, "forget")
    assert setup(house).returncode == 0
    assert systemctl(house) == ["systemctl stop voice-appliance.service", "systemctl start voice-appliance.service"]
    assert house.nmcli.calls() == ["connection reload"]
    assert list(state.iterdir()) == []
    assert list(house.machine.places.connections.iterdir()) == []
    assert not (run / request.WISH).exists()
    outcome = msgspec.json.decode((house.machine.places.run / "outcome.json").read_bytes())
    assert (outcome["wifi_known"], outcome["settings"]) == (False, "none")
