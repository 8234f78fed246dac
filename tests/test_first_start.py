"""The quiet calibration beside a conversation: when it is tried, when it is left, what follows. Time is virtual."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from appliance import calibrated, config
from appliance.audio.duplex import Duplex
from appliance.audio.facts import EchoUncontrolled
from appliance.audio.loop import LEAD_MS, Loop
from appliance.calibrated import Entry
from appliance.config import Loaded
from appliance.conversation import events as ev
from appliance.conversation.state import Led, Phase, State
from appliance.first_start import ATTEMPTS, RESTED_S, FirstStart
from tests.audio.test_loop import GOOD, MICROPHONE, UNHEARD
from tests.engine.rig import Rig, play

LOUD = msgspec.structs.replace(GOOD, return_loss_db=1.0, gain_db=0.0)
DEAD = msgspec.structs.replace(UNHEARD, microphones=(msgspec.structs.replace(MICROPHONE, dead=True),))
LOST = msgspec.structs.replace(GOOD, whole=False)
Load = Callable[..., Loaded]
Story = Callable[[Rig], Coroutine[Any, Any, None]]


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread's time is real, the loop's is not."""

    async def at_once(work: Callable[..., Any], *given: Any) -> Any:
        return work(*given)

    monkeypatch.setattr(asyncio, "to_thread", at_once)


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    def made(more: str = "", calibrate: str = "first_start") -> Loaded:
        board = f'name = "Own"\ncalibrate = "{calibrate}"\ndelay_ms = 25\n'
        (tmp_path / "own.toml").write_text(board)
        monkeypatch.setenv("VOICE_APPLIANCE_HARDWARE", str(tmp_path))
        path = tmp_path / "a.toml"
        path.write_text(f'board = "own"\n[state]\ndirectory = "{tmp_path / "state"}"\n{more}')
        return config.load(path)

    return made


class Start:
    """A first start beside the rig's engine."""

    def __init__(self, at: Rig, loaded: Loaded, percent: int = 80) -> None:
        self.at, self.percent = at, percent
        self.first = FirstStart(loaded, at.engine, cast("Duplex", at.duplex), lambda: self.percent)
        at.follow = self.first.changed
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        await self.first.load()
        await self.first.learn()

    async def begun(self, after_s: float = 0.0) -> None:
        """Wait until it measures, which must be after ``after_s``."""
        since = self.at.loop.time()
        while ("calibrate", "aec3") not in self.at.told:
            assert not self.task.done()
            await asyncio.sleep(0.01)
        assert self.at.loop.time() - since == pytest.approx(after_s, abs=0.1)
        assert self.at.engine.state.calibrating
        self.at.told.clear()

    async def found(self, loop: Loop | None) -> None:
        self.at.duplex.found(loop)
        await asyncio.sleep(0.01)

    async def never(self) -> None:
        await asyncio.sleep(3600)
        assert not [told for told in self.at.told if told[0] == "calibrate"]
        self.task.cancel()


def stored(loaded: Loaded, loop: Loop) -> None:
    entry = Entry(
        key=calibrated.key_of(loaded), loop=loop, volume_percent=80, at="2026-11-27T10:00:00+00:00", version="0"
    )
    assert calibrated.save(Path(loaded.config.state.directory), entry)


def kept(loaded: Loaded) -> Loop | None:
    entry = calibrated.load(Path(loaded.config.state.directory), calibrated.key_of(loaded))
    return None if entry is None else entry.loop


def press_and_give_up(at: Rig) -> None:
    at.press()
    at.release(100)
    give_up(at)


def give_up(at: Rig) -> None:
    at.press()
    at.release(100)
    assert at.phase() is Phase.IDLE


def test_a_mute_in_the_moment_in_which_it_would_begin_keeps_the_microphone_closed(load: Load) -> None:
    loaded = load()

    async def story(at: Rig) -> None:
        start = Start(at, loaded)
        at.engine.post(ev.MuteToggled())
        await start.first._attempt()  # its wait was over before the mute was known
        assert ("calibrate", "aec3") not in at.told
        assert at.shown[-1] is Led.MUTED
        start.task.cancel()

    play(story)


@pytest.mark.parametrize("loop", [GOOD, UNHEARD], ids=["heard", "not heard"])
def test_what_was_learnt_is_shown_used_and_kept(load: Load, loop: Loop) -> None:
    loaded = load()

    async def story(at: Rig) -> None:
        start = Start(at, loaded)
        await start.begun()
        assert at.shown == [Led.IDLE, Led.CALIBRATING]
        assert start.first.status() is None
        await start.found(loop)
        expected = 25 if loop.delay_ms is None else loop.delay_ms
        assert ("reference", expected - LEAD_MS) in at.told
        assert at.shown == [Led.IDLE, Led.CALIBRATING, Led.IDLE]
        assert start.task.done()
        assert at.engine.hearing.full_duplex
        status = start.first.status()
        assert status is not None
        assert (status["delay_ms"], status["erle_db"], status["full_duplex"]) == (loop.delay_ms, loop.erle_db, True)
        assert kept(loaded) == loop

    play(story, full_duplex=True)


