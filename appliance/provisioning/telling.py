"""What of a profile's session object its device is told, with the grant.

Responsible for: the choice, by name. A device configures each session itself, and would otherwise put its own defaults
over what is bound to the secret; a self-hosted server binds nothing at all. Not told: tools, which can hold secrets of
other servers, and what a device fixes for itself (sound formats, turn detection, modality).
"""

from __future__ import annotations

from typing import Any

_TOLD: tuple[tuple[str, ...], ...] = (
    ("instructions",),
    ("max_output_tokens",),
    ("tool_choice",),
    ("parallel_tool_calls",),
    ("reasoning",),
    ("truncation",),
    ("prompt",),
    ("audio", "input", "noise_reduction"),
    ("audio", "input", "transcription"),
    ("audio", "output", "voice"),
    ("audio", "output", "speed"),
)


def told(session: dict[str, Any]) -> dict[str, Any]:
    """The settings that a device may know, in their places; empty where the profile makes none."""
    chosen: dict[str, Any] = {}
    for *above, name in _TOLD:
        where: Any = session
        for step in above:
            where = where.get(step) if isinstance(where, dict) else None
        if isinstance(where, dict) and name in where:
            there = chosen
            for step in above:
                there = there.setdefault(step, {})
            there[name] = where[name]
    return chosen
