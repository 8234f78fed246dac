"""What is said by itself at a start, and the set-up page as the appliance sees it. Time is virtual."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from appliance.conversation import events as ev
from appliance.conversation.lines import DIGITS, words_of
from appliance.conversation.state import Led, Link, Phase
from appliance.first_boot import outcome
from appliance.first_boot.outcome import Outcome
from appliance.guidance import Guidance
from appliance.hotspot import request
from appliance.hotspot.request import Progress
from tests.engine.rig import Rig, play


class Place:
    """A machine's two run directories, and whether it is on a network."""

    def __init__(self, root: Path, found: Outcome | None) -> None:
        self.told, self.runtime = root / outcome.NAME, root / "voice-appliance"
        self.told.mkdir()
        self.runtime.mkdir()
        if found is not None:
            (self.told / outcome.FILE_NAME).write_bytes(msgspec.json.encode(found))
        self.connected_after = float("inf")
        self.trouble = ""
        self.guided: Guidance

    def guidance(self) -> Guidance:
        begun_s = asyncio.get_running_loop().time()

        def connected() -> bool:
            return asyncio.get_running_loop().time() - begun_s >= self.connected_after

        self.guided = Guidance(lambda: self.trouble, str(self.runtime), connected=connected)
        return self.guided

    def says(self, state: str, failures: int = 0) -> None:
        """Root's unit says how far it is."""
        wish = request.wished(self.runtime)
        assert wish
        request.tell(self.told, Progress(wish.id, state, failures))  # type: ignore[arg-type]  # one of its words


def told(at: Rig) -> list[object]:
    """The tones and words since the last look, and whether a session was asked for."""
    return [what[0] if what else kind for kind, *what in at.take() if kind in ("cue", "say", "open")]


Story = Callable[[Rig], Awaitable[None]]


def start(place: Place, story: Story) -> None:
    """Begin a story with a guided appliance; it goes on while that begins."""

    async def played(at: Rig) -> None:
        guidance = place.guidance()
        at.follow = guidance.changed
        hooks = at.engine._hooks
        at.engine._hooks = replace(
            hooks,
            changed=guidance.changed,
            setup=lambda effect: guidance.act(effect, at.engine),
            words=lambda code: words_of(guidance.code(code), guidance.password, setup=guidance.page),
        )
        task = asyncio.get_running_loop().create_task(guidance.begin(at.engine))
        try:
            await story(at)
        finally:
            task.cancel()
            guidance.close()

    play(played, setup=True)


def place(tmp_path: Path, **found: object) -> Place:
    return Place(tmp_path, Outcome(id="1", page=True, **found))  # type: ignore[arg-type]  # keywords pass through


NO_NETWORK = ["offline", ("no-network", "", "hold")]
READY = ["ready", ("ready",)]


def test_without_anybody_who_looks_for_settings_nothing_is_said_and_no_page_is_opened(tmp_path: Path) -> None:
    here = Place(tmp_path, None)

    async def story(at: Rig) -> None:
        await asyncio.sleep(300)
        assert told(at) == []
        assert (here.guided.page, here.guided.status()) == (False, None)

    start(here, story)


def test_no_network_known_is_said_once_and_again_at_each_press(tmp_path: Path) -> None:
    at_first = place(tmp_path)

    async def story(at: Rig) -> None:
        await asyncio.sleep(19)
        assert told(at) == []
        await asyncio.sleep(2)
        assert told(at) == NO_NETWORK
        assert at.shown[-1] is Led.OFFLINE
        await asyncio.sleep(3600)
        assert told(at) == [], "not by itself"
        at.press()
        at.speak()
        at.release()
        at.take()
        at.session.trouble = "unreachable"
        at.link_lost(was_up=False)
        assert told(at) == [*NO_NETWORK, "open"], "and it goes on trying"

    start(at_first, story)


def test_a_known_wifi_that_is_away_is_no_reason_to_speak_at_night(tmp_path: Path) -> None:
    async def story(at: Rig) -> None:
        await asyncio.sleep(300)
        assert told(at) == []

    start(place(tmp_path, wifi_known=True), story)


def test_new_settings_that_lead_to_no_network_are_told(tmp_path: Path) -> None:
    async def story(at: Rig) -> None:
        await asyncio.sleep(59)
        assert told(at) == []
        await asyncio.sleep(3)
        assert told(at) == NO_NETWORK

    start(place(tmp_path, settings="taken", wifi_known=True), story)


