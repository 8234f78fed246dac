"""What may be called, and why a call failed, in words a user understands.

Responsible for: the rule that secrets travel encrypted outside the house, and the text of network failures.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import ssl
from urllib.parse import urlsplit

from appliance.errors import ProvisioningError

# OpenSSL's X509_V_ERR_* numbers; the ssl module gives them no names.
_NOT_YET_VALID, _EXPIRED, _WRONG_HOST = 9, 10, 62
# The codes of a network that fails; none says anything about the service.
NETWORK = frozenset({"unreachable", "clock_behind", "certificate_refused"})


def check(url: str, *, secure: str, plain: str) -> None:
    """Passes ``secure://`` to anywhere and ``plain://`` to this machine, private addresses and ``.local`` names.

    Raises:
        ProvisioningError: ``bad_url``.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if not host or parts.scheme not in (secure, plain) or parts.username is not None or not url.isascii():
        raise ProvisioningError(
            "the service's address cannot be used",
            hint=f"it must look like {secure}://voice.example.org",
            code="bad_url",
        )
    if parts.scheme == plain and not _in_house(host):
        raise ProvisioningError(
            f"{plain}://{host} would send secrets unencrypted over the Internet",
            hint=f"use {secure}://",
            code="bad_url",
        )


def _in_house(host: str) -> bool:
    if host == "localhost" or host.endswith(".local"):
        return True
    try:
        return ipaddress.ip_address(host).is_private  # loopback and link-local count as private
    except ValueError:
        return False


def unreachable(where: str, error: OSError | TimeoutError, timeout_s: float) -> ProvisioningError:
    """The error for a network failure: ``code`` of :data:`NETWORK`, ``retry`` True."""
    message, hint = _explain(where, error, timeout_s)
    code = "unreachable"
    if isinstance(error, ssl.SSLCertVerificationError):
        code = "clock_behind" if error.verify_code == _NOT_YET_VALID else "certificate_refused"
    return ProvisioningError(message, hint=hint, code=code, retry=True)


def wrong_key(where: str) -> ProvisioningError:
    """The error for a server that shows another key than the pinned one: ``code`` "wrong_key", no retry."""
    return ProvisioningError(
        f"{where} shows another key than the one it is pinned to",
        hint="if its key was changed on purpose, put the new pin into [provisioning] url; else somebody is in between",
        code="wrong_key",
    )


def bad_answer(where: str, what: str, retry_after_s: float | None = None) -> ProvisioningError:
    """The error for an answer that is none of the protocol's: ``code`` "bad_answer", ``retry`` True.

    Retry, because the usual cause passes: a Wi-Fi login page or a proxy in front of a restarting service, which may
    say for how long.
    """
    return ProvisioningError(
        f"{where} does not answer like a provisioning service: {what}",
        hint="check [provisioning] url, and whether the network wants a login",
        code="bad_answer",
        retry=True,
        retry_after_s=retry_after_s,
    )


def unwell(where: str, status: int, retry_after_s: float | None) -> ProvisioningError:
    """The error for a service, or a proxy before it, that is down for the moment: ``code`` "unreachable"."""
    message, hint = f"{where} answers {status}", "the service may be restarting, or have too much to do"
    return ProvisioningError(message, hint=hint, code="unreachable", retry=True, retry_after_s=retry_after_s)


def _explain(where: str, error: OSError | TimeoutError, timeout_s: float) -> tuple[str, str]:
    match error:
        case ssl.SSLCertVerificationError():
            said = _explain_certificate(where, error.verify_code)
        case ssl.SSLError():
            said = f"no encrypted connection to {where}", "is this an https address, and the right port?"
        case socket.gaierror():
            said = f"the name {where} was not found", "check the network, then the spelling of [provisioning] url"
        case TimeoutError():
            said = f"{where} did not answer within {timeout_s:g} s", "the network or the service is slow or down"
        # With several addresses asyncio joins the errors' texts into one OSError without a number.
        case _ if f"[Errno {errno.ECONNREFUSED}]" in str(error):
            said = f"{where} refused the connection", "is the provisioning service running, and the port right?"
        case _ if any(f"[Errno {number}]" in str(error) for number in (errno.ENETUNREACH, errno.EHOSTUNREACH)):
            said = f"no route to {where}", "this device is not connected to a network"
        case ConnectionError():
            said = f"{where} closed the connection", "the service may be restarting"
        case _:
            said = f"{where} cannot be reached", "check the network"
    return said


def _explain_certificate(where: str, verify_code: int) -> tuple[str, str]:
    if verify_code == _NOT_YET_VALID:
        return (
            f"the certificate of {where} is not yet valid",
            "this device's clock is probably behind: it heals once the time is synchronised (timedatectl)",
        )
    if verify_code == _EXPIRED:
        return (
            f"the certificate of {where} has expired",
            "renew it on the service; if it is new, this device's clock is wrong (timedatectl)",
        )
    if verify_code == _WRONG_HOST:
        return f"the certificate of {where} is for another name", "check [provisioning] url, and for a Wi-Fi login page"
    return (
        f"the certificate of {where} is not trusted",
        "check for a Wi-Fi login page; a private authority belongs into /usr/local/share/ca-certificates",
    )
