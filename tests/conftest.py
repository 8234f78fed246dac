"""Fixtures that every room may use."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.fakes.card.session import virtual_card  # noqa: F401  # a fixture

# Tests that live in real time, with a sound card, a daemon or a booted system, share the machine with no other: these
# rooms, and whoever plugs in the virtual card. The rest runs on all cores.
ALONE = ("booted", "diagnosis", "fakes", "faults", "scenarios", "soak", "test_daemon.py")
HERE = Path(__file__).parent

# A shell's background jobs ignore SIGINT, and so would every program that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what has to run alone."""
    for item in items:
        card = isinstance(item, pytest.Function) and "virtual_card" in item.fixturenames
        if card or item.path.relative_to(HERE).parts[0] in ALONE:
            item.add_marker("alone")
