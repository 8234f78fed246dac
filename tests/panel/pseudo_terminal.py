"""A real pseudo terminal, with the person at its other side."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import struct
import termios
from collections.abc import Awaitable, Callable
from typing import TextIO

from appliance.panel.terminal import TerminalPanel


class Terminal:
    """A real pseudo terminal, the side at which the person sits."""

    def __init__(self) -> None:
        self.person, self.program = pty.openpty()
        self.resize(80)
        os.set_blocking(self.person, False)
        self.stdout: TextIO = os.fdopen(os.dup(self.program), "w", encoding="utf-8")
        self.seen = ""

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self.program, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self.person, keys)

    def mode(self) -> list[object]:
        return termios.tcgetattr(self.program)

    def output(self) -> str:
        try:
            while chunk := os.read(self.person, 65536):
                self.seen += chunk.decode()
        except OSError:  # nothing more for now, or the program's side is closed
            pass
        return self.seen

    def screen(self) -> list[str]:
        """What the person sees: the output with carriage returns and erasures carried out."""
        lines = [""]
        for token in re.findall(r"\x1b\[K|\r|\n|[^\x1b\r\n]+", self.output()):
            if token == "\n":
                lines.append("")
            elif token == "\x1b[K":
                lines[-1] = lines[-1][: self.column]
            elif token == "\r":
                self.column = 0
            else:
                lines[-1] = lines[-1][: self.column] + token + lines[-1][self.column + len(token) :]
                self.column += len(token)
                continue
            if token == "\n":
                self.column = 0
        return lines

    column = 0

    def hang_up(self) -> None:
        os.close(self.person)
        self.person = -1

    def close(self) -> None:
        for descriptor in (self.person, self.program):
            if descriptor >= 0:
                os.close(descriptor)
        with contextlib.suppress(OSError):
            self.stdout.close()


class Heard:
    def __init__(self) -> None:
        self.edges: list[tuple[bool, float]] = []
        self.keys: list[str] = []

    def edge(self, pressed: bool, at_s: float) -> None:
        self.edges.append((pressed, at_s))

    def key(self, key: str) -> None:
        self.keys.append(key)


def run(terminal: Terminal, story: Callable[[TerminalPanel, Heard], Awaitable[None]]) -> Heard:
    heard = Heard()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with TerminalPanel(loop, terminal.program, terminal.stdout, heard.edge, heard.key) as panel:
            await story(panel, heard)

    asyncio.run(main())
    return heard


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is awaited lies behind a terminal
            await asyncio.sleep(0.005)
