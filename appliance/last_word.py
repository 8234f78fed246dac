"""``voice-appliance last-word``: what systemd starts when the appliance has failed for good.

Responsible for: saying so with the recorded words, and blinking the light until the appliance is started again (which
ends this process). Needs as little as possible of what may be broken: no network, no state that must be readable, no
usable configuration. Not for: finding out what is wrong (``doctor``).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from pathlib import Path

from appliance import config, kept
from appliance.audio.cards import Cards
from appliance.audio.format import amplified
from appliance.audio.speaker import Speaker
from appliance.audio.speech import join
from appliance.board import Board
from appliance.config import Audio, Loaded
from appliance.conversation.lines import Line, text_of
from appliance.conversation.state import Led
from appliance.errors import ApplianceError, ConfigError
from appliance.front import GpioFront
from appliance.translation import gain_of

log = logging.getLogger(__name__)
LOUD_ENOUGH = 40  # percent: a volume of 0 must not hide this
CARD_S = 5.0  # a card may still be held by what is just ending
NEXT_S = 0.02
DEFAULT_CARD = Audio(capture="default", playback="default", microphones=(0,))


def run(path: Path) -> int:
    """Say that the appliance gives up, then blink until told to end. Returns 0: nothing here may fail loudly."""
    try:
        loaded: Loaded | None = config.load(path)
    except ConfigError as error:
        log.error("the appliance has given up: %s", error)
        loaded = None
    else:
        log.error("the appliance has given up: it failed again and again%s; `voice-appliance doctor`", _last_failure())
    asyncio.run(tell(loaded))
    return 0


def _last_failure() -> str:
    """How it ended the last time, as systemd tells the unit that it starts then (251 and later)."""
    result, code = os.environ.get("MONITOR_SERVICE_RESULT", ""), os.environ.get("MONITOR_EXIT_STATUS", "")
    return f" (last: {result}, {code})" if result else ""


async def tell(loaded: Loaded | None) -> None:
    """Say it once and show it until SIGTERM; ``None``: the configuration cannot be used, and that is said too."""
    loop, told_to_end = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_end.set)
    front = _light(loaded, loop)
    words = (Line.GIVES_UP.value,) if loaded is not None else (Line.SETTINGS.value, Line.GIVES_UP.value)
    saying = loop.create_task(_say(words, loaded))
    await told_to_end.wait()
    saying.cancel()
    if front is not None:
        front.close()


def _light(loaded: Loaded | None, loop: asyncio.AbstractEventLoop) -> GpioFront | None:
    if loaded is None or loaded.config.panel.backend != "gpio" or not loaded.board.light.wired:
        return None
    try:
        front = GpioFront(loaded, lambda _pressed, _at_s: None, loop)
    except ApplianceError as error:
        log.warning("no light: %s", error)
        return None
    front.show(Led.ERROR)
    return front


async def _say(words: tuple[str, ...], loaded: Loaded | None) -> None:
    """Play the words once; a card that is still busy gets some seconds."""
    audio, board, volume = DEFAULT_CARD, Board(name="default"), LOUD_ENOUGH
    if loaded is not None:
        audio, board = loaded.config.audio, loaded.board
        volume = max(LOUD_ENOUGH, kept.load(Path(loaded.config.state.directory)).volume_for(audio.volume))
    cards, until_s = Cards(audio, board, time.monotonic), time.monotonic() + CARD_S
    await asyncio.to_thread(cards.make_mixer_settings)  # what it cannot make, playing will show
    while True:
        try:
            await _play(words, cards, gain_of(volume))
        except ApplianceError as error:
            if time.monotonic() > until_s:
                log.warning("cannot say it: %s", error)
                return
            await asyncio.sleep(0.5)
        else:
            log.info("said: %s", text_of(words))
            return


async def _play(words: tuple[str, ...], cards: Cards, gain: float) -> None:
    speaker = Speaker(cards.open_playback())
    try:
        rest = amplified(join(words, speaker.rate), gain)
        while len(rest):
            rest = rest[speaker.write(rest) :]
            await asyncio.sleep(NEXT_S)
        await asyncio.sleep(speaker.delay() / speaker.rate)
    finally:
        speaker.close()
