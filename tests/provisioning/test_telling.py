"""What a device is told of its profile, and that it then does as the profile says."""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from appliance import config
from appliance.provisioning.telling import _TOLD, told
from appliance.realtime.facts import Configured
from appliance.realtime.profile import FORMS
from appliance.realtime.protocol import Protocol
from appliance.realtime.session import Ticket
from appliance.tickets import Tickets
from appliance.translation import wishes_of
from tests.fakes.realtime_server import RealtimeServer, Script
from tests.fakes.upstream import FakeUpstream
from tests.provisioning.running import Device, command, enrolled, enrolment_token, make_data, service
from tests.realtime.link import Link

Capsys = pytest.CaptureFixture[str]
MCP = {"type": "mcp", "server_label": "home", "server_url": "https://mcp.example/", "authorization": "secret-of-mcp"}
TIME: dict[str, Any] = {"type": "function", "name": "get_time", "description": "Tells it.", "parameters": {}}
KITCHEN = {
    "upstream": "default",
    "model": "gpt-realtime-2",
    "voice": "cedar",
    "instructions": "You are the kitchen's.",
    "session": {"max_output_tokens": 200, "audio": {"output": {"speed": 1.25}}, "include": ["x"], "tracing": "auto"},
}
TOLD = {
    "instructions": "You are the kitchen's.",
    "max_output_tokens": 200,
    "audio": {"output": {"voice": "cedar", "speed": 1.25}},
}
HOUSE = '[upstreams.house]\nkind = "static"\nurl = "ws://127.0.0.1:9/v1/realtime"\nkey = "k"\n'


@pytest.mark.parametrize(
    ("session", "expected"),
    [
        ({}, {}),
        ({"type": "realtime", "model": "m", "tools": [MCP], "output_modalities": ["text"], "later": 1}, {}),
        ({"instructions": "", "audio": {}}, {"instructions": ""}),
        ({"audio": "loud", "prompt": None}, {"prompt": None}),
        (
            {"audio": {"input": {"turn_detection": None, "format": {}, "noise_reduction": None}, "output": 3}},
            {"audio": {"input": {"noise_reduction": None}}},
        ),
    ],
)
def test_a_device_is_told_what_it_may_set_and_nothing_secret(session: dict[str, Any], expected: dict[str, Any]) -> None:
    before = json.dumps(session)
    assert told(session) == expected
    assert json.dumps(session) == before


def keep(data: Path, name: str, content: dict[str, Any]) -> None:
    """Store a profile."""
    file = data.parent / f"{name}.json"
    file.write_text(json.dumps(content))
    assert command("profiles", "set", name, str(file), "--data", str(data)) == 0


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("upstream", ["default", "house"])
def test_the_grant_tells_the_profile_whatever_the_upstream(tmp_path: Path, capsys: Capsys, upstream: str) -> None:
    async def story(provider: FakeUpstream) -> None:
        data = await asyncio.to_thread(make_data, tmp_path, provider.url, HOUSE)
        await asyncio.to_thread(keep, data, "kitchen", {**KITCHEN, "upstream": upstream, "tools": [MCP]})
        token = await asyncio.to_thread(enrolment_token, data, capsys, "--profile", "kitchen")
        async with service(data) as running:
            device = Device(tmp_path / "device", running.url)
            known = await device.enrol(token)
            answer = await device.ask_session(known.token)
            assert json.loads(answer.body)["session"] == TOLD
            assert b"secret-of-mcp" not in answer.body

    with FakeUpstream() as provider:
        asyncio.run(story(provider))


@pytest.mark.usefixtures("store")
def test_a_profile_that_says_nothing_is_not_told(tmp_path: Path, capsys: Capsys) -> None:
    async def story(provider: FakeUpstream) -> None:
        async with enrolled(tmp_path, capsys, provider) as (_, device, known):
            assert "session" not in json.loads((await device.ask_session(known.token)).body)

    with FakeUpstream() as provider:
        asyncio.run(story(provider))


