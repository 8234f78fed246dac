"""What one device and the whole fleet may use: the arithmetic, and the service that keeps to it."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.credentials.http import Response
from appliance.provisioning import database, limits
from appliance.provisioning.configuration import Limits
from appliance.provisioning.limits import DAY_MS, Allowance, Refused
from appliance.provisioning.provider_bucket import ProviderBucket
from appliance.provisioning.settings import Store
from tests.fakes.upstream import Answer, FakeUpstream
from tests.provisioning.running import Device, database_of, enrolment_token, make_data, service

NEW = Allowance(tokens=0.0, filled_ms=0, day=0, sessions=0, seconds=0.0)
NOON_MS = 20_000 * DAY_MS + DAY_MS // 2
Capsys = pytest.CaptureFixture[str]


def spend(allowance: Allowance, given: Limits, now_ms: int, times: int) -> Allowance:
    for _ in range(times):
        found = limits.charged(allowance, given, now_ms)
        assert isinstance(found, Allowance)
        allowance = found
    return allowance


def test_three_at_once_and_then_one_every_ten_seconds() -> None:
    used = spend(NEW, Limits(), NOON_MS, 3)
    refused = limits.charged(used, Limits(), NOON_MS)
    assert refused == Refused("too many conversations in a minute", 10_000)
    assert isinstance(limits.charged(used, Limits(), NOON_MS + 9_900), Refused)
    again = spend(used, Limits(), NOON_MS + 10_000, 1)
    assert isinstance(limits.charged(again, Limits(), NOON_MS + 10_000), Refused)
    assert limits.sessions_left(again, Limits()) == 196


def test_a_day_has_an_end() -> None:
    given = Limits(per_minute=0, per_day=5)
    used = spend(NEW, given, NOON_MS, 5)
    refused = limits.charged(used, given, NOON_MS)
    assert isinstance(refused, Refused)
    assert refused.after_ms == DAY_MS // 2
    assert spend(used, given, NOON_MS + refused.after_ms, 5).sessions == 5


def test_zero_switches_a_limit_off() -> None:
    none = Limits(per_minute=0, burst=0, per_day=0, seconds_per_day=0)
    used = spend(Allowance(0.0, NOON_MS, NOON_MS // DAY_MS, 0, 1e9), none, NOON_MS, 1_000)
    assert limits.sessions_left(used, none) is None


def test_a_clock_set_back_locks_nobody_out() -> None:
    used = spend(NEW, Limits(), NOON_MS + 300 * DAY_MS, 3)
    spend(used, Limits(), NOON_MS, 3)
    used = spend(NEW, Limits(), NOON_MS + 1_000, 3)
    assert isinstance(limits.charged(used, Limits(), NOON_MS), Refused)  # another replica's clock, a second behind


allowances = st.builds(
    Allowance,
    tokens=st.floats(0, 20),
    filled_ms=st.integers(NOON_MS - 2 * DAY_MS, NOON_MS),
    day=st.sampled_from([NOON_MS // DAY_MS - 1, NOON_MS // DAY_MS]),
    sessions=st.integers(0, 300),
    seconds=st.floats(0, 20_000),
)
some_limits = st.builds(
    Limits,
    per_minute=st.floats(0.1, 100) | st.just(0.0),
    burst=st.integers(1, 10),
    per_day=st.integers(0, 300),
    seconds_per_day=st.floats(0, 20_000),
)


@given(allowance=allowances, given_limits=some_limits)
def test_retry_after_is_when_the_next_is_really_allowed(allowance: Allowance, given_limits: Limits) -> None:
    refused = limits.charged(allowance, given_limits, NOON_MS)
    if isinstance(refused, Refused):
        assert refused.after_ms > 0
        assert isinstance(limits.charged(allowance, given_limits, NOON_MS + refused.after_ms), Allowance)
        if refused.after_ms > 1_000:
            early = limits.charged(allowance, given_limits, NOON_MS + refused.after_ms - 1_000)
            assert isinstance(early, Refused)


@given(given_limits=some_limits, gaps_ms=st.lists(st.integers(0, 30_000), max_size=60))
def test_no_rhythm_gets_more_than_the_bucket_holds(given_limits: Limits, gaps_ms: list[int]) -> None:
    allowance, granted = NEW, []
    for now_ms in itertools.accumulate(gaps_ms, initial=NOON_MS):
        found = limits.charged(allowance, given_limits, now_ms)
        if isinstance(found, Allowance):
            allowance = found
            granted.append(now_ms)
    if given_limits.per_minute:
        for first, last in itertools.combinations(range(len(granted)), 2):
            most = given_limits.burst + (granted[last] - granted[first]) * given_limits.per_minute / 60_000
            assert last - first + 1 <= most + 0.001
    assert not given_limits.per_day or len(granted) <= given_limits.per_day


class Clock:
    def __init__(self) -> None:
        self.now_s = (time.time() // 86_400) * 86_400 + 43_200.0

    def __call__(self) -> float:
        return self.now_s


class Rig:
    """A service on a clock of the test's, one device enrolled, and a new Idempotency-Key for every question."""

    def __init__(self, tmp_path: Path, capsys: Capsys, upstream: FakeUpstream, toml: str = "") -> None:
        self.clock = Clock()
        self.data = make_data(tmp_path, upstream.url, toml)
        self.token = enrolment_token(self.data, capsys, "--expires-s", "864000", "--uses", "9")
        self.tmp_path = tmp_path
        self._keys = itertools.count()

    async def ask(self, device: Device, token: str, key: str = "") -> Response:
        key = key or f"key-{next(self._keys):08d}"
        answer = await device.ask_session(token, key=key)
        stale = b"use_dpop_nonce" in answer.body  # the test's clock has leapt
        return await device.ask_session(token, key=key) if stale else answer


