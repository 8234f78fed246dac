"""A town for the session, a home for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.card import VirtualCard
from tests.fakes.realtime_server import Script
from tests.scenarios.home import Home, Town

MakeHome = Callable[..., Home]


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """The server and the provisioning service."""
    made = Town(tmp_path_factory.mktemp("town"))
    yield made
    made.close()


@pytest.fixture
def home(town: Town, tmp_path: Path, virtual_card: Callable[..., VirtualCard]) -> Iterator[MakeHome]:
    """Make a home: ``home(script, settings, **card)``."""
    made: list[Home] = []

    def make(
        script: Script | None = None,
        settings: str = "",
        *,
        url: str = "",
        with_token: bool = True,
        environment: dict[str, str] | None = None,
        **card: object,
    ) -> Home:
        where, script = virtual_card(**card), script or Script()
        made.append(
            Home(town, tmp_path, where, script, settings, url=url, with_token=with_token, environment=environment)
        )
        return made[-1]

    yield make
    for one in made:
        one.close()
