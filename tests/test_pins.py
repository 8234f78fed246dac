"""Addresses with pins: every spelling of a digest, and every mistake in one."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from appliance import config
from appliance.errors import ConfigError
from appliance.pins import Address, canonical, parse

ONE, OTHER = hashlib.sha256(b"one").digest(), hashlib.sha256(b"other \xff\xfe").digest()
URLSAFE = base64.urlsafe_b64encode(ONE).decode()


@pytest.mark.parametrize(
    "written", [URLSAFE, URLSAFE.rstrip("="), base64.b64encode(ONE).decode(), ONE.hex(), ONE.hex().upper()]
)
def test_every_spelling_of_a_pin_is_the_same(written: str) -> None:
    assert parse(f"https://box.local:8443/#spki-sha256={written}") == Address(
        "https://box.local:8443", frozenset({ONE})
    )


def test_several_pins_let_a_key_be_changed() -> None:
    address = parse(f"https://box.local#spki-sha256={ONE.hex()}, {OTHER.hex()}")
    assert address.pins == {ONE, OTHER}
    assert parse(f"https://box.local#spki-sha256={canonical(address.pins)}") == address


def test_without_a_pin() -> None:
    assert parse("http://192.168.1.5:8787/") == Address("http://192.168.1.5:8787")
    assert parse("") == Address("")
    assert canonical(frozenset()) == ""


@pytest.mark.parametrize(
    "url",
    [
        "https://a#",
        "https://a#spki-sha256=",
        "https://a#spki-sha256=abc",
        f"https://a#spki-sha256={URLSAFE},",
        f"https://a#spki-sha256={ONE.hex()}0",
        f"https://a#sha256={URLSAFE}",
        f"http://a#spki-sha256={URLSAFE}",
        "https://a#spki-sha256=é",
        "https://a#verify=off",
    ],
)
def test_a_mistake_is_a_configuration_error_that_names_the_key(tmp_path: Path, url: str) -> None:
    path = tmp_path / "appliance.toml"
    path.write_text(f'[provisioning]\nurl = "{url}"\n')
    with pytest.raises(ConfigError, match=r"provisioning\.url = .*pin") as refused:
        config.load(path)
    assert refused.value.hint
