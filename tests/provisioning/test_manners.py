"""A device that asks without end, for what costs no money: it is told how long to wait, and nothing grows."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.credentials.enrolment import Enrolment
from appliance.credentials.http import Response
from appliance.credentials.identity import Identity
from appliance.errors import ProvisioningError, Secret
from appliance.provisioning import devices
from appliance.provisioning.configuration import Limits
from appliance.provisioning.manners import Asking, Manners
from appliance.provisioning.problems import RefusalError
from appliance.realtime.session import Ticket
from appliance.reports import Report, Reports
from tests.fakes.upstream import FakeUpstream
from tests.provisioning.running import Device, Running, enrolment_token, make_data, service
from tests.provisioning.test_device_routes import change_key, code, read

Capsys = pytest.CaptureFixture[str]
NOW_S = 1.8e9
FREE = "[profiles.default.limits]\nper_minute = 0\nper_day = 0\nseconds_per_day = 0\n"
GRANT = "urn:ietf:params:oauth:grant-type:device_code"


class World:
    def __init__(self, running: Running, device: Device, known: Enrolment, clock: list[float], token: Secret) -> None:
        self.running, self.device, self.known, self.clock, self.token = running, device, known, clock, token

    async def until_refused(self, ask: Callable[[], Awaitable[Response]], at_most: int) -> tuple[int, Response]:
        for taken in range(at_most):
            answer = await ask()
            if answer.status == 429:
                return taken, answer
            assert answer.status < 300, answer.body
        raise AssertionError(f"{at_most} were taken")

    async def is_honest(self, ask: Callable[[], Awaitable[Response]], refused: Response) -> None:
        """A second before Retry-After is over it is refused, then taken."""
        wait_s = int(refused.headers["retry-after"])
        self.clock[0] += wait_s - 1.1
        assert (await ask()).status == 429
        self.clock[0] += 1.2
        answer = await ask()
        assert answer.status < 300, answer.body


def play(tmp_path: Path, capsys: Capsys, story: Callable[[World], Awaitable[None]]) -> None:
    clock = [NOW_S]

    @contextlib.asynccontextmanager
    async def world(upstream: FakeUpstream) -> AsyncIterator[World]:
        data = await asyncio.to_thread(make_data, tmp_path, upstream.url, FREE)
        async with service(data, lambda: clock[0]) as running:
            device = Device(tmp_path / "device", running.url)
            expiry = ("--uses", "9", "--expires-s", str(9 * 365 * 86_400))
            token = await asyncio.to_thread(enrolment_token, data, capsys, *expiry)
            yield World(running, device, await device.enrol(token), clock, token)

    async def told() -> None:
        with FakeUpstream() as upstream:
            async with world(upstream) as made:
                await story(made)

    asyncio.run(told())


async def fresh(ask: Callable[[], Awaitable[Response]]) -> Response:
    """The answer to a request whose nonce is of now."""
    answer = await ask()
    return await ask() if b"use_dpop_nonce" in answer.body else answer


@pytest.mark.usefixtures("store")
def test_its_entry(tmp_path: Path, capsys: Capsys) -> None:
    async def story(world: World) -> None:
        async def ask() -> Response:
            return await fresh(lambda: read(world.device, world.known.token))

        taken, refused = await world.until_refused(ask, 40)
        assert taken == Asking.OWN_ENTRY.value.burst
        assert code(refused) == "too_many_requests"
        assert refused.headers["content-type"] == "application/problem+json"
        proofs = world.running.query("select count(*) from seen_proofs")
        for _ in range(20):
            await ask()
        assert world.running.query("select count(*) from seen_proofs") == proofs
        assert (await world.device.ask_session(world.known.token)).status == 201  # talking is another matter
        await world.is_honest(ask, refused)

    play(tmp_path, capsys, story)


@pytest.mark.usefixtures("store")
def test_sessions_that_it_may_not_have(tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own limit is told from the database; after so many a minute that is not even asked."""
    monkeypatch.setattr(Asking.SESSION, "_value_", Limits(per_minute=60, burst=5, per_day=0, seconds_per_day=0))

    async def story(world: World) -> None:
        numbers = itertools.count()

        async def ask() -> Response:
            return await fresh(lambda: world.device.ask_session(world.known.token, key=f"key-{next(numbers):08d}"))

        taken, refused = await world.until_refused(ask, 40)
        assert (taken, code(refused)) == (5, "too_many_requests")
        before = world.running.query("select (select count(*) from mints), (select count(*) from seen_proofs)")
        assert code(await ask()) == "too_many_requests"
        assert world.running.query("select (select count(*) from mints), (select count(*) from seen_proofs)") == before
        await world.is_honest(ask, refused)

    play(tmp_path, capsys, story)


