"""What goes into the image: packages, kernels, mirrors, locks; and what lies beside it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from image import mirrors, papers, profile, program, rootfs, tree
from image.__main__ import plan, published, version_of_image
from image.profile import ImageError
from image.test.card import PATTERN, secrets_in
from tests.scenarios.home import ROOT

TARGETS = (
    "Debian\tDebian-Security\thttp://mirror.example/security/\n"
    "Raspbian\tRaspbian\thttp://mirror.example/raspbian\n"
    "Debian\tDebian\thttp://mirror.example/main/\n"
)
DEBIAN, RPI = profile.load("debian"), profile.load("rpi")


def plans() -> dict[str, dict[str, list[str]]]:
    """Both kernels' plans, by the kind of their lines."""
    found: dict[str, dict[str, list[str]]] = {}
    for kernel in ("debian", "rpi"):
        for line in plan(kernel).splitlines():
            kind, _, entry = line.partition(": ")
            found.setdefault(kernel, {}).setdefault(kind, []).append(entry)
    return found


def test_the_switch_changes_only_kernel_firmware_and_sources() -> None:
    told = plans()
    same = ("package", "python")
    assert {kind: told["debian"][kind] for kind in same} == {kind: told["rpi"][kind] for kind in same}
    allowed = {"package of this kernel", "boot file of this kernel", "config.txt of this kernel",
               "module of this kernel's initramfs", "source", "bundle format of this kernel"}  # fmt: skip
    assert set(told["debian"]) - {"kernel debian"} == set(told["rpi"]) - {"kernel rpi"} == allowed | set(same)
    for name in (*DEBIAN.packages, *RPI.packages):
        assert re.match(r"linux-image-|raspi-firmware$|firmware-", name), name


def test_a_dry_run_fetches_nothing_and_names_what_is_missing() -> None:
    command = [sys.executable, "-m", "image", "--kernel", "rpi", "--dry-run"]
    told = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=ROOT, env={"PATH": "/nowhere"}
    ).stdout
    assert "source: deb [signed-by=<keyring>] <RPI_MIRROR> trixie main" in told
    assert "package of this kernel: linux-image-rpi-2712" in told


def test_the_version_is_the_programs_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMAGE_VERSION", raising=False)
    assert version_of_image() == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    monkeypatch.setenv("IMAGE_VERSION", "0.2.0.1")
    assert version_of_image() == "0.2.0.1"
    monkeypatch.setenv("IMAGE_VERSION", "newest")
    with pytest.raises(ImageError, match="IMAGE_VERSION=newest: 'newest' is no version"):
        version_of_image()


def test_a_mirror_is_that_of_this_machine_unless_told() -> None:
    assert mirrors.find("debian", TARGETS, {}) == "http://mirror.example/main"
    assert mirrors.find("security", TARGETS, {}) == "http://mirror.example/security"
    assert mirrors.find("debian", TARGETS, {"MIRROR": "http://other.example/"}) == "http://other.example"
    with pytest.raises(ImageError, match="RPI_MIRROR="):
        mirrors.find("raspberrypi", TARGETS, {})


def test_an_archive_without_a_keyring_is_refused() -> None:
    with pytest.raises(ImageError, match="RPI_KEYRING is not set"):
        mirrors.lines(RPI.sources, TARGETS, {"RPI_MIRROR": "http://pi.example"})


def test_no_address_of_an_archive_is_written_down() -> None:
    for path in (
        *rootfs.files(ROOT / "image/profiles"),
        *rootfs.files(ROOT / "image/overlay"),
        ROOT / "image/packages.toml",
    ):
        assert "://" not in path.read_text(), path


def test_an_unknown_kernel_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ImageError, match=r"KERNEL=pi: no such kernel profile\nhint: one of debian, rpi"):
        profile.load("pi")


def test_the_key_of_the_cache_knows_every_input() -> None:
    base = profile.base()
    assert rootfs.key(DEBIAN, base) == rootfs.key(DEBIAN, base) != rootfs.key(RPI, base)
    more = profile.Base(sources=base.sources, packages=(*base.packages, "one-more"), building=base.building)
    assert rootfs.key(DEBIAN, more) != rootfs.key(DEBIAN, base)
    assert program.key(more) == program.key(base), "what is in the root does not make other wheels"


