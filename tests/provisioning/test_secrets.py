"""After a whole life nothing secret is left in a log, an answer, the database, an export, or a list of processes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.upstream import KEY, Answer, FakeUpstream
from tests.provisioning import postgres
from tests.provisioning.running import Device, command, enrolment_token, make_data

KINDS = re.compile(r"(?:ek_|vdt_|vet_|vdc_|vsl_|sk-)[\w-]{12,}")


def processes() -> str:
    """What anybody may see of our processes: arguments of all, of our own children's environment too."""
    seen = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit() and int(directory.name) != os.getpid():
            for name in ("cmdline", "environ"):
                try:
                    seen.append((directory / name).read_bytes().decode("utf-8", "replace"))
                except OSError:
                    continue
    return "\n".join(seen)


@pytest.mark.usefixtures("store")
def test_nothing_secret_is_left_lying_about(
    request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets, said = [KEY], []

    async def live(url: str, upstream: FakeUpstream, data: Path) -> None:
        token = await asyncio.to_thread(enrolment_token, data, capsys, "--uses", "5")
        device = Device(tmp_path / "device", url)
        known = await device.enrol(token)
        minted = await device.minter(known).mint()
        secrets.extend((token, known.token, minted.value))
        for status, code in ((401, "invalid_api_key"), (429, "insufficient_quota"), (500, "server_error")):
            upstream.script.append(Answer.failure(status, code))
            said.append((await device.ask_session(known.token, key=f"key-{status}-{code}")).body.decode())
        for body in (json.dumps({"profile": KEY * 9}), json.dumps({"transport": known.token}), KEY, "\ud800"):
            raw = body.encode("utf-8", "surrogatepass")
            said.append((await device.ask_session(known.token, body=raw, key="key-00000009")).body.decode())
        for form in (f"grant_type={known.token}", f"client_id=a&device_code={token * 9}&grant_type=x", f"x={KEY}"):
            said.append((await device.form("/oauth/token", form)).body.decode())
        said.append((await device.ask_session(known.token, proof=f"{known.token}.{KEY}.x")).body.decode())
        await device.minter(known).report(minted.session_id, duration_s=1, reason="\x00\x1b[2J", usage={"a": "\x00"})
        await asyncio.to_thread(command, "sign-in", "--data", str(data))
        secrets.append(capsys.readouterr().out.strip().partition("token=")[2])
        said.append(processes())
        await asyncio.to_thread(command, "devices", "revoke", known.device_id, "--data", str(data))
        said.append((await device.ask_session(known.token, key="key-00000010")).body.decode())

    with FakeUpstream() as upstream:
        data = make_data(tmp_path, upstream.url)
        words = [sys.executable, "-m", "appliance.provisioning.cli", "serve", "--data", str(data), "--port", "0"]
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout
        try:
            asyncio.run(live(process.stdout.readline().split()[-1], upstream, data))
        finally:
            process.terminate()
            process.wait(10)
            said.append(process.stdout.read())
            process.stdout.close()
    said.append((tmp_path / "log").read_text())
    assert "outcome=spend_limit" in said[-1]
    for words in (["devices", "list"], ["tokens", "list"], ["doctor"], ["export", str(tmp_path / "export")]):
        command(*words, "--data", str(data))
    shown = capsys.readouterr()
    said += [shown.out, shown.err, (tmp_path / "export").read_text()]
    said += [path.read_bytes().decode("latin-1") for path in data.glob("provisioning.sqlite3*")]
    if "postgresql" in request.node.name:
        secrets.append(postgres.PASSWORD)
        said.append(request.getfixturevalue("postgres_server").log())
    text = "\n".join(said)
    assert len(set(secrets)) >= 5
    for secret in secrets:
        assert len(secret) > 20
        assert secret not in text
    assert not KINDS.search(text), KINDS.search(text)
