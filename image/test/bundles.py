"""Bundles for the test, made of the built image alone: its own system under a higher number, and three that are bad.

Responsible for: what is in them, by debugfs, and who signed them, by the scripts that ship. Not for: what a device
makes of them (``updating``).
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from pathlib import Path

from image import layout, profile, updates
from image.profile import FOLDER, PYTHON
from image.program import PLACE
from image.test import card

VERSION = "/usr/lib/voice-appliance/version"
MODULES = f"/{PLACE}/lib/python{PYTHON}/site-packages/appliance"
INIT = "/usr/lib/systemd/systemd"
CHANNEL = "stable.json"
SCRIPTS = FOLDER / "update"


class Workshop:
    """Makes bundles in ``folder``. ``keys`` are those that the image was made with."""

    def __init__(self, image: Path, folder: Path, keys: Path) -> None:
        self.folder, self._keys = folder, keys
        folder.mkdir()
        self._kernel = image.name.split("-")[-2]
        self._root = card.partition(image, folder, layout.ROOT["A"].number).rename(folder / "root.img")
        self._boot = card.partition(image, folder, layout.BOOT["A"].number).rename(folder / "boot.img")
        self.version = self._read(VERSION).strip()

    def trusted(self) -> bool:
        """Say whether the image takes what these keys sign."""
        return self._read("/etc/rauc/keyring.pem") == (self._keys / "keyring.pem").read_text()

    def good(self, version: str) -> Path:
        """The image's own system."""
        return self._made(version, "")

    def speechless(self, version: str) -> Path:
        """A system in which the appliance is never ready: its daemon ends at once."""
        broken = self.folder / "daemon.py"
        broken.write_text('raise SystemExit("broken on purpose")\n')
        compiled = f"{MODULES}/__pycache__/daemon.cpython-{PYTHON.replace('.', '')}.pyc"
        return self._made(version, f"rm {compiled}\nrm {MODULES}/daemon.py\nwrite {broken} {MODULES}/daemon.py\n")

    def dead(self, version: str) -> Path:
        """A system without its first process."""
        return self._made(version, f"rm {INIT}\n")

    def forged(self, bundle: Path) -> Path:
        """The same bundle, signed by a stranger."""
        forged = self.folder / f"forged-{bundle.name}"
        with tempfile.TemporaryDirectory() as folder:  # make-keys puts none into a repository
            strangers = Path(folder) / "strangers"
            self._run(str(SCRIPTS / "make-keys"), str(strangers))
            signer = [f"--cert={strangers}/signer.pem", f"--key={strangers}/signer.key", "--no-verify"]
            keyrings = [f"--signing-keyring={strangers}/keyring.pem", f"--keyring={self._keys}/keyring.pem"]
            self._run("rauc", "resign", *signer, *keyrings, str(bundle), str(forged))
        return forged

    def offer(self, bundle: Path) -> None:
        """Write the channel file."""
        told = ["--bundle", str(bundle), "--keys", str(self._keys), "--percent", "100"]
        self._run(str(SCRIPTS / "make-channel"), *told, "--out", str(self.folder / CHANNEL))

    def offer_forged(self, bundle: Path, version: str) -> None:
        """Write the channel file of a bundle that our script does not read: it is not signed by us."""
        told = {
            "version": version,
            "bundle": bundle.name,
            "sha256": hashlib.sha256(bundle.read_bytes()).hexdigest(),
            "size": bundle.stat().st_size,
            "compatible": updates.compatible(self._kernel),
            "percent": 100,
        }
        (self.folder / CHANNEL).write_text(json.dumps(told))

    def info(self, bundle: Path) -> str:
        """What RAUC says of a bundle."""
        return self._run("rauc", "info", f"--keyring={self._keys}/keyring.pem", str(bundle))

    def _made(self, version: str, script: str) -> Path:
        changed, new, commands = (self.folder / name for name in ("changed.img", "version", "debugfs"))
        out = self.folder / f"{version}.raucb"
        self._run("cp", "--sparse=always", str(self._root), str(changed))
        new.write_text(f"{version}\n")
        commands.write_text(f"rm {VERSION}\nwrite {new} {VERSION}\n{script}")
        self._run("debugfs", "-w", "-f", str(commands), str(changed))
        kind = ["--compatible", updates.compatible(self._kernel), "--format", profile.load(self._kernel).bundle]
        parts = ["--root", str(changed), "--boot", str(self._boot), "--keys", str(self._keys), "--out", str(out)]
        self._run(str(SCRIPTS / "make-bundle"), "--version", version, *kind, *parts)
        changed.unlink()
        return out

    def _read(self, name: str) -> str:
        return self._run("debugfs", "-R", f"cat {name}", str(self._root))

    def _run(self, *call: str) -> str:
        return subprocess.run(call, check=True, capture_output=True, text=True).stdout
