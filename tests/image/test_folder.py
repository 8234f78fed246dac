"""The web server of the image's test does as any: whole files, the rest of them, and a line that breaks once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance import pins
from appliance.errors import UpdateError
from appliance.update import download
from appliance.update.channel import Channel
from image.test.folder import BLOCK, Folder
from image.test.home import HOST

BODY = os.urandom(3 * BLOCK + 17)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    (tmp_path / "served").mkdir()
    (tmp_path / "served/x.raucb").write_bytes(BODY)
    with Folder(tmp_path / "served") as made:
        yield made


def test_a_torn_bundle_goes_on_from_where_it_broke(folder: Folder, tmp_path: Path) -> None:
    here = download.Folder(pins.parse(folder.url.replace(HOST, "127.0.0.1")), spare=0)
    digest = hashlib.sha256(BODY).hexdigest()
    offer = Channel(version="1.0", bundle="x.raucb", sha256=digest, size=len(BODY), compatible="x", percent=100)
    folder.tears_after = 2 * BLOCK
    with pytest.raises(UpdateError, match="broke off"):
        here.fetch(offer, tmp_path)
    assert here.fetch(offer, tmp_path).read_bytes() == BODY
    assert folder.asked == [("x.raucb", ""), ("x.raucb", f"bytes={2 * BLOCK}-")]


def test_what_is_not_there_is_not_found(folder: Folder) -> None:
    here = download.Folder(pins.parse(folder.url.replace(HOST, "127.0.0.1")))
    with pytest.raises(UpdateError, match="answers 404"):
        here.read("stable.json")
