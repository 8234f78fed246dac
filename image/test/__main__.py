"""`make image-test`: boots the built image in QEMU, talks to it, cuts its power. `CUTS=20`, `IMAGE=`, `SEED=`.

Responsible for: the story, in order, and what is printed of it. One line a finding; exit 1 if one of them is bad.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from image import __main__ as build
from image import layout, updates
from image.profile import FOLDER, ImageError
from image.test import card as cards
from image.test import reply, seen, voice_toml
from image.test.bundles import Workshop
from image.test.folder import Folder
from image.test.guest import Guest, GuestError
from image.test.home import Home
from image.test.updating import Updating

KIT = Path(__file__).parent / "kit"
CARD_GIB = 4
OURS_S = 2.0
FIRST_START_S = 90.0


class Story:
    """One card, from the first start to the last power cut."""

    def __init__(self, image: Path, work: Path, home: Home) -> None:
        self._work = work
        self._home = home
        self._image = image
        self.card = cards.inserted(image, work / "card.img", gib=CARD_GIB)
        self._kit = cards.kit(KIT, [("question.wav", reply.question())], work)
        self.bad: list[str] = []

    def switch_on(
        self, *, words: str = "", busy: bool = False, clock: str = "", counted: bool = False, tryboot: bool = False
    ) -> Guest:
        """Switch the machine on."""
        how = {"busy": busy, "counted": counted, "tryboot": tryboot}
        return Guest(self.card, self._kit, self._work, words=words, clock=clock, **how)

    def check(self, what: str, well: bool, said: object) -> None:
        """Note a finding."""
        print(f"{what}: {said}{'' if well else '   <- WRONG'}", flush=True)
        if not well:
            self.bad.append(what)

    def first_start(self) -> None:
        """A fresh card, with nothing configured and no clock: it starts, grows, and nobody can come in."""
        with self.switch_on(clock="2001-01-01T00:00:00") as guest:
            guest.shell()
            state = seen.settle(guest)
            self.check("first_start", state == "running", f"{state} after {guest.age_s:.0f} s")
            self._judge("first_start", guest)
            listening = seen.ports(guest)
            self.check("listening_ports", not listening, f"{len(listening)} {' '.join(listening)}".strip())
            # The test's board is one of the owner's own.
            guest.run("cd /etc/voice-appliance && mkdir hardware && cp /run/test/board.toml hardware/qemu.toml && sync")
            guest.power_off()

    def settings(self) -> None:
        """What the owner says in voice.toml: name, place, Wi-Fi, board, service, token. Its secrets are erased."""
        voice_toml.write(self.card, self._home)
        with self.switch_on() as guest:
            guest.shell()
            state = seen.settle(guest)
            faults = voice_toml.wrong(guest)
            self.check("voice_toml", state == "running" and not faults, "; ".join(faults) or f"taken over, {state}")
            guest.power_off()
        left = voice_toml.left(self.card, self._home)
        self.check("voice_toml_secrets", not left, "; ".join(left) or "erased on the card")

    def press_to_reply(self) -> None:
        """The appliance starts by itself, is pressed, and speaks."""
        with self.switch_on(counted=True) as guest:
            guest.shell()
            seen.settle(guest)
            self._start_s = guest.age_s
            guest.run("mount -o remount,rw /run/test")
            guest.run("cd /run/test && python3 talk.py question.wav reply.raw events; sync", timeout_s=900)
            print(guest.run("journalctl -u voice-appliance -o cat --no-pager | grep 'turn {' | tail -n1", check=False))
            listening = seen.ports(guest)
            self.check("listening_ports_in_use", not listening, f"{len(listening)} {' '.join(listening)}".strip())
            self._identity = seen.identity(guest)
            guest.power_off()
        turn = reply.judge(cards.from_kit(self._kit, "reply.raw"), cards.from_kit(self._kit, "events").decode())
        print(f"led: {', '.join(turn.led)}")
        self.check("led_changes", len(turn.led) > 2, len(turn.led))
        said = "ok" if turn.answered else "no"
        self.check("press_to_reply_in_guest", turn.answered, f"{said} ({turn.sounded_s:.1f} s: {turn.words!r})")

    def start_times(self) -> None:
        """How long a start takes with and without our service, counted in instructions: other load does not matter."""
        with self.switch_on(counted=True) as guest:
            guest.shell()
            seen.settle(guest)
            ours = seen.times(guest)
            print(guest.run("systemd-analyze time", check=False))
            print(guest.run("systemd-analyze critical-chain voice-appliance.service", check=False))
        with self.switch_on(words="systemd.mask=voice-appliance.service", counted=True) as guest:
            guest.shell()
            seen.settle(guest)
            bare = seen.times(guest)
        self.check("boot_to_ready_s", ours.ready_s > 0, f"{ours.ready_s:.2f} s")
        print(f"boot_without_us_s: {bare.target_s:.2f} s (multi-user.target)")
        print(f"boot_to_ready_ratio: {ours.ready_s / bare.target_s:.2f}")
        self.check(
            "service_start_s", ours.ours_s < OURS_S, f"{ours.ours_s:.2f} s of boot_to_ready_s, at most {OURS_S} s"
        )

    def updates(self) -> None:
        """A good update is kept; forged, torn, broken and dead ones leave it as it is."""
        before = len(self.bad)
        try:
            keys = updates.keys()
        except ImageError as error:
            self.check("update_rollback", False, f"no ({error})")
            return
        if keys is None:
            self.check("update_rollback", False, "no (no keys: KEYS= names those that the image was made with)")
            return
        workshop = Workshop(self._image, self._work / "updates", keys)
        if not workshop.trusted():
            self.check("update_rollback", False, f"no (the image was made without keys, or with others than {keys})")
            return
        try:
            with Folder(workshop.folder) as folder:
                Updating(self, workshop, folder, self._work).tell()
        except GuestError as error:
            self.check("updates", False, error)
        well = len(self.bad) == before
        self.check("update_rollback", well, "ok" if well else "no")

    def power_cuts(self, cuts: int, seed: int) -> None:
        """Power is cut at random moments while it starts and while it writes; it always comes back as itself."""
        roots = [cards.digest(self.card, root.number) for root in layout.ROOT.values()]
        damaged = self._cut(cuts, random.Random(seed), self._start_s * 1.3)
        self.check("power_cuts", not damaged, f"{cuts}, file systems damaged: {damaged}")
        same = [cards.digest(self.card, root.number) for root in layout.ROOT.values()] == roots
        self.check("roots_unchanged", same, same)
        with self.switch_on() as guest:
            guest.shell()
            state = seen.settle(guest)
            self.check("after_the_cuts", state == "running", state)
            self._judge("after_the_cuts", guest)
            ready = guest.run("systemctl is-active voice-appliance", check=False)
            self.check("ready_after_the_cuts", ready == "active", ready)
            kept = seen.identity(guest) == self._identity
            self.check("identity_kept", kept, kept)
            guest.power_off()
        active = self._home.devices().count("active")
        self.check("devices_enrolled", active == 1, active)

    def cuts_of_the_first_start(self, cuts: int, seed: int) -> None:
        """Power is cut while a fresh card grows and gets its id: the start after it is a first start like any other."""
        damaged = self._cut(cuts, random.Random(seed), FIRST_START_S)
        self.check("power_cuts_of_the_first_start", not damaged, f"{cuts}, file systems damaged: {damaged}")

    def _cut(self, cuts: int, chance: random.Random, longest_s: float) -> int:
        """Cut the power so often; returns how often ``data`` was damaged beyond what its journal heals."""
        damaged = 0
        for number in range(cuts):
            moment_s = chance.uniform(3, longest_s)
            with self.switch_on(busy=True) as guest:
                while guest.age_s < moment_s:
                    time.sleep(0.02)
            faults = cards.faults_of_data(self.card, self._work)
            damaged += bool(faults)
            print(f"cut {number + 1} at {moment_s:.1f} s: {faults or 'clean'}", flush=True)
        return damaged

    def secrets(self) -> None:
        """Nothing secret is in the image; on the card it is in its own files only."""
        found = cards.secrets_in(self._image, published=cards.library_with_keys(self._image, self._work))
        found += cards.strays(self.card, self._work, (self._home.key, self._home.token))
        self.check("secrets_found", not found, f"{len(found)} {'; '.join(found)}".strip())

    def _judge(self, when: str, guest: Guest) -> None:
        for fault in seen.wrong(guest, epoch=build.EPOCH, card_gib=CARD_GIB):
            self.check(f"{when}: {fault}", False, "")


def main() -> int:
    """Tell the story; returns 1 if something in it was wrong."""
    parser = argparse.ArgumentParser(prog="python -m image.test", description=__doc__)
    parser.add_argument("--image", type=Path, help="the image; default: the newest in image/out")
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    images = sorted((FOLDER / "out").glob("*-debian-arm64.img"), key=lambda path: path.stat().st_mtime)
    if arguments.image is None and not images:
        print("image-test: there is no image\nhint: make image", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended, whoever ends us
    work = FOLDER / "cache" / "test"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    image = arguments.image or images[-1]
    packed = image.with_name(image.name + ".xz")
    began = time.monotonic()
    print(f"image_mb: {packed.stat().st_size / 1e6:.0f} MB", flush=True)
    with Home(work) as home:
        story = Story(image, work, home)
        try:
            with _timed("cuts_of_the_first_start"):
                story.cuts_of_the_first_start(arguments.cuts // 4, arguments.seed)
            for step in (story.first_start, story.settings, story.press_to_reply, story.updates, story.start_times):
                with _timed(step.__name__):
                    step()
            with _timed("power_cuts"):
                story.power_cuts(arguments.cuts - arguments.cuts // 4, arguments.seed)
            with _timed("secrets"):
                story.secrets()
        except GuestError as error:
            story.check("guest", False, error)
    print(f"on {build.machine()}; QEMU TCG; once, {time.monotonic() - began:.0f} s")
    print(f"wrong: {', '.join(story.bad) or 'nothing'}")
    return bool(story.bad)


@contextmanager
def _timed(what: str) -> Iterator[None]:
    began = time.monotonic()
    print(f"==> {what}", flush=True)
    yield
    print(f"    {what}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
