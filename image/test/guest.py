"""A booted card: QEMU, a root shell on its second console, power.

Responsible for: one QEMU at a time, never left behind; commands inside; cutting the power. The card needs no
preparation: the shell, and the units that make the test's hardware, come over the kernel's command line.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import re
import socket
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from image.test import firmware

MACHINE = [
    "qemu-system-aarch64",
    "-M",
    "virt",
    "-cpu",
    "cortex-a53",
    "-smp",
    "2",
    "-m",
    "1024",
    "-display",
    "none",
    "-nodefaults",
]
SHELL_S, COMMAND_S = 600.0, 240.0
ASK_EVERY_S, QUIET_S = 8.0, 2.0
# This machine may be busy: no unit and no device of the guest is given up for that. A counted one does not notice.
PATIENT = "systemd.default_timeout_start_sec=300 systemd.default_device_timeout_sec=300"
# Sound card, button and LED: there before the appliance starts, as they are on a real board.
HARDWARE = """[Unit]
DefaultDependencies=no
After=systemd-udevd.service data.mount
Before=voice-appliance.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c "modprobe vfat; mkdir -p /run/test; mount -o ro /dev/vdb /run/test; sh /run/test/hardware.sh"
"""
# For power cuts: the appliance has something to write down all the time.
BUSY = """[Unit]
After=voice-appliance.service
Requires=test-hardware.service
[Service]
ExecStart=/bin/sh /run/test/busy.sh
"""


class GuestError(Exception):
    """The guest ended, or did not answer in time."""


class Guest:
    """QEMU with a card in it. Use as a context: leaving cuts the power."""

    def __init__(
        self,
        card: Path,
        kit: Path,
        work: Path,
        *,
        words: str = "",
        busy: bool = False,
        clock: str = "",
        counted: bool = False,
        tryboot: bool = False,
    ) -> None:
        """Switch on.

        Args:
            card: the image; it is written to.
            kit: a FAT image with the test's own files, at /run/test in the guest.
            work: a folder for sockets, the device tree and the console's log.
            words: more for the kernel's command line.
            busy: whether settings of the appliance are changed all the time.
            clock: the time that the machine believes it is; empty: the right one. A Pi has no clock.
            counted: a nanosecond is an instruction, all cores together: busy as this machine may be, the guest does not
                notice, and its sound does not stutter.
            tryboot: whether the firmware was asked to start the other slot this once.
        """
        began = firmware.start(card, tryboot=tryboot)
        self.partition = began.partition
        self.log = work / "console.log"
        self._log_begin = self.log.stat().st_size if self.log.exists() else 0
        self._socket = work / "shell.sock"
        self._socket.unlink(missing_ok=True)
        (work / "kernel").write_bytes(began.kernel)
        (work / "initramfs").write_bytes(began.initramfs)
        firmware.device_tree(MACHINE, work / "tree.dtb", partition=began.partition, tryboot=tryboot)
        shown = re.sub(r"console=\S+", "console=ttyAMA0", began.cmdline)
        units = {"test-hardware": HARDWARE, **({"test-busy": BUSY} if busy else {})}
        more = [words if counted else f"{PATIENT} {words}", *(_wanted(*unit) for unit in units.items())]
        cmdline = " ".join([shown, "systemd.debug_shell=hvc0", *more])
        threads = "single" if counted else "multi"
        command = [
            "setpriv", "--pdeathsig", "KILL", "nice", "-n", "15", *MACHINE, "-accel", f"tcg,thread={threads}",
            "-no-reboot", "-monitor", "none",
            "-serial", "stdio", "-dtb", str(work / "tree.dtb"), "-kernel", str(work / "kernel"),
            "-initrd", str(work / "initramfs"), "-append", cmdline,
            "-drive", f"if=none,id=card,file={card},format=raw,cache=unsafe", "-device", "virtio-blk-pci,drive=card",
            "-drive", f"if=none,id=kit,file={kit},format=raw,cache=unsafe", "-device", "virtio-blk-pci,drive=kit",
            "-device", "virtio-rng-pci", "-device", "i6300esb", "-action", "watchdog=reset",
            "-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=",
            "-device", "virtio-serial-pci", "-chardev", f"socket,id=shell,path={self._socket},server=on,wait=off",
            "-device", "virtconsole,chardev=shell", *(("-rtc", f"base={clock}") if clock else ()),
            *(("-icount", "shift=0,sleep=on") if counted else ()),
        ]  # fmt: skip
        self.began_s = time.monotonic()
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        atexit.register(self.cut_power)
        self._pump = threading.Thread(target=self._write_log, daemon=True)
        self._pump.start()
        self._link: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut_power()

    @property
    def age_s(self) -> float:
        """How long it is switched on."""
        return time.monotonic() - self.began_s

    def cut_power(self) -> None:
        """Kill QEMU: what the guest has not written by now is lost."""
        self._process.kill()
        self._process.wait()
        self._pump.join(5)
        if self._link is not None:
            self._link.close()
        atexit.unregister(self.cut_power)

    def power_off(self) -> None:
        """Shut down in order.

        Raises:
            GuestError: it took too long.
        """
        assert self._link is not None
        self._link.sendall(b"systemctl poweroff\n")
        try:
            self._process.wait(COMMAND_S * 2)
        except subprocess.TimeoutExpired:
            raise GuestError(f"the guest does not power off:\n{self.tail()}") from None
        self.cut_power()

    def ended(self, timeout_s: float) -> str:
        """Wait until it restarts by itself; returns what its kernel hands to the firmware then, such as ``0 tryboot``.

        Raises:
            GuestError: it does not.
        """
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise GuestError(f"the guest does not restart:\n{self.tail()}") from None
        self.cut_power()
        with self.log.open("rb") as log:
            log.seek(self._log_begin)
            told = re.findall(rb"reboot: Restarting system with command '([^'\n]*)'", log.read())
        return str(told[-1].decode()) if told else ""

    def leave(self, command: str) -> None:
        """Give a command during which it restarts; what it prints is on the console."""
        assert self._link is not None
        self._link.sendall(f"{command} >/dev/console 2>&1\n".encode())

    def shell(self) -> None:
        """Wait for the root shell.

        Raises:
            GuestError: none comes.
        """
        deadline = time.monotonic() + SHELL_S
        self._link = link = socket.socket(socket.AF_UNIX)
        link.settimeout(1)
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                link.connect(str(self._socket))
                break
            except OSError:
                time.sleep(0.2)
        heard, asks_at = b"", 0.0
        while time.monotonic() < deadline and self._process.poll() is None:
            if (
                time.monotonic() >= asks_at
            ):  # not as often as it is heard: the terminal echoes long before there is a shell
                link.sendall(b"\necho up$((40+2))\n")
                asks_at = time.monotonic() + ASK_EVERY_S
            heard += self._hear()
            if b"up42" in heard:
                while self._hear(QUIET_S):  # what was asked meanwhile is answered, too
                    pass
                self.run("stty -echo; PS1=; PS2=; export TERM=dumb PAGER=cat SYSTEMD_COLORS=0 LC_ALL=C")
                self.run("export PATH=/opt/voice-appliance/bin:/usr/sbin:/usr/bin")
                return
        raise GuestError(f"no shell in the guest:\n{self.tail()}")

    def run(self, command: str, *, timeout_s: float = COMMAND_S, check: bool = True) -> str:
        """Run a command as root; returns what it printed.

        Raises:
            GuestError: it failed, or does not end.
        """
        assert self._link is not None
        mark = f"M{time.time_ns()}"
        while self._hear(0.1):
            pass
        self._link.sendall(f'{{ {command}\n}} 2>&1; echo "{mark[:3]}""{mark[3:]}:$?:"\n'.encode())
        heard, deadline = b"", time.monotonic() + timeout_s
        while time.monotonic() < deadline and self._process.poll() is None:
            heard += self._hear()
            done = re.search(rb"%s:(\d+):" % mark.encode(), heard)
            if done:
                said = heard[: done.start()].decode(errors="replace").replace("\r", "")
                if check and done[1] != b"0":
                    raise GuestError(f"{command}: {done[1].decode()}\n{said}")
                return said.strip()
        raise GuestError(f"{command}: no end of it\n{heard[-2000:].decode(errors='replace')}\n{self.tail()}")

    def until(self, command: str, *, timeout_s: float) -> str:
        """Repeat a command until it succeeds; returns what it printed.

        Raises:
            GuestError: it does not.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                return self.run(command)
            except GuestError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
            time.sleep(1)

    def tail(self) -> str:
        """The last lines of the console."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-15:])

    def _hear(self, timeout_s: float = 1.0) -> bytes:
        assert self._link is not None
        self._link.settimeout(timeout_s)
        with contextlib.suppress(TimeoutError):
            return self._link.recv(65536)
        return b""

    def _write_log(self) -> None:
        assert self._process.stdout is not None
        with self.log.open("ab") as log:
            for line in self._process.stdout:
                log.write(b"%7.1f " % self.age_s + line)
                log.flush()
        self._process.stdout.close()


def _wanted(name: str, unit: str) -> str:
    """Words for the kernel's command line that add a unit and want it: systemd.system-credentials(7)."""
    coded = base64.b64encode(unit.encode()).decode()
    return f"systemd.set_credential_binary=systemd.extra-unit.{name}.service:{coded} systemd.wants={name}.service"


def drop_in(unit: str, text: str) -> str:
    """Word for the kernel's command line that changes a unit: systemd.system-credentials(7)."""
    return f"systemd.set_credential_binary=systemd.unit-dropin.{unit}:{base64.b64encode(text.encode()).decode()}"
