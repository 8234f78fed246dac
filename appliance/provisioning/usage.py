"""What the fleet used: sessions, seconds, tokens and cost per device and day. Reads only.

Sessions are counted by us; seconds, tokens and cost are what devices report, and a device may keep silent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Table, func, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.provisioning.schema import MINTS, REPORTS

DAY_MS = 86_400_000


class Used(msgspec.Struct):
    """What was used in a time, a day or longer; ``cost_usd`` is None where no report named a price."""

    day: int = 0  # days since 1970, UTC; the first one of a longer time
    device_id: str = ""  # empty for all of them
    sessions: int = 0
    seconds: float = 0.0
    tokens: int = 0
    cost_usd: float | None = None


async def per_day(
    connection: AsyncConnection, *, from_ms: int, until_ms: int, device_id: str | None = None
) -> list[Used]:
    """Each device's days between two moments, by day and device; days without use are left out."""
    condition = _anything if device_id is None else _of([device_id])
    found = await _sums(connection, from_ms, until_ms, condition, by_day=True, by_device=True)
    return sorted(found, key=lambda used: (used.day, used.device_id))


async def of_devices(
    connection: AsyncConnection, device_ids: Sequence[str], *, from_ms: int, until_ms: int
) -> dict[str, Used]:
    """What some devices used between two moments, in all; those without use are left out."""
    found = await _sums(connection, from_ms, until_ms, _of(device_ids), by_day=False, by_device=True)
    return {used.device_id: used for used in found}


async def of_fleet(connection: AsyncConnection, *, from_ms: int, until_ms: int) -> Used:
    """What all devices together used between two moments."""
    (used,) = await _sums(connection, from_ms, until_ms, _anything, by_day=False, by_device=False) or [Used()]
    return used


_Condition = Callable[[Table], ColumnElement[bool]]


def _anything(_: Table) -> ColumnElement[bool]:
    return true()


def _of(device_ids: Sequence[str]) -> _Condition:
    return lambda table: table.c.device_id.in_(device_ids)


async def _sums(
    connection: AsyncConnection, from_ms: int, until_ms: int, condition: _Condition, *, by_day: bool, by_device: bool
) -> list[Used]:
    found: dict[tuple[int, str], Used] = {}

    async def rows(table: Table, which: ColumnElement[bool], *sums: ColumnElement[Any]) -> list[Any]:
        keys = [(table.c.at_ms // DAY_MS).label("day")] * by_day + [table.c.device_id] * by_device
        query = select(*keys, *sums).where(table.c.at_ms >= from_ms, table.c.at_ms < until_ms, which, condition(table))
        return list((await connection.execute(query.group_by(*keys))).mappings())

    def of_row(row: Any) -> Used:
        key = (row.get("day", from_ms // DAY_MS), row.get("device_id", ""))
        return found.setdefault(key, Used(day=key[0], device_id=key[1]))

    sessions = func.count(MINTS.c.session_id.distinct()).label("sessions")
    for row in await rows(MINTS, MINTS.c.outcome == "minted", sessions):
        of_row(row).sessions = row["sessions"]
    sums = [func.sum(REPORTS.c[name]).label(name) for name in ("duration_s", "tokens", "cost_usd")]
    for row in await rows(REPORTS, true(), *sums):
        used = of_row(row)
        used.seconds, used.tokens, used.cost_usd = row["duration_s"] or 0.0, int(row["tokens"] or 0), row["cost_usd"]
    return list(found.values())
