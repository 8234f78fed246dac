"""APA102 LEDs as their data sheet has them: each takes its 32 bits, and passes on the rest half a clock late.

Responsible for: what a row of real LEDs would show of the bytes on the bus. Not for: timing.
"""

from __future__ import annotations

from typing import NamedTuple


class Shown(NamedTuple):
    """What one LED shows: its brightness (of 31) and colours (of 255)."""

    brightness: int
    red: int
    green: int
    blue: int


class LedRow:
    """A bus with ``count`` LEDs behind it, dark at first."""

    def __init__(self, count: int) -> None:
        self.leds = [Shown(0, 0, 0, 0)] * count
        self.closed = False
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.writes.append(data)
        bits = "".join(f"{byte:08b}" for byte in data)
        start = bits.find("0" * 32)
        assert start == 0, "a start frame of 32 zeros comes first"
        at = 32
        for number in range(len(self.leds)):
            word = bits[at : at + 32]
            late = (number + 1) / 2  # clocks: an LED shows its word when its last bit has come
            if len(word) < 32 or not word.startswith("111") or len(bits) < at + 32 + late:
                return
            brightness, blue, green, red = (int(word[a:b], 2) for a, b in ((3, 8), (8, 16), (16, 24), (24, 32)))
            self.leds[number] = Shown(brightness, red, green, blue)
            at += 32

    def close(self) -> None:
        self.closed = True
