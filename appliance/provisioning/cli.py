"""The command ``voice-provisioning``: arguments in, one call, lines out.

Responsible for: the command line. Imports what a command needs when it runs: ``--help`` and ``tokens create`` should
not wait for a web framework.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from appliance.errors import ApplianceError, ConfigError

_NAME = "voice-provisioning"
_PATIENCE_S = 30.0  # after a power cut the database server may come up after us
_DATA = "VOICE_PROVISIONING_DATA"


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    parsed = _parser().parse_args(arguments)
    os.umask(0o077)  # whatever is made here is nobody else's business
    try:
        data = _data_directory(parsed.data)
        if parsed.command == "init":
            return _init(parsed, data)
        if parsed.command == "serve":
            return _serve(parsed, data)
        if parsed.command == "doctor":
            return asyncio.run(_doctor(data))
        from appliance.provisioning import commands

        print(asyncio.run(commands.run(parsed, data)))
        return 0
    except ApplianceError as error:
        print(f"{_NAME}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--data", metavar="DIR", default=None, help=f"data directory (or set {_DATA})")
    parser = argparse.ArgumentParser(prog=_NAME, description="Hands out short-lived Realtime secrets to devices.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_init(commands.add_parser("init", parents=[common], help="make a data directory, or upgrade one"))

    serve = commands.add_parser("serve", parents=[common], help="run the service")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=8787, help="0 takes a free one")

    approve = commands.add_parser("approve", parents=[common], help="enrol the device that says this code")
    approve.add_argument("code", metavar="CODE")
    approve.add_argument("--profile", default="default")

    devices = commands.add_parser("devices", help="the fleet").add_subparsers(dest="action", required=True)
    devices.add_parser("list", parents=[common], help="who is enrolled")
    for action, what in (
        ("suspend", "refuse a device for a while"),
        ("resume", "end a suspension"),
        ("revoke", "end a device's enrolment, at once"),
    ):
        devices.add_parser(action, parents=[common], help=what).add_argument("id", metavar="ID")

    rename = devices.add_parser("rename", parents=[common], help="give a device another name")
    rename.add_argument("id", metavar="ID")
    rename.add_argument("name", metavar="NAME")

    tokens = commands.add_parser("tokens", help="enrolment tokens").add_subparsers(dest="action", required=True)
    create = tokens.add_parser("create", parents=[common], help="make one; it is shown only now")
    create.add_argument("--uses", type=int, default=1, metavar="N", help="how many devices (default 1)")
    create.add_argument("--expires-s", type=int, default=86_400, metavar="S", help="life in seconds (default a day)")
    create.add_argument("--profile", default="default", metavar="P")
    create.add_argument("--quiet", action="store_true", help="print the token only")
    create.add_argument("--note", default="", metavar="TEXT", help="your own words, for the list")
    tokens.add_parser("list", parents=[common], help="what is out there, without the tokens")
    tokens.add_parser("revoke", parents=[common], help="end a token").add_argument("id", metavar="ID")

    commands.add_parser("doctor", parents=[common], help="look for what is wrong")
    return parser


def _add_init(init: argparse.ArgumentParser) -> None:
    init.add_argument("--issuer", default="", metavar="URL", help="the address devices use; needed behind a proxy")
    init.add_argument("--upstream", choices=("openai", "static"), default="", help="default openai")
    init.add_argument("--base-url", default="", metavar="URL", help="openai: the provider (default OpenAI's)")
    init.add_argument("--api-key-file", default="", metavar="F", help="openai: file that holds the provider's key")
    init.add_argument("--url", default="", metavar="URL", help="static: the server's ws:// or wss:// address")
    init.add_argument("--key-file", default="", metavar="F", help="static: file that holds the server's key")
    init.add_argument("--model", default="", metavar="M", help="default gpt-realtime-1.5")


def _data_directory(given: str | None) -> Path:
    directory = given or os.environ.get(_DATA, "")
    if not directory:
        raise ConfigError("no data directory given", hint=f"use --data DIR or set {_DATA}")
    return Path(directory).absolute()


def _init(parsed: argparse.Namespace, data: Path) -> int:
    from appliance.provisioning import configuration, initialise, settings

    choices = initialise.Choices(
        issuer=parsed.issuer,
        upstream=parsed.upstream,
        base_url=parsed.base_url,
        url=parsed.url,
        api_key_file=parsed.api_key_file,
        key_file=parsed.key_file,
        model=parsed.model,
    )
    lines = initialise.prepare(data, choices)
    from appliance.provisioning import database

    configured = settings.load(data)
    lines.append(asyncio.run(database.upgrade(configured.store)))
    print("\n".join(lines))
    print("\nNext:")
    source = configured.profiles["default"].source
    if isinstance(source, configuration.OpenAISource) and not (key := data / source.api_key_file).exists():
        print(f"  put your provider's key into {key}, then: chmod 600 {key}")
    print(f"  {_NAME} doctor --data {data}")
    print(f"  {_NAME} serve --data {data}")
    print(f"  {_NAME} tokens create --data {data}    # one for each device")
    return 0


async def _doctor(data: Path) -> int:
    from appliance.provisioning import doctor

    ill = 0
    async for finding in doctor.examine(data):
        ill += bool(finding.remedy)
        print(
            f"FAIL {finding.what}\n     -> {finding.remedy}" if finding.remedy else f"ok   {finding.what}", flush=True
        )
    return 1 if ill else 0


def _end(*_: object) -> NoReturn:
    raise SystemExit(0)


def _serve(parsed: argparse.Namespace, data: Path) -> int:
    # uvicorn takes the signals over, and raises them again after a clean end: that is no failure.
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    import logging

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for chatty in ("httpx2", "httpcore2", "uvicorn", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    from appliance.provisioning import settings

    configured = settings.load(data)  # a wrong file is told before a second of imports
    from appliance.provisioning import app, database, serve

    asyncio.run(database.upgrade(configured.store, patience_s=_PATIENCE_S))
    listener = serve.listen(parsed.host, parsed.port)
    where = serve.url_of(listener)
    server = serve.Server(app.create(configured), lambda: print(f"{_NAME}: listening on {where}", flush=True))
    asyncio.run(server.serve(sockets=[listener]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
