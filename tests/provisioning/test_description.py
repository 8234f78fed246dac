"""The published description and what the service really answers say the same."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from appliance.credentials.http import Response
from appliance.credentials.identity import Identity
from tests.fakes.upstream import Answer, FakeUpstream
from tests.provisioning.running import Device, Running, enrolment_token, make_data, service
from tests.provisioning.test_device_routes import change_key, read

Capsys = pytest.CaptureFixture[str]
GRANT = "urn:ietf:params:oauth:grant-type:device_code"
JSON_TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "object": dict,
    "array": list,
    "null": type(None),
}


class Description:
    def __init__(self, whole: dict[str, Any]) -> None:
        self.whole = whole
        self.seen: set[tuple[str, str]] = set()

    def check(self, method: str, path: str, answer: Response) -> None:
        """The answer is one of those described: status, headers, kind, and each member."""
        template = re.sub(r"/v1/sessions/[^/]+/", "/v1/sessions/{session_id}/", path)
        responses = self.whole["paths"][template][method]["responses"]
        described = responses.get(str(answer.status))
        if described is None:
            assert answer.status >= 400, (path, answer.status)
            described = responses["default"]
        self.seen.add((template, "ok" if answer.status < 400 else "refused"))
        kinds = described.get("content", {})
        kind = answer.headers.get("content-type", "").partition(";")[0]
        assert bool(kinds) == bool(answer.body), (path, answer.status, answer.body)
        if kinds:
            value = json.loads(answer.body) if "json" in kind else answer.body.decode()
            self._fits(value, kinds[kind]["schema"], path)
        told = {name.lower() for name in described.get("headers", {})}
        ours = {name for name in ("dpop-nonce", "retry-after", "www-authenticate", "etag") if name in answer.headers}
        assert ours <= told, (path, answer.status)

    def _fits(self, value: Any, schema: dict[str, Any], where: str) -> None:
        if "$ref" in schema:
            schema = self.whole["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        if "anyOf" in schema:
            kinds = [JSON_TYPES[each["type"]] for each in schema["anyOf"]]
            assert any(isinstance(value, kind) for kind in kinds), where
            return
        assert schema.get("const", value) == value, where
        assert isinstance(value, JSON_TYPES[schema["type"]]), where
        if schema["type"] == "object" and "properties" in schema:
            assert set(schema.get("required", ())) <= set(value) <= set(schema["properties"]), where
            for name, member in value.items():
                self._fits(member, schema["properties"][name], f"{where} {name}")
        for item in value if schema["type"] == "array" else ():
            self._fits(item, schema["items"], where)


async def ask_everything(running: Running, device: Device, token: str, upstream: FakeUpstream) -> Description:
    plain: dict[str, str] = {}

    async def get(path: str) -> Response:
        return await device.send(path, method="GET", body=b"", headers=plain)

    found = Description(json.loads((await get("/openapi.json")).body))

    async def form(path: str, body: str) -> dict[str, Any]:
        answer = await device.form(path, body)
        found.check("post", path, answer)
        return dict(json.loads(answer.body)) if answer.body else {}

    async def session(token: str, **changes: Any) -> dict[str, Any]:
        answer = await device.ask_session(token, **changes)
        found.check("post", "/v1/sessions", answer)
        return dict(json.loads(answer.body))

    found.check("get", "/.well-known/oauth-authorization-server", await get("/.well-known/oauth-authorization-server"))
    found.check("get", "/healthz", await get("/healthz"))
    client = "client_id=voice-appliance"
    await form("/oauth/device_authorization", "")
    opened = await form("/oauth/device_authorization", f"{client}&enrolment_token={token}")
    poll = f"{client}&grant_type={GRANT}&device_code="
    await form("/oauth/token", poll + "x")
    granted = (await form("/oauth/token", poll + opened["device_code"]))["access_token"]

    first = await session(granted, key="key-00000001")
    upstream.script.extend([Answer.failure(429, "insufficient_quota"), Answer.failure(429, "x"), Answer(500, b"")])
    for number in range(2, 7):
        await session(granted, key=f"key-0000000{number}")
    for wrong in ({"token": "vdt_x"}, {"proof": "x"}, {"body": b"["}, {"key": "short"}):
        await session(**{"token": granted, **wrong})

    path = f"/v1/sessions/{first['session_id']}/report"
    for body in (b'{"duration_s": 1, "reason": "idle"}', b"{}"):
        proof = device.proof(path, access_token=granted)
        headers = {"DPoP": proof, "Authorization": f"DPoP {granted}", "Content-Type": "application/json"}
        found.check("post", path, await device.send(path, body=body, headers=headers))
    entry = await read(device, granted)
    found.check("get", "/v1/device", entry)
    found.check("get", "/v1/device", await read(device, granted, If_None_Match=entry.headers["etag"]))
    for _ in range(12):
        found.check("get", "/v1/device", await read(device, granted))
    other = Device(device.directory, running.url)
    other.identity = Identity.generate()
    found.check("post", "/v1/device/key", await change_key(other, device.identity, granted))
    for wanted in (granted, ""):
        await form("/oauth/revoke", f"token={wanted}")
    return found


def test_every_answer_is_as_described(tmp_path: Path, capsys: Capsys) -> None:
    async def story(upstream: FakeUpstream) -> None:
        data = await asyncio.to_thread(make_data, tmp_path, upstream.url)
        token = await asyncio.to_thread(enrolment_token, data, capsys)
        async with service(data) as running:
            device = Device(tmp_path / "device", running.url)
            found = await ask_everything(running, device, str(token), upstream)
            assert len(found.seen) == 15

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_every_request_of_a_device_is_described_with_its_proof() -> None:
    whole = json.loads((Path(__file__).parents[2] / "docs" / "provisioning-openapi.json").read_text())
    for path, methods in whole["paths"].items():
        for operation in methods.values():
            names = {parameter["name"] for parameter in operation.get("parameters", ())}
            ours = path.startswith(("/oauth/", "/v1/"))
            assert ("DPoP" in names) is ours, path
            assert ("security" in operation) is path.startswith("/v1/"), path
            for response in operation["responses"].values():
                assert all(kind["schema"] for kind in response.get("content", {}).values()), path
