"""The device's P-256 key: made on first boot, kept in one private file, never leaves the device.

Responsible for: the key's life and signatures. Not for: what is signed (``dpop``) and who knows the key
(``enrolment``). The file is a JWK (RFC 7517): reading it needs no PEM parser, which would cost 20 ms at start, and
its public half tells a torn file from a whole one.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from appliance.credentials import storage
from appliance.errors import StateError

FILE_NAME = storage.IDENTITY_FILE


class _KeyFile(msgspec.Struct, frozen=True):
    kty: str
    crv: str
    x: str
    y: str
    d: str


class Identity:
    """One device key. Two devices never share one; a device that loses it has to enrol again."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        numbers = key.public_key().public_numbers()
        self.public_jwk = {"crv": "P-256", "kty": "EC", "x": _encode(numbers.x), "y": _encode(numbers.y)}
        # RFC 7638: required members only, in lexicographic order, no white space. The dict above is in that order.
        digest = hashlib.sha256(msgspec.json.encode(self.public_jwk)).digest()
        self.thumbprint = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        self.device_id = "d_" + base64.b32encode(digest).decode().lower()[:20]

    def __repr__(self) -> str:
        return f"Identity({self.device_id})"

    @classmethod
    def load_or_create(cls, directory: Path) -> Identity:
        """The key in ``directory``; makes the directory (0700) and the key (0600) when there is none yet.

        Raises:
            StateError: disk full, read-only, not permitted, or the key file is torn. A torn file is never
                replaced: the owner decides, since a new key means a new enrolment.
        """
        path = directory / FILE_NAME
        with storage.locked(directory):
            if known := cls.load(directory):
                return known
            identity = cls.generate()
            storage.write(path, identity.file_content())
            return identity

    @classmethod
    def load(cls, directory: Path) -> Identity | None:
        """The key in ``directory``, None if there is none.

        Raises:
            StateError: it cannot be read, or is torn.
        """
        path = directory / FILE_NAME
        data = storage.read(path)
        return None if data is None else cls(_parse(data, path))

    @classmethod
    def generate(cls) -> Identity:
        """A new key, which nothing keeps yet."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    def file_content(self) -> bytes:
        """What the key's file holds: the secret itself, for ``storage`` alone."""
        secret = {**self.public_jwk, "d": _encode(self._key.private_numbers().private_value)}
        return msgspec.json.encode(secret) + b"\n"

    @staticmethod
    def forget(directory: Path) -> None:
        """Removes the key (factory reset): the next start makes another one, which has to enrol.

        Raises:
            StateError: read-only, not permitted.
        """
        with storage.locked(directory):
            storage.erase(directory / FILE_NAME)

    def sign(self, data: bytes) -> bytes:
        """ES256 signature as JOSE wants it: r and s, 32 bytes each, big endian."""
        r, s = decode_dss_signature(self._key.sign(data, ec.ECDSA(SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _parse(data: bytes, path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        jwk = msgspec.json.decode(data, type=_KeyFile)
        secret = int.from_bytes(base64.urlsafe_b64decode(jwk.d + "==="), "big")
        key = ec.derive_private_key(secret, ec.SECP256R1())
        numbers = key.public_key().public_numbers()
        whole = (jwk.kty, jwk.crv, jwk.x, jwk.y) == ("EC", "P-256", _encode(numbers.x), _encode(numbers.y))
    except (msgspec.DecodeError, ValueError):
        whole, key = False, None  # the error's own text could quote the key
    if not whole or key is None:
        raise StateError(
            f"the device key {path} is damaged",
            hint="restore it from a backup, or delete it and enrol this device again",
        )
    return key


def _encode(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()
