"""The Wi-Fi: one of our own for the set-up page, and joining the one that was entered there. NetworkManager does it.

Responsible for: the calls of ``nmcli``, and the keyfile of our own Wi-Fi, in memory only. No secret is ever an argument
of a command, which every process could read. Not for: when (``session``).
"""

from __future__ import annotations

import contextlib
import logging
import re
import subprocess
from pathlib import Path

from appliance.errors import ApplianceError
from appliance.first_boot import networks
from appliance.first_boot import places as files

log = logging.getLogger(__name__)
ADDRESS = "10.42.0.1"
NAME = "voice-setup"
KEYFILE = Path("run/NetworkManager/system-connections") / f"{NAME}{networks.SUFFIX}"
FORWARDING = "proc/sys/net/ipv4/conf/{device}/forwarding"
OPEN_S, JOIN_S, PATIENCE_S = 20, 45, 10
MOST_SHOWN = 20
_UUID = "70a1ce00-0000-4000-8000-0000000005e7"


class RadioError(ApplianceError):
    """There is no Wi-Fi here that could be opened, or NetworkManager does not do it."""


class Radio:
    """NetworkManager, as far as it is needed."""

    def __init__(self, root: Path = Path("/"), program: str = "nmcli") -> None:
        self._root, self._program = root, program

    def _nmcli(self, *arguments: str, within_s: float = PATIENCE_S) -> str:
        command = [self._program, "--wait", str(round(within_s)), *arguments]
        try:
            done = subprocess.run(  # noqa: S603  # our own words, and the names of files
                command, capture_output=True, text=True, timeout=within_s + PATIENCE_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RadioError(
                f"nmcli: {type(error).__name__}", hint="is NetworkManager installed and running?"
            ) from error
        if done.returncode:
            what = (done.stderr.strip() or done.stdout.strip()).splitlines()
            raise RadioError(f"nmcli: {what[0] if what else done.returncode}", hint="`nmcli device` shows the Wi-Fi")
        return done.stdout

    def names(self) -> list[str]:
        """List the Wi-Fis around, the strongest first; none where that cannot be told."""
        try:
            found = self._nmcli("--terse", "--escape", "yes", "--fields", "SSID", "device", "wifi", "list")
        except RadioError as error:
            log.warning("%s", error)
            return []
        names = (re.sub(r"\\(.)", r"\1", line) for line in found.splitlines())
        return list(dict.fromkeys(name for name in names if name.strip()))[:MOST_SHOWN]

    def open(self, name: str, password: str) -> None:
        """Open a Wi-Fi of our own. Who joins it gets an address and this page, and no way beyond.

        Raises:
            RadioError: there is no Wi-Fi, or it cannot.
        """
        path = self._root / KEYFILE
        try:
            files.make_folder(path.parent, 0o700)
            files.replace(path, access_point(name, password).encode(), 0o600)
        except OSError as error:
            raise RadioError(f"cannot write {path} ({error.strerror})", hint="is NetworkManager installed?") from error
        self._nmcli("connection", "load", str(path))
        self._nmcli("connection", "up", "uuid", _UUID, within_s=OPEN_S)
        self._shut_the_way_out()

    def _shut_the_way_out(self) -> None:
        """Let nothing through to a cable: ``method=shared`` would."""
        device = self._nmcli("--terse", "--get-values", "GENERAL.DEVICES", "connection", "show", "uuid", _UUID).strip()
        if re.fullmatch("[A-Za-z0-9_.-]{1,15}", device):
            path = self._root / FORWARDING.format(device=device)
            try:
                path.write_text("0")
            except OSError as error:
                raise RadioError(f"cannot write {path} ({error.strerror})", hint="then nobody is let in") from error

    def close(self) -> None:
        """Close our own Wi-Fi, as far as it is open. NetworkManager then looks for those that it knows."""
        for arguments in (("connection", "down", "uuid", _UUID), ("connection", "delete", "uuid", _UUID)):
            with contextlib.suppress(RadioError):
                self._nmcli(*arguments)
        with contextlib.suppress(OSError):
            (self._root / KEYFILE).unlink(missing_ok=True)

    def join(self, name: str) -> bool:
        """Join the Wi-Fi ``name``, whose keyfile is there; returns whether it let us in."""
        try:
            self._nmcli("connection", "reload")
            self._nmcli("connection", "up", "uuid", networks.number(name), within_s=JOIN_S)
        except RadioError as error:
            log.warning("not joined: %s", error)
            return False
        return True


def access_point(name: str, password: str) -> str:
    """Write the keyfile of our own Wi-Fi: WPA2 alone, since the chip of many a Pi fails with more."""
    return "\n".join([
        "[connection]", f"id={NAME}", f"uuid={_UUID}", "type=wifi", "autoconnect=false", "",
        "[wifi]", "mode=ap", "band=bg", f"ssid={''.join(f'{byte};' for byte in name.encode()[:32])}", "",
        "[wifi-security]", "key-mgmt=wpa-psk", "proto=rsn;", "pairwise=ccmp;", "group=ccmp;", "pmf=1",
        f"psk={networks.escaped(password)}", "",
        "[ipv4]", "method=shared", f"address1={ADDRESS}/24", "", "[ipv6]", "method=disabled", "",
    ])  # fmt: skip
