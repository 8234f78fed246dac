from __future__ import annotations

import asyncio
import io
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.conversation.state import Led, Link, Phase
from appliance.panel.terminal import TerminalPanel, live_line
from tests.panel.pseudo_terminal import Heard, Terminal, run, until


@given(
    st.sampled_from(list(Phase)),
    st.sampled_from(list(Link)),
    st.none() | st.floats(),
    st.sampled_from(list(Led)),
    st.integers(20, 80),
)
def test_the_live_line_fits(phase: Phase, link: Link, level_dbfs: float | None, led: Led, columns: int) -> None:
    line = live_line(phase, link, level_dbfs, led, columns)
    assert len(line) < columns
    assert line.isascii()
    assert line.isprintable()


@pytest.mark.parametrize("led", list(Led))
def test_the_live_line_shows_everything_at_80_columns(led: Led) -> None:
    line = live_line(Phase.LISTENING, Link.OPENING, -30.0, led)
    for part in ("listening", "opening", "[####....]", "-30dB", f" {led.value} ", "space talk", "q quit"):
        assert part in line


def test_the_live_line_follows_the_state_and_vanishes_at_the_end(terminal: Terminal) -> None:
    async def story(panel: TerminalPanel, _: Heard) -> None:
        panel.update(Phase.LISTENING, Link.UP, -12.0)
        panel.show(Led.LISTENING)
        await until(lambda: "listening up" in terminal.screen()[-1])
        assert terminal.screen()[-1] == live_line(Phase.LISTENING, Link.UP, -12.0, Led.LISTENING)

    run(terminal, story)
    assert terminal.screen() == [""]


def test_it_is_redrawn_at_most_ten_times_a_second_and_only_when_it_changed(terminal: Terminal) -> None:
    async def story(panel: TerminalPanel, _: Heard) -> None:
        for step in range(100):
            panel.update(Phase.LISTENING, Link.UP, -step / 2)
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.12)
        drawn = terminal.output().count("\r")
        assert 3 <= drawn <= 10
        for _step in range(30):
            panel.update(Phase.LISTENING, Link.UP, -49.5)
            await asyncio.sleep(0.005)
        assert terminal.output().count("\r") == drawn
        assert "-50dB" in terminal.screen()[-1], "the last value is not lost"

    run(terminal, story)


def test_the_transcript_stands_above_the_live_line(terminal: Terminal) -> None:
    async def story(panel: TerminalPanel, _: Heard) -> None:
        panel.say_line("you", "What time is it?")
        panel.say_line("appliance", "word " * 40)
        lines = terminal.screen()
        assert lines[0] == "you: What time is it?"
        assert lines[1].startswith("appliance: word word")
        assert lines[2].startswith("  word")
        assert max(map(len, lines)) < 80
        assert lines[-1].startswith("idle")

    run(terminal, story)


def test_a_transcript_cannot_steer_the_terminal(terminal: Terminal) -> None:
    async def story(panel: TerminalPanel, _: Heard) -> None:
        panel.say_line("appliance", "\x1b]0;owned\x07\x1b[2Jhello\rthere\x9b")

    run(terminal, story)
    output = terminal.output()
    assert "hello there" in output
    assert re.sub(r"\x1b\[K|\r|\n", "", output).isprintable()


def test_a_narrow_terminal(terminal: Terminal) -> None:
    async def story(panel: TerminalPanel, _: Heard) -> None:
        panel.update(Phase.SPEAKING, Link.UP)
        panel.say_line("appliance", "word " * 10)
        await asyncio.sleep(0.15)
        assert max(map(len, terminal.screen())) < 40

    terminal.resize(40)
    run(terminal, story)


def test_without_a_terminal_there_are_plain_lines_and_no_keys() -> None:
    heard, out = Heard(), io.StringIO()
    read, write = os.pipe()

    async def main() -> None:
        with TerminalPanel(asyncio.get_running_loop(), read, out, heard.edge, heard.key) as panel:
            os.write(write, b" mq")
            panel.show(Led.LISTENING)
            for level_dbfs in (-10.0, -20.0, -30.0):
                panel.update(Phase.LISTENING, Link.UP, level_dbfs)
            panel.say_line("you", "Grüße")
            await asyncio.sleep(0.05)

    asyncio.run(main())
    os.close(read)
    os.close(write)
    assert out.getvalue() == "-- listening, link up\nyou: Grüße\n"
    assert heard.edges == []
    assert heard.keys == []


def test_an_ascii_terminal_gets_a_substitute(terminal: Terminal) -> None:
    terminal.stdout.close()
    terminal.stdout = os.fdopen(os.dup(terminal.program), "w", encoding="ascii")

    async def story(panel: TerminalPanel, _: Heard) -> None:
        panel.say_line("you", "Grüße")

    run(terminal, story)
    assert "Gr??e" in terminal.output()
