"""The command ``voice-provisioning``: arguments in, one call, lines out.

Responsible for: the command line. Imports what a command needs when it runs: ``--help`` and ``tokens create`` should
not wait for a web framework.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

from appliance.errors import ApplianceError, ConfigError
from appliance.provisioning.arguments import DATA, DEFAULT_PORT, NAME, parser

if TYPE_CHECKING:
    from appliance.provisioning import configuration
    from appliance.provisioning.serve import Tls
    from appliance.provisioning.settings import Settings

_PATIENCE_S = 30.0  # after a power cut the database server may come up after us


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    parsed = parser().parse_args(arguments)
    os.umask(0o077)  # whatever is made here is nobody else's business
    try:
        return _run(parsed, _data_directory(parsed.data))
    except ApplianceError as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone: nothing is wrong
        return 1


def _run(parsed: argparse.Namespace, data: Path) -> int:
    if parsed.command == "init":
        return _init(parsed, data)
    if parsed.command == "serve":
        return _serve(parsed, data)
    if parsed.command == "doctor":
        return asyncio.run(_doctor(data, parsed.certificate))
    from appliance.provisioning import commands

    said = asyncio.run(commands.run(parsed, data))
    print(said)
    if parsed.command == "sign-in":
        _show_code(said)
    return 0


def _data_directory(given: str | None) -> Path:
    directory = given or os.environ.get(DATA, "")
    if not directory:
        raise ConfigError("no data directory given", hint=f"use --data DIR or set {DATA}")
    return Path(directory).absolute()


def _init(parsed: argparse.Namespace, data: Path) -> int:
    from appliance.provisioning import initialise, settings

    choices = initialise.Choices(
        issuer=parsed.issuer,
        upstream=parsed.upstream,
        base_url=parsed.base_url,
        url=parsed.url,
        api_key_file=parsed.api_key_file,
        key_file=parsed.key_file,
        model=parsed.model,
        store_url=parsed.store_url,
        store_password_file=parsed.store_password_file,
    )
    lines = initialise.prepare(data, choices)
    from appliance.provisioning import commands, database

    configured = settings.load(data)
    lines.append(asyncio.run(database.upgrade(configured.store)))
    print("\n".join(lines))
    print("\n".join(_next(data, configured.profiles["default"].source)))
    print(f"\nThe owner's page, when the service runs (good once, for a day; later: {NAME} sign-in --data {data}):")
    link = asyncio.run(commands.sign_in_link(configured, life_s=86_400))
    print(f"  {link}")
    _show_code(link)
    return 0


def _next(data: Path, source: configuration.Source) -> Iterator[str]:
    from appliance.provisioning.configuration import OpenAISource

    yield "\nNext:"
    named = source.api_key_file if isinstance(source, OpenAISource) else source.key_file
    if named and not os.path.exists(data / named):  # noqa: PTH110  # Path.exists() raises where it may not look
        whose = "provider's" if isinstance(source, OpenAISource) else "server's"
        yield f"  (umask 077; cat > {data / named})    # paste your {whose} key, Enter, Ctrl-D"
    yield f"  {NAME} doctor --data {data}"
    yield f"  {NAME} serve --data {data}    # for devices on your network: --host 0.0.0.0"
    yield f"  {NAME} approve CODE --data {data}    # the code that a device says; or, without a code:"
    yield f"  {NAME} tokens create --data {data}"


def _show_code(link: str) -> None:
    """The link for a telephone's camera; only where a person looks, and where a telephone gets."""
    if urlsplit(link).hostname in ("127.0.0.1", "::1", "localhost"):
        from appliance.provisioning import addresses

        here = f"http://{addresses.own() or 'ADDRESS'}:{DEFAULT_PORT}"
        hint = f"  (from another machine or a telephone, with `serve --host 0.0.0.0`: {NAME} sign-in --url {here})"
        print(hint, file=sys.stderr)  # what a script takes is the link
    elif sys.stdout.isatty():
        import segno

        segno.make(str(link), error="l").terminal(compact=True)


async def _doctor(data: Path, certificate: str) -> int:
    from appliance.provisioning import doctor

    ill = 0
    async for finding in doctor.examine(data, Path(certificate) if certificate else None):
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
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # a line for every stranger's broken form
    from appliance.provisioning import settings

    configured = settings.load(data)  # a wrong file is told before a second of imports
    if bool(parsed.certificate) != bool(parsed.key):
        raise ConfigError("--certificate and --key go together", hint="give both, or neither")
    from appliance.provisioning import certificates, database, serve, sqlite

    tls = serve.Tls(Path(parsed.certificate), Path(parsed.key)) if parsed.certificate else None
    if tls:
        certificates.check_pair(tls.certificate, tls.key)
    database.check_there(configured.store)
    with sqlite.served_alone(configured.store.path) if configured.store.path else contextlib.nullcontext():
        _listen(parsed, configured, tls)
    return 0


def _listen(parsed: argparse.Namespace, configured: Settings, tls: Tls | None) -> None:
    from appliance.provisioning import app, certificates, database, serve

    asyncio.run(database.upgrade(configured.store, patience_s=_PATIENCE_S))
    listener = serve.listen(parsed.host, parsed.port)
    where = serve.url_of(listener, tls)

    def ready() -> None:
        print(f"{NAME}: listening on {where}", flush=True)
        if tls:
            pinned = f"{configured.issuer or where}#spki-sha256={certificates.read(tls.certificate).pin}"
            print(f"{NAME}: devices that do not know the certificate's issuer: url = {pinned}", flush=True)

    server = serve.Server(app.create(configured), ready, tls)
    asyncio.run(server.serve(sockets=[listener]))


if __name__ == "__main__":
    sys.exit(main())
