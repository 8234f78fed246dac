"""``voice-appliance ctl``: the client of the control socket.

Responsible for: one command to the daemon, its answer in words or as JSON, exit codes. Not for: the commands
themselves (``commands``). Plain blocking code, so that a script's ``ctl press`` starts quickly.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import sys
from collections.abc import Generator
from pathlib import Path

from appliance.errors import ApplianceError
from appliance.panel.picture import read_picture

DEFAULT_SOCKET = Path("/run/voice-appliance/control.sock")
EXIT_NOT_RUNNING = 69  # sysexits.h EX_UNAVAILABLE
EXIT_NOT_ALLOWED = 77  # sysexits.h EX_NOPERM
ANSWER_S = 10.0


class NotRunningError(ApplianceError):
    """Nobody serves the control socket."""

    exit_code = EXIT_NOT_RUNNING


class NotAllowedError(ApplianceError):
    """The control socket is not for this user."""

    exit_code = EXIT_NOT_ALLOWED


class RefusedError(ApplianceError):
    """The daemon said no."""


def add_ctl_arguments(parser: argparse.ArgumentParser) -> None:
    """Give ``parser`` the arguments that :func:`run_ctl` reads."""
    parser.add_argument(
        "--socket", type=Path, default=DEFAULT_SOCKET, metavar="PATH", help="control socket (default: %(default)s)"
    )
    commands = parser.add_subparsers(dest="ctl_command", required=True, metavar="COMMAND")
    commands.add_parser("press", help="act like the button going down")
    commands.add_parser("release", help="act like the button coming up")
    commands.add_parser("tap", help="act like a short press: begin or end a conversation")
    commands.add_parser("mute", help="mute or unmute the microphone")
    say = commands.add_parser("say", help="send text in place of speech")
    say.add_argument("text", nargs="+", metavar="TEXT")
    show = commands.add_parser("show", help="show a picture to the model")
    show.add_argument("image", type=Path, metavar="IMAGE", help="PNG or JPEG, at most 1.5 MB")
    volume = commands.add_parser("volume", help="set the loudspeaker's volume")
    volume.add_argument("percent", type=int, metavar="N", help="0 to 100")
    status = commands.add_parser("status", help="tell what the appliance does")
    status.add_argument("--json", action="store_true", help="one JSON object a line")
    status.add_argument("--follow", action="store_true", help="stay and tell each turn")


def run_ctl(arguments: argparse.Namespace) -> int:
    """Carry out one command. Returns the exit code: 0, 1 refused, 69 daemon not running, 77 not allowed."""
    try:
        request = _request(arguments)
        as_json = request["cmd"] == "status" and arguments.json
        for line in _answers(arguments.socket, request):
            answer = _accepted(line)
            shown = line if as_json else _words(request, answer)
            if shown:
                sys.stdout.write(shown + "\n")
                sys.stdout.flush()
    except ApplianceError as error:
        sys.stderr.write(f"voice-appliance ctl: {_printable(str(error))}\n")
        return error.exit_code
    except BrokenPipeError:
        # Our reader (head, grep -m1) has enough. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:
        return 130
    return 0


def ask(path: Path, request: dict[str, object]) -> dict[str, object]:
    """Return the daemon's answer to one command.

    Raises:
        ApplianceError: refused, or no answer; :class:`NotRunningError`, :class:`NotAllowedError`.
    """
    with contextlib.closing(_answers(path, request)) as lines:
        return _accepted(next(lines))


def _request(arguments: argparse.Namespace) -> dict[str, object]:
    command: str = arguments.ctl_command
    match command:
        case "say":
            return {"cmd": "say", "text": " ".join(arguments.text)}
        case "show":
            return {"cmd": "show", "image_url": read_picture(arguments.image)}
        case "volume":
            return {"cmd": "volume", "percent": arguments.percent}
        case "status":
            return {"cmd": "status", "follow": arguments.follow}
        case _:
            return {"cmd": command}


def _answers(path: Path, request: dict[str, object]) -> Generator[str]:
    """Yield the daemon's lines: one, or more until it goes away when following."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_S)
        _connect(connection, path)
        following = request.get("follow") is True
        try:
            _send(connection, request)
            with connection.makefile("r", encoding="utf-8", errors="replace") as lines:
                first = lines.readline()
                if not first.endswith("\n"):
                    raise ApplianceError("the daemon closed the connection without an answer", hint="see its log")
                yield first.rstrip("\n")
                if following:
                    connection.settimeout(None)
                    for line in lines:
                        yield line.rstrip("\n")
                    raise NotRunningError("the daemon went away", hint="see: journalctl -u voice-appliance")
        except TimeoutError as error:
            raise ApplianceError(
                f"the daemon did not answer within {ANSWER_S:g} s", hint="see: systemctl status voice-appliance"
            ) from error
        except ConnectionError as error:
            raise ApplianceError(f"the daemon broke the connection: {error.strerror}", hint="see its log") from error


