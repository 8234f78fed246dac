"""Enrolment against scripted services: every answer OAuth knows and some it does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.credentials import enrolment
from appliance.credentials.enrolment import Enrolment
from appliance.credentials.grant import Waiting
from appliance.credentials.http import HttpClient
from appliance.credentials.identity import Identity
from appliance.errors import ProvisioningError, Secret, StateError
from tests.credentials.server import Scripted, http, scripted

OPENED = http(
    200,
    {"device_code": "dc", "user_code": "019450730", "verification_uri": "http://v/", "expires_in": 60, "interval": 5},
)
GRANTED = http(200, {"access_token": "vdt_secret_token", "token_type": "DPoP", "device_id": "d_x", "new": 1})
PENDING = http(400, {"error": "authorization_pending"})
NONCE = http(400, {"error": "use_dpop_nonce"}, DPoP_Nonce="n1")


class Trial:
    def __init__(self, server: Scripted, directory: Path) -> None:
        self.server = server
        self.directory = directory
        self.slept: list[float] = []
        self.told: list[Waiting] = []

    def metadata(self, **changes: Any) -> bytes:
        url = self.server.url
        content = {
            "issuer": url,
            "device_authorization_endpoint": f"{url}/da",
            "token_endpoint": f"{url}/token",
            "revocation_endpoint": f"{url}/revoke",
            "dpop_signing_alg_values_supported": ["ES256"],
            "later_extension": {},
        }
        return http(200, {**content, **changes})

    async def enrol(self, *answers: bytes, token: str | None = "vet_x") -> Enrolment:
        self.server.answers = list(answers)

        async def sleep(delay_s: float) -> None:
            self.slept.append(delay_s)

        return await enrolment.enrol(
            self.server.url,
            Identity.load_or_create(self.directory),
            directory=self.directory,
            token=None if token is None else Secret(token),
            name="küche",
            hardware="virtual",
            software="1",
            client=HttpClient(timeout_s=2),
            now=lambda: 0.0,
            sleep=sleep,
            told=self.told.append,
        )


def run(tmp_path: Path, story: Callable[[Trial], Awaitable[None]]) -> None:
    async def told() -> None:
        async with scripted() as server:
            await story(Trial(server, tmp_path))

    asyncio.run(told())


def test_it_waits_for_the_owner_and_slows_down_when_told(tmp_path: Path) -> None:
    async def story(trial: Trial) -> None:
        slow = http(400, {"error": "slow_down"})
        known = await trial.enrol(trial.metadata(), NONCE, OPENED, PENDING, slow, b"", PENDING, GRANTED)
        assert trial.slept == [5, 10, 15, 15]
        assert trial.told == [Waiting("019-450-730", "http://v/", 60)]
        assert known == Enrolment(trial.server.url, "d_x", Secret("vdt_secret_token"))
        assert enrolment.load(tmp_path) == known
        path = tmp_path / enrolment.FILE_NAME
        assert path.stat().st_mode & 0o777 == 0o600
        expected = {"issuer": trial.server.url, "device_id": "d_x", "token": "vdt_secret_token"}
        assert json.loads(path.read_text()) == expected
        assert "vdt_secret" not in repr(known)
        assert b"enrolment_token=vet_x" in trial.server.heard[2]
        enrolment.forget(tmp_path)
        assert enrolment.load(tmp_path) is None

    run(tmp_path, story)


def test_it_gives_up_when_the_code_expires(tmp_path: Path) -> None:
    async def story(trial: Trial) -> None:
        with pytest.raises(ProvisioningError) as refused:
            await trial.enrol(trial.metadata(), OPENED, *[PENDING] * 99)
        assert refused.value.code == "expired_token"
        assert sum(trial.slept) <= 60
        with pytest.raises(ProvisioningError) as refused:
            await trial.enrol(trial.metadata(), OPENED)  # and then the service is gone
        assert refused.value.code == "unreachable"
        assert enrolment.load(tmp_path) is None

    run(tmp_path, story)


def test_without_a_token_the_owner_is_told_a_code(tmp_path: Path) -> None:
    async def story(trial: Trial) -> None:
        for token in (None, ""):
            await trial.enrol(trial.metadata(), OPENED, PENDING, GRANTED, token=token)
            assert not any(b"enrolment_token" in heard for heard in trial.server.heard)
        assert [waiting.code for waiting in trial.told] == ["019-450-730"] * 2

    run(tmp_path, story)


def test_a_key_that_is_known_beforehand_needs_no_code(tmp_path: Path) -> None:
    async def story(trial: Trial) -> None:
        await trial.enrol(trial.metadata(), NONCE, OPENED, GRANTED, token=None)
        assert (trial.told, trial.slept) == ([], [])

    run(tmp_path, story)


def test_a_network_that_fails_meanwhile_is_waited_out(tmp_path: Path) -> None:
    """The code is told once, as soon as the service has said that it waits for the owner."""

    async def story(trial: Trial) -> None:
        await trial.enrol(trial.metadata(), OPENED, b"", PENDING, b"", PENDING, GRANTED, token=None)
        assert trial.slept == [10, 10, 15, 15]
        assert len(trial.told) == 1

    run(tmp_path, story)


def test_a_service_that_restarts_meanwhile_is_waited_out(tmp_path: Path) -> None:
    """The owner is about to type the code: it must not die of an answer that says nothing about it."""

    async def story(trial: Trial) -> None:
        busy = http(503, {"error": "temporarily_unavailable"}, Retry_After="12")
        answers = [busy, PENDING, http(502, b"<html>"), http(500, b"oops"), http(429, b""), PENDING, GRANTED]
        opened = http(200, {"device_code": "dc", "user_code": "019450730", "expires_in": 600})
        await trial.enrol(trial.metadata(), opened, *answers, token=None)
        assert trial.slept == [12, 10, 15, 20, 25, 25]
        assert len(trial.told) == 1
        with pytest.raises(ProvisioningError) as refused:
            await trial.enrol(trial.metadata(), opened, PENDING, http(503, b"", Retry_After="3600"), token=None)
        assert (refused.value.code, refused.value.retry_after_s) == ("temporarily_unavailable", 3600)

    run(tmp_path, story)


def test_a_code_is_digits_whatever_the_service_sends(tmp_path: Path) -> None:
    async def story(trial: Trial) -> None:
        opened = http(200, {"device_code": "dc", "user_code": "01 9\n45-0<b>730", "expires_in": 60})
        await trial.enrol(trial.metadata(), opened, PENDING, GRANTED, token=None)
        assert trial.told == [Waiting("019-450-730", "", 60)]
        with pytest.raises(ProvisioningError) as refused:
            await trial.enrol(trial.metadata(), http(200, {"device_code": "d", "user_code": "1", "expires_in": 0}))
        assert refused.value.code == "bad_answer"

    run(tmp_path, story)


def test_refusals_keep_their_codes(tmp_path: Path) -> None:
    async def story(trial: Trial) -> None:
        for code, retry in (
            ("access_denied", False),
            ("expired_token", True),
            ("invalid_grant", False),
            ("invalid_dpop_proof", False),
            ("temporarily_unavailable", True),
            ("something_new", False),
        ):
            for before in ([], [OPENED]):
                with pytest.raises(ProvisioningError) as refused:
                    await trial.enrol(trial.metadata(), *before, http(400, {"error": code}))
                assert (refused.value.code, refused.value.retry) == (code, retry)
                assert refused.value.hint
        with pytest.raises(ProvisioningError) as refused:
            await trial.enrol(trial.metadata(), http(400, {"error": "x\n\x1b[31m", "error_description": "vet_x"}))
        assert refused.value.code == "refused"

    run(tmp_path, story)


def test_a_service_that_always_wants_a_new_nonce_ends(tmp_path: Path) -> None:
    async def story(trial: Trial) -> None:
        with pytest.raises(ProvisioningError) as refused:
            await trial.enrol(trial.metadata(), NONCE, NONCE)
        assert refused.value.code == "use_dpop_nonce"
        assert len(trial.server.heard) == 3

    run(tmp_path, story)


def test_nonsense_is_a_bad_answer(tmp_path: Path) -> None:
    async def story(trial: Trial) -> None:
        login = http(200, b"<html>please log in vet_x</html>")
        nonsense: list[list[bytes]] = [
            [login],
            [http(302, b"", Location="http://10.0.0.1/")],
            [http(200, {"issuer": trial.server.url})],
            [trial.metadata(dpop_signing_alg_values_supported=["RS256"])],
            [trial.metadata(), login],
            [trial.metadata(), http(200, {"device_code": 7})],
            [trial.metadata(), http(500, b"\xff")],
            [trial.metadata(), OPENED, login],
            [trial.metadata(), OPENED, http(200, {"access_token": "a", "token_type": "Bearer", "device_id": "d"})],
            [trial.metadata(), OPENED, http(200, {"access_token": "é", "token_type": "DPoP", "device_id": "d"})],
        ]
        for answers in nonsense:
            with pytest.raises(ProvisioningError) as refused:
                await trial.enrol(*answers)
            assert (refused.value.code, refused.value.retry) == ("bad_answer", True), answers
            assert "vet_x" not in str(refused.value)

    run(tmp_path, story)


def test_another_issuer_or_an_unencrypted_endpoint_is_refused(tmp_path: Path) -> None:
    async def story(trial: Trial) -> None:
        with pytest.raises(ProvisioningError, match=r"\[provisioning\] url") as refused:
            await trial.enrol(trial.metadata(issuer="https://other.example"))
        assert refused.value.code == "wrong_issuer"
        with pytest.raises(ProvisioningError) as refused:
            await trial.enrol(trial.metadata(device_authorization_endpoint="http://evil.example/da"))
        assert refused.value.code == "bad_url"

    run(tmp_path, story)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"issuer": 1}', '{"issuer": "a", "device_id": "b"}', "é"])
def test_a_torn_enrolment_is_told(tmp_path: Path, content: str) -> None:
    path = tmp_path / enrolment.FILE_NAME
    path.write_text(content, encoding="latin-1")
    with pytest.raises(StateError, match=f"{path} is damaged; delete it"):
        enrolment.load(tmp_path)
