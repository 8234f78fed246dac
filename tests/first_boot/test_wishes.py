"""Files as people write them: each mistake is named with its key and its remedy, and shows no secret."""

from __future__ import annotations

import msgspec
import pytest

from appliance.config import Config
from appliance.errors import ConfigError
from appliance.first_boot import text, wishes
from tests.first_boot.machine import Machine

SECRET = "hunter2hunter2"
WRONG = {
    "timezone": ('timezone = "Europe/Berlin"', "unknown key timezone; did you mean time_zone?"),
    "ssid": ('[[wifi]]\nssid = "Home"', "unknown key wifi.ssid; did you mean wifi.name?"),
    "pasword": (f'[[wifi]]\npasword = "{SECRET}"', "unknown key wifi.pasword; did you mean wifi.password?"),
    "psk": (f'[[wifi]]\npsk = "{SECRET}"', "unknown key wifi.psk; did you mean wifi.password?"),
    "loose psk": (f'psk = "{SECRET}"', "unknown key psk; did you mean wifi.password?"),
    "loose url": ('url = "http://x"', "unknown key url; did you mean provisioning.url?"),
    "token": (f'[provisioning]\ntoken = "{SECRET}"', "did you mean provisioning.enrolment_token?"),
    "volume": ("volume = 40", "unknown key volume; did you mean audio.volume?"),
    "loud": ("[audio]\nvolume = 400", "audio.volume = 400; Expected `int` <= 100"),
    "loud in words": ('[audio]\nvolume = "40"', "audio.volume = '40'; Expected `int`, got `str`"),
    "setting": ("[audio]\nvolum = 40", "unknown key audio.volum; did you mean audio.volume?"),
    "number as password": ('[[wifi]]\npassword = 1234567812345678', "wifi.password is not in quotes"),
    "number as token": ("[provisioning]\nenrolment_token = 1234567812345678", "enrolment_token is not in quotes"),
    "short": ("[[wifi]]\nname = 'Home'\npassword = 'hunter2'", "'Home' has 7 characters; a Wi-Fi password has 8 to 63"),
    "long": (f"[[wifi]]\nname = 'Home'\npassword = '{'x' * 65}'", "wifi.password of 'Home' has 65 characters"),
    "umlaut": ("[[wifi]]\nname = 'Home'\npassword = 'hünter2hunter2'", "has a letter that no Wi-Fi password can have"),
    "twice": ("[[wifi]]\nname = 'Home'\n[[wifi]]\nname = 'Home'", "'Home' stands there twice; remove one of them"),
    "no name": (f"[[wifi]]\npassword = '{SECRET}'", "wifi.password without wifi.name"),
    "long name": (f"[[wifi]]\nname = '{'ü' * 17}'", "at most 32 bytes"),
    "wifi as text": (f'wifi = "{SECRET}"', "wifi is no table; write [[wifi]]"),
    "wifi as list": (f'wifi = ["Home", "{SECRET}"]', "wifi is no table; write [[wifi]]"),
    "hidden": ('[[wifi]]\nname = "Home"\nhidden = "yes"', "wifi.hidden is neither true nor false"),
    "zone": ('time_zone = "Berlin"', 'time_zone = \'Berlin\'; did you mean "Europe/Berlin"?'),
    "zone outside": ('time_zone = "../../../etc/shadow"', "write continent and city"),
    "country": ('country = "Germany"', "country = 'Germany'; did you mean \"DE\"?"),
    "country by custom": ('country = "UK"', "country = 'UK'; did you mean \"GB\"?"),
    "no country": ('country = "XX"', "the two letters of your country"),
    "name": ('name = "厨房"', "use at least one letter from a to z, or a digit"),
    "smart quotes": (f"[[wifi]]\nname = “Home”\npassword = “{SECRET}”", "(at line 2, column 8); use straight quotes"),
    "no quotes": (f"[[wifi]]\npassword = {SECRET}", "put words in quotes"),
    "colon": (f"password: {SECRET}", "write = between key and value"),
    "open quotes": (f'[[wifi]]\npassword = "{SECRET}\n', "close the quotes"),
    "backslash": ('[[wifi]]\npassword = "hunter2\\hunter2"', "must be doubled"),
    "ssh without a server": ("ssh_key = 'ssh-ed25519 " + "A" * 60 + "'", "no SSH server; remove the line"),
    "private key": ("ssh_key = '-----BEGIN OPENSSH PRIVATE KEY-----'", "ssh_key is no public key"),
    "token with blanks": (f'[provisioning]\nenrolment_token = "{SECRET} {SECRET}"', "is no token; copy it whole"),
    "bad pin": ('[provisioning]\nurl = "https://x#pin"', "url = 'https://x#pin'; after the # belongs a pin"),
    "no scheme": ('[provisioning]\nurl = "192.168.1.10:8787"', "url = '192.168.1.10:8787'; write it whole, such as \"http://"),
    "no colon": ('[provisioning]\nurl = "http//192.168.1.10:8787"', "write it whole"),
    "port in words": ('[update]\nurl = "https://cards.example:port/"', "'https://cards.example:port/'; write it"),
    "user in the address": (f'[provisioning]\nurl = "https://me:{SECRET}@voice.example"', "'…@voice.example'; write"),
    "board": ('board = "none"', "none"),
}  # fmt: skip