def _connect(connection: socket.socket, path: Path) -> None:
    try:
        connection.connect(os.fspath(path))
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NotRunningError(
            f"the daemon is not running (nobody serves {path})",
            hint="start it: sudo systemctl start voice-appliance, or: voice-appliance run --config FILE; "
            "does it use another socket, name it with --socket",
        ) from error
    except PermissionError as error:
        raise NotAllowedError(
            f"you may not use {path}",
            hint="join its group and log in again: sudo usermod -aG voice-appliance $USER",
        ) from error
    except OSError as error:
        raise ApplianceError(f"cannot connect to {path}: {error.strerror or error}", hint="check --socket") from error


def _send(connection: socket.socket, request: dict[str, object]) -> None:
    # It may refuse us before it read everything: its reason then waits to be read.
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(json.dumps(request).encode() + b"\n")


def _accepted(line: str) -> dict[str, object]:
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ApplianceError("the answer is not JSON", hint="is --socket really a voice-appliance?")
    if answer.get("ok") is False:
        raise RefusedError(str(answer.get("error", "refused")), hint=str(answer.get("hint", "")))
    return answer


# --- in words -----------------------------------------------------------------------------------------------

_MICROPHONE = {"zero": "delivers only zeros", "clipped": "is driven into clipping"}


def _words(request: dict[str, object], answer: dict[str, object]) -> str:
    match request["cmd"]:
        case "mute":
            return "muted" if answer.get("muted") else "not muted"
        case "volume":
            return f"volume {answer.get('percent')} %"
        case "status":
            return _printable(_turn(answer)) if "event" in answer else _status(answer)
        case _:
            return ""


def _status(answer: dict[str, object]) -> str:
    """One ``name  value`` a line; counters that are zero are left out."""
    lines = []
    for name, value in answer.items():
        if name == "ok":
            continue
        words = _MICROPHONE.get(str(value)) if name == "microphone" else None
        lines.append(f"{name.replace('_', ' '):<12} {_printable(words or _word(value))}")
    return "\n".join(lines)


def _word(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case dict():
            return _table(value)
        case _:
            return str(value)


def _table(value: dict[str, object]) -> str:
    match value:
        case {"mode": mode, "reason": reason}:
            return f"{mode}: {reason}" if reason else str(mode)
        case {"state": state, "code": code, "url": url, "expires_s": left_s}:
            return f"{state}: approve {code}{f' at {url}' if url else ''} within {left_s} s"
        case {"settings": settings, "problem": problem, "page_open": is_open}:
            words = f"{settings}: {problem}" if problem else str(settings)
            return f"{words}; the set-up page is open" if is_open else words
        case {"state": state}:
            return str(state)
        case {"delay_ms": delay_ms, "return_loss_db": loss_db, "erle_db": erle_db, "at": at}:
            return _loop(delay_ms, loss_db, erle_db, at)
        case _:
            return ", ".join(f"{key} {count}" for key, count in value.items() if count) or "none"


def _loop(delay_ms: object, loss_db: object, erle_db: object, at: object) -> str:
    """What calibration found; whether it can hear while it speaks is the line of ``duplex``."""
    if delay_ms is None:
        return f"no echo heard ({at})"
    words = [f"echo after {delay_ms} ms"]
    words += [] if loss_db is None else [f"{loss_db} dB softer than played"]
    words += [] if erle_db is None else [f"{erle_db} dB of it cancelled"]
    return f"{', '.join(words)} ({at})"


def _turn(record: dict[str, object]) -> str:
    """One line a record, only what applies to it."""
    words = [f"{record['event']} {record.get('turn', '')}".rstrip()]
    for name, value in record.items():
        if name not in ("event", "turn") and value is not None and not isinstance(value, dict):
            words.append(f"{name} {_word(value)}")
    return "  ".join(words)


def _printable(text: str) -> str:
    """Text of others must not steer the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
