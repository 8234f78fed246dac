"""The data directory: ``server.toml`` (profiles as data), two secret files and the database's place.

Responsible for: reading them. Not for: making them (``initialise``), what sections may hold (``configuration``).
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import msgspec

from appliance.errors import ConfigError, Secret, StateError
from appliance.provisioning import configuration
from appliance.provisioning.configuration import FileProfile, Profile, Source

CONFIG_NAME = "server.toml"
DATABASE_NAME = "provisioning.sqlite3"
PEPPER_NAME = "pepper"
NONCE_SECRET_NAME = "nonce-secret"  # noqa: S105 a file's name
SECRET_BYTES = 32
RETENTION_DAYS = 400  # a year, and the months in which its bill is looked at


class Store(msgspec.Struct, frozen=True):
    """Where the database is: a SQLite file, or a PostgreSQL URL without its password."""

    path: Path | None = None
    url: str = ""
    password_file: Path | None = None

    def __str__(self) -> str:
        return str(self.path) if self.path else self.url


class _StoreSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str
    password_file: str = ""


class _Fleet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    mints_per_s: float = 0.0


class _Retention(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    days: int = RETENTION_DAYS


class _Metrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    listen: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    profiles: dict[str, FileProfile]
    issuer: str = ""
    upstreams: dict[str, Source] = {}
    store: _StoreSection | None = None
    fleet: _Fleet = _Fleet()
    retention: _Retention = _Retention()
    metrics: _Metrics | None = None


class Settings(msgspec.Struct, frozen=True):
    """Everything the service runs on. ``issuer`` is empty when it is to be derived from each request."""

    data: Path
    issuer: str
    profiles: dict[str, Profile]
    sources: dict[str, Source]
    store: Store
    pepper: bytes
    nonce_secret: bytes
    fleet_per_s: float = 0.0
    retention_days: int = 0
    metrics_listen: tuple[str, int] | None = None

    def __repr__(self) -> str:
        return f"Settings({self.data})"

    def path(self, name: str) -> Path:
        """A file named in the configuration: absolute, or relative to the data directory."""
        return self.data / name


def load(data: Path) -> Settings:
    """Reads and checks the data directory.

    Raises:
        ConfigError: ``server.toml`` cannot be used.
        StateError: not initialised, or a secret file is unreadable or damaged.
    """
    path = data / CONFIG_NAME
    file = _read(path)
    sources = {name: configuration.source_of(source) for name, source in file.upstreams.items()}
    for name, source in sources.items():
        configuration.check_name(f"{path}: upstreams", name)
        configuration.check_source(f"{path}: upstreams.{name}", source)
    profiles = {}
    for name, section in file.profiles.items():
        configuration.check_name(f"{path}: profiles", name)
        if name in sources:
            raise ConfigError(f"{path}: upstreams.{name}", hint=f"profiles.{name} is an upstream of this name already")
        profiles[name] = configuration.from_file(f"{path}: profiles.{name}", name, section)
    if "default" not in profiles:
        raise ConfigError(f"{path}: there is no [profiles.default]", hint="devices ask for it unless told otherwise")
    if not 0 <= file.fleet.mints_per_s < 1e6:
        raise ConfigError(f"{path}: fleet.mints_per_s = {file.fleet.mints_per_s}", hint="0 switches the limit off")
    if not 0 <= file.retention.days <= 36_500:
        raise ConfigError(f"{path}: retention.days = {file.retention.days}", hint="0 keeps everything")
    return Settings(
        data=data,
        issuer=check_issuer(file.issuer, path),
        profiles=profiles,
        sources={**sources, **{name: profile.source for name, profile in profiles.items()}},
        store=_store(data, file.store, path),
        pepper=_secret(data / PEPPER_NAME),
        nonce_secret=_secret(data / NONCE_SECRET_NAME),
        fleet_per_s=file.fleet.mints_per_s,
        retention_days=file.retention.days,
        metrics_listen=_listen(file.metrics.listen, path) if file.metrics else None,
    )


def _read(path: Path) -> _File:
    try:
        return msgspec.convert(tomllib.loads(path.read_bytes().decode()), _File)
    except FileNotFoundError:
        raise StateError(
            f"{path.parent} holds no {CONFIG_NAME}", hint=f"type: voice-provisioning init --data {path.parent}"
        ) from None
    except OSError as error:
        raise StateError(f"cannot read {path} ({error.strerror})", hint="check its owner and mode") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path}: {error}", hint="correct the file; docs/provisioning.md lists its keys") from None


def _store(data: Path, section: _StoreSection | None, where: Path) -> Store:
    if section is None:
        return Store(path=data / DATABASE_NAME)
    try:
        parts = urlsplit(section.url)
        holds_password = bool(parts.password) or "password" in dict(parse_qsl(parts.query))
        usable = parts.scheme in ("postgresql", "postgresql+psycopg") and len(parts.path) > 1
    except ValueError:
        holds_password = usable = False
    if holds_password:
        raise ConfigError(f"{where}: store.url holds a password", hint="put it into a file: password_file = ...")
    if not usable:
        raise ConfigError(
            f"{where}: store.url = {section.url!r}", hint='it must look like "postgresql+psycopg://user@host/database"'
        )
    return Store(url=section.url, password_file=data / section.password_file if section.password_file else None)


def _listen(address: str, where: Path) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ConfigError(f"{where}: metrics.listen = {address!r}", hint='it must look like "127.0.0.1:9464"')
    host = host.strip("[]")
    if host not in ("localhost", "::1") and not host.startswith("127."):
        raise ConfigError(
            f"{where}: metrics.listen = {address!r}", hint="only loopback: they tell how busy the fleet is"
        )
    return host, int(port)


def check_issuer(issuer: str, where: object) -> str:
    """The issuer without a trailing slash; empty stays empty.

    Raises:
        ConfigError: not ``scheme://host[:port]``.
    """
    if not issuer:
        return ""
    parts = configuration.split(issuer)
    if parts is None or parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        raise ConfigError(f"{where}: issuer = {issuer!r}", hint="it must look like https://voice.example.org, no path")
    if parts.scheme == "http" and not configuration.private(parts.hostname or ""):
        raise ConfigError(
            f"{where}: issuer = {issuer!r} is not encrypted", hint="use https:// (a proxy may do the TLS)"
        )
    return issuer.rstrip("/")


def _secret(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StateError(
            f"cannot read {path} ({error.strerror})", hint="restore it from a backup, or run init again to make one"
        ) from error
    if len(content) != SECRET_BYTES:
        raise StateError(f"{path} is damaged", hint="restore it from a backup, or delete it and run init again")
    return content


def read_key(path: Path, what: str = "key") -> Secret:
    """A provider's key or a database's password from its file, white space around it cut off.

    Raises:
        ConfigError: no such file, unreadable, empty, or more than one word.
    """
    try:
        key = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or "") if isinstance(error, OSError) else "not text"
        raise ConfigError(
            f"cannot read the {what} file {path} ({reason})", hint=f"put the {what} there, mode 0600"
        ) from None
    if not key or not key.isprintable() or " " in key:
        raise ConfigError(f"the {what} file {path} holds no {what}", hint=f"one line, nothing but the {what}")
    return Secret(key)
