"""The words of the command ``voice-provisioning``. Imports nothing heavy: ``--help`` comes at once."""

from __future__ import annotations

import argparse

NAME = "voice-provisioning"
DATA = "VOICE_PROVISIONING_DATA"
DEFAULT_PORT = 8787


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--data", metavar="DIR", default=None, help=f"data directory (or set {DATA})")
    whole = argparse.ArgumentParser(prog=NAME, description="Hands out short-lived Realtime secrets to devices.")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_init(commands.add_parser("init", parents=[common], help="make a data directory, or upgrade one"))
    _add_serve(commands.add_parser("serve", parents=[common], help="run the service"))

    approve = commands.add_parser("approve", parents=[common], help="enrol the device that says this code")
    approve.add_argument("code", metavar="CODE", nargs="+", help="nine digits, as it says them, with or without gaps")
    approve.add_argument("--profile", default="default")

    _add_devices(commands.add_parser("devices", help="the fleet"), common)
    _add_tokens(commands.add_parser("tokens", help="enrolment tokens"), common)
    _add_profiles(commands.add_parser("profiles", help="what devices get: model, voice, limits"), common)

    sign_in = commands.add_parser("sign-in", parents=[common], help="a link to the owner's page, good once")
    sign_in.add_argument("--url", default="", help="the page's address as your browser knows it (default the issuer)")

    doctor = commands.add_parser("doctor", parents=[common], help="look for what is wrong")
    doctor.add_argument("--certificate", default="", metavar="F", help="look at this certificate too")

    export = commands.add_parser("export", parents=[common], help="write the whole database into a file")
    export.add_argument("file", metavar="FILE")
    taken = commands.add_parser("import", parents=[common], help="read such a file into an empty database")
    taken.add_argument("file", metavar="FILE")
    return whole


def _add_init(init: argparse.ArgumentParser) -> None:
    init.add_argument("--issuer", default="", metavar="URL", help="the address devices use; needed behind a proxy")
    init.add_argument("--upstream", choices=("openai", "static"), default="", help="default openai")
    init.add_argument("--base-url", default="", metavar="URL", help="openai: the provider (default OpenAI's)")
    init.add_argument("--api-key-file", default="", metavar="F", help="openai: file that holds the provider's key")
    init.add_argument("--url", default="", metavar="URL", help="static: the server's ws:// or wss:// address")
    init.add_argument("--key-file", default="", metavar="F", help="static: file that holds the server's key")
    init.add_argument("--model", default="", metavar="M", help="default gpt-realtime-1.5")
    init.add_argument("--store-url", default="", metavar="URL", help="PostgreSQL; without it a SQLite file")
    init.add_argument("--store-password-file", default="", metavar="F", help="file that holds its password")


def _add_serve(serve: argparse.ArgumentParser) -> None:
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 takes a free one")
    serve.add_argument("--certificate", default="", metavar="F", help="serve TLS with this chain (PEM)")
    serve.add_argument("--key", default="", metavar="F", help="and this key (PEM)")


def _add_devices(devices: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    actions = devices.add_subparsers(dest="action", required=True)
    actions.add_parser("list", parents=[common], help="who is enrolled")
    for action, what in (
        ("suspend", "refuse a device for a while"),
        ("resume", "end a suspension"),
        ("revoke", "end a device's enrolment, at once"),
    ):
        actions.add_parser(action, parents=[common], help=what).add_argument("id", metavar="ID")
    rename = actions.add_parser("rename", parents=[common], help="give a device another name")
    rename.add_argument("id", metavar="ID")
    rename.add_argument("name", metavar="NAME")
    profile = actions.add_parser("profile", parents=[common], help="give a device another profile")
    profile.add_argument("id", metavar="ID")
    profile.add_argument("profile", metavar="PROFILE")
    known = actions.add_parser("import", parents=[common], help="keys that may enrol by themselves")
    known.add_argument("file", metavar="FILE", help="lines thumbprint,name,profile or JSON objects; - reads stdin")
    known.add_argument("--profile", default="default", metavar="P", help="for lines that name none")
    actions.add_parser("imported", parents=[common], help="those keys, and which were used")
    gone = actions.add_parser("unimport", parents=[common], help="take keys off that list again")
    gone.add_argument("keys", metavar="KEY|FILE", help="a thumbprint, or a file as `import` takes it; - reads stdin")


def _add_tokens(tokens: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    actions = tokens.add_subparsers(dest="action", required=True)
    create = actions.add_parser("create", parents=[common], help="make one; it is shown only now")
    create.add_argument("--uses", type=int, default=1, metavar="N", help="how many devices (default 1)")
    create.add_argument("--expires-s", type=int, default=86_400, metavar="S", help="life in seconds (default a day)")
    create.add_argument("--profile", default="default", metavar="P")
    create.add_argument("--note", default="", metavar="TEXT", help="your own words, for the list")
    create.add_argument("--quiet", action="store_true", help="print the token only")
    actions.add_parser("list", parents=[common], help="what is out there, without the tokens")
    actions.add_parser("revoke", parents=[common], help="end a token").add_argument("id", metavar="ID")


def _add_profiles(profiles: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    actions = profiles.add_subparsers(dest="action", required=True)
    actions.add_parser("list", parents=[common], help="those of server.toml and stored ones")
    actions.add_parser("show", parents=[common], help="one as JSON, as `set` takes it").add_argument(
        "name", metavar="NAME"
    )
    store = actions.add_parser("set", parents=[common], help="store one, new or changed")
    store.add_argument("name", metavar="NAME")
    store.add_argument("file", metavar="FILE", help="JSON; - reads stdin")
    actions.add_parser("delete", parents=[common], help="delete a stored one").add_argument("name", metavar="NAME")
