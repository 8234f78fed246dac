"""Where secrets come from: a provider that mints them, or a fixed key of a self-hosted server.

Responsible for: the provider call, its one retry, and what its failures mean. Not for: who may have a secret.
Provider texts are not passed on or logged: they can quote the key.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from appliance.errors import ConfigError, Secret
from appliance.provisioning import settings
from appliance.provisioning.configuration import OpenAISource, Profile, StaticSource
from appliance.provisioning.declarations import Declaration, joined
from appliance.provisioning.provider_http import Client, NoAnswerError, NotConnectedError, Reply
from appliance.provisioning.settings import Settings

SECRET_LIFE_S = 60
NO_ANSWER = "no answer from"
_WITHIN_S = 30.0  # all tries and models together, however slowly it speaks; well before `abandoned` takes us for dead
_SPENT = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}


class Minted(msgspec.Struct, frozen=True):
    """A secret that opens sessions for ``expires_in_s`` from now."""

    value: Secret
    expires_in_s: int
    model: str
    request_id: str | None = None


class UpstreamError(Exception):
    """The provider did not mint. ``code`` is for the device, the text for our log."""

    def __init__(
        self, code: str, detail: str, *, retry_after_s: int | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.request_id = request_id


class Upstream(Protocol):
    """One profile's source of secrets."""

    @property
    def connect_url(self) -> str:
        """Where a device opens its session, ws or wss."""

    @property
    def fallback_models(self) -> tuple[str, ...]:
        """What a device may ask for with the same secret where the model is gone."""

    @property
    def max_session_s(self) -> int:
        """How long a session may last."""

    @property
    def binds_tools(self) -> bool:
        """Whether the secret's sessions have the profile's tools, and the device's with them."""

    async def mint(self, safety_identifier: str, tools: Sequence[Declaration] = ()) -> Minted:
        """A fresh secret; ``tools`` are the device's own.

        Raises:
            UpstreamError: see its ``code``.
        """


class _Answer(msgspec.Struct, frozen=True):
    value: str
    expires_at: int


class _Error(msgspec.Struct, frozen=True):
    code: str | None = None
    type: str | None = None


class _Failure(msgspec.Struct, frozen=True):
    error: _Error


class OpenAIUpstream:
    """Mints client secrets: ``POST /v1/realtime/client_secrets``."""

    def __init__(self, source: OpenAISource, profile: Profile, key_file: Path, client: Client) -> None:
        base = source.base_url.rstrip("/").removesuffix("/v1")
        self._url = f"{base}/v1/realtime/client_secrets"
        self._key_file = key_file
        self._client = client
        self._body = {
            "expires_after": {"anchor": "created_at", "seconds": SECRET_LIFE_S},
        }
        self._session = profile.session
        self._models = (profile.model, *profile.fallback_models)
        self.connect_url = f"ws{base.removeprefix('http')}/v1/realtime"  # http -> ws, https -> wss
        self.fallback_models: tuple[str, ...] = ()  # a secret is bound to its model: the choice is made here
        self.max_session_s = profile.max_session_s
        self.binds_tools = profile.has_tools

    async def mint(self, safety_identifier: str, tools: Sequence[Declaration] = ()) -> Minted:
        """A fresh secret, of 60 s, for the first of the profile's models that is not gone.

        One more try if no connection came about, none after any other answer.
        """
        try:
            key = settings.read_key(self._key_file)  # at each mint: a changed key needs no restart
        except ConfigError as error:
            raise UpstreamError("upstream_unavailable", str(error)) from None
        headers = {
            "Authorization": f"Bearer {key}",
            "OpenAI-Safety-Identifier": safety_identifier,
            "Content-Type": "application/json",
        }
        session = self._session
        if self.binds_tools:
            session = {**session, "tools": joined(session["tools"], tools)}
        try:
            async with asyncio.timeout(_WITHIN_S):
                for model in self._models[:-1]:
                    reply = await self._ask(session, model, headers)
                    if not _model_is_gone(reply):
                        return self._minted(reply, model)
                return self._minted(await self._ask(session, self._models[-1], headers), self._models[-1])
        except (NotConnectedError, NoAnswerError, TimeoutError) as error:
            detail = f"{NO_ANSWER} {self._url} ({str(error) or type(error).__name__})"
            raise UpstreamError("upstream_unavailable", detail) from None

    async def _ask(self, session: dict[str, Any], model: str, headers: dict[str, str]) -> Reply:
        body = msgspec.json.encode({**self._body, "session": {**session, "model": model}})
        try:
            return await self._client.post(self._url, headers, body)
        except NotConnectedError:
            return await self._client.post(self._url, headers, body)

    def _minted(self, reply: Reply, model: str) -> Minted:
        if reply.status not in (200, 201):
            raise _failure(reply, self._url)
        return _minted(reply, model)


