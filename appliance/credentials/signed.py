"""Requests signed with the device's key: every request of ours to a provisioning service is one.

Responsible for: one fresh proof per attempt, the server's nonces (RFC 9449 §8), and reading JSON answers. Not for:
what the answers mean (``enrolment``, ``mint``).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec

from appliance.credentials import dpop, reach
from appliance.credentials.http import Connection, HttpClient, Response
from appliance.errors import Secret

_Answer = TypeVar("_Answer")


class SignedClient:
    """Asks with a DPoP proof and remembers each origin's next nonce, so that the usual request is one round trip."""

    def __init__(self, signer: dpop.Signer, client: HttpClient, *, now: Callable[[], float]) -> None:
        self._signer = signer
        self._client = client
        self._now = now
        self._nonces: dict[str, str] = {}

    async def post_json(
        self, url: str, content: object, *, token: Secret, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Posts JSON with the device's token.

        Raises:
            ProvisioningError: ``unreachable``, ``bad_answer``, ``bad_url``.
        """
        lines = {"Content-Type": "application/json", "Authorization": f"DPoP {token}", **(headers or {})}
        return await self._send("POST", url, msgspec.json.encode(content), lines, token)

    async def post_form(self, url: str, fields: Mapping[str, str]) -> Response:
        """Posts a form, as OAuth wants it, without a token.

        Raises:
            ProvisioningError: ``unreachable``, ``bad_answer``, ``bad_url``.
        """
        lines = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self._send("POST", url, urlencode(fields).encode("ascii"), lines, None)

    async def get(self, url: str, *, token: Secret) -> Response:
        """Gets with the device's token.

        Raises:
            ProvisioningError: ``unreachable``, ``bad_answer``, ``bad_url``.
        """
        return await self._send("GET", url, b"", {"Authorization": f"DPoP {token}"}, token)

    def nonce(self, url: str) -> str | None:
        """The nonce that the next proof for the host of ``url`` should carry, as far as it has said one."""
        return self._nonces.get(urlsplit(url).netloc)

    async def _send(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str], token: Secret | None
    ) -> Response:
        async with self._client.connect(url) as connection:
            response = await self._attempt(connection, method, url, body, headers, token)
            if _wants_nonce(response):
                response = await self._attempt(connection, method, url, body, headers, token)
            return response

    async def _attempt(
        self,
        connection: Connection,
        method: str,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        token: Secret | None,
    ) -> Response:
        proof = dpop.proof(
            self._signer,
            method=method,
            url=url,
            now_s=self._now(),
            jti=str(uuid.uuid4()),
            nonce=self.nonce(url),
            access_token=token,
        )
        response = await connection.request(method, url, headers={**headers, "DPoP": proof}, body=body)
        nonce = response.headers.get("dpop-nonce")
        if nonce is not None:
            self._nonces[urlsplit(url).netloc] = nonce
        return response


def _wants_nonce(response: Response) -> bool:
    if response.status not in (400, 401) or "dpop-nonce" not in response.headers:
        return False
    # OAuth endpoints say it in the body, resources in WWW-Authenticate.
    return b"use_dpop_nonce" in response.body or "use_dpop_nonce" in response.headers.get("www-authenticate", "")


def read(response: Response, kind: type[_Answer], where: str) -> _Answer:
    """The JSON body as ``kind``; unknown members are ignored, so that services can grow.

    Raises:
        ProvisioningError: ``bad_answer``. Its text never quotes the body, which may hold a secret.
    """
    try:
        return msgspec.json.decode(response.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        what = f"status {response.status} with a body we cannot read"
        raise reach.bad_answer(urlsplit(where).netloc, what, retry_after_s(response)) from None


def retry_after_s(response: Response) -> float | None:
    """Seconds the server asks us to wait, at most a day; None when it does not say or gives a date."""
    value = response.headers.get("retry-after", "")
    return float(min(int(value), 86_400)) if value.isascii() and value.isdigit() and len(value) < 10 else None
