"""The local control socket: one JSON object a line each way, for scripts, tests and ``voice-appliance ctl``.

Responsible for: the socket file, its connections and limits. Not for: what the commands mean (``commands``) or
do (the daemon implements ``commands.Controls``).

Only the owner and the group may connect (0660). A client may still be broken or greedy: lines, connections,
idle time and unread output are all bounded, and each limit costs the offender its own connection only.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import AsyncGenerator, Coroutine
from pathlib import Path

import msgspec

from appliance.errors import ApplianceError, ConfigError, DeviceError
from appliance.panel.commands import Controls, decode, perform, refusal
from appliance.panel.picture import MAX_PICTURE_BYTES

MAX_CONNECTIONS = 32
IDLE_S = 60.0
WRITE_S = 5.0
SHORT_LINE_BYTES = 64 * 1024
LONG_LINE_BYTES = MAX_PICTURE_BYTES * 4 // 3 + 4096  # a picture in base64 and what stands around it
LONG_LINES_AT_ONCE = 2
UNREAD_BYTES = 256 * 1024
_MAX_SOCKET_PATH_BYTES = 107


class ControlServer:
    """Serves ``controls`` on a Unix socket at ``path`` between :meth:`start` and :meth:`close`.

    ``idle_s``: a connection that completes no line for so long is closed. A follower may stay for ever, but is
    dropped when it leaves more than 256 KiB unread.
    """

    def __init__(
        self,
        path: Path,
        controls: Controls,
        *,
        idle_s: float = IDLE_S,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._path = path
        self._controls = controls
        self._idle_s = idle_s
        self._max_connections = max_connections
        self._server: asyncio.Server | None = None
        self._inode: int | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._refusals: set[asyncio.Task[None]] = set()
        self._long_lines = 0

    async def start(self) -> None:
        """Listen. A socket file that nobody serves any more is replaced.

        Raises:
            DeviceError: another process serves this socket.
            ConfigError: the path cannot be used as one.
        """
        try:
            listener = _listen(self._path)
        except OSError as error:
            raise ConfigError(
                f"control.socket = {str(self._path)!r}: {error.strerror or error}",
                hint="choose a socket in a directory that the appliance may write to",
            ) from error
        self._inode = self._path.stat().st_ino
        self._server = await asyncio.start_unix_server(self._accept, sock=listener, limit=SHORT_LINE_BYTES)

    async def close(self) -> None:
        """Stop listening, end every connection, remove the socket file if it is still ours."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        tasks = self._connections | self._refusals
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:  # it was on its way in when we closed
            writer.transport.abort()
        elif len(self._connections) < self._max_connections:
            self._start(self._connections, self._serve(reader, writer))
        else:
            self._start(self._refusals, self._refuse(writer))

    def _start(self, group: set[asyncio.Task[None]], work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="control connection")
        group.add(task)
        task.add_done_callback(group.discard)

    async def _refuse(self, writer: asyncio.StreamWriter) -> None:
        full = ApplianceError("too many connections to the control socket", hint="close some and try again")
        writer.write(_line(refusal(full)))
        await _hang_up(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._converse(reader, writer)
        except (ConnectionError, TimeoutError):
            pass  # the client left, or reads no replies
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        finally:
            await _hang_up(writer)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        buffer = bytearray()
        while True:
            try:
                line = await self._read_line(reader, buffer)
                if not line:
                    return
                command = decode(line)
                reply = perform(command, self._controls)
            except _Hopeless as error:
                await _send(writer, refusal(error))
                return
            except ApplianceError as error:
                await _send(writer, refusal(error))
                continue
            await _send(writer, reply)
            if command.cmd == "status" and command.follow:
                try:
                    await self._follow(reader, writer)
                except ApplianceError as error:
                    await _send(writer, refusal(error))
                return

    async def _read_line(self, reader: asyncio.StreamReader, buffer: bytearray) -> bytes:
        """Take the next line that is not blank; b"" at the end of input. The last may lack its newline."""
        try:
            async with asyncio.timeout(self._idle_s):
                while True:
                    line = await self._take_line(reader, buffer)
                    if not line or line.strip():
                        return line
        except TimeoutError:
            raise _Hopeless(
                f"nothing came for {self._idle_s:g} s", hint="connect anew when there is something to say"
            ) from None

    async def _take_line(self, reader: asyncio.StreamReader, buffer: bytearray) -> bytes:
        searched, long = 0, False
        try:
            while (end := buffer.find(b"\n", searched)) < 0:
                searched = len(buffer)
                if searched > SHORT_LINE_BYTES and not long:
                    if self._long_lines >= LONG_LINES_AT_ONCE:
                        raise _Hopeless("busy with other pictures", hint="try again in a moment")
                    self._long_lines += 1
                    long = True
                if searched > LONG_LINE_BYTES:
                    raise _Hopeless(f"a line is longer than {LONG_LINE_BYTES} bytes", hint="end lines with \\n")
                chunk = await reader.read(SHORT_LINE_BYTES)
                if not chunk:
                    end = len(buffer)
                    break
                buffer += chunk
        finally:
            self._long_lines -= long
        line = bytes(buffer[: end + 1])
        del buffer[: end + 1]
        return line

    async def _follow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send records until the client goes, shuts its side down, or reads too slowly."""
        telling = asyncio.create_task(self._tell_records(writer))
        leaving = asyncio.create_task(_until_end(reader))
        try:
            await asyncio.wait((telling, leaving), return_when=asyncio.FIRST_COMPLETED)
            if telling.done():
                telling.result()
        finally:
            telling.cancel()
            leaving.cancel()
            await asyncio.gather(telling, leaving, return_exceptions=True)

    async def _tell_records(self, writer: asyncio.StreamWriter) -> None:
        records = self._controls.follow()
        try:
            async for record in records:
                if writer.transport.get_write_buffer_size() > UNREAD_BYTES:
                    writer.transport.abort()
                if writer.transport.is_closing():
                    return
                writer.write(_line(record))
        finally:
            if isinstance(records, AsyncGenerator):
                await records.aclose()


class _Hopeless(ApplianceError):
    """The connection cannot go on after this answer."""


async def _until_end(reader: asyncio.StreamReader) -> None:
    """Read and drop whatever a follower still sends."""
    with contextlib.suppress(ConnectionError):
        while await reader.read(SHORT_LINE_BYTES):
            pass


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    """Close once the last answer is delivered, or after a while without it."""
    writer.close()
    try:
        async with asyncio.timeout(WRITE_S):
            await writer.wait_closed()
    except (ConnectionError, TimeoutError):
        pass
    finally:
        writer.transport.abort()


async def _send(writer: asyncio.StreamWriter, reply: dict[str, object]) -> None:
    async with asyncio.timeout(WRITE_S):
        writer.write(_line(reply))
        await writer.drain()


def _line(message: dict[str, object]) -> bytes:
    return msgspec.json.encode(message) + b"\n"


def _listen(path: Path) -> socket.socket:
    """Bind under another name, set the mode, then move it into place: it is never open to the world."""
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH_BYTES:
        raise ConfigError(
            f"control.socket = {str(path)!r}: longer than {_MAX_SOCKET_PATH_BYTES} bytes", hint="choose a shorter path"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    _refuse_if_served(path)
    draft = path.with_name(f".{os.getpid()}")
    draft.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fspath(draft))
        draft.chmod(0o660)
        listener.listen(64)
        listener.setblocking(False)
        draft.rename(path)
    except OSError:
        listener.close()
        draft.unlink(missing_ok=True)
        raise
    return listener


def _refuse_if_served(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"control.socket = {str(path)!r}: exists and is no socket", hint="choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a served socket whose backlog is full must not stop us either
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            return
        except BlockingIOError:
            pass
    raise DeviceError(
        f"the control socket {path} is already served",
        hint="another voice-appliance runs: stop it (systemctl stop voice-appliance), or set control.socket",
    )
