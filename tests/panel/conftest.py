from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.panel.pseudo_terminal import Terminal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a control socket goes, in a directory that does not exist yet."""
    return tmp_path / "run" / "control.sock"


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()
