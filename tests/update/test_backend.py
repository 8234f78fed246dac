"""The boot selector's backend: what it says, and that a cut at any of its steps leaves a selector that boots.

The FAT image is real: autoboot.txt, as the backend has it, is the very sector of the image (through a loop device), and
mtools, which know nothing of us, read it back.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.update.machine import BACKEND, IMAGE, PARTITION, autoboot

SECTOR = 512


class Backend:
    """The shipped script over folders of a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("selector", "state", "run", "tree"):
            (folder / name).mkdir()
        self.autoboot = folder / "selector/autoboot.txt"
        self.autoboot.write_text(autoboot("A"))
        self.booted("A")
        self.environment = {
            **os.environ,
            "SELECTOR": str(folder / "selector"),
            "STATE": str(folder / "state"),
            "RUN": str(folder / "run"),
            "TREE": str(folder / "tree"),
            "CMDLINE": str(folder / "cmdline"),
            "FSTAB": "/dev/null",
        }

    def booted(self, slot: str) -> None:
        (self.folder / "tree/partition").write_bytes(PARTITION[slot].to_bytes(4, "big"))

    def call(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            [BACKEND, *arguments], env=self.environment, capture_output=True, text=True, check=False, timeout=10
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip() if check else done.stderr.strip()

    def killed(self, at: int, *arguments: str) -> bool:
        """Kill whichever process of the script makes its ``at``-th system call; returns whether one did."""
        trace = ["strace", "-f", "-qq", "-o", "/dev/null", f"--inject=all:signal=KILL:when={at}"]
        done = subprocess.run([*trace, BACKEND, *arguments], env=self.environment, capture_output=True, check=False)
        return done.returncode != 0


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return Backend(tmp_path)


# --- what it says ---


@pytest.mark.parametrize("slot", ["A", "B"])
def test_it_knows_the_slots(backend: Backend, slot: str) -> None:
    backend.booted(slot)
    backend.autoboot.write_text(autoboot(slot))
    assert backend.call("get-current") == backend.call("get-primary") == slot


def test_without_a_device_tree_the_kernels_command_line_says_the_slot(backend: Backend) -> None:
    (backend.folder / "tree/partition").unlink()
    (backend.folder / "cmdline").write_text("quiet rauc.slot=B panic=10\n")
    assert backend.call("get-current") == "B"


def test_arming_touches_memory_alone(backend: Backend) -> None:
    def written() -> tuple[int, int, bytes]:  # it may be read: when that was, the file system notes by the second
        there = backend.autoboot.stat()
        return there.st_ino, there.st_mtime_ns, backend.autoboot.read_bytes()

    before = written()
    backend.call("set-state", "B", "bad")
    backend.call("set-primary", "B")
    assert backend.call("get-primary") == "B"
    assert (backend.folder / "run/systemd/reboot-param").read_text() == "0 tryboot\n"
    backend.call("set-primary", "A")
    assert backend.call("get-primary") == "A"
    assert not (backend.folder / "run/systemd/reboot-param").exists()
    assert written() == before
    assert [path.name for path in (backend.folder / "selector").iterdir()] == ["autoboot.txt"]


def test_states_are_kept_on_the_data_partition(backend: Backend) -> None:
    assert backend.call("get-state", "B") == "good"
    backend.call("set-state", "B", "bad")
    assert (backend.call("get-state", "A"), backend.call("get-state", "B")) == ("good", "bad")
    backend.call("set-state", "B", "good")
    assert backend.call("get-state", "B") == "good"


def test_only_the_slot_that_runs_is_confirmed(backend: Backend) -> None:
    backend.call("set-state", "B", "good")
    assert backend.autoboot.read_text() == autoboot("A")
    backend.booted("B")
    backend.call("set-state", "B", "bad")
    assert backend.autoboot.read_text() == autoboot("A")
    backend.call("set-state", "B", "good")
    assert backend.autoboot.read_text() == autoboot("B")


def test_confirming_writes_in_place(backend: Backend) -> None:
    """The same inode, the same length, nothing beside it: on FAT that is one sector and no chain."""
    backend.booted("B")
    before = backend.autoboot.stat()
    backend.call("set-state", "B", "good")
    after = backend.autoboot.stat()
    assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size)
    assert len(autoboot("A")) == len(autoboot("B")) < SECTOR
    assert [path.name for path in (backend.folder / "selector").iterdir()] == ["autoboot.txt"]


@pytest.mark.parametrize(
    "arguments",
    [[], ["fly"], ["set-primary", "C"], ["get-state", "../A"], ["set-state", "A", "fine"], ["set-primary"]],
)
def test_nonsense_is_refused(backend: Backend, arguments: list[str]) -> None:
    assert backend.call(*arguments, check=False)
    assert backend.autoboot.read_text() == autoboot("A")


