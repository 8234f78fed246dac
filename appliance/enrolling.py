"""How this device becomes known: the owner's token, or an enrolment in the background that waits for a person.

Responsible for: where the token is; beginning the enrolment by code, one at a time, the code that waits and for how
long, and telling how it ended. Not for: the exchange (``credentials``), when to begin (``tickets``) and how the code
is said (``conversation``).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance.config import Config
from appliance.conversation.events import ENROLMENT_PENDING, Enrolled, EnrolmentEnded
from appliance.errors import ConfigError, ProvisioningError, Secret, StateError

if TYPE_CHECKING:  # at run time only who enrols needs them
    from appliance.credentials.enrolment import Enrolment
    from appliance.credentials.grant import Waiting

log = logging.getLogger(__name__)
CREDENTIAL = "enrolment-token"  # the name under which systemd's LoadCredential= passes it
Enrol = Callable[["Callable[[Waiting], None]"], "Awaitable[Enrolment]"]
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


@dataclass(frozen=True, slots=True)
class Code:
    """What the owner of the service has to approve, and until when (the loop's seconds)."""

    digits: str
    url: str
    until_s: float


class Enroller:
    """Enrols by a spoken code. One thread (the event loop)."""

    def __init__(self, enrol: Enrol, spawn: Spawn, tell: Callable[[Enrolled | EnrolmentEnded], None]) -> None:
        """``enrol`` does it and is given the code to tell; ``tell`` hears how one that had to wait has ended."""
        self._enrol, self._spawn, self._tell = enrol, spawn, tell
        self._task: asyncio.Task[None] | None = None
        self._first: asyncio.Future[Enrolment | ProvisioningError] | None = None
        self.code: Code | None = None
        self.ended = ""  # why the last one came to nothing, in words

    async def obtain(self) -> Enrolment:
        """Enrol at once if the service lets us, else go on in the background. Cancelling this leaves that going.

        Raises:
            ProvisioningError: :data:`ENROLMENT_PENDING`: a code waits to be approved; else refused or unreachable.
        """
        if self._task is None or self._first is None:
            self._first = asyncio.get_running_loop().create_future()
            self._task = self._spawn(self._run(self._first))
        outcome = await asyncio.shield(self._first)
        if isinstance(outcome, ProvisioningError):
            raise self._pending() if self.code else outcome
        return outcome

    async def _run(self, first: asyncio.Future[Enrolment | ProvisioningError]) -> None:
        try:
            done = await self._enrol(lambda waiting: self._wait(waiting, first))
        except (ProvisioningError, StateError) as error:
            self._over()
            code = error.code if isinstance(error, ProvisioningError) else "local_file"
            if first.done() and code == "invalid_grant":
                code = "expired_token"  # somebody asked for another code with our key, as `voice-appliance enrol` does
            refused = ProvisioningError(
                error.message,
                hint=error.hint,
                code=code,
                retry=getattr(error, "retry", False),
                retry_after_s=getattr(error, "retry_after_s", None),
            )
            if first.done():
                self.ended = str(error)
                log.warning("not enrolled: %s", error)
                self._tell(EnrolmentEnded(code))
            else:
                first.set_result(refused)
        else:
            self._over()
            if first.done():
                self._tell(Enrolled())
            else:
                self.ended = ""
                first.set_result(done)

    def _wait(self, waiting: Waiting, first: asyncio.Future[Enrolment | ProvisioningError]) -> None:
        until_s = asyncio.get_running_loop().time() + waiting.expires_in_s
        self.code, self.ended = Code(waiting.code, waiting.url, until_s), ""
        pending = self._pending()
        log.info("%s", pending)
        first.set_result(pending)

    def _pending(self) -> ProvisioningError:
        code = self.code or Code("", "", 0.0)
        return ProvisioningError(
            f"waits to be approved: its code is {code.digits}",
            hint=f"`voice-provisioning approve {code.digits}`" + (f", or at {code.url}" if code.url else ""),
            code=ENROLMENT_PENDING,
        )

    def _over(self) -> None:
        self._task = self.code = None

    def status(self, now_s: float) -> dict[str, object] | None:
        """Show the code that waits, and for how many seconds more; ``None``: none does."""
        if self.code is None:
            return None
        left_s = max(0, round(self.code.until_s - now_s))
        return {"state": "waiting", "code": self.code.digits, "url": self.code.url, "expires_s": left_s}

    def close(self) -> None:
        """Give up what is under way, quietly."""
        if self._task is not None:
            self._task.cancel()
        self._over()


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
