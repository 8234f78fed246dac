"""What the engine says in words when the service refuses, and on whose wish it asks again."""

from __future__ import annotations

from appliance.conversation import events as ev
from appliance.conversation.lines import words_of
from appliance.conversation.state import Phase
from appliance.engine import Hooks
from appliance.realtime.session import Need
from tests.engine.rig import Rig, play


def said(at: Rig) -> list[tuple[str, ...]]:
    return [told[1:] for told in at.take() if told[0] in ("cue", "say")]


def refuse(at: Rig, code: str) -> None:
    at.session.trouble = code
    at.engine.session_fact(ev.LinkRefused(code))


def test_a_refusal_is_explained_after_its_tone_and_again_at_each_press() -> None:
    async def story(at: Rig) -> None:
        at.press()
        at.take()
        refuse(at, "device_suspended")
        assert said(at) == [("error",), (("suspended",), False)]
        at.release()
        at.press()
        assert said(at) == [("listening",)], "it may have been mended"
        refuse(at, "spend_limit")
        assert said(at) == [("error",), (("spending",), False)]
        refuse(at, "device_suspended")
        assert said(at) == [], "the press has been answered; the news waits for the next"

    play(story)


def test_an_unreachable_service_has_a_tone_and_a_busy_one_has_words() -> None:
    async def story(at: Rig) -> None:
        for code, words in (("unreachable", []), ("overloaded", [(("busy",), False)])):
            at.press()
            at.speak()
            at.release()
            at.take()
            at.session.trouble = code
            at.link_lost(was_up=False)
            assert said(at) == [("offline",), *words]

    play(story)


def test_without_tones_there_are_no_words_but_for_the_code() -> None:
    async def story(at: Rig) -> None:
        show, changed, tell, update = at.engine._hooks.show, lambda: None, at.engine._hooks.said, lambda: None
        at.engine._hooks = Hooks(show, changed, tell, update, lambda code: words_of(code, "019-450-730"))
        at.press()
        at.take()
        refuse(at, "device_suspended")
        assert said(at) == []
        refuse(at, ev.ENROLMENT_PENDING)
        ((words, afresh),) = said(at)
        assert words[0] == "approve"
        assert afresh
        at.engine.post(ev.Enrolled())
        assert said(at) == []
        assert at.phase() is Phase.IDLE

    play(story, cues=False)


def test_who_wants_the_session() -> None:
    async def story(at: Rig) -> None:
        at.press()
        at.link_lost(was_up=False)  # the button is still down
        refuse(at, "device_suspended")
        at.press()
        refuse(at, "device_suspended")
        at.engine.post(ev.PhaseTimeout())
        assert at.session.needs == [Need.PRESS, Need.WAITING, Need.PRESS, Need.ITSELF]

    play(story)


def test_why_a_session_is_closed() -> None:
    async def story(at: Rig) -> None:
        at.press()
        at.link_up()
        at.release(held_ms=400)
        at.engine.post(ev.PhaseTimeout())
        assert at.session.reasons == ["idle"]

    play(story)
