"""A device's own functions beside a profile's tools: what the service takes, binds, and refuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliance.credentials.enrolment import Enrolment
from appliance.provisioning.declarations import LONGEST, MOST, Declaration, joined
from tests.fakes.realtime_server import RealtimeServer
from tests.fakes.upstream import Answer, FakeUpstream
from tests.provisioning.running import Device, Running, command, enrolment_token, make_data, service
from tests.provisioning.test_telling import HOUSE, KITCHEN, MCP, TIME, asked, keep, owners

Capsys = pytest.CaptureFixture[str]
Story = Callable[[Running, Device, Enrolment, FakeUpstream], Awaitable[None]]
TIMER: dict[str, Any] = {
    "type": "function",
    "name": "set_timer",
    "description": "Rings.",
    "parameters": {"type": "object", "properties": {"seconds": {"type": "integer"}}},
}
THEIRS = {"type": "function", "name": "get_time", "description": "The profile's.", "parameters": {}}


def run(tmp_path: Path, capsys: Capsys, profile: dict[str, Any], story: Story) -> None:
    """A service with this profile, and a device that has it."""

    async def told(provider: FakeUpstream) -> None:
        data = await asyncio.to_thread(make_data, tmp_path, provider.url, HOUSE)
        await asyncio.to_thread(keep, data, "kitchen", profile)
        token = await asyncio.to_thread(enrolment_token, data, capsys, "--profile", "kitchen")
        async with service(data) as running:
            device = Device(tmp_path / "device", running.url)
            await story(running, device, await device.enrol(token), provider)

    with FakeUpstream() as provider:
        asyncio.run(told(provider))


def body(*tools: object) -> bytes:
    return json.dumps({"tools": tools}).encode()


@pytest.mark.usefixtures("store")
def test_both_are_bound_and_the_profiles_names_win(tmp_path: Path, capsys: Capsys) -> None:
    async def story(_: Running, device: Device, known: Enrolment, provider: FakeUpstream) -> None:
        granted = json.loads((await device.ask_session(known.token, body=body(TIME, TIMER))).body)
        assert provider.asked[-1].body["session"]["tools"] == [MCP, THEIRS, TIMER]
        assert granted["tools"] == "bound"
        assert "secret-of-mcp" not in json.dumps(granted)
        # A repeat under the same key binds them again; a device that declares none gets the profile's.
        await device.ask_session(known.token, body=body(TIMER))
        assert provider.asked[-1].body["session"]["tools"] == [MCP, THEIRS, TIMER]
        granted = json.loads((await device.ask_session(known.token, key="key-00000002")).body)
        assert provider.asked[-1].body["session"]["tools"] == [MCP, THEIRS]
        assert granted["tools"] == "bound"

    run(tmp_path, capsys, {**KITCHEN, "tools": [MCP, THEIRS]}, story)


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("changed", [{}, {"upstream": "house", "tools": [MCP]}])
def test_without_tools_of_its_own_or_without_minting_nothing_is_bound(
    tmp_path: Path, capsys: Capsys, changed: dict[str, Any]
) -> None:
    async def story(_: Running, device: Device, known: Enrolment, provider: FakeUpstream) -> None:
        granted = json.loads((await device.ask_session(known.token, body=body(TIMER))).body)
        assert "tools" not in granted
        assert all("tools" not in request.body["session"] for request in provider.asked)

    run(tmp_path, capsys, {**KITCHEN, **changed}, story)


@pytest.mark.usefixtures("store")
def test_what_is_no_function_of_a_device_is_refused(tmp_path: Path, capsys: Capsys) -> None:
    wrong: list[object] = [
        "tools",
        {},
        [7],
        [MCP],
        [{"type": "function"}],
        [{**TIMER, "name": ""}],
        [{**TIMER, "name": "x" * 65}],
        [{**TIMER, "name": "a b"}],
        [{**TIMER, "name": "a\n"}],
        [{**TIMER, "name": "é"}],
        [{**TIMER, "description": 7}],
        [{**TIMER, "parameters": []}],
        [{**TIMER, "parameters": None}],
        [{**TIMER, "description": "x" * LONGEST}],
        [{**TIMER, "parameters": {"a": "x" * LONGEST}}],
        [{**TIMER, "name": f"n{number}"} for number in range(MOST + 1)],
    ]

    async def story(running: Running, device: Device, known: Enrolment, provider: FakeUpstream) -> None:
        for tools in wrong:
            refused = await device.ask_session(known.token, body=json.dumps({"tools": tools}).encode())
            assert (refused.status, json.loads(refused.body)["code"]) == (400, "invalid_request"), tools
            assert b"Rings" not in refused.body
        assert running.query("select count(*) from mints") == [(0,)], "nothing is charged"
        assert provider.asked == []
        most = [{**TIMER, "name": f"{'n' * 62}{number:02}", "description": ""} for number in range(MOST)]
        assert (await device.ask_session(known.token, body=json.dumps({"tools": most}).encode())).status == 201

    run(tmp_path, capsys, {**KITCHEN, "tools": [MCP]}, story)


def test_functions_nested_however_deep_break_nothing(tmp_path: Path, capsys: Capsys) -> None:
    async def story(_: Running, device: Device, known: Enrolment, provider: FakeUpstream) -> None:
        for depth in (5_000, 950, 400, 100):
            nested = b'{"a":' * depth + b"1" + b"}" * depth
            tools = b'{"tools": [{"type": "function", "name": "n", "parameters": ' + nested + b"}]}"
            provider.script.append(Answer())  # the fake reads what it can: it is the service that must not break
            answer = await device.ask_session(known.token, body=tools, key=f"key-{depth:08}")
            assert answer.status in (201, 400, 502)

    run(tmp_path, capsys, {**KITCHEN, "tools": [MCP]}, story)


def test_of_two_functions_with_one_name_the_first_stands() -> None:
    declared = [Declaration("function", "a", "1"), Declaration("function", "b"), Declaration("function", "a", "2")]
    assert joined([{"type": "mcp"}, "odd"], declared) == [{"type": "mcp"}, "odd", declared[0], declared[1]]
    assert joined([{"name": "a"}], declared) == [{"name": "a"}, declared[1]]
    assert msgspec.json.encode(declared[1]) == b'{"type":"function","name":"b","description":"","parameters":{}}'


def test_doctor_says_where_tools_cannot_be_bound(tmp_path: Path, capsys: Capsys) -> None:
    with FakeUpstream() as provider:
        data = make_data(tmp_path, provider.url, HOUSE)
        keep(data, "kitchen", {**KITCHEN, "tools": [MCP]})
        keep(data, "house", {**KITCHEN, "upstream": "house"})
        command("doctor", "--data", str(data))
        assert "have no effect" not in capsys.readouterr().out
        keep(data, "house", {**KITCHEN, "upstream": "house", "tools": [MCP]})
        assert command("doctor", "--data", str(data)) == 1
        assert "profile house: its tools have no effect" in capsys.readouterr().out


def test_a_device_leaves_bound_tools_alone_in_each_of_its_sessions(tmp_path: Path, capsys: Capsys) -> None:
    async def story(provider: FakeUpstream) -> None:
        data = await asyncio.to_thread(make_data, tmp_path, provider.url)
        await asyncio.to_thread(keep, data, "kitchen", {**KITCHEN, "tools": [MCP]})
        tokens = [
            await asyncio.to_thread(enrolment_token, data, capsys, "--profile", profile)
            for profile in ("kitchen", "default")
        ]
        async with service(data) as running, RealtimeServer() as server:
            sessions = await asked(owners(tmp_path / "bound", running.url, tokens[0]), server, sessions=2)
            assert [("tools" in session) for session in sessions] == [False, False]
            assert [request.body["session"]["tools"] for request in provider.asked] == [[MCP, TIME], [MCP, TIME]]
            (*_, plain) = await asked(owners(tmp_path / "plain", running.url, tokens[1]), server)
            assert plain["tools"] == [TIME]
            assert "tools" not in provider.asked[-1].body["session"]

    with FakeUpstream() as provider:
        asyncio.run(story(provider))
