"""Files of a static HTTPS folder: the channel file, and a bundle that may come in several pieces over days.

Responsible for: bytes, whole and no more than announced, onto the data partition without filling it. Not for: whether
they may be trusted: their SHA-256 is the channel's, and RAUC checks the signature. Blocking, in a process of its own.

A piece is kept under the bundle's hash. A connection that breaks leaves it, the next try goes on behind it (RFC 9110,
section 14); a full disk removes it, since what else lives there matters more.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from appliance.credentials import reach
from appliance.credentials.http import HttpClient
from appliance.errors import ProvisioningError, UpdateError
from appliance.pins import Address
from appliance.update.channel import LONGEST_FILE, Channel

SILENCE_S = 30.0  # of the server
SPARE = 32 * 2**20  # bytes that stay free on the data partition
CHUNK = 65_536
PIECE = ".part"
NO_MORE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Folder:
    """A folder on a server; ``silence_s`` without a byte is the end of a connection."""

    def __init__(self, address: Address, *, silence_s: float = SILENCE_S, spare: int = SPARE) -> None:
        self._base, self._silence_s, self._spare = address.issuer, silence_s, spare
        self._client = HttpClient(pins=address.pins)

    def read(self, name: str) -> bytes:
        """Return a small file.

        Raises:
            UpdateError: unreachable, refused, or longer than a channel file may be.
        """
        with self._get(name, {}) as answer:
            self._expect(answer, name, {200})
            data = answer.read(LONGEST_FILE + 1)
        if len(data) > LONGEST_FILE:
            raise UpdateError(f"{self._base}/{name} is longer than {LONGEST_FILE} bytes", hint="check [update] url")
        return data

    def fetch(self, offer: Channel, directory: Path) -> Path:
        """Bring the bundle into ``directory``, or the rest of it; returns it when its hash is right.

        Raises:
            UpdateError: unreachable, torn (what came is kept), too large for the disk, or not what the channel says.
        """
        piece = directory / f"{offer.sha256[:16]}{PIECE}"
        for other in directory.glob(f"*{PIECE}"):
            # Ours no more: RAUC took the bundle to itself before it read it ("plain"), and then the power went.
            if other != piece or not os.access(piece, os.R_OK | os.W_OK, effective_ids=True):
                other.unlink()
        have = piece.stat().st_size if piece.exists() else 0
        if have < offer.size:
            self._room(directory, offer.size - have)
            self._append(offer, piece, have)
        if _sha256(piece) != offer.sha256:
            piece.unlink()
            hint = "it is fetched anew at the next check; if this comes again, make the channel file anew"
            raise UpdateError(f"{offer.bundle} is not what the channel says: its SHA-256 differs", hint=hint)
        return piece

    # --- one exchange ---

    def _append(self, offer: Channel, piece: Path, have: int) -> None:
        ranged = {"Range": f"bytes={have}-"} if have else {}
        with self._get(offer.bundle, ranged) as answer:
            self._expect(answer, offer.bundle, {200, 206} if have else {200})
            begin = have if answer.status == 206 else 0
            self._check_length(answer, offer, begin)
            with _Piece(piece, begin) as there:  # 200: the server begins at the beginning again
                self._copy(answer, there, offer, begin)

    def _copy(self, answer: http.client.HTTPResponse, piece: _Piece, offer: Channel, have: int) -> None:
        while have < offer.size:
            data = answer.read(min(CHUNK, offer.size - have))
            if not data:
                what = f"{offer.bundle} broke off after {have} of {offer.size} bytes"
                raise UpdateError(what, hint="the next try goes on from there")
            piece.write(data)
            have += len(data)
        if answer.read(1):
            raise UpdateError(f"{offer.bundle} is longer than the channel says", hint="make the channel file anew")

    def _check_length(self, answer: http.client.HTTPResponse, offer: Channel, begin: int) -> None:
        """Refuse a body that is announced with another length, before a byte of it is kept."""
        told = answer.headers.get("Content-Length", "")
        if answer.status == 206:
            found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", answer.headers.get("Content-Range", ""))
            right = found is not None and int(found[1]) == begin and found[3] in (str(offer.size), "*")
        else:
            right = not told or told == str(offer.size)
        if not right:
            what = f"{offer.bundle} is announced with another length than the channel says ({offer.size} bytes)"
            raise UpdateError(what, hint="make the channel file anew: image/update/make-channel")

    def _expect(self, answer: http.client.HTTPResponse, name: str, statuses: set[int]) -> None:
        if answer.status in statuses:
            return
        hint = "it is tried again later"
        if answer.status == 404:
            hint = "check [update] url and channel"
        elif 300 <= answer.status < 400:
            hint = "name the address that it leads to in [update] url"
        raise UpdateError(f"{self._base}/{name} answers {answer.status}", hint=hint)

    @contextmanager
    def _get(self, name: str, headers: dict[str, str]) -> Iterator[http.client.HTTPResponse]:
        parts = urlsplit(self._base)
        try:
            reach.check(self._base, secure="https", plain="http")
            connection = self._connection(parts.scheme, parts.hostname or "", parts.port)
        except ProvisioningError as error:
            raise UpdateError(
                f"[update] url: {error.message}", hint="it must look like https://updates.example.org"
            ) from error
        try:
            connection.connect()
            secured = connection.sock
            if isinstance(secured, ssl.SSLSocket) and not self._client.trusts(secured.getpeercert(binary_form=True)):
                raise UpdateError(
                    f"{parts.netloc} shows another key than the one it is pinned to", hint="is it the right one?"
                )
            connection.request("GET", f"{parts.path}/{name}", headers={"User-Agent": "voice-appliance", **headers})
            with connection.getresponse() as answer:
                yield answer
        except http.client.HTTPException as error:
            what = f"{parts.netloc} broke off or does not speak HTTP ({type(error).__name__})"
            raise UpdateError(what, hint="it is tried again later") from error
        except OSError as error:
            told = reach.unreachable(parts.netloc, error, self._silence_s)
            raise UpdateError(
                told.message, hint="check the network and [update] url; it is tried again later"
            ) from error
        finally:
            connection.close()

    def _connection(self, scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
        if scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=self._silence_s, context=self._client.tls())
        return http.client.HTTPConnection(host, port, timeout=self._silence_s)

    def _room(self, directory: Path, wanted: int) -> None:
        found = os.statvfs(directory)
        free = found.f_bavail * found.f_frsize
        if free < wanted + self._spare:
            what = f"{(wanted + self._spare) / 1e6:.0f} MB are needed at {directory}, {free / 1e6:.0f} MB are free"
            raise UpdateError(what, hint="the card is too small, or full: du -x -d2 -h /data")


class _Piece:
    """What is here of a bundle, open to go on behind ``begin``. Its failures are the disk's, not the network's."""

    def __init__(self, path: Path, begin: int) -> None:
        self._path = path
        with self._disk():
            self._file = path.open("r+b" if path.exists() else "x+b", buffering=0)
            if os.geteuid() == 0:  # what root fetches by a command, the service has to go on with
                owner = path.parent.stat()
                os.fchown(self._file.fileno(), owner.st_uid, owner.st_gid)
            self._file.truncate(begin)
            self._file.seek(begin)

    def __enter__(self) -> Self:
        return self

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        with self._disk():
            while rest:
                rest = rest[self._file.write(rest) :]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file, self._disk():
            os.fsync(self._file.fileno())

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in NO_MORE:  # its space is given back: who we are is kept there too
                self._path.unlink(missing_ok=True)
            what = f"{self._path.parent}: {error.strerror}"
            raise UpdateError(what, hint="is the card full, or worn out? du -x -d2 -h /data; dmesg | tail") from error


def clear(directory: Path) -> None:
    """Remove what was fetched."""
    for piece in directory.glob(f"*{PIECE}"):
        piece.unlink()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
