"""What the provisioning service's profile says of a session, as the credential for it came along.

Responsible for: which settings a profile may make, and taking them from a grant as far as they can be used. Not for:
what wins over them (``configuration``).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

log = logging.getLogger(__name__)
Path = tuple[str, ...]
DEEPEST = 8  # levels of objects and lists in one setting: more cannot be sent without fear
_NULL = type(None)
# Of the session object (realtime-api §3). The rest is this device's own: formats, turn detection, modality, tools.
FORMS: dict[Path, tuple[type, ...]] = {
    ("instructions",): (str,),
    ("max_output_tokens",): (int, str),
    ("tool_choice",): (str, dict),
    ("parallel_tool_calls",): (bool,),
    ("reasoning",): (dict,),
    ("truncation",): (str, dict),
    ("prompt",): (dict, _NULL),
    ("audio", "input", "noise_reduction"): (dict, _NULL),
    ("audio", "input", "transcription"): (dict, _NULL),
    ("audio", "output", "voice"): (str, dict),
    ("audio", "output", "speed"): (int, float),
}


@dataclass(frozen=True, slots=True)
class Profile:
    """Settings of a profile by their path, and whether the session has its tools, and ours, already."""

    settings: Mapping[Path, Any] = field(default_factory=dict)
    binds_tools: bool = False  # an update that names any would replace them


NO_PROFILE = Profile()


def read(session: object, *, binds_tools: bool = False) -> Profile:
    """Take the settings out of a grant's ``session``; one of another form than it should have is left out, and told."""
    settings: dict[Path, Any] = {}
    unusable: dict[str, None] = {}  # in their order, each once
    for path, forms in FORMS.items():
        value, depth = {} if session is None else session, 0
        while depth < len(path) and isinstance(value, dict) and path[depth] in value:
            value, depth = value[path[depth]], depth + 1
        if depth < len(path) and isinstance(value, dict):
            continue  # not said
        if depth == len(path) and type(value) in forms and _is_flat(value, DEEPEST):
            settings[path] = value
        else:
            unusable[".".join(("session", *path[:depth]))] = None
    if unusable:
        log.warning("the service's profile says in a form that cannot be used: %s; left out", ", ".join(unusable))
    return Profile(settings, binds_tools)


def _is_flat(value: object, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_flat(one, levels - 1) for one in inner)
