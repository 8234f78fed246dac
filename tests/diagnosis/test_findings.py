"""What is said of each thing that can be wrong, by its figures: no machine has all of these troubles at hand."""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance import __version__, config
from appliance.diagnosis import machine, running, unit
from appliance.diagnosis.finding import Finding, Mark, ok, trouble
from appliance.first_boot.outcome import Outcome
from appliance.panel import ctl

NOW_S = 1_800_000_000.0


def test_a_finding_is_one_line_without_secrets() -> None:
    told = str(trouble("last error", "first\nek_abcdefgh was\x1b[2J refused", "remedy"))
    assert told == "trouble last error: first | ek_… was?[2J refused; remedy"
    assert str(ok("disk", "fine")) == "ok      disk: fine"


# --- the clock ---


@pytest.mark.parametrize(
    ("now_s", "service_s", "marked", "mark", "words"),
    [
        (12.0, None, True, Mark.TROUBLE, "never set"),
        (NOW_S, NOW_S - 3600, True, Mark.TROUBLE, "+3600 s from the provisioning service's"),
        (NOW_S, NOW_S + 30, False, Mark.OK, "agrees"),
        (NOW_S, None, True, Mark.OK, "time synchronisation"),
        (NOW_S, None, False, Mark.NOTE, "nobody says"),
    ],
)
def test_clock(now_s: float, service_s: float | None, marked: bool, mark: Mark, words: str, tmp_path: Path) -> None:
    synchronised = tmp_path / "synchronized"
    if marked:
        synchronised.touch()
    found = machine.clock(now_s, service_s, synchronised)
    assert found.mark is mark
    assert words in found.what


# --- the settings on the card ---


@pytest.mark.parametrize(
    ("found", "mark", "words"),
    [
        (None, Mark.NOTE, "nobody looks for settings"),
        (
            Outcome(settings="refused", problem="voice.toml: name = 5"),
            Mark.TROUBLE,
            "changed: voice.toml: name",
        ),
        (Outcome(settings="out_of_reach", problem="it did not come; try again"), Mark.TROUBLE, "it did not come"),
        (Outcome(settings="none"), Mark.NOTE, "no settings on the card"),
        (Outcome(settings="unchanged"), Mark.OK, "in use"),
        (Outcome(settings="taken"), Mark.OK, "in use"),
    ],
)
def test_settings_on_the_card(found: Outcome | None, mark: Mark, words: str) -> None:
    told = machine.settings(found)
    assert told.mark is mark
    assert words in told.what


# --- disk and state ---


@pytest.mark.parametrize(
    ("free", "files", "read_only", "words"),
    [
        (10**9, 10**6, True, "read-only"),
        (10**6, 10**6, False, "only 1 MB are free"),
        (10**9, 0, False, "no more files"),
    ],
)
def test_disk_trouble(free: int, files: int, read_only: bool, words: str) -> None:
    found = machine.judge_disk(Path("/var"), free, files, read_only=read_only)
    assert found.mark is Mark.TROUBLE
    assert words in found.what
    assert found.remedy


def test_disk_of_a_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    assert machine.disk(tmp_path / "not/yet").mark is Mark.OK
    assert str(tmp_path) in machine.disk(tmp_path / "not/yet").what


def test_a_file_of_somebody_else_in_the_state_directory_is_told(tmp_path: Path) -> None:
    assert machine.state(tmp_path / "none").mark is Mark.NOTE
    (tmp_path / "identity.jwk").touch()
    assert machine.state(tmp_path).mark is Mark.OK
    os.chown(tmp_path, 12345, 12345)
    found = machine.state(tmp_path)
    assert found.mark is Mark.TROUBLE
    assert "identity.jwk" in found.what
    assert found.remedy.startswith("sudo chown -R")


# --- user, groups, nodes ---


