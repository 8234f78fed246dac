"""A provisioning service behind TLS at home: pinned, impostor, and a clock that is not set. The whole daemon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.credentials.http import spki_sha256
from tests.command import run
from tests.fakes.certificates import certificate
from tests.fakes.realtime_server import Script
from tests.fakes.tls_front import TlsFront
from tests.scenarios.conftest import MakeHome
from tests.scenarios.home import Home, Provisioning, Town, tone

REPLY = tone(0.3, 24_000).tobytes()
TOMORROW = 1


class SecureService:
    """The real service behind a TLS front."""

    def __init__(self, town: Town, directory: Path, valid_from_days: int) -> None:
        self._town = town
        self.paths = certificate(directory, "localhost", valid_from_days, 30)
        self.front = TlsFront()
        town.background.run(self.front.start(*self.paths))
        self.service = Provisioning(directory / "service", town.server.url, issuer=self.front.url)
        self.front.plain_port = int(self.service.address.rpartition(":")[2])
        der = x509.load_pem_x509_certificate(self.paths[0].read_bytes()).public_bytes(Encoding.DER)
        self.pin = spki_sha256(der).hex()
        self.url = self.front.url

    def close(self) -> None:
        self.service.close()
        self._town.background.run(self.front.stop())


@pytest.fixture
def not_yet_valid(town: Town, tmp_path: Path) -> Iterator[SecureService]:
    """To this device its certificate begins tomorrow, as to one whose clock stands in 1970."""
    made = SecureService(town, tmp_path, TOMORROW)
    yield made
    made.close()


def status(at: Home) -> dict[str, Any]:
    return at.daemon.command("status")


def test_a_pinned_service_is_trusted_though_the_clock_is_not_set(home: MakeHome, not_yet_valid: SecureService) -> None:
    at = home(Script(reply=REPLY), with_token=False, url=f"{not_yet_valid.url}#spki-sha256={not_yet_valid.pin}")
    at.hold(0.4)
    at.daemon.until(lambda: bool(status(at)["enrolment"].get("code")), "the code")
    not_yet_valid.service.command("approve", status(at)["enrolment"]["code"])
    at.daemon.until(lambda: status(at)["enrolment"]["state"] == "enrolled", "ready", timeout_s=20)
    at.hold(0.4)
    at.daemon.until_phase("speaking")


def test_another_key_is_an_error_that_is_said(home: MakeHome, not_yet_valid: SecureService) -> None:
    at = home(with_token=False, url=f"{not_yet_valid.url}#spki-sha256={'01' * 32}")
    at.hold(0.4)
    at.daemon.until(lambda: status(at)["counters"].get("said_wrong_key") == 1, "the words")
    shown = status(at)
    assert (shown["led"], shown["last_error_code"]) == ("error", "wrong_key")
    assert "another key" in shown["last_error"]


def test_an_unset_clock_is_said_and_heals(home: MakeHome, not_yet_valid: SecureService, tmp_path: Path) -> None:
    (tmp_path / "later").mkdir()
    valid = certificate(tmp_path / "later", "localhost", -1, 30, "localhost, later")
    roots = tmp_path / "roots.pem"
    roots.write_bytes(not_yet_valid.paths[0].read_bytes() + valid[0].read_bytes())
    at = home(Script(reply=REPLY), with_token=False, url=not_yet_valid.url, environment={"SSL_CERT_FILE": str(roots)})
    at.hold(0.4)
    at.daemon.until(lambda: status(at)["counters"].get("said_clock_behind") == 1, "the words")
    shown = status(at)
    assert (shown["led"], shown["last_error_code"]) == ("offline", "clock_behind")
    assert "waiting for the time" in at.daemon.log()
    not_yet_valid.front.show(*valid)  # the same to the device as a clock that is set
    at.hold(0.4)
    at.daemon.until(lambda: bool(status(at)["enrolment"].get("code")), "the code")


def test_a_certificate_of_nobody_is_said(home: MakeHome, not_yet_valid: SecureService, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    not_yet_valid.front.show(*certificate(tmp_path / "other", "localhost", -1, 30))
    at = home(with_token=False, url=not_yet_valid.url)
    at.hold(0.4)
    at.daemon.until(lambda: status(at)["counters"].get("said_certificate_refused") == 1, "the words")
    assert "not trusted" in status(at)["last_error"]


@pytest.mark.parametrize(
    ("pin", "trusted", "words"),
    [
        ("right", False, "answers, by its pinned key"),
        ("wrong", False, "shows another key than the one it is pinned to"),
        ("", False, "is not trusted"),
        ("", True, "is not yet valid; this device's clock is probably behind"),
    ],
)
def test_the_doctor_says_what_is_wrong_with_the_certificate(
    pin: str, trusted: bool, words: str, not_yet_valid: SecureService, tmp_path: Path
) -> None:
    pins = {"right": f"#spki-sha256={not_yet_valid.pin}", "wrong": f"#spki-sha256={'01' * 32}", "": ""}
    path = tmp_path / "appliance.toml"
    path.write_text(
        f'[provisioning]\nurl = "{not_yet_valid.url}{pins[pin]}"\n[state]\ndirectory = "{tmp_path / "state"}"\n'
    )
    done = run("doctor", "--config", str(path), **({"SSL_CERT_FILE": str(not_yet_valid.paths[0])} if trusted else {}))
    (told,) = [line for line in done.stdout.splitlines() if line[8:].startswith("provisioning: ")]
    assert words in told
    assert told.startswith("ok " if pin == "right" else "trouble ")
