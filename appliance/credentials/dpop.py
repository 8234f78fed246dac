"""DPoP proofs (RFC 9449): a signed statement "I hold this key and make this one request now".

Pure: time, nonce and the unique ``jti`` come in as arguments. Not for: sending, nonces' life (``signed``).
"""

from __future__ import annotations

import base64
import hashlib
from typing import Protocol

import msgspec

from appliance.errors import Secret


class Signer(Protocol):
    """What holds the key: a file today, the Pi's OTP or a TPM tomorrow."""

    @property
    def public_jwk(self) -> dict[str, str]:
        """Public half as JWK members ``crv kty x y``."""

    def sign(self, data: bytes) -> bytes:
        """ES256 signature, r and s, 64 bytes."""


def proof(
    signer: Signer,
    *,
    method: str,
    url: str,
    now_s: float,
    jti: str,
    nonce: str | None = None,
    access_token: Secret | None = None,
) -> str:
    """The value of one request's ``DPoP`` header.

    Args:
        signer: the device's key.
        method: HTTP method, as sent.
        url: where the request goes; query and fragment are left out of the proof.
        now_s: wall clock, seconds since 1970. May be wrong: with a nonce servers do not rely on it.
        jti: unique per request.
        nonce: the server's last ``DPoP-Nonce``.
        access_token: the token this request carries, to bind the proof to it (``ath``).
    """
    header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": signer.public_jwk}
    claims: dict[str, str | int] = {
        "jti": jti,
        "htm": method,
        "htu": url.partition("#")[0].partition("?")[0],
        "iat": max(0, int(now_s)),
    }
    if nonce is not None:
        claims["nonce"] = nonce
    if access_token is not None:
        claims["ath"] = _base64url(hashlib.sha256(access_token.encode("ascii")).digest())
    signed = f"{_base64url(msgspec.json.encode(header))}.{_base64url(msgspec.json.encode(claims))}"
    return f"{signed}.{_base64url(signer.sign(signed.encode('ascii')))}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