@pytest.mark.parametrize("settings", ["refused", "out_of_reach"])
def test_bad_settings_win_over_all_else_until_a_press(tmp_path: Path, settings: str) -> None:
    async def story(at: Rig) -> None:
        await asyncio.sleep(1)
        assert told(at) == ["error", ("settings",)]
        assert at.shown[-1] is Led.ERROR
        await asyncio.sleep(3600)
        assert told(at) == []
        assert at.shown[-1] is Led.ERROR
        at.press()
        assert told(at) == ["error", ("settings",)]
        at.release()
        at.press()
        assert at.phase() is Phase.LISTENING

    start(place(tmp_path, settings=settings, problem="name = 5"), story)


def test_new_settings_reach_for_the_service_and_it_says_that_it_is_ready(tmp_path: Path) -> None:
    here = place(tmp_path, settings="taken", wifi_known=True)
    here.connected_after = 7

    async def story(at: Rig) -> None:
        await asyncio.sleep(6)
        assert told(at) == []
        await asyncio.sleep(2)
        assert told(at) == ["open"]
        at.engine.post(ev.LinkOpened())
        await asyncio.sleep(1)
        assert told(at) == READY

    start(here, story)


def test_a_code_to_approve_is_said_instead(tmp_path: Path) -> None:
    here = place(tmp_path, settings="taken", wifi_known=True)
    here.connected_after = 0

    async def story(at: Rig) -> None:
        await asyncio.sleep(1)
        at.take()
        at.engine.session_fact(ev.LinkRefused(ev.ENROLMENT_PENDING))
        await asyncio.sleep(1)
        assert told(at)[0] == "code"
        assert at.shown[-1] is Led.ENROLLING

    start(here, story)


def test_a_clock_that_is_set_late_costs_a_try_and_the_third_failure_is_told(tmp_path: Path) -> None:
    here = place(tmp_path, settings="taken", wifi_known=True)
    here.connected_after, here.trouble = 0, "clock_behind"

    async def story(at: Rig) -> None:
        for _ in range(3):
            await asyncio.sleep(1)
            assert told(at) == ["open"]
            at.link_lost(was_up=False)
            await asyncio.sleep(19.5)
        assert told(at) == ["offline", ("time",)]

    start(here, story)


def test_a_press_meanwhile_is_not_talked_into(tmp_path: Path) -> None:
    here = place(tmp_path, settings="taken", wifi_known=True)
    here.connected_after = 0

    async def story(at: Rig) -> None:
        await asyncio.sleep(1)
        at.press()
        at.take()
        at.engine.post(ev.LinkOpened())
        await asyncio.sleep(5)
        assert told(at) == []

    start(here, story)


def test_once_for_each_look_at_the_settings_however_often_it_starts(tmp_path: Path) -> None:
    here = place(tmp_path)

    async def first(at: Rig) -> None:
        await asyncio.sleep(30)
        assert told(at) == NO_NETWORK

    async def again(at: Rig) -> None:
        await asyncio.sleep(30)
        assert told(at) == []

    start(here, first)
    start(here, again)
    (here.told / outcome.FILE_NAME).write_bytes(msgspec.json.encode(Outcome(id="2", page=True)))
    start(here, first)


# --- the set-up page ---


async def held(at: Rig, *, seconds: float = 5) -> None:
    """Hold the button without a word, with the machine long on and the service out of reach."""
    at.press()
    at.engine.post(ev.TalkHeld())
    await asyncio.sleep(seconds)
    at.engine.post(ev.TalkHeldLong(fresh=False))


def password_said(at: Rig) -> str:
    (words,) = [what for what in told(at) if isinstance(what, tuple)]
    assert words[0] == "join"
    return "".join(str(DIGITS.index(word)) for word in words[1:] if word)


def test_the_page_is_asked_for_and_its_password_is_said_each_minute(tmp_path: Path) -> None:
    here = place(tmp_path)
    here.connected_after = 0

    async def story(at: Rig) -> None:
        await held(at)
        wish = request.wished(here.runtime)
        assert wish
        assert wish.what == "setup"
        assert password_said(at) == wish.password
        assert at.shown[-1] is Led.SETUP
        assert at.phase() is Phase.SETUP
        await asyncio.sleep(2)
        here.says("open")
        await asyncio.sleep(60)
        assert password_said(at) == wish.password
        status = here.guided.status()
        assert status
        assert status["page_open"] is True
        assert wish.password not in str(status)
        here.says("open", failures=1)
        await asyncio.sleep(2)
        assert told(at) == ["error", ("not-joined",)]
        here.says("done")
        await asyncio.sleep(2)
        assert told(at) == ["ready"]
        assert at.phase() is Phase.IDLE
        assert request.wished(here.runtime) is None

    start(here, story)


