"""An enrolment in the background, in virtual time, against a service that is the test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from appliance.conversation.events import ENROLMENT_PENDING, Enrolled, EnrolmentEnded
from appliance.credentials.enrolment import Enrolment
from appliance.credentials.grant import Waiting
from appliance.enrolling import Enroller
from appliance.errors import ProvisioningError, Secret, StateError
from tests.virtual_time import run

DONE = Enrolment("http://a", "d_x", Secret("vdt_x"))
CODE = Waiting("019-450-730", "http://a/activate", 600.0)


class Trial:
    """The service: it tells a code if it has one, and ends when ``outcome`` does."""

    def __init__(self) -> None:
        self.code: Waiting | None = CODE
        self.begun = 0
        self.outcome: asyncio.Future[Enrolment] = asyncio.get_running_loop().create_future()
        self.told: list[Enrolled | EnrolmentEnded] = []
        self.enroller = Enroller(self._enrol, asyncio.get_running_loop().create_task, self.told.append)

    async def _enrol(self, told: Callable[[Waiting], None]) -> Enrolment:
        self.begun += 1
        await asyncio.sleep(0.2)
        if self.code is not None:
            told(self.code)
        return await self.outcome

    def status(self) -> dict[str, object] | None:
        return self.enroller.status(asyncio.get_running_loop().time())


def play(story: Callable[[Trial], Coroutine[Any, Any, None]]) -> None:
    async def told() -> None:
        await story(Trial())

    run(told())


async def pending(at: Trial) -> ProvisioningError:
    with pytest.raises(ProvisioningError) as waits:
        await at.enroller.obtain()
    assert waits.value.code == ENROLMENT_PENDING
    return waits.value


def test_a_code_waits_in_the_background_and_every_press_hears_the_same(caplog: pytest.LogCaptureFixture) -> None:
    async def story(at: Trial) -> None:
        caplog.set_level("INFO", "appliance")
        error = await pending(at)
        assert "019-450-730" in error.message
        assert error.hint == "`voice-provisioning approve 019-450-730`, or at http://a/activate"
        await asyncio.sleep(100)
        await pending(at)
        assert at.begun == 1
        assert at.status() == {
            "state": "waiting",
            "code": "019-450-730",
            "url": "http://a/activate",
            "expires_s": 500,
        }
        assert len(caplog.records) == 1, "one line in the journal"
        at.outcome.set_result(DONE)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert at.told == [Enrolled()]
        assert at.status() is None

    play(story)


def test_a_key_that_is_known_needs_no_code() -> None:
    async def story(at: Trial) -> None:
        at.code = None
        at.outcome.set_result(DONE)
        assert await at.enroller.obtain() == DONE
        assert at.told == []

    play(story)


def test_a_code_that_another_command_has_replaced_is_over() -> None:
    async def story(at: Trial) -> None:
        await pending(at)
        at.outcome.set_exception(ProvisioningError("unknown", code="invalid_grant"))
        await asyncio.sleep(0.1)
        assert at.told == [EnrolmentEnded("expired_token")]

    play(story)


@pytest.mark.parametrize("error", [ProvisioningError("no", code="expired_token"), StateError("disk full")])
def test_a_code_that_comes_to_nothing_is_told_and_the_next_press_gets_another(error: Exception) -> None:
    async def story(at: Trial) -> None:
        await pending(at)
        at.outcome.set_exception(error)
        await asyncio.sleep(0.1)
        assert at.told == [EnrolmentEnded(getattr(error, "code", "local_file"))]
        assert at.enroller.ended == str(error)
        at.outcome = asyncio.get_running_loop().create_future()
        at.code = Waiting("111-222-333", "", 600.0)
        assert "111-222-333" in str(await pending(at))
        assert at.enroller.ended == ""
        at.enroller.close()

    play(story)


def test_a_refusal_before_any_code_is_the_presss_own() -> None:
    async def story(at: Trial) -> None:
        at.code = None
        at.outcome.set_exception(ProvisioningError("down", code="unreachable", retry=True, retry_after_s=7))
        with pytest.raises(ProvisioningError) as refused:
            await at.enroller.obtain()
        assert (refused.value.code, refused.value.retry, refused.value.retry_after_s) == ("unreachable", True, 7)
        assert at.told == []

    play(story)


def test_a_press_that_is_given_up_does_not_end_it() -> None:
    async def story(at: Trial) -> None:
        press = asyncio.ensure_future(at.enroller.obtain())
        await asyncio.sleep(0.1)
        press.cancel()
        await asyncio.sleep(0.2)
        await pending(at)
        assert at.begun == 1
        at.enroller.close()
        await asyncio.sleep(0)
        assert at.told == [], "closing is quiet"

    play(story)
