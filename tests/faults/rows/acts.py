"""The acts that rows are made of: each returns what is to be done to a scene."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from tests.fakes.proxy import Proxy, Weather
from tests.faults.row import Act
from tests.faults.scene import Scene
from tests.faults.town import Town

Wire = Callable[[Town], Proxy]


def link(town: Town) -> Proxy:
    """The wire to the Realtime server."""
    return town.wire


def service(town: Town) -> Proxy:
    """The wire to the provisioning service."""
    return town.service_wire


def provider(town: Town) -> Proxy:
    """The wire of the service, and of devices, to the provider that mints."""
    return town.provider_wire


def several(*acts: Act) -> Act:
    """One after the other."""

    def act(at: Scene) -> None:
        for one in acts:
            one(at)

    return act


def weather(wire: Wire, **how: Any) -> Act:
    """Bad weather on a wire."""
    return lambda at: at.town.weather(wire(at.town), Weather(**how))


def fair(wire: Wire) -> Act:
    """Fair weather again."""
    return lambda at: at.town.weather(wire(at.town), Weather())


def cut(wire: Wire) -> Act:
    """Reset every connection of a wire, with a RST."""
    return lambda at: on_loop(at, wire(at.town).reset)


def die(wire: Wire) -> Act:
    """Leave every connection of a wire half open."""
    return lambda at: on_loop(at, wire(at.town).die)


def on_loop(at: Scene, call: Callable[[], object]) -> None:
    """Do something on the loop of the servers, and wait until it is done."""

    async def done() -> None:
        call()

    at.town.background.run(done())


def close(code: int, reason: str = "") -> Act:
    """The server ends the session."""
    return lambda at: at.hang_up(code, reason)


def script(**how: Any) -> Act:
    """The server behaves otherwise from now on."""

    def act(at: Scene) -> None:
        for name, value in how.items():
            setattr(at.server.script, name, value)

    return act


def complain_of(event: str, code: str, message: str = "no", kind: str = "invalid_request_error") -> Act:
    """The server answers the next ``event`` of ours with an error."""
    return lambda at: at.server.script.errors.update({event: {"type": kind, "code": code, "message": message}})


def error(code: str, message: str = "no", kind: str = "invalid_request_error") -> Act:
    """The server sends an error of its own accord."""
    return lambda at: at.send({"type": "error", "error": {"type": kind, "code": code, "message": message}})


def frames(*texts: str | bytes) -> Act:
    """The server sends these frames, whatever they are."""

    async def send(at: Scene) -> None:
        for text in texts:
            await at.server.connections[-1].send(text)

    return lambda at: at.town.background.run(send(at))


def hand(verb: str, value: float = 0.0) -> Act:
    """The hand inside the process does something."""
    return lambda at: at.hand(verb, value)


def signalled(number: int) -> Act:
    """The process gets a signal."""
    return lambda at: at.signal(number)


def clock(offset_s: Callable[[], float] | float) -> Act:
    """The wall clock is otherwise."""
    return lambda at: at.elsewhere.set_clock(offset_s() if callable(offset_s) else offset_s)


def in_1970() -> float:
    """Begin the world anew, as a board without a clock does."""
    return -time.time()


def names(there: bool) -> Act:
    """Names are found, or not."""
    return lambda at: at.elsewhere.set_nameless(not there)


def repeatedly(act: Act, every_s: float, seconds: float) -> Act:
    """Again and again."""

    def acts(at: Scene) -> None:
        for _ in range(round(seconds / every_s)):
            act(at)
            time.sleep(every_s)

    return acts


def owner(*arguments: str) -> Act:
    """The service's owner does something to this device; ``DEVICE`` stands for its id."""

    def act(at: Scene) -> None:
        if "device" not in at.marks:
            line = next(text for _, text in reversed(at.lines) if " as d_" in text)
            at.marks["device"] = line.rsplit(" ", 1)[1]
        at.town.command(*(at.marks["device"] if word == "DEVICE" else word for word in arguments))

    return act


async def knock(path: str, count: int, say: bytes) -> int:
    """Connect to a Unix socket so many times, a hundred at once, say something, and leave; returns how many got in."""

    async def one() -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(path)
            writer.write(say)
            await writer.drain()
            writer.close()
        except OSError:
            return False
        return True

    got_in = 0
    for _ in range(count // 100):
        got_in += sum(await asyncio.gather(*(one() for _ in range(100))))
    return got_in
