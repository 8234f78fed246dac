"""The web application: routes, the form of every error, and what wraps every request.

Responsible for: putting the parts together. Not for: listening (``serve``).
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from appliance.provisioning import database, oauth, problems, sessions, upstream
from appliance.provisioning.catalogue import Catalogue
from appliance.provisioning.pages import guard, routes
from appliance.provisioning.problems import RefusalError
from appliance.provisioning.service import Service
from appliance.provisioning.settings import Settings

_log = logging.getLogger(__name__)
BODY_AT_MOST = 32_768  # bytes
PROFILE_BODY_AT_MOST = 262_144  # the owner's form, which may hold long instructions


def create(settings: Settings, now: Callable[[], float] = time.time) -> FastAPI:
    """The application over one data directory, whose database must be up to date."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = database.connect(settings.store)
        try:
            async with upstream.http_client() as client:
                app.state.service = Service(settings, engine, Catalogue(settings, client), now)
                yield
        finally:
            await engine.dispose()

    app = FastAPI(title="voice-provisioning", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(oauth.router)
    app.include_router(sessions.router)
    app.add_exception_handler(RefusalError, _on_refusal)
    app.add_exception_handler(RequestValidationError, _on_malformed)
    routes.install(app)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(OperationalError, _on_database)
    app.add_exception_handler(PoolTimeoutError, _on_database)
    app.add_middleware(Envelope)
    return app


class Envelope:
    """Bounds every body; puts the next nonce and ``no-store`` on every answer of the protocol."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        service: Service = request.app.state.service
        left = at_most = PROFILE_BODY_AT_MOST if request.url.path.startswith("/profiles") else BODY_AT_MOST

        async def receive_bounded() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise RefusalError(413, "invalid_request", f"the body is longer than {at_most} bytes")
            return message

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start" and request.url.path.startswith(("/oauth/", "/v1/")):
                message["headers"] = [
                    *message["headers"],
                    (b"dpop-nonce", service.nonce(request).encode()),
                    (b"cache-control", b"no-store"),
                ]
            await send(message)

        await self._app(scope, receive_bounded, send_marked)


async def _on_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusalError)
    return problems.answer(request, error)


async def _on_malformed(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # Where, not what: pydantic's own text repeats the input, which may be a token.
    where = sorted({str(item["loc"][-1]) if item["loc"] else "body" for item in error.errors()})
    return problems.answer(request, problems.invalid_request(f"missing or malformed: {', '.join(where)[:200]}"))


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if page := guard.not_found(request):
        return page
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
    return problems.answer(request, RefusalError(error.status_code, code, "there is nothing like this here"))


async def _on_database(request: Request, error: Exception) -> Response:
    # hide_parameters keeps rows out of this text.
    _log.error("the database does not answer: %s (voice-provisioning doctor)", error)
    refusal = RefusalError(503, "overloaded", "the database does not answer", retry_after_s=5)
    return problems.answer(request, refusal)