def told(response: Response) -> tuple[int, str, str]:
    content = json.loads(response.body)
    return response.status, content.get("code", ""), response.headers.get("retry-after", "")


@pytest.mark.usefixtures("store")
def test_the_service_keeps_a_device_to_its_limits(tmp_path: Path, capsys: Capsys) -> None:
    toml = "[profiles.default.limits]\nper_day = 6\nseconds_per_day = 100\n"

    async def story(upstream: FakeUpstream) -> None:
        rig = await asyncio.to_thread(Rig, tmp_path, capsys, upstream, toml)
        async with service(rig.data, rig.clock) as running:
            device = Device(tmp_path / "device", running.url)
            known = await device.enrol(rig.token)
            lefts = []
            for _ in range(3):
                answer = await rig.ask(device, known.token)
                lefts.append(json.loads(answer.body)["limits"]["sessions_left_today"])
            assert lefts == [5, 4, 3]
            assert told(await rig.ask(device, known.token)) == (429, "quota_exceeded", "10")
            rig.clock.now_s += 9
            assert told(await rig.ask(device, known.token)) == (429, "quota_exceeded", "1")
            rig.clock.now_s += 1
            session_id = json.loads((await rig.ask(device, known.token)).body)["session_id"]
            # Another device is not concerned.
            other = Device(tmp_path / "other", running.url)
            assert (await rig.ask(other, (await other.enrol(rig.token)).token)).status == 201
            # A repeat is not charged, nor is what the provider refuses.
            rig.clock.now_s += 20
            upstream.script.append(Answer(500, b""))
            assert (await rig.ask(device, known.token, "key-repeated")).status == 502
            for _ in range(2):
                answer = await rig.ask(device, known.token, "key-repeated")
                assert json.loads(answer.body)["limits"]["sessions_left_today"] == 1
            minter = device.minter(known)
            for _ in range(2):  # the second is the same report again
                await minter.report(session_id, duration_s=99, reason="idle", usage={})
            assert (await rig.ask(device, known.token)).status == 201
            rig.clock.now_s += 60
            midnight_s = 86_400 - rig.clock.now_s % 86_400
            assert told(await rig.ask(device, known.token)) == (429, "quota_exceeded", f"{midnight_s:.0f}")
            rig.clock.now_s += midnight_s
            session_id = json.loads((await rig.ask(device, known.token)).body)["session_id"]
            await minter.report(session_id, duration_s=100, reason="idle", usage={})
            rig.clock.now_s += 60
            assert told(await rig.ask(device, known.token))[:2] == (429, "quota_exceeded")
            outcomes = running.query("select outcome, count(*) from mints group by outcome order by outcome")
            assert outcomes == [("minted", 9), ("quota_exceeded", 3), ("upstream_unavailable", 1)]

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