def test_the_image_has_the_versions_that_the_tests_run_with() -> None:
    """Of the packages that both locks name; only the image's own Python may ask for another."""
    ours = {package.name: package.version for package in papers.from_lock((ROOT / "locks/gpio.txt").read_text())}
    image = {package.name: package.version for package in papers.from_lock(program.LOCK.read_text())}
    assert image == {name: version for name, version in ours.items() if name != "setuptools"}
    fetched, made = program.split(program.LOCK.read_text())
    assert {package.name for package in papers.from_lock(made)} == set(program.MADE_HERE)
    assert len(papers.from_lock(fetched)) + len(program.MADE_HERE) == len(image)
    assert all(package.sha256 for package in papers.from_lock(program.LOCK.read_text()))


def test_an_account_with_a_password_or_an_empty_one_is_refused() -> None:
    tree.refuse_logins("root:*:20000:0:::::\nvoice-appliance:!*:20000::::::\n")
    with pytest.raises(ImageError, match="the account root has a password"):
        tree.refuse_logins("root:$y$j9T$abc:20000:0:::::\n")
    with pytest.raises(ImageError, match="the account pi has a password"):
        tree.refuse_logins("pi::20000:0:::::\n")


def test_every_unit_of_ours_that_starts_is_in_the_image_with_its_programs() -> None:
    late = ROOT / "image/overlay/late"
    for unit in tree.SHIPPED:
        text = (ROOT / "systemd" / unit).read_text()
        for program_ in re.findall(r"(?m)^Exec\w+=[-+]*(/usr/lib/voice-appliance/\S+)", text):
            assert os.access(late / program_.lstrip("/"), os.X_OK), program_
        if "[Install]" in text:
            assert unit in tree.ENABLED
    ours = {unit for unit in tree.ENABLED if unit.startswith("voice-appliance")}
    assert ours <= set(tree.SHIPPED)
    assert {"voice-appliance-report.timer", "voice-appliance-report.service", "run-voice_report.mount"} <= set(
        tree.SHIPPED
    )


def test_every_unit_that_is_enabled_is_there() -> None:
    overlay = tree.LATE / "etc/systemd/system"
    debians = {"systemd-timesyncd.service", "NetworkManager.service"}
    for name in set(tree.ENABLED) - debians:
        text = ((ROOT / "systemd" if name in tree.SHIPPED else overlay) / name).read_text()
        assert "[Install]\nWantedBy=" in text, name
        for path in re.findall(r"(?m)^ExecStart=(/usr/lib/voice-appliance/\S+)", text):
            assert (tree.LATE / path.lstrip("/")).stat().st_mode & 0o111, path


def test_the_wifi_driver_leaves_handshakes_to_the_supplicant_whatever_the_firmwares_package_says() -> None:
    """raspberrypi/linux issue 7634; the numbers are those of the driver's feature.h in Linux 6.18."""
    name = "voice-appliance.conf"
    assert name > "rpi-brcmfmac.conf", "of two options the later one counts, by the names of the files"
    text = (tree.LATE / "etc/modprobe.d" / name).read_text()
    found = re.search(r"(?m)^options brcmfmac roamoff=1 feature_disable=(0x[0-9a-f]+)$", text)
    assert found is not None
    features = {"FWSUP": 13, "SAE": 19, "DUMP_OBSS": 21, "SAE_EXT": 25}
    assert int(found[1], 16) == sum(1 << bit for bit in features.values())


def test_the_boards_lines_are_looked_at_before_and_written_after_the_settings_are_taken_over() -> None:
    look, write = (
        (tree.LATE / f"etc/systemd/system/voice-board-{name}.service").read_text() for name in ("look", "lines")
    )
    assert "\nBefore=voice-appliance-import.service\n" in look
    # The selector too: RAUC's backend mounts it, and the import is about to unmount it.
    assert "\nAfter=voice-board-look.service voice-appliance-import.service boot-selector.mount\n" in write
    assert "\nBefore=voice-appliance.service\n" in write


