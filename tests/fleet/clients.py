"""Many devices in one process: they enrol by token, then mint with the product's own client.

Responsible for: being the fleet, and counting what it asked and got. A wish is one person's: it is given up after
20 s, as the conversation does, and a failed attempt is followed by another after the session's back-off. Run as
``python -m tests.fleet.clients DIRECTORY``; orders come on stdin as lines of JSON (:class:`Enrol`, :class:`Wishes`),
and are answered so.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from appliance.credentials import enrolment
from appliance.credentials.http import Connection, HttpClient, Response
from appliance.credentials.identity import Identity
from appliance.credentials.mint import Minter
from appliance.errors import ProvisioningError, Secret
from appliance.realtime.session import Timing
from tests.bench.report import say

AT_ONCE = 20
GIVEN_UP_S = 20.0
_TIMING = Timing()


class Enrol(msgspec.Struct, frozen=True, tag="enrol"):
    """That many devices, each with a key of its own."""

    url: str
    token: str
    devices: int


class Wishes(msgspec.Struct, frozen=True, tag="wishes"):
    """So many wishes for a session: ``in_flight`` at a time, or ``per_s`` begun each second."""

    count: int
    in_flight: int = 0
    per_s: float = 0.0


class Got(msgspec.Struct, frozen=True):
    """One grant."""

    device_id: str
    session_id: str
    secret: str
    took_ms: float


class Result(msgspec.Struct, frozen=True):
    """What came of an order."""

    grants: list[Got]
    given_up: int
    asked_again: int  # attempts that failed, under a key of their own
    requests: int
    wall_s: float
    cpu_s: float


class _Counted(HttpClient):
    """Counts requests, and is otherwise the device's."""

    requests = 0

    def connect(self, url: str) -> Connection:
        connection = super().connect(url)
        send = connection.request

        async def counted(*arguments: Any, **options: Any) -> Response:
            self.requests += 1
            return await send(*arguments, **options)

        connection.request = counted  # type: ignore[method-assign]
        return connection


class Fleet:
    """The devices."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._client = _Counted()
        self._minters: list[tuple[str, Minter]] = []
        self._rng = random.Random(1)
        self._asked_again = self._given_up = 0
        self._grants: list[Got] = []

    async def enrol(self, order: Enrol) -> None:
        """Enrol all, twenty at a time."""
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> tuple[str, Minter]:
            directory = self._directory / f"device-{number}"
            directory.mkdir()
            identity = Identity.load_or_create(directory)
            async with turn:
                known = await enrolment.enrol(
                    order.url,
                    identity,
                    directory=directory,
                    token=Secret(order.token),
                    name=f"device {number}",
                    hardware="virtual",
                    software="bench",
                    client=HttpClient(),
                    now=time.time,
                    sleep=asyncio.sleep,
                )
            return known.device_id, Minter(known, identity, client=self._client, now=time.time)

        self._minters = await asyncio.gather(*(one(number) for number in range(order.devices)))

    async def wish(self, order: Wishes) -> Result:
        """Have the wishes, each of the next device in turn."""
        self._client.requests = self._asked_again = self._given_up = 0
        self._grants = []
        began_s, cpu_s = time.monotonic(), time.process_time()
        left = iter(range(order.count))

        async def worker() -> None:
            for number in left:
                await self._one(number)

        if order.in_flight:
            await asyncio.gather(*(worker() for _ in range(order.in_flight)))
        else:
            await asyncio.gather(*(self._later(number, number / order.per_s) for number in left))
        return Result(
            grants=self._grants,
            given_up=self._given_up,
            asked_again=self._asked_again,
            requests=self._client.requests,
            wall_s=time.monotonic() - began_s,
            cpu_s=time.process_time() - cpu_s,
        )

    async def _later(self, number: int, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await self._one(number)

    async def _one(self, number: int) -> None:
        device_id, minter = self._minters[number % len(self._minters)]
        until_s, failures = time.monotonic() + GIVEN_UP_S, 0
        while True:
            began_s = time.monotonic()
            try:
                grant = await minter.mint()
            except ProvisioningError as error:
                failures += 1
                ceiling_s = min(_TIMING.backoff_last_s, _TIMING.backoff_first_s * 2 ** (failures - 1))
                wait_s = max(error.retry_after_s or 0.0, self._rng.uniform(0, ceiling_s))
                if not error.retry or time.monotonic() + wait_s > until_s:
                    self._given_up += 1
                    return
                self._asked_again += 1
                await asyncio.sleep(wait_s)
            else:
                took_ms = (time.monotonic() - began_s) * 1000
                self._grants.append(Got(device_id, grant.session_id, str(grant.value), took_ms))
                return


async def _obey(directory: Path) -> None:
    fleet, decode = Fleet(directory), msgspec.json.Decoder(Enrol | Wishes).decode
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = decode(line)
        if isinstance(order, Enrol):
            await fleet.enrol(order)
            say("{}")
        else:
            say(msgspec.json.encode(await fleet.wish(order)).decode())


if __name__ == "__main__":
    asyncio.run(_obey(Path(sys.argv[1])))