@pytest.fixture
def somebody(monkeypatch: pytest.MonkeyPatch) -> pwd.struct_passwd:
    """A user of this machine in the part of ours; it is in no group but its own."""
    user = pwd.getpwnam("nobody")
    monkeypatch.setattr(machine, "USER", "nobody")
    return user


def everything(groups: tuple[str, ...], dev: Path) -> list[Finding]:
    return list(machine.permissions(groups, dev))


def test_a_user_that_is_not_there_is_only_noted(tmp_path: Path) -> None:
    (found,) = everything(("audio",), tmp_path)
    assert found.mark is Mark.NOTE


@pytest.mark.usefixtures("somebody")
def test_a_missing_group_and_a_missing_membership_are_told(tmp_path: Path) -> None:
    found = everything(("audio", "no-such-group"), tmp_path)
    assert [(one.mark, one.what) for one in found] == [
        (Mark.TROUBLE, "nobody is not in the group audio"),
        (Mark.TROUBLE, "there is no group no-such-group"),
    ]


def test_nodes_that_the_user_may_not_use_are_told(somebody: pwd.struct_passwd, tmp_path: Path) -> None:
    own = grp.getgrgid(somebody.pw_gid).gr_name
    node = tmp_path / "gpiochip0"
    node.touch()
    node.chmod(0o600)
    os.chown(node, 0, somebody.pw_gid)
    (tmp_path / "snd").mkdir()
    groups = (own, "gpio")
    told = [one for one in everything(groups, tmp_path) if "gpiochip0" in one.what]
    assert "udev rule is missing" in told[0].remedy
    node.chmod(0o660)
    assert not [one for one in everything(groups, tmp_path) if "gpiochip0" in one.what]
    assert everything((own,), tmp_path)[0].mark is Mark.OK


def test_gpio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.toml"
    path.write_text('board = "i2s-mems"\n')
    loaded = config.load(path)

    def told(*, runs: bool = False) -> Finding:
        return asyncio.run(machine.gpio(loaded, runs=runs, dev=tmp_path))

    assert told(runs=True).mark is Mark.OK
    assert "no GPIO chip" in told().what
    (tmp_path / "gpiochip0").touch()
    assert "GPIO23" in told().what, "this machine has no chip of its own"
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "mock")
    path.write_text('board = "usb"\n')
    assert asyncio.run(machine.gpio(config.load(path), runs=False, dev=tmp_path)).mark is Mark.NOTE


def test_the_bus_of_the_leds_is_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('board = "respeaker-2mic"\n')
    loaded = config.load(path)
    assert machine.groups_for(loaded) == ("audio", "gpio", "spi")
    (found,) = machine.light(loaded, tmp_path)
    assert found.what == f"there is no {tmp_path}/spidev0.0"
    assert "dtparam=spi=on" in found.remedy
    (tmp_path / "spidev0.0").touch()
    assert list(machine.light(loaded, tmp_path)) == []
    path.write_text('board = "respeaker-2mic"\n[panel]\nbackend = "none"\n')
    assert machine.groups_for(config.load(path)) == ("audio",)
    for board, groups in (("i2s-mems", ("audio", "gpio")), ("usb", ("audio",))):
        path.write_text(f'board = "{board}"\n')
        assert machine.groups_for(config.load(path)) == groups
        assert list(machine.light(config.load(path), tmp_path / "none")) == []


# --- systemd's view ---

RUNS = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "Result": "success",
    "NRestarts": "0",
    "UnitFileState": "enabled",
    "ExecMainStatus": "0",
}


