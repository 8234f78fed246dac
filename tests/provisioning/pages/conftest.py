"""One real Chromium for all stories of the owner's page."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.provisioning.pages.browsing import Stage


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A browser and the event loop it lives in, which the stories share."""
    with asyncio.Runner() as runner:
        stage = Stage(runner)
        profile: Path = tmp_path_factory.mktemp("chromium")
        runner.run(stage.open(profile))
        try:
            yield stage
        finally:
            runner.run(stage.close())
