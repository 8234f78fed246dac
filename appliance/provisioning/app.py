"""The web application: routes, the form of every error, and what wraps every request.

Responsible for: putting the parts together. Not for: listening (``serve``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random as _random
import time
from collections.abc import AsyncIterator, Callable, Iterator

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from appliance.errors import ConfigError
from appliance.provisioning import (
    abandoned,
    database,
    device_routes,
    health,
    oauth,
    problems,
    retention,
    sessions,
)
from appliance.provisioning.admission import Admission
from appliance.provisioning.catalogue import Catalogue
from appliance.provisioning.description import Described
from appliance.provisioning.pages import guard, routes
from appliance.provisioning.problems import RefusalError
from appliance.provisioning.provider_bucket import ProviderBucket
from appliance.provisioning.provider_http import Client
from appliance.provisioning.service import Service
from appliance.provisioning.settings import Settings

_log = logging.getLogger(__name__)
BODY_AT_MOST = 32_768  # bytes
PROFILE_BODY_AT_MOST = 262_144  # the owner's form, which may hold long instructions


def create(
    settings: Settings, now: Callable[[], float] = time.time, random: Callable[[], float] = _random.random
) -> FastAPI:
    """The application over one data directory, whose database must be up to date."""
    admission = Admission(random)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            observe = stack.enter_context(_counting(settings, admission))
            engine = database.connect(settings.store)
            stack.push_async_callback(engine.dispose)
            quick = database.quick(settings.store)
            stack.push_async_callback(quick.close)
            sweeping = asyncio.create_task(retention.sweep_for_ever(engine, settings.retention_days, now, random))
            stack.push_async_callback(_ended, sweeping)
            client = await stack.enter_async_context(contextlib.aclosing(Client()))
            app.state.service = service = Service(
                settings=settings,
                engine=engine,
                quick=quick,
                catalogue=Catalogue(settings, engine, client),
                provider=ProviderBucket(engine, settings.fleet_per_s),
                now=now,
                random=random,
                observe=observe,
            )
            settling = asyncio.create_task(abandoned.keep_settling(engine, service.now_ms, random))
            stack.push_async_callback(_ended, settling)
            yield

    app = Described(
        title="voice-provisioning",
        version=str(oauth.API_VERSION),
        description="Hands out short-lived Realtime secrets to enrolled devices. Every request of theirs carries a "
        "DPoP proof (RFC 9449) with the nonce of the last answer.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    for router in (oauth.router, sessions.router, device_routes.router, health.router):
        app.include_router(router)
    app.add_exception_handler(RefusalError, _on_refusal)
    app.add_exception_handler(RequestValidationError, _on_malformed)
    routes.install(app)
    app.add_exception_handler(HTTPException, _on_http)
    # InternalError: a server that takes no writes now. ConfigError: the file with the database's password is gone.
    for away in (OperationalError, InterfaceError, InternalError, PoolTimeoutError, ConfigError):
        app.add_exception_handler(away, _on_database)
    app.add_exception_handler(Exception, _on_fault)
    app.add_middleware(Envelope, admission=admission)
    return app


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@contextlib.contextmanager
def _counting(settings: Settings, admission: Admission) -> Iterator[Callable[[str, float], None]]:
    if settings.metrics_listen is None:
        yield lambda _outcome, _seconds: None
        return
    from appliance.provisioning.metrics import Listener, Metrics

    metrics = Metrics(admission)
    listener = Listener(metrics, *settings.metrics_listen)
    _log.info("metrics on http://%s:%d/metrics", settings.metrics_listen[0], listener.port)
    try:
        yield metrics.observe
    finally:
        listener.close()


class Envelope:
    """Turns away what is too much; bounds every body; puts nonce and ``no-store`` on every answer of the protocol."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        # Starlette has decoded the path; the owner's page stays open to an owner who wants to see what is going on.
        protocol = scope["path"].startswith(("/oauth/", "/v1/"))
        try:
            # Before a place is taken: whoever sends a byte a second must not keep a device out.
            body = await _whole(
                receive, PROFILE_BODY_AT_MOST if scope["path"].startswith("/profiles") else BODY_AT_MOST
            )
        except ClientDisconnect:
            return
        except RefusalError as error:
            refusal = problems.answer(request, error) if protocol else guard.told(error)
            await refusal(scope, receive, send)
            return
        if not protocol:
            await self._app(scope, _again(body, receive), send)
            return
        if self._admission.full:
            await self._admission.turn_away(scope["path"], send)
            return
        service: Service = request.app.state.service

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"dpop-nonce", service.nonce(request).encode()),
                    (b"cache-control", b"no-store"),
                ]
            await send(message)

        self._admission.in_hand += 1
        try:
            await self._app(scope, _again(body, receive), send_marked)
        finally:
            self._admission.in_hand -= 1


async def _whole(receive: Receive, at_most: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > at_most:
            raise RefusalError(413, "invalid_request", f"the body is longer than {at_most} bytes")
        if not message.get("more_body", False):
            return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()  # whether the client has gone
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


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
    response = problems.answer(request, RefusalError(error.status_code, code, "there is nothing like this here"))
    response.headers.update(error.headers or {})  # RFC 9110 §15.5.6: which methods there are instead
    return response


async def _on_fault(request: Request, _: Exception) -> Response:
    # Whatever it is, it goes on to the log with its trace.
    return problems.answer(request, RefusalError(500, "server_error", "a fault of this service; its log says more"))


async def _on_database(request: Request, error: Exception) -> Response:
    # The driver's own first line: the rest repeats the statement, over many lines.
    cause = getattr(error, "orig", None) or error
    said = str(cause).partition("\n")[0][:200]
    _log.error("the database does not answer: %s: %s (voice-provisioning doctor)", type(cause).__name__, said)
    refusal = RefusalError(503, "overloaded", "the database does not answer", retry_after_s=5)
    return problems.answer(request, refusal)
