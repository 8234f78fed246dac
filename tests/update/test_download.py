"""A real HTTPS server that tears, lies and refuses: what comes is whole, and what is torn goes on from where it was."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from appliance import pins
from appliance.errors import UpdateError
from appliance.update import download
from appliance.update.channel import Channel
from appliance.update.download import Folder
from tests.fakes.update_server import UpdateServer
from tests.scenarios.home import ROOT

BODY = os.urandom(400_000)
NAME = "voice-0.2.0.raucb"


@pytest.fixture
def offer(server: UpdateServer) -> Channel:
    server.files[NAME] = BODY
    digest = hashlib.sha256(BODY).hexdigest()
    return Channel(version="0.2.0", bundle=NAME, sha256=digest, size=len(BODY), compatible="x", percent=100)


@pytest.fixture
def folder(server: UpdateServer) -> Folder:
    return Folder(pins.parse(server.url), silence_s=2.0, spare=0)


def refused(folder: Folder, offer: Channel, into: Path) -> str:
    with pytest.raises(UpdateError) as error:
        folder.fetch(offer, into)
    assert "\n" not in str(error.value)
    return str(error.value)


def there(into: Path) -> int:
    return sum(path.stat().st_size for path in into.glob("*.part"))


def test_a_bundle_comes_whole(folder: Folder, offer: Channel, tmp_path: Path) -> None:
    assert folder.fetch(offer, tmp_path).read_bytes() == BODY


def test_a_torn_one_goes_on_from_where_it_broke(
    server: UpdateServer, folder: Folder, offer: Channel, tmp_path: Path
) -> None:
    server.tears_after = 150_000
    assert "broke off" in refused(folder, offer, tmp_path)
    assert there(tmp_path) == 150_000
    assert "broke off" in refused(folder, offer, tmp_path)
    assert there(tmp_path) == 300_000
    server.tears_after = None
    assert folder.fetch(offer, tmp_path).read_bytes() == BODY
    assert [asked for _, asked in server.asked] == ["", "bytes=150000-", "bytes=300000-"]


def test_a_server_without_ranges_begins_again(
    server: UpdateServer, folder: Folder, offer: Channel, tmp_path: Path
) -> None:
    server.tears_after, server.ignores_ranges = 150_000, True
    refused(folder, offer, tmp_path)
    refused(folder, offer, tmp_path)
    assert there(tmp_path) == 150_000
    server.tears_after = None
    assert folder.fetch(offer, tmp_path).read_bytes() == BODY


def test_a_whole_one_is_not_fetched_again(server: UpdateServer, folder: Folder, offer: Channel, tmp_path: Path) -> None:
    folder.fetch(offer, tmp_path)
    folder.fetch(offer, tmp_path)
    assert len(server.asked) == 1


@pytest.mark.parametrize("length", [len(BODY) - 1, len(BODY) + 1, 10**12, 1])
def test_another_length_is_refused_before_a_byte_is_kept(
    server: UpdateServer, folder: Folder, offer: Channel, tmp_path: Path, length: int
) -> None:
    server.tells_length = length
    assert "another length" in refused(folder, offer, tmp_path)
    assert there(tmp_path) == 0


@pytest.mark.parametrize("told", ["bytes 0-399999/400000", "bytes 150000-399999/400001", "nonsense"])
def test_a_range_that_was_not_asked_for_is_refused(
    server: UpdateServer, folder: Folder, offer: Channel, tmp_path: Path, told: str
) -> None:
    server.tears_after = 150_000
    refused(folder, offer, tmp_path)
    server.tears_after, server.tells_range = None, told
    assert "another length" in refused(folder, offer, tmp_path)
    assert there(tmp_path) == 150_000


def test_more_than_was_announced_is_refused(
    server: UpdateServer, folder: Folder, offer: Channel, tmp_path: Path
) -> None:
    server.extra = b"x" * 100_000
    assert "longer than the channel says" in refused(folder, offer, tmp_path)
    assert there(tmp_path) <= len(BODY)


def test_other_bytes_of_the_same_length_are_thrown_away(
    server: UpdateServer, folder: Folder, offer: Channel, tmp_path: Path
) -> None:
    server.files[NAME] = BODY[:-1] + bytes([BODY[-1] ^ 1])
    assert "SHA-256" in refused(folder, offer, tmp_path)
    assert there(tmp_path) == 0
    server.files[NAME] = BODY
    assert folder.fetch(offer, tmp_path).read_bytes() == BODY


@pytest.mark.parametrize(
    ("status", "words"), [(404, "check [update] url"), (500, "tried again later"), (503, "later"), (302, "leads to")]
)
def test_a_refusal_says_what_to_do(
    server: UpdateServer, folder: Folder, offer: Channel, tmp_path: Path, status: int, words: str
) -> None:
    server.status = status
    told = refused(folder, offer, tmp_path)
    assert str(status) in told
    assert words in told
    with pytest.raises(UpdateError, match=str(status)):
        folder.read("stable.json")


def test_a_server_that_falls_silent_is_given_up(server: UpdateServer, offer: Channel, tmp_path: Path) -> None:
    server.tears_after, server.silent_s = 150_000, 3.0
    folder = Folder(pins.parse(server.url), silence_s=1.0, spare=0)
    assert "did not answer within 1 s" in refused(folder, offer, tmp_path)
    assert there(tmp_path) in range(1, 150_001)  # some of it may have been in flight


def test_nobody_there(folder: Folder, server: UpdateServer, offer: Channel, tmp_path: Path) -> None:
    server.close()
    assert "refused the connection" in refused(folder, offer, tmp_path)


def test_a_stranger_is_not_asked(
    server: UpdateServer, offer: Channel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    assert "not trusted" in refused(Folder(pins.parse(server.url), spare=0), offer, tmp_path)
    pinned = pins.parse(f"{server.url}#spki-sha256={'0' * 64}")
    assert "another key" in refused(Folder(pinned, spare=0), offer, tmp_path)
    assert server.asked == []


def test_plain_http_to_the_internet_is_refused(offer: Channel, tmp_path: Path) -> None:
    assert "unencrypted" in refused(Folder(pins.parse("http://updates.example.org/x")), offer, tmp_path)


def test_a_channel_file_without_end_is_refused(server: UpdateServer, folder: Folder) -> None:
    server.files["stable.json"] = b" " * 20_000
    with pytest.raises(UpdateError, match="longer than 16384 bytes"):
        folder.read("stable.json")


# --- the disk ---


def test_a_disk_without_room_is_left_alone(
    server: UpdateServer, offer: Channel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=100, f_frsize=4096))
    assert "MB are needed" in refused(Folder(pins.parse(server.url)), offer, tmp_path)
    assert there(tmp_path) == 0
    assert server.asked == []


FETCH = """
import sys
from pathlib import Path
import msgspec
from appliance import pins
from appliance.errors import UpdateError
from appliance.update.channel import Channel
from appliance.update.download import Folder
into = Path(sys.argv[3])
try:
    Folder(pins.parse(sys.argv[1]), spare=-10**9).fetch(msgspec.json.decode(sys.argv[2], type=Channel), into)
