"""An owner at the web page, without a browser: cookies, forms and links as a browser would send them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import hashlib
import html
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.provisioning import database, devices, owner_links, settings
from appliance.provisioning.devices import Description
from appliance.provisioning.schema import DEVICES, MINTS, REPORTS
from appliance.provisioning.settings import Store
from tests.fakes.upstream import FakeUpstream
from tests.provisioning.running import Running, make_data, service, store_section

START_S = 1_800_000_000.0  # 15 January 2027, 08:00 UTC
HARDWARE = ("Raspberry Pi 5", "Raspberry Pi Zero 2 W", "Raspberry Pi 4")
DAY_S = 86_400


class Clock:
    """Time that goes on only when told."""

    def __init__(self) -> None:
        self.now_s = START_S

    def __call__(self) -> float:
        return self.now_s

    @property
    def now_ms(self) -> int:
        return int(self.now_s * 1000)


async def transact(running: Running, work: Callable[[AsyncConnection], Awaitable[Any]]) -> Any:
    """Runs something of ours in a transaction of its own, beside the service."""
    engine = database.connect(settings.load(running.data).store)
    try:
        async with engine.begin() as connection:
            return await work(connection)
    finally:
        await engine.dispose()


async def make_link(running: Running, clock: Clock) -> str:
    """A sign-in link, as the command makes it."""
    return str(await transact(running, lambda it: owner_links.make(it, running.url, now_ms=clock.now_ms)))


def thumbprint(number: int) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(str(number).encode()).digest()).rstrip(b"=").decode()


async def seed(running: Running, clock: Clock, count: int, *, talks: int = 0) -> list[str]:
    """Enrols devices, with so many conversations on each of the first ones; returns their ids."""

    async def work(connection: AsyncConnection) -> list[str]:
        ids = []
        for number in range(count):
            description = Description(name(number), HARDWARE[number % 3], f"0.{1 + number % 2}.0")
            admitted = await devices.admit(
                connection,
                thumbprint(number),
                description,
                profile="default",
                enrolment_token_id=None,
                now_ms=clock.now_ms - number * 3_600_000,
            )
            ids.append(admitted)
            seen_ms = clock.now_ms - (number * number + 1) * 47_000
            await connection.execute(update(DEVICES).where(DEVICES.c.id == admitted).values(last_seen_ms=seen_ms))
        for number, device_id in enumerate(ids[:12] if talks else []):
            await _talk(
                connection, device_id, clock.now_ms, [1 + (talk * 7 + number * 5) % 29 for talk in range(talks)]
            )
        return ids

    found: list[str] = await transact(running, work)
    return found


def name(number: int) -> str:
    rooms = ("Kitchen", "hall", "Living room", "Workshop", "Nursery", "Office", "Attic")
    return rooms[number] if number < len(rooms) else f"{rooms[number % len(rooms)]} {number}"


async def _talk(connection: AsyncConnection, device_id: str, now_ms: int, days_ago: list[int]) -> None:
    for talk, ago in enumerate(days_ago):
        at_ms = now_ms - ago * DAY_S * 1000 + talk * 61_000
        minted = talk % 9 != 5
        mint = {
            "jti_sha256": f"{device_id}-{talk}",
            "session_id": f"{device_id}-{talk}",
            "device_id": device_id,
            "idempotency_key": f"key-{talk}",
            "profile": "default",
            "transport": "websocket",
            "at_ms": at_ms,
            "outcome": "minted" if minted else "quota_exceeded",
            "latency_ms": 140 + talk * 7 % 90 if minted else 3,
        }
        await connection.execute(insert(MINTS).values(mint))
        if not minted:
            continue
        report = {
            "session_id": mint["session_id"],
            "device_id": device_id,
            "at_ms": at_ms + 90_000,
            "duration_s": 30.0 + talk * 37 % 240,
            "reason": ("idle", "goodbye", "button")[talk % 3],
            "usage": {},
            "model": "gpt-realtime-1.5",
            "tokens": 900 + talk * 331 % 4_000,
            "cost_usd": 0.02 + talk % 7 * 0.013,
        }
        await connection.execute(insert(REPORTS).values(report))


@functools.cache
def _empty_database() -> bytes:
    """A SQLite file with the schema: making one takes longer than most stories."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "database"
        asyncio.run(database.upgrade(Store(path=path)))
        return path.read_bytes()


def _make_data(tmp_path: Path, upstream_url: str) -> Path:
    if not store_section():
        (tmp_path / "data").mkdir(mode=0o700)
        (tmp_path / "data" / settings.DATABASE_NAME).write_bytes(_empty_database())
    return make_data(tmp_path, upstream_url)


class Owner:
    """A browser's part: keeps cookies, sends forms with what a browser adds."""

    def __init__(self, running: Running, client: httpx2.AsyncClient, clock: Clock) -> None:
        self.running = running
        self.client = client
        self.clock = clock
        self.csrf = ""

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        response = await self.client.get(self.running.url + path, headers={"Accept": "text/html", **headers})
        if found := re.search(r'name="csrf" value="(\w+)"', response.text):
            self.csrf = found[1]
        return response

    async def post(self, path: str, headers: dict[str, str] | None = None, /, **fields: str) -> httpx2.Response:
        sent = {"Origin": self.running.url, "Sec-Fetch-Site": "same-origin", **(headers or {})}
        data = {"csrf": self.csrf, **fields}
        return await self.client.post(self.running.url + path, data=data, headers=sent)

    async def sign_in(self) -> httpx2.Response:
        link = await make_link(self.running, self.clock)
        response = await self.post("/sign-in", token=link.partition("token=")[2])
        await self.get("/audit")
        return response

    def cookie(self) -> str:
        return self.client.cookies["voice-owner"]


def text_of(response: httpx2.Response) -> str:
    """What a person reads, white space folded."""
    body = response.text.partition("<main")[2] or response.text
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


@contextlib.asynccontextmanager
async def visiting(tmp_path: Path, clock: Clock) -> AsyncIterator[Owner]:
    """A service and an owner who is not signed in yet."""
    with FakeUpstream() as upstream:
        data = await asyncio.to_thread(_make_data, tmp_path, upstream.url)
        async with service(data, clock) as running, httpx2.AsyncClient(verify=False) as client:
            yield Owner(running, client, clock)


def run(tmp_path: Path, story: Callable[[Owner], Awaitable[None]], *, signed_in: bool = True) -> None:
    """Tells a story of an owner, signed in unless said otherwise."""

    async def told() -> None:
        async with visiting(tmp_path, Clock()) as owner:
            if signed_in:
                assert (await owner.sign_in()).status_code == 303
            await story(owner)

    asyncio.run(told())
