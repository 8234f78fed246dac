"""One town for all rows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.town import Town


@pytest.fixture(scope="session")
def faulty_town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    made = Town(tmp_path_factory.mktemp("faulty") / "town")
    yield made
    made.close()
