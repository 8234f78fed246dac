from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gpiozero import Device
from gpiozero.pins.mock import MockFactory, MockPin, MockPWMPin

from appliance.conversation.state import Led
from appliance.errors import DeviceError
from appliance.panel.gpio import GpioPanel, GpioPins
from appliance.panel.indicator import light

Edges = list[tuple[bool, float]]


@pytest.fixture
def pins() -> Iterator[Any]:
    """The GPIO lines of gpiozero's own mock of a Raspberry Pi, as a function of the number."""
    factory = MockFactory(pin_class=MockPWMPin)
    before, Device.pin_factory = Device.pin_factory, factory
    yield factory.pin
    factory.reset()
    Device.pin_factory = before


def ignore(_pressed: bool, _at_s: float) -> None:
    pass


def nothing(_: GpioPanel) -> None:
    pass


def with_panel(wiring: GpioPins, story: Callable[[GpioPanel], Any]) -> None:
    """Run ``story`` with a panel that nobody presses, inside a loop."""

    async def run() -> None:
        panel = GpioPanel(asyncio.get_running_loop(), wiring, ignore)
        try:
            awaited = story(panel)
            if awaited is not None:
                await awaited
        finally:
            panel.close()

    asyncio.run(run())


@pytest.mark.parametrize("pull_up", [True, False])
def test_edges_come_into_the_loop_with_the_time_at_which_they_happened(pins: Any, pull_up: bool) -> None:
    times_s = iter([5.0, 5.001, 5.4])
    edges: Edges = []
    threads: list[threading.Thread] = []

    def on_edge(pressed: bool, at_s: float) -> None:
        edges.append((pressed, at_s))
        threads.append(threading.current_thread())

    async def run() -> None:
        loop = asyncio.get_running_loop()
        panel = GpioPanel(loop, GpioPins(17, button_pull_up=pull_up), on_edge, clock=lambda: next(times_s))
        pin = pins(17)
        assert pin.pull == ("up" if pull_up else "down")
        down, up = (pin.drive_low, pin.drive_high) if pull_up else (pin.drive_high, pin.drive_low)

        def finger() -> None:
            for act in (down, up, down):  # bounces are passed on: debouncing is not this module's
                act()

        await asyncio.to_thread(finger)
        await asyncio.sleep(0)
        assert edges == [(True, 5.0), (False, 5.001), (True, 5.4)]
        assert set(threads) == {threading.main_thread()}
        panel.close()

    asyncio.run(run())


def test_after_close_and_after_the_loop_an_edge_does_no_harm(pins: Any) -> None:
    edges: Edges = []

    async def run() -> GpioPanel:
        panel = GpioPanel(asyncio.get_running_loop(), GpioPins(17), lambda *edge: edges.append(edge))
        pins(17).drive_low()  # on its way into the loop when the panel closes
        panel.close()
        panel.close()
        await asyncio.sleep(0)
        return GpioPanel(asyncio.get_running_loop(), GpioPins(17), lambda *edge: edges.append(edge))

    panel = asyncio.run(run())
    pins(17).drive_low()
    assert edges == []
    panel.close()


@pytest.mark.parametrize("active_high", [True, False])
@pytest.mark.parametrize("dimmable", [True, False])
def test_one_led_is_lit_while_listening_and_dark_when_idle_or_closed(
    pins: Any, active_high: bool, dimmable: bool
) -> None:
    lit, dark = (1, 0) if active_high else (0, 1)

    def story(panel: GpioPanel) -> None:
        panel.show(Led.LISTENING)
        assert pins(27).state == lit
        panel.show(Led.IDLE)
        assert pins(27).state == dark
        panel.show(Led.LISTENING)

    with_panel(GpioPins(None, led=(27,), led_active_high=active_high, dimmable=dimmable), story)
    assert pins(27).function == "input", "given back"


def test_close_turns_the_light_off_before_giving_the_line_back(pins: Any) -> None:
    def story(panel: GpioPanel) -> None:
        panel.show(Led.LISTENING)
        pins(27).clear_states()

    with_panel(GpioPins(None, led=(27,), dimmable=False, led_active_high=False), story)
    assert [state for _, state in pins(27).states][:2] == [0, 1]


def test_dark_and_fully_lit_need_no_pwm_and_a_swell_has_it(pins: Any) -> None:
    async def story(panel: GpioPanel) -> None:
        panel.show(Led.IDLE)
        assert pins(27).frequency is None
        panel.show(Led.THINKING)
        assert pins(27).frequency == 100
        await asyncio.sleep(0.1)
        assert 0 < pins(27).state < 1
        panel.show(Led.LISTENING)
        assert (pins(27).frequency, pins(27).state) == (None, 1)

    with_panel(GpioPins(None, led=(27,)), story)


def test_fully_lit_stays_so_when_pwm_is_released(pins: Any) -> None:
    def story(panel: GpioPanel) -> None:
        panel.show(Led.SPEAKING)
        assert (pins(27).frequency, pins(27).state) == (100, 1)
        panel.show(Led.LISTENING)
        assert (pins(27).frequency, pins(27).state) == (None, 1)

    with_panel(GpioPins(None, led=(27,)), story)


