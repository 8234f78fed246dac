"""The owner's commands beyond the first steps: lists, profiles, moving the data, TLS, and what doctor sees."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import gc
import io
import json
import re
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from appliance.credentials import reach
from appliance.errors import ConfigError, ProvisioningError
from appliance.provisioning import certificates, doctor, settings
from appliance.provisioning.certificates import Certificate
from tests.fakes.certificates import certificate as make_certificate
from tests.fakes.upstream import FakeUpstream
from tests.provisioning.running import Device, command, enrolment_token, make_data, service

Capsys = pytest.CaptureFixture[str]
NOW = dt.datetime(2026, 11, 27, tzinfo=dt.UTC)


def test_profiles_by_command(tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    data = str(make_data(tmp_path, "http://127.0.0.1:1"))
    assert command("profiles", "show", "default", "--data", data) == 0
    shown = capsys.readouterr().out
    assert json.loads(shown)["model"] == "gpt-realtime-1.5"
    assert "key" not in shown
    content = {"upstream": "default", "model": "m", "voice": "marin"}
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(content).encode())))
    assert command("profiles", "set", "guests", "-", "--data", data) == 0
    assert command("profiles", "list", "--data", data) == 0
    assert re.search(r"guests +stored, version 1 +default +m", capsys.readouterr().out)
    assert command("profiles", "show", "guests", "--data", data) == 0
    shown = capsys.readouterr().out
    again = tmp_path / "again.json"
    again.write_text(shown)
    assert command("profiles", "set", "guests", str(again), "--data", data) == 0
    assert "version 2" in capsys.readouterr().out
    assert command("tokens", "create", "--profile", "guests", "--data", data) == 0
    (tmp_path / "keys").write_text("A" * 43 + ",,guests\n")
    assert command("devices", "import", str(tmp_path / "keys"), "--data", data) == 0
    assert command("profiles", "delete", "guests", "--data", data) == 1
    assert "what 1 token(s) and 1 imported key(s) would give" in capsys.readouterr().err
    assert command("devices", "unimport", "A" * 43, "--data", data) == 0
    capsys.readouterr()
    assert command("tokens", "list", "--data", data) == 0
    assert command("tokens", "revoke", capsys.readouterr().out.split()[6], "--data", data) == 0
    assert command("profiles", "delete", "guests", "--data", data) == 0
    capsys.readouterr()
    for words in (
        ("profiles", "show", "guests"),
        ("profiles", "delete", "default"),
        ("profiles", "set", "x", str(tmp_path / "none")),
        ("profiles", "set", "x", str(tmp_path / "provider.key")),
        ("devices", "profile", "d_x", "guests"),
        ("tokens", "revoke", "none"),
        ("devices", "import", str(tmp_path / "provider.key")),
        ("export", str(tmp_path / "no" / "directory")),
        ("import", str(tmp_path / "provider.key")),
        ("sign-in", "--url", "ftp://x"),
        ("serve", "--certificate", "only.pem"),
    ):
        assert command(*words, "--data", data) > 0, words
        said = capsys.readouterr().err
        assert said.count("\n") == 1, said
        assert said.startswith("voice-provisioning: ")


def test_a_database_moves_by_command(tmp_path: Path, capsys: Capsys) -> None:
    data = make_data(tmp_path, "http://127.0.0.1:1")
    command("tokens", "create", "--note", "moves along", "--data", str(data))
    file = str(tmp_path / "all.jsonl")
    assert command("export", file, "--data", str(data)) == 0
    assert command("import", file, "--data", str(data)) == 1
    assert "not empty" in capsys.readouterr().err
    (data / settings.DATABASE_NAME).unlink()
    assert command("init", "--data", str(data)) == 0
    assert command("import", file, "--data", str(data)) == 0
    capsys.readouterr()
    assert command("tokens", "list", "--data", str(data)) == 0
    assert "moves along" in capsys.readouterr().out
    (data / settings.DATABASE_NAME).unlink()
    assert command("tokens", "list", "--data", str(data)) == 1
    assert "run init again" in capsys.readouterr().err
    assert command("import", file, "--data", str(data)) == 0  # makes the schema by itself


def test_init_can_name_a_store(tmp_path: Path, capsys: Capsys) -> None:
    url = "postgresql+psycopg://voice@/none?host=" + str(tmp_path)
    words = ("init", "--data", str(tmp_path / "data"), "--store-url", url, "--store-password-file", "pw")
    assert command(*words) > 0
    said = capsys.readouterr().err
    assert "cannot read the password file" in said or "does it run" in said
    assert settings.load(tmp_path / "data").store.url == url
    assert not (tmp_path / "data" / settings.DATABASE_NAME).exists()


def test_a_sign_in_link_is_shown_by_init_and_by_its_command(tmp_path: Path, capsys: Capsys) -> None:
    data = str(tmp_path / "data")
    command("init", "--issuer", "https://voice.example", "--data", data)
    assert re.search(r"https://voice\.example/sign-in\?token=vsl_[\w-]{43}\n", capsys.readouterr().out)
    assert command("sign-in", "--url", "http://10.0.0.5:8787", "--data", data) == 0
    assert re.fullmatch(r"http://10\.0\.0\.5:8787/sign-in\?token=vsl_[\w-]{43}\n", capsys.readouterr().out)


def test_serve_speaks_tls_and_says_the_pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = make_certificate(tmp_path, "localhost", -1, 90)
    with FakeUpstream() as upstream:
        data = make_data(tmp_path, upstream.url)
        words = ["-m", "appliance.provisioning.cli", "serve", "--data", str(data), "--port", "0"]
        words += ["--certificate", str(certificate), "--key", str(key)]
        with subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            url = process.stdout.readline().split()[-1]
            pinned = process.stdout.readline().split()[-1]
            assert pinned == f"{url}#spki-sha256={certificates.read(certificate).pin}"
            trusting = ssl.create_default_context(cafile=str(certificate))
            trusting.check_hostname = False
            with urllib.request.urlopen(f"{url}/healthz", timeout=5, context=trusting) as answer:
                assert answer.read() == b"ok\n"
            toml = data / settings.CONFIG_NAME
            toml.write_text(f'issuer = "https://localhost:{url.rpartition(":")[2]}"\n' + toml.read_text())

            async def examined() -> list[str]:
                return [finding.what async for finding in doctor.examine(data, certificate)]

            said = asyncio.run(examined())
            trusting_it = ssl.create_default_context(cafile=str(certificate))
            monkeypatch.setattr(ssl, "create_default_context", lambda **_: trusting_it)
            trusted = asyncio.run(examined())
            process.terminate()
            assert process.wait(10) == 0
    assert f"pin spki-sha256={certificates.read(certificate).pin}" in said[-1]
    assert "not trusted here" in said[-1]
    assert "not trusted" not in "\n".join(trusted)


def test_a_certificate_is_looked_at_without_a_farewell(tmp_path: Path) -> None:
    """A server that never answers one, as many do not: the connection is over all the same, and left to nobody."""
    certificate, key = make_certificate(tmp_path, "localhost", -1, 90)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    held: list[ssl.SSLSocket] = []

    def serve(server: socket.socket) -> None:
        for _ in range(2):  # the first time with this machine's roots, which do not know it
            link = server.accept()[0]
            try:
                held.append(context.wrap_socket(link, server_side=True))
            except OSError:
                link.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        found, trusted = asyncio.run(doctor._shown("localhost", server.getsockname()[1]))
        thread.join()
    gc.collect()  # what was not closed is an error here: `-W error`
    assert not trusted
    assert found.pin == certificates.read(certificate).pin
    for link in held:
        link.close()


def test_a_place_where_nobody_may_look_is_told_in_a_line(tmp_path: Path, capsys: Capsys) -> None:
    """A name that is too long stands for a directory that is closed: as root the tests may look everywhere."""
    closed = "k" * 300
    assert command("init", "--data", str(tmp_path / closed)) == 1
    said = capsys.readouterr().err
    assert said.startswith("voice-provisioning: cannot write")
    assert said.count("\n") == 1
    data = str(tmp_path / "data")
    assert command("init", "--data", data, "--api-key-file", closed) == 0
    assert command("doctor", "--data", data) == 1
    assert "FAIL profile default: cannot read the key file" in capsys.readouterr().out


def test_doctor_keeps_no_device_waiting(tmp_path: Path) -> None:
    """Neither while it looks through a large database, nor while somebody reads what it says."""

    async def story() -> None:
        found = []
        async for finding in doctor.examine(data):
            found.append(finding.what)
            with contextlib.closing(sqlite3.connect(data / settings.DATABASE_NAME, timeout=0)) as writer:
                writer.execute("begin immediate")
        assert any("whole" in what for what in found)

    def writes(_: object, cursor: object, statement: str, *__: object) -> None:
        if "quick_check" in statement:
            with contextlib.closing(sqlite3.connect(data / settings.DATABASE_NAME, timeout=0)) as writer:
                writer.execute("begin immediate")
                written.append(cursor)

    data, written = make_data(tmp_path, "http://127.0.0.1:1"), list[object]()
    event.listen(Engine, "before_cursor_execute", writes)
    try:
        asyncio.run(story())
    finally:
        event.remove(Engine, "before_cursor_execute", writes)
    assert written


def test_doctor_finds_devices_whose_profile_has_gone(tmp_path: Path, capsys: Capsys) -> None:
    with FakeUpstream() as upstream:
        data = make_data(tmp_path, upstream.url)
        guests = '[profiles.guests]\nkind = "static"\nurl = "wss://127.0.0.1:9"\nmodel = "m"\nkey = "k"\n'
        toml = data / settings.CONFIG_NAME
        whole = toml.read_text()
        toml.write_text(whole + guests)
        token = enrolment_token(data, capsys, "--profile", "guests")

        async def story() -> None:
            async with service(data) as running:
                await Device(tmp_path / "device", running.url).enrol(token)

        asyncio.run(story())
        toml.write_text(whole)
        assert command("doctor", "--data", str(data)) == 1
        assert "FAIL profile guests: there is none, and 1 active device(s) have it" in capsys.readouterr().out


@pytest.mark.parametrize(
    "host", ["box", "box.internal", "localhost", "box.local", "192.168.1.5", "[fd00::5]", "127.0.0.1", "a.example"]
)
def test_doctor_knows_what_devices_refuse(host: str) -> None:
    for scheme in ("ws", "wss", "http", "https"):
        url = f"{scheme}://{host}:8787"
        try:
            reach.check(url, secure="wss" if scheme[0] == "w" else "https", plain="ws" if scheme[0] == "w" else "http")
        except ProvisioningError:
            assert not doctor.devices_take(url), url
        else:
            assert doctor.devices_take(url), url


def test_doctor_names_an_address_that_no_device_takes(tmp_path: Path, capsys: Capsys) -> None:
    words = ("--upstream", "static", "--url", "ws://gpu:8080/v1/realtime", "--key-file", str(tmp_path / "k"))
    (tmp_path / "k").write_text("house-key")
    data = str(tmp_path / "data")
    assert command("init", "--data", data, "--issuer", "http://box:8787", *words) == 0
    capsys.readouterr()
    assert command("doctor", "--data", data) == 1
    shown = capsys.readouterr().out
    assert "FAIL issuer http://box:8787: devices refuse it" in shown
    assert "FAIL profile default: ws://gpu:8080/v1/realtime: devices refuse it" in shown
    assert shown.count("its .local name") == 2


def test_a_certificate_is_judged(tmp_path: Path) -> None:
    pin = "p" * 43
    good = Certificate(pin, ("voice.example", "*.home.example"), NOW, NOW + dt.timedelta(days=90))
    assert doctor.judge("x", good, "voice.example", NOW).remedy == ""
    assert doctor.judge("x", good, "a.home.example", NOW).remedy == ""
    assert doctor.judge("x", good, "", NOW).remedy == ""
    for host, days, message in (
        ("other.example", 90, "made out to"),
        ("a.b.home.example", 90, "made out to"),
        ("voice.example", 3, "ends in 3"),
        ("voice.example", -1, "ended on"),
    ):
        found = doctor.judge("x", Certificate(pin, good.names, NOW, NOW + dt.timedelta(days=days)), host, NOW)
        assert message in found.what
        assert found.remedy
    early = doctor.judge("x", good, "voice.example", NOW - dt.timedelta(hours=1))
    assert "not valid before 2026-11-27 00:00 UTC" in early.what
    assert early.remedy
    other, key = make_certificate(tmp_path, "b", -1, 90)
    (tmp_path / "torn.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    for certificate in (tmp_path / "none", tmp_path / "torn.pem"):
        with pytest.raises(ConfigError):
            certificates.read(certificate)
    with pytest.raises(ConfigError, match="cannot be used"):
        certificates.check_pair(other, tmp_path / "torn.pem")
    certificates.check_pair(other, key)


def test_a_full_disk_is_named(tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeUpstream() as upstream:
        data = make_data(tmp_path, upstream.url)
        monkeypatch.setattr("appliance.provisioning.doctor._FREE_AT_LEAST", 10**18)
        assert command("doctor", "--data", str(data)) == 1
    assert re.search(r"FAIL disk: \d+ MB free where .*data is\n     -> free some space", capsys.readouterr().out)
    with contextlib.closing(sqlite3.connect(data / settings.DATABASE_NAME)) as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]

    def small(connection: Any, _: Any) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(Engine, "connect", small)
    try:
        for _ in range(200):
            if command("tokens", "create", "--note", "n" * 64, "--data", str(data)):
                break
    finally:
        event.remove(Engine, "connect", small)
    assert "disk is full); free some space" in capsys.readouterr().err
