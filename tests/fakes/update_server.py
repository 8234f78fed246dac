"""A static HTTPS folder on loopback, in a thread of the test, that can be told to misbehave.

Responsible for: serving files with ranges (RFC 9110, section 14), and for the ways in which a server or a line fails.
"""

from __future__ import annotations

import re
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class UpdateServer:
    """Serves ``files`` by name. The faults count for bundles (``.raucb``) unless ``status`` is set."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []  # name, range
        self.status: int | None = None  # answered to everything
        self.tears_after: int | None = None  # bytes of a body, then the connection is cut
        self.tells_length: int | None = None
        self.tells_range: str | None = None
        self.ignores_ranges = False
        self.silent_s = 0.0
        self.extra = b""
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server._answer(self)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://localhost:{self._server.server_port}/updates"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        name = request.path.removeprefix("/updates/")
        asked = request.headers.get("Range", "")
        self.asked.append((name, asked))
        request.close_connection = True
        body = self.files.get(name)
        if self.status is not None or body is None:
            request.send_response(self.status or 404)
            request.send_header("Location", "https://elsewhere.example/")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        faulty = name.endswith(".raucb")
        begin = int(re.sub(r"\D", "", asked)) if asked and not self.ignores_ranges else 0
        if begin:
            request.send_response(206)
            told = f"bytes {begin}-{len(body) - 1}/{len(body)}"
            request.send_header("Content-Range", (self.tells_range if faulty else None) or told)
        else:
            request.send_response(200)
        rest = body[begin:] + (self.extra if faulty else b"")
        length = self.tells_length if faulty and self.tells_length is not None else len(rest)
        if not (faulty and self.extra):
            request.send_header("Content-Length", str(length))
        request.end_headers()
        if faulty and self.tears_after is not None:
            rest = rest[: self.tears_after]
        request.wfile.write(rest)
        request.wfile.flush()
        if faulty and self.silent_s:
            time.sleep(self.silent_s)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
