"""The past goes after its time, a little at a time, and nothing else goes."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.errors import ConfigError
from appliance.provisioning import audit, devices, retention, settings
from appliance.provisioning.devices import Description
from appliance.provisioning.schema import ACCESS_TOKENS, MINTS, REPORTS
from appliance.provisioning.settings import Store
from tests.fakes.upstream import FakeUpstream
from tests.provisioning.running import database_of, make_data
from tests.provisioning.test_limits import NOON_MS

DAY_MS = 86_400_000
OLD = 2 * retention.BATCH + 10
THUMBPRINT = "A" * 43


async def fill(connection: AsyncConnection) -> str:
    """A device with a past: so many conversations long ago, and one of each kind that is just young enough."""
    described = Description("kitchen", "virtual", "0.1.0")
    device_id = await devices.admit(
        connection, THUMBPRINT, described, profile="default", enrolment_token_id=None, now_ms=0
    )
    await devices.issue_token(connection, device_id, THUMBPRINT, 0)
    await devices.issue_token(connection, device_id, THUMBPRINT, 0)
    for number in range(OLD + 1):
        at_ms = NOON_MS - (401 if number < OLD else 399) * DAY_MS
        common = {"session_id": str(number), "device_id": device_id, "at_ms": at_ms}
        mint = {
            "jti_sha256": str(number),
            "idempotency_key": "k",
            "profile": "p",
            "transport": "w",
            "outcome": "minted",
        }
        await connection.execute(insert(MINTS).values(**common, **mint))
        await connection.execute(insert(REPORTS).values(**common, duration_s=1.0, reason="idle", usage={}))
        await audit.note(connection, "owner", "rename", now_ms=at_ms)
    return device_id


def test_the_past_goes_after_its_time_in_small_steps(store: Store, tmp_path: Path) -> None:
    paused: list[float] = []

    async def pause(delay_s: float) -> None:
        paused.append(delay_s)

    async def story(upstream: FakeUpstream) -> None:
        await asyncio.to_thread(make_data, tmp_path, upstream.url)
        async with database_of(store) as engine:
            async with engine.begin() as connection:
                device_id = await fill(connection)
            gone = await asyncio.gather(*(retention.sweep(engine, 400, NOON_MS, pause) for _ in range(2)))
            assert sum(gone) == 3 * OLD + 1  # and the token that ended
            assert len(paused) >= 3 * 2
            async with engine.begin() as connection:
                rows = [len((await connection.execute(table.select())).all()) for table in (MINTS, REPORTS)]
                assert rows == [1, 1]
                assert len(await audit.entries(connection)) == 1
                assert await devices.find(connection, THUMBPRINT) is not None
                assert (await connection.execute(ACCESS_TOKENS.select())).one().device_id == device_id
            assert await retention.sweep(engine, 400, NOON_MS, pause) == 0

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_it_sweeps_every_hour_or_never_and_survives_a_database_that_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    slept: list[float] = []
    answers: list[int | Exception] = [OperationalError("", None, Exception()), ConfigError("no password"), 7, 0]

    async def sweep(*_: object) -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sleep(delay_s: float) -> None:
        slept.append(delay_s)
        if not answers:
            raise asyncio.CancelledError

    monkeypatch.setattr(retention, "sweep", sweep)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(retention.sweep_for_ever(None, 400, lambda: 0.0, lambda: 0.5, sleep))  # type: ignore[arg-type]
    assert slept == [3600.0] * 5
    assert [record.message for record in caplog.records] == [
        "old rows stay for now: OperationalError",
        "old rows stay for now: ConfigError",
        "deleted 7 row(s) older than 400 days",
    ]
    asyncio.run(retention.sweep_for_ever(None, 0, lambda: 0.0, lambda: 0.5, sleep))  # type: ignore[arg-type]
    assert len(slept) == 5


def test_what_the_file_says_holds(tmp_path: Path) -> None:
    with FakeUpstream() as upstream:
        data = make_data(tmp_path, upstream.url)
        assert settings.load(data).retention_days == 400
        config = data / settings.CONFIG_NAME
        config.write_text(config.read_text() + "[retention]\ndays = 0\n")
        assert settings.load(data).retention_days == 0
