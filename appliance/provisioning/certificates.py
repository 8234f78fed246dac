"""Certificates of a TLS address: what they are good for, and the pin that devices may be given instead.

A pin is SHA-256 over the public key (SubjectPublicKeyInfo), base64url: a self-signed certificate of a home server
may be renewed with the same key and the pin still fits.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import ssl
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.errors import ConfigError


class Certificate(msgspec.Struct, frozen=True):
    """What devices will see."""

    pin: str
    names: tuple[str, ...]
    begins: dt.datetime
    ends: dt.datetime

    def fits(self, host: str) -> bool:
        """Whether it is made out to this host; a wildcard stands for one label (RFC 9525)."""
        wild = "*." + host.partition(".")[2]
        return any(name.lower() in (host.lower(), wild.lower()) for name in self.names)


def read(path: Path) -> Certificate:
    """The first certificate of a PEM file.

    Raises:
        ConfigError: unreadable, or no certificate.
    """
    try:
        return _describe(x509.load_pem_x509_certificate(path.read_bytes()))
    except OSError as error:
        raise ConfigError(
            f"cannot read the certificate {path} ({error.strerror})", hint="check path and mode"
        ) from None
    except ValueError:
        raise ConfigError(f"{path} is no certificate", hint="give the chain as PEM, the server's own first") from None


def from_der(raw: bytes) -> Certificate:
    """The certificate that a server has shown."""
    return _describe(x509.load_der_x509_certificate(raw))


def check_pair(certificate: Path, key: Path) -> None:
    """Passes a chain and the key that belongs to it.

    Raises:
        ConfigError: unreadable, or they do not belong together.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(
            f"certificate {certificate} and key {key} cannot be used ({type(error).__name__})",
            hint="PEM files that belong together, the key without a password",
        ) from None


def _describe(found: x509.Certificate) -> Certificate:
    public = found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        alternatives = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [
            *alternatives.get_values_for_type(x509.DNSName),
            *(str(address) for address in alternatives.get_values_for_type(x509.IPAddress)),
        ]
    except x509.ExtensionNotFound:
        names = []
    pin = base64.urlsafe_b64encode(hashlib.sha256(public).digest()).rstrip(b"=").decode()
    return Certificate(pin=pin, names=tuple(names), begins=found.not_valid_before_utc, ends=found.not_valid_after_utc)
