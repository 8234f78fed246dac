"""A machine with a card in it: folders, no root, no network. And power that can be cut."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from unittest import mock

from appliance.first_boot import importing, outcome
from appliance.first_boot.outcome import Outcome
from appliance.first_boot.places import Places

ZONES = {"Europe/Berlin": "TZif2", "Europe/London": "TZif2", "America/New_York": "TZif2", "UTC": "TZif2"}
COUNTRIES = "# ISO 3166\nDE\tGermany\nFR\tFrance\nGB\tBritain (UK)\nUS\tUnited States\n"


class Machine:
    """The files of a machine below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root, self.places = root, Places(root)
        self.card = root / "boot/selector"
        self.file = self.card / "voice.toml"
        for folder in ("boot/selector", "etc", "etc/NetworkManager/system-connections", "proc/sys/kernel", "usr/sbin"):
            (root / folder).mkdir(parents=True)
        (self.card / "autoboot.txt").write_text("[all]\n")
        self.places.kernel_hostname.write_text("voice-appliance\n")
        for zone, content in ZONES.items():
            path = self.places.zones / zone
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        (self.places.zones / "iso3166.tab").write_text(COUNTRIES)
        self.regulated: list[str] = []

    def write(self, content: str | bytes) -> None:
        self.file.write_bytes(content.encode() if isinstance(content, str) else content)

    def boot(self) -> Outcome:
        """What the unit does at a start."""
        found = importing.take(importing.find(self.places), self.places, self.regulated.append)
        assert outcome.load(self.places.run) == found
        return found

    def settings(self) -> dict[str, str]:
        """Everything that an import may change, by name; of the record nothing."""
        found = {}
        for path in sorted(self.root.glob("etc/**/*")):
            if path.is_symlink():
                found[str(path.relative_to(self.root))] = str(path.readlink())
            elif path.is_file() and path.name != "first-boot.json" and not path.name.endswith(".new"):
                found[str(path.relative_to(self.root))] = path.read_text()
        return found

    def everything_but(self, *folders: str) -> bytes:
        """All bytes below the root, but for some folders."""
        skipped = tuple(self.root / folder for folder in folders)
        files = [p for p in self.root.glob("**/*") if p.is_file() and not any(p.is_relative_to(s) for s in skipped)]
        return b"\n".join(path.read_bytes() for path in files)


class PowerCut(BaseException):
    """Nothing after this happens."""


class Power:
    """Cuts the power at the ``last``-th step that touches a disk; ``torn``: half of what is written then arrives."""

    def __init__(self, last: int, *, torn: bool = False) -> None:
        self.steps, self._last, self._torn = 0, last, torn

    def _step(self) -> bool:
        self.steps += 1
        return self.steps == self._last

    @contextmanager
    def supply(self) -> Iterator[None]:
        """Everything that writes within this is counted."""
        with (
            mock.patch.multiple(
                Path,
                replace=self._before(Path.replace),
                unlink=self._before(Path.unlink),
                symlink_to=self._before(Path.symlink_to),
            ),
            mock.patch("os.fsync", self._before(os.fsync)),
            mock.patch("pathlib.Path.open", self._opened(Path.open)),
        ):
            yield

    def _before(self, act: Any) -> Any:
        def acting(*arguments: Any, **named: Any) -> Any:
            if self._step():
                raise PowerCut
            return act(*arguments, **named)

        return acting

    def _opened(self, act: Any) -> Any:
        def opening(path: Path, mode: str = "r", *arguments: Any, **named: Any) -> Any:
            file = act(path, mode, *arguments, **named)
            return _InPlace(file, self) if mode == "r+b" else file

        return opening

    def write(self, file: io.FileIO, data: bytes) -> None:
        if self._step():
            if self._torn:
                file.write(data[: len(data) // 2])
            raise PowerCut
        file.write(data)


class _InPlace:
    """A file that is overwritten where it is."""

    def __init__(self, file: io.FileIO, power: Power) -> None:
        self._file, self._power = file, power

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def seek(self, at: int) -> None:
        self._file.seek(at)

    def write(self, data: bytes) -> None:
        self._power.write(self._file, data)

    def fileno(self) -> int:
        return self._file.fileno()
