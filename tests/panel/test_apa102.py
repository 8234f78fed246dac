"""LEDs on SPI: the bytes, what a row of LEDs shows of them, and a bus that is not there."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gpiozero import Device
from gpiozero.pins.mock import MockFactory, MockPWMPin

from appliance.conversation.state import Led
from appliance.errors import DeviceError
from appliance.panel.apa102 import BRIGHTNESS, Row, SpiBus, frame
from appliance.panel.gpio import GpioPanel, GpioPins
from appliance.panel.indicator import Light, light
from tests.fakes.led_row import LedRow, Shown

DARK = Shown(BRIGHTNESS, 0, 0, 0)


def test_the_bytes_of_a_frame() -> None:
    recorded = "00000000 e6000033 e6000033 e6000033 0000000000"  # by hand, from the data sheet: red at a fifth
    assert frame(Light(0.2, (0.2, 0.0, 0.0)), 3) == bytes.fromhex(recorded)


@pytest.mark.parametrize("count", [1, 3, 12, 16, 17, 64])
def test_every_led_of_a_row_shows_the_light(count: int) -> None:
    row = LedRow(count)
    Row(row, count).show(Light(1.0, (1.0, 0.6, 0.0)), resting=True)
    assert row.leds == [Shown(BRIGHTNESS, 255, 153, 0)] * count


def test_more_leds_than_said_stay_dark_and_a_clone_gets_its_clocks() -> None:
    row = LedRow(5)
    Row(row, 3).show(Light(1.0, (1.0, 1.0, 1.0)), resting=True)
    assert row.leds[3:] == [Shown(0, 0, 0, 0)] * 2
    (data,) = row.writes
    assert data.endswith(bytes(4)), "an SK9822 shows a frame only after 32 more zeros"


def test_only_what_changes_is_written_and_the_end_is_dark() -> None:
    bus = LedRow(3)
    row = Row(bus, 3)
    for _ in range(3):
        row.show(light(Led.LISTENING, 0.0), resting=True)
    assert len(bus.writes) == 1
    row.close()
    assert (bus.leds, bus.closed) == ([DARK] * 3, True)


# --- on the panel ---


@pytest.fixture
def pins() -> Iterator[Any]:
    factory = MockFactory(pin_class=MockPWMPin)
    before, Device.pin_factory = Device.pin_factory, factory
    yield factory.pin
    factory.reset()
    Device.pin_factory = before


def ignore(_pressed: bool, _at_s: float) -> None:
    pass


def test_the_panel_shows_patterns_on_the_row_and_powers_it(pins: Any) -> None:
    bus = LedRow(12)
    asked: list[str] = []

    def open_bus(name: str) -> LedRow:
        asked.append(name)
        return bus

    async def run() -> None:
        panel = GpioPanel(asyncio.get_running_loop(), GpioPins(17, row=("0.1", 12, 5)), ignore, bus=open_bus)
        assert pins(5).state == 1
        panel.show(Led.LISTENING)
        assert bus.leds == [Shown(BRIGHTNESS, 0, 255, 0)] * 12
        panel.show(Led.ERROR)
        assert bus.leds == [Shown(BRIGHTNESS, 255, 0, 0)] * 12
        panel.close()
        assert pins(5).state == 0

    asyncio.run(run())
    assert asked == ["0.1"]
    assert (bus.leds, bus.closed) == ([DARK] * 12, True)


def test_without_its_bus_the_button_still_works(pins: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    edges: list[bool] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        wiring = GpioPins(17, row=("0.0", 3, None))
        panel = GpioPanel(loop, wiring, lambda pressed, _at_s: edges.append(pressed), bus=lambda n: SpiBus(n, tmp_path))
        panel.show(Led.LISTENING)
        pins(17).drive_low()
        await asyncio.sleep(0)
        panel.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    assert edges == [True]
    (warning,) = caplog.messages
    for word in ("no light", f"{tmp_path}/spidev0.0", "light.spi", "dtparam=spi=on"):
        assert word in warning


@pytest.mark.usefixtures("pins")
def test_a_bus_that_fails_later_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    class Torn(LedRow):
        def write(self, data: bytes) -> None:
            if self.writes:
                raise DeviceError("cannot use the bus")
            super().write(data)

    async def run() -> None:
        panel = GpioPanel(asyncio.get_running_loop(), GpioPins(17, row=("0.0", 3, None)), ignore, bus=lambda _: Torn(3))
        panel.show(Led.LISTENING)
        for led in (Led.THINKING, Led.SPEAKING, Led.ERROR):
            panel.show(led)
            await asyncio.sleep(0)
        panel.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    (warning,) = caplog.messages
    assert warning.startswith("no light any more: cannot use the bus")


def test_a_file_that_is_no_bus_is_refused_and_closed(tmp_path: Path) -> None:
    (tmp_path / "spidev0.0").write_bytes(b"")
    before = os.dup(0)  # the lowest free number
    os.close(before)
    with pytest.raises(DeviceError, match=r"spidev0\.0 \(light\.spi\): Inappropriate ioctl"):
        SpiBus("0.0", tmp_path)
    after = os.dup(0)
    os.close(after)
    assert after == before
    assert (tmp_path / "spidev0.0").read_bytes() == b""
