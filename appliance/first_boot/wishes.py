"""What may stand in ``voice.toml``: every key of ``appliance.toml``, and what the machine around it needs.

Responsible for: the keys, their checks, and errors that name key, value and remedy, and never a secret. Not for: what
follows from them (``changes``).
"""

from __future__ import annotations

import difflib
import re
import tomllib
import unicodedata
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from appliance import config
from appliance.config import Config, Section
from appliance.errors import ConfigError
from appliance.first_boot.places import Places
from appliance.first_boot.spans import is_erased
from appliance.first_boot.text import FILE, Text

WHERE = Path(FILE)
TABLES = tuple(name for name in Config.__struct_fields__ if isinstance(getattr(Config(), name), Section))
LONGEST_NAME = 63  # of a host, RFC 1123
ALIASES = {
    "ssid": "wifi.name", "wlan": "wifi", "network": "wifi", "hostname": "name", "timezone": "time_zone",
    "psk": "wifi.password", "passphrase": "wifi.password", "pass": "wifi.password", "passwort": "wifi.password",
    "token": "provisioning.enrolment_token", "url": "provisioning.url", "volume": "audio.volume",
}  # fmt: skip
COUNTRIES = {"UK": "GB", "ENGLAND": "GB", "USA": "US", "AMERICA": "US", "HOLLAND": "NL", "CZECHIA": "CZ"}
_QUOTES = str.maketrans("", "", "“”„‟‘’‚«»")  # noqa: RUF001  # that they look alike is the matter


class Wifi(Section, frozen=True, kw_only=True):
    """A Wi-Fi. Without a password it is an open one."""

    name: str = ""
    password: str = ""
    hidden: bool = False


class Machine(Section, frozen=True, kw_only=True):
    """What is not of ``appliance.toml``. Empty means: not given."""

    name: str = ""
    time_zone: str = ""
    country: str = ""
    ssh_key: str | tuple[str, ...] = ()
    wifi: tuple[Wifi, ...] = ()
    enrolment_token: str = ""


class Wishes(Struct, frozen=True, kw_only=True):
    """A file that was checked. ``settings`` are its keys of ``appliance.toml``, as they stand there."""

    host_name: str = ""
    time_zone: str = ""
    country: str = ""
    ssh_keys: tuple[str, ...] = ()
    wifi: tuple[Wifi, ...] = ()
    enrolment_token: str = ""
    settings: dict[str, object] = {}


def read(text: Text, places: Places) -> Wishes:
    """Check a settings file by itself; together with the settings there are, ``changes`` does.

    Raises:
        ConfigError: not TOML, an unknown key, a value that cannot be; names key, value and remedy.
    """
    raw = _parse(text.text)
    own, settings = _divide(raw)
    machine = config.convert(own, Machine, WHERE)
    _refuse_unknown_settings(settings)
    for name in ("provisioning", "update"):
        _address(settings.get(name), name)
    table = settings.get("provisioning")
    if isinstance(table, dict) and table.get("url") == "":
        del table["url"]
    return Wishes(
        host_name=_host_name(machine.name.strip()),
        time_zone=_zone(machine.time_zone.strip(), places.zones),
        country=_country(machine.country.strip(), places.zones),
        ssh_keys=_ssh_keys(machine.ssh_key, places),
        wifi=_networks(machine.wifi),
        enrolment_token=_token(machine.enrolment_token.strip()),
        settings={name: value for name, value in settings.items() if value != {}},
    )


