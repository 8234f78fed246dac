"""The device's key and the files it lives in."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import multiprocessing
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from appliance.credentials import storage
from appliance.credentials.identity import FILE_NAME, Identity
from appliance.errors import StateError


def test_it_is_made_once_and_private(tmp_path: Path) -> None:
    directory = tmp_path / "state" / "deep"
    first = Identity.load_or_create(directory)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / FILE_NAME).stat().st_mode & 0o777 == 0o600
    second = Identity.load_or_create(directory)
    assert (second.device_id, second.public_jwk) == (first.device_id, first.public_jwk)
    assert [path.name for path in directory.iterdir()] == [FILE_NAME]
    assert Identity.load_or_create(tmp_path / "other").device_id != first.device_id
    Identity.forget(directory)
    assert Identity.load_or_create(directory).device_id != first.device_id


def test_names_are_those_of_the_standard(tmp_path: Path) -> None:
    identity = Identity.load_or_create(tmp_path)
    key = ECKey.import_key(dict(identity.public_jwk))
    assert identity.thumbprint == key.thumbprint()
    digest = hashlib.sha256(json.dumps(identity.public_jwk, sort_keys=True, separators=(",", ":")).encode()).digest()
    assert identity.device_id == "d_" + base64.b32encode(digest).decode().lower()[:20]
    stored = json.loads((tmp_path / FILE_NAME).read_text())
    assert ECKey.import_key(stored).is_private
    assert stored["d"] not in repr(identity)


def test_signatures_verify(tmp_path: Path) -> None:
    identity = Identity.load_or_create(tmp_path)
    numbers = [int.from_bytes(base64.urlsafe_b64decode(identity.public_jwk[name] + "="), "big") for name in "xy"]
    public = ec.EllipticCurvePublicNumbers(numbers[0], numbers[1], ec.SECP256R1()).public_key()
    for length in (0, 1, 1_000):
        signature = identity.sign(b"x" * length)
        assert len(signature) == 64
        der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
        public.verify(der, b"x" * length, ec.ECDSA(hashes.SHA256()))


def test_loose_modes_are_tightened(tmp_path: Path) -> None:
    first = Identity.load_or_create(tmp_path)
    tmp_path.chmod(0o755)
    (tmp_path / FILE_NAME).chmod(0o644)
    assert Identity.load_or_create(tmp_path).device_id == first.device_id
    assert tmp_path.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_writes_belongs_to_whom_the_directory_does(tmp_path: Path) -> None:
    os.chown(tmp_path, 12_345, 23_456)
    with storage.locked(tmp_path):
        storage.write(tmp_path / "a", b"a")
    found = (tmp_path / "a").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (12_345, 23_456, 0o600)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_a_torn_key_is_refused_and_left_alone(tmp_path: Path, keep: float) -> None:
    Identity.load_or_create(tmp_path)
    path = tmp_path / FILE_NAME
    whole = path.read_bytes()
    torn = whole[: int(len(whole) * keep)]
    path.write_bytes(torn)
    with pytest.raises(StateError, match=f"{path} is damaged; restore it") as refused:
        Identity.load_or_create(tmp_path)
    assert "\n" not in str(refused.value)
    assert path.read_bytes() == torn


@given(position=st.integers(0, 10_000), character=st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_a_flipped_byte_never_makes_another_key(
    tmp_path_factory: pytest.TempPathFactory, position: int, character: int
) -> None:
    directory = tmp_path_factory.getbasetemp() / "flipped"
    path = directory / FILE_NAME
    if not path.exists():
        Identity.load_or_create(directory)
        (directory / "whole").write_bytes(path.read_bytes())
    whole = bytearray((directory / "whole").read_bytes())
    path.write_bytes(whole)
    expected = Identity.load_or_create(directory).device_id
    whole[position % len(whole)] = character
    path.write_bytes(whole)
    try:
        assert Identity.load_or_create(directory).device_id == expected
    except StateError:
        assert path.read_bytes() == bytes(whole)


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    for content in (
        "null",
        "[]",
        '{"kty":"OKP"}',
        "x" * 20_000,
        json.dumps(dict.fromkeys(["kty", "crv", "x", "y", "d"], "é")),
    ):
        (tmp_path / FILE_NAME).write_text(content)
        with pytest.raises(StateError, match=FILE_NAME):
            Identity.load_or_create(tmp_path)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EROFS, "remount it read-write"),
        (errno.EACCES, "must belong to the user"),
        (errno.EIO, "check the SD card"),
        (errno.ENODEV, "check the disk"),
    ],
)
def test_a_bad_disk_is_told_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(StateError, match=remedy) as refused:
            Identity.load_or_create(tmp_path)
    assert str(tmp_path / FILE_NAME) in str(refused.value)
    assert list(tmp_path.iterdir()) == []  # no half key stays
    assert Identity.load_or_create(tmp_path)


def test_a_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for directory in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nothing")):
        with pytest.raises(StateError, match=str(directory)):
            Identity.load_or_create(directory)
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(StateError, match=FILE_NAME):
        Identity.load_or_create(tmp_path)


def test_a_failed_write_keeps_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    storage.write(path, b"old")

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StateError):
        storage.write(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_leftover_of_a_power_cut_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / f".{FILE_NAME}.new").write_text("half a k")
    Identity.load_or_create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def identify(directory: Path) -> str:
    return Identity.load_or_create(directory).device_id


def test_processes_that_start_together_get_the_same_key(tmp_path: Path) -> None:
    with multiprocessing.get_context("forkserver").Pool(3) as pool:
        assert len(set(pool.map(identify, [tmp_path / "state"] * 12, chunksize=1))) == 1
