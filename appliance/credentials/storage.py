"""Small private files that survive a power cut: written whole or not at all, readable by their owner only.

Responsible for: atomic write, of one file or of several that belong together, lock, modes, and errors that name the
file and the remedy. Not for: what is in them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from appliance.errors import StateError

_TOGETHER = ".together.json"  # files to be written, whole; a power cut in between leaves it to whoever comes next
IDENTITY_FILE = "identity.jwk"  # named here: whether it exists is asked before the key's library is loaded

_REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space and start again",
    errno.EDQUOT: "the disk quota is used up: free some space and start again",
    errno.EFBIG: "a file size limit is in the way: lift it (LimitFSIZE=) and start again",
    errno.EROFS: "the file system is read-only: remount it read-write, and check the SD card",
    errno.EACCES: "not permitted: the directory must belong to the user the appliance runs as",
    errno.EPERM: "not permitted: the directory must belong to the user the appliance runs as",
    errno.EIO: "the disk fails to read or write: check the SD card, replace it if this comes again",
    errno.ENOTDIR: "something on this path is not a directory: choose another [state] directory",
    errno.EEXIST: "something on this path is not a directory: choose another [state] directory",
}


def _state_error(action: str, path: Path, error: OSError) -> StateError:
    reason = error.strerror or "unknown error"
    hint = _REMEDIES.get(error.errno or 0, "check the disk and the owner of the directory")
    return StateError(f"cannot {action} {path} ({reason})", hint=hint)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Holds the directory against other processes of ours; creates it (0700) or tightens it to 0700.

    What :func:`write_together` began and a power cut ended is finished first.

    Raises:
        StateError: the directory cannot be made or locked.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _state_error("use the state directory", directory, error) from error
    try:
        try:
            if os.fstat(handle).st_mode & 0o077:
                os.fchmod(handle, 0o700)
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            raise _state_error("use the state directory", directory, error) from error
        _write_rest(directory)
        yield
    finally:
        os.close(handle)


def write(path: Path, data: bytes) -> None:
    """Replaces the file as a whole, mode 0600, and returns only when it is on the disk. Call it under `locked`.

    Written by root, it belongs to the directory's owner. The temporary file has a fixed name, so that a power cut
    leaves at most one behind.

    Raises:
        StateError: disk full, read-only, not permitted; the old content is untouched.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.unlink(missing_ok=True)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            if os.geteuid() == 0:  # what root writes by a command, the service has to read
                owner = path.parent.stat()
                os.fchown(handle, owner.st_uid, owner.st_gid)
            file.write(data)
            file.flush()
            os.fsync(handle)
        temporary.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise _state_error("write", path, error) from error


def write_together(directory: Path, contents: Mapping[str, bytes]) -> None:
    """Replaces several text files: after a power cut at any point all of them are old, or all new. Under `locked`.

    Raises:
        StateError: disk full, read-only, not permitted.
    """
    write(directory / _TOGETHER, msgspec.json.encode({name: data.decode() for name, data in contents.items()}))
    _write_rest(directory)


def _write_rest(directory: Path) -> None:
    journal = directory / _TOGETHER
    if (data := _read(journal, 65_536)) is None:
        return
    try:
        contents = msgspec.json.decode(data, type=dict[str, str])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise StateError(f"{journal} is damaged", hint="it was not written by us: delete it") from None
    for name, text in contents.items():
        write(directory / name, text.encode())
    erase(journal)


def read(path: Path, *, at_most: int = 16_384) -> bytes | None:
    """Content of the file, None if there is none. A mode looser than 0600 is tightened.

    Raises:
        StateError: unreadable, or longer than ``at_most`` bytes.
    """
    if os.path.exists(path.parent / _TOGETHER):  # noqa: PTH110  # Path.exists() raises where it may not look
        with locked(path.parent):
            pass
    return _read(path, at_most)


def _read(path: Path, at_most: int) -> bytes | None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _state_error("read", path, error) from error
    try:
        with os.fdopen(handle, "rb") as file:
            if os.fstat(handle).st_mode & 0o077:
                os.fchmod(handle, 0o600)
            data = file.read(at_most + 1)
    except OSError as error:
        raise _state_error("read", path, error) from error
    if len(data) > at_most:
        raise StateError(f"{path} is longer than {at_most} bytes", hint="it is not ours: move it away")
    return data


def erase(path: Path) -> None:
    """Removes the file if there is one and returns when that is on the disk. Call it under `locked`.

    Raises:
        StateError: read-only, not permitted.
    """
    try:
        path.unlink(missing_ok=True)
        _sync_directory(path.parent)
    except OSError as error:
        raise _state_error("remove", path, error) from error


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