def test_a_static_profile_of_the_file_can_say_its_session(tmp_path: Path, capsys: Capsys) -> None:
    house = (
        '[profiles.house]\nkind = "static"\nurl = "ws://127.0.0.1:9/v1/realtime"\nmodel = "m"\nkey = "k"\n'
        '[profiles.house.session]\ninstructions = "Be the house."\n'
    )

    async def story(provider: FakeUpstream) -> None:
        data = await asyncio.to_thread(make_data, tmp_path, provider.url, house)
        token = await asyncio.to_thread(enrolment_token, data, capsys, "--profile", "house")
        async with service(data) as running:
            device = Device(tmp_path / "device", running.url)
            grant = await device.minter(await device.enrol(token)).mint()
            assert (grant.model, grant.session) == ("m", {"instructions": "Be the house."})

    with FakeUpstream() as provider:
        asyncio.run(story(provider))


def test_the_longest_profile_fits_into_a_grant_that_a_device_takes(tmp_path: Path, capsys: Capsys) -> None:
    async def story(provider: FakeUpstream) -> None:
        words = "x" * 65_300
        data = await asyncio.to_thread(make_data, tmp_path, provider.url)
        await asyncio.to_thread(keep, data, "long", {**KITCHEN, "instructions": words})
        token = await asyncio.to_thread(enrolment_token, data, capsys, "--profile", "long")
        async with service(data) as running:
            device = Device(tmp_path / "device", running.url)
            session = (await device.minter(await device.enrol(token)).mint()).session
            assert isinstance(session, dict)
            assert session["instructions"] == words

    with FakeUpstream() as provider:
        asyncio.run(story(provider))


# --- the whole way: service, device, Realtime server ---


def owners(directory: Path, url: str, token: str, more: str = "") -> config.Loaded:
    """A device's configuration as its owner wrote it."""
    directory.mkdir()
    (directory / "token").write_text(token)
    path = directory / "appliance.toml"
    path.write_text(
        f'board = "virtual"\n[provisioning]\nurl = "{url}"\nenrolment_token_file = "{directory / "token"}"\n'
        f'[state]\ndirectory = "{directory / "state"}"\n{more}'
    )
    return config.load(path)


async def asked(loaded: config.Loaded, server: RealtimeServer, sessions: int = 1) -> list[dict[str, Any]]:
    """The session objects that a device with this configuration asks the server for."""
    tickets = Tickets(loaded.config, tools=(TIME,))
    link = Link(server.url)
    link.protocol = Protocol(wishes_of(loaded, (TIME,)), (f"va_{n}" for n in itertools.count()))

    async def mint() -> Ticket:
        return replace(await tickets.mint(), url=server.url)

    link.mint = mint
    async with link:
        for number in range(sessions):
            link.session.open()
            assert isinstance(await link.end(number + 1), Configured)
            link.session.close()
    tickets.close()
    return [event["session"] for event in server.of("session.update")]


def test_a_profile_is_heard_by_the_model_unless_the_owner_wrote_otherwise(tmp_path: Path, capsys: Capsys) -> None:
    more = '[realtime]\nvoice = "ash"\nspeed = 0.9\nturn_detection = "server_vad"\n'

    async def story(provider: FakeUpstream) -> None:
        data = await asyncio.to_thread(make_data, tmp_path, provider.url)
        await asyncio.to_thread(keep, data, "kitchen", KITCHEN)
        token = await asyncio.to_thread(enrolment_token, data, capsys, "--uses", "2", "--profile", "kitchen")
        async with service(data) as running, RealtimeServer() as server:
            first, again = await asked(owners(tmp_path / "plain", running.url, token), server, sessions=2)
            assert first == again
            assert first["instructions"] == provider.asked[-1].body["session"]["instructions"] == TOLD["instructions"]
            assert (first["audio"]["output"]["voice"], first["max_output_tokens"]) == ("cedar", 200)
            server.begin(Script())
            (written,) = await asked(owners(tmp_path / "written", running.url, token, more), server)
            assert written["instructions"] == TOLD["instructions"]
            assert written["audio"]["output"].items() >= {"voice": "ash", "speed": 0.9}.items()
            assert written["max_output_tokens"] == 200

    with FakeUpstream() as provider:
        asyncio.run(story(provider))


def test_a_device_takes_whatever_it_is_told() -> None:
    """The list stands twice: a service shares nothing with the device but its errors."""
    assert set(_TOLD) == set(FORMS)
