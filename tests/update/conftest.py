"""Keys for the session; a device and a server for each test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.certificates import certificate
from tests.fakes.update_server import UpdateServer
from tests.update.machine import Device, bundle, early, keys
from tests.update.story import Story


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys that the devices trust."""
    return keys(tmp_path_factory.mktemp("keys") / "ours")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys that nobody trusts."""
    return keys(tmp_path_factory.mktemp("keys") / "theirs")


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory, signer: Path, stranger: Path) -> dict[str, bytes]:
    """Signed bundles by version; ``forged`` is signed by a stranger, ``foreign`` for another kind of device.

    ``early``: by a signer that the devices trust, and whose time has not come.
    """
    folder = tmp_path_factory.mktemp("bundles")
    made = {version: bundle(signer, folder / f"{version}.raucb", version) for version in ("0.2.0", "0.3.0")}
    made["forged"] = bundle(stranger, folder / "forged.raucb", "0.2.0")
    made["foreign"] = bundle(signer, folder / "foreign.raucb", "0.2.0", compatible="toaster")
    made["early"] = early(signer, folder / "early.raucb", "0.2.0")
    return {name: path.read_bytes() for name, path in made.items()}


@pytest.fixture
def device(tmp_path: Path, signer: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    if os.geteuid() != 0 or shutil.which("rauc") is None:
        pytest.skip("needs root and rauc")
    made = Device(tmp_path / "device", signer / "keyring.pem")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    yield made
    made.close()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[UpdateServer]:
    """Trusted by whoever makes a TLS context from now on."""
    public, private = certificate(tmp_path, "localhost", -1, 3)
    monkeypatch.setenv("SSL_CERT_FILE", str(public))
    made = UpdateServer(public, private)
    yield made
    made.close()


@pytest.fixture
def story(tmp_path: Path, device: Device, server: UpdateServer, bundles: dict[str, bytes]) -> Iterator[Story]:
    made = Story(tmp_path, device, server, bundles)
    yield made
    made.close()
