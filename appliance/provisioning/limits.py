"""What one device may use: a token bucket per minute, sessions per day, reported seconds per day.

Responsible for: the arithmetic, which is pure, and the table allowances. Each function runs in the caller's
transaction, in which `devices.authenticate` has locked the device's allowance.

A session is charged when it is asked for, not when the provider grants it: else a device could ask faster than it is
counted. What the provider refuses is given back.
"""

from __future__ import annotations

import math

import msgspec
from sqlalchemy import bindparam, select, update

from appliance.provisioning.configuration import Limits
from appliance.provisioning.quick import Transaction
from appliance.provisioning.schema import ALLOWANCES

DAY_MS = 86_400_000
CLOCKS_DIFFER_MS = 60_000  # replicas' clocks, at most
_ALMOST = 1e-6  # of a token: sums of floats must not make a device wait one more second


class Allowance(msgspec.Struct, frozen=True):
    """What a device has used, as stored; see the table's columns."""

    tokens: float
    filled_ms: int
    day: int
    sessions: int
    seconds: float


class Refused(msgspec.Struct, frozen=True):
    """No session now. ``after_ms`` is when the next one is really allowed, if none is asked for in between."""

    reason: str
    after_ms: int


def charged(allowance: Allowance, limits: Limits, now_ms: int) -> Allowance | Refused:
    """The allowance after one more session, or why there is none."""
    now = _as_of(allowance, limits, now_ms)
    per_ms = limits.per_minute / 60_000
    wait_ms = math.ceil((1 - now.tokens) / per_ms) if per_ms and now.tokens < 1 - _ALMOST else 0
    reason = "too many conversations in a minute" if wait_ms else ""
    if limits.per_day and now.sessions >= limits.per_day:
        reason = f"{limits.per_day} conversations today"
    elif limits.seconds_per_day and now.seconds >= limits.seconds_per_day:
        reason = f"{limits.seconds_per_day:.0f} seconds of conversation today"
    elif not wait_ms:
        return msgspec.structs.replace(now, tokens=max(0.0, now.tokens - 1), sessions=now.sessions + 1)
    else:
        return Refused(reason, wait_ms)
    return Refused(reason, max(wait_ms, (now.day + 1) * DAY_MS - now_ms))


def _as_of(allowance: Allowance, limits: Limits, now_ms: int) -> Allowance:
    """Filled up to now, and of today. A clock set back by much must not lock a device out until it is late again."""
    set_back = allowance.filled_ms - now_ms > CLOCKS_DIFFER_MS
    passed_ms = DAY_MS if set_back else max(0, now_ms - allowance.filled_ms)
    tokens = min(float(max(1, limits.burst)), max(0.0, allowance.tokens) + passed_ms * limits.per_minute / 60_000)
    today = now_ms // DAY_MS
    same = allowance.day == today
    return Allowance(
        tokens=tokens,
        filled_ms=now_ms if set_back else max(now_ms, allowance.filled_ms),
        day=today,
        sessions=allowance.sessions if same else 0,
        seconds=allowance.seconds if same else 0.0,
    )


def left_today(allowance: Allowance, limits: Limits, now_ms: int) -> int | None:
    """How many sessions more today, of an allowance that may be of an earlier day."""
    return sessions_left(_as_of(allowance, limits, now_ms), limits)


def sessions_left(allowance: Allowance, limits: Limits) -> int | None:
    """How many more on the allowance's own day; None where there is no such limit."""
    return max(0, limits.per_day - allowance.sessions) if limits.per_day else None


_OURS = ALLOWANCES.c.device_id == bindparam("of_device")
_LOCK = select(ALLOWANCES.c.day).where(_OURS).with_for_update()
_STORE = update(ALLOWANCES).where(_OURS).values({name: bindparam(name) for name in Allowance.__struct_fields__})
_GIVE_BACK = (
    update(ALLOWANCES).where(_OURS).values(tokens=ALLOWANCES.c.tokens + 1)  # the next filling cuts it to the burst
)
_GIVE_BACK_TODAY = (
    update(ALLOWANCES)
    .where(_OURS, ALLOWANCES.c.day == bindparam("of_day"), ALLOWANCES.c.sessions > 0)
    .values(sessions=ALLOWANCES.c.sessions - 1)
)


async def lock(connection: Transaction, device_id: str) -> None:
    """Keeps a device's other requests waiting until the transaction ends."""
    await connection.execute(_LOCK, {"of_device": device_id})


async def store(connection: Transaction, device_id: str, allowance: Allowance) -> None:
    """Keeps what `charged` came to."""
    await connection.execute(_STORE, {"of_device": device_id, **msgspec.structs.asdict(allowance)})


async def give_back(connection: Transaction, device_id: str, charged_ms: int) -> None:
    """Undoes one charge: the provider granted nothing."""
    await connection.execute(_GIVE_BACK, {"of_device": device_id})
    await connection.execute(_GIVE_BACK_TODAY, {"of_device": device_id, "of_day": charged_ms // DAY_MS})


async def add_seconds(
    connection: Transaction, device_id: str, allowance: Allowance, seconds: float, now_ms: int
) -> None:
    """Counts a reported session's length to the day of its report."""
    today = now_ms // DAY_MS
    used = (
        allowance if allowance.day == today else msgspec.structs.replace(allowance, day=today, sessions=0, seconds=0.0)
    )
    await store(connection, device_id, msgspec.structs.replace(used, seconds=used.seconds + seconds))
