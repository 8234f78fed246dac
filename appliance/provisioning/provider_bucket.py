"""How many secrets all replicas together may ask of the provider: ``[fleet] mints_per_s``, off unless set.

Responsible for: the table fleet_bucket. A replica takes a fifth of a second's worth at a time, in a short
transaction of its own: replicas that queued on one row at every mint would be no faster than one. What is taken and
not used within a second lapses, so that the sum over replicas holds.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import msgspec
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from appliance.provisioning import database, limits
from appliance.provisioning.problems import RefusalError
from appliance.provisioning.schema import FLEET_BUCKET

_NAME = "all"
_LEASE_S = 0.2
_LEASE_LIFE_MS = 1_000
_RETRY_SPREAD_S = 5


class Lease(msgspec.Struct, frozen=True):
    """What a replica takes, and the bucket after it; ``wait_ms``: until one more can be had."""

    taken: int
    tokens: float
    filled_ms: int
    wait_ms: int


def lease(tokens: float, filled_ms: int, now_ms: int, per_s: float) -> Lease:
    """One replica's share of a bucket that held ``tokens`` at ``filled_ms``. Pure."""
    # Replicas' clocks differ a little: time that one has given out already is not given out again.
    set_back = filled_ms - now_ms > limits.CLOCKS_DIFFER_MS
    passed_ms = max(0, now_ms - filled_ms)
    tokens = min(max(1.0, per_s), tokens + passed_ms * per_s / 1_000)
    taken = min(int(tokens), max(1, math.ceil(per_s * _LEASE_S)))
    left = tokens - taken
    return Lease(taken, left, now_ms if set_back else max(filled_ms, now_ms), math.ceil((1 - left) * 1_000 / per_s))


def refusal(wait_ms: int, random: Callable[[], float]) -> RefusalError:
    """What a device is told for which nothing is left; all that were told one second would come back in one second."""
    wait_s = math.ceil(wait_ms / 1_000 + random() * _RETRY_SPREAD_S)
    return RefusalError(503, "overloaded", "the fleet asks for more than the provider allows", retry_after_s=wait_s)


class ProviderBucket:
    """This replica's share."""

    def __init__(self, engine: AsyncEngine, per_s: float) -> None:
        self._engine = engine
        self._per_s = per_s
        self._leased = 0
        self._leased_ms = 0
        self._empty_until_ms = 0
        self._asking = asyncio.Lock()

    def wait_ms(self, now_ms: int) -> int:
        """How long nothing is to be had, as far as is known without asking; 0 when it is worth asking."""
        wait_ms = self._empty_until_ms - now_ms
        # Longer than one takes to come: the clock was set back, and must not stop the fleet until it is late again.
        return wait_ms if self._per_s and 0 < wait_ms <= math.ceil(1_000 / self._per_s) else 0

    async def take(self, now_ms: int) -> int:
        """Takes leave for one mint: returns 0, or the milliseconds until it is worth asking again."""
        if not self._per_s:
            return 0
        async with self._asking:  # whoever waits here finds what the one before brought
            if not self._leased or not 0 <= now_ms - self._leased_ms < _LEASE_LIFE_MS:
                if wait_ms := self.wait_ms(now_ms):
                    return wait_ms
                self._leased, wait_ms = await self._lease(now_ms)
                self._leased_ms = now_ms
                if not self._leased:
                    self._empty_until_ms = now_ms + wait_ms
                    return wait_ms
            self._leased -= 1
            return 0

    async def _lease(self, now_ms: int) -> tuple[int, int]:
        table = FLEET_BUCKET
        by_name = table.c.name == _NAME
        async with database.unsynced(self._engine).begin() as connection:
            row = {"name": _NAME, "tokens": max(1.0, self._per_s), "filled_ms": now_ms}
            await database.add(connection, table, row)
            found = (await connection.execute(select(table).where(by_name).with_for_update())).one()
            share = lease(found.tokens, found.filled_ms, now_ms, self._per_s)
            changed = {"tokens": share.tokens, "filled_ms": share.filled_ms}
            await connection.execute(update(table).where(by_name).values(changed))
        return share.taken, share.wait_ms
