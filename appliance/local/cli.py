"""The command ``voice-local``: serve the local Realtime backend until a signal ends it.

Responsible for: arguments, loading the models before anything is announced, signals and the exit code.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from appliance.errors import ApplianceError, ConfigError, Secret


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; answers the exit code: 0 after SIGTERM or SIGINT, 78 if it cannot be configured."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    # Its handshake lines say nothing that ours do not.
    logging.getLogger("websockets").setLevel(logging.WARNING)
    try:
        asyncio.run(_serve(arguments))
    except ApplianceError as problem:
        print(f"voice-local: {problem}", file=sys.stderr)
        return problem.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="voice-local", description="A local Realtime backend: no network needed.")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="serve the mint and the sessions on one port")
    serve.add_argument("--host", default="127.0.0.1", help="address to bind (default %(default)s)")
    serve.add_argument("--port", type=int, default=8790, help="port to bind, 0 for any free one (default %(default)s)")
    serve.add_argument(
        "--api-key-file", type=Path, help="take only the API key in this file (default: any that is not empty)"
    )
    serve.add_argument(
        "--open-delay-s", type=_seconds, default=0.0, help="for tests: wait before accepting a WebSocket"
    )
    serve.add_argument("--think-delay-s", type=_seconds, default=0.0, help="for tests: wait before every reply")
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 3600:
        raise argparse.ArgumentTypeError("0 to 3600 seconds are expected")
    return value


def _api_key(path: Path | None) -> Secret | None:
    if path is None:
        return None
    try:
        key = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"the API key file {path} cannot be read", hint="check --api-key-file") from problem
    if not key:
        raise ConfigError(f"the API key file {path} is empty", hint="put the key into it")
    return Secret(key)


async def _serve(arguments: argparse.Namespace) -> None:
    # Imported here: --help and a bad argument must not wait for numpy.
    from appliance.local import speech
    from appliance.local.minting import Mint
    from appliance.local.server import Backend, serving

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    mint = Mint(time.time, _api_key(arguments.api_key_file))
    listener, talker, load_s = await speech.load()
    logging.getLogger(__name__).info("speech models loaded in %.1f s", load_s)
    backend = Backend(
        mint,
        listener,
        talker,
        open_delay_s=arguments.open_delay_s,
        think_delay_s=arguments.think_delay_s,
    )
    try:
        async with serving(backend, arguments.host, arguments.port) as port:
            print(f"voice-local: listening on http://{arguments.host}:{port}", flush=True)
            await stop.wait()
    except OSError as problem:
        raise ConfigError(
            f"cannot listen on {arguments.host}:{arguments.port} ({problem.strerror})", hint="choose another --port"
        ) from problem
    finally:
        listener.close()
        talker.close()


if __name__ == "__main__":
    sys.exit(main())
