"""A machine with a real systemd as its process 1: systemd-nspawn over a small tree, this machine's /usr inside.

Responsible for: the tree (our program under /opt as docs/install.md puts it, the shipped units, a virtual sound card),
booting, commands inside, ending. Not for: what is proven there (the tests).

The shipped units run as they are, but for a drop-in that names paths: the interpreter's libraries and the card. /dev
is the container's own: what the device rules let through is a node whose major number belongs to ALSA, GPIO or SPI, and
``/proc/devices`` says so where this kernel has none of them.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

from tests.fakes.card import VirtualCard
from tests.fakes.card.library import build
from tests.scenarios.home import ROOT

BIN = "/opt/voice-appliance/bin"
CARD = "/srv/card"
ALSA_MAJOR, GPIO_MAJOR, SPI_MAJOR, OTHER_MAJOR = 116, 240, 153, 117
NODES = {"snd/pcmC0D0p": ALSA_MAJOR, "gpiochip0": GPIO_MAJOR, "spidev0.0": SPI_MAJOR, "other": OTHER_MAJOR}
PLACES = f"""[Service]
Environment=LD_LIBRARY_PATH=/opt/python/lib ALSA_CONFIG_PATH={CARD}/asound.conf
ReadWritePaths=-{CARD}
"""
SCRIPTS = {
    "voice-appliance": "appliance.cli",
    "voice-provisioning": "appliance.provisioning.cli",
    "voice-local": "appliance.local.cli",
}
LOCAL = f"""[Service]
ExecStart={BIN}/voice-local serve --host 127.0.0.1 --port 8790
Environment=LD_LIBRARY_PATH=/opt/python/lib
"""
# Process 1 must not take over this machine's own journal or clock; what a container cannot do is left out.
MASKED = (
    "systemd-udevd.service",
    "systemd-networkd.service",
    "systemd-timesyncd.service",
    "systemd-logind.service",
    "dbus.socket",
)
START = f"""
mkdir -p /dev/snd
for node in {" ".join(f"{name}:{major}" for name, major in NODES.items())}; do
  mknod -m 660 /dev/${{node%:*}} c ${{node#*:}} 0; done
chgrp audio /dev/snd/*; chgrp gpio /dev/gpiochip0; chgrp spi /dev/spidev0.0; chmod 666 /dev/other
{{ echo Character devices:; echo {ALSA_MAJOR} alsa; echo {GPIO_MAJOR} gpiochip; echo {SPI_MAJOR} spi
   grep -vE 'alsa|gpiochip| spi$|Character|^ *({ALSA_MAJOR}|{GPIO_MAJOR}|{SPI_MAJOR}|{OTHER_MAJOR}) ' /proc/devices
}} > /devices
mount --bind /devices /proc/devices
exec /lib/systemd/systemd --unit=basic.target
"""


class Machine:
    """One booted machine; ``card`` is its sound card."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self.card = VirtualCard(directory / "card", seconds=240)
        self._log = directory / "console.log"
        self._lay_tree()
        self._cgroup = _own_cgroup()
        self._process: subprocess.Popen[bytes] | None = None

    # --- the tree ---

    def _lay_tree(self) -> None:
        for name in ("usr", "var/lib", "run", "opt", "proc", "sys", "dev", "tmp", "root", "srv/card", "opt/python"):
            (self.root / name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib32", "lib64"):
            (self.root / name).symlink_to(f"usr/{name}")
        etc = self.root / "etc"
        units = etc / "systemd/system"
        units.mkdir(parents=True)
        (etc / "machine-id").touch()
        (etc / "os-release").symlink_to("/usr/lib/os-release")
        (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/usr/sbin/nologin\n")
        (etc / "group").write_text("root:x:0:\nnogroup:x:65534:\naudio:x:29:\n")
        (etc / "hosts").write_text("127.0.0.1 localhost provisioning.test\n")
        (etc / "nsswitch.conf").write_text("passwd: files systemd\ngroup: files systemd\nhosts: files\n")
        for unit in (ROOT / "systemd").glob("*.service"):
            shutil.copy(unit, units)
            folder = units / f"{unit.name}.d"
            folder.mkdir()
            (folder / "places.conf").write_text(PLACES)
        (units / "voice-local.service").write_text(LOCAL)
        for name in MASKED:
            (units / name).symlink_to("/dev/null")
        subprocess.run(
            ["systemd-sysusers", f"--root={self.root}", ROOT / "systemd/voice-appliance.sysusers"],
            check=True,
            capture_output=True,
        )
        self._lay_program()
        self._lay_card()

    def _lay_program(self) -> None:
        home = self.root / "opt/voice-appliance"
        packages = home / "lib" / f"python3.{sys.version_info[1]}" / "site-packages"
        for folder in (home / "bin", packages, home / "source", home / "packages"):
            folder.mkdir(parents=True)
        (packages / "places.pth").write_text("/opt/voice-appliance/source\n/opt/voice-appliance/packages\n")
        (home / "pyvenv.cfg").write_text("home = /opt/python/bin\ninclude-system-site-packages = false\n")
        for name in ("python", "python3"):
            (home / "bin" / name).symlink_to(f"/opt/python/bin/python3.{sys.version_info[1]}")
        for name, module in SCRIPTS.items():
            script = home / "bin" / name
            script.write_text(f"#!{BIN}/python\nimport sys\nfrom {module} import main\nsys.exit(main())\n")
            script.chmod(0o755)

    def _lay_card(self) -> None:
        """The card's folder is mounted; its configuration names the card where the container has it."""
        folder = self.card.path.parent
        shutil.copy(build(), folder / "libvcard.so")
        text = self.card.conf.read_text().replace(str(build()), f"{CARD}/libvcard.so")
        self.card.conf.write_text(text.replace(str(self.card.path), f"{CARD}/card"))
        folder.chmod(0o777)
        for path in folder.iterdir():
            path.chmod(0o666)

    # --- running ---

    def boot(self) -> None:
        """Boot, and wait until systemd answers."""
        mounts = {
            "/usr": "/usr",
            sys.base_prefix: "/opt/python",
            sysconfig.get_path("purelib"): "/opt/voice-appliance/packages",
            str(ROOT / "appliance"): "/opt/voice-appliance/source/appliance",
            str(ROOT / "hardware"): "/opt/voice-appliance/source/hardware",
        }
        command = [
            *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--console=pipe"),
            *(f"--directory={self.root}", "--tmpfs=/tmp", f"--bind={self.card.path.parent}:{CARD}"),
            *(f"--bind-ro={here}:{there}" for here, there in mounts.items()),
            # Process 1 enforces the device rules by BPF.
            *("--capability=CAP_BPF,CAP_PERFMON,CAP_NET_ADMIN", "--system-call-filter=bpf"),
            *("/bin/sh", "-c", START),
        ]
        enter = ["/bin/sh", "-c", f'echo $$ > {self._cgroup}/cgroup.procs; exec "$@"', "-", *command]
        environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                enter, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        self.until(lambda: self.leader() is not None, "process 1")
        running = ("running", "degraded", "starting")
        self.until(lambda: self.run("systemctl", "is-system-running").stdout.strip() in running, "systemd")

    def leader(self) -> int | None:
        """Process 1 of the machine, as this one numbers it."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for child in children:
            status = Path(f"/proc/{child}/status")
            if status.exists() and "\nNSpid:" in (text := status.read_text()):
                numbers = text.split("\nNSpid:")[1].splitlines()[0].split()
                if len(numbers) > 1 and numbers[-1] == "1" and Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                    return int(child)
        return None

    def until(self, true: Callable[[], object], what: str, timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not true():
            assert self._process is not None
            assert self._process.poll() is None, f"the machine ended: {self._log.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"no {what}: {self._log.read_text()[-1000:]}\n{self.journal()[-6000:]}"
            time.sleep(0.1)

    def run(
        self, *command: str, user: str = "", stdin: str = "", check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine."""
        inside = ["env", "-i", f"PATH={BIN}:/usr/bin", "LD_LIBRARY_PATH=/opt/python/lib", "LANG=C.UTF-8"]
        inside += [f"ALSA_CONFIG_PATH={CARD}/asound.conf"]
        become = ["setpriv", f"--reuid={user}", "--regid=nogroup", "--clear-groups"] if user else []
        spaces = ("--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd=/")
        entered = ["nsenter", "-t", str(self.leader()), *spaces]
        done = subprocess.run(
            [*entered, *inside, *become, *command], input=stdin, capture_output=True, text=True, check=False, timeout=60
        )
        assert not check or done.returncode == 0, (command, done.stdout, done.stderr, self.journal()[-3000:])
        return done

    def show(self, unit: str, what: str) -> str:
        return self.run("systemctl", "show", unit, f"--property={what}", "--value").stdout.strip()

    def journal(self, *arguments: str) -> str:
        if self.leader() is None:
            return ""
        return self.run("journalctl", "--no-pager", "-o", "cat", *arguments).stdout

    def close(self) -> None:
        """End the machine and all in it."""
        if self._process is None:
            return
        leader = self.leader()
        if leader is not None:
            os.kill(leader, signal.SIGKILL)  # the kernel ends the rest of its namespace
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        for group in sorted((path for path in self._cgroup.rglob("*") if path.is_dir()), reverse=True):
            group.rmdir()
        self._cgroup.rmdir()


def _own_cgroup() -> Path:
    """A control group for process 1 to live in: where nspawn is told to keep it, that must not be the root's."""
    base = Path("/sys/fs/cgroup")
    hierarchy = base / "systemd" if (base / "systemd").is_dir() else base
    group = hierarchy / f"voice-appliance-test-{os.getpid()}"
    group.mkdir()
    return group