def test_a_stored_loop_counts_and_is_not_measured_again(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    loaded = load()
    stored(loaded, LOUD)

    async def story(at: Rig) -> None:
        start = Start(at, loaded)
        await start.never()
        assert ("reference", 40.0 - LEAD_MS) in at.told
        assert at.engine.hearing.degraded
        assert "comes back at -1 dBFS" in at.engine.hearing.duplex_reason
        status = start.first.status()
        assert status is not None
        assert (status["at"], status["full_duplex"]) == ("2026-11-27T10:00:00+00:00", False)
        at.tapped_question()
        at.reply()
        assert (at.shown[-1], at.engine.mirror.microphone) == (Led.SPEAKING_ALONE, False)

    play(story, full_duplex=True)
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(lines) == 1
    assert lines[0].startswith("half duplex from now on: a loud sound comes back")
    assert "turn the microphone's gain down" in lines[0], "with a remedy"


def test_a_loop_of_another_canceller_is_measured_anew(load: Load) -> None:
    loaded = load()
    stored(loaded, msgspec.structs.replace(GOOD, canceller="none"))

    async def story(at: Rig) -> None:
        start = Start(at, loaded)
        await start.begun()
        await start.found(GOOD)
        assert kept(loaded) == GOOD

    play(story, full_duplex=True)


def test_a_good_loop_gives_full_duplex_back_but_no_canceller_that_failed(load: Load) -> None:
    loaded = load()

    def story(*, fails: bool) -> Story:
        async def told(at: Rig) -> None:
            start = Start(at, loaded)
            await start.begun()
            at.engine.audio_fact(EchoUncontrolled("out of control", "calibrate"))
            at.duplex.cancels = not fails
            await start.found(GOOD)
            assert at.engine.hearing.full_duplex is not fails
            (Path(loaded.config.state.directory) / calibrated.FILE_NAME).unlink()

        return told

    play(story(fails=False), full_duplex=True)
    play(story(fails=True), full_duplex=True)


def test_a_press_ends_it_and_it_is_tried_again_after_a_rest(load: Load) -> None:
    loaded = load()

    async def story(at: Rig) -> None:
        start = Start(at, loaded)
        await start.begun()
        at.press()
        assert ("microphone", True) in at.told
        assert at.shown[-1] is Led.LISTENING
        await asyncio.sleep(1.0)
        at.release(100)
        give_up(at)
        await asyncio.sleep(RESTED_S / 2)
        press_and_give_up(at)
        at.told.clear()
        await start.begun(after_s=RESTED_S)
        at.engine.post(ev.MuteToggled())
        assert ("microphone", False) in at.told, "a mute closes the microphone"
        await asyncio.sleep(RESTED_S * 3)
        at.engine.post(ev.MuteToggled())
        at.told.clear()
        await start.begun(after_s=RESTED_S)
        await start.found(GOOD)
        assert start.task.done()
        assert kept(loaded) == GOOD

    play(story, full_duplex=True)


@pytest.mark.parametrize("nothing", [None, DEAD, LOST], ids=["ended", "dead microphone", "sound lost"])
def test_three_attempts_each_in_an_idleness_of_its_own(load: Load, nothing: Loop | None) -> None:
    loaded = load()

    async def story(at: Rig) -> None:
        start = Start(at, loaded)
        for number in range(ATTEMPTS):
            await start.begun(after_s=RESTED_S if number else 0.0)
            await start.found(nothing)
            await asyncio.sleep(3600)
            assert not [told for told in at.told if told[0] == "calibrate"], "not around the clock"
            press_and_give_up(at)
            at.told.clear()
        await asyncio.sleep(0.01)
        assert start.task.done()
        assert kept(loaded) is None
        assert at.engine.hearing.full_duplex

    play(story, full_duplex=True)


@pytest.mark.parametrize(
    ("more", "calibrate"),
    [("", "never"), ("[conversation]\nbarge_in = false\n", "first_start")],
    ids=["the board says never", "nothing would follow from it"],
)
def test_not_asked_for_it_is_never_tried(load: Load, more: str, calibrate: str) -> None:
    loaded = load(more, calibrate)

    async def story(at: Rig) -> None:
        await Start(at, loaded).never()

    play(story, full_duplex=not more)


def test_muted_or_silent_it_waits(load: Load) -> None:
    loaded = load()

    async def story(at: Rig) -> None:
        start = Start(at, loaded, percent=0)
        await asyncio.sleep(3600)
        assert at.told == [("gate", False, 0)], "muted"
        at.engine.post(ev.MuteToggled())
        await asyncio.sleep(3600)
        assert not at.engine.state.calibrating, "nobody would hear it"
        start.percent = 80
        press_and_give_up(at)
        at.told.clear()
        await start.begun(after_s=RESTED_S)
        start.task.cancel()
        await asyncio.sleep(0.01)
        assert not at.engine.state.calibrating
        assert at.told[0] == ("microphone", False), "stopping ends it at once"

    play(story, full_duplex=True, state=State(muted=True))


def test_hands_free_it_has_the_microphone_for_itself(load: Load) -> None:
    loaded = load("[conversation]\nhands_free = true\n")

    async def story(at: Rig) -> None:
        at.told.clear()
        start = Start(at, loaded)
        await asyncio.sleep(0.01)
        assert at.told == [("microphone", False), ("calibrate", "aec3")]
        await start.found(GOOD)
        assert ("microphone", True) in at.told
        assert at.shown[-1] is Led.ATTENTIVE

    play(story, full_duplex=True, hands_free=True)