def test_a_pattern_runs_by_itself_and_stops_with_the_next_word(pins: Any) -> None:
    async def story(panel: GpioPanel) -> None:
        panel.show(Led.THINKING)
        pins(27).clear_states()
        await asyncio.sleep(0.9)
        levels = [state for _, state in pins(27).states]
        assert len(levels) > 10
        assert max(levels) > 0.8
        assert min(levels) < 0.2
        panel.show(Led.IDLE)
        pins(27).clear_states()
        await asyncio.sleep(0.1)
        assert [state for _, state in pins(27).states] == [0]

    with_panel(GpioPins(None, led=(27,)), story)


def test_the_same_word_again_does_not_start_its_rhythm_anew(pins: Any) -> None:
    async def story(panel: GpioPanel) -> None:
        for _ in range(10):  # shown anew each time, it would not get past its beginning
            panel.show(Led.THINKING)
            await asyncio.sleep(0.03)
        assert pins(27).state > 0.3

    with_panel(GpioPins(None, led=(27,)), story)


def test_a_plain_led_blinks(pins: Any) -> None:
    async def story(panel: GpioPanel) -> None:
        panel.show(Led.THINKING)
        pins(27).clear_states()
        await asyncio.sleep(1.0)
        assert [state for _, state in pins(27).states][:3] == [0, 1, 0]
        assert len(pins(27).states) <= 4, "written only when it changes"

    with_panel(GpioPins(None, led=(27,), dimmable=False), story)


def test_rgb_shows_the_colour(pins: Any) -> None:
    async def story(panel: GpioPanel) -> None:
        panel.show(Led.LISTENING)
        assert tuple(pins(number).state for number in (5, 6, 13)) == light(Led.LISTENING, 0).rgb
        panel.show(Led.OFFLINE)
        assert tuple(pins(number).state for number in (5, 6, 13)) == pytest.approx((1.0, 0.6, 0.0))

    with_panel(GpioPins(None, led=(5, 6, 13)), story)


def test_rgb_without_pwm_keeps_a_recognisable_colour(pins: Any) -> None:
    def story(panel: GpioPanel) -> None:
        panel.show(Led.OFFLINE)
        assert tuple(pins(number).state for number in (5, 6, 13)) == (1, 1, 0)
        panel.show(Led.ERROR)
        assert tuple(pins(number).state for number in (5, 6, 13)) == (1, 0, 0)

    with_panel(GpioPins(None, led=(5, 6, 13), dimmable=False), story)


def test_nothing_wired_shows_nothing(pins: Any) -> None:
    with_panel(GpioPins(None), lambda panel: panel.show(Led.ERROR))
    assert pins(17).function == "input"


def test_two_leds_make_no_light() -> None:
    with pytest.raises(ValueError, match="0, 1 or 3"):
        GpioPins(17, led=(1, 2))


def failure(wiring: GpioPins) -> DeviceError:
    with pytest.raises(DeviceError) as caught:
        with_panel(wiring, nothing)
    return caught.value


def test_a_line_used_twice_is_named_and_what_was_claimed_is_given_back(pins: Any) -> None:
    error = failure(GpioPins(17, led=(5, 6, 17)))
    assert "GPIO17 (light.pins)" in str(error)
    assert "board profile" in error.hint
    assert pins(5).function == "input"
    with_panel(GpioPins(5, led=(17,)), nothing)


@pytest.mark.usefixtures("pins")
def test_a_line_that_does_not_exist_is_named() -> None:
    error = failure(GpioPins(63))
    assert "GPIO63 (button.pin)" in error.message
    assert "BCM" in error.hint


def test_a_board_that_cannot_dim_is_told_apart() -> None:
    before, Device.pin_factory = Device.pin_factory, MockFactory(pin_class=MockPin)
    try:
        assert "light.dimmable = false" in failure(GpioPins(None, led=(27,))).hint
    finally:
        Device.pin_factory = before


@pytest.mark.usefixtures("pins")
def test_a_busy_line_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line held by another process is an error of lgpio's own, no relative of gpiozero's."""

    class error(Exception):  # noqa: N801
        pass

    def claim(*_: object) -> None:
        raise error("'GPIO busy'")

    lgpio = type(sys)("lgpio")
    monkeypatch.setattr(lgpio, "error", error, raising=False)
    monkeypatch.setitem(sys.modules, "lgpio", lgpio)
    monkeypatch.setattr(MockPWMPin, "_set_pull", claim)
    told = failure(GpioPins(17))
    assert "GPIO17" in told.message
    assert "another program" in told.hint


@pytest.mark.skipif(any(Path("/dev").glob("gpiochip*")), reason="this machine has GPIO lines")
def test_a_machine_without_gpio_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Device, "pin_factory", None)
    error = failure(GpioPins(17))
    assert "GPIO17" in error.message
    assert "panel.backend" in error.hint


def test_without_gpiozero_the_remedy_is_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpiozero", None)
    error = failure(GpioPins(17))
    assert "gpiozero is not installed" in error.message
    assert "pip install" in error.hint
