"""Provider failures, as the device gets to know them; and repeats under one Idempotency-Key."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from appliance.credentials.enrolment import Enrolment
from appliance.errors import ConfigError, ProvisioningError
from appliance.provisioning import abandoned, configuration, provider_http
from appliance.provisioning import upstream as upstreams
from appliance.provisioning.configuration import OpenAIProfile, StaticProfile
from appliance.provisioning.provider_http import Client, Reply
from tests.fakes.upstream import KEY, Answer, FakeUpstream
from tests.provisioning.running import Device, Running, enrolled, enrolment_token, make_data, service, store_section

pytestmark = pytest.mark.usefixtures("store")
Capsys = pytest.CaptureFixture[str]
Story = Callable[[Running, Device, Enrolment, FakeUpstream], Awaitable[None]]


def run(tmp_path: Path, capsys: Capsys, story: Story) -> None:
    async def told(upstream: FakeUpstream) -> None:
        async with enrolled(tmp_path, capsys, upstream) as (running, device, known):
            await story(running, device, known, upstream)

    with FakeUpstream() as upstream:
        asyncio.run(told(upstream))


def test_every_provider_failure_has_its_code(tmp_path: Path, capsys: Capsys) -> None:
    cases: list[tuple[Answer, str, bool, float | None]] = [
        (Answer.failure(401, "invalid_api_key"), "upstream_unavailable", True, None),
        (Answer.failure(403, "model_not_allowed"), "upstream_unavailable", True, None),
        (Answer.failure(400, "unknown_parameter"), "upstream_unavailable", True, None),
        (Answer.failure(429, "insufficient_quota"), "spend_limit", False, None),
        (Answer.failure(403, "billing_not_active"), "spend_limit", False, None),
        (Answer(402, b"Payment Required"), "spend_limit", False, None),
        (Answer.failure(429, "rate_limit_exceeded", retry_after="17"), "overloaded", True, 17),
        (Answer.failure(429, "rate_limit_exceeded", retry_after="6.2"), "overloaded", True, 7),
        (Answer.failure(429, "rate_limit_exceeded", retry_after="soon"), "overloaded", True, 5),
        (Answer(429, b"<html>"), "overloaded", True, 5),
        (Answer(500, b"oops"), "upstream_unavailable", True, None),
        (Answer(200, b"{}"), "upstream_unavailable", True, None),
        (Answer(200, b'{"value": "ek_\\u0000", "expires_at": 1}'), "upstream_unavailable", True, None),
        (Answer(200, b"\xff\xfe"), "upstream_unavailable", True, None),
        (Answer(302, b"", {"Location": "http://127.0.0.1:1/"}), "upstream_unavailable", True, None),
        (Answer(drop=True), "upstream_unavailable", True, None),
        (Answer(200, b"no gzip", {"Content-Encoding": "gzip"}), "upstream_unavailable", True, None),
        (
            Answer(200, gzip.compress(bytes(50_000_000)), {"Content-Encoding": "gzip"}),
            "upstream_unavailable",
            True,
            None,
        ),
    ]

    async def story(running: Running, device: Device, known: Enrolment, upstream: FakeUpstream) -> None:
        minter = device.minter(known)
        for answer, code, retry, retry_after_s in cases:
            upstream.script.append(answer)
            with pytest.raises(ProvisioningError) as refused:
                await minter.mint()
            found = (refused.value.code, refused.value.retry, refused.value.retry_after_s)
            assert found == (code, retry, retry_after_s), answer
        assert len(upstream.asked) == len(cases)  # none of these was asked twice
        outcomes = [outcome for (outcome,) in running.query("select outcome from mints order by at_ms")]
        assert outcomes == [code for _, code, _, _ in cases]

    run(tmp_path, capsys, story)


def test_a_provider_that_is_down(tmp_path: Path, capsys: Capsys, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        with socket.create_server(("127.0.0.1", 0)) as reserved:
            closed = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        data = await asyncio.to_thread(make_data, tmp_path, closed)
        token = await asyncio.to_thread(enrolment_token, data, capsys)
        async with service(data) as running:
            device = Device(tmp_path / "device", running.url)
            with pytest.raises(ProvisioningError) as refused:
                await device.minter(await device.enrol(token)).mint()
            assert refused.value.code == "upstream_unavailable"

    asyncio.run(story())
    assert "ConnectionRefusedError" in caplog.text


def test_a_repeated_key_is_one_session_with_fresh_secrets(tmp_path: Path, capsys: Capsys) -> None:
    async def story(running: Running, device: Device, known: Enrolment, upstream: FakeUpstream) -> None:
        upstream.script.append(Answer(500, b""))
        failed = await device.ask_session(known.token)
        assert failed.status == 502
        answers = [json.loads((await device.ask_session(known.token)).body) for _ in range(2)]
        assert answers[0]["session_id"] == answers[1]["session_id"]
        assert answers[0]["value"] != answers[1]["value"]
        counted = "select count(distinct session_id), count(*) from mints where outcome = 'minted'"
        assert running.query(counted) == [(1, 2)]
        fourth = await device.ask_session(known.token)
        assert (fourth.status, json.loads(fourth.body)["code"]) == (422, "idempotency_key_reused")
        other = json.loads((await device.ask_session(known.token, key="key-00000002")).body)
        assert other["session_id"] != answers[0]["session_id"]

    run(tmp_path, capsys, story)


def test_a_key_is_needed_and_is_the_devices_own(tmp_path: Path, capsys: Capsys) -> None:
    async def story(running: Running, device: Device, known: Enrolment, _: FakeUpstream) -> None:
        for key in ("", "short", "x" * 65, "with space 00"):
            assert (await device.ask_session(known.token, key=key)).status == 400
        token = await asyncio.to_thread(enrolment_token, running.data, capsys)
        other = Device(tmp_path / "other", running.url)
        others = await other.enrol(token)
        ours = json.loads((await device.ask_session(known.token)).body)
        theirs = json.loads((await other.ask_session(others.token)).body)
        assert ours["session_id"] != theirs["session_id"]

    run(tmp_path, capsys, story)


def test_a_report_nested_however_deep_breaks_nothing(tmp_path: Path, capsys: Capsys) -> None:
    async def story(_: Running, device: Device, known: Enrolment, __: FakeUpstream) -> None:
        session_id = json.loads((await device.ask_session(known.token)).body)["session_id"]
        path = f"/v1/sessions/{session_id}/report"
        for depth in (5_000, 950, 400, 100):
            headers = {
                "DPoP": device.proof(path, access_token=known.token),
                "Authorization": f"DPoP {known.token}",
                "Content-Type": "application/json",
            }
            usage = b'{"a":' * depth + b"1" + b"}" * depth
            body = b'{"duration_s": 1, "reason": "x", "usage": ' + usage + b"}"
            assert (await device.send(path, body=body, headers=headers)).status in (204, 400)

    run(tmp_path, capsys, story)


def test_a_static_server_gets_its_key_and_address(tmp_path: Path, capsys: Capsys) -> None:
    async def story() -> None:
        data = await asyncio.to_thread(make_data, tmp_path, "http://127.0.0.1:1")
        (tmp_path / "static.key").write_text("house-key")
        (data / "server.toml").write_text(
            '[profiles.default]\nkind = "static"\nurl = "ws://127.0.0.1:9/v1/realtime"\nmodel = "local"\n'
            f'key_file = "{tmp_path / "static.key"}"\nmax_session_s = 60\n'
            '[profiles.guests]\nkind = "static"\nurl = "wss://a.example"\nmodel = "b"\nkey = "other"\n'
            + store_section()
        )
        token = await asyncio.to_thread(enrolment_token, data, capsys)
        async with service(data) as running:
            device = Device(tmp_path / "device", running.url)
            minter = device.minter(await device.enrol(token))
            grant = await minter.mint()
            assert (grant.value, grant.url, grant.model) == ("house-key", "ws://127.0.0.1:9/v1/realtime", "local")
            assert (grant.expires_in_s, grant.limits.max_session_s) == (60, 60)
            for profile, transport, code in (
                ("guests", "websocket", "unknown_profile"),
                ("default", "webrtc", "unsupported_transport"),
            ):
                with pytest.raises(ProvisioningError) as refused:
                    await minter.mint(transport, profile)
                assert refused.value.code == code
            token = await asyncio.to_thread(enrolment_token, data, capsys, "--profile", "guests")
            guest = Device(tmp_path / "guest", running.url)
            minter = guest.minter(await guest.enrol(token))
            assert (await minter.mint()).value == (await minter.mint(profile="guests")).value == "other"

    asyncio.run(story())


@pytest.mark.parametrize(
    ("base_url", "connect_url"),
    [
        ("https://api.openai.com", "wss://api.openai.com/v1/realtime"),
        ("https://api.openai.com/v1", "wss://api.openai.com/v1/realtime"),
        ("https://api.openai.com/v1/", "wss://api.openai.com/v1/realtime"),
        ("http://127.0.0.1:9", "ws://127.0.0.1:9/v1/realtime"),
        ("https://gateway.example/openai/v1", "wss://gateway.example/openai/v1/realtime"),
    ],
)
def test_the_connect_address_follows_the_base(base_url: str, connect_url: str) -> None:
    async def story() -> None:
        async with contextlib.aclosing(Client()) as client:
            section = OpenAIProfile(base_url=base_url, api_key_file="k", session={"model": "m"})
            profile = configuration.from_file("x", "x", section)
            assert upstreams.OpenAIUpstream(section, profile, Path("k"), client).connect_url == connect_url

    asyncio.run(story())


def test_a_changed_key_file_needs_no_restart(tmp_path: Path, capsys: Capsys) -> None:
    async def story(_: Running, device: Device, known: Enrolment, __: FakeUpstream) -> None:
        minter, key_file = device.minter(known), tmp_path / "provider.key"
        key_file.unlink()
        with pytest.raises(ProvisioningError):
            await minter.mint()
        key_file.write_text(KEY)
        await minter.mint()

    run(tmp_path, capsys, story)


def test_a_static_key_can_stand_in_the_configuration() -> None:
    section = StaticProfile(url="wss://a", model="m", key="k")
    source = upstreams.StaticUpstream(section, configuration.from_file("x", "x", section), None)
    assert asyncio.run(source.mint("x")).value == "k"


class Flaky(Client):
    """Providers whose first connections do not come about."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures
        self.tried = 0

    async def post(self, url: str, headers: Mapping[str, str], content: bytes) -> Reply:
        self.tried += 1
        with socket.create_server(("127.0.0.1", 0)) as reserved:
            closed = f"http://127.0.0.1:{reserved.getsockname()[1]}/"
        return await super().post(closed if self.tried <= self.failures else url, headers, content)


