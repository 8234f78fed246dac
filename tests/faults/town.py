"""What all rows share: the Realtime server, a provider, the real provisioning service, and the wires to them.

Responsible for: starting them once, and giving every row the same fair weather. Not for: the appliance (``scene``).
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.fakes.certificates import certificate
from tests.fakes.proxy import Proxy, Weather
from tests.fakes.realtime_server import RealtimeServer, Script
from tests.fakes.tls_front import TlsFront
from tests.fakes.upstream import KEY, Answer, FakeUpstream
from tests.scenarios.home import Background, Provisioning

CERTIFICATES = {  # name, days from now to its begin, days of its life
    "valid": ("localhost", -1, 30),
    "expired": ("localhost", -30, 20),
    "of another host": ("elsewhere.example", -1, 30),
    "not yet valid": ("localhost", 1, 30),
}


class Town:
    """Servers behind wires. The appliance's addresses are those of the wires, for ever."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.background = Background()
        self.server = RealtimeServer()
        self.background.run(self.server.__aenter__())
        self.provider = FakeUpstream()
        self.provider.__enter__()
        self.wire = Proxy(_port(self.server.url))  # to the Realtime server
        self.service_wire = Proxy()  # to the provisioning service
        self.provider_wire = Proxy(_port(self.server.url))  # a provider that mints and talks at one address
        self.provider_wire.posts_to = _port(self.provider.url)
        for wire in self.wires:
            self.background.run(wire.start())
        self.tls = TlsFront()
        self._certificates = {name: _certificate(directory, name) for name in CERTIFICATES}
        self.roots = directory / "roots.pem"
        self.roots.write_bytes(b"".join(public.read_bytes() for public, _ in self._certificates.values()))
        self.background.run(self.tls.start(*self._certificates["valid"]))
        self.tls.plain_port = self.wire.port
        url = f"ws://127.0.0.1:{self.wire.port}/v1/realtime"
        key = directory / "provider.key"
        key.write_text(KEY + "\n")
        more = (
            '\n[profiles.provider]\nkind = "openai"\n'
            f'base_url = "http://127.0.0.1:{self.provider_wire.port}"\napi_key_file = "{key}"\n'
            'fallback_models = ["gpt-realtime-2"]\n'
            'session = {type = "realtime", model = "gpt-realtime-1.5"}\n'
            + _static("named", f"ws://realtime.local:{self.wire.port}/v1/realtime")
            + _static("listed", url, ["gpt-realtime-2", "gpt-realtime-2.1"])
            + _static("tireless", url)
            + "[profiles.tireless.limits]\nper_minute = 0\nper_day = 0\n"
            + _static("secure", f"wss://localhost:{self.tls.port}/v1/realtime")
        )
        self.issuer = f"http://127.0.0.1:{self.service_wire.port}"
        self.service = Provisioning(directory / "service", url, self.issuer, more)
        self.service_wire.target = _port(self.service.url)
        self.allow(1000)
        self._tokens: dict[str, str] = {}

    @property
    def wires(self) -> tuple[Proxy, ...]:
        return self.wire, self.service_wire, self.provider_wire

    def token(self, profile: str) -> str:
        """An enrolment token for devices of a profile."""
        if profile not in self._tokens:
            made = self.command("tokens", "create", "--uses", "1000", "--quiet", "--profile", profile)
            self._tokens[profile] = made.strip()
        return self._tokens[profile]

    def show(self, certificate: str) -> None:
        """Show one of the certificates at the Realtime server's encrypted address."""
        self.tls.show(*self._certificates[certificate])

    def command(self, *arguments: str) -> str:
        """Do what the service's owner does at its command line."""
        return self.service.command(*arguments)

    def allow(self, per_day: int) -> None:
        """Say how many sessions a day a device of the profile ``metered`` may have."""
        stored = {"upstream": "default", "model": "gpt-realtime-1.5", "limits": {"per_day": per_day}}
        file = self.service.directory / "metered.json"
        file.write_text(json.dumps(stored))
        self.command("profiles", "set", "metered", str(file))

    def weather(self, wire: Proxy, weather: Weather) -> None:
        """Change the weather of a wire."""
        self.background.run(wire.set(weather))

    def fair(self) -> None:
        """Begin a row: fair weather, no connection left, a server and a provider that do as they should."""
        for wire in self.wires:
            self.background.run(wire.set(Weather()))
            self.background.loop.call_soon_threadsafe(wire.reset)
        self.provider.script.clear()
        self.provider.usual = Answer()
        self.server.begin(Script())
        self.show("valid")

    def close(self) -> None:
        self.service.close()
        self.background.run(self.tls.stop())
        for wire in self.wires:
            self.background.run(wire.stop())
        self.provider.__exit__(None, None, None)
        self.background.run(self.server.__aexit__())
        self.background.close()


def _port(url: str) -> int:
    return int(url.split("://")[1].split("/", maxsplit=1)[0].rsplit(":", 1)[1])


def _certificate(directory: Path, name: str) -> tuple[Path, Path]:
    where = directory / name.replace(" ", "-")
    where.mkdir()
    host, begins_days, days = CERTIFICATES[name]
    return certificate(where, host, begins_days, days, f"{host}, {name}")


def _static(name: str, url: str, others: list[str] | None = None) -> str:
    head = f'\n[profiles.{name}]\nkind = "static"\nurl = "{url}"\nkey = "test-key"\n'
    return f'{head}model = "gpt-realtime-1.5"\nfallback_models = {json.dumps(others or [])}\n'
