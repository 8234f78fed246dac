"""Checks DPoP proofs (RFC 9449 §4.3). The one place that knows JOSE.

``iat`` is read but not compared with our clock: the nonce says how old a proof is, and a device without a clock
must pass (§11.1).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Literal
from urllib.parse import urlsplit

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from appliance.provisioning.problems import RefusalError

PROOF_AT_MOST = 2_048  # bytes; ours is about 700
_REGISTRY = jws.JWSRegistry(algorithms=["ES256"])


class Proof(msgspec.Struct, frozen=True):
    """A verified proof: whose key, and a digest that no second request may have."""

    thumbprint: str
    jti_sha256: str
    nonce: str | None


class _Jwk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A public key and nothing else: a private member (``d``) is refused like any other."""

    kty: Literal["EC"]
    crv: Literal["P-256"]
    x: str
    y: str
    kid: str = ""
    use: str = ""
    alg: str = ""


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No ``crit``, no ``b64``, no key by reference: what is not here is refused."""

    typ: Literal["dpop+jwt"]
    alg: Literal["ES256"]
    jwk: _Jwk


class _Claims(msgspec.Struct, frozen=True):
    jti: str
    htm: str
    htu: str
    iat: int | float
    nonce: str | None = None
    ath: str | None = None


def verify(values: list[str], *, method: str, url: str, access_token: str | None = None) -> Proof:
    """Checks everything but the nonce's age and the ``jti``'s novelty, which need state.

    Args:
        values: the request's ``DPoP`` headers; there must be exactly one.
        method: the request's method.
        url: the address the request was sent to, without query.
        access_token: the token the request carries; the proof must be bound to it.

    Raises:
        RefusalError: ``invalid_dpop_proof``, with the rule that was broken.
    """
    if len(values) != 1:
        raise _invalid("the request needs exactly one DPoP header")
    if len(values[0]) > PROOF_AT_MOST:
        raise _invalid(f"the proof is longer than {PROOF_AT_MOST} bytes")
    key, payload = _verify_signature(values[0])
    try:
        claims = msgspec.json.decode(payload, type=_Claims)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _invalid("the claims are not those of a DPoP proof") from None
    if not 0 < len(claims.jti) <= 128:
        raise _invalid("jti must have 1 to 128 characters")
    if claims.htm != method:
        raise _invalid("htm is another method")
    if _normal(claims.htu) != _normal(url):
        raise _invalid("htu is another address; behind a proxy, set issuer in server.toml")
    if access_token is not None and claims.ath != _ath(access_token):
        raise _invalid("ath is another access token")
    thumbprint = key.thumbprint()
    # Bound to the key: one device cannot use up another's jti.
    jti_sha256 = hashlib.sha256(f"{thumbprint}.{claims.jti}".encode()).hexdigest()
    return Proof(thumbprint=thumbprint, jti_sha256=jti_sha256, nonce=claims.nonce)


def _verify_signature(proof: str) -> tuple[ECKey, bytes]:
    try:
        segment = proof.encode("ascii").partition(b".")[0]
        header = msgspec.json.decode(base64.urlsafe_b64decode(segment + b"=="), type=_Header)
    except (msgspec.DecodeError, UnicodeError, binascii.Error):
        raise _invalid("the header must be typ dpop+jwt, alg ES256 and the public jwk, P-256") from None
    try:
        signature = jws.extract_compact(proof.encode("ascii"), registry=_REGISTRY)
        key = ECKey.import_key({"kty": "EC", "crv": "P-256", "x": header.jwk.x, "y": header.jwk.y})
        fits = jws.validate_compact(signature, key, registry=_REGISTRY)
    except (JoseError, ValueError, TypeError):  # what is not base64 or no point of the curve is a ValueError
        fits, key, signature = False, None, None
    if not fits or key is None or signature is None:
        raise _invalid("the signature does not fit")
    return key, signature.payload


def _normal(url: str) -> str:
    """Scheme and host in lower case, default port and query left out (RFC 9449 §4.3)."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    default = {"https": 443, "http": 80}.get(parts.scheme)
    return f"{parts.scheme}://{parts.hostname}:{port or default}{parts.path}"


def _ath(access_token: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(access_token.encode()).digest()).rstrip(b"=").decode()


def _invalid(reason: str) -> RefusalError:
    return RefusalError(401, "invalid_dpop_proof", reason)