def _request_id(headers: Mapping[str, str]) -> str | None:
    value = headers.get("x-request-id", "")
    return value if re.fullmatch(r"[\w.:-]{1,128}", value, re.ASCII) else None


def _minted(reply: Reply, model: str) -> Minted:
    request_id = _request_id(reply.headers)
    try:
        value = msgspec.json.decode(reply.content, type=_Answer).value
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = ""
    if not value or not value.isascii() or not value.isprintable():
        raise UpstreamError("upstream_unavailable", "the provider's answer holds no secret", request_id=request_id)
    # Not expires_at minus our clock: ours may be off. The provider counts from its answer, we from receiving it.
    expires_in_s = max(1, SECRET_LIFE_S - int(reply.took_s) - 1)
    return Minted(value=Secret(value), expires_in_s=expires_in_s, model=model, request_id=request_id)


def _codes(reply: Reply) -> set[str]:
    try:
        error = msgspec.json.decode(reply.content, type=_Failure).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return set()
    return {code for code in (error.code, error.type) if code and re.fullmatch(r"\w{1,64}", code, re.ASCII)}


def _model_is_gone(reply: Reply) -> bool:
    return reply.status == 404 or (reply.status == 400 and "model_not_found" in _codes(reply))


def _failure(reply: Reply, url: str) -> UpstreamError:
    codes = _codes(reply)
    said = f"{url} answered {reply.status} {' '.join(sorted(codes))}".rstrip()
    request_id = _request_id(reply.headers)
    if reply.status == 402 or codes & _SPENT:  # 402: what gateways before a provider say
        return UpstreamError("spend_limit", f"{said}: raise the provider's limit or add credit", request_id=request_id)
    if reply.status == 429:
        wait = reply.headers.get("retry-after", "")
        wait_s = min(math.ceil(float(wait)), 3_600) if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,9})?", wait) else 5
        return UpstreamError("overloaded", said, retry_after_s=wait_s, request_id=request_id)
    if reply.status in (401, 403):
        said += ": the provider refuses our key; check api_key_file (voice-provisioning doctor)"
    elif reply.status < 500:
        said += ": the provider refuses our request; check base_url and the session in server.toml"
    return UpstreamError("upstream_unavailable", said, request_id=request_id)


class StaticUpstream:
    """Hands out one fixed key, for servers in one's own house that mint nothing."""

    def __init__(self, source: StaticSource, profile: Profile, key_file: Path | None) -> None:
        self._key = source.key
        self._key_file = key_file
        self.connect_url = source.url
        self.fallback_models = profile.fallback_models
        self._model = profile.model
        self.max_session_s = profile.max_session_s
        self.binds_tools = False

    async def mint(self, safety_identifier: str, tools: Sequence[Declaration] = ()) -> Minted:  # noqa: ARG002 such servers know neither
        """The key. It does not expire, but the device is told to use it at once."""
        try:
            key = settings.read_key(self._key_file) if self._key_file else Secret(self._key)
        except ConfigError as error:
            raise UpstreamError("upstream_unavailable", str(error)) from None
        return Minted(value=key, expires_in_s=SECRET_LIFE_S, model=self._model)


def build(configured: Settings, profile: Profile, client: Client) -> Upstream:
    """The upstream of one profile."""
    source = profile.source
    if isinstance(source, OpenAISource):
        return OpenAIUpstream(source, profile, configured.path(source.api_key_file), client)
    return StaticUpstream(source, profile, configured.path(source.key_file) if source.key_file else None)