APT = """Package: libc6
Version: 2.41-12
Architecture: arm64
SHA256: {a}
Filename: pool/x.deb

Package: tzdata
Version: 1:2026a+b
Architecture: all
SHA256: {b}
""".format(a="a" * 64, b="b" * 64)


def test_the_bill_lists_every_package_with_its_hash_and_purl() -> None:
    packages = [*papers.from_apt(APT), *papers.from_lock("h11==0.16.0 \\\n    --hash=sha256:" + "c" * 64 + "\n")]
    bill = json.loads(papers.bill("image", "1.0", packages, epoch=1_790_000_000, sha256="d" * 64))
    assert bill["spdxVersion"] == "SPDX-2.3"
    assert bill["creationInfo"]["created"] == "2026-09-21T14:13:20Z"
    found = {entry["name"]: entry for entry in bill["packages"]}
    assert found["libc6"]["checksums"] == [{"algorithm": "SHA256", "checksumValue": "a" * 64}]
    references = [entry["externalRefs"][0]["referenceLocator"] for entry in bill["packages"] if "externalRefs" in entry]
    assert references == [
        "pkg:deb/debian/libc6@2.41-12?arch=arm64",
        "pkg:deb/debian/tzdata@1%3A2026a%2Bb?arch=all",
        "pkg:pypi/h11@0.16.0",
    ]
    ids = [entry["SPDXID"] for entry in bill["packages"]]
    assert len(set(ids)) == len(ids)
    related = {entry["relatedSpdxElement"] for entry in bill["relationships"]}
    assert related == set(ids)
    assert papers.listing(packages).splitlines()[1].split("\t") == ["deb", "libc6", "2.41-12", "arm64", "a" * 64]


def test_the_manifest_is_what_the_imager_reads() -> None:
    made = papers.manifest(
        "Voice appliance",
        "1.0",
        raw_bytes=3,
        raw_sha256="e",
        packed_bytes=2,
        packed_sha256="f",
        url="https://cards.example/x.img.xz",
        epoch=0,
    )
    (entry,) = json.loads(made)["os_list"]
    assert (entry["extract_size"], entry["image_download_size"]) == (3, 2)
    assert (entry["extract_sha256"], entry["image_download_sha256"], entry["url"]) == (
        "e",
        "f",
        "https://cards.example/x.img.xz",
    )


def test_the_imager_is_told_a_whole_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("URL", raising=False)
    assert published(tmp_path / "x.img.xz") == f"file://{tmp_path}/x.img.xz"
    monkeypatch.setenv("URL", "https://cards.example/voice/")
    assert published(tmp_path / "x.img.xz") == "https://cards.example/voice/x.img.xz"


@pytest.mark.parametrize("secret", ["ek_" + "0a" * 16, "vdt_" + "x" * 40, "vet_" + "A-" * 16, "sk-" + "y" * 40])
def test_the_search_for_secrets_sees_tokens_and_not_their_prefixes(secret: str) -> None:
    assert PATTERN.search(b"\0" + secret.encode() + b"\0")
    assert not PATTERN.search(b'prefixes = ("ek_", "vdt_", "vet_", "sk-")')


def test_the_search_of_an_image_finds_each_place(tmp_path: Path) -> None:
    token, key = b"vdt_" + b"x" * 40, b"-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49"
    image = tmp_path / "image"
    image.write_bytes(
        b"\0" * 5000 + token + b"\0" * 5000 + b"peek_at_the_next_token_in_the_queue\0" + key + b"\0 mine \0"
    )
    assert [place.split("…")[0] for place in secrets_in(image)] == ["vdt_", "-----BEGIN "]
    assert len(secrets_in(image, published=b"of a library: " + key)) == 2, "what stands around it is its own"
    assert len(secrets_in(image, published=b"of a library: " + key + b"\0 mine \0")) == 1
    assert secrets_in(image, ("mine",))[2:] == ["a secret of this run at byte 10130"]
