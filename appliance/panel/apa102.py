"""APA102 LEDs (DotStar, SK9822) in a row on an SPI bus; all of them show the same light.

Responsible for: their bytes, and the bus through the kernel's spidev. Not for: patterns (``indicator``), or the line
that gives some boards' LEDs their power (``gpio``).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from pathlib import Path
from typing import Protocol

from appliance.errors import DeviceError
from appliance.panel.indicator import Light

SPEED_HZ = 1_000_000  # 12 LEDs take half a millisecond; writing blocks for as long
BRIGHTNESS = 6  # of 31: at their full current three of them dazzle
_WRITE_MAX_SPEED_HZ = 0x4004_6B04  # SPI_IOC_WR_MAX_SPEED_HZ of linux/spi/spidev.h, the same on all that we run on


def frame(now: Light, leds: int) -> bytes:
    """Make the bytes that light ``leds`` LEDs alike.

    A start of 32 zeros; brightness, blue, green and red of each; then a clock for every second LED, as each passes the
    data on half a clock late, and the 32 more that an SK9822 wants. Zeros, so that a longer row stays dark.
    (APA102 data sheet; cpldcpu.wordpress.com on the APA102 and on its clone SK9822.)
    """
    red, green, blue = (round(255 * value) for value in now.rgb)
    return bytes(4) + bytes((0b1110_0000 | BRIGHTNESS, blue, green, red)) * leds + bytes(4 + (leds + 15) // 16)


class Bus(Protocol):
    """Where the bytes go."""

    def write(self, data: bytes) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class SpiBus:
    """A bus of the kernel's, ``/dev/spidev…``. The LEDs have no chip select: any of the bus will do.

    Raises:
        DeviceError: it is not there, may not be used, or is no SPI bus.
    """

    def __init__(self, name: str, dev: Path = Path("/dev")) -> None:
        self._path = dev / f"spidev{name}"
        try:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise self._failed(error) from error
        try:
            fcntl.ioctl(self._file, _WRITE_MAX_SPEED_HZ, struct.pack("I", SPEED_HZ))
        except OSError as error:
            os.close(self._file)
            raise self._failed(error) from error

    def write(self, data: bytes) -> None:
        """Send ``data``.

        Raises:
            DeviceError: the bus fails.
        """
        try:
            os.write(self._file, data)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> DeviceError:
        remedy = "dtparam=spi=on in config.txt? is the user in the group spi, and does the node belong to it?"
        return DeviceError(f"cannot use {self._path} (light.spi): {error.strerror}", hint=remedy)

    def close(self) -> None:
        """Give the bus back."""
        os.close(self._file)


class Row:
    """The LEDs of a board; writes only what changes."""

    def __init__(self, bus: Bus, leds: int) -> None:
        self._bus, self._leds = bus, leds
        self._shown = b""

    def show(self, now: Light, *, resting: bool) -> None:  # noqa: ARG002  # they keep their light by themselves
        """Show one frame.

        Raises:
            DeviceError: the bus fails.
        """
        data = frame(now, self._leds)
        if data != self._shown:
            self._bus.write(data)
            self._shown = data

    def close(self) -> None:
        """Turn the LEDs off and give the bus back."""
        with contextlib.suppress(DeviceError):
            self.show(Light(0.0, (0.0, 0.0, 0.0)), resting=True)
        self._bus.close()