@pytest.mark.parametrize(("failures", "minted"), [(0, True), (1, True), (2, False)])
def test_a_connection_that_does_not_come_about_is_tried_once_more(tmp_path: Path, failures: int, minted: bool) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(KEY)

    async def story(upstream: FakeUpstream) -> None:
        flaky = Flaky(failures)
        async with contextlib.aclosing(flaky) as client:
            section = OpenAIProfile(base_url=upstream.url, api_key_file="k", session={"model": "m"})
            source = upstreams.OpenAIUpstream(section, configuration.from_file("x", "x", section), key_file, client)
            if minted:
                assert (await source.mint("x")).value == upstream.minted[-1]
                assert flaky.tried == failures + 1
            else:
                with pytest.raises(upstreams.UpstreamError) as refused:
                    await source.mint("x")
                assert (refused.value.code, flaky.tried) == ("upstream_unavailable", 2)

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_a_provider_that_does_not_answer_in_time(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_http, "ANSWER_WITHIN_S", 0.2)

    async def story(_: Running, device: Device, known: Enrolment, upstream: FakeUpstream) -> None:
        upstream.script.append(Answer(delay_s=1))
        refused = await device.ask_session(known.token)
        assert (refused.status, json.loads(refused.body)["code"]) == (502, "upstream_unavailable")
        assert len(upstream.asked) == 1

    run(tmp_path, capsys, story)


