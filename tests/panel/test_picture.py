from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ApplianceError
from appliance.panel.picture import MAX_PICTURE_BYTES, check_picture, read_picture

PNG = base64.b64decode(  # one grey pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
JPEG = b"\xff\xd8\xff\xe0" + bytes(100)


@pytest.mark.parametrize(("data", "head"), [(PNG, "data:image/png;base64,"), (JPEG, "data:image/jpeg;base64,")])
def test_a_picture_goes_round(tmp_path: Path, data: bytes, head: str) -> None:
    path = tmp_path / "wrong-suffix.txt"
    path.write_bytes(data)
    image_url = read_picture(path)
    assert image_url.startswith(head)
    assert base64.b64decode(image_url.removeprefix(head)) == data
    check_picture(image_url)


def test_the_largest_picture_is_accepted_and_one_byte_more_is_not(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(PNG.ljust(MAX_PICTURE_BYTES, b"\0"))
    check_picture(read_picture(path))
    path.write_bytes(PNG.ljust(MAX_PICTURE_BYTES + 1, b"\0"))
    with pytest.raises(ApplianceError, match=r"too large.*1\.5 MB"):
        read_picture(path)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("not really")
    with pytest.raises(ApplianceError, match=r"notes\.png is neither PNG nor JPEG"):
        read_picture(tmp_path / "notes.png")
    with pytest.raises(ApplianceError, match=r"absent\.png: No such file"):
        read_picture(tmp_path / "absent.png")
    with pytest.raises(ApplianceError, match="directory"):
        read_picture(tmp_path)


@pytest.mark.parametrize(
    ("image_url", "complaint"),
    [
        ("", "no picture"),
        ("https://example.com/cat.png", "no picture"),
        ("data:image/svg+xml;base64,PHN2Zz4=", "no picture"),
        ("data:image/png," + PNG.hex(), "no picture"),
        ("image/png;base64," + base64.b64encode(PNG).decode(), "no picture"),
        ("data:image/png;base64,iVBOR", "base64"),
        ("data:image/png;base64,iVBO Rw0K", "base64"),
        ("data:image/png;base64,é", "base64"),
        ("data:image/png;base64," + base64.b64encode(JPEG).decode(), "not of the type"),
        ("data:image/png;base64," + base64.b64encode(PNG.ljust(MAX_PICTURE_BYTES + 1)).decode(), "too large"),
    ],
)
def test_the_daemon_trusts_no_client(image_url: str, complaint: str) -> None:
    with pytest.raises(ApplianceError, match=complaint) as caught:
        check_picture(image_url)
    assert len(str(caught.value)) < 300, "the picture itself is not in the message"
    assert caught.value.hint


@given(st.text())
def test_any_text_is_refused_in_words(text: str) -> None:
    with pytest.raises(ApplianceError):
        check_picture(text)
