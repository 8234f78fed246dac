"""What keys add to an image fits the card's layout and what the updater counts on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from appliance.first_boot import lines
from appliance.update import commands, rauc
from image import layout, profile, updates
from image.layout import BOOT, ROOT, Slot
from image.profile import ImageError
from tests.update.machine import BACKEND, IMAGE, autoboot

SLOTS: tuple[Slot, ...] = ("A", "B")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/keyring.pem").write_text("a certificate\n")
    return tmp_path / "keys"


@pytest.fixture
def tree(tmp_path: Path, keys: Path) -> Path:
    root = tmp_path / "root"
    (root / "etc/systemd/system").mkdir(parents=True)
    enabled = updates.equip(root, keys, "rpi")
    for name in enabled:
        assert (root / "etc/systemd/system" / name).is_file()
        assert "[Install]" in (root / "etc/systemd/system" / name).read_text()
    return root


def test_the_settings_name_the_slots_of_the_card(tree: Path) -> None:
    system = tree / "etc/rauc/system.conf"
    assert rauc.compatible(system) == "voice-appliance-arm64-rpi"
    assert "@" not in system.read_text()
    for number, slot in enumerate(SLOTS):
        root = rf"\[slot\.rootfs\.{number}\]\ndevice=(\S+)\ntype=ext4\nbootname={slot}\n"
        boot = rf"\[slot\.boot\.{number}\]\ndevice=(\S+)\ntype=vfat\nparent=rootfs\.{number}\n"
        for pattern, part in ((root, ROOT[slot]), (boot, BOOT[slot])):
            found = re.search(pattern, system.read_text())
            assert found
            assert found[1] == f"/dev/disk/by-partuuid/{part.partuuid}"
    assert (tree / "etc/rauc/keyring.pem").read_text() == "a certificate\n"


@pytest.mark.parametrize(("kernel", "takes"), [("debian", {"plain", "verity"}), ("rpi", {"verity", "crypt"})])
def test_a_device_takes_the_bundles_that_its_kernel_can_open(
    tmp_path: Path, keys: Path, kernel: str, takes: set[str]
) -> None:
    updates.equip(tmp_path / "root", keys, kernel)
    told = re.findall(r"(?m)^bundle-formats=(.*)$", (tmp_path / "root/etc/rauc/system.conf").read_text())
    assert len(told) == 1
    removed = {word[1:] for word in told[0].split() if word.startswith("-")}
    assert takes == ({"plain", "verity", "crypt"} - removed if removed else set(told[0].split()))
    assert profile.load(kernel).bundle in takes


@pytest.mark.parametrize(
    ("kernel", "modules", "version", "refused"),
    [
        ("rpi", "6.12.47+rpt-rpi-v8", "1.13-3+deb13u1", False),
        ("rpi", "6.19.0+rpt-rpi-v8", "1.13-3+deb13u1", True),
        ("rpi", "7.3.4+rpt-rpi-v8", "1.15.1-1", False),
        ("debian", "7.3.4+deb13-arm64", "1.13-3+deb13u1", False),
    ],
)
def test_an_image_that_could_open_no_update_is_refused(
    tmp_path: Path, keys: Path, kernel: str, modules: str, version: str, refused: bool
) -> None:
    root = tmp_path / "root"
    (root / "usr/lib/modules" / modules).mkdir(parents=True)
    (root / "var/lib/dpkg").mkdir(parents=True)
    before = "Package: raucous\nVersion: 9.0\n\nPackage: rauc\nStatus: install ok installed\nConffiles:\n /etc/x 0\n"
    (root / "var/lib/dpkg/status").write_text(f"{before}Version: {version}\n\nPackage: zstd\nVersion: 1.5\n")
    if refused:
        with pytest.raises(ImageError, match="opens no verity bundle"):
            updates.equip(root, keys, kernel)
    else:
        updates.equip(root, keys, kernel)


def test_what_the_settings_name_is_there_and_may_be_run(tree: Path) -> None:
    named = re.findall(r"bootloader-custom-backend=(\S+)", (tree / "etc/rauc/system.conf").read_text())
    leave = re.findall(
        r"ExecStart=(\S+)", (tree / "etc/systemd/system/voice-appliance-leave-trial.service").read_text()
    )
    for path in (*named, *leave):
        assert (tree / path.lstrip("/")).stat().st_mode & 0o111


@pytest.mark.parametrize("slot", SLOTS)
def test_the_backend_writes_the_selector_as_the_card_has_it(slot: Slot) -> None:
    assert layout.autoboot(slot) == autoboot(slot)
    assert f"{BOOT[slot].number}) echo {slot} ;;" in BACKEND.read_text()


@pytest.mark.parametrize("slot", SLOTS)
def test_the_hook_makes_the_command_line_that_the_card_has(tmp_path: Path, slot: Slot) -> None:
    (tmp_path / "cmdline.txt").write_text(layout.cmdline("A"))
    environment = {"RAUC_SLOT_TYPE": "vfat", "RAUC_SLOT_NAME": f"boot.{SLOTS.index(slot)}"}
    hook = IMAGE / "update/bundle-hook"
    subprocess.run([hook, "slot-post-install"], env={**environment, "RAUC_SLOT_MOUNT_POINT": str(tmp_path)}, check=True)
    assert (tmp_path / "cmdline.txt").read_text() == layout.cmdline(slot)


@pytest.mark.parametrize("kept", ["dtoverlay=mine\n", None], ids=["kept", "nothing kept"])
def test_the_hook_carries_the_boards_lines_over(tmp_path: Path, kept: str | None) -> None:
    """Else the new version would be on trial without a sound card, and never be kept."""
    for folder in ("data", "boot"):
        (tmp_path / folder).mkdir()
    (tmp_path / "boot/cmdline.txt").write_text(layout.cmdline("A"))
    (tmp_path / "boot/board.txt").write_text(lines.text(()))
    if kept is not None:
        (tmp_path / "data/board.txt").write_text(kept)
    environment = {"RAUC_SLOT_TYPE": "vfat", "RAUC_SLOT_NAME": "boot.1", "DATA": str(tmp_path / "data")}
    environment |= {"RAUC_SLOT_MOUNT_POINT": str(tmp_path / "boot"), "PATH": "/usr/bin:/bin"}
    subprocess.run([IMAGE / "update/bundle-hook", "slot-post-install"], env=environment, check=True)
    assert (tmp_path / "boot/board.txt").read_text() == (kept or lines.text(()))
    assert (tmp_path / "boot/cmdline.txt").read_text() == layout.cmdline("B")
    assert sorted(path.name for path in (tmp_path / "boot").iterdir()) == ["board.txt", "cmdline.txt"]


def test_hook_and_writer_mean_the_same_file() -> None:
    place = "${DATA:-/data}/board.txt"
    assert f"lines={place}" in (IMAGE / "update/bundle-hook").read_text()
    writer = (IMAGE / "overlay/late/usr/lib/voice-appliance/board-lines").read_text()
    assert "DATA=${DATA:-/data}\n" in writer
    assert f"copy=$DATA/{Path(place).name}\n" in writer


def test_the_record_outlives_a_change_of_slot() -> None:
    assert str(commands.STATE) in layout.KEPT.values()


@pytest.mark.parametrize("keyed", [True, False])
def test_what_signs_a_bundle_is_installed_before_the_build_where_there_are_keys(tmp_path: Path, keyed: bool) -> None:
    """And not missed after forty minutes of it. rauc only suggests the package that has mksquashfs."""
    asked, programs = tmp_path / "asked", tmp_path / "bin"
    programs.mkdir()
    for name in ("mmdebstrap", "arch-test", "qemu-aarch64-static", "update-binfmts", "genimage", "mcopy", "mkfs.vfat",
                 "mke2fs", "xz", "dtc", "sudo"):  # fmt: skip
        (programs / name).write_text("#!/bin/sh\n")
    (programs / "apt-get").write_text(f'#!/bin/sh\necho "$@" >>{asked}\n')
    for path in programs.iterdir():
        path.chmod(0o755)
    for name in ("bash", "dirname", "id", "uname", "env"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    (tmp_path / "keys").mkdir()
    # Without a folder for root's programs among them: whatever this machine has, rauc is not there.
    text = (IMAGE / "setup").read_text().replace("PATH=$PATH:/usr/sbin:/sbin", "")
    script = tmp_path / "image/setup"
    script.parent.mkdir()
    script.write_text(text)
    environment = {"PATH": str(programs), "HOME": str(tmp_path), "KEYS": str(tmp_path / "keys") if keyed else ""}
    subprocess.run(["/bin/bash", script, "build"], env=environment, check=True, capture_output=True)
    installed = asked.read_text().split() if asked.exists() else []
    assert ("rauc" in installed, "squashfs-tools" in installed) == (keyed, keyed)


def test_the_keys_are_those_that_are_named_or_the_usual_ones(monkeypatch: pytest.MonkeyPatch, keys: Path) -> None:
    monkeypatch.setenv("HOME", str(keys.parent))
    monkeypatch.delenv("KEYS", raising=False)
    assert updates.keys() is None
    monkeypatch.setenv("KEYS", str(keys))
    assert updates.keys() == keys
    monkeypatch.setenv("KEYS", str(keys.parent))
    with pytest.raises(ImageError, match=r"no keyring\.pem"):
        updates.keys()
    monkeypatch.delenv("KEYS")
    usual = keys.parent / ".config/voice-appliance/keys"
    usual.mkdir(parents=True)
    (usual / "keyring.pem").write_text("a certificate\n")
    assert updates.keys() == usual