def _parse(text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{FILE}: nested too deeply", hint="correct it: see the template") from None
    except ValueError as error:  # of the syntax, or a number of thousands of digits
        what = str(error)
        found = re.search(r"at line (\d+)", what)
        line = text.splitlines()[int(found[1]) - 1] if found and int(found[1]) <= len(text.splitlines()) else ""
        raise ConfigError(f"{FILE}: cannot be read: {what}", hint=_slip(line)) from None


def _slip(line: str) -> str:
    """Guess what was meant, from the shapes of a line that could not be read; the line itself may hold a secret."""
    plain = line.partition("#")[0]
    if plain.translate(_QUOTES) != plain:
        return 'use straight quotes: name = "Home"'
    if re.fullmatch(r"\s*[\w.-]+\s*:\s*.*", plain):
        return 'write = between key and value: name = "Home"'
    if re.fullmatch(r'\s*[\w.-]+\s*=\s*[^"\'\[{\d\s].*', plain) and not re.search(r"=\s*(true|false)\s*$", plain):
        return 'put words in quotes: name = "Home"'
    if re.search(r'"[^"]*\\', plain):
        return "in double quotes a \\ must be doubled; in single quotes it stands for itself: password = 'a\\b'"
    if plain.count('"') % 2 or plain.count("'") == 1:
        return "close the quotes at the end of the value"
    return 'correct that line; each is like: key = "value"'


def _divide(raw: dict[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """Tell the keys of the machine from those of ``appliance.toml``."""
    own: dict[str, object] = {}
    settings: dict[str, object] = {}
    for key, value in raw.items():
        if key == "wifi":
            own[key] = _wifi_tables(value)
        elif key in Machine.__struct_fields__ and key != "enrolment_token":
            own[key] = value
        elif key == "board" or key in TABLES:
            settings[key] = dict(value) if isinstance(value, dict) else value
        else:
            raise _unknown(key, "", [*Machine.__struct_fields__[:-1], "board", *TABLES])
    table = settings.get("provisioning")
    if isinstance(table, dict) and "enrolment_token" in table:
        token = own["enrolment_token"] = table.pop("enrolment_token")
        if not isinstance(token, str):  # its value is for nobody's eyes
            hint = 'put it in quotes: enrolment_token = "…"'
            raise ConfigError(f"{FILE}: provisioning.enrolment_token is not in quotes", hint=hint)
    return own, settings


def _wifi_tables(value: object) -> list[Wifi]:
    tables = [value] if isinstance(value, dict) else value  # one network, as [wifi]: as good as [[wifi]]
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(
            f"{FILE}: wifi is no table", hint='write [[wifi]], and below it name = "…" and password = "…"'
        )
    for table in tables:
        for key in table:
            if key not in Wifi.__struct_fields__:
                raise _unknown(key, "wifi.", Wifi.__struct_fields__)
    return [_wifi(table) for table in tables]


def _wifi(table: dict[str, object]) -> Wifi:
    for key in ("name", "password"):
        if not isinstance(table.get(key, ""), str):
            hint = f'put it in quotes: {key} = "…"'
            raise ConfigError(f"{FILE}: wifi.{key} is not in quotes", hint=hint)
    if not isinstance(table.get("hidden", False), bool):
        raise ConfigError(f"{FILE}: wifi.hidden is neither true nor false", hint="write hidden = true, without quotes")
    return msgspec.convert(table, Wifi)


def _refuse_unknown_settings(settings: dict[str, object]) -> None:
    """Check names and types of the keys of ``appliance.toml``; an unknown key's value may be a misplaced secret."""
    for name, table in settings.items():
        if name in TABLES and isinstance(table, dict):
            known = type(getattr(Config(), name)).__struct_fields__
            for key in table:
                if key not in known:
                    more = ("enrolment_token",) if name == "provisioning" else ()
                    raise _unknown(key, f"{name}.", (*known, *more))
    config.convert(settings, Config, WHERE)


def _address(table: object, name: str) -> None:
    """Take blanks off an address, and see that it is one: the daemon could only say that something is wrong."""
    if not isinstance(table, dict) or not table.get("url"):
        return
    table["url"] = url = str(table["url"]).strip()
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and parts.scheme in ("http", "https") and parts.port != 0 and parts.username is None
    except ValueError:  # of a port, or of brackets
        good = False
    if url and not (good and url.isascii() and not re.search(r"\s", url)):
        shown = "…@" + url.rpartition("@")[2] if "@" in url else url
        hint = 'write it whole, such as "http://192.168.1.10:8787" or "https://voice.example.org"'
        raise ConfigError(f"{FILE}: {name}.url = {shown[:60]!r}", hint=hint)


def _unknown(key: str, prefix: str, known: tuple[str, ...] | list[str]) -> ConfigError:
    near = difflib.get_close_matches(key.lower(), known, n=1)
    alias = ALIASES.get(key.lower().replace("-", "_"))
    hint = f"did you mean {prefix}{near[0]}?" if near else f"did you mean {alias}?" if alias else ""
    name = prefix + (key if re.fullmatch("[A-Za-z0-9_-]{1,32}", key) else "…")
    return ConfigError(f"{FILE}: unknown key {name}", hint=hint or f"known here: {', '.join(known)}")


def _host_name(name: str) -> str:
    """Make a host's name of what people call a device: "Küche 2" is kuche-2."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    host = re.sub("[^a-z0-9]+", "-", plain).strip("-")
    if name and not host:
        raise ConfigError(f"{FILE}: name = {name[:40]!r}", hint="use at least one letter from a to z, or a digit")
    return host[:LONGEST_NAME].rstrip("-")


def _zone(zone: str, zones: Path) -> str:
    if not zone:
        return ""
    shape = re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}", zone)
    if shape and (zones / zone).is_file():
        return zone
    known = {}
    for path in zones.glob("[A-Z]*/**/*"):
        known[path.name.lower()] = known[str(path.relative_to(zones)).lower()] = str(path.relative_to(zones))
    near = difflib.get_close_matches(zone.lower().replace(" ", "_"), known, n=1, cutoff=0.7)
    hint = f'did you mean "{known[near[0]]}"?' if near else 'write continent and city: "Europe/Berlin"'
    raise ConfigError(f"{FILE}: time_zone = {zone[:40]!r}", hint=hint)


def _country(country: str, zones: Path) -> str:
    code = country.upper()
    if not code:
        return ""
    try:
        lines = (zones / "iso3166.tab").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = dict(line.split("\t", 1) for line in lines if not line.startswith("#") and "\t" in line)
    if re.fullmatch("[A-Z]{2}", code) and (code in names or not names):
        return code
    by_name = {name.upper(): known for known, name in names.items()} | COUNTRIES
    near = difflib.get_close_matches(code, by_name, n=1, cutoff=0.75)
    hint = f'did you mean "{by_name[near[0]]}"?' if near else 'the two letters of your country: "DE", "FR", "US"'
    raise ConfigError(f"{FILE}: country = {country[:40]!r}", hint=hint)


def _ssh_keys(given: str | tuple[str, ...], places: Places) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in ((given,) if isinstance(given, str) else given) if key.strip())
    for key in keys:
        if not re.fullmatch(r"(ssh-|ecdsa-|sk-)[A-Za-z0-9@.-]+ [A-Za-z0-9+/]{40,}={0,2}( [^\r\n]*)?", key):
            hint = 'the whole line of the .pub file, the public key: "ssh-ed25519 AAAA… me@pc"'
            raise ConfigError(f"{FILE}: ssh_key is no public key", hint=hint)
    if keys and not places.ssh_server.exists():
        raise ConfigError(f"{FILE}: ssh_key is given, but this system has no SSH server", hint="remove the line")
    return keys


def _networks(networks: tuple[Wifi, ...]) -> tuple[Wifi, ...]:
    found: dict[str, Wifi] = {}
    for network in networks:
        if not network.name:
            if network.password:
                raise ConfigError(f"{FILE}: wifi.password without wifi.name", hint="write the Wi-Fi's name above it")
            continue  # the template as it came
        if len(network.name.encode()) > 32 or not network.name.isprintable():
            hint = "at most 32 bytes, exactly as your phone shows it"
            raise ConfigError(f"{FILE}: wifi.name = {network.name[:40]!r}", hint=hint)
        if network.name in found:
            raise ConfigError(f"{FILE}: wifi.name = {network.name!r} stands there twice", hint="remove one of them")
        _check_password(network)
        found[network.name] = network
    return tuple(found.values())


def _check_password(network: Wifi) -> None:
    password = network.password
    if not password or is_erased(password) or re.fullmatch("[0-9A-Fa-f]{64}", password):
        return
    what = f"{FILE}: wifi.password of {network.name!r}"
    if not all(" " <= letter <= "~" for letter in password):
        raise ConfigError(
            f"{what} has a letter that no Wi-Fi password can have", hint="letters, digits and signs of a US keyboard"
        )
    if not 8 <= len(password) <= 63:
        raise ConfigError(f"{what} has {len(password)} characters", hint="a Wi-Fi password has 8 to 63")


def _token(token: str) -> str:
    if token and not is_erased(token) and not re.fullmatch(r"[!-~]{8,512}", token):
        hint = "copy it whole, as `voice-provisioning tokens create` printed it, without blanks"
        raise ConfigError(f"{FILE}: provisioning.enrolment_token is no token", hint=hint)
    return token
