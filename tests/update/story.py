"""A whole device in a test: the real RAUC and selector, a real HTTPS folder, and virtual time.

The appliance is the one fake: it says over a real control socket what the test wants.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from appliance import pins
from appliance.config import Update
from appliance.errors import ApplianceError
from appliance.panel.control import ControlServer
from appliance.update import record, trial, updater
from appliance.update.channel import Wish
from appliance.update.daemon import Appliance
from appliance.update.download import Folder
from appliance.update.health import Link
from appliance.update.record import Record
from appliance.update.updater import Machine
from tests.fakes.update_server import UpdateServer
from tests.panel.served import Appliance as Told
from tests.scenarios.home import Background
from tests.update.machine import COMPATIBLE, Device

BEGUN = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)


class Spoken(Told):
    """An appliance behind the socket: ``phases`` is what it says to each question, the last one from then on."""

    def __init__(self) -> None:
        super().__init__()
        self.phases = ["idle"]
        self.sound = "moves"
        self.more: dict[str, object] = {}
        self._trial: dict[str, object] | None = None

    def try_sound(self) -> None:
        super().try_sound()
        self._trial = {"state": self.sound, "why": "" if self.sound in ("moves", "muted") else "it stands"}

    def stand_still(self) -> None:
        super().stand_still()
        if self.phases[0] != "idle":
            raise ApplianceError("the appliance is in use")

    def status(self) -> dict[str, object]:
        phase = self.phases.pop(0) if len(self.phases) > 1 else self.phases[0]
        shown = {"phase": phase, "thumbprint": "ours", "link": "down", "sound_trial": self._trial}
        return {**shown, **self.more}


class Story:
    """One device over several starts; ``version`` is what the slot that runs holds."""

    def __init__(self, folder: Path, device: Device, server: UpdateServer, bundles: dict[str, bytes]) -> None:
        self.device, self.server, self.bundles = device, server, bundles
        self.directory, self.runtime = folder / "state", folder / "wishes"
        self.spoken, self.link = Spoken(), "reached"
        self.settings = Update(url=server.url)
        self.versions = {"A": "0.1.0", "B": "0.1.0"}
        self.up_s, self.now = 60.0, BEGUN
        self.naps: list[Callable[[], None]] = []  # what happens during the next waits
        self._background = Background()
        self._socket = folder / "control.sock"
        self._control: ControlServer | None = None
        self.daemon(runs=True)

    # --- the world ---

    def offer(self, name: str, *, percent: float = 100, version: str = "", file: str = "") -> None:
        """Put a bundle and its channel file onto the server."""
        data = self.bundles[name]
        file = file or f"voice-{name}.raucb"
        self.server.files[file] = data
        kind = "toaster" if name == "foreign" else COMPATIBLE
        content = {
            "version": version or (name if name[0].isdigit() else "0.2.0"),
            "bundle": file,
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            "compatible": kind,
            "percent": percent,
        }
        self.server.files["stable.json"] = msgspec.json.encode(content)

    def daemon(self, *, runs: bool) -> None:
        if runs and self._control is None:
            self._control = ControlServer(self._socket, self.spoken)
            self._background.run(self._control.start())
        elif not runs and self._control is not None:
            self._background.run(self._control.close())
            self._control = None

    def sleep(self, seconds: float) -> None:
        self.up_s += seconds
        self.now += timedelta(seconds=seconds)
        if self.naps:
            self.naps.pop(0)()

    def machine(self) -> Machine:
        return Machine(
            settings=self.settings,
            directory=self.directory,
            runtime=self.runtime,
            appliance=Appliance(self._socket, self.sleep),
            reached=self._reached,
            now=lambda: self.now,
            uptime=lambda: self.up_s,
            sleep=self.sleep,
            version=self.versions[self.device.booted],
            system=self.device.system,
            folder=lambda address: Folder(address, silence_s=2.0, spare=0),
        )

    def _reached(self) -> tuple[Link, str]:
        link: Link = "reached" if self.link == "reached" else "away" if self.link == "away" else "absent"
        return link, "" if link == "reached" else "it does not answer"

    # --- what is done ---

    def update(self, wish: Wish | None = None) -> str:
        with updater.alone(self.directory):
            return updater.update(self.machine(), wish or Wish())

    def settle(self) -> str:
        with updater.alone(self.directory):
            return trial.settle(self.machine())

    @property
    def wants_restart(self) -> bool:
        return (self.runtime / updater.RESTART).exists()

    def restart(self) -> None:
        """Power off and on; the firmware chooses the slot, and what runs there is what is in it."""
        self.device.restart()
        (self.runtime / updater.RESTART).unlink(missing_ok=True)
        for slot in "AB":
            held = self.device.holds(slot)
            if held.startswith(b"root of "):
                self.versions[slot] = held.split(b" ")[2].decode()
        self.up_s = 40.0

    @property
    def record(self) -> Record:
        return record.load(self.directory)

    @property
    def address(self) -> pins.Address:
        return pins.parse(self.settings.url)

    def close(self) -> None:
        self.daemon(runs=False)
        self._background.close()


def on_trial(story: Story, name: str = "0.2.0") -> None:
    story.offer(name)
    assert story.update() == f"{name} is installed; restarting into it"
    assert story.wants_restart
    story.restart()
    assert (story.device.booted, story.device.default) == ("B", "A")
