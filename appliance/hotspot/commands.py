"""``voice-appliance setup``: what systemd starts, as root, when the appliance wishes for it.

Responsible for: reading the wish, doing it, telling how it went. Not for: the page (``session``).
"""

from __future__ import annotations

import argparse
import logging
import secrets
import socket
import subprocess
from pathlib import Path

import msgspec

from appliance.errors import ApplianceError
from appliance.first_boot import importing, outcome, record
from appliance.first_boot.places import Places
from appliance.hotspot import forgetting, request
from appliance.hotspot.radio import Radio
from appliance.hotspot.request import Progress, Wish
from appliance.hotspot.session import Session
from appliance.logs import one_line, without_secrets

log = logging.getLogger(__name__)
APPLIANCE = "voice-appliance.service"
RUN = Path("run/voice-appliance")
MOST_S = 40


def set_up(arguments: argparse.Namespace) -> int:
    """Do what the appliance wishes for. Nothing to do is no failure."""
    places = Places(arguments.root)
    wishes = places.root / RUN
    wish = request.wished(wishes)
    if wish is None:
        request.withdraw(wishes)  # whatever lies there would have us started again and again
        print("nothing is wished for")
        return 0
    try:
        return _forget(places, wishes) if wish.what == "forget" else _page(places, wishes, wish)
    except ApplianceError as error:
        log.error("%s", without_secrets(one_line(str(error))))
        request.tell(places.run, Progress(wish.id, "over"))
        return error.exit_code
    finally:
        request.withdraw(wishes)


def _page(places: Places, wishes: Path, wish: Wish) -> int:
    def is_wished() -> bool:
        return request.wished(wishes) == wish

    told = 0

    def tell(failures: int | None = None) -> None:
        nonlocal told
        told = told if failures is None else failures
        request.tell(places.run, Progress(wish.id, "open", told))

    name = f"{socket.gethostname()[:26]} setup"
    session = Session(places, Radio(places.root), name, wish.password, is_wished, tell, opened=tell)
    log.info("opening the Wi-Fi %r with the set-up page", name)
    done = session.run()
    request.tell(places.run, Progress(wish.id, "done" if done else "over"))
    log.info("the set-up page is closed%s", ": a network was joined" if done else "")
    if done:
        before = outcome.load(places.run) or outcome.Outcome()
        now = msgspec.structs.replace(before, id=secrets.token_hex(8), settings="taken", problem="", wifi_known=True)
        importing.leave_word(places, now)
        _systemctl("try-restart", APPLIANCE)
    return 0


def _forget(places: Places, wishes: Path) -> int:
    """Forget everything; the appliance then starts as new. Its service still knows it, until its owner revokes it."""
    request.withdraw(wishes)
    log.warning("everything is forgotten, as the button asked")
    _systemctl("stop", APPLIANCE)
    promised = forgetting.promise(places)
    record.save(places, promised)
    record.carry_out(places, promised)
    _run("nmcli", "--wait", "10", "connection", "reload")
    importing.take(None, places)
    _systemctl("start", APPLIANCE)
    return 0


def _systemctl(*arguments: str) -> None:
    _run("systemctl", *arguments)


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=MOST_S)  # noqa: S603  # our own words
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("%s: %s", " ".join(command), type(error).__name__)
