"""Two changes of one device's key at once, on two replicas: in whatever order, the device still talks."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import psycopg
import pytest

from appliance.credentials import enrolment, rotation
from appliance.credentials.enrolment import Enrolment
from appliance.credentials.http import Response
from appliance.credentials.identity import Identity
from appliance.credentials.mint import Minter
from appliance.errors import ApplianceError, Secret, StateError
from appliance.provisioning import settings
from tests.fakes.upstream import FakeUpstream
from tests.provisioning.running import Device, Running, enrolment_token, in_1970, make_data, service
from tests.provisioning.test_device_routes import change_key, code, read

Capsys = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("store")
Story = Callable[["Pair"], Awaitable[None]]


class Pair:
    """Two replicas, and one device that is enrolled and asks either."""

    def __init__(self, first: Running, second: Running, device: Device, known: Enrolment) -> None:
        self.first, self.second, self.device, self.known = first, second, device, known

    def at(self, running: Running, identity: Identity) -> Device:
        """Whoever has this key, at that replica."""
        there = Device(self.device.directory, running.url)
        there.identity = identity
        return there

    async def talks(self) -> bool:
        known, identity = enrolment.load(self.device.directory), Identity.load_or_create(self.device.directory)
        assert known is not None
        minter = Minter(known, identity, client=self.device.client, now=in_1970)
        return (await minter.entry()).name == "kitchen"


def play(tmp_path: Path, capsys: Capsys, story: Story) -> None:
    @contextlib.asynccontextmanager
    async def pair(upstream: FakeUpstream) -> AsyncIterator[Pair]:
        data = await asyncio.to_thread(make_data, tmp_path, upstream.url)
        token = await asyncio.to_thread(enrolment_token, data, capsys)
        async with service(data) as first, service(data) as second:
            device = Device(tmp_path / "device", first.url)
            yield Pair(first, second, device, await device.enrol(token))

    async def told() -> None:
        with FakeUpstream() as upstream:
            async with pair(upstream) as both:
                await story(both)

    asyncio.run(told())


async def in_a_row(both: Pair, *asked: Coroutine[Any, Any, Response]) -> list[Response]:
    """Requests of one device that all wait for its row, in this order, having read the rest already."""
    url = settings.load(both.first.data).store.url.replace("+psycopg", "").replace("voice@", "postgres@")
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
    answers = []
    with psycopg.connect(url) as holder:
        holder.execute("select 1 from allowances for update")
        for number, request in enumerate(asked, 1):
            answers.append(asyncio.create_task(request))
            while both.first.query(waiting) != [(number,)] and not answers[-1].done():  # noqa: ASYNC110 no event tells
                await asyncio.sleep(0.01)
    return await asyncio.gather(*answers)


async def offered(asked: Response) -> Secret:
    assert asked.status == 200, asked.body
    return Secret(json.loads(asked.body)["access_token"])


def test_an_offer_that_was_long_on_its_way_leaves_the_stored_key_good(tmp_path: Path, capsys: Capsys) -> None:
    """The device gave up waiting, offered another key, stored it, and lost power; then the first offer arrives."""

    async def story(both: Pair) -> None:
        stored, given_up = Identity.generate(), Identity.generate()
        late = both.at(both.second, both.device.identity)
        await read(late, both.known.token)
        await read(both.device, both.known.token)
        token = await offered(await change_key(both.device, stored, both.known.token))
        await offered(await change_key(late, given_up, both.known.token))
        both.device.identity = stored
        assert (await read(both.device, token)).status == 200

    play(tmp_path, capsys, story)


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
def test_an_offer_that_waited_for_the_first_use_of_another_comes_to_nothing(tmp_path: Path, capsys: Capsys) -> None:
    """PostgreSQL reads the old token before it waits: once it may go on, that token has ended."""

    async def story(both: Pair) -> None:
        stored, late_key = Identity.generate(), Identity.generate()
        late = both.at(both.second, both.device.identity)
        await read(late, both.known.token)
        await read(both.device, both.known.token)
        token = await offered(await change_key(both.device, stored, both.known.token))
        user = both.at(both.first, stored)
        user.nonce = both.device.nonce
        used, refused = await in_a_row(both, read(user, token), change_key(late, late_key, both.known.token))
        assert used.status == 200
        assert (refused.status, code(refused)) == (401, "invalid_token")
        assert (await read(user, token)).status == 200
        living = "select thumbprint from access_tokens where revoked_ms is null"
        assert both.first.query(living) == [(stored.thumbprint,)]

    play(tmp_path, capsys, story)


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
def test_of_two_offered_keys_used_at_once_one_is_the_devices(tmp_path: Path, capsys: Capsys) -> None:
    async def story(both: Pair) -> None:
        keys = [Identity.generate(), Identity.generate()]
        await read(both.device, both.known.token)
        tokens = [await offered(await change_key(both.device, key, both.known.token)) for key in keys]
        users = [both.at(running, key) for running, key in zip((both.first, both.second), keys, strict=True)]
        await read(users[1], Secret("vdt_none"))  # for its nonce
        users[0].nonce = both.device.nonce
        answers = await in_a_row(both, *(read(user, token) for user, token in zip(users, tokens, strict=True)))
        assert [answer.status for answer in answers] == [200, 401]
        again = [await read(user, token) for user, token in zip(users, tokens, strict=True)]
        assert [answer.status for answer in again] == [answer.status for answer in answers]
        assert len(both.first.query("select 1 from access_tokens where revoked_ms is null")) == 1

    play(tmp_path, capsys, story)


def test_the_command_run_twice_at_once(tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run held up before each of its steps in turn, while the other one goes on."""

    async def story(both: Pair) -> None:
        directory = both.device.directory

        async def change() -> rotation.Changed:
            known, identity = enrolment.load(directory), Identity.load_or_create(directory)
            assert known is not None
            return await rotation.change_key(
                known, identity, directory=directory, client=both.device.client, now=in_1970
            )

        for held, steps in itertools.product((0, 1), (1, 2)):
            whose: list[asyncio.Task[object]] = []
            go, left = asyncio.Event(), [steps]
            real = rotation._offer

            async def slow(*arguments: object, _real=real, _whose=whose, _go=go, _left=left, _held=held) -> Response:  # type: ignore[no-untyped-def]
                if _left[0] == 1 and asyncio.current_task() is _whose[_held]:
                    await _go.wait()
                response: Response = await _real(*arguments)
                if _left[0] == 2 and asyncio.current_task() is _whose[_held]:
                    await _go.wait()
                return response

            with monkeypatch.context() as patch:
                patch.setattr(rotation, "_offer", slow)
                whose.extend(asyncio.create_task(change()) for _ in range(2))
                first = await whose[1 - held]
                assert isinstance(first, rotation.Changed)
                go.set()
                with pytest.raises(ApplianceError) as given_up:
                    await whose[held]
            assert isinstance(given_up.value, StateError)
            assert "meanwhile" in str(given_up.value)
            assert await both.talks()
            both.first.query("update access_tokens set created_ms = created_ms - 3600000")

    play(tmp_path, capsys, story)
