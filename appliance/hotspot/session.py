"""The ten minutes of the set-up page: opens our own Wi-Fi, has the page served, joins what was entered there.

This runs as root, for as long as the page is open. It never listens to a stranger: a process without rights does
(``web``), and hands over what was entered, which is judged here. It ends by success, after ten minutes, or when the
appliance does not wish for it any more.
Responsible for: that course. Not for: its parts.
"""

from __future__ import annotations

import contextlib
import logging
import pwd
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from appliance.errors import ApplianceError
from appliance.first_boot import record
from appliance.first_boot.places import Places
from appliance.first_boot.record import Record
from appliance.hotspot import judging
from appliance.hotspot.radio import ADDRESS, Radio
from appliance.hotspot.web import Answer, Form, Offer

log = logging.getLogger(__name__)
LASTS_S = 600.0
LOOK_S = 0.5
ENDS_S = 5.0
LINGER_S = 3.0  # until the phone has the last page
LONGEST_LINE = 64 * 1024


@dataclass(slots=True)
class Session:
    """One opening of the page. ``wished`` says whether it is still wanted, ``failed`` hears of each try that failed."""

    places: Places
    radio: Radio
    name: str  # of our own Wi-Fi
    password: str = field(repr=False)
    wished: Callable[[], bool]
    failed: Callable[[int], None]
    opened: Callable[[], None] = lambda: None
    address: tuple[str, int] = (ADDRESS, 80)
    user: str | None = "nobody"
    clock: Callable[[], float] = time.monotonic
    linger_s: float = LINGER_S

    def run(self) -> bool:
        """Hold the page open; returns whether a network was joined by it.

        Raises:
            ApplianceError: there is no Wi-Fi to be opened, or what was taken cannot be stored.
        """
        until_s, failures, problem = self.clock() + LASTS_S, 0, ""
        names = self.radio.names()  # while the chip can still look around
        try:
            while self._goes_on(until_s):
                self.radio.open(self.name, self.password)
                taken = self._page(Offer(tuple(names), problem), until_s)
                if taken is None:
                    break
                self.radio.close()
                wanted, promised = taken
                record.save(self.places, promised)
                record.carry_out(self.places, promised)
                if self.radio.join(wanted):
                    return True
                failures += 1
                self.failed(failures)
                problem = f"{wanted} could not be joined. Is the password right, and is it near?"
        finally:
            self.radio.close()
        return False

    def _goes_on(self, until_s: float) -> bool:
        return self.clock() < until_s and self.wished()

    def _page(self, offer: Offer, until_s: float) -> tuple[str, Record] | None:
        """Have the page served until a form is good; ``None``: the time is over, or nobody wishes for it."""
        ours, theirs = socket.socketpair()
        with ours, theirs, _listen(self.address) as listening:
            self.address = listening.getsockname()[:2]
            child = _start(listening, theirs, self.user)
            theirs.close()
            self.opened()
            try:
                ours.sendall(msgspec.json.encode(offer) + b"\n")
                return self._forms(ours, child, until_s)
            except OSError as error:
                raise ApplianceError(f"the page's process is gone ({error})", hint="journalctl says why") from error
            finally:
                ours.close()
                _end(child)

    def _forms(self, ours: socket.socket, child: subprocess.Popen[bytes], until_s: float) -> tuple[str, Record] | None:
        buffered = b""
        while self._goes_on(until_s):
            if not select.select([ours], [], [], LOOK_S)[0]:
                if child.poll() is not None:
                    raise ApplianceError(f"the page's process ended with {child.returncode}", hint="try again")
                continue
            data = ours.recv(4096)
            buffered += data
            if not data or len(buffered) > LONGEST_LINE:
                raise ApplianceError("the page's process does not make sense", hint="try again")
            line, end, rest = buffered.partition(b"\n")
            if end:
                buffered = rest
                if (taken := self._judge(ours, line)) is not None:
                    return taken
        return None

    def _judge(self, ours: socket.socket, line: bytes) -> tuple[str, Record] | None:
        try:
            fields = msgspec.json.decode(line, type=Form).fields
            promised = judging.judge(fields, self.places)
        except msgspec.DecodeError:
            problem = "The form could not be read."
        except ApplianceError as error:
            problem = str(error)
        else:
            ours.sendall(msgspec.json.encode(Answer()) + b"\n")
            time.sleep(self.linger_s)
            return fields["wifi"], promised
        ours.sendall(msgspec.json.encode(Answer(problem)) + b"\n")
        return None


def _listen(address: tuple[str, int]) -> socket.socket:
    try:
        return socket.create_server(address)
    except OSError as error:
        raise ApplianceError(
            f"cannot listen at {address[0]} ({error.strerror})", hint="is our own Wi-Fi open?"
        ) from error


def _end(child: subprocess.Popen[bytes]) -> None:
    """Wait for the page's process, which ends with its pair. Nobody's process root may not kill without a right to."""
    try:
        child.wait(ENDS_S)
    except subprocess.TimeoutExpired:
        log.warning("the page's process does not end; systemd ends it with us")
        with contextlib.suppress(PermissionError):
            child.kill()


def _start(listening: socket.socket, theirs: socket.socket, user: str | None) -> subprocess.Popen[bytes]:
    numbers: Sequence[int] = (listening.fileno(), theirs.fileno())
    group = pwd.getpwnam(user).pw_gid if user else None
    command = [sys.executable, "-P", "-m", "appliance.hotspot.web", *map(str, numbers)]
    return subprocess.Popen(  # noqa: S603  # ourselves
        command,
        stdin=subprocess.DEVNULL,
        pass_fds=numbers,
        user=user,
        group=group,
        extra_groups=[] if user else None,
        cwd="/",
    )
