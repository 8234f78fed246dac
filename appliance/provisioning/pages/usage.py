"""What the whole fleet used: plots of 30 or 90 days.

Responsible for: this page, and not keeping devices waiting for it: days are counted one by one, each in a moment of
its own, and a past day once per process.
"""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from appliance.provisioning import prices, usage
from appliance.provisioning.pages import plots, rendering
from appliance.provisioning.pages.guard import PageRoute
from appliance.provisioning.pages.visits import Reading
from appliance.provisioning.service import Service
from appliance.provisioning.usage import DAY_MS, Used

router = APIRouter(prefix="/usage", route_class=PageRoute)

CHOICES = (30, 90)
_PATIENCE_S = 2.0
_SETTLED_MS = 600_000  # a session asked for before midnight may be granted after it


class CountedDays:
    """The fleet's past days, which do not change any more. Kept in memory: a new process counts again."""

    def __init__(self) -> None:
        self._days: dict[int, Used] = {}

    async def last(self, service: Service, count: int) -> tuple[dict[int, Used], int]:
        """The last days up to today, and how many of the oldest there was no time for."""
        started_s = service.now()
        now_ms = service.now_ms()
        today = now_ms // DAY_MS
        found: dict[int, Used] = {}
        # Not those to come either: a clock that was ahead for a while has counted them too early.
        self._days = {day: used for day, used in self._days.items() if today - max(CHOICES) < day < today}
        for day in range(today, today - count, -1):
            if service.now() - started_s > _PATIENCE_S:
                return found, count - len(found)
            known = self._days.get(day)
            if known is None:
                async with service.engine.begin() as connection:  # not a quick one: it may read much
                    known = await usage.of_fleet(connection, from_ms=day * DAY_MS, until_ms=(day + 1) * DAY_MS)
                if now_ms >= (day + 1) * DAY_MS + _SETTLED_MS:
                    self._days[day] = known
            found[day] = known
        return found, 0


@router.get("")
async def show(visit: Reading) -> Response:
    """The plots."""
    asked = visit.query("days", 4)
    count = next((choice for choice in CHOICES if asked == str(choice)), CHOICES[0])
    counted: CountedDays = visit.request.app.state.counted_days
    days, missing = await counted.last(visit.service, count)
    first_day = visit.now_ms // DAY_MS - count + 1
    return rendering.page(
        "usage.html",
        visit=visit,
        charts=plots.charts(days, first_day, count, missing),
        count=count,
        choices=CHOICES,
        prices_of=prices.PRICES_OF,
    )
