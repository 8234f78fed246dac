"""The first minutes with a device: settings on the card, the real daemon, the set-up page that its button asks for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.system.routes import is_connected
from tests.command import call
from tests.fakes.card.session import CardFactory
from tests.fakes.nmcli import OURS, FakeNmcli
from tests.first_boot.machine import Machine
from tests.scenarios.conftest import MakeHome
from tests.scenarios.home import Daemon, Home


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path / "machine")
    (made.root / "run/voice-appliance").mkdir(parents=True)
    unit = made.root / "etc/systemd/system/voice-appliance-setup.path"
    unit.parent.mkdir(parents=True)
    unit.touch()
    return made


def environment(machine: Machine) -> dict[str, str]:
    return {"RUNTIME_DIRECTORY": str(machine.root / "run/voice-appliance")}


def said(at: Daemon, code: str) -> bool:
    return bool(at.command("status")["counters"].get(f"said_{code}"))


@pytest.fixture
def lonely(tmp_path: Path, virtual_card: CardFactory, machine: Machine) -> Callable[[], Daemon]:
    """Starts a daemon that knows no service."""

    def started() -> Daemon:
        folder = tmp_path / "daemon"
        config = (
            f'[panel]\nbackend = "none"\n[control]\nsocket = "{folder}/control.sock"\n'
            f'[state]\ndirectory = "{tmp_path}/state"\n'
        )
        return Daemon(folder, config, {**virtual_card().environment, **environment(machine)})

    return started


def test_bad_settings_are_said_and_shown_and_a_press_goes_on(machine: Machine, lonely: Callable[[], Daemon]) -> None:
    machine.write('[[wifi]]\nname = "Home"\npasword = "hunter2 hunter2"\n')
    machine.boot()
    at = lonely()
    try:
        at.until_phase("fault")
        at.until(lambda: said(at, "bad_settings"), "a sentence")
        status = at.command("status")
        assert (status["led"], status["setup"]["settings"]) == ("error", "refused")
        assert status["setup"]["problem"] == "voice.toml: unknown key wifi.pasword; did you mean wifi.password?"
        at.command("tap")
        at.until_phase("idle")
        assert "hunter2" not in at.log()
        assert at.stop() == 0
    finally:
        at.close()


@pytest.mark.skipif(not is_connected(), reason="a machine without a default route has no network to be found")
def test_new_settings_reach_the_service_and_it_says_that_it_is_ready(machine: Machine, home: MakeHome) -> None:
    """Nobody presses anything: it enrols by its token and says so."""
    machine.write('name = "Kitchen"\n')
    machine.boot()
    at: Home = home(environment=environment(machine))
    at.daemon.until(lambda: said(at.daemon, "enrolled"), "its word that it is ready")
    status = at.daemon.command("status")
    assert (status["enrolment"]["state"], status["link"], status["phase"]) == ("enrolled", "up", "idle")
    at.daemon.process.kill()
    at.daemon.process.wait(10)
    at.daemon.socket_path.unlink()
    again = Daemon(
        at.daemon.config_path.parent,
        at.daemon.config_path.read_text(),
        {**at.card.environment, **environment(machine)},
    )
    at.daemon = again
    again.until_phase("idle")
    assert not said(again, "enrolled"), "once"


def test_the_button_asks_for_the_set_up_page_and_hears_how_it_went(
    machine: Machine, lonely: Callable[[], Daemon], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.boot()
    nmcli = FakeNmcli(tmp_path / "nmcli")
    nmcli.refuses(OURS)
    monkeypatch.setenv("PATH", f"{Path(nmcli.program).parent}:/usr/bin:/bin")
    at = lonely()
    try:
        at.command("press")
        pressed_s = time.monotonic()
        at.until_phase("setup")
        assert time.monotonic() - pressed_s > 4.9
        at.command("release")
        status = at.command("status")
        assert (status["led"], status["setup"]["page_open"]) == ("setup", True)
        assert said(at, "setup")
        wish = machine.root / "run/voice-appliance/setup-wanted"
        assert wish.stat().st_mode & 0o777 == 0o600
        password = wish.read_bytes().split(b'"password":"')[1][:12].decode()
        done = call("setup", "--root", str(machine.root))
        assert (done.returncode, wish.exists()) == (1, False)
        at.until_phase("idle")
        assert at.command("status")["led"] == "offline"
        assert password not in at.log() + done.stderr + done.stdout
        assert at.stop() == 0
    finally:
        at.close()
