"""The functions that a device declares when it asks for a session, and how they join a profile's tools.

Responsible for: their form and bounds, and the union. Not for: minting (``upstream``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from appliance.provisioning.problems import invalid_request

MOST = 32
LONGEST = 16_384  # bytes of JSON, all of a device's together


class Declaration(msgspec.Struct, frozen=True):
    """A function of the device, as a model sees it. No other kind: what a provider calls, a profile alone may name."""

    type: Literal["function"]
    # (?!\\n): Python's $ matches before a last line break, too
    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}(?!\n)$")]
    description: str = ""
    # Handed on as it came: however it is nested, it is not read.
    parameters: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"{}"))


def check(declared: Sequence[Declaration]) -> None:
    """Passes what can be handed on.

    Raises:
        RefusalError: ``invalid_request``: parameters that are no object, or too much of it all.
    """
    if any(bytes(one.parameters)[:1] != b"{" for one in declared):
        raise invalid_request("missing or malformed: tools.parameters")
    if len(msgspec.json.encode(declared)) > LONGEST:
        raise invalid_request(f"tools: longer than {LONGEST} bytes")


def joined(tools: Sequence[Any], declared: Sequence[Declaration]) -> list[Any]:
    """A profile's tools and the device's after them; of two functions with one name the first stands."""
    taken = {tool.get("name") for tool in tools if isinstance(tool, dict)}
    ours = {one.name: one for one in reversed(declared) if one.name not in taken}
    return [*tools, *(one for one in declared if ours.get(one.name) is one)]