@pytest.mark.usefixtures("store")
def test_changes_of_its_key(tmp_path: Path, capsys: Capsys) -> None:
    """However slowly it asks: each offer is a row that is kept for a year."""

    async def story(world: World) -> None:
        async def ask() -> Response:
            world.clock[0] += 11
            return await fresh(lambda: change_key(world.device, Identity.generate(), world.known.token))

        await read(world.device, world.known.token)
        taken, refused = await world.until_refused(ask, 40)
        assert taken == devices.TOKENS_AN_HOUR - 1  # the first is the one it enrolled with
        assert code(refused) == "too_many_requests"
        rows = world.running.query("select count(*) from access_tokens")
        living = world.running.query("select count(*) from access_tokens where revoked_ms is null")
        assert (rows, living) == ([(devices.TOKENS_AN_HOUR,)], [(5,)])  # its own, and four offers
        world.clock[0] -= 11
        await world.is_honest(ask, refused)
        world.clock[0] -= 86_400  # a clock that was wrong and is set right must not lock it out until tomorrow
        assert (await ask()).status == 200

    play(tmp_path, capsys, story)


@pytest.mark.usefixtures("store")
def test_being_enrolled_and_polling(tmp_path: Path, capsys: Capsys) -> None:
    async def story(world: World) -> None:
        form = f"client_id=voice-appliance&enrolment_token={world.token}"

        async def enrol() -> Response:
            return await fresh(lambda: world.device.form("/oauth/device_authorization", form))

        opened = json.loads((await enrol()).body)
        poll_form = f"client_id=voice-appliance&grant_type={GRANT}&device_code={opened['device_code']}"

        async def poll() -> Response:
            return await fresh(lambda: world.device.form("/oauth/token", poll_form))

        taken, refused = await world.until_refused(poll, 40)
        assert taken == devices.TOKENS_AN_HOUR - 1
        assert json.loads(refused.body)["error"] == "temporarily_unavailable"
        assert 0 < int(refused.headers["retry-after"]) <= 3600
        for _ in range(60):
            refused = await poll()
        rows = world.running.query("select (select count(*) from seen_proofs), (select count(*) from access_tokens)")
        assert (await poll()).status == 429
        assert rows == world.running.query(
            "select (select count(*) from seen_proofs), (select count(*) from access_tokens)"
        )
        _, refused = await world.until_refused(enrol, 40)
        assert json.loads(refused.body)["error"] == "temporarily_unavailable"
        enrolments = world.running.query("select count(*) from audit where action = 'enrolled'")
        assert enrolments == [(Asking.ENROLMENT.value.burst,)]
        await world.is_honest(enrol, refused)

    play(tmp_path, capsys, story)


@pytest.mark.usefixtures("store")
def test_reports_and_the_device_loses_none_of_them(tmp_path: Path, capsys: Capsys) -> None:
    async def story(world: World) -> None:
        minter = world.device.minter(world.known)
        sessions = [(await minter.mint()).session_id for _ in range(5)]
        reports, refusals = Reports(), list[float]()

        async def send(report: Report) -> None:
            try:
                await minter.report(report.session_id, duration_s=9, reason="idle", usage=report.usage)
            except ProvisioningError as error:
                refusals.append(error.retry_after_s or 0)
                raise

        for _ in range(Asking.REPORT.value.burst - 2):  # the same one for ever: it counts once
            await send(Report(sessions[0], 9, "idle", "m", {"text_in": 1}))
        for session in sessions:
            reports.ended(Ticket("ws://a", "m", Secret("ek_x"), session_id=session), 9.0, "idle")
        for _ in range(10):
            await reports.deliver(send, lambda: world.clock[0])
        assert len(refusals) == 1, "it is not asked again before it says so"
        assert [report.session_id for report in reports.waiting] == sessions[2:]
        world.clock[0] += refusals[0]
        while reports.waiting:
            await reports.deliver(send, lambda: world.clock[0])
            world.clock[0] += 1
        assert world.running.query("select count(*), sum(duration_s) from reports") == [(5, 45.0)]
        assert world.running.query("select sessions, seconds from allowances") == [(5, 45.0)]

    play(tmp_path, capsys, story)


@pytest.mark.usefixtures("store")
def test_a_report_is_short(tmp_path: Path, capsys: Capsys) -> None:
    async def story(world: World) -> None:
        minter = world.device.minter(world.known)
        session = (await minter.mint()).session_id

        async def send(usage: dict[str, Any]) -> None:
            await minter.report(session, duration_s=1, reason="idle", usage=usage)

        with pytest.raises(ProvisioningError, match="status 400"):
            await send({f"kind_{number}": number for number in range(300)})
        assert world.running.query("select count(*) from reports") == [(0,)]
        await send({f"kind_{number}": number for number in range(100)})
        assert world.running.query("select count(*) from reports") == [(1,)]

    play(tmp_path, capsys, story)


def test_one_does_not_pay_for_another_and_strangers_do_not_fill_the_memory() -> None:
    manners, refused = Manners(), Counter[str]()

    def ask(key: str, at_ms: int) -> None:
        try:
            manners.check(key, Asking.OWN_ENTRY, at_ms)
        except RefusalError:
            refused[key] += 1

    for _ in range(20):
        ask("mad", 0)
        ask("calm", 0) if not refused else None
    assert refused == {"mad": 8}
    for number in range(30_000):
        ask(f"stranger {number}", 0)
    assert len(manners._left) == 20_000
    for _ in range(5):
        ask("mad", 1_000_000)
        ask("mad", -1_000_000_000)  # the clock was set back
    assert refused == {"mad": 8}
