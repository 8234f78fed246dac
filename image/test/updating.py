"""The built image is updated, in QEMU: what is forged, torn or cut off, a version that is kept, two that are left.

Responsible for: the way through the slots, and the firmware's part between two starts. Not for: how bundles are made
(``bundles``), what else is shown of a card (``__main__``).

Debian's kernels do not hand ``reboot "0 tryboot"`` to a Pi's firmware. What counts here is what the kernel was given:
it says so on the console when it restarts, and the test's firmware does as a Pi's does with Raspberry Pi's kernel.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from image import layout
from image.test import card as cards
from image.test import seen
from image.test.bundles import Workshop
from image.test.folder import Folder
from image.test.guest import Guest, drop_in

TRYBOOT = "0 tryboot"
INSTALL_S, DECIDE_S, DEAD_S = 2400.0, 1800.0, 600.0
VOLUME = 37
DECIDES = "systemctl show -p ActiveState --value voice-appliance-confirm"  # "activating" until it has decided
HALF_WRITTEN = 400_000  # sectors of 2 million
# A quarter of an hour for a version on trial is four minutes here. The program and its sandbox are those of the image.
LIMIT_S = 240
PROGRAM = (
    f"import sys; from appliance.update import health; health.LIMIT_S = {LIMIT_S}; "
    "from appliance.cli import main; sys.exit(main())"
)
IMPATIENT = drop_in(
    "voice-appliance-confirm.service",
    f'[Service]\nExecStart=\nExecStart=/opt/voice-appliance/bin/python3 -c "{PROGRAM}" '
    "update confirm --config /etc/voice-appliance/appliance.toml\n",
)


class Story(Protocol):
    """What is needed of the story around it."""

    card: Path

    def switch_on(self, *, words: str = "", tryboot: bool = False) -> Guest:
        """Switch the machine on."""

    def check(self, what: str, well: bool, said: object) -> None:
        """Note a finding."""


class Updating:
    """One card, from the image's own version in slot A to a newer one in slot B, which two bad ones do not replace."""

    def __init__(self, story: Story, workshop: Workshop, folder: Folder, work: Path) -> None:
        self._story, self._workshop, self._folder, self._work = story, workshop, folder, work
        self._handed = ""  # to the firmware, at the last restart
        self._who = ""

    def tell(self) -> None:
        """Tell it."""
        forged, good, speechless, dead = (f"{self._workshop.version}.{number}" for number in (1, 2, 3, 4))
        bundle = self._made("good", good, self._workshop.good)
        print(self._workshop.info(bundle))
        self._refuses(self._workshop.forged(bundle), forged)
        self._is_cut_off(bundle)
        self._is_kept(good)
        self._is_left(self._made("never ready", speechless, self._workshop.speechless))
        self._dies(self._made("does not start", dead, self._workshop.dead), dead, speechless, good)

    # --- steps ---

    def _refuses(self, bundle: Path, version: str) -> None:
        """A bundle of a stranger, over a line that breaks: fetched in two pieces, and refused."""
        with self._start() as guest:
            seen.settle(guest)
            guest.run("cd /etc/voice-appliance && cp -p appliance.toml before.toml")
            guest.run(f"printf '[update]\\nurl = \"{self._folder.url}\"\\n' >> /etc/voice-appliance/appliance.toml")
            guest.run(f"voice-appliance ctl volume {VOLUME}")
            self._who = self._identity(guest)
            empty = cards.digest(self._story.card, layout.ROOT["B"].number)
            self._workshop.offer_forged(bundle, version)
            self._folder.tears_after = bundle.stat().st_size // 2
            torn = guest.run("voice-appliance update install", timeout_s=INSTALL_S, check=False)
            told = guest.run("voice-appliance update install", timeout_s=INSTALL_S, check=False)
            ranges = [asked for name, asked in self._folder.asked if name == bundle.name]
            well = "broke off" in torn and len(ranges) == 2 and re.fullmatch(r"bytes=[1-9]\d+-", ranges[1]) is not None
            self._story.check("update_torn_download_goes_on", well, f"{ranges[1:]} after: {_first(torn)}")
            untouched = cards.digest(self._story.card, layout.ROOT["B"].number) == empty
            self._story.check("update_forged_refused", "signature" in told and untouched, _first(told))
            guest.run("sync")
            guest.power_off()

    def _is_cut_off(self, bundle: Path) -> None:
        """Power is cut while the other slot is half written: the old one starts; the next installation goes through."""
        self._workshop.offer(bundle)
        with self._start() as guest:
            seen.settle(guest)
            guest.run("systemctl start --no-block voice-appliance-update")
            written = f"awk '{{ exit $7 < {HALF_WRITTEN} }}' /sys/class/block/vda{layout.ROOT['B'].number}/stat"
            guest.until(written, timeout_s=INSTALL_S)
            guest.cut_power()
        faults = cards.faults_of_data(self._story.card, self._work)
        self._story.check("update_cut_off_data", not faults, faults or "clean")
        with self._start() as guest:
            state = seen.settle(guest)
            same = self._identity(guest) == self._who
            well = state == "running" and guest.partition == layout.BOOT["A"].number and same
            self._story.check("update_cut_off_starts_as_before", well, f"{state}, partition {guest.partition}")
            guest.run("systemctl start --no-block voice-appliance-update")
            self._restart(guest, INSTALL_S)

    def _is_kept(self, version: str) -> None:
        """The new version is started once, confirms itself, and is started from then on, as the same device."""
        with self._start() as guest:
            self._is_in("B", guest)
            state = self._settled(guest)
            told = guest.run("voice-appliance update status")
            well = state == "running" and f"{version} in slot B\n" in told and f"{version} is kept: " in told
            self._story.check("update_kept", well, f"{state}, {_last(told)}, {guest.age_s:.0f} s after its start")
            guest.power_off()

    def _is_left(self, bundle: Path) -> None:
        """A version whose appliance is never ready is left by itself."""
        with self._start() as guest:
            self._is_in("B", guest)
            self._settled(guest)
            self._same(guest, "update_keeps_who_it_is")
            self._install(guest, bundle)
        with self._start(words=IMPATIENT, shell=False) as guest:
            self._is_in("A", guest)
            self._restart(guest, DECIDE_S)

    def _dies(self, bundle: Path, version: str, left: str, good: str) -> None:
        """The one before says what failed. A version that does not even start is gone after its one start."""
        with self._start() as guest:
            self._runs_on(guest, good, f"failed    {left}: ", "update_never_ready_left")
            again = guest.run("voice-appliance update check")
            self._story.check("update_failed_not_taken_again", "failed here" in again, again)
            self._install(guest, bundle)
        with self._start(shell=False) as guest:
            self._is_in("A", guest)
            self._restart(guest, DEAD_S)
        with self._start() as guest:
            self._runs_on(guest, good, f"{version} went back: ", "update_dead_left")
            guest.run(
                "cd /etc/voice-appliance && mv before.toml appliance.toml && sync"
            )  # no more updates from here on
            guest.power_off()

    def _runs_on(self, guest: Guest, good: str, told: str, what: str) -> None:
        """Check that the confirmed version runs as before, and says what became of the other one."""
        self._is_in("B", guest)
        state = self._settled(guest)
        status = guest.run("voice-appliance update status")
        well = state == "running" and f"{good} in slot B\n" in status and told in status
        self._story.check(what, well, f"{state}, {_last(status)}")
        self._same(guest, f"{what}_keeps_who_it_is")

    # --- what they are made of ---

    def _made(self, what: str, version: str, how: Callable[[str], Path]) -> Path:
        began = time.monotonic()
        bundle = how(version)
        took_s = time.monotonic() - began
        print(f"bundle {version} ({what}): {bundle.stat().st_size / 1e6:.0f} MB, made in {took_s:.0f} s", flush=True)
        return bundle

    def _start(self, *, words: str = "", shell: bool = True) -> Guest:
        """Do the firmware's part with what the last restart handed over; any other start is a plain one."""
        tryboot, self._handed = self._handed == TRYBOOT, ""
        guest = self._story.switch_on(words=words, tryboot=tryboot)
        if shell:
            guest.shell()
        return guest

    def _install(self, guest: Guest, bundle: Path) -> None:
        """Offer a bundle, ask for it as a person would, and see it restart."""
        self._workshop.offer(bundle)
        guest.leave("voice-appliance update install")
        self._restart(guest, INSTALL_S)

    def _restart(self, guest: Guest, within_s: float) -> None:
        began = guest.age_s
        self._handed = guest.ended(within_s)
        what = f"restarts into the other slot, {self._handed!r}" if self._handed else "restarts"
        print(f"{what}, after {guest.age_s - began:.0f} s", flush=True)

    def _settled(self, guest: Guest) -> str:
        """Wait until it has started and looked at what became of the trial before."""
        state = seen.settle(guest)
        guest.until(f"{DECIDES} | grep -qE 'inactive|failed'", timeout_s=DECIDE_S)
        return state

    def _is_in(self, slot: layout.Slot, guest: Guest) -> None:
        """Check that the firmware started this slot."""
        wanted = layout.BOOT[slot].number
        if guest.partition != wanted:
            self._story.check("update_slot", False, f"started from partition {guest.partition}, not {wanted}")

    def _same(self, guest: Guest, what: str) -> None:
        same = self._identity(guest) == self._who
        self._story.check(what, same, same)

    def _identity(self, guest: Guest) -> str:
        """Who it is, and how loud."""
        told = json.loads(guest.run("voice-appliance ctl status --json"))
        return f"{seen.identity(guest)} {told['volume']}"


def _first(told: str) -> str:
    return told.splitlines()[0] if told else ""


def _last(status: str) -> str:
    """Find what `update status` says of the last outcome."""
    return next((line.split(maxsplit=1)[1] for line in status.splitlines() if line.startswith("last ")), "nothing")
