"""Pictures that a person shows: PNG or JPEG, small enough to send, as a data URI.

Responsible for: the limits and the data URI, on both ends of the control socket (the daemon is sandboxed and
reads no files of users, and trusts no client). Not for: what the model makes of it.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from appliance.errors import ApplianceError

MAX_PICTURE_BYTES = 1_500_000
_MAGIC = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}
_SHRINK = "make it smaller than 1.5 MB, for example: convert in.jpg -resize 1280x1280 out.jpg"


def read_picture(path: Path) -> str:
    """Read a picture into a data URI.

    Raises:
        ApplianceError: not readable, neither PNG nor JPEG, or more than 1.5 MB.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_PICTURE_BYTES + 1)
    except OSError as error:
        raise ApplianceError(f"cannot read {path}: {error.strerror}", hint="name a PNG or JPEG file") from error
    if len(data) > MAX_PICTURE_BYTES:
        raise ApplianceError(f"{path} is too large", hint=_SHRINK)
    for media_type, magic in _MAGIC.items():
        if data.startswith(magic):
            return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
    raise ApplianceError(f"{path} is neither PNG nor JPEG", hint="convert it to one of them first")


def check_picture(image_url: str) -> None:
    """Accept exactly what :func:`read_picture` makes.

    Raises:
        ApplianceError: says what is wrong with it.
    """
    head, comma, encoded = image_url.partition(",")
    magic = _MAGIC.get(head.removeprefix("data:").removesuffix(";base64"))
    if not comma or magic is None or head[:5] != "data:" or head[-7:] != ";base64":
        raise ApplianceError(
            "image_url is no picture",
            hint="send data:image/png;base64,… or data:image/jpeg;base64,… (`voice-appliance ctl show FILE` does)",
        )
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ApplianceError("image_url is not valid base64", hint="send the whole file") from error
    if len(data) > MAX_PICTURE_BYTES:
        raise ApplianceError("the picture is too large", hint=_SHRINK)
    if not data.startswith(magic):
        raise ApplianceError("the picture is not of the type it claims", hint="send PNG as PNG and JPEG as JPEG")
