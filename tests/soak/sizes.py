"""How much everything holds that could hold ever more: the length of each container in the product's own objects.

Nobody has to list them: whatever hangs off the root is looked at, so that a queue that is added later is watched, too.
"""

from __future__ import annotations

import asyncio
import enum
import queue
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

OURS = "appliance."
LOOKED_INTO = 500  # items of one container
QUEUES = (asyncio.Queue, queue.SimpleQueue)
CONTAINERS = (deque, list, set, frozenset, dict, bytearray)
CONSTANT = (enum.Enum, msgspec.Struct)


def sizes(root: object) -> dict[str, int]:
    """Return the number of elements by path, such as ``protocol.uplink._turns[].chunks``; equal paths are added up."""
    found: Counter[str] = Counter()
    seen: set[int] = set()
    waiting: deque[tuple[str, object]] = deque([("", root)])  # the shortest path to a thing is its name
    while waiting:
        path, value = waiting.popleft()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, QUEUES):
            found[path] += value.qsize()
        elif isinstance(value, np.ndarray):
            found[path] += len(value) if value.ndim else 0
        elif isinstance(value, CONTAINERS):
            found[path] += len(value)
            waiting += [(f"{path}[]", item) for item in _items(value)]
        elif _ours(value) and not isinstance(value, CONSTANT):
            waiting += [(f"{path}.{name}".lstrip("."), part) for name, part in _parts(value)]
    return dict(found)


def _ours(value: object) -> bool:
    return any(kind.__module__.startswith(OURS) for kind in type(value).__mro__)


def _parts(value: object) -> Iterator[tuple[str, object]]:
    """The attributes of an object, as far as it has them already."""
    yield from list(getattr(value, "__dict__", {}).items())
    for kind in type(value).__mro__:
        names = kind.__dict__.get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            if hasattr(value, name):
                yield name, getattr(value, name)


def _items(value: Any) -> list[object]:
    """What is in a container; one that another thread is changing is looked into the next time."""
    try:
        items = list(value.values() if isinstance(value, dict) else value)
    except RuntimeError:
        return []
    return [item for item in items[:LOOKED_INTO] if not isinstance(item, int | float | str | bytes)]
