"""Histories are full of failures; their log lines tell nobody anything. The walk has a home of the scenarios."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.scenarios.conftest import home, town

__all__ = ["home", "town"]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Hundreds of thousands of lines would be kept for the report of a failure."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