def problem(machine: Machine, content: str) -> str:
    machine.write(content)
    found = machine.boot()
    assert found.settings == "refused", content
    assert not machine.settings()
    return found.problem


def test_blanks_around_an_address_do_not_count(machine: Machine) -> None:
    machine.write('[provisioning]\nurl = " http://192.168.1.10:8787 "\n[update]\nurl = " "')
    assert machine.boot().settings == "taken"
    assert 'url = "http://192.168.1.10:8787"' in machine.settings()["etc/voice-appliance/appliance.toml"]


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_named_with_its_remedy(machine: Machine, name: str, caplog: pytest.LogCaptureFixture) -> None:
    content, expected = WRONG[name]
    told = problem(machine, content)
    assert expected in told
    note = (machine.card / "voice.toml.problem.txt").read_text("utf-8-sig")
    for secret in ("hunter2", "1234567812345678", "x" * 65):
        assert secret not in told + note + caplog.text


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'name = "K\xfcche"', "line 1 is not in UTF-8; save it as UTF-8 (in Notepad"),
        (b"x" * 70_000, "longer than 64 KiB"),
        (b"\0" * 4096, "it is damaged, or no text"),
        (b"\xff\xfex", "line 1 is not in UTF-8"),
        (b"x = " + b"[" * 5000, "nested too deeply"),
        (b"x = " + b"1" * 5000, "cannot be read"),
    ],
)
def test_what_is_no_text_is_refused(machine: Machine, data: bytes, expected: str) -> None:
    machine.write(data)
    assert expected in machine.boot().problem
    assert machine.file.read_bytes() == data


@pytest.mark.parametrize(
    ("given", "host"),
    [("Kitchen", "kitchen"), (" Küche 2 ", "kuche-2"), ("Tom's Box!", "tom-s-box"), ("x" * 80, "x" * 63)],
)
def test_a_name_becomes_a_hosts_name(machine: Machine, given: str, host: str) -> None:
    assert wishes.read(text.Text(f'name = "{given}"'), machine.places).host_name == host


def test_every_table_of_the_appliances_own_settings_may_stand_there(machine: Machine) -> None:
    given = '[update]\nurl = "https://cards.example/stable/"\n[conversation]\nhands_free = true'
    wished = wishes.read(text.decode(given.encode()), machine.places)
    assert wished.settings["update"] == {"url": "https://cards.example/stable/"}
    assert set(wishes.TABLES) == {table.name for table in msgspec.structs.fields(Config) if table.name != "board"}


def test_one_wifi_may_be_a_plain_table(machine: Machine) -> None:
    found = wishes.read(text.Text('[wifi]\nname = "Home"\npassword = "12345678"'), machine.places)
    assert [network.name for network in found.wifi] == ["Home"]


def test_an_ssh_key_where_there_is_a_server(machine: Machine) -> None:
    machine.places.ssh_server.touch()
    key = f"ssh-ed25519 {'A' * 60} me@pc"
    machine.write(f'ssh_key = "{key}"\n')
    machine.boot()
    assert machine.settings() == {"etc/voice-appliance/authorized_keys": f"{key}\n"}


def test_a_file_that_cannot_be_had_is_refused(machine: Machine) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        wishes.read(text.Text("["), machine.places)
