from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

import pytest

from appliance.conversation.state import Link, Phase
from appliance.panel.terminal import TerminalPanel
from tests.panel.pseudo_terminal import Heard, Terminal, run, until

# --- keys, on a pseudo terminal -----------------------------------------------------------------------------


def test_a_tap_of_the_space_bar(terminal: Terminal) -> None:
    async def story(_: TerminalPanel, heard: Heard) -> None:
        terminal.type(b" ")
        await until(lambda: heard.edges)
        await until(lambda: len(heard.edges) == 2)

    (press, release) = run(terminal, story).edges
    assert press[0]
    assert not release[0]
    assert release[1] - press[1] == pytest.approx(0.05)


def test_holding_the_space_bar(terminal: Terminal) -> None:
    async def story(_: TerminalPanel, heard: Heard) -> None:
        for _repeat in range(8):
            terminal.type(b" ")
            await asyncio.sleep(0.03)
        assert len(heard.edges) == 1
        await until(lambda: len(heard.edges) == 2)

    (press, release) = run(terminal, story).edges
    assert 0.2 <= release[1] - press[1] <= 1.0


@pytest.mark.parametrize(("typed", "keys"), [(b"m", ["mute"]), (b"q", ["quit"]), (b"\x04", ["quit"]), (b"Mx\rm", 2)])
def test_keys(terminal: Terminal, typed: bytes, keys: list[str] | int) -> None:
    async def story(_: TerminalPanel, heard: Heard) -> None:
        terminal.type(typed)
        await until(lambda: heard.keys)

    heard = run(terminal, story)
    assert heard.keys == (["mute"] * keys if isinstance(keys, int) else keys)
    assert heard.edges == []


def test_arrow_and_function_keys_are_no_letters(terminal: Terminal) -> None:
    async def story(_: TerminalPanel, heard: Heard) -> None:
        terminal.type(b"\x1b[A\x1bOP\x1b[24~\x1b[1;5mm\x1bq")
        await until(lambda: heard.keys)

    assert run(terminal, story).keys == ["mute"]


def test_a_terminal_that_hangs_up_is_one_quit(terminal: Terminal) -> None:
    async def story(panel: TerminalPanel, heard: Heard) -> None:
        terminal.hang_up()
        await until(lambda: heard.keys)
        panel.say_line("you", "anybody there?")
        panel.update(Phase.LISTENING, Link.UP, -20.0)
        await asyncio.sleep(0.15)

    assert run(terminal, story).keys == ["quit"]


# --- the terminal's mode ------------------------------------------------------------------------------------


def test_no_echo_inside_and_the_old_mode_after(terminal: Terminal) -> None:
    before = terminal.mode()

    async def story(_: TerminalPanel, heard: Heard) -> None:
        terminal.type(b"m")
        await until(lambda: heard.keys)
        assert terminal.mode() != before

    run(terminal, story)
    assert terminal.mode() == before
    assert not any("m\n" in line for line in terminal.screen())


def test_the_old_mode_after_an_exception(terminal: Terminal) -> None:
    before = terminal.mode()

    async def story(_: TerminalPanel, __: Heard) -> None:
        raise KeyError("boom")

    with pytest.raises(KeyError):
        run(terminal, story)
    assert terminal.mode() == before


def test_the_old_mode_when_closed_after_the_loop(terminal: Terminal) -> None:
    before = terminal.mode()
    loop = asyncio.new_event_loop()
    panel = TerminalPanel(loop, terminal.program, terminal.stdout, Heard().edge, Heard().key)
    panel.open()
    loop.close()
    panel.close()
    panel.close()
    assert terminal.mode() == before


PROGRAM = """
import asyncio, signal, sys
from appliance.panel.terminal import TerminalPanel
loop = asyncio.new_event_loop()
panel = TerminalPanel(loop, 0, sys.stdout, lambda *_: None, lambda _: None)
panel.open()
print("ready", flush=True)
{end}
"""


@pytest.mark.parametrize(("end", "code"), [("sys.exit(3)", 3), ("1 / 0", 1), ("loop.run_forever()", -signal.SIGINT)])
def test_the_old_mode_when_the_program_just_ends(terminal: Terminal, end: str, code: int) -> None:
    before = terminal.mode()
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(end=end)],
        stdin=terminal.program,
        stdout=terminal.program,
        stderr=subprocess.DEVNULL,
    )
    if "forever" in end:
        while "ready" not in terminal.output():
            assert program.poll() is None
        assert terminal.mode() != before
        program.send_signal(signal.SIGINT)
    assert program.wait(20) == code
    assert "ready" in terminal.output()
    assert terminal.mode() == before
