"""Refusals: a stable code each, as OAuth JSON on ``/oauth/*`` and as problem+json (RFC 9457) elsewhere.

Not for: the reasons. No answer ever repeats what the request contained.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response


class Problem(BaseModel):
    """RFC 9457, with a stable code."""

    type: str
    title: str
    status: int
    code: str
    detail: str


class OAuthProblem(BaseModel):
    """RFC 6749 §5.2."""

    error: str
    error_description: str


# For the published description: every refusal of a path looks like this, whatever its status.
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "refused; `code` says why",
        "model": Problem,
    }
}
OAUTH_PROBLEMS: dict[int | str, dict[str, Any]] = {
    "default": {"description": "refused; `error` says why", "model": OAuthProblem}
}


class RefusalError(Exception):
    """A request that is not granted."""

    def __init__(self, status: int, code: str, detail: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after_s = retry_after_s


def invalid_request(detail: str) -> RefusalError:
    """The request's form is wrong: the caller's bug."""
    return RefusalError(400, "invalid_request", detail)


def printable(text: str) -> str:
    """What a stranger said of itself, fit for a terminal and for both stores: no escape sequences, no NUL."""
    return "".join(character if character.isprintable() else "?" for character in text)


def answer(request: Request, refusal: RefusalError) -> Response:
    """The refusal in the form its path speaks."""
    headers = {}
    if refusal.retry_after_s is not None:
        headers["Retry-After"] = str(refusal.retry_after_s)
    if request.scope["path"].startswith("/oauth/"):
        # RFC 6749 §5.2 and RFC 9449 §8: the token endpoint says 400 where a resource says 401.
        status = 400 if refusal.status == 401 else refusal.status
        passing = refusal.code in ("overloaded", "too_many_requests")
        code = "temporarily_unavailable" if passing else refusal.code  # OAuth's own word
        content: dict[str, object] = {"error": code, "error_description": refusal.detail}
        return Response(json.dumps(content), status, headers, "application/json")
    if refusal.status == 401:
        headers["WWW-Authenticate"] = f'DPoP error="{refusal.code}", algs="ES256"'
    content = {
        "type": "about:blank",
        "title": HTTPStatus(refusal.status).phrase,
        "status": refusal.status,
        "code": refusal.code,
        "detail": refusal.detail,
    }
    return Response(json.dumps(content), refusal.status, headers, "application/problem+json")
