"""Who watches an appliance from outside while a fault happens: its status, its log, its supervisor, its loudspeaker.

Responsible for: the times at which anything was first seen or heard. Not for: what should have been (``row``), or
causing anything.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.fakes.card import VirtualCard

TELLING = re.compile(r"cue_(offline|error|code|too-short|muted|ready)|said_\w+")
LOOK_S = 0.02
PITCH_HZ = 3000.0  # of the replies: no ear-con has it
LOUD = 300.0
BLOCK_S = 0.01


@dataclass(frozen=True)
class Look:
    """One look at the status; ``status`` is None while nobody answers."""

    at: float
    status: dict[str, Any] | None

    def get(self, key: str) -> Any:
        return None if self.status is None else self.status.get(key)

    def told(self) -> dict[str, int]:
        """What the person was told so far, by counters."""
        counters: dict[str, int] = (self.status or {}).get("counters", {})
        return {name: int(count) for name, count in counters.items() if TELLING.fullmatch(name)}


class Witness:
    """Looks at the control socket all the time and keeps what changed. A thread of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.looks: list[Look] = [Look(time.monotonic(), None)]
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, name="witness", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._leaving.set()
        self._thread.join(5)

    @property
    def last(self) -> Look:
        return self.looks[-1]

    def since(self, at: float) -> list[Look]:
        """The looks at or after ``at``, and the one that held then."""
        before = [look for look in self.looks if look.at < at]
        return before[-1:] + self.looks[len(before) :]

    def until(self, true: Callable[[Look], bool], timeout_s: float, since: float = 0.0) -> Look | None:
        """Wait for a look (from ``since`` on), None if it does not come."""
        deadline = time.monotonic() + timeout_s
        while True:
            for look in self.since(since) if since else self.looks[-1:]:
                if true(look):
                    return look
            if time.monotonic() > deadline:
                return None
            time.sleep(LOOK_S / 2)

    def _run(self) -> None:
        while not self._leaving.is_set():
            try:
                with socket.socket(socket.AF_UNIX) as link:
                    link.settimeout(1.0)
                    link.connect(str(self._path))
                    self._watch(link)
            except (OSError, ValueError):
                self._keep(None)
                self._leaving.wait(LOOK_S)

    def _watch(self, link: socket.socket) -> None:
        with link.makefile("rb") as answers:
            while not self._leaving.wait(LOOK_S):
                link.sendall(b'{"cmd":"status"}\n')
                answer = json.loads(answers.readline())
                if not answer.get("ok"):
                    raise ValueError(answer)
                self._keep(answer)

    def _keep(self, status: dict[str, Any] | None) -> None:
        known = self.last.status
        if status is None or known is None:
            changed = (status is None) != (known is None)
        else:
            changed = {**known, "uptime_s": 0} != {**status, "uptime_s": 0}
        if changed:
            self.looks.append(Look(time.monotonic(), status))


def reply_s(card: VirtualCard, start: int, stop: int) -> float:
    """Seconds of replies that sounded between two frames of a card."""
    return float(np.count_nonzero(_pitched(card, start, stop))) * BLOCK_S


def any_sound(card: VirtualCard, start: int, stop: int) -> bool:
    """Whether anything sounded between two frames."""
    return bool(np.any(np.abs(card.spoken(start, stop).astype(np.int32)) > LOUD))


def _pitched(card: VirtualCard, start: int, stop: int) -> NDArray[np.bool_]:
    """For each 10 ms, whether it is the pitch of the replies."""
    size = int(card.rate * BLOCK_S)
    count = max(0, stop - start) // size
    blocks = card.spoken(start, start + count * size).reshape(count, size).astype(np.float64)
    wave = np.exp(-2j * np.pi * PITCH_HZ / card.rate * np.arange(size))
    amplitude = 2 * np.abs(blocks @ wave) / size
    power = np.sqrt(2 * np.mean(blocks**2, axis=1)) if count else np.zeros(0)
    found: NDArray[np.bool_] = (amplitude > LOUD) & (amplitude > 0.6 * power)
    return found
