"""When tickets ask their service: in virtual time, with a service that is the test."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import pytest

from appliance.config import Config, Provisioning, State
from appliance.credentials.mint import Grant, Limits, Minter
from appliance.errors import ProvisioningError, Secret
from appliance.realtime.session import Need, Ticket
from appliance.system import timesync
from appliance.tickets import CLOCK_WAIT_S, Tickets
from tests.virtual_time import run

GRANT = Grant("s1", Secret("ek_x"), 60, "ws://127.0.0.1:9/v1/realtime", "m", Limits())


class Service:
    """A minter that answers as it is told, and counts."""

    def __init__(self) -> None:
        self.refusal: ProvisioningError | None = None
        self.asked: list[float] = []
        self.reports: list[str] = []

    async def mint(self, transport: str, profile: str, tools: object) -> Grant:
        del transport, profile, tools
        self.asked.append(asyncio.get_running_loop().time())
        if self.refusal is not None:
            raise self.refusal
        return GRANT

    async def report(self, session_id: str, **_: object) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.reports.append(session_id)


def play(directory: Path, story: Callable[[Service, Tickets], Coroutine[Any, Any, None]]) -> None:
    async def told() -> None:
        config = Config(state=State(directory=str(directory)), provisioning=Provisioning(url="http://127.0.0.1:9"))
        tickets = Tickets(config, rng=random.Random(5))
        service = Service()
        tickets._minter = cast("Minter", service)
        await story(service, tickets)
        tickets.close()

    run(told(), start_s=0.0)


async def refused(tickets: Tickets, need: Need) -> ProvisioningError:
    with pytest.raises(ProvisioningError) as caught:
        await tickets.mint(need)
    return caught.value


def quota(wait_s: float) -> ProvisioningError:
    return ProvisioningError("used up", hint="wait", code="quota_exceeded", retry=True, retry_after_s=wait_s)


def test_a_press_within_the_devices_quota_is_told_without_asking(tmp_path: Path) -> None:
    async def story(service: Service, tickets: Tickets) -> None:
        service.refusal = quota(30)
        first = await refused(tickets, Need.PRESS)
        assert (first.code, first.retry, first.retry_after_s) == ("quota_exceeded", False, 30)
        await asyncio.sleep(12)
        for need in (Need.PRESS, Need.WAITING):
            error = await refused(tickets, need)
            assert (error.code, error.retry, error.retry_after_s) == ("quota_exceeded", False, 18)
            assert error.hint == "wait; for 18 s more nothing is asked"
        assert len(service.asked) == 1
        await asyncio.sleep(18)
        service.refusal = None
        assert (await tickets.mint(Need.PRESS)).session_id == "s1"

    play(tmp_path, story)


@pytest.mark.parametrize("code", ["overloaded", "upstream_unavailable", "unreachable", "device_suspended"])
def test_every_press_tries_what_may_have_passed(tmp_path: Path, code: str) -> None:
    async def story(service: Service, tickets: Tickets) -> None:
        service.refusal = ProvisioningError("no", code=code, retry=True, retry_after_s=60)
        for _ in range(3):
            await refused(tickets, Need.PRESS)
        assert len(service.asked) == 3

    play(tmp_path, story)


def test_by_itself_it_asks_rarely_though_it_is_reminded_every_minute(tmp_path: Path) -> None:
    """The conversation's timer ticks each minute in a fault; a day of that is a handful of questions, and the end."""

    async def story(service: Service, tickets: Tickets) -> None:
        service.refusal = ProvisioningError("suspended", code="device_suspended")
        await refused(tickets, Need.PRESS)
        for _ in range(24 * 60):
            await asyncio.sleep(60)
            error = await refused(tickets, Need.ITSELF)
            assert (error.code, error.retry) == ("device_suspended", False), "what is known is said again"
        assert len(service.asked) == 1 + 8
        assert 60 <= service.asked[1] <= 300 + 60
        service.refusal = None
        await refused(tickets, Need.ITSELF)
        assert isinstance(await tickets.mint(Need.PRESS), Ticket)
        tickets.opened()

    play(tmp_path, story)


def test_devices_refused_in_one_moment_do_not_ask_in_step_with_their_reminders(tmp_path: Path) -> None:
    """Asking at the first reminder after it is due would bring a fifth of all devices in one second."""

    async def story(service: Service, tickets: Tickets) -> None:
        service.refusal = ProvisioningError("suspended", code="device_suspended")
        await refused(tickets, Need.PRESS)
        while len(service.asked) == 1:
            await asyncio.sleep(60 - asyncio.get_running_loop().time() % 60)
            await refused(tickets, Need.ITSELF)
        assert service.asked[1] == tickets_due[0]
        assert service.asked[1] % 60 > 0

    tickets_due: list[float] = []

    async def noted(service: Service, tickets: Tickets) -> None:
        failed = tickets._pacing.failed

        def note(*arguments: Any, **options: Any) -> None:
            failed(*arguments, **options)
            tickets_due.append(tickets._pacing.due_s() or 0.0)

        tickets._pacing.failed = note  # type: ignore[method-assign]
        await story(service, tickets)

    play(tmp_path, noted)


def test_a_refusal_by_the_realtime_server_is_paced_like_one_of_the_service(tmp_path: Path) -> None:
    async def story(service: Service, tickets: Tickets) -> None:
        await tickets.mint(Need.PRESS)
        tickets.refused("invalid_api_key", "the key is refused")
        for _ in range(60):
            await asyncio.sleep(60)
            with contextlib.suppress(ProvisioningError):
                await tickets.mint(Need.ITSELF)
            tickets.refused("invalid_api_key", "the key is refused")  # of the ticket, or once more of the last answer
        assert 2 <= len(service.asked) <= 8

    play(tmp_path, story)


def test_reports_wait_for_a_quiet_moment_and_a_service_that_takes_them(tmp_path: Path) -> None:
    async def story(service: Service, tickets: Tickets) -> None:
        ticket = await tickets.mint()
        service.refusal = ProvisioningError("down", code="unreachable", retry=True)
        tickets.reports.ended(ticket, 10.0, "lost")
        tickets.deliver()
        await asyncio.sleep(3600)
        assert service.reports == []
        service.refusal = None
        await tickets.mint()
        await asyncio.sleep(3600)
        assert service.reports == [], "not while a person waits for a session, and not by a timer"
        tickets.deliver()
        await asyncio.sleep(0.1)
        assert service.reports == ["s1"]

    play(tmp_path, story)


def test_an_unset_clock_is_waited_for_before_the_next_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timesync, "_exists", lambda _: (tmp_path / "mark").exists())
    monkeypatch.setattr("appliance.tickets.time.time", lambda: asyncio.get_running_loop().time() - 1.8e9)

    async def story(service: Service, tickets: Tickets) -> None:
        service.refusal = ProvisioningError("not yet valid", code="clock_behind", retry=True)
        await refused(tickets, Need.PRESS)
        assert service.asked == [0.0], "the first try waits for nothing: the clock may be right"
        await refused(tickets, Need.WAITING)
        assert CLOCK_WAIT_S <= service.asked[1] <= CLOCK_WAIT_S + 1
        await refused(tickets, Need.PRESS)
        assert service.asked[2] == service.asked[1], "a press waits for nothing"
        again = asyncio.ensure_future(tickets.mint(Need.WAITING))
        await asyncio.sleep(1)
        service.refusal = None
        (tmp_path / "mark").touch()
        assert (await again).session_id == "s1"
        assert service.asked[3] - service.asked[2] < 2

    play(tmp_path, story)
