"""What ``server.toml`` and stored profiles may say: upstreams, profiles, limits. Data and its checks.

Responsible for: the form of each section, and what is wrong with it. Not for: files (``settings``), the table of
stored profiles (``profiles``), the calls themselves (``upstream``).
"""

from __future__ import annotations

import ipaddress
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from appliance.errors import ConfigError

NAME_AT_MOST = 64
FALLBACKS_AT_MOST = 8
_SESSION_AT_MOST = 65_536  # bytes of JSON; each mint sends it


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one device may use; 0 switches a limit off. Days are UTC."""

    per_minute: float = 6.0
    burst: int = 3
    per_day: int = 200
    seconds_per_day: float = 14_400.0


class OpenAISource(msgspec.Struct, frozen=True, kw_only=True, tag="openai", tag_field="kind"):
    """A provider that mints secrets: OpenAI, or a server with the same API."""

    base_url: str = "https://api.openai.com"
    api_key_file: str


class StaticSource(msgspec.Struct, frozen=True, kw_only=True, tag="static", tag_field="kind"):
    """A self-hosted compatible server that mints nothing: every device gets the same key."""

    url: str
    key: str = ""
    key_file: str = ""


Source = OpenAISource | StaticSource


class Profile(msgspec.Struct, frozen=True):
    """A profile ready for use, whether it stands in ``server.toml`` or in the database."""

    upstream: str
    source: Source
    model: str
    fallback_models: tuple[str, ...]
    session: dict[str, Any]
    max_session_s: int
    limits: Limits

    @property
    def has_tools(self) -> bool:
        """Whether it names tools."""
        tools = self.session.get("tools")
        return isinstance(tools, list) and bool(tools)


class SessionTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """What we ourselves read of a profile's session object; the provider gets the whole of it, untouched."""

    model: str
    type: Literal["realtime"] = "realtime"


class OpenAIProfile(OpenAISource, frozen=True, kw_only=True, tag="openai", forbid_unknown_fields=True):
    """A section ``[profiles.NAME]`` of kind openai. ``session`` is bound to each secret."""

    session: dict[str, Any]
    fallback_models: tuple[str, ...] = ()
    max_session_s: int = 3600
    limits: Limits = Limits()


class StaticProfile(StaticSource, frozen=True, kw_only=True, tag="static", forbid_unknown_fields=True):
    """A section ``[profiles.NAME]`` of kind static. ``session`` is told to the device: such a server binds nothing."""

    model: str
    session: dict[str, Any] = {}
    fallback_models: tuple[str, ...] = ()
    max_session_s: int = 3600
    limits: Limits = Limits()


FileProfile = OpenAIProfile | StaticProfile


class StoredProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A profile kept in the database. It names an upstream of ``server.toml``: nobody who may edit profiles can
    thereby send a provider's key to an address of their own.
    """  # noqa: D205 the fact takes two lines

    upstream: str
    model: str
    fallback_models: tuple[str, ...] = ()  # tried in this order where the model is gone
    voice: str = ""
    instructions: str = ""
    tools: list[dict[str, Any]] = []
    session: dict[str, Any] = {}
    max_session_s: int = 3600
    limits: Limits = Limits()


def check_source(where: str, source: Source) -> None:
    """Passes an upstream whose address can be trusted with its key.

    Raises:
        ConfigError: an address of another kind, or not encrypted; no key, or two.
    """
    if isinstance(source, OpenAISource):
        check_upstream_url(source.base_url, f"{where}.base_url", ("https", "http"))
        return
    check_upstream_url(source.url, f"{where}.url", ("wss", "ws"))
    if bool(source.key) == bool(source.key_file):
        raise ConfigError(f"{where}: needs either key_file or key", hint="key_file keeps the key out of this file")


def from_file(where: str, name: str, section: FileProfile) -> Profile:
    """The profile of a section of ``server.toml``, which is its own upstream too.

    Raises:
        ConfigError: something in it cannot be used.
    """
    check_source(where, section)
    if isinstance(section, OpenAIProfile):
        try:
            model = msgspec.convert(section.session, SessionTemplate).model
        except msgspec.ValidationError as error:
            raise ConfigError(f"{where}.session: {error}", hint='needs type = "realtime" and model') from None
        session = {"type": "realtime", **section.session}
    else:
        model, session = section.model, section.session
    profile = Profile(
        upstream=name,
        source=source_of(section),
        model=model,
        fallback_models=section.fallback_models,
        session=session,
        max_session_s=section.max_session_s,
        limits=section.limits,
    )
    _check(where, profile)
    return profile


def source_of(section: Source) -> Source:
    """The upstream alone of a section that holds more."""
    if isinstance(section, OpenAISource):
        return OpenAISource(base_url=section.base_url, api_key_file=section.api_key_file)
    return StaticSource(url=section.url, key=section.key, key_file=section.key_file)


def from_stored(where: str, stored: StoredProfile, sources: dict[str, Source]) -> Profile:
    """The profile that a stored one describes.

    Raises:
        ConfigError: no such upstream, or something in it cannot be used.
    """
    if stored.upstream not in sources:
        known = ", ".join(sorted(sources))
        raise ConfigError(f"{where}: there is no upstream {stored.upstream}", hint=f"server.toml has: {known}")
    if not stored.model or stored.session.get("model", stored.model) != stored.model:
        raise ConfigError(f"{where}.model = {stored.model!r}", hint="name the model, once")
    session: dict[str, Any] = {**stored.session, "type": "realtime", "model": stored.model}
    if stored.instructions:
        session["instructions"] = stored.instructions
    if stored.tools:
        session["tools"] = stored.tools
    if stored.voice:
        audio = session.get("audio", {})
        output = audio.get("output", {}) if isinstance(audio, dict) else None
        if not isinstance(output, dict):
            raise ConfigError(f"{where}.session.audio is no object", hint="leave it out, or correct it")
        session["audio"] = {**audio, "output": {**output, "voice": stored.voice}}
    profile = Profile(
        upstream=stored.upstream,
        source=sources[stored.upstream],
        model=stored.model,
        fallback_models=stored.fallback_models,
        session=session,
        max_session_s=stored.max_session_s,
        limits=stored.limits,
    )
    _check(where, profile)
    return profile


def check_name(where: str, name: str) -> None:
    """Passes a name that can stand in a list, a URL and a file.

    Raises:
        ConfigError: it cannot.
    """
    if not 0 < len(name) <= NAME_AT_MOST or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(f"{where}: the name {name!r}", hint="letters, digits, - and _, at most 64")


def check_upstream_url(url: str, where: str, schemes: tuple[str, ...]) -> None:
    """Passes a URL with a host and one of the schemes, the first of which is the encrypted one.

    Raises:
        ConfigError: anything else, and unencrypted schemes to public hosts.
    """
    parts = split(url)
    if parts is None or parts.scheme not in schemes or parts.query or parts.fragment or parts.username:
        raise ConfigError(f"{where} = {url!r}", hint=f"it must start with {' or '.join(f'{s}://' for s in schemes)}")
    if parts.scheme != schemes[0] and not private(parts.hostname or ""):
        raise ConfigError(f"{where} = {url!r} would send keys unencrypted", hint=f"use {schemes[0]}://")


def split(url: str) -> Any:
    """The parts of a web address, None for what is none."""
    try:
        parts = urlsplit(url)
        usable = bool(parts.scheme in ("http", "https", "ws", "wss") and parts.hostname and parts.port != 0)
    except ValueError:
        return None
    return parts if usable and url.isascii() else None


def private(host: str) -> bool:
    """Whether a host is in the house: its traffic may go unencrypted."""
    if host == "localhost" or "." not in host.strip(".") or host.endswith((".local", ".internal")):
        return not host.startswith(":")  # a bare name is a container's or a house's
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return False


def _check(where: str, profile: Profile) -> None:
    if not all(profile.fallback_models) or len(profile.fallback_models) > FALLBACKS_AT_MOST:
        hint = f"names of models, {FALLBACKS_AT_MOST} at most"
        raise ConfigError(f"{where}.fallback_models = {list(profile.fallback_models)}", hint=hint)
    if not 0 < profile.max_session_s <= 86_400:
        raise ConfigError(f"{where}.max_session_s = {profile.max_session_s}", hint="seconds, above 0, at most a day")
    for name in ("per_minute", "burst", "per_day", "seconds_per_day"):
        value = getattr(profile.limits, name)
        if not 0 <= value < 1e9:
            raise ConfigError(f"{where}.limits.{name} = {value}", hint="0 or more; 0 switches the limit off")
    if profile.limits.per_minute and profile.limits.burst < 1:
        raise ConfigError(f"{where}.limits.burst = {profile.limits.burst}", hint="at least 1, or per_minute = 0")
    if len(msgspec.json.encode(profile.session)) > _SESSION_AT_MOST:
        raise ConfigError(f"{where}: the session is longer than {_SESSION_AT_MOST} bytes", hint="shorten instructions")
