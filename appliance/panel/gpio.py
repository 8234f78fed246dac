"""The real button and LED: GPIO lines through gpiozero, or LEDs on SPI.

Responsible for: claiming the lines, bringing edges into the event loop with the time at which they happened, running
LED patterns. Not for: debouncing (``gestures``), what a pattern looks like (``indicator``), bytes on SPI (``apa102``).

gpiozero is imported when a panel is made, so that machines without it can run everything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from appliance.conversation.state import Led
from appliance.errors import DeviceError
from appliance.panel.apa102 import Bus, Row, SpiBus
from appliance.panel.indicator import Light, light, next_frame_s

log = logging.getLogger(__name__)
PWM_HZ = 100
EARLY_S = 0.002


@dataclass(frozen=True, slots=True)
class GpioPins:
    """The wiring, in BCM numbers: a button or none, and no, one or three (red, green, blue) LED lines.

    ``button_pull_up``: the button connects to ground; False: to 3.3 V, pulled down.
    ``led_active_high``: the LED lights when the line is high.
    ``row``: APA102 LEDs on SPI in their place: bus, how many, and the line that gives them power, if there is one.
    """

    button: int | None
    button_pull_up: bool = True
    led: tuple[int, ...] = ()
    led_active_high: bool = True
    dimmable: bool = True
    row: tuple[str, int, int | None] | None = None

    def __post_init__(self) -> None:
        if len(self.led) not in (0, 1, 3):
            raise ValueError(f"an LED has 0, 1 or 3 lines, not {len(self.led)}: {self.led}")


class Lamp(Protocol):
    """What shows a frame."""

    def show(self, now: Light, *, resting: bool) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class GpioPanel:
    """The button and the LED. Make, use and close it in the thread of ``loop``.

    ``on_edge(pressed, at_s)`` is called in the loop for every raw edge, bounces included; ``at_s`` is the
    reading of ``clock`` (monotonic seconds) in gpiozero's thread, however late the loop gets to it.

    Raises:
        DeviceError: no gpiozero, no GPIO chip, or a line that cannot be had.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pins: GpioPins,
        on_edge: Callable[[bool, float], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        bus: Callable[[str], Bus] = SpiBus,
    ) -> None:
        self._loop = loop
        self._on_edge = on_edge
        self._clock = clock
        self._closed = False
        with contextlib.ExitStack() as undo:
            self._button = _claim_button(pins)
            if self._button is not None:
                undo.callback(self._button.close)
            self._lamp: Lamp | None = _row(*pins.row, bus) if pins.row else _Lamp(pins) if pins.led else None
            undo.pop_all()
        self._led: Led | None = None
        self._began_s = 0.0
        self._next_frame: asyncio.TimerHandle | None = None
        if self._button is not None:
            self._button.when_pressed = functools.partial(self._edge, True)
            self._button.when_released = functools.partial(self._edge, False)

    def show(self, led: Led) -> None:
        """Show ``led`` from its beginning; does nothing when it is shown already."""
        if self._lamp is None or self._closed or led is self._led:
            return
        self._led = led
        self._began_s = self._loop.time()
        self._stop_ticking()
        self._frame(self._lamp, led)

    def close(self) -> None:
        """Turn the light off and give the lines back."""
        if self._closed:
            return
        self._closed = True
        self._stop_ticking()
        if self._button is not None:
            self._button.close()
        if self._lamp is not None:
            self._lamp.close()

    def _edge(self, pressed: bool) -> None:
        """Pass an edge on; runs in gpiozero's thread."""
        at_s = self._clock()
        with contextlib.suppress(RuntimeError):  # the loop closed before us: nobody listens any more
            self._loop.call_soon_threadsafe(self._deliver, pressed, at_s)

    def _deliver(self, pressed: bool, at_s: float) -> None:
        if not self._closed:
            self._on_edge(pressed, at_s)

    def _frame(self, lamp: Lamp, led: Led) -> None:
        """Draw one frame and order the next. What fails in here reaches the loop's exception handler."""
        # Look a little ahead, so that a timer which fires a touch early does not show the step before.
        elapsed_s = self._loop.time() - self._began_s + EARLY_S
        next_s = next_frame_s(led, elapsed_s)
        try:
            lamp.show(light(led, elapsed_s), resting=next_s is None)
        except DeviceError as error:  # of a bus; the button goes on
            log.warning("no light any more: %s", error)
            self._lamp = None
            lamp.close()
            return
        if next_s is not None:
            self._next_frame = self._loop.call_at(self._began_s + next_s, self._frame, lamp, led)

    def _stop_ticking(self) -> None:
        if self._next_frame is not None:
            self._next_frame.cancel()
            self._next_frame = None


