"""Listens: one process, one socket, ends cleanly on SIGTERM.

Responsible for: the socket and uvicorn's settings. Not for: the application (``app``).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import uvicorn

from appliance.errors import ConfigError
from appliance.provisioning import addresses
from appliance.provisioning.connections import Connection


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        ConfigError: the address is in use, not ours, or not permitted.
    """
    # Not socket.create_server: it leaves the protocol number out, and asyncio then leaves TCP_NODELAY out, which
    # costs 40 ms in every second answer on a connection.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2_048)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = error.strerror if isinstance(error, OSError) else "no such port"
        raise ConfigError(
            f"cannot listen on {host} port {port} ({reason})", hint="choose another --host or --port"
        ) from error
    return listener


class Tls(msgspec.Struct, frozen=True):
    """A certificate chain and its key, as PEM files."""

    certificate: Path
    key: Path


def url_of(listener: socket.socket, tls: Tls | None = None) -> str:
    """The address that it listens at; at all of them the one that this machine has in its network."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 what the owner asked for
        host = addresses.own() or host
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


class Server(uvicorn.Server):
    """uvicorn, which tells when it is ready."""

    def __init__(self, app: Any, on_ready: Callable[[], None], tls: Tls | None = None) -> None:
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http=Connection,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # what a stranger writes into X-Forwarded-… is not our address: the issuer is
            timeout_keep_alive=15,
            timeout_graceful_shutdown=5,
            ssl_certfile=tls.certificate if tls else None,
            ssl_keyfile=tls.key if tls else None,
        )
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to accept, then says so."""
        await super().startup(sockets=sockets)
        self._on_ready()
