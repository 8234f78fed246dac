"""The data directory: ``server.toml`` (profiles as data), two secret files and the database's place.

Responsible for: reading and checking them. Not for: making them (``initialise``) and the database's content.
"""

from __future__ import annotations

import ipaddress
import tomllib
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from appliance.errors import ConfigError, Secret, StateError

CONFIG_NAME = "server.toml"
DATABASE_NAME = "provisioning.sqlite3"
PEPPER_NAME = "pepper"
NONCE_SECRET_NAME = "nonce-secret"  # noqa: S105 a file's name
SECRET_BYTES = 32


class SessionTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """What we ourselves read of a profile's session object; the provider gets the whole of it, untouched."""

    model: str
    type: Literal["realtime"] = "realtime"


class OpenAIProfile(
    msgspec.Struct, frozen=True, kw_only=True, tag="openai", tag_field="kind", forbid_unknown_fields=True
):
    """Secrets minted by OpenAI or a server with the same API. ``session`` is bound to each secret."""

    base_url: str = "https://api.openai.com"
    api_key_file: str
    session: dict[str, Any]
    max_session_s: int = 3600

    @property
    def model(self) -> str:
        """The model the secrets are bound to."""
        return msgspec.convert(self.session, SessionTemplate).model


class StaticProfile(
    msgspec.Struct, frozen=True, kw_only=True, tag="static", tag_field="kind", forbid_unknown_fields=True
):
    """A self-hosted compatible server that mints nothing: every device gets the same key."""

    url: str
    model: str
    key: str = ""
    key_file: str = ""
    max_session_s: int = 3600


Profile = OpenAIProfile | StaticProfile


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    profiles: dict[str, Profile]
    issuer: str = ""


class Settings(msgspec.Struct, frozen=True):
    """Everything the service runs on. ``issuer`` is empty when it is to be derived from each request."""

    data: Path
    issuer: str
    profiles: dict[str, Profile]
    pepper: bytes
    nonce_secret: bytes

    def __repr__(self) -> str:
        return f"Settings({self.data})"

    def path(self, name: str) -> Path:
        """A file named in the configuration: absolute, or relative to the data directory."""
        return self.data / name

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.data / DATABASE_NAME


def load(data: Path) -> Settings:
    """Reads and checks the data directory.

    Raises:
        ConfigError: ``server.toml`` cannot be used.
        StateError: not initialised, or a secret file is unreadable or damaged.
    """
    path = data / CONFIG_NAME
    try:
        text = path.read_bytes()
        file = msgspec.convert(tomllib.loads(text.decode()), _File)
    except FileNotFoundError:
        raise StateError(
            f"{data} holds no {CONFIG_NAME}", hint=f"type: voice-provisioning init --data {data}"
        ) from None
    except OSError as error:
        raise StateError(f"cannot read {path} ({error.strerror})", hint="check its owner and mode") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path}: {error}", hint="correct the file; the documentation lists its keys") from None
    for name, profile in file.profiles.items():
        _check(f"{path}: profiles.{name}", profile)
    if "default" not in file.profiles:
        raise ConfigError(f"{path}: there is no [profiles.default]", hint="devices ask for it unless told otherwise")
    return Settings(
        data=data,
        issuer=check_issuer(file.issuer, path),
        profiles=file.profiles,
        pepper=_secret(data / PEPPER_NAME),
        nonce_secret=_secret(data / NONCE_SECRET_NAME),
    )


def check_issuer(issuer: str, where: object) -> str:
    """The issuer without a trailing slash; empty stays empty.

    Raises:
        ConfigError: not ``scheme://host[:port]``.
    """
    if not issuer:
        return ""
    parts = _split(issuer)
    if parts is None or parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        raise ConfigError(f"{where}: issuer = {issuer!r}", hint="it must look like https://voice.example.org, no path")
    if parts.scheme == "http" and not _private(parts.hostname or ""):
        raise ConfigError(
            f"{where}: issuer = {issuer!r} is not encrypted", hint="use https:// (a proxy may do the TLS)"
        )
    return issuer.rstrip("/")


def check_upstream_url(url: str, where: str, schemes: tuple[str, ...]) -> None:
    """Passes a URL with a host and one of the schemes, the first of which is the encrypted one.

    Raises:
        ConfigError: anything else, and unencrypted schemes to public hosts.
    """
    parts = _split(url)
    if parts is None or parts.scheme not in schemes or parts.query or parts.fragment or parts.username:
        raise ConfigError(f"{where} = {url!r}", hint=f"it must start with {' or '.join(f'{s}://' for s in schemes)}")
    if parts.scheme != schemes[0] and not _private(parts.hostname or ""):
        raise ConfigError(f"{where} = {url!r} would send keys unencrypted", hint=f"use {schemes[0]}://")


def _check(where: str, profile: Profile) -> None:
    if profile.max_session_s <= 0:
        raise ConfigError(f"{where}.max_session_s = {profile.max_session_s}", hint="seconds, above 0")
    if isinstance(profile, OpenAIProfile):
        check_upstream_url(profile.base_url, f"{where}.base_url", ("https", "http"))
        try:
            _ = profile.model
        except msgspec.ValidationError as error:
            raise ConfigError(f"{where}.session: {error}", hint='needs type = "realtime" and model') from None
    else:
        check_upstream_url(profile.url, f"{where}.url", ("wss", "ws"))
        if bool(profile.key) == bool(profile.key_file):
            raise ConfigError(f"{where}: needs either key_file or key", hint="key_file keeps the key out of this file")


def _split(url: str) -> Any:
    try:
        parts = urlsplit(url)
        usable = bool(parts.scheme in ("http", "https", "ws", "wss") and parts.hostname and parts.port != 0)
    except ValueError:
        return None
    return parts if usable and url.isascii() else None


def _private(host: str) -> bool:
    if host == "localhost" or "." not in host.strip(".") or host.endswith((".local", ".internal")):
        return not host.startswith(":")  # a bare name is a container's or a house's
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return False


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


def read_key(path: Path) -> Secret:
    """A provider's key from its file, white space around it cut off.

    Raises:
        ConfigError: no such file, unreadable, empty, or more than one word.
    """
    try:
        key = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or "") if isinstance(error, OSError) else "not text"
        raise ConfigError(
            f"cannot read the key file {path} ({reason})", hint="put the provider's key there, mode 0600"
        ) from None
    if not key or not key.isprintable() or " " in key:
        raise ConfigError(f"the key file {path} holds no key", hint="one line, nothing but the provider's key")
    return Secret(key)
