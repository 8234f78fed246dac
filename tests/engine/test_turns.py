"""The engine. Turns: the order of acts, which audio belongs to which turn, drains stale and not."""

from __future__ import annotations

import pytest

from appliance.audio import facts as heard
from appliance.conversation import events as ev
from appliance.conversation.state import Led, Phase
from appliance.engine import Hooks
from tests.engine.rig import Rig, play

# --- the order of acts ---


def test_a_press_opens_the_microphone_before_anything_else_and_asks_for_the_link() -> None:
    async def story(at: Rig) -> None:
        assert at.take() == [("gate", False, 0)]
        at.press()
        assert at.take() == [
            ("cue", "listening"),
            ("open",),
            ("microphone", True),
            ("gate", True, 1),
            ("speaker", True),
        ]
        assert at.shown == [Led.IDLE, Led.LISTENING]

    play(story)


def test_a_whole_turn() -> None:
    async def story(at: Rig) -> None:
        at.question()
        at.take()
        at.announce("r1")
        at.audio("r1", "i1")
        at.words("r1", "i1", "It is ")
        at.words("r1", "i1", "noon.")
        at.audio("r1", "i1")
        at.finish("r1")
        assert at.take() == [("push", "i1", 48_000), ("push", "i1", 48_000), ("end_item", "i1"), ("end_reply",)]
        assert at.said == [("appliance", "It is noon.")]
        at.engine.audio_fact(heard.Drained(2, {"i1": 2000.0}))
        assert at.phase() is Phase.IDLE
        assert at.take() == [("speaker", False)]
        assert at.frames() == []
        assert at.shown == [Led.IDLE, Led.LISTENING, Led.THINKING, Led.SPEAKING, Led.IDLE]
        (record,) = at.records
        assert (record["turn"], record["heard_ms"], record["truncated_at_ms"]) == (1, 2000.0, None)

    play(story)


def test_release_closes_the_gate_and_the_microphone_and_commits_after_the_tail() -> None:
    async def story(at: Rig) -> None:
        at.press()
        at.link_up()
        at.speak()
        at.take()
        at.kinds()
        at.release()
        assert at.take() == [("cue", "sent"), ("gate", False, 1), ("microphone", False)]
        assert at.kinds() == []
        at.speak(40, turn=1)  # the last words were still in the card
        at.tail()
        assert at.kinds() == ["input_audio_buffer.append", "input_audio_buffer.commit", "response.create"]

    play(story)


def test_cues_can_be_switched_off_and_are_counted_all_the_same() -> None:
    async def story(at: Rig) -> None:
        at.press()
        assert ("cue", "listening") not in at.told
        assert at.engine.counters["cue_listening"] == 1

    play(story, cues=False)


def test_facts_posted_while_deciding_follow_in_order() -> None:
    """A hook that posts must not decide in the middle of a decision."""

    async def story(at: Rig) -> None:
        phases: list[Phase] = []

        def show(led: Led) -> None:
            phases.append(at.phase())
            if led is Led.LISTENING:
                at.engine.post(ev.MuteToggled())
                phases.append(at.phase())

        at.engine._hooks = Hooks(show, lambda: None, lambda *_: None, lambda: None)
        at.press()
        assert phases == [Phase.LISTENING, Phase.LISTENING, Phase.IDLE]
        assert at.engine.mirror.led is Led.MUTED

    play(story)


def test_a_bug_in_a_part_does_not_block_the_next_event() -> None:
    async def story(at: Rig) -> None:
        def fail(_: Led) -> None:
            raise ZeroDivisionError

        at.engine._hooks = Hooks(fail, lambda: None, lambda *_: None, lambda: None)
        with pytest.raises(ZeroDivisionError):
            at.press()
        at.engine._hooks = Hooks(at.shown.append, lambda: None, lambda *_: None, lambda: None)
        at.engine.post(ev.MuteToggled())
        assert at.phase() is Phase.IDLE

    play(story)


# --- audio of which turn ---


def test_audio_of_an_earlier_turn_does_not_enter_the_present_one() -> None:
    async def story(at: Rig) -> None:
        at.press()
        at.speak(200)
        at.engine.post(ev.MuteToggled())
        at.engine.post(ev.MuteToggled())
        at.press()
        at.speak(300, turn=1)  # crossed with the second press
        at.tail(1)
        assert at.engine.captured_ms == 0
        at.speak(400, turn=2)
        assert at.engine.captured_ms == 400
        assert [told for told in at.take() if told[0] == "gate"] == [
            ("gate", False, 0),
            ("gate", True, 1),
            ("gate", False, 1),
            ("gate", True, 2),
        ]

    play(story)


def test_a_turn_too_short_is_told_and_nothing_is_asked() -> None:
    async def story(at: Rig) -> None:
        at.press()
        at.link_up()
        at.speak(50)
        at.release(400)
        assert at.phase() is Phase.IDLE
        assert at.told[-1] == ("speaker", False)
        assert ("cue", "too-short") in at.told
        assert "response.create" not in at.kinds()
        assert at.records == []

    play(story)


# --- drained, stale and not ---


def test_a_drain_that_missed_a_push_is_not_the_end() -> None:
    async def story(at: Rig) -> None:
        at.question()
        at.announce("r1")
        at.audio("r1", "i1")
        at.audio("r1", "i1")
        at.engine.audio_fact(heard.Drained(1, {"i1": 1000.0}))
        assert at.phase() is Phase.SPEAKING
        at.finish("r1")
        at.engine.audio_fact(heard.Drained(2, {"i1": 2000.0}))
        assert at.phase() is Phase.IDLE

    play(story)


def test_the_loudspeaker_runs_dry_in_mid_reply_and_goes_on() -> None:
    async def story(at: Rig) -> None:
        at.question()
        at.announce("r1")
        at.audio("r1", "i1")
        at.engine.audio_fact(heard.Drained(1, {"i1": 1000.0}))
        assert at.phase() is Phase.THINKING
        at.audio("r1", "i1")
        assert at.phase() is Phase.SPEAKING
        at.press()
        at.engine.audio_fact(heard.Flushed({"i1": 250.0}, at.loop.time()))
        (cut,) = [frame for frame in at.frames() if frame["type"] == "conversation.item.truncate"]
        assert (cut["item_id"], cut["audio_end_ms"]) == ("i1", 1250)

    play(story)


def test_a_drain_that_crosses_with_an_interruption_counts_as_heard() -> None:
    """The reply had sounded to its end when the button went down: nothing of it may be forgotten."""

    async def story(at: Rig) -> None:
        at.question()
        at.reply()
        at.press()
        at.engine.audio_fact(heard.Drained(2, {"i1": 2000.0}))
        at.engine.audio_fact(heard.Flushed({}, at.loop.time()))
        assert [kind for kind in at.kinds() if kind.startswith("conversation.item")] == []
        assert at.phase() is Phase.LISTENING
        assert at.records[0]["heard_ms"] == 2000.0
        assert at.records[0]["truncated_at_ms"] is None

    play(story)
