"""A machine started from a card of ours: its boot partition, what the unit does there at a start, and power that fails.

Responsible for: a start, as systemd/voice-appliance-import.service and the image's voice-board-lines.service make it,
and for commands of that script that fail, or during which the power does. Not for: real mounts (``test_board_mount``).
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Literal

from appliance.first_boot import lines, outcome
from appliance.first_boot.outcome import Lines
from image import profile
from tests.first_boot.machine import Machine
from tests.scenarios.home import ROOT

SCRIPT = ROOT / "image/overlay/late/usr/lib/voice-appliance/board-lines"
CONFIG = profile.load("rpi").boot.config.lstrip()
OVERLAYS = ("respeaker-2mic-v1", "respeaker-2mic-v2", "googlevoicehat-soundcard", "wm8960-soundcard", "rpi-codeczero")
COMMANDS = ("cat", "cmp", "cp", "dd", "mountpoint", "mv", "rm", "sync", "wc")
# Counts the commands of one run of the script. One of them fails, or the power does: of what cp copies a part is there.
SHIM = """#!/bin/sh
count=$(($(/usr/bin/cat {folder}/count) + 1))
echo $count >{folder}/count
[ $count -ne {at} ] || case {how} in
  fail) exit 1 ;;
  cut) [ {name} != cp ] || /usr/bin/head -c 100 "$1" >"$2"; kill -KILL 0 ;;
esac
exec /usr/bin/{name} "$@"
"""
BACKEND = "#!/bin/sh\n[ $1 = get-current ] && echo {current} || echo {default}\n"


class Card(Machine):
    """A machine with our card in it; ``board.txt`` on it is as the image has it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.partition = root / "boot/running"
        for folder in ("boot/running/overlays", "data", "etc/voice-appliance"):
            (root / folder).mkdir(parents=True)
        (self.partition / "config.txt").write_text(CONFIG)
        (self.partition / "board.txt").write_text(lines.text(()))
        for name in OVERLAYS:
            (self.partition / f"overlays/{name}.dtbo").touch()
        self.backend = root / "rauc-boot"

    def name_board(self, name: str) -> None:
        (self.places.config / "appliance.toml").write_text(f'board = "{name}"\n')

    def trial(self, current: str, default: str) -> None:
        """Have RAUC's backend say which slot runs, and which is the default."""
        self.backend.write_text(BACKEND.format(current=current, default=default))
        self.backend.chmod(0o755)

    @property
    def lines(self) -> list[str]:
        """What the firmware reads of board.txt."""
        text = (self.partition / "board.txt").read_text()
        return [line for line in text.splitlines() if line and not line.startswith(("#", "["))]

    @property
    def kept(self) -> str:
        """What the next version's boot partition would get."""
        path = self.root / "data/board.txt"
        return path.read_text() if path.exists() else ""

    def start(self, at: int = 0, how: Literal["fail", "cut"] = "cut") -> bool:
        """Start from this card; returns whether the machine is to be started again. ``at``-th command: what happens."""
        shutil.rmtree(self.places.run, ignore_errors=True)
        self.boot()
        return self.apply(at, how)

    def apply(self, at: int = 0, how: Literal["fail", "cut"] = "cut") -> bool:
        restarted, shims = self.root / "restarted", self.root / "shims"
        restarted.unlink(missing_ok=True)
        shutil.rmtree(shims, ignore_errors=True)
        if at:
            shims.mkdir()
            (shims / "count").write_text("0\n")
        for name in COMMANDS if at else ():
            (shims / name).write_text(SHIM.format(folder=shims, at=at, how=how, name=name))
            (shims / name).chmod(0o755)
        environment = {
            "PATH": f"{shims}:/usr/bin:/bin",
            "BOOT": str(self.partition),
            "RUN": str(self.places.run),
            "DATA": str(self.root / "data"),
            "BACKEND": str(self.backend),
            "RESTART": f"touch {restarted}",
        }
        # A session of its own: its group is what the power cut ends.
        subprocess.run([SCRIPT, "apply"], env=environment, capture_output=True, check=False, start_new_session=True)
        return restarted.exists()

    @property
    def commands(self) -> int:
        """How many commands the last run took."""
        return int((self.root / "shims/count").read_text())

    def settle(self) -> int:
        """Start until it stays up; returns how often it was started again."""
        for restarts in range(3):
            if not self.start():
                return restarts
        raise AssertionError("it is started again and again")

    @property
    def told(self) -> tuple[Lines | None, str]:
        """What is left for doctor."""
        found = outcome.load(self.places.run)
        assert found is not None
        return found.lines, outcome.load_lines(self.places.run)

    def forget_writes(self) -> Path:
        """Copy what is on the card now, as one keeps it that takes no more writes."""
        copy = self.root.with_name(f"{self.root.name}.before")
        shutil.copytree(self.partition, copy)
        return copy