def test_a_press_closes_the_page(tmp_path: Path) -> None:
    here = place(tmp_path)
    here.connected_after = 0

    async def story(at: Rig) -> None:
        await held(at)
        here.says("open")
        at.release()
        at.take()
        at.press()
        assert told(at) == ["sent"]
        assert request.wished(here.runtime) is None
        assert (at.phase(), here.guided.password) == (Phase.IDLE, "")
        await asyncio.sleep(700)
        assert told(at) == []

    start(here, story)


@pytest.mark.parametrize(("says", "after_s"), [(None, 35), ("over", 5)])
def test_a_page_that_is_over_or_never_opens_ends(tmp_path: Path, says: str | None, after_s: float) -> None:
    here = place(tmp_path)
    here.connected_after = 0

    async def story(at: Rig) -> None:
        await held(at)
        if says:
            here.says(says)
        at.take()
        await asyncio.sleep(after_s)
        assert told(at) == ["offline"]
        assert (at.phase(), at.shown[-1]) == (Phase.IDLE, Led.OFFLINE)

    start(here, story)


def test_whoever_speaks_or_is_connected_asks_a_question_however_long(tmp_path: Path) -> None:
    here = place(tmp_path)
    here.connected_after = 0

    async def story(at: Rig) -> None:
        at.press()
        at.engine.post(ev.TalkHeld())
        at.engine.post(ev.VoiceStarted())
        at.engine.post(ev.TalkHeldLong(fresh=True))
        assert at.phase() is Phase.LISTENING
        at.engine.post(ev.MuteToggled())
        at.engine.post(ev.MuteToggled())
        at.press()
        at.engine.post(ev.LinkOpened())
        at.engine.post(ev.TalkHeld())
        at.engine.post(ev.TalkHeldLong(fresh=False))
        assert (at.phase(), at.engine.state.link) == (Phase.LISTENING, Link.UP)
        at.engine.post(ev.TalkHeldLong(fresh=True))
        assert at.phase() is Phase.SETUP, "just switched on, and nobody speaks"

    start(here, story)


def test_everything_is_forgotten_when_the_button_is_let_go_after_the_warning_and_not_later(tmp_path: Path) -> None:
    here = place(tmp_path)
    here.connected_after = 0

    async def story(at: Rig) -> None:
        await held(at)
        at.take()
        at.engine.post(ev.TalkHeldOn())
        assert told(at) == ["error", ("forget",)]
        at.engine.post(ev.TalkHeldOut())
        at.engine.post(ev.TalkReleased(ev.FORGET_UNTIL_MS, 0))
        assert at.phase() is Phase.SETUP
        at.engine.post(ev.TalkReleased(ev.FORGET_UNTIL_MS - 1, 0))
        wish = request.wished(here.runtime)
        assert wish
        assert (wish.what, wish.password) == ("forget", "")
        assert at.shown[-1] is Led.UPDATING

    start(here, story)


def test_a_run_directory_that_cannot_be_written_ends_it(tmp_path: Path) -> None:
    here = place(tmp_path)
    here.connected_after = 0

    async def story(at: Rig) -> None:
        (here.runtime / f".{request.WISH}.new").mkdir()
        await held(at)
        await asyncio.sleep(1)
        assert at.phase() is Phase.IDLE
        assert "offline" in told(at)

    start(here, story)


def test_a_wish_is_believed_in_its_form_alone(tmp_path: Path) -> None:
    wish = request.ask(tmp_path, "setup")
    assert request.wished(tmp_path) == wish
    assert (tmp_path / request.WISH).stat().st_mode & 0o777 == 0o600
    bad = [b"", b"[]", b'{"what":"setup","id":"x","password":"1"}', b"\xff", b'{"what":"halt","id":"0123456789abcdef"}']
    bad += [
        f'{{"what":"setup","id":"0123456789abcdef","password":"{pw}"}}'.encode()
        for pw in ("", "12345678901\\n", "1" * 13)
    ]
    for content in bad:
        (tmp_path / request.WISH).write_bytes(content)
        assert request.wished(tmp_path) is None, content
    (tmp_path / request.WISH).unlink()
    (tmp_path / "elsewhere").write_bytes(msgspec.json.encode(wish))
    (tmp_path / request.WISH).symlink_to(tmp_path / "elsewhere")
    assert request.wished(tmp_path) is None