@pytest.mark.usefixtures("store")
def test_asking_over_the_quota_fills_no_disk_and_its_proofs_stay_used(tmp_path: Path, capsys: Capsys) -> None:
    async def story(upstream: FakeUpstream) -> None:
        rig = await asyncio.to_thread(Rig, tmp_path, capsys, upstream, "[profiles.default.limits]\nper_day = 0\n")
        async with service(rig.data, rig.clock) as running:
            device = Device(tmp_path / "device", running.url)
            known = await device.enrol(rig.token)
            for _ in range(3):
                assert (await rig.ask(device, known.token)).status == 201
            for _ in range(20):
                assert (await rig.ask(device, known.token)).status == 429
            kept = device.proof("/v1/sessions", access_token=known.token)
            assert (await device.ask_session(known.token, proof=kept, key="key-over-quota")).status == 429
            refused = "select count(*) from mints where outcome = 'quota_exceeded'"
            assert running.query(refused) == [(1,)]
            rig.clock.now_s += 60
            assert (await rig.ask(device, known.token)).status == 201
            again = await device.ask_session(known.token, proof=kept, key="key-that-is-new")
            assert told(again)[:2] == (401, "invalid_dpop_proof")
            for _ in range(6):
                await rig.ask(device, known.token)
            assert running.query(refused) == [(2,)]

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


@pytest.mark.usefixtures("store")
def test_the_fleet_is_kept_to_what_the_provider_allows(tmp_path: Path, capsys: Capsys) -> None:
    async def story(upstream: FakeUpstream) -> None:
        rig = await asyncio.to_thread(Rig, tmp_path, capsys, upstream, "[fleet]\nmints_per_s = 2\n")
        async with service(rig.data, rig.clock) as running:
            device = Device(tmp_path / "device", running.url)
            known = await device.enrol(rig.token)
            for _ in range(2):
                assert (await rig.ask(device, known.token)).status == 201
            answers = [told(await rig.ask(device, known.token)) for _ in range(3)]
            assert {answer[:2] for answer in answers} == {(503, "overloaded")}
            assert all(1 <= int(answer[2]) <= 6 for answer in answers)
            rig.clock.now_s += 0.5
            assert (await rig.ask(device, known.token)).status == 201  # the refused were not charged
            assert len(upstream.minted) == 3

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_a_clock_set_back_does_not_stop_the_fleet(store: Store, tmp_path: Path) -> None:
    async def story() -> None:
        (tmp_path / "data").mkdir(exist_ok=True)
        await database.upgrade(store)
        async with database_of(store) as engine:
            bucket = ProviderBucket(engine, 1.0)
            assert await bucket.take(NOON_MS) == 0
            assert await bucket.take(NOON_MS) == 1_000
            hour_ago_ms = NOON_MS - 3_600_000
            assert bucket.wait_ms(hour_ago_ms) == 0
            assert 0 <= await bucket.take(hour_ago_ms) <= 1_000
            assert await bucket.take(hour_ago_ms + 1_000) == 0

    asyncio.run(story())


def test_replicas_share_what_the_provider_allows(store: Store, tmp_path: Path) -> None:
    make_data(tmp_path, "http://127.0.0.1:1")

    async def story() -> None:
        async with database_of(store) as one, database_of(store) as two:
            buckets = [ProviderBucket(one, 100.0), ProviderBucket(two, 100.0)]
            now_ms, granted = NOON_MS, 0
            for _ in range(100):  # a second, 600 asked, a full bucket of 100 and 100 that flow in
                now_ms += 10
                waits: list[Any] = await asyncio.gather(*(buckets[at % 2].take(now_ms) for at in range(6)))
                granted += waits.count(0)
            assert 150 <= granted <= 200
            assert await ProviderBucket(one, 100.0).take(now_ms + 60_000) == 0
            assert await ProviderBucket(two, 100.0).take(NOON_MS - 10 * DAY_MS) == 0

    asyncio.run(story())