@pytest.mark.parametrize(
    ("differs", "mark", "words"),
    [
        ({}, Mark.OK, "starts with the machine"),
        ({"NRestarts": "3"}, Mark.OK, "restarted 3 times"),
        ({"LoadState": "not-found"}, Mark.NOTE, "not installed"),
        ({"UnitFileState": "disabled"}, Mark.TROUBLE, "does not start with the machine"),
        ({"ActiveState": "inactive"}, Mark.TROUBLE, "it is inactive"),
        ({"ActiveState": "activating", "SubState": "auto-restart", "Result": "watchdog"}, Mark.TROUBLE, "(watchdog"),
        ({"ActiveState": "failed", "Result": "signal"}, Mark.TROUBLE, "has given up (signal"),
        ({"ActiveState": "failed", "ExecMainStatus": "78"}, Mark.TROUBLE, "configuration cannot be used"),
    ],
)
def test_unit(differs: dict[str, str], mark: Mark, words: str) -> None:
    found = unit.judge({**RUNS, **differs})
    assert found.mark is mark
    assert words in found.what
    assert bool(found.remedy) is (mark is not Mark.OK)


def test_a_machine_without_systemd_is_noted() -> None:
    assert unit.judge({}).mark is Mark.NOTE


def test_a_command_that_is_not_there_says_nothing() -> None:
    assert unit.output("no-such-command-anywhere") == ""
    assert unit.output("false") == ""
    assert unit.output("echo", "x") == "x\n"


# --- the daemon's status ---

WELL: dict[str, Any] = {
    "phase": "idle",
    "link": "up",
    "uptime_s": 7200,
    "version": __version__,
    "microphone": "ok",
    "mic_open": False,
    "muted": False,
    "volume": 80,
    "button_stuck": False,
    "counters": {"underruns": 0, "ducks": 3},
    "last_error": None,
}


def test_a_healthy_status_is_one_line() -> None:
    assert [str(one) for one in running.examine(WELL)] == ["ok      microphone: ok, closed now"]


@pytest.mark.parametrize(
    ("differs", "line"),
    [
        ({"microphone": "clipped"}, "trouble microphone: the microphone is driven into clipping; turn its gain down"),
        ({"microphone": "unavailable"}, "trouble microphone: a sound card is gone; plug it in again"),
        ({"button_stuck": True}, "trouble button: it has been down for longer"),
        ({"volume": 0}, "note    volume: it is 0"),
        ({"counters": {"underruns": 7}}, "note    sound: some was lost since the start (7 underruns)"),
        ({"last_error": "refused; pay"}, "trouble last error: refused; pay; a press tries again"),
    ],
)
def test_what_ails_it_has_a_line(differs: dict[str, Any], line: str) -> None:
    assert any(str(one).startswith(line) for one in running.examine({**WELL, **differs}))


def answering(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], dict[str, object]]) -> running.Answer:
    monkeypatch.setattr(ctl, "ask", lambda _path, _request: answer())
    return running.ask(Path("socket"))


def test_an_old_version_that_still_runs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = answering(monkeypatch, lambda: {**WELL, "version": "0.0.1"})
    assert answer.finding.mark is Mark.TROUBLE
    assert "restart" in answer.finding.remedy


def test_a_socket_that_is_not_for_me_says_nothing_about_the_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> dict[str, object]:
        raise ctl.NotAllowedError("you may not use it", hint="join")

    answer = answering(monkeypatch, refuse)
    assert (answer.runs, answer.status, answer.finding.mark) == (True, None, Mark.NOTE)


def test_who_holds_a_busy_card_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from appliance.diagnosis import sound
    from appliance.errors import DeviceError

    def told() -> Iterator[Finding]:
        yield sound._failed("microphone", DeviceError("Device or resource busy", hint="another program uses it"))

    monkeypatch.setattr(sound, "PROC", tmp_path)
    assert "another program uses it" in str(next(told()))
    status = tmp_path / "asound/card1/pcm0c/sub0/status"
    status.parent.mkdir(parents=True)
    status.write_text("state: RUNNING\nowner_pid   : 812\n")
    (tmp_path / "812").mkdir()
    (tmp_path / "812/comm").write_text("pipewire\n")
    assert "busy, by pipewire (process 812); stop that program" in str(next(told()))
