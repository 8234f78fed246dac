"""The panel that the configuration names: GPIO, terminal or none, behind the same few calls.

Responsible for: choosing and wiring it. Not for: gestures (``controls``) or patterns (``panel.indicator``).
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from appliance.config import Loaded
from appliance.conversation.state import Led, Link, Phase
from appliance.errors import DeviceError

if TYPE_CHECKING:
    from appliance.panel.gpio import GpioPanel

log = logging.getLogger(__name__)
LIVE_S = 0.1
AGAIN_S = 5.0  # after the lines could not be had
Edge = Callable[[bool, float], None]
Look = Callable[[], tuple[Phase, Link, float | None]]


class Front(Protocol):
    """What the person touches and sees. ``trouble`` says why it cannot be used, "" while it can."""

    @property
    def trouble(self) -> str:
        """Why button and light cannot be used."""

    def show(self, led: Led) -> None:
        """Show what the LED says."""

    def say(self, who: str, text: str) -> None:
        """Show words, where there is a place for them."""

    def close(self) -> None:
        """Turn the light off, give the terminal back."""


class NoFront:
    """Nothing to touch or see: the control socket alone."""

    trouble = ""

    def show(self, led: Led) -> None:
        """Show nothing."""

    def say(self, who: str, text: str) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Nothing to close."""


class GpioFront(NoFront):
    """Button and LED on GPIO lines. Where they cannot be had the appliance talks without, and they are tried again.

    Ending instead would leave a person with nothing at all: no light, and nobody who says so.
    """

    def __init__(self, loaded: Loaded, edge: Edge, loop: asyncio.AbstractEventLoop) -> None:
        self._loaded, self._edge, self._loop = loaded, edge, loop
        self._panel: GpioPanel | None = None
        self._led: Led | None = None
        self._again: asyncio.TimerHandle | None = None
        self._open()

    def _open(self) -> None:
        from appliance.panel.gpio import GpioPanel, GpioPins

        light, button = self._loaded.board.light, self._loaded.board.button
        row = (light.spi, light.leds, light.power) if light.spi else None
        pins = GpioPins(button.pin, button.pull_up, light.pins, light.active_high, light.dimmable, row)
        try:
            self._panel = GpioPanel(self._loop, pins, self._edge)
        except DeviceError as error:
            if not self.trouble:
                log.error("%s", error)
            self.trouble = str(error)
            self._again = self._loop.call_later(AGAIN_S, self._open)
            return
        if self.trouble:
            log.info("button and light are there")
        self.trouble = ""
        if self._led is not None:
            self._panel.show(self._led)

    def show(self, led: Led) -> None:
        """Light the LED."""
        self._led = led
        if self._panel is not None:
            self._panel.show(led)

    def close(self) -> None:
        """Turn the light off."""
        if self._again is not None:
            self._again.cancel()
        if self._panel is not None:
            self._panel.close()


class TerminalFront:
    """Space bar and live line."""

    trouble = ""

    def __init__(
        self,
        edge: Edge,
        mute: Callable[[], object],
        stop: Callable[[], None],
        look: Look,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        from appliance.panel.terminal import Key, TerminalPanel

        def on_key(key: Key) -> None:
            if key == "quit":
                stop()
            else:
                mute()

        self._panel = TerminalPanel(loop, sys.stdin.fileno(), sys.stdout, edge, on_key)
        self._panel.open()
        self._look, self._loop = look, loop
        self._ticking = loop.call_later(LIVE_S, self._tick)

    def _tick(self) -> None:
        self._panel.update(*self._look())
        self._ticking = self._loop.call_later(LIVE_S, self._tick)

    def show(self, led: Led) -> None:
        """Show the LED's word."""
        self._panel.show(led)

    def say(self, who: str, text: str) -> None:
        """Print a line of the conversation."""
        self._panel.say_line(who, text)

    def close(self) -> None:
        """Give the terminal back."""
        self._ticking.cancel()
        self._panel.close()
