"""The bytes of a settings file as text and back, byte for byte: what Windows' editors do to it stays.

Responsible for: telling the encoding. Not for: what the text says (``wishes``) or where secrets are in it (``spans``).
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from appliance.errors import ConfigError

LONGEST = 64 * 1024
FILE = "voice.toml"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),  # what Notepad calls "Unicode"
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_RESAVE = "save it as UTF-8 (in Notepad: File, Save as, Encoding: UTF-8)"


@dataclass(frozen=True, slots=True)
class Text:
    """A decoded file: ``mark`` and ``encoding`` bring it back to the same bytes."""

    text: str
    encoding: str = "utf-8"
    mark: bytes = b""

    def encode(self, text: str) -> bytes:
        """Write ``text`` as this file's text was written."""
        return self.mark + text.encode(self.encoding)

    def offset(self, index: int) -> int:
        """Find the byte at which the character ``index`` begins."""
        return len(self.encode(self.text[:index]))


def decode(data: bytes) -> Text:
    """Decode a settings file.

    Raises:
        ConfigError: too long, or in an encoding that cannot be told.
    """
    if len(data) > LONGEST:
        raise ConfigError(f"{FILE}: longer than {LONGEST // 1024} KiB", hint="this is not a settings file of ours")
    mark, encoding = next((known for known in _MARKS if data.startswith(known[0])), (b"", "utf-8"))
    body = data[len(mark) :]
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        line = body[: error.start].count("\n".encode(encoding)) + 1
        raise ConfigError(f"{FILE}: line {line} is not in UTF-8", hint=_RESAVE) from None
    if text.encode(encoding) != body:
        raise ConfigError(f"{FILE}: not in UTF-8", hint=_RESAVE)
    if "\0" in text:
        raise ConfigError(f"{FILE}: it is damaged, or no text", hint=f"write it anew, and {_RESAVE}")
    return Text(text, encoding, mark)