except UpdateError as error:
    print(error, sum(path.stat().st_size for path in into.iterdir()))
(into / "identity").write_bytes(bytes(100_000))
"""


def test_a_disk_that_fills_meanwhile_gets_its_space_back(server: UpdateServer, offer: Channel, tmp_path: Path) -> None:
    """A real full file system: a tmpfs smaller than the bundle, in a mount namespace of its own."""
    if os.geteuid() != 0:
        pytest.skip("needs root: mounts a small file system")
    mounted = f'mount -t tmpfs -o size=256k none {tmp_path} && exec "$@"'
    python = [sys.executable, "-c", FETCH, server.url, msgspec.json.encode(offer).decode(), str(tmp_path)]
    certificate = Path(os.environ["SSL_CERT_FILE"]).read_text()
    elsewhere = tmp_path.parent / f"{tmp_path.name}.pem"
    elsewhere.write_text(certificate)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mounted, "-", *python],
        env={**os.environ, "SSL_CERT_FILE": str(elsewhere)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "is the card full" in done.stdout
    assert done.stdout.rstrip().endswith(" 0"), "what came is removed, and what else lives there can be written"


def test_old_pieces_do_not_pile_up(folder: Folder, offer: Channel, tmp_path: Path) -> None:
    (tmp_path / "0123456789abcdef.part").write_bytes(b"of an older offer")
    folder.fetch(offer, tmp_path)
    assert len([*tmp_path.glob("*.part")]) == 1
    download.clear(tmp_path)
    assert there(tmp_path) == 0


# --- whose the piece is ---

NOBODY = 65534


def test_what_root_fetches_belongs_to_the_service(
    server: UpdateServer, folder: Folder, offer: Channel, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    os.chown(tmp_path, NOBODY, NOBODY)
    server.tears_after = 150_000
    refused(folder, offer, tmp_path)
    (piece,) = tmp_path.glob("*.part")
    assert (piece.stat().st_uid, piece.stat().st_gid) == (NOBODY, NOBODY)


def test_a_piece_that_rauc_took_to_itself_before_a_power_cut_is_fetched_anew(
    offer: Channel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    os.chown(tmp_path, NOBODY, NOBODY)
    monkeypatch.chdir(tmp_path)
    piece = Path(f"{offer.sha256[:16]}.part")
    piece.write_bytes(BODY)
    piece.chmod(0o600)
    os.seteuid(NOBODY)
    try:
        nowhere = Folder(pins.parse("http://127.0.0.1:9"), spare=0)
        assert "refused the connection" in refused(nowhere, offer, Path())
    finally:
        os.seteuid(0)
    assert not piece.exists()
