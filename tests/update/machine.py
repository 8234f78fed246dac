"""A device with two slots that are files: the real rauc service on a bus of its own, in a mount namespace of its own.

Responsible for: starting and ending them, "restarts" (the service comes up as booted from the other slot, as the
firmware would have done), and what the boot selector says. Not for: what is proven (the tests).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from tests.scenarios.home import ROOT

IMAGE = ROOT / "image"
BACKEND = IMAGE / "overlay/update/usr/lib/voice-appliance/rauc-boot"
COMPATIBLE = "voice-appliance-arm64-test"
PARTITION = {"A": 2, "B": 3}
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>custom</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/>
<allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>
"""
SYSTEM = """
[system]
compatible={compatible}
bootloader=custom
activate-installed=false
data-directory={folder}/rauc
mountprefix={folder}/mnt

[handlers]
bootloader-custom-backend={backend}

[keyring]
path={keyring}
"""
SLOT = """
[slot.{name}]
device={folder}/{name}
type=raw
{more}
"""


def autoboot(slot: str) -> str:
    """What the selector says; ``image.layout.autoboot`` says the same."""
    this, other = (2, 3) if slot == "A" else (3, 2)
    return f"[all]\ntryboot_a_b=1\nboot_partition={this}\n[tryboot]\nboot_partition={other}\n"


def keys(folder: Path) -> Path:
    """Make development keys by the shipped script."""
    subprocess.run([IMAGE / "update/make-keys", folder], check=True, capture_output=True)
    return folder


def early(keys: Path, out: Path, version: str) -> Path:
    """Sign a bundle with a certificate of the same authority that is valid from tomorrow on; ours would refuse to."""
    authority = x509.load_pem_x509_certificate((keys / "keyring.pem").read_bytes())
    signer = x509.load_pem_x509_certificate((keys / "signer.pem").read_bytes())
    theirs = load_pem_private_key((keys / "authority.key").read_bytes(), None)
    assert isinstance(theirs, ec.EllipticCurvePrivateKey)
    made = x509.CertificateBuilder(authority.subject, signer.subject, signer.public_key(), 7)
    made = made.not_valid_before(datetime.now(UTC) + timedelta(days=1)).not_valid_after(authority.not_valid_after_utc)
    for extension in signer.extensions:
        made = made.add_extension(extension.value, extension.critical)
    certificate = out.with_suffix(".pem")
    certificate.write_bytes(made.sign(theirs, hashes.SHA256()).public_bytes(Encoding.PEM))
    work = out.parent / f"{out.stem}.parts"
    work.mkdir()
    (work / "root.ext4").write_bytes(b"root")
    (work / "manifest.raucm").write_text(
        f"[update]\ncompatible={COMPATIBLE}\nversion={version}\n[bundle]\nformat=plain\n[image.rootfs]\nfilename=root.ext4\n"
    )
    call: list[str | Path] = ["rauc", "bundle", f"--cert={certificate}", f"--key={keys / 'signer.key'}", work, out]
    subprocess.run(call, check=True, capture_output=True)
    return out


def bundle(keys: Path, out: Path, version: str, *, compatible: str = COMPATIBLE, salt: str = "") -> Path:
    """Sign a bundle by the shipped script. ``plain``: this machine's kernel has no device mapper."""
    work = out.parent / f"{out.stem}.parts"
    work.mkdir()
    (work / "root.ext4").write_bytes(f"root of {version} {salt}\n".encode() * 4000)
    (work / "boot.vfat").write_bytes(f"boot of {version}\n".encode() * 400)
    arguments: list[str | Path] = [
        "--version",
        version,
        "--compatible",
        compatible,
        "--keys",
        keys,
        "--out",
        out,
        "--format",
        "plain",
    ]
    parts: list[str | Path] = ["--root", work / "root.ext4", "--boot", work / "boot.vfat"]
    subprocess.run([IMAGE / "update/make-bundle", *arguments, *parts], check=True, capture_output=True)
    return out


