"""What stands around every page: its headers, and errors told as pages.

Responsible for: no answer without its security headers, no error as JSON or stack trace to a person.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from appliance.errors import ApplianceError
from appliance.provisioning.pages import rendering
from appliance.provisioning.pages.trouble import SeeOther, Trouble
from appliance.provisioning.problems import RefusalError

_log = logging.getLogger(__name__)

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: with it browsers send `Origin: null` with our own forms, and on plain HTTP in the house, where
    # they leave Sec-Fetch-Site out, nothing would tell our forms from a stranger's. Nothing goes to others either way.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class PageRoute(APIRoute):
    """A route whose every answer is fit for a person's browser."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's handler, with what may go wrong turned into pages."""
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                response = await handle(request)
            except SeeOther as there:
                response = RedirectResponse(there.path, 303)
                for name, value in there.cookies:
                    response.headers.append(name, value)
            except Exception as error:  # noqa: BLE001 whatever it is, a person gets a page
                response = _error_page(error, signed_in=getattr(request.state, "signed_in", False))
            if renewed := getattr(request.state, "renewed_cookie", None):
                response.headers.append(*renewed)
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
            return response

        return guarded


def _error_page(error: Exception, *, signed_in: bool = False) -> Response:
    match error:
        case Trouble():
            trouble = error
        case RequestValidationError():
            trouble = Trouble(404, "There is nothing here", "The address is not one of this service's.")
        case RefusalError():
            trouble = Trouble(error.status, error.detail, "Go back and try again.", error.retry_after_s)
        case ApplianceError() if signed_in:
            trouble = Trouble(409, error.message, error.hint or "Nothing was changed. Go back and try again.")
        case OperationalError() | InterfaceError() | PoolTimeoutError() | ApplianceError():
            # To a stranger no paths of ours; in the log the driver's first line, for the rest repeats the statement.
            said = str(getattr(error, "orig", None) or error).partition("\n")[0][:200]
            _log.error("the database does not answer: %s (voice-provisioning doctor)", said)
            remedy = "Nothing was changed. Try again in a moment; “voice-provisioning doctor” says what is wrong."
            trouble = Trouble(503, "The database does not answer", remedy, 5)
        case _:
            _log.error("a page failed", exc_info=error)
            remedy = "That is a fault of this service; its log says more. Nothing was changed."
            trouble = Trouble(500, "This page could not be made", remedy)
    headers = {} if trouble.retry_after_s is None else {"Retry-After": str(trouble.retry_after_s)}
    return rendering.page("trouble.html", status=trouble.status, headers=headers, trouble=trouble)


def told(error: Exception) -> Response:
    """What went wrong before any page was reached, as a page."""
    response = _error_page(error)
    response.headers.update(HEADERS)
    return response


def not_found(request: Request) -> Response | None:
    """A page for a person at a wrong address; None for whoever does not want HTML."""
    if request.scope["path"].startswith(("/v1/", "/oauth/")) or "text/html" not in request.headers.get("accept", ""):
        return None
    return told(Trouble(404, "There is nothing here", "The address is not one of this service's."))
