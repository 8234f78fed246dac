"""The command ``voice-appliance``.

Responsible for: arguments, exit codes, and one line for every failure. Not for: the work (``daemon``,
``panel.ctl``, ``demo``). Each command imports only what it needs: start-up time counts.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

# Before numpy is loaded: its threads would only cost memory here.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from appliance import __version__  # after the setting above
from appliance.errors import EXIT_FAILURE, ApplianceError  # after the setting above


def parser() -> argparse.ArgumentParser:
    """Build the parser."""
    top = argparse.ArgumentParser(prog="voice-appliance", description="A voice appliance: press, talk, hear.")
    top.add_argument("--version", action="version", version=f"voice-appliance {__version__}")
    commands = top.add_subparsers(dest="command", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--config", type=Path, help="configuration file (TOML)")
        command.add_argument("--debug", action="store_true", help="log every transition")
        return command

    add("run", "run the appliance (what systemd starts)")
    add("check", "show the merged configuration and try the devices")
    add("devices", "list sound devices and known boards")
    enrol = add("enrol", "enrol at the provisioning service, by a token or by a code that its owner approves")
    enrol.add_argument("--token-file", type=Path, help="file with the enrolment token; - reads standard input")
    enrol.add_argument("--show-key", action="store_true", help="only print the key's thumbprint, for `devices import`")
    add("rotate-key", "change this device's key; it stays enrolled")
    reset = add("reset", "factory reset: forget identity and enrolment")
    reset.add_argument("--yes", action="store_true", help="do not ask")
    add("calibrate", "measure the loop from loudspeaker to microphone")
    add("doctor", "say what is wrong and what to do; exit 1 if something is")
    bundle = add("bundle", "write a support bundle: no secrets, no sound, nothing that was said")
    bundle.add_argument("file", type=Path, metavar="FILE", help="the .tar.xz to write")
    add("last-word", "say that the appliance gives up (what systemd starts then)")
    settings = add("import", "take over the settings on the card (what systemd starts before the network)")
    settings.add_argument("file", type=Path, nargs="?", metavar="FILE", help="voice.toml; else it is looked for")
    settings.add_argument("--check", action="store_true", help="only say what is wrong with it")
    settings.add_argument("--root", type=Path, default=Path("/"), help="the root of the machine that it is for")
    page = add("setup", "open the set-up page, if the appliance wishes for it (what systemd starts then)")
    page.add_argument("--root", type=Path, default=Path("/"), help="the root of the machine that it is for")
    demo = commands.add_parser("demo", help="talk to the appliance on this machine, without any service elsewhere")
    demo.add_argument("--say", type=Path, help="a WAV to say instead of talking")
    demo.add_argument("--reply", type=Path, default=Path("demo-reply.wav"), help="where the reply is written")
    demo.add_argument("--file", action="store_true", help="talk by file even if there is a sound card")
    demo.add_argument("--debug", action="store_true", help="log every transition")
    from appliance.panel.ctl import add_ctl_arguments

    add_ctl_arguments(commands.add_parser("ctl", help="command a running appliance"))
    _add_update(add("update", "update the whole system, on a card image"))
    return top


def _add_update(update: argparse.ArgumentParser) -> None:
    commands = update.add_subparsers(dest="update_command", required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--config", type=Path, default=argparse.SUPPRESS, help="configuration file (TOML)")
        return command

    add("check", "ask the channel what there is")
    install = add("install", "fetch, install and restart into it, when nobody talks to it")
    install.add_argument("--older", action="store_true", help="take what is offered even if it is older")
    install.add_argument("--again", action="store_true", help="take what is offered even if it failed here before")
    add("status", "what runs, what waits, what failed")
    add("auto", "install by itself what is offered (what systemd starts)")
    add("confirm", "keep or leave a version that is on trial (what systemd starts)")


def main() -> int:
    """Run the command; returns the exit code: 78 for a bad configuration, 1 for other failures."""
    arguments = parser().parse_args()
    try:
        return _run(arguments)
    except ApplianceError as error:
        from appliance.logs import one_line, without_secrets

        # Under systemd this is a line of the journal too; an error may quote the configuration.
        print(f"voice-appliance: {without_secrets(one_line(str(error)))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone: nothing is wrong
        return EXIT_FAILURE


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command == "ctl":
        from appliance.panel.ctl import run_ctl

        return run_ctl(arguments)
    if arguments.command == "demo":
        from appliance import demo

        return demo.run(arguments)
    from appliance import logs

    update = getattr(arguments, "update_command", "")
    by_systemd = arguments.command in ("run", "last-word", "import", "setup") or update in ("auto", "confirm")
    logs.set_up(debug=arguments.debug, quiet=not by_systemd)
    if arguments.command == "run":
        return _daemon(arguments)
    return _foreground(arguments)


def _foreground(arguments: argparse.Namespace) -> int:
    if arguments.command == "last-word":
        from appliance import last_word
        from appliance.config import default_path

        return last_word.run(arguments.config or default_path())
    if arguments.command == "import":
        from appliance.first_boot.commands import import_settings

        return import_settings(arguments)
    if arguments.command == "setup":
        from appliance.hotspot.commands import set_up

        return set_up(arguments)
    return _command(arguments)


def _command(arguments: argparse.Namespace) -> int:
    if arguments.command in ("doctor", "bundle"):
        from appliance.diagnosis import commands

        return commands.COMMANDS[arguments.command](arguments)
    if arguments.command == "update":
        from appliance.update import commands as updates

        return updates.run(arguments)
    from appliance import maintenance

    return maintenance.COMMANDS[arguments.command](arguments)


def _daemon(arguments: argparse.Namespace) -> int:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: its threads would only cost memory
    # msgspec would import typing_extensions where it happens to be installed: 30 ms and a megabyte for nothing.
    sys.modules.setdefault("typing_extensions", None)  # type: ignore[arg-type]  # None is how one says "absent"
    from appliance.system import memory

    memory.be_frugal()
    from appliance import config, daemon

    return daemon.run(config.load(arguments.config or config.default_path()))


if __name__ == "__main__":
    sys.exit(main())
