"""The terminal as a panel: the space bar is the button, one live line is the light.

Responsible for: the terminal's mode (given back on every way out), keys, the live line, the transcript above
it. Not for: what a press means (``gestures``, ``conversation``).

A terminal tells no key-up. The press is told with the first space; what it was shows afterwards, see
:class:`SpaceBar`. Give ``Gestures`` a ``hold_ms`` of :data:`HOLD_MS` on this panel, or every short press would
count as held before it is known to be short.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import re
import termios
import textwrap
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self, TextIO

from appliance.conversation.state import Led, Link, Phase

Key = Literal["mute", "quit"]
Edge = tuple[bool, float]

FIRST_REPEAT_S = 0.6  # the longest that common desktops wait before a held key repeats
REPEAT_GAP_S = 0.15
TAP_S = 0.05
HOLD_MS = 650

REDRAW_S = 0.1
WIDTH = 80
METER_CELLS = 8
METER_FLOOR_DBFS = -60.0
HINT = "space talk, m mute, q quit"
LONGEST_WORD = max(len(led.value) for led in Led)

_ESCAPE_SEQUENCE = re.compile(rb"\x1b(\[[0-9;?]*[ -/]*[@-~]|O.|[^\[O])?", re.DOTALL)
_QUIT = b"qQ\x04"
_MUTE = b"mM"


class SpaceBar:
    """From spaces to the edges of a button; time comes in (monotonic seconds).

    The first space is the press. If spaces keep coming, it is held until none came for 150 ms; the release is
    then dated at the last one. If none follows within 600 ms it was a short press, dated 50 ms after it began.
    """

    def __init__(self) -> None:
        self._pressed_s = 0.0
        self._last_s = 0.0
        self.deadline_s: float | None = None

    def space(self, at_s: float) -> list[Edge]:
        """Tell of one space read at ``at_s``."""
        edges = self.expire(at_s)
        if self.deadline_s is None:
            self._pressed_s = self._last_s = at_s
            self.deadline_s = at_s + FIRST_REPEAT_S
            return [*edges, (True, at_s)]
        self._last_s = at_s
        self.deadline_s = at_s + REPEAT_GAP_S
        return edges

    def expire(self, at_s: float) -> list[Edge]:
        """Tell the release that is due by ``at_s``, if any."""
        if self.deadline_s is None or at_s < self.deadline_s:
            return []
        self.deadline_s = None
        repeated = self._last_s > self._pressed_s
        return [(False, self._last_s if repeated else self._pressed_s + TAP_S)]


def live_line(phase: Phase, link: Link, level_dbfs: float | None, led: Led, columns: int = WIDTH) -> str:
    """Compose the live line: at most ``columns`` - 1 characters of ASCII, so that it never wraps."""
    level = "  --" if level_dbfs is None else f"{max(level_dbfs, -99.0):4.0f}"
    word = f"{led.value:<{LONGEST_WORD}}"
    line = f"{phase.value:<9} {link.value:<7} [{_meter(level_dbfs)}]{level}dB  {word}  {HINT}"
    return line[: max(columns - 1, 0)].rstrip()


def _meter(level_dbfs: float | None) -> str:
    share = 0.0 if level_dbfs is None else 1 - max(level_dbfs, METER_FLOOR_DBFS) / METER_FLOOR_DBFS
    cells = round(min(max(0.0, share), 1.0) * METER_CELLS)
    return "#" * cells + "." * (METER_CELLS - cells)


class TerminalPanel:
    """Keys in, a live view out. A context manager, used in the thread of ``loop``.

    ``on_edge(pressed, at_s)`` gets the edges of the space bar, ``at_s`` in readings of ``clock`` (monotonic
    seconds) and possibly earlier than the last one plus what has passed since; ``on_key`` gets mute and quit. A
    terminal that hangs up is a quit. Where ``stdin_fd`` is no terminal there are no keys; where ``stdout`` is
    none there is no live line, and changes of phase and link are told as lines.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        stdin_fd: int,
        stdout: TextIO,
        on_edge: Callable[[bool, float], None],
        on_key: Callable[[Key], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loop = loop
        self._stdin_fd = stdin_fd
        self._stdout = stdout
        self._on_edge = on_edge
        self._on_key = on_key
        self._clock = clock
        self._ansi = stdout.isatty()
        self._space_bar = SpaceBar()
        self._space_timer: asyncio.TimerHandle | None = None
        self._saved_mode: list[Any] | None = None
        self._phase, self._link, self._led = Phase.IDLE, Link.DOWN, Led.OFF
        self._level_dbfs: float | None = None
        self._drawn = ""
        self._drawn_s = float("-inf")
        self._draw_timer: asyncio.TimerHandle | None = None
        self._hung_up = False

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Take the keyboard: no echo, no waiting for Enter; Ctrl-C still interrupts."""
        if os.isatty(self._stdin_fd):
            mode = termios.tcgetattr(self._stdin_fd)
            self._saved_mode = [*mode[:6], list(mode[6])]
            atexit.register(self._restore_mode)  # also when nobody gets to close()
            mode[0] &= ~termios.IXON  # Ctrl-S would stop our output, and with it the whole event loop
            mode[3] &= ~(termios.ECHO | termios.ICANON)
            mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
            termios.tcsetattr(self._stdin_fd, termios.TCSANOW, mode)
            self._loop.add_reader(self._stdin_fd, self._read_keys)
        self._refresh()

    def close(self) -> None:
        """Give the terminal back as it was and erase the live line. May be called again."""
        for timer in (self._space_timer, self._draw_timer):
            if timer is not None:
                timer.cancel()
        self._space_timer = self._draw_timer = None
        if self._saved_mode is not None:
            self._restore_mode()  # first, whatever state the loop is in
            self._loop.remove_reader(self._stdin_fd)
        if self._ansi and self._drawn:
            self._drawn = ""
            self._write("\r\x1b[K")

    # --- what the daemon tells ------------------------------------------------------------------------------

    def show(self, led: Led) -> None:
        """Show the LED's word."""
        self._led = led
        self._refresh()

    def update(self, phase: Phase, link: Link, level_dbfs: float | None = None) -> None:
        """Show phase, link and the microphone's level (None: it is closed). Cheap: call it at any rate."""
        changed = (phase, link) != (self._phase, self._link)
        self._phase, self._link, self._level_dbfs = phase, link, level_dbfs
        if self._ansi:
            self._refresh()
        elif changed:
            self._write(f"-- {phase.value}, link {link.value}\n")

    def say_line(self, who: str, text: str) -> None:
        """Print a line of the transcript above the live line; control characters in it become spaces."""
        plain = "".join(character if character.isprintable() else " " for character in text)
        lines = textwrap.wrap(f"{who}: {plain}", self._columns() - 1, subsequent_indent="  ") or [f"{who}:"]
        self._write(("\r\x1b[K" if self._ansi else "") + "\n".join(lines) + "\n")
        if self._ansi:
            self._write(self._drawn)

    # --- keys -----------------------------------------------------------------------------------------------

    def _read_keys(self) -> None:
        at_s = self._clock()
        try:
            read = os.read(self._stdin_fd, 1024)
        except OSError:  # EIO: the terminal is gone
            read = b""
        if not read:
            self._hang_up()
            return
        for byte in _ESCAPE_SEQUENCE.sub(b"", read):
            if byte == ord(" "):
                self._tell(self._space_bar.space(at_s))
            elif byte in _MUTE:
                self._on_key("mute")
            elif byte in _QUIT:
                self._on_key("quit")

    def _tell(self, edges: list[Edge]) -> None:
        if self._space_timer is not None:
            self._space_timer.cancel()
            self._space_timer = None
        deadline_s = self._space_bar.deadline_s
        if deadline_s is not None:
            self._space_timer = self._loop.call_later(max(deadline_s - self._clock(), 0.0), self._expire)
        for pressed, at_s in edges:
            self._on_edge(pressed, at_s)

    def _expire(self) -> None:
        self._tell(self._space_bar.expire(self._clock()))

    def _hang_up(self) -> None:
        self._hung_up = True
        self._loop.remove_reader(self._stdin_fd)
        self._loop.call_soon(self._on_key, "quit")  # not from within whoever wrote to us

    def _restore_mode(self) -> None:
        if self._saved_mode is None:
            return
        mode, self._saved_mode = self._saved_mode, None
        atexit.unregister(self._restore_mode)
        with contextlib.suppress(termios.error):  # hung up: there is no terminal left to restore
            termios.tcsetattr(self._stdin_fd, termios.TCSANOW, mode)

    # --- the live line --------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        """Draw the live line if it changed, now or as soon as the last drawing is 100 ms old."""
        if not self._ansi or self._draw_timer is not None:
            return
        wait_s = self._drawn_s + REDRAW_S - self._clock()
        if wait_s > 0:
            self._draw_timer = self._loop.call_later(wait_s, self._draw_late)
            return
        line = live_line(self._phase, self._link, self._level_dbfs, self._led, self._columns())
        if line != self._drawn:
            self._drawn, self._drawn_s = line, self._clock()
            self._write(f"\r{line}\x1b[K")

    def _draw_late(self) -> None:
        self._draw_timer = None
        self._refresh()

    def _columns(self) -> int:
        if not self._ansi:
            return WIDTH
        try:
            columns = os.get_terminal_size(self._stdout.fileno()).columns
        except OSError:
            return WIDTH
        return max(min(columns or WIDTH, WIDTH), 20)

    def _write(self, text: str) -> None:
        """Write what the terminal's encoding can show; a terminal that is gone is a quit, not a crash."""
        if self._hung_up:
            return
        encoding = self._stdout.encoding or "utf-8"
        try:
            self._stdout.write(text.encode(encoding, "replace").decode(encoding))
            self._stdout.flush()
        except BlockingIOError:
            pass  # somebody made the terminal non-blocking: lose a drawing rather than stand still
        except OSError:
            self._hang_up()
