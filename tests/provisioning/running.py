"""A provisioning service on loopback in the test's own event loop, and a device to talk to it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy.ext.asyncio import AsyncEngine

from appliance.credentials import dpop, enrolment
from appliance.credentials.enrolment import Enrolment
from appliance.credentials.http import HttpClient, Response
from appliance.credentials.identity import Identity
from appliance.credentials.mint import Minter
from appliance.errors import Secret
from appliance.provisioning import app, cli, database, initialise, serve, settings
from appliance.provisioning.initialise import Choices
from appliance.provisioning.settings import Store
from tests.fakes.upstream import KEY, FakeUpstream

_NUMBERS = itertools.count()
CHOSEN: list[Store] = []  # the store that the fixture of this name chose


def in_1970() -> float:
    return 12.5


async def no_sleep(_: float) -> None:
    await asyncio.sleep(0)


def store_section() -> str:
    """What server.toml says about the test's store."""
    if not CHOSEN or CHOSEN[-1].path:
        return ""
    return f'[store]\nurl = "{CHOSEN[-1].url}"\npassword_file = "{CHOSEN[-1].password_file}"\n'


@contextlib.asynccontextmanager
async def database_of(store: Store) -> AsyncIterator[AsyncEngine]:
    """An engine over the store for the block."""
    engine = database.connect(store)
    try:
        yield engine
    finally:
        await engine.dispose()


def make_data(tmp_path: Path, upstream_url: str, toml: str = "") -> Path:
    """An initialised data directory over the given upstream, on the test's store."""
    data = tmp_path / "data"
    key_file = tmp_path / "provider.key"
    key_file.write_text(KEY + "\n")
    key_file.chmod(0o600)
    initialise.prepare(data, Choices(base_url=upstream_url, api_key_file=str(key_file)))
    config = data / settings.CONFIG_NAME
    config.write_text(config.read_text() + toml + store_section())
    if store_section():
        (data / settings.DATABASE_NAME).unlink()
    asyncio.run(database.upgrade(settings.load(data).store))
    return data


def command(*arguments: str) -> int:
    return cli.main(list(arguments))


def enrolment_token(data: Path, capsys: Any, *options: str) -> Secret:
    capsys.readouterr()
    assert command("tokens", "create", "--data", str(data), "--quiet", *options) == 0
    return Secret(capsys.readouterr().out.strip())


@dataclass
class Running:
    url: str
    data: Path

    def query(self, sql: str) -> list[Any]:
        """Runs one statement, past everything of ours."""
        store = settings.load(self.data).store
        if store.path:
            with contextlib.closing(sqlite3.connect(store.path)) as connection, connection:
                return connection.execute(sql).fetchall()
        url = store.url.replace("+psycopg", "").replace("voice@", "postgres@")
        with psycopg.connect(url, autocommit=True) as server:
            cursor = server.execute(sql)
            return cursor.fetchall() if cursor.description else []


@contextlib.asynccontextmanager
async def service(data: Path, now: Callable[[], float] = time.time) -> AsyncIterator[Running]:
    listener = serve.listen("127.0.0.1", 0)
    ready = asyncio.Event()
    server = serve.Server(app.create(settings.load(data), now), ready.set)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    await ready.wait()
    try:
        yield Running(serve.url_of(listener), data)
    finally:
        server.should_exit = True
        await running


class Device:
    """A device's credentials, with every knob an attacker would like."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        self.url = url
        self.identity = Identity.load_or_create(directory)
        self.client = HttpClient(timeout_s=60)  # of a machine that others use, too
        self.nonce: str | None = None

    async def enrol(self, token: Secret | None) -> Enrolment:
        return await enrolment.enrol(
            self.url,
            self.identity,
            directory=self.directory,
            token=token,
            name="kitchen",
            hardware="virtual",
            software="0.1.0",
            client=self.client,
            now=in_1970,
            sleep=no_sleep,
        )

    def minter(self, enrolled: Enrolment) -> Minter:
        return Minter(enrolled, self.identity, client=self.client, now=in_1970)

    def proof(self, path: str, **changes: Any) -> str:
        arguments: dict[str, Any] = {
            "method": "POST",
            "url": self.url + path,
            "now_s": 0.0,
            "jti": f"jti-{next(_NUMBERS)}",
            "nonce": self.nonce,
            **changes,
        }
        return dpop.proof(self.identity, **arguments)

    async def send(self, path: str, *, body: bytes, headers: dict[str, str], method: str = "POST") -> Response:
        async with self.client.connect(self.url) as connection:
            response = await connection.request(method, self.url + path, headers=headers, body=body)
        self.nonce = response.headers.get("dpop-nonce", self.nonce)
        return response

    async def form(self, path: str, body: str, **changes: Any) -> Response:
        """A form with a proof; the nonce is fetched first, once."""
        if self.nonce is None:
            await self.send(path, body=b"", headers={"DPoP": self.proof(path)})
        headers = {"DPoP": self.proof(path, **changes), "Content-Type": "application/x-www-form-urlencoded"}
        return await self.send(path, body=body.encode(), headers=headers)

    async def ask_session(
        self, token: str, *, proof: str | None = None, body: bytes = b"{}", key: str = "key-00000001", **changes: Any
    ) -> Response:
        if self.nonce is None:
            await self.send("/v1/sessions", body=body, headers={})
        headers = {
            "DPoP": proof or self.proof("/v1/sessions", **{"access_token": Secret(token), **changes}),
            "Authorization": f"DPoP {token}",
            "Idempotency-Key": key,
            "Content-Type": "application/json",
        }
        return await self.send("/v1/sessions", body=body, headers=headers)


@contextlib.asynccontextmanager
async def enrolled(
    tmp_path: Path, capsys: Any, upstream: FakeUpstream
) -> AsyncIterator[tuple[Running, Device, Enrolment]]:
    """A service and a device that is enrolled with it."""
    data = await asyncio.to_thread(make_data, tmp_path, upstream.url)
    token = await asyncio.to_thread(enrolment_token, data, capsys)
    async with service(data) as running:
        device = Device(tmp_path / "device", running.url)
        yield running, device, await device.enrol(token)
