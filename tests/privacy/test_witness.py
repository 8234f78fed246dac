"""The witness notices what it is there to notice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from appliance.conversation.state import Led
from tests.device.card import PERIOD, Card
from tests.privacy.witness import Witness
from tests.virtual_time import run

GRACE_S = 0.01


class Scene:
    """A card, a light and a witness; nobody else."""

    def __init__(self) -> None:
        self.card = Card(asyncio.get_running_loop().time)
        self.witness = Witness(self.card, GRACE_S, lambda: self.tapped)
        self.tapped = False

    def open(self) -> None:
        self.microphone = self.card.open_capture()
        self.microphone.read()

    def chunk(self) -> bytes:
        return self.microphone.read() or b""


async def pass_(seconds: float) -> None:
    await asyncio.sleep(seconds)


async def all_is_well(at: Scene) -> None:
    at.witness.light(Led.LISTENING)
    at.open()
    await pass_(0.02)
    at.witness.audio(at.chunk())
    at.witness.light(Led.IDLE)
    at.microphone.close()
    await pass_(1)


async def interruptible(at: Scene) -> None:
    at.tapped = True
    at.witness.light(Led.SPEAKING)
    await pass_(1)
    at.open()
    await pass_(1)


async def looking_for_a_card(at: Scene) -> None:
    at.witness.light(Led.ERROR)
    await pass_(1)
    at.card.open_capture().close()


async def open_in_the_dark(at: Scene) -> None:
    at.witness.light(Led.IDLE)
    at.open()
    await pass_(1)


async def open_under_a_held_reply(at: Scene) -> None:
    at.witness.light(Led.SPEAKING)
    at.open()
    await pass_(1)


async def closed_late(at: Scene) -> None:
    at.witness.light(Led.LISTENING)
    at.open()
    await pass_(0.1)
    at.witness.light(Led.IDLE)
    await pass_(2 * GRACE_S)
    at.microphone.close()


async def open_for_nothing(at: Scene) -> None:
    await pass_(1)
    at.card.open_capture().close()


async def looking_for_a_card_while_muted(at: Scene) -> None:
    at.witness.light(Led.ERROR)
    at.witness.mute(True, cuts=False)
    await pass_(1)
    at.card.open_capture().close()


async def looking_for_a_card_and_listening(at: Scene) -> None:
    at.witness.light(Led.ERROR)
    await pass_(1)
    at.open()
    await pass_(0.1)


async def open_while_muted(at: Scene) -> None:
    at.witness.light(Led.ATTENTIVE)
    at.open()
    at.witness.light(Led.MUTED)
    at.witness.mute(True, cuts=False)
    await pass_(2 * GRACE_S)


async def light_that_listens_while_muted(at: Scene) -> None:
    at.witness.light(Led.LISTENING)
    at.witness.mute(True, cuts=False)


async def sound_from_before_the_press(at: Scene) -> None:
    at.witness.light(Led.ATTENTIVE)
    at.open()
    await pass_(0.02)
    at.witness.light(Led.LISTENING)
    at.witness.audio(at.chunk())


async def sound_from_after_the_mute(at: Scene) -> None:
    at.witness.light(Led.LISTENING)
    at.open()
    await pass_(0.02)
    at.chunk()
    at.chunk()
    at.witness.light(Led.MUTED)
    at.witness.mute(True, cuts=True)
    await pass_(GRACE_S)
    at.witness.audio(at.chunk())


async def sound_of_nobody_knows_when(at: Scene) -> None:
    """It was given once and comes up again when the turn is long over: still it was captured while it listened."""
    at.witness.light(Led.LISTENING)
    at.open()
    await pass_(0.02)
    chunk = at.chunk()
    at.witness.light(Led.IDLE)
    at.microphone.close()
    await pass_(5)
    at.witness.audio(chunk)


Story = Callable[[Scene], Coroutine[Any, Any, None]]
RIGHT = [all_is_well, interruptible, looking_for_a_card, sound_of_nobody_knows_when]
WRONG: dict[Story, str] = {
    open_in_the_dark: "light idle",
    open_under_a_held_reply: "light speaking",
    closed_late: "light idle",
    open_for_nothing: "opened while the light says off",
    looking_for_a_card_while_muted: "opened although it is muted",
    looking_for_a_card_and_listening: "light error",
    open_while_muted: "muted, light muted",
    light_that_listens_while_muted: "muted, and the light says listening",
    sound_from_before_the_press: "went up",
    sound_from_after_the_mute: "went up",
}


def verdict(story: Story) -> list[str]:
    async def told() -> list[str]:
        scene = Scene()
        await story(scene)
        return scene.witness.verdict()

    return run(told())


@pytest.mark.parametrize("story", RIGHT, ids=lambda story: story.__name__)
def test_nothing_is_wrong(story: Story) -> None:
    assert verdict(story) == []


@pytest.mark.parametrize("story", WRONG, ids=lambda story: story.__name__)
def test_it_is_noticed(story: Story) -> None:
    words = verdict(story)
    assert words
    assert WRONG[story] in words[0]


def test_a_stretch_of_sound_is_found_to_the_sample_in_the_record() -> None:
    async def told() -> None:
        card = Card(asyncio.get_running_loop().time)
        microphone = card.open_capture()
        microphone.read()
        await pass_(1)
        given = b"".join(microphone.read() or b"" for _ in range(100))
        assert card.frames_of(given[1000:9000]) == (500, 4500)
        assert card.frames_of(bytes(2 * PERIOD)) is None
        assert card.frames_of(given[1000:9000] + bytes(10)) is None

    run(told())
