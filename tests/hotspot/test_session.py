"""The course of the set-up page: real process, real HTTP, and a nmcli that records."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from unittest import mock

import pytest

from appliance import config
from appliance.errors import ApplianceError
from appliance.first_boot import networks, record
from appliance.hotspot import forgetting, radio
from appliance.hotspot import session as sessions
from tests.fakes.nmcli import OURS
from tests.first_boot.test_importing import FILE
from tests.first_boot.test_networks import read_by_glib
from tests.hotspot.house import PASSWORD, House

GOOD = {"wifi": "Home", "password": "correct horse", "url": "http://192.168.1.10:8787", "token": "vet_abcdefghijk"}


def keyfile(house: House, name: str) -> Path:
    return house.machine.places.connections / networks.file_name(name)


def test_a_good_form_joins_the_network_and_closes_the_page(house: House) -> None:
    with house:
        house.opened()
        assert house.nmcli.up() == [OURS]
        assert (house.machine.root / "proc/sys/net/ipv4/conf/wlan0/forwarding").read_text() == "0"
        status, text = house.post({**GOOD, "country": "de"})
        assert status == 200
        assert "Connecting to Home" in text
        assert house.ended() is True
    assert house.nmcli.up() == [OURS, networks.number("Home")]
    assert "psk=correct\\shorse" in keyfile(house, "Home").read_text()
    found = house.machine.settings()
    assert found["etc/voice-appliance/enrolment-token"] == "vet_abcdefghijk\n"
    assert found["etc/voice-appliance/country"] == "DE\n"
    loaded = config.load(house.machine.places.config / "appliance.toml")
    assert loaded.config.provisioning.url == "http://192.168.1.10:8787"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(house.session.address, timeout=5)


def test_our_own_wifi_is_gone_before_another_is_joined_and_no_secret_is_on_a_command_line(house: House) -> None:
    with house:
        house.opened()
        own = (house.machine.root / radio.KEYFILE).read_text()
        house.post(GOOD)
        house.ended()
    assert read_by_glib(own, "wifi-security", "psk") == PASSWORD
    assert read_by_glib(own, "ipv4", "address1") == "10.42.0.1/24"
    assert not (house.machine.root / radio.KEYFILE).exists()
    calls = house.nmcli.calls()
    down, joined = calls.index(f"connection down uuid {OURS}"), f"connection up uuid {networks.number('Home')}"
    assert down < calls.index("connection reload") < calls.index(joined)
    told = "\n".join(calls)
    assert not [secret for secret in (PASSWORD, "correct horse", "vet_") if secret in told]


def test_a_wrong_password_brings_the_page_back_with_a_word_about_it(house: House) -> None:
    house.nmcli.refuses(networks.number("Home"))
    with house:
        house.opened()
        house.post(GOOD)
        house.opened()
        assert house.failures == [1]
        text = house.request("GET")[1]
        assert "Home could not be joined. Is the password right, and is it near?" in text
        assert "correct horse" not in text
        house.nmcli.refuses()
        house.post({**GOOD, "password": "right horse"})
        assert house.ended() is True
    assert "psk=right\\shorse" in keyfile(house, "Home").read_text()


def test_other_networks_stay(house: House) -> None:
    house.machine.write(FILE)
    house.machine.boot()
    with house:
        house.opened()
        house.post({"wifi": "Holiday", "password": "sea and sun"})
        house.ended()
    assert keyfile(house, "Office").exists()
    assert keyfile(house, "Holiday").exists()
    assert house.machine.boot().settings == "unchanged", "the card is not taken over again"


@pytest.mark.parametrize("how", ["time", "button"])
def test_it_ends_by_time_and_by_the_button(house: House, how: str) -> None:
    with house:
        house.opened()
        if how == "time":
            house.now_s = sessions.LASTS_S
        else:
            house.wished = False
        assert house.ended() is False
    assert house.machine.settings() == {}
    assert f"connection down uuid {OURS}" in house.nmcli.calls()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(house.session.address, timeout=5)


def test_a_machine_without_wifi_says_so(house: House) -> None:
    house.nmcli.refuses(OURS)
    with house:
        error = house.ended()
    assert isinstance(error, ApplianceError)
    assert "Secrets were required" in str(error)
    assert not (house.machine.root / radio.KEYFILE).exists()


def test_a_page_process_that_dies_ends_it(house: House) -> None:
    started: list[subprocess.Popen[bytes]] = []
    real = sessions._start

    def start(*arguments: object) -> subprocess.Popen[bytes]:
        started.append(real(*arguments))  # type: ignore[arg-type]  # passed on as they came
        return started[-1]

    with mock.patch("appliance.hotspot.session._start", start), house:
        house.opened()
        started[0].kill()
        assert isinstance(house.ended(), ApplianceError)
    assert f"connection down uuid {OURS}" in house.nmcli.calls()


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"wifi": ""}, "Your Wi-Fi: enter its name."),
        ({"wifi": "Home", "password": "short"}, "The password of &#x27;Home&#x27; has 5 characters; a Wi-Fi"),
        ({"wifi": "Home", "country": "Germany"}, "Country = &#x27;Germany&#x27;; did you mean &quot;DE&quot;?"),
        ({"wifi": "Home", "url": "https://x#pin"}, "Address = &#x27;https://x#pin&#x27;; after the # belongs a pin"),
        ({"wifi": "Home", "token": "a b"}, "Enrolment token is no token; copy it whole"),
        ({"wifi": "x" * 33}, "at most 32 bytes"),
        ({"wifi": "<b>&\"'"  , "password": "***"}, "was erased, and this device does not have it"),
        ({"wifi": "a\x07b"}, "exactly as your phone shows it"),
    ],
)  # fmt: skip
def test_a_form_that_cannot_be_is_shown_again_with_what_is_wrong_but_no_secret(
    house: House, fields: dict[str, str], problem: str
) -> None:
    with house:
        house.opened()
        status, text = house.post({"password": "correct horse", **fields})
        assert (status, problem in text) == (422, True), text
        assert "correct horse" not in text
        assert "<b>" not in text
        assert house.machine.settings() == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give its rights away")
def test_the_process_that_listens_has_no_rights() -> None:
    with mock.patch("sys.executable", "/bin/true"), socket.socket() as listening, socket.socket() as pair:
        child = sessions._start(listening, pair, "nobody")
    status = Path(f"/proc/{child.pid}/status").read_text()
    child.wait()
    lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert set(lines["Uid"].split()) == set(lines["Gid"].split()) == {"65534"}
    assert set(lines["Groups"].split()) <= {"65534"}


def test_everything_is_forgotten_but_the_board_and_the_card_stays_known(house: House) -> None:
    machine = house.machine
    machine.places.config.mkdir()
    (machine.places.config / "appliance.toml").write_text('board = "any"\n[panel]\nbackend = "none"\n')
    machine.write(FILE)
    machine.boot()
    state = machine.root / forgetting.STATE
    state.mkdir(parents=True)
    (state / "identity.jwk").write_text("secret")
    promised = forgetting.promise(machine.places)
    record.save(machine.places, promised)
    assert machine.boot().settings == "unchanged", "carried out at the next start, if not before"
    assert machine.settings() == {
        "etc/hostname": "kuche-2\n",
        "etc/localtime": "/usr/share/zoneinfo/Europe/Berlin",
        "etc/voice-appliance/appliance.toml": 'board = "any"\n\n[panel]\nbackend = "none"\n',
    }
    assert list(state.iterdir()) == []
    assert b"correct" not in machine.everything_but("nowhere")
