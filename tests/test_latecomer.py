"""A board that comes after the start is taken into use; where a board was found or named, nobody looks."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance import config, latecomer, plugged
from appliance.audio.facts import DeviceBack
from appliance.daemon import Daemon
from tests import codecs, virtual_time
from tests.fakes.card.mixer import VirtualMixer
from tests.fakes.card.session import CardFactory
from tests.machines import DONGLE, PI, Machine
from tests.test_boards import HARDWARE
from tests.test_plugged import ARRAY, RESPEAKER


@pytest.fixture(autouse=True)
def _shipped_profiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICE_APPLIANCE_HARDWARE", str(HARDWARE))


def load(directory: Path, text: str = "") -> config.Loaded:
    path = directory / "appliance.toml"
    path.write_text(
        f'{text}\n[panel]\nbackend = "none"\n[control]\nsocket = "{directory / "control.sock"}"\n'
        f'[state]\ndirectory = "{directory / "state"}"\n'
    )
    return config.load(path)


def plug(directory: Path, machine: Machine) -> None:
    """Make the machine below ``directory`` another one."""
    shutil.rmtree(directory, ignore_errors=True)
    machine.root(directory)


def test_it_waits_for_a_board_that_it_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    plug(root, Machine(PI))
    monkeypatch.setattr(plugged, "ROOT", root)
    loaded = load(tmp_path)

    async def story() -> tuple[plugged.Choice | None, float]:
        loop = asyncio.get_running_loop()
        loop.call_later(3600, plug, root, Machine((*PI, ARRAY, RESPEAKER)))  # two boards are none
        loop.call_later(7201, plug, root, Machine((*PI, ARRAY)))
        began = loop.time()
        return await latecomer.board(loaded), loop.time() - began

    found, waited_s = virtual_time.run(story())
    assert found is not None
    assert (found.name, waited_s) == ("respeaker-xvf3800", 7205)


def test_a_profile_that_is_broken_meanwhile_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root, own = tmp_path / "root", tmp_path / "own"
    plug(root, Machine(PI))
    own.mkdir()
    monkeypatch.setattr(plugged, "ROOT", root)
    loaded = load(tmp_path)
    (own / "mine.toml").write_text('found_by = "seeed2micvoicec"')
    monkeypatch.setattr("appliance.board.folders", lambda: [own, HARDWARE])

    async def story() -> plugged.Choice | None:
        loop = asyncio.get_running_loop()
        loop.call_later(100, plug, root, Machine((*PI, RESPEAKER)))
        loop.call_later(200, plug, root, Machine((*PI, DONGLE)))
        return await latecomer.board(loaded)

    found = virtual_time.run(story())
    assert found is not None
    assert found.name == "usb"
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert line.startswith("cannot tell which board was plugged in: ")
    assert "mine.toml" in line


@pytest.mark.parametrize("text", ['board = "any"', ""])
def test_nobody_looks_where_a_board_is_known(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plug(tmp_path / "root", Machine((*PI, RESPEAKER)))
    monkeypatch.setattr(plugged, "ROOT", tmp_path / "root")
    assert virtual_time.run(latecomer.board(load(tmp_path, text))) is None


def test_the_daemon_starts_afresh_with_the_board_that_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, virtual_card: CardFactory, caplog: pytest.LogCaptureFixture
) -> None:
    virtual_card()
    root = tmp_path / "root"
    plug(root, Machine(PI))
    monkeypatch.setattr(plugged, "ROOT", root)
    monkeypatch.setattr(latecomer, "LOOK_S", 0.01)
    loaded = load(tmp_path)
    assert loaded.config.audio.capture == "default"

    async def story() -> bool:
        daemon = Daemon(loaded)
        running = asyncio.create_task(daemon.run())
        await daemon.started.wait()
        plug(root, Machine((*PI, RESPEAKER)))
        async with asyncio.timeout(10):
            await running
        return daemon.starts_afresh

    with caplog.at_level(logging.INFO):
        assert asyncio.run(story())
    assert load(tmp_path).config.board == "respeaker-2mic", "as the process that follows reads it"
    said = [(record.levelno, record.getMessage()) for record in caplog.records]
    assert (logging.WARNING, "board any: no known board was found: name yours, board = …") in said
    assert any("board respeaker-2mic is there now: there is a card seeed2micvoicec" in line for _, line in said)


@pytest.mark.parametrize("there", [True, False])
def test_the_daemon_makes_the_boards_mixer_settings(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = VirtualMixer(tmp_path / "mixer", "seeed2micvoicec" if there else "another", codecs.WM8960)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("appliance.daemon.MIXER_TRIES_S", (0.0, 0.01))
    loaded = load(tmp_path, 'board = "respeaker-2mic"')

    def until_settled() -> None:
        ends_s = time.monotonic() + 10
        while made.values()["ADC PCM Capture Volume"] != (195, 195) and "hw:CARD=seeed2micvoicec" not in caplog.text:
            assert time.monotonic() < ends_s
            time.sleep(0.01)

    async def story() -> None:
        daemon = Daemon(loaded)
        running = asyncio.create_task(daemon.run())
        await daemon.started.wait()
        await asyncio.to_thread(until_settled)
        daemon.stop()
        await running

    asyncio.run(story())
    warnings = [record.getMessage() for record in caplog.records if "mixer control" in record.getMessage()]
    assert len(warnings) == (0 if there else 1)
    assert made.values()["Speaker Playback Volume"] == ((121, 121) if there else (0, 0))


def test_the_mixer_of_a_card_that_comes_late_or_comes_back_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in VirtualMixer(tmp_path / "mixer", "another", []).environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("appliance.daemon.MIXER_TRIES_S", (0.0,))
    monkeypatch.setattr("appliance.daemon.MIXER_LOOK_S", 0.01)
    loaded = load(tmp_path, 'board = "respeaker-2mic"')

    def plug_in() -> VirtualMixer:
        return VirtualMixer(tmp_path / "mixer", "seeed2micvoicec", codecs.WM8960)

    def until(true: Callable[[], bool]) -> None:
        ends_s = time.monotonic() + 10
        while not true():
            assert time.monotonic() < ends_s
            time.sleep(0.01)

    def is_set(made: VirtualMixer) -> bool:
        return made.values()["ADC PCM Capture Volume"] == (195, 195)  # the last of them

    async def story() -> None:
        daemon = Daemon(loaded)
        running = asyncio.create_task(daemon.run())
        await daemon.started.wait()
        await asyncio.to_thread(until, lambda: "hw:CARD=seeed2micvoicec" in caplog.text)
        made = plug_in()
        await asyncio.to_thread(until, lambda: is_set(made))
        again = plug_in()
        assert not is_set(again), "a card that was plugged in anew is as after power-on"
        daemon._from_audio(DeviceBack())
        await asyncio.to_thread(until, lambda: is_set(again))
        daemon.stop()
        await running

    asyncio.run(story())
    warnings = [record.getMessage() for record in caplog.records if "mixer control" in record.getMessage()]
    assert len(warnings) == 1, "it is said once"