@pytest.mark.parametrize("piece", [b"1\r\n \r\n", b"10000\r\n" + b" " * 65_536 + b"\r\n"], ids=["slow", "long"])
def test_a_provider_that_never_ends_its_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: bytes) -> None:
    """A byte now and then outlives every time limit between two bytes; a flood of them fills the memory."""
    (tmp_path / "k").write_text(KEY)
    sent, over = [0], asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while sent[0] < 100:
                writer.write(piece)
                await writer.drain()
                sent[0] += 1
                await asyncio.sleep(0.02)
        writer.transport.abort()
        over.set()

    async def story() -> None:
        server = await asyncio.start_server(drip, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, contextlib.aclosing(Client()) as client:
            section = OpenAIProfile(base_url=url, api_key_file="k", session={"model": "m"})
            profile = configuration.from_file("x", "x", section)
            source = upstreams.OpenAIUpstream(section, profile, tmp_path / "k", client)
            with pytest.raises(upstreams.UpstreamError) as refused:
                await source.mint("x")
            assert refused.value.code == "upstream_unavailable"
            assert sent[0] < 100, "it was not waited for to the end"
            await over.wait()

    monkeypatch.setattr(upstreams, "_WITHIN_S", 0.5)
    asyncio.run(story())


def test_the_whole_of_an_attempt_ends_before_it_is_taken_for_abandoned() -> None:
    """Else its charge were given back, and it were granted all the same."""
    assert upstreams._WITHIN_S * 1_000 <= abandoned.AFTER_MS / 2


def _listed(base_url: str) -> configuration.Profile:
    session = {"type": "realtime", "model": "one"}
    section = OpenAIProfile(base_url=base_url, api_key_file="k", session=session, fallback_models=("two", "three"))
    return configuration.from_file("profiles.default", "default", section)


@pytest.mark.parametrize("gone", [Answer.failure(404, "not_found"), Answer.failure(400, "model_not_found")])
def test_a_secret_is_minted_for_the_first_model_that_is_not_gone(tmp_path: Path, gone: Answer) -> None:
    (tmp_path / "k").write_text(KEY)

    async def story(upstream: FakeUpstream) -> None:
        async with contextlib.aclosing(Client()) as client:
            source = upstreams.OpenAIUpstream(
                OpenAIProfile(base_url=upstream.url, api_key_file="k", session={}),
                _listed(upstream.url),
                tmp_path / "k",
                client,
            )
            upstream.script += [gone]
            assert (await source.mint("x")).model == "two"
            assert [asked.body["session"]["model"] for asked in upstream.asked] == ["one", "two"]
            assert source.fallback_models == (), "a secret is good for its model alone"
            upstream.script += [gone, gone, gone]
            with pytest.raises(upstreams.UpstreamError) as refused:
                await source.mint("x")
            assert refused.value.code == "upstream_unavailable"
            upstream.script += [Answer.failure(500, "server_error")]
            with pytest.raises(upstreams.UpstreamError):
                await source.mint("x")
            assert upstream.asked[-1].body["session"]["model"] == "one", "only a model that is gone leads to the next"

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_a_static_server_lets_the_device_choose_from_the_list() -> None:
    section = StaticProfile(url="ws://127.0.0.1:1/v1/realtime", key="k", model="one", fallback_models=("two",))
    profile = configuration.from_file("profiles.default", "default", section)
    assert upstreams.StaticUpstream(section, profile, None).fallback_models == ("two",)


@pytest.mark.parametrize("models", [("",), tuple("abcdefghi")])
def test_a_list_of_models_is_short_and_has_names(models: tuple[str, ...]) -> None:
    section = StaticProfile(url="ws://127.0.0.1:1/v1/realtime", key="k", model="one", fallback_models=models)
    with pytest.raises(ConfigError, match="fallback_models"):
        configuration.from_file("profiles.default", "default", section)