def test_a_selector_that_says_nothing_is_left_alone(backend: Backend) -> None:
    backend.booted("B")
    backend.autoboot.write_text("[all]\n")
    assert "no boot slot" in backend.call("set-state", "B", "good", check=False)
    assert backend.autoboot.read_text() == "[all]\n"


# --- cuts ---


@pytest.fixture
def fat(backend: Backend) -> Iterator[Path]:
    """A FAT image whose autoboot.txt is what the backend writes to."""
    if os.geteuid() != 0 or shutil.which("strace") is None:
        pytest.skip("needs root, strace and loop devices")
    image = backend.folder / "selector.img"
    image.write_bytes(bytes(16 * 2**20))
    subprocess.run(["mkfs.vfat", "--invariant", image], check=True, capture_output=True)
    for name, text in (
        ("config.txt", b""),
        ("bootcode.bin", os.urandom(50_000)),
        ("autoboot.txt", autoboot("A").encode()),
    ):
        (backend.folder / "file").write_bytes(text)
        subprocess.run(["mcopy", "-i", image, backend.folder / "file", f"::{name}"], check=True)
    sector = image.read_bytes().index(autoboot("A").encode())
    assert sector % SECTOR == 0
    attach: list[str | Path] = ["losetup", "--find", "--show", f"--offset={sector}", f"--sizelimit={SECTOR}", image]
    device = subprocess.run(attach, check=True, capture_output=True, text=True).stdout.strip()
    backend.autoboot.unlink()
    backend.autoboot.symlink_to(device)
    yield image
    subprocess.run(["losetup", "--detach", device], check=True)


def selected(image: Path) -> str:
    return subprocess.run(["mtype", "-i", image, "::autoboot.txt"], check=True, capture_output=True, text=True).stdout


def sound(image: Path) -> bool:
    return subprocess.run(["fsck.fat", "-n", image], check=False, capture_output=True).returncode == 0


def same_length(script: Path, folder: Path) -> Path:
    """A device has no end of file: there the length that ``wc`` finds is the sector's. Only that line is changed."""
    text = script.read_text()
    line = 'if [ "$(wc -c <"$file")" -eq "$(text "$1" | wc -c)" ]; then'
    assert line in text
    copy = folder / "rauc-boot"
    copy.write_text(text.replace(line, "if true; then"))
    copy.chmod(0o755)
    return copy


def test_a_cut_at_any_step_of_confirming_leaves_one_of_both_slots(
    backend: Backend, fat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.update.test_backend.BACKEND", same_length(BACKEND, backend.folder))
    backend.booted("B")
    seen = {autoboot("A"): 0, autoboot("B"): 0}
    cuts = 0
    for at in range(1, 100):
        backend.autoboot.write_bytes(autoboot("A").encode())
        os.sync()
        cuts += backend.killed(at, "set-state", "B", "good")
        os.sync()
        text = selected(fat)
        assert text in seen, f"cut at call {at}"
        seen[text] += 1
    assert sound(fat)
    assert cuts > 30
    assert min(seen.values()) > 5
    backend.call("set-state", "B", "good")
    assert selected(fat) == autoboot("B"), "it is done when it is begun again"


def test_a_cut_while_a_foreign_file_is_replaced_leaves_the_old_or_the_new_one(backend: Backend) -> None:
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    foreign = "# by hand\n" + autoboot("A")
    backend.booted("B")
    seen = set()
    for at in range(1, 100):
        backend.autoboot.write_text(foreign)
        backend.killed(at, "set-state", "B", "good")
        text = backend.autoboot.read_text()
        assert text in (foreign, autoboot("B")), f"cut at call {at}"
        seen.add(text)
    assert seen == {foreign, autoboot("B")}


# --- the last resort ---


def test_a_version_that_never_decides_is_left(backend: Backend) -> None:
    script = IMAGE / "overlay/update/usr/lib/voice-appliance/leave-trial"
    restarted = backend.folder / "restarted"
    environment = {**backend.environment, "BACKEND": str(BACKEND), "RESTART": f"touch {restarted}"}

    def half_an_hour_later() -> bool:
        restarted.unlink(missing_ok=True)
        subprocess.run([script], env=environment, check=True, capture_output=True)
        return restarted.exists()

    assert not half_an_hour_later()
    backend.booted("B")
    assert half_an_hour_later(), "on trial, not confirmed"
    backend.call("set-state", "B", "good")
    assert not half_an_hour_later()
    backend.call("set-primary", "A")
    assert not half_an_hour_later(), "an update is about to be started"
