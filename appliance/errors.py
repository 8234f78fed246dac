"""The taxonomy of failure: what happened (for the user), the remedy (for the fixer), whether to try again.

Responsible for: the error types that cross a module boundary and their exit codes. Not for: turning them
into events (each adapter does that in one place) or into sounds and lights (``conversation`` decides those).

Nothing secret may enter an error's text: see :class:`Secret`.
"""

from __future__ import annotations

EXIT_FAILURE = 1
EXIT_CONFIG = 78  # sysexits.h EX_CONFIG: systemd is told not to restart on it


class ApplianceError(Exception):
    """A failure with a remedy: ``str()`` is one line, what happened and then the hint."""

    exit_code = EXIT_FAILURE

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class ConfigError(ApplianceError):
    """The configuration cannot be used: names the key, the value and the remedy. No restart helps."""

    exit_code = EXIT_CONFIG


class DeviceError(ApplianceError):
    """A sound card, button or light failed or is absent. Plugging it back in heals it."""


class StateError(ApplianceError):
    """The state directory cannot be read or written: full, read-only or torn."""


class LinkLost(ApplianceError):
    """The Realtime session broke or could not be opened: trying again later may help."""

    def __init__(self, message: str, *, hint: str = "", code: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.retry_after_s = retry_after_s


class LinkRefused(ApplianceError):
    """The Realtime service refuses us (key, quota, model): a person has to act before it can work."""

    def __init__(self, message: str, *, hint: str = "", code: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class ProvisioningError(ApplianceError):
    """The provisioning service refused or failed. ``code`` is its stable code, ``retry`` says if waiting helps."""

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        code: str = "",
        retry: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.retry = retry
        self.retry_after_s = retry_after_s


class UpdateError(ApplianceError):
    """An update could not be had, installed or judged. What runs goes on running."""


class LocalProtocolError(ApplianceError):
    """We were about to send something the protocol forbids: a bug of ours, never of the server's."""


class ToolError(ApplianceError):
    """A tool could not do its work: the text goes to the model, which tells the user."""


class Secret(str):
    """A string that shows at most its last four characters in ``repr`` and never in a log or traceback."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Secret(…{self[-4:]})" if len(self) > 12 else "Secret(…)"
