"""Fixtures that every room may use."""

from __future__ import annotations

from tests.fakes.card.session import virtual_card  # noqa: F401  # a fixture
