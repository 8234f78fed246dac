"""What every request needs: settings, database, upstreams, clock; and the two checks that open every request.

Responsible for: the service's own address, proofs with nonces. Not for: routes (``oauth``, ``sessions``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request

from appliance.provisioning import nonces, proofs
from appliance.provisioning.catalogue import Catalogue
from appliance.provisioning.problems import RefusalError
from appliance.provisioning.provider_bucket import ProviderBucket
from appliance.provisioning.settings import Settings


@dataclass(frozen=True)
class Service:
    """One running service."""

    settings: Settings
    engine: AsyncEngine
    catalogue: Catalogue
    provider: ProviderBucket
    now: Callable[[], float]
    random: Callable[[], float]

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
        issuer = self.issuer(request)
        proof = proofs.verify(
            request.headers.getlist("dpop"),
            method=request.method,
            url=issuer + request.url.path,
            access_token=access_token,
        )
        if not proof.nonce or not nonces.accepts(self.settings.nonce_secret, issuer, self.now(), proof.nonce):
            raise RefusalError(401, "use_dpop_nonce", "repeat with the nonce of this answer's DPoP-Nonce header")
        return proof


def _of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


CurrentService = Annotated[Service, Depends(_of)]
