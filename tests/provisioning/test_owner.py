"""What the owner sees and steers: fleet, tokens, profiles, usage, audit; on both stores."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.errors import ApplianceError, ConfigError
from appliance.provisioning import audit, authorizations, devices, fleet, prices, profiles, settings, tokens, usage
from appliance.provisioning.configuration import OpenAISource
from appliance.provisioning.devices import Description
from appliance.provisioning.problems import RefusalError
from appliance.provisioning.proofs import Proof
from appliance.provisioning.schema import AUTHORIZATIONS, MINTS, REPORTS, SEEN_PROOFS
from appliance.provisioning.settings import Settings, Store
from appliance.realtime import models
from appliance.realtime.usage import Tokens, cost_usd
from tests.provisioning.running import database_of, make_data

NOW_MS = 20_000 * usage.DAY_MS + 5_000
THUMBPRINTS = ["A" * 42 + "A", "B" * 42 + "A"]
Story = Callable[[AsyncConnection, Settings], Awaitable[None]]


def run(store: Store, tmp_path: Path, story: Story) -> None:
    configured = settings.load(make_data(tmp_path, "http://127.0.0.1:1"))

    async def told() -> None:
        async with database_of(store) as engine, engine.begin() as connection:
            await story(connection, configured)

    asyncio.run(told())


async def admit(connection: AsyncConnection, thumbprint: str) -> str:
    description = Description(name="kitchen", hardware="pi", software="0.1")
    return await devices.admit(
        connection, thumbprint, description, profile="default", enrolment_token_id=None, now_ms=NOW_MS
    )


def test_devices_are_listed_renamed_and_steered(store: Store, tmp_path: Path) -> None:
    async def story(connection: AsyncConnection, _: Settings) -> None:
        one, two = [await admit(connection, thumbprint) for thumbprint in THUMBPRINTS]
        assert [row.id for row in await fleet.listed(connection)] == sorted([one, two])
        assert [row.id for row in await fleet.listed(connection, after_id=min(one, two))] == [max(one, two)]
        hostile = "'); DROP TABLE devices; -- <b>"
        await fleet.rename(connection, one, hostile, actor=audit.OWNER, now_ms=NOW_MS)
        assert (await fleet.get(connection, one)).name == hostile
        for name in ("", " ", "x" * 65, "a\x00b", "a\x1b[2J"):
            with pytest.raises(ConfigError):
                await fleet.rename(connection, one, name, actor=audit.OWNER, now_ms=NOW_MS)
        for word, status in (("suspend", "suspended"), ("resume", "active"), ("revoke", "revoked")):
            assert await fleet.set_status(connection, one, word, actor=audit.OWNER, now_ms=NOW_MS) == status
            assert (await fleet.get(connection, one)).status == status
        with pytest.raises(ApplianceError, match="is revoked"):
            await fleet.set_status(connection, one, "resume", actor=audit.OWNER, now_ms=NOW_MS)
        for refused in (
            fleet.get(connection, "d_no"),
            fleet.rename(connection, "d_no", "x", actor="x", now_ms=1),
            fleet.set_status(connection, "d_no", "revoke", actor="x", now_ms=1),
        ):
            with pytest.raises(ApplianceError, match="no device d_no"):
                await refused
        done = [(entry.action, entry.actor) for entry in await audit.entries(connection, subject=one)]
        assert done == [("revoke", "owner"), ("resume", "owner"), ("suspend", "owner"), ("rename", "owner")]

    run(store, tmp_path, story)


def test_tokens_end_by_use_time_and_word(store: Store, tmp_path: Path) -> None:
    async def story(connection: AsyncConnection, _: Settings) -> None:
        token = await tokens.create(connection, uses=1, expires_s=10, note="for the hall", actor="owner", now_ms=NOW_MS)
        (listed,) = await tokens.listed(connection)
        assert (listed.note, listed.uses_left, listed.usable(NOW_MS)) == ("for the hall", 1, True)
        found = await tokens.find(connection, token, NOW_MS)
        await tokens.spend(connection, found)
        with pytest.raises(RefusalError, match="used up"):
            await tokens.spend(connection, found)
        with pytest.raises(RefusalError, match="expired"):
            await tokens.find(connection, token, NOW_MS + 11_000)
        await tokens.revoke(connection, listed.id, actor="owner", now_ms=NOW_MS)
        with pytest.raises(RefusalError, match="revoked"):
            await tokens.find(connection, token, NOW_MS)
        with pytest.raises(ApplianceError, match="no living token"):
            await tokens.revoke(connection, listed.id, actor="owner", now_ms=NOW_MS)
        for wrong in ({"uses": 0}, {"expires_s": 0}, {"note": "\x00"}):
            with pytest.raises(ConfigError):
                await tokens.create(connection, **{"actor": "owner", "now_ms": 1, **wrong})  # type: ignore[arg-type]
        text = repr(await audit.entries(connection))
        assert token[4:] not in text
        assert listed.id in text

    run(store, tmp_path, story)


GUESTS = {
    "upstream": "default",
    "model": "gpt-realtime-2",
    "voice": "marin",
    "instructions": "Be short.",
    "tools": [{"type": "function", "name": "lamp"}],
    "session": {"audio": {"input": {"noise_reduction": None}}},
    "limits": {"per_day": 7},
}


def test_profiles_are_kept_beside_those_of_the_file(store: Store, tmp_path: Path) -> None:
    async def story(connection: AsyncConnection, configured: Settings) -> None:
        guests = profiles.parse(GUESTS)
        assert await profiles.put(connection, configured, "guests", guests, actor="owner", now_ms=1) == 1
        assert await profiles.put(connection, configured, "guests", guests, actor="owner", now_ms=2) == 2
        assert [item.name for item in await profiles.listed(connection, configured)] == ["default", "guests"]
        found = await profiles.get(connection, configured, "guests")
        assert found
        assert found.stored == guests
        assert found.profile
        assert found.profile.source == configured.sources["default"]
        assert found.profile.limits.per_day == 7
        assert found.profile.session == {
            "type": "realtime",
            "model": "gpt-realtime-2",
            "instructions": "Be short.",
            "tools": [{"type": "function", "name": "lamp"}],
            "audio": {"input": {"noise_reduction": None}, "output": {"voice": "marin"}},
        }
        # Its upstream leaves server.toml: it is still listed, with what is wrong.
        lone = msgspec.structs.replace(configured, sources={"x": OpenAISource(api_key_file="k")})
        broken = await profiles.get(connection, lone, "guests")
        assert broken
        assert broken.profile is None
        assert "no upstream default" in broken.fault
        device_id = await admit(connection, THUMBPRINTS[0])
        await fleet.set_profile(connection, device_id, "guests", actor="owner", now_ms=3)
        with pytest.raises(ApplianceError, match="1 device"):
            await profiles.remove(connection, configured, "guests", actor="owner", now_ms=3)
        await fleet.set_profile(connection, device_id, "default", actor="owner", now_ms=3)
        await profiles.remove(connection, configured, "guests", actor="owner", now_ms=3)
        with pytest.raises(ConfigError, match="there are: default"):
            await profiles.check_known(connection, configured, "guests")

    run(store, tmp_path, story)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("default", {}, "stands in server.toml"),
        ("a b", {}, "the name"),
        ("", {}, "the name"),
        ("x", {"upstream": "https://evil.example"}, "no upstream"),
        ("x", {"base_url": "https://evil.example"}, "base_url"),
        ("x", {"api_key_file": "/etc/shadow"}, "api_key_file"),
        ("x", {"model": ""}, "model"),
        ("x", {"session": {"model": "other"}}, "model"),
        ("x", {"session": {"audio": 7}}, "audio"),
        ("x", {"max_session_s": 0}, "max_session_s"),
        ("x", {"limits": {"per_minute": -1}}, "per_minute"),
        ("x", {"instructions": "x" * 70_000}, "longer"),
        ("x", {"tools": "none"}, "tools"),
    ],
)
def test_a_profile_that_cannot_be_used_is_not_kept(
    store: Store, tmp_path: Path, name: str, change: dict[str, Any], message: str
) -> None:
    async def story(connection: AsyncConnection, configured: Settings) -> None:
        with pytest.raises(ConfigError, match=message):
            await profiles.put(
                connection, configured, name, profiles.parse({**GUESTS, **change}), actor="owner", now_ms=1
            )
        assert len(await profiles.listed(connection, configured)) == 1

    run(store, tmp_path, story)


def test_usage_is_told_by_device_and_day(store: Store, tmp_path: Path) -> None:
    async def story(connection: AsyncConnection, _: Settings) -> None:
        one = await admit(connection, THUMBPRINTS[0])
        mint = {"device_id": one, "idempotency_key": "k", "profile": "default", "transport": "websocket"}
        for number, (session, outcome, at_ms) in enumerate(
            [("a", "minted", NOW_MS), ("a", "minted", NOW_MS), ("b", "overloaded", NOW_MS), ("c", "minted", 2 * NOW_MS)]
        ):
            row = {**mint, "jti_sha256": str(number), "session_id": session, "outcome": outcome, "at_ms": at_ms}
            await connection.execute(insert(MINTS).values(row))
        report = {"device_id": one, "reason": "idle", "usage": {}, "model": "m"}
        for session, tokens_used, cost in (("a", 10, 0.25), ("b", 5, None)):
            row = {**report, "session_id": session, "at_ms": NOW_MS, "tokens": tokens_used, "cost_usd": cost}
            await connection.execute(insert(REPORTS).values({**row, "duration_s": 30.0}))
        found = await usage.per_day(connection, from_ms=0, until_ms=2 * NOW_MS)
        assert found == [usage.Used(20_000, one, sessions=1, seconds=60.0, tokens=15, cost_usd=0.25)]
        assert len(await usage.per_day(connection, from_ms=0, until_ms=3 * NOW_MS, device_id=one)) == 2
        assert await usage.per_day(connection, from_ms=0, until_ms=3 * NOW_MS, device_id="d_no") == []

    run(store, tmp_path, story)


def test_the_audit_is_read_in_pages_and_cut_to_size(store: Store, tmp_path: Path) -> None:
    async def story(connection: AsyncConnection, _: Settings) -> None:
        for number in range(5):
            await audit.note(connection, "owner", "did", str(number), "x" * 999, now_ms=number)
        first = await audit.entries(connection, at_most=2)
        assert [entry.subject for entry in first] == ["4", "3"]
        rest = await audit.entries(connection, before_id=first[-1].id)
        assert [entry.subject for entry in rest] == ["2", "1", "0"]
        assert len(rest[0].detail) == 256

    run(store, tmp_path, story)


def test_a_price_is_what_the_device_thinks_it_is() -> None:
    assert prices.PRICES_OF == models.PRICES_OF
    assert {name: tuple(getattr(price, kind) for kind in prices.KINDS) for name, price in models.PRICES.items()} == {
        name: tuple(map(float, price)) for name, price in prices.PRICES.items()
    }
    counted = Tokens(text_in=500, text_cached=100, text_out=70, audio_in=9_000, audio_cached=20, audio_out=4_000)
    for model in ("gpt-realtime-2", "gpt-realtime-2.1-mini", "gpt-realtime-2025-08-28"):
        assert prices.cost_usd(counted.as_dict(), model) == pytest.approx(cost_usd(counted, model))
    assert prices.cost_usd(counted.as_dict(), "house-model") is None
    assert prices.cost_usd({"total_tokens": 5}, "gpt-realtime") is None
    assert prices.tokens(counted.as_dict()) == 13_570
    assert prices.tokens({"total_tokens": "5", "x": 3}) == 0


def test_what_is_used_up_is_forgotten(store: Store, tmp_path: Path) -> None:
    async def story(connection: AsyncConnection, _: Settings) -> None:
        described = Description(name="n", hardware="h", software="s")
        for number in range(250):
            proof = Proof(thumbprint="t", jti_sha256=f"old-{number}", nonce=None)
            await devices.remember(connection, proof, NOW_MS)
            await authorizations.open_one(connection, f"{number:043d}", described, None, NOW_MS)
        later_ms = NOW_MS + 10_000_000
        for number in range(3):
            await devices.remember(connection, Proof(thumbprint="t", jti_sha256=f"new-{number}", nonce=None), later_ms)
            await authorizations.open_one(connection, f"{number:043d}", described, None, later_ms)
        for table in (SEEN_PROOFS, AUTHORIZATIONS):
            assert (await connection.execute(select(func.count()).select_from(table))).scalar_one() == 3

    run(store, tmp_path, story)
