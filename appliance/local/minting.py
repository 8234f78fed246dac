"""Client secrets: minting them and letting sessions in.

Responsible for: ``POST /v1/realtime/client_secrets`` and who may open a session. Not for: HTTP (``server``).
Secrets and keys are compared in constant time and never written anywhere.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from appliance.errors import ApplianceError, Secret
from appliance.local import config
from appliance.local.items import new_id
from appliance.local.schema import Json, Refused, anything, choice, integer, nullable, record

DEFAULT_SECONDS, MIN_SECONDS, MAX_SECONDS = 600, 10, 7200
DEFAULT_MODEL = "gpt-realtime-1.5"
_REQUEST = record(
    {
        "expires_after": nullable(
            record({"anchor": choice("created_at"), "seconds": integer(MIN_SECONDS, MAX_SECONDS)})
        ),
        "session": nullable(anything),
    }
)


class Rejected(ApplianceError):
    """An HTTP request that gets an error body: its status, and the code in the body."""

    def __init__(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param

    def body(self) -> Json:
        """The JSON that goes out."""
        error = {"message": self.message, "type": "invalid_request_error", "param": self.param, "code": self.code}
        return {"error": error}


@dataclass(frozen=True)
class _Minted:
    value: Secret
    expires_at: int
    session: Json


class Mint:
    """The secrets that are alive, and the key that may mint."""

    def __init__(self, clock: Callable[[], float], api_key: Secret | None = None) -> None:
        """Make an empty mint.

        Args:
            clock: unix time in seconds.
            api_key: the only key that is taken; None takes any that is not empty.
        """
        self._clock = clock
        self._api_key = api_key
        self._minted: list[_Minted] = []

    def create(self, bearer: str | None, request: Any) -> Json:
        """Mint a secret.

        Args:
            bearer: the API key of the request.
            request: its JSON body; None for an empty one.

        Raises:
            Rejected: 401 for the key, 400 for the body.
        """
        if not self._is_key(bearer):
            raise _unauthorised(bearer)
        try:
            wanted = _REQUEST(request if request is not None else {}, "")
            patch = wanted.get("session")
            patch = config.check(patch, path="session") if patch is not None else {}
        except Refused as problem:
            raise Rejected(400, problem.message, code=problem.code, param=problem.param) from problem
        now = int(self._clock())
        expires_at = now + ((wanted.get("expires_after") or {}).get("seconds") or DEFAULT_SECONDS)
        session = self._settings(patch.get("model", DEFAULT_MODEL), patch, now)
        value = Secret(f"ek_{secrets.token_hex(16)}")
        self._minted = [minted for minted in self._minted if minted.expires_at > now]
        self._minted.append(_Minted(value, expires_at, patch))
        return {"value": str(value), "expires_at": expires_at, "session": session}

    def admit(self, bearer: str | None, model: str | None) -> Json:
        """The configuration a new session starts with.

        Args:
            bearer: a live secret or the API key.
            model: of the URL; None if it names none.

        Raises:
            Rejected: 401 for the bearer, 400 without a model, 404 for a model there is not.
        """
        bound = self._bound_to(bearer)
        if bound is None and not self._is_key(bearer):
            raise _unauthorised(bearer)
        bound = bound or {}
        name = model or bound.get("model")
        if not name:
            raise Rejected(400, "You must provide a model parameter.", code="missing_model", param="model")
        if not config.is_served(name):
            raise Rejected(404, f"The model '{name[:64]}' does not exist.", code="model_not_found", param="model")
        return self._settings(name, bound, int(self._clock()))

    def _settings(self, model: str, patch: Json, now: int) -> Json:
        expires_at = now + config.SESSION_MINUTES * 60
        base = config.defaults(model, session_id=new_id("sess"), expires_at=expires_at)
        return {**config.merged(base, patch), "model": model}

    def _bound_to(self, bearer: str | None) -> Json | None:
        """The session a live secret was minted for; None if the bearer is no live secret."""
        now = self._clock()
        for minted in self._minted:
            if _same(minted.value, bearer) and minted.expires_at > now:
                return minted.session
        return None

    def _is_key(self, bearer: str | None) -> bool:
        if not bearer or bearer.startswith("ek_"):
            return False
        return self._api_key is None or _same(self._api_key, bearer)


def _same(known: str, given: str | None) -> bool:
    return given is not None and hmac.compare_digest(known.encode(), given.encode())


def _unauthorised(bearer: str | None) -> Rejected:
    if not bearer:
        return Rejected(401, "Missing bearer authentication in header.")
    return Rejected(401, "Incorrect API key or expired client secret provided.", code="invalid_api_key")
