"""The real RAUC on slots that are files, through our wrapper and our boot selector's backend."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from appliance.errors import UpdateError
from appliance.update import rauc
from tests.update.machine import BACKEND, COMPATIBLE, IMAGE, Device, autoboot


def written(folder: Path, data: bytes) -> Path:
    path = folder / "x.part"  # as the updater calls it
    path.write_bytes(data)
    return path


def test_a_good_bundle_goes_into_the_other_slot_and_starts_nothing(
    device: Device, bundles: dict[str, bytes], tmp_path: Path
) -> None:
    assert rauc.slots() == ("A", "A", "B")
    rauc.install(written(tmp_path, bundles["0.2.0"]))
    assert device.holds("B").startswith(b"root of 0.2.0")
    assert device.holds("A") == bytes(400_000)
    assert (device.folder / "boot.1").read_bytes().startswith(b"boot of 0.2.0")
    assert rauc.slots() == ("A", "A", "B"), "nothing is armed by installing"
    device.restart()
    assert device.booted == "A"


def test_a_trial_is_once_and_confirming_makes_it_stay(
    device: Device, bundles: dict[str, bytes], tmp_path: Path
) -> None:
    rauc.install(written(tmp_path, bundles["0.2.0"]))
    rauc.start_other_once()
    assert device.default == "A"
    device.restart()
    assert rauc.slots() == ("B", "A", "A")
    assert rauc.slots().on_trial
    device.restart()
    assert device.booted == "A", "not confirmed"
    rauc.start_other_once()
    device.restart()
    rauc.keep()
    assert rauc.slots() == ("B", "B", "A")
    assert device.default == "B"
    device.restart()
    assert device.booted == "B"


def test_a_version_that_is_left_is_marked_and_may_be_tried_again(
    device: Device, bundles: dict[str, bytes], tmp_path: Path
) -> None:
    rauc.install(written(tmp_path, bundles["0.2.0"]))
    rauc.start_other_once()
    device.restart()
    rauc.give_up()
    device.restart()
    assert rauc.slots() == ("A", "A", "B")
    rauc.start_other_once()
    device.restart()
    assert device.booted == "B"


@pytest.mark.parametrize(("name", "words"), [("forged", "signature"), ("foreign", "Compatible mismatch")])
def test_a_bundle_of_a_stranger_or_for_another_device_is_refused(
    device: Device, bundles: dict[str, bytes], tmp_path: Path, name: str, words: str
) -> None:
    with pytest.raises(UpdateError, match=words) as error:
        rauc.install(written(tmp_path, bundles[name]))
    assert "\n" not in str(error.value)
    assert device.holds("B") == bytes(400_000)
    assert rauc.slots() == ("A", "A", "B")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_torn_bundle_is_refused(device: Device, bundles: dict[str, bytes], tmp_path: Path, share: float) -> None:
    whole = bundles["0.2.0"]
    with pytest.raises(UpdateError):
        rauc.install(written(tmp_path, whole[: int(len(whole) * share)]))
    assert device.holds("B") == bytes(400_000)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.8])
def test_a_changed_bundle_is_refused(device: Device, bundles: dict[str, bytes], tmp_path: Path, share: float) -> None:
    changed = bytearray(bundles["0.2.0"])
    changed[int(len(changed) * share)] ^= 1
    with pytest.raises(UpdateError):
        rauc.install(written(tmp_path, bytes(changed)))
    assert device.holds("B") == bytes(400_000)


def test_an_installation_that_loses_power_can_be_made_again(
    device: Device, bundles: dict[str, bytes], tmp_path: Path
) -> None:
    path = written(tmp_path, bundles["0.2.0"])
    running = subprocess.Popen(
        ["rauc", "install", str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert running.stdout is not None
    next(line for line in running.stdout if "Copying image" in line or "Checking slot" in line)
    assert device._service is not None
    device._service.kill()
    running.communicate(timeout=20)
    device.restart()
    assert rauc.slots() == ("A", "A", "B")
    rauc.install(path)
    assert device.holds("B").startswith(b"root of 0.2.0")


def test_without_rauc_it_says_what_to_do_instead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UpdateError, match="rauc is not installed; only the card image has two slots"):
        rauc.slots()
    with pytest.raises(UpdateError, match="which images fit"):
        rauc.compatible(tmp_path / "system.conf")


def test_the_images_own_settings_are_understood(device: Device) -> None:
    """The shipped system.conf names what the backend and the hook count on."""
    text = (IMAGE / "overlay/update/etc/rauc/system.conf").read_text()
    assert rauc.compatible(IMAGE / "overlay/update/etc/rauc/system.conf").startswith("voice-appliance-arm64-")
    assert rauc.compatible(device.system) == COMPATIBLE
    assert "activate-installed=false" in text
    assert f"bootloader-custom-backend=/{BACKEND.relative_to(IMAGE / 'overlay/update')}" in text
    hook = (IMAGE / "update/bundle-hook").read_text()
    for slot, root in (("A", "05"), ("B", "06")):
        assert f"70a1ce01-{root}\ntype=ext4\nbootname={slot}" in text
        assert f"root={root} slot={slot}" in hook


# --- keys and bundles, by the shipped scripts ---


def test_a_bundle_is_in_verity_format_and_signed(signer: Path, tmp_path: Path) -> None:
    for name in ("r", "b"):
        (tmp_path / name).write_bytes(os.urandom(50_000))
    arguments: list[str | Path] = [
        "--version",
        "0.2.0",
        "--compatible",
        COMPATIBLE,
        "--keys",
        signer,
        "--out",
        tmp_path / "x.raucb",
    ]
    command: list[str | Path] = [
        IMAGE / "update/make-bundle",
        *arguments,
        "--root",
        tmp_path / "r",
        "--boot",
        tmp_path / "b",
    ]
    subprocess.run(command, check=True, capture_output=True)
    info: list[str | Path] = ["rauc", "info", f"--keyring={signer}/keyring.pem", tmp_path / "x.raucb"]
    told = subprocess.run(info, check=True, capture_output=True, text=True).stdout
    assert "Bundle Format: \tverity" in told
    assert "'0.2.0'" in told
    again = subprocess.run(command, check=False, capture_output=True, text=True)
    assert "is there already" in again.stderr


def test_a_root_of_another_version_is_refused(signer: Path, tmp_path: Path) -> None:
    """The device compares what is offered with what its root says: this one would be taken again and again."""
    ours = tmp_path / "tree/usr/lib/voice-appliance"
    ours.mkdir(parents=True)
    (ours / "version").write_text("0.1.0\n")
    root, out = tmp_path / "root.ext4", tmp_path / "x.raucb"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tmp_path / "tree", root, "4M"], check=True)
    (tmp_path / "b").write_bytes(os.urandom(5000))
    names: list[str | Path] = ["--compatible", COMPATIBLE, "--keys", signer, "--out", out, "--boot", tmp_path / "b"]
    for version, code in (("0.2.0", 1), ("0.1.0", 0)):
        call: list[str | Path] = [IMAGE / "update/make-bundle", "--version", version, *names, "--root", root]
        done = subprocess.run(call, check=False, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        assert out.exists() == (code == 0)
        assert ("is version 0.1.0, not 0.2.0" in done.stderr) == (code == 1)


def test_keys_are_private_outside_of_repositories_and_never_written_over(signer: Path) -> None:
    assert {path.name: path.stat().st_mode & 0o777 for path in signer.iterdir()} == {
        "authority.key": 0o600,
        "signer.key": 0o600,
        "signer.pem": 0o644,
        "keyring.pem": 0o644,
    }
    make = IMAGE / "update/make-keys"
    assert subprocess.run([make, signer], check=False, capture_output=True).returncode == 1
    inside = subprocess.run([make, IMAGE / "keys"], check=False, capture_output=True, text=True)
    assert "inside a repository" in inside.stderr
    assert not (IMAGE / "keys").exists()


@pytest.mark.parametrize(("slot", "root", "letter"), [("boot.0", "05", "A"), ("boot.1", "06", "B")])
def test_a_boot_partition_names_its_own_root_and_slot(tmp_path: Path, slot: str, root: str, letter: str) -> None:
    (tmp_path / "cmdline.txt").write_text("console=serial0 root=PARTUUID=70a1ce01-05 ro quiet rauc.slot=A\n")
    environment = {
        **os.environ,
        "RAUC_SLOT_NAME": slot,
        "RAUC_SLOT_TYPE": "vfat",
        "RAUC_SLOT_MOUNT_POINT": str(tmp_path),
    }
    subprocess.run([IMAGE / "update/bundle-hook", "slot-post-install"], env=environment, check=True)
    expected = f"console=serial0 root=PARTUUID=70a1ce01-{root} ro quiet rauc.slot={letter}\n"
    assert (tmp_path / "cmdline.txt").read_text() == expected
    assert [path.name for path in tmp_path.iterdir()] == ["cmdline.txt"]


def test_the_selector_says_the_same_as_the_backend(device: Device) -> None:
    assert (device.folder / "selector/autoboot.txt").read_text() == autoboot("A")
