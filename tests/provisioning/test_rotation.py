"""A device changes its key: what a power cut at any point leaves behind still talks, as the same device."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from appliance.credentials import enrolment, rotation
from appliance.credentials.identity import Identity
from appliance.credentials.mint import Minter
from appliance.errors import ProvisioningError, Secret, StateError
from tests.fakes.upstream import FakeUpstream
from tests.provisioning.running import Device, command, enrolled, enrolment_token, in_1970, make_data, service

Capsys = pytest.CaptureFixture[str]


class PowerCutError(BaseException):
    """Nothing of ours runs after it."""


async def change(device: Device) -> rotation.Changed:
    known = enrolment.load(device.directory)
    assert known is not None
    return await rotation.change_key(
        known, Identity.load_or_create(device.directory), directory=device.directory, client=device.client, now=in_1970
    )


async def talks(device: Device) -> str:
    """A session with what is on the disk; returns the device's id."""
    known = enrolment.load(device.directory)
    assert known is not None
    identity = Identity.load_or_create(device.directory)
    await Minter(known, identity, client=device.client, now=in_1970).mint()
    return known.device_id


@pytest.mark.usefixtures("store")
def test_a_changed_key_keeps_the_device_and_ends_the_old_one(tmp_path: Path, capsys: Capsys) -> None:
    async def story(upstream: FakeUpstream) -> None:
        async with enrolled(tmp_path, capsys, upstream) as (running, device, known):
            changed = await change(device)
            assert changed.unconfirmed is None
            assert changed.identity.thumbprint == Identity.load_or_create(device.directory).thumbprint
            assert changed.identity.thumbprint != device.identity.thumbprint
            assert running.query("select id, thumbprint from devices") == [
                (known.device_id, changed.identity.thumbprint)
            ]
            assert await talks(device) == known.device_id
            with pytest.raises(ProvisioningError, match="not \\(any more\\) enrolled"):
                await device.minter(known).mint()
            assert not list(device.directory.glob(".*"))
            assert {path.stat().st_mode & 0o777 for path in device.directory.iterdir()} == {0o600}

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


@pytest.mark.usefixtures("store")
def test_an_old_key_has_no_say_any_more(tmp_path: Path, capsys: Capsys) -> None:
    """Nor have its ended token and the code it enrolled with: the device is neither removed nor replaced."""

    async def story(upstream: FakeUpstream) -> None:
        data = await asyncio.to_thread(make_data, tmp_path, upstream.url)
        token = await asyncio.to_thread(enrolment_token, data, capsys)
        async with service(data) as running:
            device = Device(tmp_path / "device", running.url)
            asked = {"client_id": "voice-appliance", "enrolment_token": str(token)}
            opened = json.loads((await device.form("/oauth/device_authorization", urlencode(asked))).body)
            grant = "urn:ietf:params:oauth:grant-type:device_code"
            poll = {"client_id": "voice-appliance", "grant_type": grant, "device_code": opened["device_code"]}
            old = json.loads((await device.form("/oauth/token", urlencode(poll))).body)
            known = enrolment.Enrolment(running.url, old["device_id"], Secret(old["access_token"]))
            enrolment.save(known, device.directory)
            assert (await change(device)).unconfirmed is None
            again = await device.form("/oauth/token", urlencode(poll))
            assert (again.status, json.loads(again.body)["error"]) == (400, "access_denied")
            assert (await device.form("/oauth/revoke", urlencode({"token": known.token}))).status == 200
            assert running.query("select status from devices") == [("active",)]
            assert await talks(device) == known.device_id

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def cut_before(call_number: int, monkeypatch: pytest.MonkeyPatch, device: Device) -> None:
    """Lets so many calls through that change the disk or ask the service; the next one is never made."""
    left = [call_number]

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise PowerCutError
            return real(*arguments, **options)

        return call

    for owner, name in ((os, "fsync"), (Path, "replace"), (Path, "unlink"), (type(device.client), "connect")):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))


def test_a_power_cut_at_any_point_leaves_a_device_that_talks(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(upstream: FakeUpstream) -> None:
        unlimited = "[profiles.default.limits]\nper_minute = 0\nper_day = 0\n"
        data = await asyncio.to_thread(make_data, tmp_path, upstream.url, unlimited)
        token = await asyncio.to_thread(enrolment_token, data, capsys)
        clock = [1e9]
        async with service(data, lambda: clock[0]) as running:
            device = Device(tmp_path / "device", running.url)
            known = await device.enrol(token)
            whole, cuts = False, 0
            while not whole:
                clock[0] += 600  # else it would come too often
                with monkeypatch.context() as patch:
                    cut_before(cuts, patch, device)
                    try:
                        await change(device)
                        whole = True
                    except PowerCutError:
                        cuts += 1
                assert await talks(device) == known.device_id, f"after cut {cuts}"
            assert cuts > 10
            assert running.query("select count(*) from devices") == [(1,)]
            assert not list(device.directory.glob(".*"))

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_a_full_disk_keeps_the_old_key(tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(upstream: FakeUpstream) -> None:
        async with enrolled(tmp_path, capsys, upstream) as (_, device, known):

            def full(_: int) -> None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            with monkeypatch.context() as patch:
                patch.setattr(os, "fsync", full)
                with pytest.raises(StateError, match="No space left"):
                    await change(device)
            assert Identity.load_or_create(device.directory).thumbprint == device.identity.thumbprint
            assert await talks(device) == known.device_id

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))


def test_a_suspended_device_is_told_and_keeps_its_key(tmp_path: Path, capsys: Capsys) -> None:
    async def story(upstream: FakeUpstream) -> None:
        async with enrolled(tmp_path, capsys, upstream) as (running, device, known):
            words = ("devices", "suspend", known.device_id, "--data", str(running.data))
            assert await asyncio.to_thread(command, *words) == 0
            with pytest.raises(ProvisioningError) as refused:
                await change(device)
            assert refused.value.code == "device_suspended"
            assert enrolment.load(device.directory) == known

    with FakeUpstream() as upstream:
        asyncio.run(story(upstream))
