"""A static folder with updates on this machine's loopback, as a plain web server shows one; it can tear a download.

Responsible for: files of one folder, by name, with ranges (RFC 9110, section 14). QEMU's user network shows it to the
guest at 10.0.2.2.
"""

from __future__ import annotations

import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from image.test.home import HOST

BLOCK = 2**20


class Folder:
    """``path`` on the network, at ``url``. Use as a context. ``asked``: each file asked for, and its range."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[tuple[str, str]] = []
        self.tears_after = 0  # bytes of a bundle, then the line is cut, once; 0: never
        folder = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                folder._answer(self)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://{HOST}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        name, asked = request.path.lstrip("/"), request.headers.get("Range", "")
        self.asked.append((name, asked))
        request.close_connection = True
        path = self.path / name
        if not path.is_file():
            request.send_error(404)
            return
        size = path.stat().st_size
        begin = int(re.sub(r"\D", "", asked)) if asked else 0
        request.send_response(206 if begin else 200)
        if begin:
            request.send_header("Content-Range", f"bytes {begin}-{size - 1}/{size}")
        request.send_header("Content-Length", str(size - begin))
        request.end_headers()
        tears_after = self.tears_after if name.endswith(".raucb") else 0
        with path.open("rb") as file:
            file.seek(begin)
            if tears_after:
                self.tears_after = 0
                for _ in range(tears_after // BLOCK):
                    request.wfile.write(file.read(BLOCK))
            else:
                shutil.copyfileobj(file, request.wfile, BLOCK)
