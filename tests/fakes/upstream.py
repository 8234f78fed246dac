"""A speech provider as far as minting goes: a real HTTP server on loopback that answers client_secrets.

Mints ``ek_`` secrets and remembers what it was asked. ``script`` holds answers to give first, oldest first.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

KEY = "sk-fake-provider-key-0123456789"


@dataclass(frozen=True)
class Asked:
    path: str
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Answer:
    """One scripted answer; ``drop`` closes the connection instead."""

    status: int = 200
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    drop: bool = False

    @classmethod
    def failure(cls, status: int, code: str, **headers: str) -> Answer:
        text = f"You said {KEY}, and that is wrong"  # as real providers do
        body = json.dumps({"error": {"message": text, "type": code, "code": code}}).encode()
        return cls(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


class _Server(ThreadingHTTPServer):
    request_queue_size = 512  # a fleet connects at once; five would make the sixth wait for a second
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went, or was cut off, is nothing to write about."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class FakeUpstream:
    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.minted: list[str] = []
        self.script: deque[Answer] = deque()
        self.usual = Answer()  # without a script
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def mint(self) -> bytes:
        self.minted.append(f"ek_fake_{len(self.minted):08d}_abcdefgh")
        return json.dumps({"value": self.minted[-1], "expires_at": int(time.time()) + 60, "session": {}}).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = json.loads(self.rfile.read(length) or b"null")
                headers = {name.lower(): value for name, value in self.headers.items()}
                fake.asked.append(Asked(self.path, headers, body))
                answer = fake.script.popleft() if fake.script else None
                if answer is None and headers.get("authorization") != f"Bearer {KEY}":
                    answer = Answer.failure(401, "invalid_api_key")
                answer = answer or fake.usual
                time.sleep(answer.delay_s)
                if answer.drop:
                    self.close_connection = True
                    return
                self._send(answer.status, fake.mint() if answer.body is None else answer.body, answer.headers)

            def do_GET(self) -> None:
                self._send(404, b"{}", {})

            def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in {"x-request-id": "req_fake", "Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base class names it
                pass

        return Handler
