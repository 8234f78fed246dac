"""The button, the light, and whoever talks to the control socket."""

from __future__ import annotations

import asyncio
import time

from tests.faults.row import Act, Heals, Row, When, nothing
from tests.faults.rows.acts import knock, several
from tests.faults.scene import BUTTON, Scene

ITSELF, PRESS, PERSON, ENDURED = Heals.ITSELF, Heals.PRESS, Heals.PERSON, Heals.ENDURED
IDLE, ASKED, LISTENING, THINKING, SPEAKING = When
MOCK = {"GPIOZERO_PIN_FACTORY": "mock", "GPIOZERO_MOCK_PIN_CLASS": "mockpwmpin"}
UP_S = 0.06
CARD = '[audio]\ncapture = "vhw"\nplayback = "vhw"\n'


def push(at: Scene) -> None:
    """The finger goes down."""
    at.hand("pin low", BUTTON)


def let_go(at: Scene) -> None:
    """And up; no finger comes down again within its bouncing."""
    at.hand("pin high", BUTTON)
    time.sleep(UP_S)


def bounce(at: Scene) -> None:
    """A worn-out contact: eleven edges in six milliseconds, and it is down."""
    for _ in range(5):
        push(at)
        at.hand("pin high", BUTTON)
        time.sleep(0.001)
    push(at)


def hammer(at: Scene) -> None:
    """Fifty presses in five seconds."""
    at.card.say(at.voice(6.0))
    at.presses += 50
    for _ in range(50):
        push(at)
        time.sleep(0.04)
        let_go(at)


def talk_to_socket(say: bytes, count: int = 100) -> Act:
    """Many connections that say something and leave."""
    return lambda at: asyncio.run(knock(str(at.socket), count, say))


def _pressed_by_bouncing(at: Scene) -> None:
    at.answer(0.3)
    at.card.say(at.voice(1.0))
    at.presses += 1
    bounce(at)
    time.sleep(0.5)
    let_go(at)


def wired(
    name: str,
    when: When,
    what: str,
    inject: Act,
    heals: Heals,
    cure: Act = nothing,
    *,
    lasts_s: float = 0.3,
    within_s: float = 15.0,
) -> Row:
    """A row with a real button and light, on gpiozero's mock pins."""
    return Row(
        name,
        when,
        what,
        inject,
        heals,
        cure,
        board="i2s-mems",
        settings=CARD,
        environment=MOCK,
        lasts_s=lasts_s,
        within_s=within_s,
    )


def _nobody_touches(_: Scene) -> None:
    """It is as it was when we came."""


NO_CHIP = Row(
    "GPIO chip absent",
    IDLE,
    "button and light cannot be had from the start on; it talks by the control socket meanwhile",
    _nobody_touches,
    PERSON,
    hears=("cue_error",),
    board="i2s-mems",
    settings=CARD,
    environment={"GPIOZERO_PIN_FACTORY": "nowhere"},
    from_start=True,
    cold=True,
)
BOUNCES = several(_pressed_by_bouncing, lambda at: at.heard_reply(0, 3.0))
GARBAGE, HALF, ENDLESS = b"\x00\xff{]\n" * 20, b'{"cmd":"pre', b"x" * 100_000
ROWS: tuple[Row, ...] = (
    NO_CHIP,
    wired("button bounces", IDLE, "eleven edges in six milliseconds", BOUNCES, ENDURED),
    wired("button pressed 50 times in 5 s", IDLE, "whatever comes of it", hammer, ITSELF, within_s=30.0),
    wired("button stuck", IDLE, "down for more than a minute", push, ITSELF, let_go, lasts_s=62.0),
    wired("control socket: garbage", IDLE, "100 connections say no commands", talk_to_socket(GARBAGE), ENDURED),
    wired("control socket: half lines", LISTENING, "100 leave in the middle of a line", talk_to_socket(HALF), ENDURED),
    wired("control socket: no end", IDLE, "100 lines of 100 kB without an end", talk_to_socket(ENDLESS), ENDURED),
    wired("control socket: flood", IDLE, "10,000 connections", talk_to_socket(b"", 10_000), ENDURED),
)
