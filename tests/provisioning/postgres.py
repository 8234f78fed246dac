"""A real PostgreSQL for tests: one server on a Unix socket, a database of its own for each test.

Debian's packages; never reachable from outside, nothing synced to disk. The role that tests use has a password.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

PASSWORD = "pg-password-0123456789"
_NUMBERS = itertools.count()
_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=64MB", "max_connections=200")


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    if not found:
        pytest.fail("there is no PostgreSQL: .ci/setup test installs it")
    return found[-1].parent


class Postgres:
    """One server. ``port`` is only the name of its socket."""

    port = 5432

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._data = directory / "data"
        self._bin = _binaries()
        # It refuses to run as root.
        self._user: dict[str, Any] = (
            {"user": "postgres", "group": "postgres", "extra_groups": []} if not os.getuid() else {}
        )
        if self._user:
            shutil.chown(directory, "postgres", "postgres")
        options = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        self._run([self._bin / "initdb", "-D", self._data, *options])
        access = self._data / "pg_hba.conf"
        access.write_text("local all postgres trust\nlocal all all scram-sha-256\n")
        self.start()
        with self.admin() as connection:
            connection.execute(f"CREATE ROLE voice LOGIN PASSWORD '{PASSWORD}'")

    def _run(self, command: list[Any]) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **self._user)
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        options = [f"-c{setting}" for setting in (*_FAST, f"unix_socket_directories={self.directory}")]
        command: list[Any] = [self._bin / "postgres", "-D", self._data, "-c", "listen_addresses=", *options]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **self._user)
        until = time.monotonic() + 30
        while True:
            try:
                with self.admin():
                    return
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self.directory / "log").read_text()
                assert time.monotonic() < until, "PostgreSQL does not come up"
                time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: at once, but in order. SIGQUIT: as in a power cut."""
        self._process.send_signal(how)
        self._process.wait(timeout=30)

    def admin(self, database: str = "postgres") -> psycopg.Connection[Any]:
        return psycopg.connect(f"host={self.directory} user=postgres dbname={database}", autocommit=True)

    def create(self, template: str = "template1") -> str:
        """A new database of the tests' role; returns its name."""
        name = f"test_{next(_NUMBERS)}"
        with self.admin() as connection:
            connection.execute(f"CREATE DATABASE {name} OWNER voice TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        with self.admin() as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://voice@/{name}?host={self.directory}"

    def log(self) -> str:
        return (self.directory / "log").read_text()


@contextlib.contextmanager
def running() -> Iterator[Postgres]:
    """A server for the block, and nothing left of it after."""
    # Not pytest's directory: only root may enter that one.
    directory = Path(tempfile.mkdtemp(prefix="voice-postgres-"))
    try:
        server = Postgres(directory)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory)
