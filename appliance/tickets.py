"""Session credentials for the daemon: identity and enrolment on one side, tickets for the session on the other.

Responsible for: enrolling at first need when the owner gave an enrolment token, and minting. Not for: the
protocol of either (``credentials``).
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING

from appliance import __version__
from appliance.config import Config
from appliance.credentials.storage import IDENTITY_FILE
from appliance.errors import ConfigError, ProvisioningError, Secret, StateError
from appliance.realtime.session import Ticket

if TYPE_CHECKING:  # at run time they are imported when the first of them is needed: readiness does not wait
    from appliance.credentials.enrolment import Enrolment
    from appliance.credentials.identity import Identity
    from appliance.credentials.mint import Minter

log = logging.getLogger(__name__)
CREDENTIAL = "enrolment-token"  # the name under which systemd's LoadCredential= passes it


class Tickets:
    """Mints session credentials. One thread (the event loop)."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._directory = Path(config.state.directory)
        self._identity: Identity | None = None
        self._context: ssl.SSLContext | None = None
        if not os.path.exists(self._directory / IDENTITY_FILE):  # noqa: PTH110  # Path.exists() raises where it may not look
            self.load_identity()  # a disk that cannot hold it must be known before we say that we are ready
        self._minter: Minter | None = None
        self._enrolment: Enrolment | None = None

    def load_identity(self) -> Identity:
        """Load the device's key, make it at first. Costs a tenth of a second on a small board.

        Raises:
            StateError: it cannot be read or stored, or is torn.
        """
        from appliance.credentials.identity import Identity

        if self._identity is None:
            self._identity = Identity.load_or_create(self._directory)
        return self._identity

    def load(self) -> None:
        """Load what minting needs, the key included. In a thread: it takes long enough to be felt at a press.

        Raises:
            StateError: the key cannot be read, or is torn.
        """
        for name in ("enrolment", "mint"):
            importlib.import_module(f"appliance.credentials.{name}")
        self.load_identity()

    async def mint(self) -> Ticket:
        """Mint a credential for one session.

        Raises:
            ProvisioningError: not enrolled, refused, the service cannot be reached, or a file that is needed for it
                cannot be read or written: the appliance goes on and shows that.
        """
        try:
            return await self._mint()
        except (ConfigError, StateError) as error:
            raise ProvisioningError(error.message, hint=error.hint, code="local_file") from error

    async def _mint(self) -> Ticket:
        config = self._config.provisioning
        minter = self._minter or await self._begin()
        try:
            grant = await minter.mint("websocket", config.profile)
        except ProvisioningError as error:
            if error.code != "invalid_token":
                raise
            # Enrolled once and no longer: with a token from the owner we may do it again, else say so.
            self._minter = None
            if enrolment_token(self._config) is None:
                raise
            minter = await self._begin(again=True)
            grant = await minter.mint("websocket", config.profile)
        tls = await self._tls(grant.url)
        return Ticket(grant.url, grant.model or self._config.realtime.model, grant.value, tls)

    async def _tls(self, url: str) -> ssl.SSLContext | None:
        """Make the TLS context once, in a thread: loading the root certificates would hold up audio on the loop."""
        if not url.startswith(("https:", "wss:")):
            return None
        if self._context is None:
            self._context = await asyncio.to_thread(ssl.create_default_context)
        return self._context

    async def _begin(self, *, again: bool = False) -> Minter:
        from appliance.credentials import enrolment
        from appliance.credentials.http import HttpClient
        from appliance.credentials.mint import Minter

        known = None if again else enrolment.load(self._directory)
        if known is not None and known.issuer != self._config.provisioning.url.rstrip("/"):
            known = None  # the owner moved this device to another service
        self._enrolment = known or await self.enrol(enrolment_token(self._config))
        client = HttpClient(tls=await self._tls(self._enrolment.issuer))
        self._minter = Minter(self._enrolment, self.load_identity(), client=client, now=time.time)
        return self._minter

    async def enrol(self, token: Secret | None) -> Enrolment:
        """Enrol at the configured service.

        Raises:
            ProvisioningError: no service or no token given, refused, or out of reach.
        """
        if not self._config.provisioning.url:
            raise ProvisioningError(
                "no provisioning service is configured", hint="set [provisioning] url", code="no_provisioning"
            )
        from appliance.credentials import enrolment
        from appliance.credentials.http import HttpClient

        done = await enrolment.enrol(
            self._config.provisioning.url,
            self.load_identity(),
            directory=self._directory,
            token=token,
            name=os.uname().nodename,
            hardware=self._config.board,
            software=__version__,
            client=HttpClient(tls=await self._tls(self._config.provisioning.url)),
            now=time.time,
            sleep=asyncio.sleep,
        )
        log.info("enrolled at %s as %s", done.issuer, done.device_id)
        return done


def enrolment_token(config: Config) -> Secret | None:
    """Read the enrolment token, from systemd's credentials or the configured file; ``None``: there is none.

    Raises:
        ConfigError: the configured file cannot be read.
    """
    passed = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nonexistent")) / CREDENTIAL
    named = config.provisioning.enrolment_token_file
    path = Path(named) if named else passed
    try:
        return Secret(path.read_text().strip()) or None
    except ValueError as error:  # bytes that are no text, a name that cannot be one
        raise ConfigError(f"{path}: no enrolment token is in there", hint="put the token there, as text") from error
    except OSError as error:
        if not named:
            return None
        raise ConfigError(
            f"provisioning.enrolment_token_file = {named!r}: {error.strerror}", hint="make the file readable"
        ) from error