class _PoweredRow(Row):
    """A row whose power hangs on a GPIO line."""

    def __init__(self, bus: Bus, leds: int, power: Any) -> None:
        super().__init__(bus, leds)
        self._power = power
        power.on()

    def close(self) -> None:
        """Turn the LEDs off, then their power."""
        super().close()
        self._power.off()
        self._power.close()


def _row(name: str, leds: int, power: int | None, bus: Callable[[str], Bus]) -> Lamp | None:
    """Open the LEDs on SPI. Without them the button is of use all the same, so that their lack is only a warning."""
    try:
        opened = bus(name)
    except DeviceError as error:
        log.warning("no light: %s", error)
        return None
    if power is None:
        return Row(opened, leds)
    try:
        return _PoweredRow(opened, leds, _claim_led(power, GpioPins(None, dimmable=False), "light.power"))
    except DeviceError:
        opened.close()
        raise


class _Lamp:
    """One to three LEDs of gpiozero; writes only what changes."""

    def __init__(self, pins: GpioPins) -> None:
        self._dimmable = self._pulsing = pins.dimmable
        self._shown: tuple[float, ...] | None = None
        self._leds: list[Any] = []
        with contextlib.ExitStack() as undo:
            for pin in pins.led:
                self._leds.append(_claim_led(pin, pins))
                undo.callback(self._leds[-1].close)
            undo.pop_all()

    def show(self, now: Light, *, resting: bool) -> None:
        """Show one frame; ``resting``: no other will follow for a while."""
        values: tuple[float, ...] = now.rgb if len(self._leds) == 3 else (now.brightness,)
        if not self._dimmable:
            # Threshold the lamp first and the colour then: half-bright yellow is still yellow.
            values = tuple(float(now.lit and value >= now.brightness / 2) for value in values)
        if self._dimmable:
            # gpiozero's software PWM wakes up for every period even at 0 or 100 %: release it while resting.
            self._pulse(not (resting and all(value in (0.0, 1.0) for value in values)))
        if values != self._shown:
            self._shown = values
            for led, value in zip(self._leds, values, strict=True):
                led.value = value

    def _pulse(self, wanted: bool) -> None:
        if wanted is self._pulsing:
            return
        self._pulsing = wanted
        self._shown = None  # changing the frequency forgets the duty cycle
        for led in self._leds:
            led.frequency = PWM_HZ if wanted else None

    def close(self) -> None:
        for led in self._leds:
            led.off()
            led.close()


def _claim_button(pins: GpioPins) -> Any:
    """Claim the button's line; typed Any because gpiozero ships no types."""
    if pins.button is None:
        return None
    with _remedies(pins.button, "button.pin"):
        from gpiozero import Button

        return Button(pins.button, pull_up=pins.button_pull_up)


def _claim_led(pin: int, pins: GpioPins, key: str = "light.pins") -> Any:
    with _remedies(pin, key):
        from gpiozero import LED, PWMLED

        if pins.dimmable:
            return PWMLED(pin, active_high=pins.led_active_high, frequency=PWM_HZ)
        return LED(pin, active_high=pins.led_active_high)


@contextlib.contextmanager
def _remedies(pin: int, key: str) -> Iterator[None]:
    """Turn whatever gpiozero and the library under it raise into one error with a remedy."""
    line = f"GPIO{pin}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # gpiozero warns of every back end it tries; the outcome counts
            yield
    except ModuleNotFoundError as error:
        raise DeviceError(
            f"cannot use {line} ({key}): {error.name} is not installed",
            hint='install it (pip install "voice-appliance[gpio]", or apt install python3-gpiozero) '
            'or set panel.backend = "terminal" or "none"',
        ) from error
    except _library_errors() as error:
        raise DeviceError(f"cannot use {line} ({key}): {_first_line(error)}", hint=_hint(error, key)) from error


def _library_errors() -> tuple[type[BaseException], ...]:
    """What gpiozero lets through: its own errors, those of the system, and those of the library it found."""
    errors: list[type[BaseException]] = [OSError, RuntimeError]
    for module, name in (("gpiozero", "GPIOZeroError"), ("lgpio", "error")):
        if module in sys.modules:
            errors.append(getattr(sys.modules[module], name))
    return tuple(errors)


def _hint(error: BaseException, key: str) -> str:
    kind, text = type(error).__name__, str(error).lower()
    if kind == "GPIOPinInUse" or "busy" in text:
        return f"another program or another key uses this line: stop it, or correct {key} of the board profile"
    if kind == "PinInvalidPin":
        return f"correct {key} of the board profile: it is a BCM number"
    if kind == "PinPWMUnsupported":
        return "set light.dimmable = false in the board profile, or install lgpio"
    return (
        "is this a Raspberry Pi with /dev/gpiochip*, is the user in the group gpio, and is lgpio installed "
        "(apt install python3-lgpio)? "
        'On other machines set panel.backend = "terminal" or "none"'
    )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
