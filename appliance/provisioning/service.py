"""What every request needs: settings, database, upstreams, clock; and the two checks that open every request.

Responsible for: the service's own address, proofs with nonces. Not for: routes (``oauth``, ``sessions``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request

from appliance.provisioning import nonces, proofs
from appliance.provisioning.catalogue import Catalogue
from appliance.provisioning.manners import Manners
from appliance.provisioning.problems import RefusalError
from appliance.provisioning.provider_bucket import ProviderBucket
from appliance.provisioning.quick import Quick
from appliance.provisioning.settings import Settings


@dataclass(frozen=True)
class Service:
    """One running service."""

    settings: Settings
    engine: AsyncEngine
    quick: Quick  # the same store, for what a power cut may undo
    catalogue: Catalogue
    provider: ProviderBucket
    now: Callable[[], float]
    random: Callable[[], float]
    observe: Callable[[str, float], None]
    manners: Manners = field(default_factory=Manners)

    def now_ms(self) -> int:
        """The wall clock as the database keeps it."""
        return int(self.now() * 1000)

    def issuer(self, request: Request) -> str:
        """Our address: the configured one, else the one this request was sent to."""
        return self.settings.issuer or f"{request.url.scheme}://{request.url.netloc}"

    def nonce(self, request: Request) -> str:
        """The nonce the next proof should carry."""
        return nonces.issue(self.settings.nonce_secret, self.issuer(request), self.now())

    def check_proof(self, request: Request, access_token: str | None = None) -> proofs.Proof:
        """The request's proof, verified but for its novelty.

        Raises:
            RefusalError: ``invalid_dpop_proof``, or ``use_dpop_nonce`` for none or an old nonce.
        """
        return self.check_one_proof(request.headers.getlist("dpop"), request, access_token)

    def check_one_proof(self, values: list[str], request: Request, access_token: str | None) -> proofs.Proof:
        """A proof for this request, wherever it stands in it.

        Raises:
            RefusalError: as `check_proof`.
        """
        issuer = self.issuer(request)
        # The path as it was sent, and never read out of a URL that the Host header is part of.
        url = issuer + request.scope["raw_path"].decode("ascii")
        proof = proofs.verify(values, method=request.method, url=url, access_token=access_token)
        if not proof.nonce or not nonces.accepts(self.settings.nonce_secret, issuer, self.now(), proof.nonce):
            raise RefusalError(401, "use_dpop_nonce", "repeat with the nonce of this answer's DPoP-Nonce header")
        return proof


def access_token(request: Request) -> str:
    """The device's token from ``Authorization: DPoP …``.

    Raises:
        RefusalError: ``invalid_token``: none there, or of another scheme.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "dpop" or not token or len(token) > 128:
        raise RefusalError(401, "invalid_token", "the request needs Authorization: DPoP and the device's token")
    return token


def _of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


CurrentService = Annotated[Service, Depends(_of)]