class Device:
    """Two slots, a selector, and RAUC. ``environment`` leads the command ``rauc`` to it."""

    def __init__(self, folder: Path, keyring: Path) -> None:
        self.folder = folder
        for name in ("selector", "run", "tree", "rauc", "mnt"):
            (folder / name).mkdir(parents=True)
        for name, size in (("rootfs.0", 400_000), ("rootfs.1", 400_000), ("boot.0", 60_000), ("boot.1", 60_000)):
            (folder / name).write_bytes(bytes(size))
        (folder / "selector/autoboot.txt").write_text(autoboot("A"))
        self.system = folder / "system.conf"
        text = SYSTEM.format(compatible=COMPATIBLE, folder=folder, backend=BACKEND, keyring=keyring)
        for number, slot in enumerate("AB"):
            text += SLOT.format(name=f"rootfs.{number}", folder=folder, more=f"bootname={slot}")
            text += SLOT.format(name=f"boot.{number}", folder=folder, more=f"parent=rootfs.{number}")
        self.system.write_text(text)
        address = f"unix:path={folder}/bus"
        (folder / "bus.conf").write_text(BUS.format(path=f"{folder}/bus"))
        self.environment = {"DBUS_SYSTEM_BUS_ADDRESS": address}
        self.backend_environment = {
            "SELECTOR": str(folder / "selector"),
            "STATE": str(folder / "rauc"),
            "RUN": str(folder / "run"),
            "TREE": str(folder / "tree"),
            "FSTAB": "/dev/null",
        }
        self._log = (folder / "rauc.log").open("wb")
        self._bus = subprocess.Popen(
            ["dbus-daemon", f"--config-file={folder}/bus.conf", "--nofork", "--nopidfile", "--print-address"],
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        assert self._bus.stdout is not None
        with self._bus.stdout as told:
            assert told.readline(), (folder / "rauc.log").read_text()  # it listens: RAUC gives up where nobody does
        self._service: subprocess.Popen[bytes] | None = None
        self.booted = ""
        try:
            self.boot("A")
        except BaseException:
            self.close()
            raise

    def boot(self, slot: str) -> None:
        """Come up from ``slot``: what was only in memory is gone."""
        self.stop()
        shutil.rmtree(self.folder / "run")
        (self.folder / "run").mkdir()
        for name, number in (("partition", PARTITION[slot]), ("tryboot", int(slot != self.default))):
            (self.folder / "tree" / name).write_bytes(number.to_bytes(4, "big"))
        self.booted = slot
        command = ["rauc", f"--conf={self.system}", f"--override-boot-slot={slot}", "service"]
        self._service = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", *command],
            env={**os.environ, **self.environment, **self.backend_environment},
            stdout=self._log,
            stderr=self._log,
        )
        deadline = time.monotonic() + 10
        while self.rauc("status").returncode != 0:
            assert time.monotonic() < deadline, (self.folder / "rauc.log").read_text()[-2000:]
            time.sleep(0.05)

    def restart(self) -> None:
        """Do what the firmware does at a restart: the other slot once where that was asked for, else the default."""
        asked = self.folder / "run/systemd/reboot-param"
        once = asked.exists() and asked.read_text() == "0 tryboot\n"
        default = self.default
        self.boot(("B" if default == "A" else "A") if once else default)

    @property
    def default(self) -> str:
        text = (self.folder / "selector/autoboot.txt").read_text()
        assert text in (autoboot("A"), autoboot("B"))
        return "A" if text == autoboot("A") else "B"

    def rauc(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, **self.environment}
        return subprocess.run(["rauc", *arguments], env=env, capture_output=True, text=True, check=False, timeout=60)

    def holds(self, slot: str) -> bytes:
        """What is in a slot's root."""
        return (self.folder / f"rootfs.{'AB'.index(slot)}").read_bytes()

    def stop(self) -> None:
        if self._service is not None:
            self._service.terminate()
            self._service.wait(10)
            self._service = None

    def close(self) -> None:
        self.stop()
        self._bus.terminate()
        self._bus.wait(10)
        self._log.close()
